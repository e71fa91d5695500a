//! `modifyrepo_c`: puts a file into a repository's metadata, or takes one out.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;

use super::common::{Names, Zchunk};
use super::createrepo::codec;
use super::output::{Retain, Style, Workshop};
use super::{Ending, Voice, old};
use crate::package::ChecksumType;
use crate::repodata::codec::Limits;
use crate::repodata::{Codec, Repomd};

/// Bytes: more than any metadata file has.
const LONGEST: u64 = 16 << 30;
/// How the command is called.
pub const USAGE: &str = "Usage: modifyrepo_c [options] <input metadata> <output repodata>\n\
    Usage: modifyrepo_c --remove <metadata type> <output repodata>\n\
    Usage: modifyrepo_c [options] --batchfile <batch file> <output repodata>";

/// Put a file into a repository's metadata, or take one out, as modifyrepo_c does.
#[derive(Debug, Clone, Default, Args)]
#[command(
    args_override_self = true,
    after_help = "\
Examples:
  modifyrepo_c updateinfo.xml /srv/rpm/repodata
  modifyrepo_c --remove updateinfo /srv/rpm/repodata"
)]
pub struct ModifyrepoOptions {
    /// The file to put in (or the type to remove), and the repodata directory.
    #[arg(value_name = "FILE REPODATA")]
    pub arguments: Vec<String>,
    /// Show the version of createrepo_c this behaves like, and exit.
    #[arg(long)]
    pub version: bool,
    /// The type in repomd.xml; by default the file's (new) name up to the first dot.
    #[arg(long, value_name = "TYPE")]
    pub mdtype: Option<String>,
    /// Remove what is of the type named.
    #[arg(long)]
    pub remove: bool,
    /// Compress the file (default).
    #[arg(long, overrides_with = "no_compress")]
    pub compress: bool,
    /// Do not compress the file.
    #[arg(long)]
    pub no_compress: bool,
    /// Compression: zstd (default), gz, bz2, xz, zck.
    #[arg(long, value_name = "TYPE")]
    pub compress_type: Option<String>,
    /// Checksum: md5, sha1, sha224, sha256 (default), sha384, sha512.
    #[arg(short = 's', long, value_name = "TYPE")]
    pub checksum: Option<String>,
    #[command(flatten)]
    pub names: Names,
    /// Say more.
    #[arg(long)]
    pub verbose: bool,
    /// A file with many things to do, a section each.
    #[arg(short = 'f', long, value_name = "FILE")]
    pub batchfile: Option<PathBuf>,
    /// The file's new name.
    #[arg(long, value_name = "NAME")]
    pub new_name: Option<String>,
    #[command(flatten)]
    pub zchunk: Zchunk,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Task {
    /// The file, or the type to remove.
    path: String,
    kind: Option<String>,
    remove: bool,
    /// `None` for as it is.
    codec: Option<Codec>,
    checksum: ChecksumType,
    unique: bool,
    new_name: Option<String>,
}

/// Does what `modifyrepo_c` was asked. `now` is in seconds since the epoch.
pub fn run(options: &ModifyrepoOptions, now: u64) -> anyhow::Result<Ending> {
    options.zchunk.check()?;
    let (repodata, tasks) = match (&options.batchfile, &options.arguments[..]) {
        (Some(batch), [repodata]) => {
            let text = std::fs::read_to_string(batch)
                .with_context(|| format!("cannot read the batch file {}", batch.display()))?;
            (repodata, batch_tasks(&text)?)
        }
        (None, [path, repodata]) => {
            let codec = codec(options.compress_type.as_deref())?.unwrap_or(Codec::Zstd);
            let task = Task {
                path: path.clone(),
                kind: options.mdtype.clone(),
                remove: options.remove,
                codec: (!options.no_compress).then_some(codec),
                checksum: checksum(options.checksum.as_deref())?,
                unique: options.names.unique(),
                new_name: options.new_name.clone(),
            };
            (repodata, vec![task])
        }
        _ => bail!("{USAGE}"),
    };
    modify(Path::new(repodata), &tasks, &options.zchunk, now)
}

fn modify(repodata: &Path, tasks: &[Task], zchunk: &Zchunk, now: u64) -> anyhow::Result<Ending> {
    let voice = Voice { quiet: false };
    if !repodata.join("repomd.xml").is_file() {
        bail!("Regular file \"{}\" doesn't exist", repodata.join("repomd.xml").display());
    }
    if let Some(task) = tasks.iter().find(|task| !task.remove && !Path::new(&task.path).is_file()) {
        bail!("File \"{}\" is not regular file or doesn't exist", task.path);
    }
    let mut workshop = Workshop::at(repodata)?;
    workshop.dictionaries.clone_from(&zchunk.zck_dict_dir);
    let before = old::repomd(&workshop.repodata)?.ok_or_else(|| anyhow!("repomd.xml has vanished"))?;
    let mut after = before.clone();
    // Clients need one to see that something changed.
    if after.revision.is_empty() {
        after.revision = now.to_string();
    }
    let mut files = Vec::new();
    for task in tasks {
        let name = task.path.rsplit('/').next().unwrap_or(&task.path);
        if task.remove {
            let kind = task.kind.as_deref().unwrap_or(name);
            if after.record(kind).is_none() {
                voice.warn_of_library(&format!(
                    "Record of type \"{kind}\", which should be removed, doesn't exist in repomd.xml"
                ));
            }
            forget(&mut after, kind);
            continue;
        }
        let name = task.new_name.as_deref().unwrap_or(name);
        if name.contains('/') || name.is_empty() {
            bail!("{name:?} is no name for a file in {}", repodata.display());
        }
        let base = name.strip_suffix(Codec::of_name(name).suffix()).unwrap_or(name);
        let kind = task.kind.clone().unwrap_or_else(|| name.split('.').next().unwrap_or_default().to_owned());
        if kind.is_empty() {
            bail!("the type of {} cannot be told from its name; pass --mdtype", task.path);
        }
        if after.record(&kind).is_some() {
            voice.warn(&format!("Record with type \"{kind}\" already exists in repomd.xml; it is replaced"));
        }
        let style = Style { checksum: task.checksum, unique: task.unique, time: now, stamp: false };
        let cannot = || format!("cannot read {}", task.path);
        let source = File::open(&task.path).with_context(cannot)?;
        let mut text = Codec::open(source, Limits { open_size: Some(LONGEST) }).with_context(cannot)?;
        let codec = task.codec.unwrap_or(Codec::None);
        let file = workshop.write(&kind, base, codec, &style, |sink| {
            std::io::copy(&mut text, sink).with_context(cannot)?;
            Ok(())
        })?;
        let zchunk = zchunk.zck.then(|| workshop.write_zchunk(&file, base, &style)).transpose()?;
        forget(&mut after, &kind);
        for file in [Some(file), zchunk].into_iter().flatten() {
            after.records.push(file.record.clone());
            files.push(file);
        }
    }
    workshop.publish(files, Some(&before), &after, true, Retain::Unlisted)?;
    Ok(Ending::Well)
}

/// The checksum of this name, sha256 without one.
fn checksum(name: Option<&str>) -> anyhow::Result<ChecksumType> {
    let found = name.map(str::parse).transpose();
    Ok(found
        .map_err(|_| anyhow!("Unknown checksum type {:?}\n{USAGE}", name.unwrap_or_default()))?
        .unwrap_or_default())
}

/// Removes a type, and the zchunk file that said the same: clients would take that for the newest.
fn forget(repomd: &mut Repomd, kind: &str) {
    repomd.records.retain(|record| {
        record.kind.strip_suffix("_zck").unwrap_or(&record.kind) != kind && record.kind != kind
    });
}

/// Reads a batch file: sections named after files, with `path`, `type`, `remove`, `compress`, `compress-type`,
/// `checksum`, `unique-md-filenames` and `new-name` in them.
fn batch_tasks(text: &str) -> anyhow::Result<Vec<Task>> {
    let mut tasks: Vec<Task> = Vec::new();
    let mut compressed: Vec<(bool, Codec)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        let at = number + 1;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            tasks.push(Task {
                path: name.to_owned(),
                kind: None,
                remove: false,
                codec: None,
                checksum: ChecksumType::default(),
                unique: true,
                new_name: None,
            });
            compressed.push((true, Codec::Zstd));
            continue;
        }
        let (Some((key, value)), Some(task), Some(how)) =
            (line.split_once('='), tasks.last_mut(), compressed.last_mut())
        else {
            bail!("the batch file's line {at} is neither a [section] nor key=value in one: {line:?}");
        };
        let (key, value) = (key.trim(), value.trim());
        let truth = || match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(anyhow!("the batch file's line {at}: {key} is true or false, not {value:?}")),
        };
        match key {
            "path" => value.clone_into(&mut task.path),
            "type" => task.kind = Some(value.to_owned()),
            "remove" => task.remove = truth()?,
            "compress" => how.0 = truth()?,
            "compress-type" => how.1 = codec(Some(value))?.unwrap_or(Codec::Zstd),
            "checksum" => task.checksum = checksum(Some(value))?,
            "unique-md-filenames" => task.unique = truth()?,
            "new-name" => task.new_name = Some(value.to_owned()),
            // createrepo_c passes over what it does not know.
            _ => {}
        }
    }
    for (task, (compress, codec)) in tasks.iter_mut().zip(compressed) {
        task.codec = compress.then_some(codec);
    }
    Ok(tasks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_section_by_section() {
        let tasks = batch_tasks(
            "# c\n[a.xml]\ncompress-type=gz\n[x]\npath = b\ntype=t\nunique-md-filenames=false\ncompress=0\n[u]\nremove=true\n",
        )
        .unwrap();
        assert_eq!(tasks.len(), 3);
        assert_eq!((&*tasks[0].path, tasks[0].codec, tasks[0].unique), ("a.xml", Some(Codec::Gzip), true));
        assert_eq!((&*tasks[1].path, tasks[1].codec, tasks[1].unique), ("b", None, false));
        assert_eq!(tasks[1].kind.as_deref(), Some("t"));
        assert!(tasks[2].remove);
        for (text, why) in [("a=b", "line 1"), ("[a]\nx", "line 2"), ("[a]\nremove=maybe", "true or false")] {
            assert!(batch_tasks(text).unwrap_err().to_string().contains(why), "{text}");
        }
    }
}
