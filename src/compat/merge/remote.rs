//! The metadata of a repository that is on a web server: fetched, and held against its repomd.xml.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};

use crate::compat::sources::file_name;
use crate::fetch;
use crate::package::Hasher;
use crate::repodata::{Record, Repomd};

/// Bytes: no repository's repomd.xml comes near.
const LONGEST_REPOMD: u64 = 16 << 20;
/// Bytes, where repomd.xml does not say.
const LONGEST: u64 = 16 << 30;
/// What a merge reads.
const KINDS: [&str; 7] = ["primary", "filelists", "other", "filelists-ext", "group", "updateinfo", "modules"];

/// Fetches the repository at `url`, which ends in a slash; returns where its files are now, and its repomd.xml.
pub fn fetch(url: &str, scratch: &Path) -> anyhow::Result<(PathBuf, Repomd)> {
    let place = tempfile_dir(scratch)?;
    let mut bytes = Vec::new();
    fetch::get(&format!("{url}repodata/repomd.xml"), LONGEST_REPOMD, &mut bytes)?;
    let repomd = Repomd::read(&bytes[..]).with_context(|| format!("cannot read {url}repodata/repomd.xml"))?;
    if repomd.record("primary").or(repomd.record("primary_zck")).is_none() {
        return Err(anyhow!("repomd.xml names no primary")).with_context(|| format!("cannot merge {url}"));
    }
    for kind in KINDS {
        let zchunk = format!("{kind}_zck");
        let Some(record) = repomd.record(kind).or(repomd.record(&zchunk)) else { continue };
        let name = file_name(&record.href);
        if matches!(name, "" | "." | "..") {
            bail!("{url}repodata/repomd.xml names {:?}, which is no file", record.href);
        }
        one(url, record, &place.join(name))?;
    }
    Ok((place, repomd))
}

fn one(url: &str, record: &Record, path: &Path) -> anyhow::Result<()> {
    let url = format!("{url}{}", record.href);
    let cannot = || format!("cannot write {}", path.display());
    let file = File::create(path).with_context(cannot)?;
    let mut sink = Hashing { file: io::BufWriter::new(file), hasher: Hasher::new(record.checksum.kind) };
    fetch::get(&url, record.size.unwrap_or(LONGEST), &mut sink)?;
    sink.flush().with_context(cannot)?;
    let found = sink.hasher.finish();
    if found != record.checksum {
        bail!(
            "{url} has the checksum {found}, repomd.xml says {}: it was changed meanwhile, or is damaged",
            record.checksum
        );
    }
    Ok(())
}

/// A new directory in `scratch`.
fn tempfile_dir(scratch: &Path) -> anyhow::Result<PathBuf> {
    for number in 0_u32.. {
        let path = scratch.join(format!("fetched-{number}"));
        match std::fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => {
                return made
                    .map(|()| path.clone())
                    .with_context(|| format!("cannot make {}", path.display()));
            }
        }
    }
    unreachable!("there are numbers enough")
}

struct Hashing {
    file: io::BufWriter<File>,
    hasher: Hasher,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
