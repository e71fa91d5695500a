//! What the repository says already: packages whose entries may stay, and metadata beyond packages.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead};
use std::path::Path;

use anyhow::{Context as _, anyhow};

use super::Voice;
use super::sources::file_name;
use super::spool::{Place, Spool, SpoolReader};
use crate::package::ChecksumType;
use crate::repodata::codec::{Codec, Limits};
use crate::repodata::element::Facts;
use crate::repodata::read::{Elements, Packages, Partner};
use crate::repodata::{MetadataType, Record, Repomd};

/// A package as old metadata describe it; its texts are in the spool.
pub struct Known {
    pub facts: Facts,
    /// primary, filelists, other, and filelists-ext where that was asked for and is there.
    texts: Vec<Place>,
}

impl Known {
    /// Whether there is a text for each of so many files.
    pub fn has_all(&self, files: usize) -> bool {
        self.texts.len() >= files
    }
}

/// All packages of old metadata.
pub struct Old {
    known: Vec<Known>,
    by_href: HashMap<String, usize>,
    by_name: HashMap<String, Vec<usize>>,
    spool: SpoolReader,
}

/// A metadata file, decompressed as it is read.
pub type Opened = Box<dyn BufRead + Send>;

/// `<repodata>/repomd.xml`, or `None` where there is none.
pub fn repomd(repodata: &Path) -> anyhow::Result<Option<Repomd>> {
    let path = repodata.join("repomd.xml");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot open {}", path.display())),
    };
    let repomd = Repomd::read(io::BufReader::new(file));
    Ok(Some(repomd.with_context(|| format!("cannot read {}", path.display()))?))
}

/// The same, for a repodata directory that is written anew in any case.
pub fn repomd_if_readable(repodata: &Path, voice: Voice) -> Option<Repomd> {
    repomd(repodata).unwrap_or_else(|error| {
        voice.warn(&format!("The old metadata are replaced unread: {error:#}"));
        None
    })
}

/// Opens the file of a record, whatever it is compressed with.
pub fn open(repodata: &Path, record: &Record) -> anyhow::Result<Opened> {
    let name = file_name(&record.href);
    if matches!(name, "" | "." | "..") {
        return Err(anyhow!("{:?} names no file in {}", record.href, repodata.display()));
    }
    let path = repodata.join(name);
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    // What the record states of the open size is often wrong in old repositories, and need not be believed.
    Codec::open(file, Limits { open_size: None }).with_context(|| format!("cannot read {}", path.display()))
}

/// The packages that `repomd` lists; files it does not name have no entries.
pub fn packages(repodata: &Path, repomd: &Repomd) -> anyhow::Result<Packages<Opened, Opened, Opened>> {
    let file = |kind: &str, empty: &'static str| match (
        repomd.record(kind),
        repomd.record(&format!("{kind}_zck")),
    ) {
        (Some(record), _) | (None, Some(record)) => open(repodata, record),
        (None, None) => Ok(Box::new(empty.as_bytes()) as Opened),
    };
    let primary = file("primary", "<metadata/>")?;
    let (filelists, other) = (file("filelists", "<filelists/>")?, file("other", "<otherdata/>")?);
    Packages::new(primary, filelists, other)
        .with_context(|| format!("cannot read the metadata in {}", repodata.display()))
}

impl Old {
    /// Reads the metadata in each of these `repodata` directories; later ones win. What is wrong with
    /// one of them goes to `complain`, and its packages are read anew.
    pub fn load(
        places: &[&Path],
        scratch: &Path,
        filelists_ext: bool,
        complain: &mut dyn FnMut(String),
    ) -> anyhow::Result<Self> {
        let mut spool =
            Spool::new(scratch).with_context(|| format!("cannot write to {}", scratch.display()))?;
        let mut known = Vec::new();
        for place in places {
            match repomd(place) {
                Ok(Some(repomd)) => {
                    if let Err(error) = load_one(place, &repomd, filelists_ext, &mut spool, &mut known) {
                        complain(format!("Old metadata are not used: {error:#}"));
                    }
                }
                Ok(None) => {}
                Err(error) => complain(format!("Old metadata are not used: {error:#}")),
            }
        }
        let mut old = Self {
            known,
            by_href: HashMap::new(),
            by_name: HashMap::new(),
            spool: spool.into_reader().context("cannot write the packages of the old metadata")?,
        };
        for (at, package) in old.known.iter().enumerate() {
            old.by_href.insert(package.facts.href.clone(), at);
            old.by_name.entry(file_name(&package.facts.href).to_owned()).or_default().push(at);
        }
        Ok(old)
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn hrefs(&self) -> impl Iterator<Item = &str> {
        self.known.iter().map(|package| &*package.facts.href)
    }

    /// The entry for a package that will stand at `href`: the one that stood there, or else the only
    /// one of that name.
    pub fn find(&self, href: &str, checksum: ChecksumType) -> Option<&Known> {
        let at = match self.by_href.get(href) {
            Some(at) => Some(*at),
            None => match self.by_name.get(file_name(href)).map(Vec::as_slice) {
                Some([only]) => Some(*only),
                _ => None,
            },
        };
        at.map(|at| &self.known[at])
            .filter(|known| known.facts.checksum().is_some_and(|sum| sum.kind == checksum))
    }

    /// The package's texts, without newlines behind.
    pub fn texts(&self, known: &Known) -> io::Result<Vec<Vec<u8>>> {
        known.texts.iter().map(|place| self.spool.read(*place)).collect()
    }
}

fn load_one(
    place: &Path,
    repomd: &Repomd,
    filelists_ext: bool,
    spool: &mut Spool,
    known: &mut Vec<Known>,
) -> anyhow::Result<()> {
    let cannot = || format!("cannot read the metadata in {}", place.display());
    let mut packages = packages(place, repomd)?;
    let mut ext = match repomd.record("filelists-ext").filter(|_| filelists_ext) {
        Some(record) => {
            let file = open(place, record)?;
            Some(Partner::new(Elements::new(MetadataType::FilelistsExt, file).with_context(cannot)?))
        }
        None => None,
    };
    let before = known.len();
    let mut load = || -> anyhow::Result<()> {
        while let Some(package) = packages.next_package().with_context(cannot)? {
            // What only some of the files list is read anew.
            let (Some(filelists), Some(other)) = (package.filelists, package.other) else { continue };
            let mut texts = vec![
                spool.append(package.primary.as_bytes())?,
                spool.append(filelists.as_bytes())?,
                spool.append(other.as_bytes())?,
            ];
            if let Some(ext) = &mut ext
                && let Some(text) = ext.find(&package.facts.pkgid).with_context(cannot)?
            {
                texts.push(spool.append(text.as_bytes())?);
            }
            known.push(Known { facts: package.facts, texts });
        }
        Ok(())
    };
    let loaded = load();
    if loaded.is_err() {
        // Half of a damaged file is nothing to trust.
        known.truncate(before);
    }
    loaded
}
