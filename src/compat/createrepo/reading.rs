//! One package's entries: read from the package, or taken from the old metadata.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::compact::compact;
use super::{CreaterepoOptions, Plan};
use crate::compat::old::{Known, Old};
use crate::compat::sources::{self, Source};
use crate::package::{Checksum, ChecksumType, Intake, Location, Taken, Verify};
use crate::repodata::element::location_tag;
use crate::repodata::{Entry, Fragments, RenderOptions, filelists_ext};

const BLOCK: usize = 512 << 10;
/// How the problem begins when there is no such file.
pub(super) const VANISHED: &str = "There is no package ";
/// How the line of a package that cannot be read begins.
pub(super) const UNREADABLE: &str = "Cannot read package: ";

/// Everything that is the same for all packages.
pub(super) struct Reading<'a> {
    options: &'a CreaterepoOptions,
    checksum: ChecksumType,
    render: RenderOptions,
    old: &'a Old,
    cache: Option<PathBuf>,
    stand_in: Location,
}

/// A package's entries.
pub(super) struct Made {
    /// primary, filelists, other, and filelists-ext where it is wanted; each with a newline at its end.
    pub texts: Vec<Vec<u8>>,
    pub nevra: String,
    pub href: String,
    pub build_time: i64,
    /// The package itself was read.
    pub read: bool,
}

impl<'a> Reading<'a> {
    pub fn new(options: &'a CreaterepoOptions, plan: &Plan, old: &'a Old) -> anyhow::Result<Self> {
        let cache = options.cachedir.as_ref().map(|dir| plan.directories[0].join(dir));
        if let Some(cache) = &cache {
            fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
        }
        Ok(Self {
            options,
            checksum: plan.checksum,
            render: RenderOptions { changelog_limit: plan.changelog_limit, filelists_ext: false },
            old,
            cache,
            stand_in: Location::parse("x")?,
        })
    }

    /// Makes one package's entries; the error is one line that names the file and what is wrong with it.
    pub fn make(&self, source: &Source) -> Result<Made, String> {
        let href = sources::location(
            &source.relative,
            self.options.cut_dirs,
            self.options.location_prefix.as_deref(),
        );
        let media = self.options.split.then(|| format!("media:#{}", source.medium + 1));
        let base = self.options.baseurl.as_deref().or(media.as_deref());
        let mut made = match self.known(source, &href)? {
            Some(known) => self.reuse(known, base, href).map_err(|e| e.to_string())?,
            None => self.read(source, base, href)?,
        };
        if self.options.no_pretty {
            for text in &mut made.texts {
                *text = compact(text);
            }
        }
        Ok(made)
    }

    /// The old entry, if the package is as it was.
    fn known(&self, source: &Source, href: &str) -> Result<Option<&'a Known>, String> {
        if !self.options.update {
            return Ok(None);
        }
        let Some(known) = self.old.find(href, self.checksum) else { return Ok(None) };
        if !known.has_all(3 + usize::from(self.options.filelists_ext)) {
            // What was read without the files' digests cannot tell them.
            return Ok(None);
        }
        if self.options.skip_stat {
            return Ok(Some(known));
        }
        let meta = fs::metadata(&source.path).map_err(|error| unreadable(source, &error))?;
        Ok((meta.mtime() == known.facts.file_time && meta.len() == known.facts.size).then_some(known))
    }

    fn reuse(&self, known: &Known, base: Option<&str>, href: String) -> io::Result<Made> {
        let mut texts = self.old.texts(known)?;
        let base = base.or(known.facts.base.as_deref());
        if known.facts.href != href || known.facts.base.as_deref() != base {
            let text = std::str::from_utf8(&texts[0]).map_err(io::Error::other)?;
            texts[0] = known.facts.relocated(text, base, &href).into_bytes();
        }
        for text in &mut texts {
            text.push(b'\n');
        }
        Ok(Made { texts, nevra: known.facts.nevra(), href, build_time: known.facts.build_time, read: false })
    }

    fn read(&self, source: &Source, base: Option<&str>, href: String) -> Result<Made, String> {
        let cannot = |why: &dyn std::fmt::Display| unreadable_for(source, why);
        let mut file = File::open(&source.path).map_err(|error| unreadable(source, &error))?;
        let meta = file.metadata().map_err(|error| cannot(&error))?;
        if !meta.is_file() {
            return Err(cannot(&"it is not a regular file"));
        }
        let (taken, pkgid, size) = self.take(&mut file, source, &meta).map_err(|why| cannot(&why))?;
        let package = taken.package().map_err(|why| cannot(&why))?;
        let entry = Entry {
            pkgid: &pkgid,
            location: &self.stand_in,
            file_time: meta.mtime(),
            size,
            header_range: taken.header_range,
        };
        let Fragments { primary, filelists, other, .. } = Fragments::render(&package, &entry, &self.render);
        let mut texts = vec![relocate(&primary, base, &href), filelists, other];
        if self.options.filelists_ext {
            let mut text = Vec::new();
            filelists_ext::render(&mut text, &package, &entry);
            texts.push(text);
        }
        let nevra = package.nevra();
        let nevra = format!(
            "{}-{}:{}-{}.{}",
            nevra.name, nevra.evr.epoch, nevra.evr.version, nevra.evr.release, nevra.arch
        );
        let build_time = i64::try_from(package.build_time).unwrap_or(i64::MAX);
        Ok(Made { texts, nevra, href, build_time, read: true })
    }

    /// The package's header, checksum and length; the checksum from the cache if it is there.
    fn take(
        &self,
        file: &mut File,
        source: &Source,
        meta: &fs::Metadata,
    ) -> Result<(Taken, Checksum, u64), String> {
        let mut intake = Intake::new(self.checksum, Verify::Structure);
        let mut buffer = vec![0; BLOCK];
        let mut slot = None;
        loop {
            let read = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.to_string()),
            };
            intake.feed(&buffer[..read]).map_err(|bad| bad.to_string())?;
            if let (Some(cache), None, Some(head)) = (&self.cache, &slot, intake.head()) {
                let path = cache.join(self.cache_name(source, meta, head));
                if let Some(sum) = cached(&path, self.checksum) {
                    let taken = intake.finish().map_err(|bad| bad.to_string())?;
                    return Ok((taken, sum, meta.len()));
                }
                slot = Some(path);
            }
        }
        let taken = intake.finish().map_err(|bad| bad.to_string())?;
        let (pkgid, size) = (taken.pkgid.clone(), taken.size);
        if let Some(slot) = slot {
            remember(&slot, &pkgid);
        }
        Ok((taken, pkgid, size))
    }

    fn cache_name(&self, source: &Source, meta: &fs::Metadata, head: &[u8]) -> String {
        let head = Checksum::of(ChecksumType::Sha256, head);
        let name = sources::file_name(&source.relative);
        format!("{name}-{}-{head}-{}-{}", self.checksum, meta.len(), meta.mtime())
    }
}

fn cached(path: &Path, kind: ChecksumType) -> Option<Checksum> {
    Checksum::from_hex(kind, fs::read_to_string(path).ok()?.trim())
}

/// A cache that cannot be written saves nothing; the metadata are right all the same.
fn remember(path: &Path, sum: &Checksum) {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    if fs::write(&beside, sum.to_hex()).is_ok() {
        let _ = fs::rename(&beside, path);
    }
}

fn unreadable(source: &Source, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        format!("{VANISHED}{}", source.path.display())
    } else {
        unreadable_for(source, error)
    }
}

/// The words up to the last colon are createrepo_c's, which scripts look for.
fn unreadable_for(source: &Source, why: &dyn std::fmt::Display) -> String {
    format!("{UNREADABLE}{}: rpmReadPackageFile() error: {why}", source.path.display())
}

/// Puts the right place where the stand-in's stands; no text of the package can look like it, for there `<` is escaped.
fn relocate(primary: &[u8], base: Option<&str>, href: &str) -> Vec<u8> {
    let stand_in = b"<location href=\"x\"/>";
    match memchr::memmem::find(primary, stand_in) {
        Some(at) => {
            let rest = &primary[at + stand_in.len()..];
            [&primary[..at], location_tag(base, href).as_bytes(), rest].concat()
        }
        None => primary.to_vec(),
    }
}
