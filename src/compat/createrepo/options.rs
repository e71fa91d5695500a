//! createrepo_c's options, and what they mean together.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Args;

use crate::compat::Voice;
use crate::compat::common::{Databases, Names, Zchunk};
use crate::compat::output::Retain;
use crate::package::ChecksumType;
use crate::repodata::{Codec, Tags};

/// Make the metadata of a directory once, as createrepo_c does.
#[derive(Debug, Clone, Default, Args)]
#[command(
    args_override_self = true,
    after_help = "\
Examples:
  createrepo_c /srv/rpm
  createrepo_c --update --workers 4 --groupfile comps.xml /srv/rpm
  createrepo_c --compatibility /srv/rpm        for EL7 and older"
)]
pub struct CreaterepoOptions {
    /// The directory to index; several with --split.
    #[arg(value_name = "DIRECTORY")]
    pub directories: Vec<String>,
    /// Show the version of createrepo_c this behaves like, and exit.
    #[arg(short = 'V', long)]
    pub version: bool,
    /// Say nothing but warnings and errors.
    #[arg(short, long)]
    pub quiet: bool,
    /// Say more.
    #[arg(short, long)]
    pub verbose: bool,
    /// Leave out packages whose name or path matches; * and ? match anything. Can be given more than once.
    #[arg(short = 'x', long, value_name = "GLOB")]
    pub excludes: Vec<String>,
    /// The directory that the other directories are relative to.
    #[arg(long, value_name = "DIR")]
    pub basedir: Option<PathBuf>,
    /// xml:base of every package.
    #[arg(short = 'u', long, value_name = "URL")]
    pub baseurl: Option<String>,
    /// A comps file to include, absolute or relative to the directory that is indexed.
    #[arg(short, long, value_name = "FILE")]
    pub groupfile: Option<String>,
    /// Checksum of packages and metadata: md5, sha1, sha224, sha256 (default), sha384, sha512.
    #[arg(short = 's', long, value_name = "TYPE")]
    pub checksum: Option<String>,
    /// Checksum of metadata files in repomd.xml, where it is to differ.
    #[arg(long, value_name = "TYPE")]
    pub repomd_checksum: Option<String>,
    /// Indent the XML (default).
    #[arg(short, long, overrides_with = "no_pretty")]
    pub pretty: bool,
    /// Do not indent the XML.
    #[arg(long)]
    pub no_pretty: bool,
    #[command(flatten)]
    pub sqlite: Databases,
    /// Make filelists-ext too: the digests of the files in the packages.
    #[arg(long)]
    pub filelists_ext: bool,
    /// Keep the entries of packages whose size and time are as before.
    #[arg(long)]
    pub update: bool,
    /// More old metadata to take entries from; only with --update. Can be given more than once.
    #[arg(long, value_name = "DIR")]
    pub update_md_path: Vec<PathBuf>,
    /// With --update, take a package of the same name for the same without looking at it.
    #[arg(long)]
    pub skip_stat: bool,
    /// With --update, take the list of packages from the old metadata.
    #[arg(long)]
    pub recycle_pkglist: bool,
    /// A file with the packages to index, one a line, relative to the directory.
    #[arg(short = 'i', long, value_name = "FILE")]
    pub pkglist: Option<PathBuf>,
    /// A package to index, relative to the directory. Can be given more than once.
    #[arg(short = 'n', long, value_name = "PACKAGE")]
    pub includepkg: Vec<String>,
    /// Where repodata/ goes, instead of the directory that is indexed.
    #[arg(short, long, value_name = "DIR")]
    pub outputdir: Option<PathBuf>,
    /// Leave out packages that are symbolic links.
    #[arg(short = 'S', long)]
    pub skip_symlinks: bool,
    /// Changelog entries of each package; -1 for all.
    #[arg(long, value_name = "N", default_value = "10", allow_negative_numbers = true)]
    pub changelog_limit: i64,
    #[command(flatten)]
    pub names: Names,
    /// 0 (default): remove the files that the old repomd.xml names; more: keep them all. With --compatibility: keep N of each.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub retain_old_md: Option<i64>,
    /// Remove files in repodata/ that are older: 90m, 2h, 30d, or seconds.
    #[arg(long, value_name = "AGE")]
    pub retain_old_md_by_age: Option<String>,
    /// A tag for the distribution, with its CPE identifier before a comma. Can be given more than once.
    #[arg(long, value_name = "CPEID,TEXT")]
    pub distro: Vec<String>,
    /// A tag for the content. Can be given more than once.
    #[arg(long, value_name = "TAG")]
    pub content: Vec<String>,
    /// A tag for the repository. Can be given more than once.
    #[arg(long, value_name = "TAG")]
    pub repo: Vec<String>,
    /// The revision in repomd.xml; the time by default.
    #[arg(long, value_name = "TEXT")]
    pub revision: Option<String>,
    /// Use --revision, or SOURCE_DATE_EPOCH without it, for all times in repomd.xml and of the files.
    #[arg(long)]
    pub set_timestamp_to_revision: bool,
    /// Write the paths of the packages that were read to this file.
    #[arg(long, value_name = "FILE")]
    pub read_pkgs_list: Option<PathBuf>,
    /// Packages read at a time, 1 to 100; by default as many as there are processors.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub workers: Option<i64>,
    /// Short for --compress-type xz.
    #[arg(long)]
    pub xz: bool,
    /// Compression of additional metadata and databases: bz2, gz, xz, zck, zstd.
    #[arg(long, value_name = "TYPE")]
    pub compress_type: Option<String>,
    /// Compression of everything: bz2, gz, xz, zck, zstd.
    #[arg(long, value_name = "TYPE")]
    pub general_compress_type: Option<String>,
    #[command(flatten)]
    pub zchunk: Zchunk,
    /// With --update, keep updateinfo, modules and the like (default).
    #[arg(long, overrides_with = "discard_additional_metadata")]
    pub keep_all_metadata: bool,
    /// With --update, drop updateinfo, modules and the like.
    #[arg(long)]
    pub discard_additional_metadata: bool,
    /// For yum: gzip, databases, plain comps, and the old meaning of --retain-old-md.
    #[arg(long)]
    pub compatibility: bool,
    /// A directory where the checksums of packages are remembered.
    #[arg(short, long, value_name = "DIR")]
    pub cachedir: Option<PathBuf>,
    /// Make databases in the directory for temporary files.
    #[arg(long)]
    pub local_sqlite: bool,
    /// Leave out so many directories at the beginning of each package's location.
    #[arg(long, value_name = "N", default_value = "0")]
    pub cut_dirs: usize,
    /// Put this before each package's location.
    #[arg(long, value_name = "PREFIX")]
    pub location_prefix: Option<String>,
    /// Nothing: exit code 2 after errors is the rule.
    #[arg(long)]
    pub error_exit_val: bool,
    /// Packages with the same name, version and architecture: keep, or keep-last.
    #[arg(long, value_name = "WHAT")]
    pub duplicated_nevra: Option<String>,
    /// Go on although .repodata/ is there.
    #[arg(long)]
    pub ignore_lock: bool,
    /// Several directories are the media of one set.
    #[arg(long)]
    pub split: bool,
    /// Not supported: delta packages.
    #[arg(long)]
    pub deltas: bool,
    /// Not supported: delta packages.
    #[arg(long, value_name = "DIR")]
    pub oldpackagedirs: Vec<PathBuf>,
    /// Not supported: delta packages.
    #[arg(long, value_name = "N")]
    pub num_deltas: Option<i64>,
    /// Not supported: delta packages.
    #[arg(long, value_name = "BYTES")]
    pub max_delta_rpm_size: Option<i64>,
}

/// The same, checked, every default decided.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Without slashes at their ends.
    pub directories: Vec<PathBuf>,
    pub output: PathBuf,
    pub checksum: ChecksumType,
    pub repomd_checksum: ChecksumType,
    /// Of primary, filelists and other.
    pub packages_codec: Codec,
    pub groups_codec: Codec,
    pub modules_codec: Codec,
    pub databases_codec: Codec,
    pub databases: bool,
    pub changelog_limit: Option<usize>,
    pub retain: Retain,
    pub retains: bool,
    pub tags: Tags,
    pub revision: Option<String>,
    /// For all times, seconds since the epoch.
    pub timestamp: Option<u64>,
    pub keep_last: bool,
    pub workers: Option<usize>,
    /// Tell how far it is, also where nobody seems to look.
    pub progress: bool,
    /// A URL, too.
    pub groupfile: Option<PathBuf>,
}

const NO_DELTAS: &str = "delta RPMs are not supported: dnf 5 no longer reads them, and no current \
    distribution makes them; leave out --deltas, --oldpackagedirs, --num-deltas and --max-delta-rpm-size";

impl CreaterepoOptions {
    /// What the options mean, or why they mean nothing.
    pub fn plan(&self, voice: Voice, source_date_epoch: Option<&str>) -> anyhow::Result<Plan> {
        if self.deltas
            || !self.oldpackagedirs.is_empty()
            || self.num_deltas.is_some()
            || self.max_delta_rpm_size.is_some()
        {
            bail!("{NO_DELTAS}");
        }
        self.zchunk.check()?;
        if self.zchunk.zck && self.general_compress_type.as_deref() == Some("zck") {
            bail!("Cannot use --zck with --general-compress-type zck: these are the same files");
        }
        let directories = self.directories()?;
        let output = match &self.outputdir {
            Some(output) if !output.is_dir() => bail!("Specified outputdir {output:?} doesn't exist"),
            Some(output) => output.clone(),
            None => directories[0].clone(),
        };
        let checksum = checksum_type(self.checksum.as_deref())?.unwrap_or_default();
        let general = codec(self.general_compress_type.as_deref())?;
        let chosen = codec(self.compress_type.as_deref())?.or(self.xz.then_some(Codec::Xz)).or(general);
        let classic = self.compatibility;
        let (retain, retains) = self.retain()?;
        let (revision, timestamp) = self.times(source_date_epoch)?;
        let keep_last = match self.duplicated_nevra.as_deref() {
            None | Some("keep") => false,
            Some("keep-last") => true,
            Some(_) => {
                bail!("Argument parsing failed: Bad --duplicated-nevra argument, use 'keep' or 'keep-last'.")
            }
        };
        if !self.update && !self.update_md_path.is_empty() {
            voice.warn("Usage of --update-md-path without --update has no effect!");
        }
        let changelog_limit = match self.changelog_limit {
            -1 => None,
            limit => Some(usize::try_from(limit).unwrap_or_else(|_| {
                voice.warn(&format!("Wrong changelog limit \"{limit}\" - Using 10"));
                10
            })),
        };
        let workers = match self.workers {
            Some(workers @ 1..=100) => usize::try_from(workers).ok(),
            Some(_) => {
                voice.warn("Wrong number of workers - Using 5 workers.");
                Some(5)
            }
            None => None,
        };
        let groupfile = self.groupfile(&directories[0])?;
        if let Some(list) = self.pkglist.as_ref().filter(|list| !list.is_file()) {
            bail!("pkglist file {list:?} doesn't exist");
        }
        Ok(Plan {
            output,
            checksum,
            repomd_checksum: checksum_type(self.repomd_checksum.as_deref())?.unwrap_or(checksum),
            packages_codec: general.unwrap_or(if classic { Codec::Gzip } else { Codec::Zstd }),
            groups_codec: if classic { Codec::None } else { chosen.unwrap_or(Codec::Zstd) },
            modules_codec: chosen.unwrap_or(if classic { Codec::Gzip } else { Codec::Zstd }),
            databases_codec: chosen.unwrap_or(Codec::Bzip2),
            databases: self.sqlite.database || (classic && !self.sqlite.no_database),
            changelog_limit,
            retain,
            retains,
            tags: self.tags(),
            revision,
            timestamp,
            keep_last,
            workers,
            progress: self.verbose,
            groupfile,
            directories,
        })
    }

    fn directories(&self) -> anyhow::Result<Vec<PathBuf>> {
        if self.directories.is_empty() || (self.directories.len() > 1 && !self.split) {
            bail!(
                "Must specify exactly one directory to index.\nUsage: createrepo_c [options] <directory_to_index>"
            );
        }
        let mut found = Vec::new();
        for directory in &self.directories {
            let path = match &self.basedir {
                Some(base) => base.join(directory),
                None => PathBuf::from(directory),
            };
            if !path.is_dir() {
                bail!("Directory {}/ must exist", path.display().to_string().trim_end_matches('/'));
            }
            found.push(path);
        }
        Ok(found)
    }

    fn groupfile(&self, directory: &std::path::Path) -> anyhow::Result<Option<PathBuf>> {
        let Some(name) = &self.groupfile else { return Ok(None) };
        if name.contains("://") {
            return Ok(Some(name.into()));
        }
        // join takes an absolute path as it is.
        let path = directory.join(name);
        if !path.is_file() {
            bail!("groupfile {} doesn't exist", path.display());
        }
        Ok(Some(path))
    }

    fn retain(&self) -> anyhow::Result<(Retain, bool)> {
        match (self.retain_old_md, &self.retain_old_md_by_age) {
            (Some(_), Some(_)) => bail!("--retain-old-md-by-age cannot be combined with --retain-old-md"),
            (None, Some(age)) => Ok((Retain::Younger(self::age(age)?), true)),
            (None | Some(0), None) => Ok((Retain::Unlisted, false)),
            (Some(count), None) if self.compatibility => match usize::try_from(count) {
                Ok(count) => Ok((Retain::Newest(count), true)),
                Err(_) => Ok((Retain::All, true)),
            },
            (Some(_), None) => Ok((Retain::All, true)),
        }
    }

    fn times(&self, source_date_epoch: Option<&str>) -> anyhow::Result<(Option<String>, Option<u64>)> {
        if !self.set_timestamp_to_revision {
            return Ok((self.revision.clone(), None));
        }
        let Some(text) = self.revision.as_deref().or(source_date_epoch) else {
            bail!("--set-timestamp-to-revision needs --revision, or SOURCE_DATE_EPOCH in the environment");
        };
        let Ok(time) = text.parse() else {
            bail!("--set-timestamp-to-revision require numeric value for --revision");
        };
        Ok((Some(text.to_owned()), Some(time)))
    }

    fn tags(&self) -> Tags {
        let distro = |text: &String| match text.split_once(',') {
            Some((id, text)) => (Some(id.to_owned()), text.to_owned()),
            None => (None, text.clone()),
        };
        Tags {
            content: self.content.clone(),
            repo: self.repo.clone(),
            distro: self.distro.iter().map(distro).collect(),
        }
    }
}

pub fn checksum_type(text: Option<&str>) -> anyhow::Result<Option<ChecksumType>> {
    text.map(|text| text.parse().map_err(|_| anyhow!("Unknown/Unsupported checksum type {text:?}")))
        .transpose()
}

pub fn codec(text: Option<&str>) -> anyhow::Result<Option<Codec>> {
    Ok(Some(match text {
        None => return Ok(None),
        Some("gz") => Codec::Gzip,
        Some("bz2") => Codec::Bzip2,
        Some("xz") => Codec::Xz,
        Some("zstd") => Codec::Zstd,
        Some("zck") => Codec::Zchunk,
        Some(text) => {
            bail!("Unknown/Unsupported compression type {text:?}")
        }
    }))
}

fn age(text: &str) -> anyhow::Result<Duration> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().map_err(|_| anyhow!("Bad time period {text:?}"))?;
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        unit => bail!("Bad time unit {unit:?}"),
    };
    Ok(Duration::from_secs(number.saturating_mul(unit)))
}
