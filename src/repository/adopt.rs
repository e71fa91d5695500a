//! Takes over a tree that createrepo_c, or another, has indexed: packages whose size and time are as its
//! metadata say are not read at once, but in idle time.
//!
//! What is taken over is published as the other wrote it. It gets a stamp that no file has, so that rule 9
//! (a file of which all but inode and ctime is as it was is read again at low priority) verifies it, also after a
//! restart; what differs is mended then, and in the end the metadata are those of a full run.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead};
use std::time::Instant;

use rayon::prelude::*;
use tracing::{info, warn};

use super::{Repository, RepositoryError};
use crate::catalog::PieceFile;
use crate::config::RepositoryConfig;
use crate::package::nevra::Evr;
use crate::package::{Checksum, Hasher, Location, Nevra, PkgId, Verify};
use crate::publish::{self, Place};
use crate::repodata::codec::{Codec, Limits};
use crate::repodata::element::Facts;
use crate::repodata::read::{Elements, Foreign, Packages};
use crate::repodata::{Fragments, MetadataType, Pieces, Record, Repomd, Span, wellformed};
use crate::tree::{FileStamp, Found, Scanned};

/// Packages judged side by side. Bounds memory.
const AT_ONCE: usize = 512;

/// Packages that need not be read at once.
pub struct Adopted {
    packages: HashMap<Location, Entry>,
    spool: PieceFile,
}

/// One of them; its texts are in the spool.
struct Entry {
    pkgid: PkgId,
    nevra: Nevra,
    spans: [Span; 3],
    changelogs: usize,
}

/// Its href, how many changelogs it has, and what it is if it can be trusted.
type Judged = (String, usize, Option<(Location, Entry)>);

/// Why nothing is taken over, in one line.
type Reason = String;

/// The stamp of a package that was taken over and not read yet: no file has it, but size and mtime are the file's.
pub fn unverified(stamp: &FileStamp) -> FileStamp {
    FileStamp { inode: 0, ctime_ns: 0, ..*stamp }
}

impl Repository {
    /// Whether the first publication has to wait: the metadata that are there name packages that may still be written
    /// to, such as those of a repository copied here a second ago. To publish without them would take them from clients.
    pub(super) fn must_settle_first(&mut self, unsettled: &[Found]) -> Result<bool, RepositoryError> {
        if unsettled.is_empty() || !self.catalog()?.is_new()? {
            return Ok(false);
        }
        let since = *self.settling.get_or_insert_with(Instant::now);
        let Some(repomd) = self.place.current()?.filter(|_| since.elapsed() < self.config.settle_max) else {
            return Ok(false);
        };
        let places = unsettled.iter().map(|found| found.location.as_str()).collect();
        // What cannot be read is of no use to clients either.
        let named = names_any(&self.place, &repomd, &places).unwrap_or(false);
        if named {
            let name = &self.config.name;
            info!(repo.name = %name, "{name} waits with its first publication: packages that the metadata there name are too new");
        }
        Ok(named)
    }

    /// What of `found` can be taken over from metadata that somebody else has published here. Only a repository
    /// that knows nothing yet takes anything over.
    pub(super) fn adopt(&mut self, found: &[Found]) -> Result<Option<Adopted>, RepositoryError> {
        // What others have written vouches for no package.
        let is_asked = self.config.adopt && self.config.verify != Verify::Signature;
        if !is_asked || found.is_empty() || !self.catalog()?.is_new()? {
            return Ok(None);
        }
        let Some(bytes) = self.place.current()? else { return Ok(None) };
        let name = &self.config.name;
        match read(&self.config, &self.place, &bytes, found) {
            Ok(adopted) => {
                let (taken, all) = (adopted.packages.len(), found.len());
                info!(repo.name = %name, taken, all,
                      "{name} takes over {taken} of {all} packages from the metadata that were there; they are verified in idle time");
                Ok(Some(adopted))
            }
            Err(reason) => {
                warn!(repo.name = %name, "{name} takes nothing over from {}: {reason}; all packages are read",
                      self.place.repodata().display());
                Ok(None)
            }
        }
    }
}

impl Adopted {
    pub fn has(&self, location: &Location) -> bool {
        self.packages.contains_key(location)
    }

    /// A package as if it had been read.
    pub fn take(&self, found: &Found) -> io::Result<Option<Scanned>> {
        let Some(entry) = self.packages.get(&found.location) else { return Ok(None) };
        let mut texts = <[Vec<u8>; 3]>::default();
        for (text, span) in texts.iter_mut().zip(entry.spans) {
            self.spool.read(span, text)?;
        }
        let [primary, filelists, other] = texts;
        Ok(Some(Scanned {
            location: found.location.clone(),
            stamp: unverified(&found.stamp),
            pkgid: entry.pkgid.clone(),
            nevra: entry.nevra.clone(),
            fragments: Fragments { primary, filelists, other, ..Fragments::default() },
            vouched: Vec::new(),
        }))
    }
}

/// Whether the primary metadata of `repomd` name a package at one of these places.
fn names_any(place: &Place, repomd: &[u8], places: &HashSet<&str>) -> Result<bool, Reason> {
    let repomd = publish::parse(repomd).map_err(|error| error.to_string())?;
    let primary = open(place, &repomd, MetadataType::Primary)?;
    let mut elements = Elements::new(MetadataType::Primary, primary).map_err(|error| error.to_string())?;
    while let Some(element) = elements.next_element().map_err(|error| error.to_string())? {
        if Facts::of(&element).is_ok_and(|facts| places.contains(facts.href.as_str())) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read(config: &RepositoryConfig, place: &Place, repomd: &[u8], found: &[Found]) -> Result<Adopted, Reason> {
    if config.filelists_ext {
        return Err("filelists-ext needs the digests of the files".into());
    }
    let repomd = publish::parse(repomd).map_err(|error| error.to_string())?;
    let [primary, filelists, other] = MetadataType::ALL.map(|kind| open(place, &repomd, kind));
    let mut source = Packages::new(primary?, filelists?, other?).map_err(|error| error.to_string())?;
    let spool = PieceFile::scratch(&config.state_dir)
        .map_err(|error| format!("cannot write to {}: {error}", config.state_dir.display()))?;
    let stamps: HashMap<&str, &Found> = found.iter().map(|found| (found.location.as_str(), found)).collect();

    // Places that two packages claim belong to neither.
    let mut packages = HashMap::new();
    let mut most_changelogs = 0;
    loop {
        let mut batch = Vec::with_capacity(AT_ONCE);
        while batch.len() < AT_ONCE {
            match source.next_package().map_err(|error| error.to_string())? {
                Some(package) => batch.push(package),
                None => break,
            }
        }
        let is_last = batch.len() < AT_ONCE;
        let judged: Vec<Judged> = batch
            .into_par_iter()
            .map(|package| {
                let changelogs =
                    package.other.as_deref().map_or(0, |text| text.matches("<changelog ").count());
                let href = package.facts.href.clone();
                let found = stamps.get(href.as_str());
                let entry = found.and_then(|found| judge(config, package, found, changelogs, &spool));
                entry.transpose().map(|entry| (href, changelogs, entry))
            })
            .collect::<io::Result<_>>()
            .map_err(|error| format!("cannot keep what was read: {error}"))?;
        for (href, changelogs, entry) in judged {
            most_changelogs = most_changelogs.max(changelogs);
            match entry {
                Some((location, entry)) if !packages.contains_key(&location) => {
                    packages.insert(location, Some(entry));
                }
                _ => {
                    if let Ok(location) = Location::parse(&href) {
                        packages.insert(location, None);
                    }
                }
            }
        }
        if is_last {
            break;
        }
    }
    // An entry with as many changelogs as any has may have been cut off there.
    let complete = |entry: &Entry| match config.changelog_limit {
        Some(limit) => {
            entry.changelogs <= limit && (entry.changelogs == limit || entry.changelogs < most_changelogs)
        }
        None => entry.changelogs < most_changelogs,
    };
    let packages =
        packages.into_iter().filter_map(|(location, entry)| Some((location, entry.filter(complete)?)));
    Ok(Adopted { packages: packages.collect(), spool })
}

/// Whether the entry of the file `found` can be trusted until it is verified; stores its texts if so.
fn judge(
    config: &RepositoryConfig,
    package: Foreign,
    found: &Found,
    changelogs: usize,
    spool: &PieceFile,
) -> Option<io::Result<(Location, Entry)>> {
    let Foreign { facts, primary, filelists, other } = package;
    let same_file = facts.size == found.stamp.size && facts.file_time == found.stamp.mtime();
    // `sha`, an old name of sha1, is no type of ours: the text would differ.
    let same_settings = facts.checksum_type == config.checksum.as_str() && facts.base.is_none();
    let pkgid = facts.checksum().filter(|_| same_file && same_settings)?;
    let mut texts = [primary, filelists?, other?];
    if !texts.iter().all(|text| is_readable(text)) {
        return None;
    }
    let epoch = if facts.epoch.is_empty() { "0" } else { &facts.epoch };
    let nevra = Nevra {
        name: facts.name.into(),
        evr: Evr { epoch: epoch.parse().ok()?, version: facts.version.into(), release: facts.release.into() },
        arch: facts.arch.into(),
    };
    let mut spans = [Span::default(); 3];
    for (text, span) in texts.iter_mut().zip(&mut spans) {
        text.push('\n');
        match spool.append(text.as_bytes()) {
            Ok(stored) => *span = stored,
            Err(error) => return Some(Err(error)),
        }
    }
    Some(Ok((found.location.clone(), Entry { pkgid, nevra, spans, changelogs })))
}

/// Whether everything in an entry is as every client reads it.
fn is_readable(text: &str) -> bool {
    wellformed::check(text).is_ok()
}

type Opened = Box<dyn BufRead + Send>;

/// Opens the file of one kind, which must be as repomd.xml says.
fn open(place: &Place, repomd: &Repomd, kind: MetadataType) -> Result<Opened, Reason> {
    let zchunk = format!("{}_zck", kind.as_str());
    let record = repomd.record(kind.as_str()).or_else(|| repomd.record(&zchunk));
    let record = record.ok_or_else(|| format!("repomd.xml names no {}", kind.as_str()))?;
    let name = file_name(record)?;
    let path = place.repodata().join(name);
    let cannot = |error: io::Error| format!("cannot read {}: {error}", path.display());
    let file = place.open_named(name).map_err(cannot)?;
    if checksum_of(&file, &record.checksum).map_err(cannot)? != record.checksum {
        return Err(format!("{} has another checksum than repomd.xml says", path.display()));
    }
    io::Seek::rewind(&mut &file).map_err(cannot)?;
    Codec::open(file, Limits { open_size: None }).map_err(cannot)
}

/// The name of a record's file, which must lie in `repodata/` itself.
fn file_name(record: &Record) -> Result<&str, Reason> {
    let name = record.href.strip_prefix("repodata/").filter(|name| !name.contains('/'));
    name.filter(|name| !matches!(*name, "" | "." | ".."))
        .ok_or_else(|| format!("{:?} is no file in repodata/", record.href))
}

/// The checksum of a whole file, of the type of `like`.
pub(super) fn checksum_of(mut file: &File, like: &Checksum) -> io::Result<Checksum> {
    let mut hasher = Hasher::new(like.kind);
    let mut buffer = vec![0; 256 << 10];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&buffer[..read]),
        }
    }
}
