//! Metadata beyond packages: comps, and what the old repomd.xml names and we do not make.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::Plan;
use crate::compat::Voice;
use crate::compat::output::{Finished, Style, Workshop};
use crate::compat::sources::{Source, file_name};
use crate::fetch;
use crate::package::{ChecksumType, Hasher};
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
        take(&file.relative, &file.path).with_context(|| {
            format!("cannot take in the modules of {}; mend or exclude it", file.relative)
        })?;
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
    Ok(Modules::read(Codec::open(file, Limits { open_size: Some(longest(MODULES)) })?)?)
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
        if record.checksum.kind != plan.repomd_checksum {
            let cannot = || format!("cannot read {}", path.display());
            record.checksum =
                hash(File::open(&path).with_context(cannot)?, plan.repomd_checksum).with_context(cannot)?;
            if record.open_checksum.is_some() {
                let file = File::open(&path).with_context(cannot)?;
                let open = Codec::open(file, Limits { open_size: None }).with_context(cannot)?;
                record.open_checksum = Some(hash(open, plan.repomd_checksum).with_context(cannot)?);
            }
        }
        if style.stamp {
            record.timestamp = style.time;
        }
        carried.push(record);
    }
    Ok(carried)
}

fn hash(file: impl Read, kind: ChecksumType) -> std::io::Result<crate::package::Checksum> {
    let mut hasher = Hasher::new(kind);
    let mut buffer = [0; 64 << 10];
    let mut file = BufReader::new(file);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&buffer[..read]),
        }
    }
}
