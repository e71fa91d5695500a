//! Where a command's files go: made aside, shown in one step, with nothing missing in between.
//!
//! createrepo_c makes the whole directory anew as `.repodata/` and swaps two names; for an instant
//! there is no `repodata/`. Here the files go into `repodata/` beside the old ones, and then
//! repomd.xml is renamed. `.repodata/` is still what tells two commands from each other (also
//! createrepo_c itself), and a file in it that is locked tells whether its maker lives.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow};

use super::spool::Spool;
use crate::package::{Checksum, ChecksumType, Hasher};
use crate::repodata::codec::Limits;
use crate::repodata::{Codec, Record, Repomd, zchunk};

const MARKER: &str = ".createrepod";

/// One run's right to write into `<directory>/repodata`.
pub struct Workshop {
    hidden: PathBuf,
    /// `hidden` by its descriptor: whoever may write into the directory could put a link in its place.
    works: Anchor,
    pub repodata: PathBuf,
    /// Where dictionaries for zchunk files lie, if anywhere.
    pub dictionaries: Option<PathBuf>,
    _lock: File,
}

/// A metadata file, complete but not visible yet.
pub struct Finished {
    path: PathBuf,
    /// Its name in `repodata/`.
    pub name: String,
    pub record: Record,
}

/// How files are made.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    pub checksum: ChecksumType,
    /// The checksum stands in the file's name.
    pub unique: bool,
    /// Seconds since the epoch: of the record, and where `stamp` also of the file.
    pub time: u64,
    pub stamp: bool,
}

/// What a compressed text was, and a zchunk file's header checksum and length.
type Packed = (Hasher, u64, Option<(Checksum, u64)>);

/// What becomes of files that were there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retain {
    /// Those that the old repomd.xml names go.
    Unlisted,
    All,
    /// Of each kind of package metadata the newest so many stay.
    Newest(usize),
    /// Those younger than this stay.
    Younger(Duration),
}

impl Workshop {
    pub fn open(directory: &Path, ignore_lock: bool) -> anyhow::Result<Self> {
        Self::take(directory.join(".repodata"), directory.join("repodata"), ignore_lock)
    }

    /// For a `repodata` directory that is there, whatever its name.
    pub fn at(repodata: &Path) -> anyhow::Result<Self> {
        let real = repodata.canonicalize().with_context(|| format!("cannot find {}", repodata.display()))?;
        let above = real.parent().unwrap_or(&real);
        Self::take(above.join(".repodata"), real.clone(), false)
    }

    fn take(hidden: PathBuf, repodata: PathBuf, ignore_lock: bool) -> anyhow::Result<Self> {
        let cannot = || format!("cannot make {}", hidden.display());
        match fs::create_dir(&hidden) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let abandoned = File::open(hidden.join(MARKER)).is_ok_and(|marker| marker.try_lock().is_ok());
                if !abandoned && !ignore_lock {
                    return Err(anyhow!(
                        "Temporary repodata directory {}/ already exists! (Another createrepo process is \
                         running? If none is, remove the directory or pass --ignore-lock)",
                        hidden.display()
                    ));
                }
                fs::remove_dir_all(&hidden).with_context(|| format!("cannot remove {}", hidden.display()))?;
                fs::create_dir(&hidden).with_context(cannot)?;
            }
            made => made.with_context(cannot)?,
        }
        let works = Anchor::of(&hidden).with_context(cannot)?;
        if !works.is_ours().with_context(cannot)? {
            return Err(anyhow!("{} is not the directory that was just made", hidden.display()));
        }
        let lock = File::create(works.path().join(MARKER)).with_context(cannot)?;
        lock.try_lock().with_context(cannot)?;
        Ok(Self { hidden, works, repodata, dictionaries: None, _lock: lock })
    }

    /// For what is in the works.
    pub fn scratch(&self) -> &Path {
        self.works.path()
    }

    /// Makes a file: `base` is its name without checksum and compression, such as `primary.xml`.
    pub fn write(
        &self,
        kind: &str,
        base: &str,
        codec: Codec,
        style: &Style,
        fill: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
    ) -> anyhow::Result<Finished> {
        let suffixed = format!("{base}{}", codec.suffix());
        // A comps file may be called other.xml, too.
        let name = format!("{kind}.{suffixed}");
        let (path, cannot) =
            (self.scratch().join(&name), || format!("cannot write {}", self.hidden.join(&name).display()));
        let file = File::create(&path).with_context(cannot)?;
        let mut packed = Hashing::new(BufWriter::with_capacity(256 << 10, file), style.checksum);
        let (open_hasher, open_size, header) = match codec {
            Codec::Zchunk => self.compress_zchunk(base, &mut packed, style.checksum, fill, cannot)?,
            _ => {
                let (hasher, len) = compress(codec, &mut packed, style.checksum, fill, cannot)?;
                (hasher, len, None)
            }
        };
        let Hashing { inner: file, hasher, len: size } = packed;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error).with_context(cannot)?;
        if style.stamp {
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(style.time))
                .with_context(cannot)?;
        }
        file.sync_all().with_context(cannot)?;
        let checksum = hasher.finish();
        let name = if style.unique { format!("{checksum}-{suffixed}") } else { suffixed };
        let compressed = codec != Codec::None;
        let record = Record {
            kind: kind.to_owned(),
            checksum,
            open_checksum: compressed.then(|| open_hasher.finish()),
            href: format!("repodata/{name}"),
            base: None,
            timestamp: style.time,
            size: Some(size),
            open_size: compressed.then_some(open_size),
            header,
            database_version: None,
        };
        Ok(Finished { path, name, record })
    }

    /// Makes the zchunk file that says the same as `file`; `base` as for [`Self::write`].
    pub fn write_zchunk(&self, file: &Finished, base: &str, style: &Style) -> anyhow::Result<Finished> {
        self.zchunk_of(&file.path, &file.record, base, style)
    }

    /// The same of the file at `path`, which `record` describes.
    pub fn zchunk_of(
        &self,
        path: &Path,
        record: &Record,
        base: &str,
        style: &Style,
    ) -> anyhow::Result<Finished> {
        let cannot = || format!("cannot read {}", record.href);
        let packed = File::open(path).with_context(cannot)?;
        let limits = Limits { open_size: record.open_size.or(record.size) };
        let mut text = Codec::open(packed, limits).with_context(cannot)?;
        self.write(&format!("{}_zck", record.kind), base, Codec::Zchunk, style, |sink| {
            io::copy(&mut text, sink).with_context(cannot)?;
            Ok(())
        })
    }

    /// The header can be made when all chunks are there, so these wait in a file without a name.
    fn compress_zchunk(
        &self,
        base: &str,
        sink: &mut dyn Write,
        checksum: ChecksumType,
        fill: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
        cannot: impl Fn() -> String,
    ) -> anyhow::Result<Packed> {
        let mut dictionary = Vec::new();
        if let Some(place) = &self.dictionaries {
            let path = place.join(format!("{base}.zdict"));
            match fs::read(&path) {
                Ok(bytes) => dictionary = bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
            }
        }
        let spool = Spool::new(self.scratch()).with_context(&cannot)?;
        let writer = zchunk::Writer::new(spool, &dictionary).with_context(&cannot)?;
        let mut open = Hashing::new(writer, checksum);
        fill(&mut open)?;
        let Hashing { inner: writer, hasher, len } = open;
        let (header, spool) = writer.finish().with_context(&cannot)?;
        sink.write_all(&header.bytes).with_context(&cannot)?;
        spool.into_reader().and_then(|body| body.copy_to(sink)).with_context(&cannot)?;
        Ok((hasher, len, Some((header.checksum, header.bytes.len() as u64))))
    }

    /// Shows the files and `repomd`, then removes what is not to be retained.
    pub fn publish(
        self,
        files: Vec<Finished>,
        old: Option<&Repomd>,
        repomd: &Repomd,
        pretty: bool,
        retain: Retain,
    ) -> anyhow::Result<()> {
        let mut names = HashSet::new();
        if let Some(twice) = files.iter().find(|file| !names.insert(&file.name)) {
            return Err(anyhow!(
                "two files would be called {}: rename the one of type {}, or leave out --simple-md-filenames",
                twice.name,
                twice.record.kind
            ));
        }
        refuse_strange_link(&self.repodata)?;
        let cannot = || format!("cannot make {}", self.repodata.display());
        fs::create_dir_all(&self.repodata).with_context(cannot)?;
        let target = Anchor::of(&self.repodata.canonicalize().with_context(cannot)?).with_context(cannot)?;
        let before =
            list(target.path()).with_context(|| format!("cannot list {}", self.repodata.display()))?;
        let mut text = Vec::new();
        repomd.write(&mut text)?;
        let new_repomd = self.scratch().join("repomd.xml");
        let write = || -> io::Result<()> {
            let mut file = File::create(&new_repomd)?;
            file.write_all(&if pretty { text } else { unindented(&text) })?;
            file.sync_all()
        };
        write().with_context(|| format!("cannot write {}", self.hidden.join("repomd.xml").display()))?;
        for file in &files {
            self.show(&file.path, &target, &file.name)?;
        }
        self.sync(&target)?;
        // A signature of the old repomd.xml beside the new one is what clients cannot forgive.
        for stale in ["repomd.xml.asc", "repomd.xml.key"] {
            remove(&target, stale)?;
        }
        self.show(&new_repomd, &target, "repomd.xml")?;
        self.sync(&target)?;
        let new: HashSet<&str> =
            repomd.records.iter().filter_map(|r| r.href.rsplit('/').next()).chain(["repomd.xml"]).collect();
        let listed: HashSet<&str> =
            old.iter().flat_map(|old| &old.records).filter_map(|r| r.href.rsplit('/').next()).collect();
        for name in to_remove(&before, &listed, &new, retain, SystemTime::now()) {
            remove(&target, name)?;
        }
        Ok(())
    }

    fn show(&self, from: &Path, target: &Anchor, name: &str) -> anyhow::Result<()> {
        let cannot = || format!("cannot write {}", self.repodata.join(name).display());
        let to = target.path().join(name);
        match fs::rename(from, &to) {
            // repodata/ may be a link to another file system.
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let beside = target.path().join(format!(".{name}.new"));
                let copy = || -> io::Result<()> {
                    // Of one that was killed in between; what has the name is never written to.
                    let _ = fs::remove_file(&beside);
                    let mut made = File::create_new(&beside)?;
                    io::copy(&mut File::open(from)?, &mut made)?;
                    made.sync_all()?;
                    fs::rename(&beside, &to)
                };
                copy().with_context(cannot)
            }
            done => done.with_context(cannot),
        }
    }

    fn sync(&self, target: &Anchor) -> anyhow::Result<()> {
        target.directory.sync_all().with_context(|| format!("cannot write {}", self.repodata.display()))
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // The next run recognises what could not be removed as abandoned.
        let _ = fs::remove_dir_all(&self.hidden);
    }
}

/// A directory held open, and a path that leads to it whatever has its name meanwhile.
struct Anchor {
    directory: File,
    path: PathBuf,
}

impl Anchor {
    /// The directory itself; a link to one is refused.
    fn of(path: &Path) -> io::Result<Self> {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        // A bare chroot has no /proc: there the directory goes by its name.
        let path = if by_descriptor.exists() { by_descriptor } else { path.to_owned() };
        Ok(Self { directory, path })
    }

    fn path(&self) -> &Path {
        &self.path
    }

    /// Whether what we make belongs to the same user.
    fn is_ours(&self) -> io::Result<bool> {
        let probe = self.path.join(MARKER);
        let made = File::create_new(&probe)?.metadata()?.uid();
        Ok(made == self.directory.metadata()?.uid())
    }
}

/// A link may lead to another file system. One that somebody else has put there is not followed.
fn refuse_strange_link(repodata: &Path) -> anyhow::Result<()> {
    let Ok(metadata) = fs::symlink_metadata(repodata) else { return Ok(()) };
    let us = rustix::process::geteuid().as_raw();
    if metadata.is_symlink() && metadata.uid() != us && metadata.uid() != 0 {
        return Err(anyhow!(
            "{} is a symbolic link that belongs to the user with the number {}, and this runs as {us}: it is not \
             followed; remove it",
            repodata.display(),
            metadata.uid()
        ));
    }
    Ok(())
}

/// Compresses what `fill` writes; returns the checksum and length of that.
fn compress(
    codec: Codec,
    sink: &mut dyn Write,
    checksum: ChecksumType,
    fill: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
    cannot: impl Fn() -> String,
) -> anyhow::Result<(Hasher, u64)> {
    let mut open = Hashing::new(codec.create(sink).with_context(&cannot)?, checksum);
    fill(&mut open)?;
    let Hashing { inner: encoder, hasher, len } = open;
    encoder.finish().with_context(&cannot)?;
    Ok((hasher, len))
}

/// Counts and hashes what goes through.
struct Hashing<W> {
    inner: W,
    hasher: Hasher,
    len: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W, kind: ChecksumType) -> Self {
        Self { inner, hasher: Hasher::new(kind), len: 0 }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Without the line breaks and indentation between elements; repomd.xml has no text with line breaks of its own.
fn unindented(xml: &[u8]) -> Vec<u8> {
    let mut lines = xml.split(|byte| *byte == b'\n');
    let mut out = lines.next().unwrap_or_default().to_vec();
    out.push(b'\n');
    for line in lines {
        out.extend_from_slice(line.trim_ascii_start());
    }
    out.push(b'\n');
    out
}

fn remove(directory: &Anchor, name: &str) -> anyhow::Result<()> {
    match fs::remove_file(directory.path().join(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {name}"))
        }
        _ => Ok(()),
    }
}

/// The files in `repodata`, with their times.
fn list(repodata: &Path) -> io::Result<Vec<(String, SystemTime)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(repodata)? {
        let entry = entry?;
        if let (Ok(name), Ok(meta)) = (entry.file_name().into_string(), entry.metadata())
            && !meta.is_dir()
        {
            files.push((name, meta.modified().unwrap_or(SystemTime::UNIX_EPOCH)));
        }
    }
    Ok(files)
}

/// Decides which of the files that were there before go.
fn to_remove<'a>(
    before: &'a [(String, SystemTime)],
    listed: &HashSet<&str>,
    new: &HashSet<&str>,
    retain: Retain,
    now: SystemTime,
) -> Vec<&'a str> {
    let old = before.iter().filter(|(name, _)| !new.contains(&**name));
    match retain {
        Retain::All => Vec::new(),
        Retain::Unlisted => old.map(|(n, _)| &**n).filter(|name| listed.contains(name)).collect(),
        Retain::Younger(age) => {
            let limit = now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
            old.filter(|(_, time)| *time < limit).map(|(name, _)| &**name).collect()
        }
        Retain::Newest(count) => {
            let mut old: Vec<_> = old.collect();
            old.sort_by(|a, b| (b.1, &b.0).cmp(&(a.1, &a.0)));
            let mut seen = std::collections::HashMap::new();
            let mut gone = Vec::new();
            for (name, _) in old {
                match class(name) {
                    Some(class) => {
                        let kept = seen.entry(class).or_insert(0);
                        *kept += 1;
                        if *kept > count {
                            gone.push(&**name);
                        }
                    }
                    None if listed.contains(&**name) => gone.push(name),
                    None => {}
                }
            }
            gone
        }
    }
}

/// Which of the classical metadata files a name stands for.
fn class(name: &str) -> Option<&'static str> {
    const CLASSES: [&str; 6] =
        ["primary.xml", "filelists.xml", "other.xml", "primary.sqlite", "filelists.sqlite", "other.sqlite"];
    CLASSES.into_iter().find(|class| {
        name.find(class).is_some_and(|at| {
            let rest = &name[at + class.len()..];
            (at == 0 || name[..at].ends_with('-')) && (rest.is_empty() || rest.starts_with('.'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_depends_on_the_rule() {
        let time = |age: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(10_000 - age);
        let file = |name: &str, age| (name.to_owned(), time(age));
        let before = [
            file("1-primary.xml.gz", 30),
            file("2-primary.xml.zst", 20),
            file("3-primary.xml.zst", 10),
            file("primary.sqlite.bz2", 40),
            file("3-filelists-ext.xml.gz", 10),
            file("mine", 50),
        ];
        let listed = HashSet::from(["3-primary.xml.zst", "3-filelists-ext.xml.gz", "2-primary.xml.zst"]);
        let new = HashSet::from(["3-primary.xml.zst"]);
        let gone = |retain| {
            let mut gone = to_remove(&before, &listed, &new, retain, time(0));
            gone.sort_unstable();
            gone
        };
        assert_eq!(gone(Retain::All), [""; 0]);
        assert_eq!(gone(Retain::Unlisted), ["2-primary.xml.zst", "3-filelists-ext.xml.gz"]);
        assert_eq!(gone(Retain::Newest(1)), ["1-primary.xml.gz", "3-filelists-ext.xml.gz"]);
        assert_eq!(gone(Retain::Younger(Duration::from_secs(35))), ["mine", "primary.sqlite.bz2"]);
    }

    #[test]
    fn one_run_at_a_time_and_nothing_is_left_of_a_dead_one() {
        let dir = tempfile::tempdir().unwrap();
        let first = Workshop::open(dir.path(), false).unwrap();
        assert!(Workshop::open(dir.path(), false).is_err(), "while the first one lives");
        drop(first);
        assert!(!dir.path().join(".repodata").exists());
        // createrepo_c's own lock is a bare directory.
        fs::create_dir(dir.path().join(".repodata")).unwrap();
        assert!(Workshop::open(dir.path(), false).is_err());
        drop(Workshop::open(dir.path(), true).unwrap());
        // Killed, we leave the directory, but nobody holds the file in it.
        fs::create_dir(dir.path().join(".repodata")).unwrap();
        fs::write(dir.path().join(".repodata").join(MARKER), "").unwrap();
        drop(Workshop::open(dir.path(), false).unwrap());
        assert!(!dir.path().join(".repodata").exists());
    }
}
