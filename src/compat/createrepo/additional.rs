//! Metadata beyond packages: comps, and what the old repomd.xml names and we do not make.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};

use super::Plan;
use crate::compat::Voice;
use crate::compat::output::{Finished, Style, Workshop};
use crate::compat::sources::{Source, file_name};
use crate::fetch;
use crate::package::{Checksum, ChecksumType, Hasher};
use crate::repodata::additional::{MODULES, longest};
use crate::repodata::codec::Limits;
use crate::repodata::modules::{Modules, PassedOver};
use crate::repodata::{Codec, Record, Repomd};

/// Bytes: more than any comps file has.
const LONGEST: u64 = 1 << 30;

/// Takes a comps file in, however it is compressed; `base` is what its name will end in, without compression.
pub fn groups(
    workshop: &Workshop,
    path: &Path,
    base: &str,
    codec: Codec,
    style: &Style,
) -> anyhow::Result<Finished> {
    let path: &Path = &local(path, workshop.scratch())?;
    let cannot = || format!("cannot read the groupfile {}", path.display());
    let file = File::open(path).with_context(cannot)?;
    let mut text = Codec::open(file, Limits { open_size: Some(LONGEST) }).with_context(cannot)?;
    workshop.write("group", base, codec, style, |sink| {
        std::io::copy(&mut text, sink).with_context(cannot)?;
        Ok(())
    })
}

/// Where a file can be read: fetched into `scratch`, if it is named by its URL.
fn local(path: &Path, scratch: &Path) -> anyhow::Result<PathBuf> {
    let Some((url, (scheme, rest))) = path.to_str().and_then(|url| Some((url, url.split_once("://")?)))
    else {
        return Ok(path.to_owned());
    };
    if scheme == "file" {
        return Ok(rest.into());
    }
    let local = scratch.join("groupfile");
    let mut file = File::create(&local).with_context(|| format!("cannot write {}", local.display()))?;
    fetch::get(url, LONGEST, &mut file)?;
    Ok(local)
}

/// The modules of these files, merged by libmodulemd's rules, with what was published before behind them; `None`
/// where no file has any. A file that cannot be taken is an error: without its modules, their packages would be
/// offered to everybody. What cannot be taken of the old ones is a problem.
pub(super) fn merged_modules(
    files: &[Source],
    repodata: &Path,
    earlier: Option<&Repomd>,
    problems: &mut Vec<String>,
    voice: Voice,
) -> anyhow::Result<Option<Modules>> {
    let mut merged: Option<Modules> = None;
    let mut take = |origin: &str, path: &Path| {
        let into = merged.get_or_insert_default();
        let passed_over = read_modules(path).and_then(|modules| Ok(into.merge(modules)?))?;
        for PassedOver(stream) in passed_over {
            voice.warn(&format!("{stream} of {origin} differs from an earlier file's, which stays"));
        }
        anyhow::Ok(())
    };
    for file in files {
        let cannot = || format!("Critical: Could not load module index file {}", file.path.display());
        // These words are createrepo_c's, which scripts look for.
        if !file.path.is_file() {
            let path = file.path.display();
            return Err(anyhow!("Cannot open {path}: File {path} doesn't exist or not a regular file"))
                .with_context(cannot);
        }
        take(&file.relative, &file.path).with_context(cannot)?;
    }
    if !files.is_empty()
        && let Some(record) = earlier.and_then(|repomd| repomd.record(MODULES))
    {
        let name = file_name(&record.href);
        if let Err(error) = take(name, &repodata.join(name)) {
            problems.push(format!("Left out the modules of {name}: {error:#}"));
        }
    }
    Ok(merged.filter(|modules| !modules.is_empty()))
}

fn read_modules(path: &Path) -> anyhow::Result<Modules> {
    let file = File::open(path).context("cannot open it")?;
    Ok(Modules::read_strictly(Codec::open(file, Limits { open_size: Some(longest(MODULES)) })?)?)
}

/// The kinds that are made from packages, whose old files therefore say nothing any more.
fn is_made(kind: &str) -> bool {
    let base = kind.strip_suffix("_db").or_else(|| kind.strip_suffix("_zck")).unwrap_or(kind);
    matches!(base, "primary" | "filelists" | "other" | "filelists-ext")
}

/// The old records that stay, with their files.
pub(super) fn carried_over(
    repodata: &Path,
    old: &Repomd,
    plan: &Plan,
    style: &Style,
    voice: Voice,
) -> anyhow::Result<Vec<Record>> {
    let mut carried = Vec::new();
    for record in &old.records {
        let is_group = record.kind == "group" || record.kind.starts_with("group_");
        if is_made(&record.kind) || (is_group && plan.groupfile.is_some()) {
            continue;
        }
        let name = file_name(&record.href);
        let path = repodata.join(name);
        if name.is_empty() || !path.is_file() {
            voice.warn(&format!("{} is left out: there is no {}", record.kind, path.display()));
            continue;
        }
        voice.say(&format!("Using {name} from target repo"));
        let mut record = record.clone();
        let Some(found) = sums(&path, &record, plan.repomd_checksum)? else {
            voice.warn(&format!("{} is left out: {} is damaged", record.kind, path.display()));
            continue;
        };
        if found.is_other_than(&record) {
            if record.header.is_some() {
                voice.warn(&format!(
                    "{} is left out: {} was changed in its place",
                    record.kind,
                    path.display()
                ));
                continue;
            }
            voice.warn(&format!("{} was changed in its place: its checksum is written anew", path.display()));
            record.timestamp = style.time;
        }
        found.into_record(&mut record);
        if style.stamp {
            record.timestamp = style.time;
        }
        carried.push(record);
    }
    Ok(carried)
}

/// zchunk files that say the same as the `carried` files, for those that have none among them.
pub(super) fn zchunk_twins(
    workshop: &Workshop,
    carried: &[Record],
    style: &Style,
) -> anyhow::Result<Vec<Finished>> {
    let lacks_one = |record: &&Record| {
        let twin = format!("{}_zck", record.kind);
        !record.kind.ends_with("_zck") && !carried.iter().any(|other| other.kind == twin)
    };
    let twin = |record: &Record| {
        let name = file_name(&record.href);
        let plain = name.strip_prefix(&format!("{}-", record.checksum)).unwrap_or(name);
        let base = plain.strip_suffix(Codec::of_name(plain).suffix()).unwrap_or(plain);
        workshop.zchunk_of(&workshop.repodata.join(name), record, base, style)
    };
    carried.iter().filter(lacks_one).map(twin).collect()
}

/// What lies in a file that is carried over: sums as the record states them, and as it is to state them.
struct Sums {
    stated: Checksum,
    checksum: Checksum,
    size: u64,
    /// Of the text, where the file is compressed.
    open: Option<(Checksum, Checksum, u64)>,
}

impl Sums {
    /// Whether the file has other bytes than the record says.
    fn is_other_than(&self, record: &Record) -> bool {
        self.stated != record.checksum
            || self.open.as_ref().zip(record.open_checksum.as_ref()).is_some_and(|(open, sum)| open.0 != *sum)
    }

    fn into_record(self, record: &mut Record) {
        (record.checksum, record.size) = (self.checksum, Some(self.size));
        if let Some((_, sum, size)) = self.open {
            (record.open_checksum, record.open_size) = (Some(sum), Some(size));
        }
    }
}

/// Reads the file at `path`, whose sums are to be of the type `wanted`; `None` where it cannot be decompressed.
fn sums(path: &Path, record: &Record, wanted: ChecksumType) -> anyhow::Result<Option<Sums>> {
    let cannot = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(cannot)?;
    let (stated, checksum, size) = hash(file, record.checksum.kind, wanted).with_context(cannot)?;
    let open = match &record.open_checksum {
        None => None,
        Some(sum) => {
            let file = File::open(path).with_context(cannot)?;
            let text =
                Codec::open(file, Limits { open_size: None }).and_then(|text| hash(text, sum.kind, wanted));
            let Ok(open) = text else { return Ok(None) };
            Some(open)
        }
    };
    Ok(Some(Sums { stated, checksum, size, open }))
}

/// The checksums of two types, and the length, of what is read.
fn hash(
    file: impl Read,
    one: ChecksumType,
    other: ChecksumType,
) -> std::io::Result<(Checksum, Checksum, u64)> {
    let (mut first, mut second, mut size) = (Hasher::new(one), Hasher::new(other), 0);
    let mut buffer = [0; 64 << 10];
    let mut file = BufReader::new(file);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((first.finish(), second.finish(), size)),
            read => {
                first.update(&buffer[..read]);
                second.update(&buffer[..read]);
                size += read as u64;
            }
        }
    }
}
