//! Where the repositories are that are merged.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};

use super::remote;
use crate::compat::old;
use crate::repodata::Repomd;

/// A repository to be merged.
pub struct Merged {
    pub repodata: PathBuf,
    pub repomd: Repomd,
    /// As it was named, with one slash behind.
    pub origin: String,
    /// `xml:base` of its packages that have none.
    pub base: String,
}

impl Merged {
    /// Finds a repository by its directory or URL; what is elsewhere is fetched into `scratch`. `prefix` is what
    /// locations begin with, and what they are to begin with instead.
    pub fn find(url: &str, prefix: Option<&(String, String)>, scratch: &Path) -> anyhow::Result<Self> {
        let origin = format!("{}/", url.trim_end_matches('/'));
        if url.contains("://") && !url.starts_with("file://") {
            let (repodata, repomd) = remote::fetch(&origin, scratch)?;
            return Ok(Self { repodata, repomd, base: base(url, prefix), origin });
        }
        let path = url.strip_prefix("file://").unwrap_or(url);
        if !Path::new(path).is_dir() {
            bail!("there is no repository {url}: {path:?} is no directory");
        }
        let repodata = Path::new(path).join("repodata");
        let repomd = old::repomd(&repodata)?.ok_or_else(|| {
            anyhow!("there is no repository in {url}: {} is missing", repodata.join("repomd.xml").display())
        })?;
        if repomd.record("primary").or(repomd.record("primary_zck")).is_none() {
            return Err(anyhow!("repomd.xml names no primary"))
                .with_context(|| format!("cannot merge {url}"));
        }
        Ok(Self { repodata, repomd, origin, base: base(path, prefix) })
    }
}

fn base(location: &str, prefix: Option<&(String, String)>) -> String {
    let location = location.trim_end_matches('/');
    let rest = prefix.and_then(|(search, replace)| Some((replace, location.strip_prefix(&**search)?)));
    let base = match rest {
        Some((replace, rest)) => format!("{replace}{rest}"),
        None => location.to_owned(),
    };
    if base.starts_with('/') { format!("file://{base}") } else { base }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_a_url_or_relative() {
        let prefix = |search: &str, replace: &str| Some((search.to_owned(), replace.to_owned()));
        for (location, prefix, wanted) in [
            ("a/b//", None, "a/b"),
            ("/a/b", None, "file:///a/b"),
            ("/a/b/", prefix("/a", "http://h"), "http://h/b"),
            ("/a/b", prefix("/a", ""), "file:///b"),
            ("/a/b", prefix("/x", "http://h"), "file:///a/b"),
        ] {
            assert_eq!(base(location, prefix.as_ref()), wanted);
        }
    }
}
