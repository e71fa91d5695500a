//! mergerepo_c's options, and what they mean together.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;

use super::arches;
use super::choose::Rule;
use crate::compat::Voice;
use crate::compat::common::{Databases, Names, Zchunk};
use crate::compat::createrepo::codec;
use crate::repodata::Codec;

/// Merge the metadata of several repositories into one, as mergerepo_c does.
#[derive(Debug, Clone, Default, Args)]
#[command(
    args_override_self = true,
    after_help = "\
Example:
  mergerepo_c --repo /srv/one --repo https://repo.example.com/two/ --outputdir /srv/both"
)]
pub struct MergerepoOptions {
    /// Show the version of createrepo_c this behaves like, and exit.
    #[arg(long)]
    pub version: bool,
    /// A repository: a directory or a URL. Can be given more than once; earlier ones win.
    #[arg(short, long, value_name = "URL")]
    pub repo: Vec<String>,
    /// The beginning of repositories' locations that --repo-prefix-replace takes the place of.
    #[arg(long, value_name = "PREFIX")]
    pub repo_prefix_search: Option<String>,
    /// What xml:base of packages begins with instead of --repo-prefix-search.
    #[arg(long, value_name = "PREFIX")]
    pub repo_prefix_replace: Option<String>,
    /// Take only packages of these architectures, separated by commas, and noarch; all by default.
    #[arg(short, long, value_name = "ARCHES")]
    pub archlist: Option<String>,
    #[command(flatten)]
    pub sqlite: Databases,
    /// Make filelists-ext too, with the digests that the repositories' own filelists-ext have.
    #[arg(long)]
    pub filelists_ext: bool,
    /// Say more.
    #[arg(short, long)]
    pub verbose: bool,
    /// Where repodata/ goes; merged_repo by default.
    #[arg(short, long, value_name = "DIR")]
    pub outputdir: Option<PathBuf>,
    /// Leave out the repositories' groups.
    #[arg(long)]
    pub nogroups: bool,
    /// Leave out the repositories' advisories.
    #[arg(long)]
    pub noupdateinfo: bool,
    /// Compression: zstd (default), gz, bz2, xz, zck.
    #[arg(long, value_name = "TYPE")]
    pub compress_type: Option<String>,
    #[command(flatten)]
    pub zchunk: Zchunk,
    /// Of packages with one name and architecture take: repo, that of the first repository (default); ts, the newest file; nvr, the highest version.
    #[arg(long, value_name = "METHOD")]
    pub method: Option<String>,
    /// Take every version of a package, whatever --method says.
    #[arg(long)]
    pub all: bool,
    /// A repository whose noarch packages take the place of the same versions in others.
    #[arg(long, value_name = "URL")]
    pub noarch_repo: Option<String>,
    #[command(flatten)]
    pub names: Names,
    /// Give no xml:base to packages that have none.
    #[arg(long)]
    pub omit_baseurl: bool,
    /// As koji merges: everything of the source package that the first repository has, and pkgorigins.
    #[arg(short, long)]
    pub koji: bool,
    /// With --koji: everything that is not blocked, also several packages of one NEVRA.
    #[arg(long)]
    pub simple: bool,
    /// Make pkgorigins too, which tells koji where packages come from.
    #[arg(long)]
    pub pkgorigins: bool,
    /// With --archlist: also the architectures that run on these.
    #[arg(long)]
    pub arch_expand: bool,
    /// The groups, instead of those that the repositories have.
    #[arg(short, long, value_name = "FILE")]
    pub groupfile: Option<String>,
    /// With --koji: a file with names of source packages, one a line, whose packages are left out.
    #[arg(short, long, value_name = "FILE")]
    pub blocked: Option<PathBuf>,
}

/// The same, checked, every default decided.
pub struct Plan {
    pub output: PathBuf,
    pub codec: Codec,
    pub databases_codec: Codec,
    pub rule: Rule,
    /// `None` for all.
    pub arches: Option<HashSet<String>>,
    pub blocked: HashSet<String>,
    pub origins: bool,
    /// What the locations of repositories begin with, and what takes its place.
    pub prefix: Option<(String, String)>,
}

impl MergerepoOptions {
    pub fn plan(&self, voice: Voice) -> anyhow::Result<Plan> {
        if self.repo.is_empty() {
            bail!(
                "Usage: mergerepo_c [OPTION...] --repo=url --repo=url\n\n\
                   mergerepo_c: take 2 or more repositories and merge their metadata into a new repo"
            );
        }
        let prefix = match (&self.repo_prefix_search, &self.repo_prefix_replace) {
            (Some(search), _) if search.is_empty() => {
                bail!("--repo-prefix-search cannot be an empty string.")
            }
            (Some(search), Some(replace)) => Some((search.clone(), replace.clone())),
            (None, None) => None,
            (Some(_), None) => bail!("--repo-prefix-search must be used together with --repo-prefix-replace"),
            (None, Some(_)) => bail!("--repo-prefix-replace must be used together with --repo-prefix-search"),
        };
        if self.arch_expand && self.archlist.is_none() {
            bail!("Critical: --arch-expand cannot be used without -a/--archlist argument");
        }
        if self.blocked.is_some() && !self.koji {
            bail!("Critical: -b/--blocked cannot be used without -k/--koji argument");
        }
        self.zchunk.check()?;
        let chosen = codec(self.compress_type.as_deref()).map_err(|_| {
            let text = self.compress_type.as_deref().unwrap_or_default();
            anyhow!("Critical: Compression {text} not available: Please choose from: gz, bz2, xz or zstd")
        })?;
        Ok(Plan {
            output: self.outputdir.clone().unwrap_or_else(|| "merged_repo".into()),
            codec: chosen.unwrap_or(Codec::Zstd),
            databases_codec: chosen.unwrap_or(Codec::Bzip2),
            rule: self.rule(voice)?,
            arches: self.arches(),
            blocked: self.blocked()?,
            origins: self.koji || self.pkgorigins,
            prefix,
        })
    }

    fn rule(&self, voice: Voice) -> anyhow::Result<Rule> {
        if self.koji {
            if self.method.is_some() {
                voice.warn("With -k/--koji argument merge method is ignored (--all is implicitly used).");
            }
            return Ok(if self.simple { Rule::Everything } else { Rule::Koji });
        }
        Ok(match self.method.as_deref() {
            Some(method) if !matches!(method, "repo" | "ts" | "nvr") => {
                bail!("Critical: Unknown merge method {method}")
            }
            _ if self.all => Rule::All,
            Some("ts") => Rule::Newest,
            Some("nvr") => Rule::Highest,
            _ => Rule::First,
        })
    }

    fn arches(&self) -> Option<HashSet<String>> {
        let named = match self.archlist.as_deref() {
            Some("") => return None,
            Some(list) => list,
            None if self.koji => "",
            None => return None,
        };
        let mut arches = HashSet::from(["noarch".to_owned()]);
        for arch in named.split([',', ';']).filter(|arch| !arch.is_empty()) {
            arches.insert(arch.to_owned());
            if self.koji || self.arch_expand {
                arches.extend(arches::running_on(arch).iter().map(|&arch| arch.to_owned()));
            }
        }
        Some(arches)
    }

    fn blocked(&self) -> anyhow::Result<HashSet<String>> {
        let Some(path) = &self.blocked else { return Ok(HashSet::new()) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the list of blocked packages {}", path.display()))?;
        Ok(text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }
}
