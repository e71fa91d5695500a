//! `sqliterepo_c`: databases for a repository that has none, made from its XML, whoever wrote that.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;

use super::createrepo::{checksum_type, codec};
use super::output::{Retain, Style, Workshop};
use super::{Ending, Voice, databases, old};
use crate::repodata::element::Facts;
use crate::repodata::read::{Elements, pkgid_of};
use crate::repodata::{Codec, MetadataType, Record, Repomd};

/// Make SQLite databases from a repository's XML, as sqliterepo_c does.
#[derive(Debug, Clone, Default, Args)]
#[command(
    args_override_self = true,
    after_help = "\
Example:
  sqliterepo_c --force /srv/rpm"
)]
pub struct SqliterepoOptions {
    /// The repository.
    #[arg(value_name = "DIRECTORY")]
    pub directories: Vec<PathBuf>,
    /// Show the version of createrepo_c this behaves like, and exit.
    #[arg(short = 'V', long)]
    pub version: bool,
    /// Say nothing but warnings and errors.
    #[arg(short, long)]
    pub quiet: bool,
    /// Say more.
    #[arg(short, long)]
    pub verbose: bool,
    /// Replace databases that are there.
    #[arg(short, long)]
    pub force: bool,
    /// Leave the files of databases that were there.
    #[arg(long)]
    pub keep_old: bool,
    /// Short for --compress-type xz.
    #[arg(long)]
    pub xz: bool,
    /// Compression of the databases: bz2 (default), gz, xz, zck, zstd.
    #[arg(long, value_name = "TYPE")]
    pub compress_type: Option<String>,
    /// Checksum of the databases in repomd.xml: md5, sha1, sha224, sha256 (default), sha384, sha512.
    #[arg(long, value_name = "TYPE")]
    pub checksum: Option<String>,
    /// Make them in the directory for temporary files.
    #[arg(long)]
    pub local_sqlite: bool,
}

/// Does what `sqliterepo_c` was asked. `now` is in seconds since the epoch.
pub fn run(options: &SqliterepoOptions, now: u64) -> anyhow::Result<Ending> {
    let [directory] = &options.directories[..] else {
        bail!("Must specify exactly one repo directory to work on");
    };
    if !directory.is_dir() {
        bail!("Directory {}/ must exist", directory.display().to_string().trim_end_matches('/'));
    }
    let voice = Voice { quiet: options.quiet };
    let codec = codec(options.compress_type.as_deref())?.or(options.xz.then_some(Codec::Xz));
    let repodata = directory.join("repodata");
    let repomd = old::repomd(&repodata)?
        .ok_or_else(|| anyhow!("Repository {} has no repodata/repomd.xml", directory.display()))?;
    if !options.force && repomd.records.iter().any(is_database) {
        bail!("Repository already has sqlitedb present in repomd.xml (You may use --force)");
    }
    let style = Style {
        checksum: checksum_type(options.checksum.as_deref())?.unwrap_or_default(),
        unique: has_unique_names(&repomd),
        time: now,
        stamp: false,
    };
    voice.say("Preparing sqlite DBs");
    let workshop = Workshop::open(directory, false)?;
    let place = databases::place(&workshop, options.local_sqlite)?;
    let mut files = Vec::new();
    for kind in MetadataType::ALL {
        let record = repomd
            .record(kind.as_str())
            .ok_or_else(|| anyhow!("{} names no {}", repodata.join("repomd.xml").display(), kind.as_str()))?;
        let mut elements = Elements::new(kind, old::open(&repodata, record)?)
            .with_context(|| format!("cannot read {}", record.href))?;
        let mut texts = std::iter::from_fn(|| {
            elements.next_element().with_context(|| format!("cannot read {}", record.href)).transpose()
        })
        .map(|text| text.and_then(|text| with_pkgid(kind, text)));
        let codec = codec.unwrap_or(Codec::Bzip2);
        files.push(databases::make(&workshop, &place, record, codec, &style, &mut texts)?);
    }
    drop(place);
    let kept = repomd.records.iter().filter(|record| !is_database(record)).cloned();
    let new = Repomd {
        revision: now.to_string(),
        tags: repomd.tags.clone(),
        records: kept.chain(files.iter().map(|file| file.record.clone())).collect(),
    };
    let retain = if options.keep_old { Retain::All } else { Retain::Unlisted };
    workshop.publish(files, Some(&repomd), &new, true, retain)?;
    Voice { quiet: options.quiet || !options.verbose }.say("The databases are in place");
    Ok(Ending::Well)
}

/// A package's entry, which must say what package it is of: without its checksum the databases' rows belong to none.
fn with_pkgid(kind: MetadataType, text: String) -> anyhow::Result<String> {
    let is_there = match kind {
        MetadataType::Primary => Facts::of(&text).is_ok_and(|facts| !facts.pkgid.is_empty()),
        MetadataType::Filelists | MetadataType::Other | MetadataType::FilelistsExt => {
            pkgid_of(&text).is_ok_and(|pkgid| !pkgid.is_empty())
        }
    };
    if is_there { Ok(text) } else { Err(anyhow!("Package without pkgid (checksum)!")) }
}

fn is_database(record: &Record) -> bool {
    matches!(&*record.kind, "primary_db" | "filelists_db" | "other_db")
}

/// Whether the names of the XML files hold their checksums.
fn has_unique_names(repomd: &Repomd) -> bool {
    repomd.record("primary").is_none_or(|record| record.href.contains(&record.checksum.to_hex()))
}
