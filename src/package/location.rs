//! Where a package lies inside its repository.

use std::fmt;
use std::path::{Path, PathBuf};

/// Path of a file inside its repository, such as `Packages/h/hello-1.0-1.noarch.rpm`.
///
/// UTF-8, relative, `/` between its parts, and free of empty parts, `.`, `..` and NUL, so joining
/// it to the repository's root cannot leave the repository (symbolic links are the reader's concern).
/// Orders by bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location(Box<str>);

/// A text that is no [`Location`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a path inside a repository: {why}")]
pub struct LocationError {
    text: String,
    why: &'static str,
}

impl Location {
    /// The longest path accepted, in bytes; Linux itself refuses longer ones.
    pub const MAX_LEN: usize = 4096;

    /// Reads `text`, which must already be free of percent-encoding.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        let why = if text.is_empty() {
            "it is empty"
        } else if text.len() > Self::MAX_LEN {
            "it is longer than 4096 bytes"
        } else if text.contains('\0') {
            "it contains a NUL byte"
        } else if text.split('/').any(|part| part.len() > 255) {
            "one of its parts is longer than 255 bytes"
        } else if text.split('/').any(|part| matches!(part, "" | "." | "..")) {
            "every part between slashes must be a plain name"
        } else {
            return Ok(Self(text.into()));
        };
        Err(LocationError { text: text.chars().take(200).collect(), why })
    }

    /// Reads a path relative to the repository's root, as a directory walk yields it.
    pub fn from_path(relative: &Path) -> Result<Self, LocationError> {
        match relative.to_str() {
            Some(text) => Self::parse(text),
            None => Err(LocationError {
                text: relative.to_string_lossy().into_owned(),
                why: "its name is not UTF-8; rename the file",
            }),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part: `hello-1.0-1.noarch.rpm`.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The directory this lies in, or `None` at the top of the repository.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.into()))
    }

    /// This location inside a repository whose root is `root`.
    pub fn under(&self, root: &Path) -> PathBuf {
        root.join(&*self.0)
    }

    /// Whether `self` is `directory` or lies somewhere below it.
    pub fn is_within(&self, directory: &Self) -> bool {
        self.0.strip_prefix(&*directory.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether the daemon takes this for a package: its name ends in `.rpm`, and no part is hidden.
    pub fn names_a_package(&self) -> bool {
        self.file_name().ends_with(".rpm") && !self.is_reserved()
    }

    /// Whether scan, watch and doors leave it out: a part begins with a dot (which covers
    /// `.createrepod`), or the first part is exactly `repodata`.
    pub fn is_reserved(&self) -> bool {
        self.0.split('/').any(|part| part.starts_with('.')) || self.is_repodata()
    }

    /// Whether no door shows or takes it: it lies in a hidden directory, or is a file that only some program's own (uploads on their
    /// way, Apache's passwords, what Finder leaves everywhere, a package that is hidden from the repository).
    ///
    /// Other files whose names begin with a dot are shown: installers read `.treeinfo` and `.discinfo`.
    pub fn is_private(&self) -> bool {
        let mut parts = self.0.rsplit('/');
        let file = parts.next().unwrap_or_default();
        file.starts_with('.') && is_private_file(file) || parts.any(|directory| directory.starts_with('.'))
    }

    /// Whether no door writes there: it [is private](Self::is_private), or the repository's metadata.
    pub fn refuses_writes(&self) -> bool {
        self.is_private() || self.is_repodata()
    }

    /// Whether its URL is the server's own: `-` and what begins with `@` at the top of a repository.
    pub fn is_own_url(&self) -> bool {
        let first = self.0.split('/').next().unwrap_or_default();
        first == "-" || first.starts_with('@')
    }

    /// Whether this is `repodata` at the top of the repository or lies below it.
    pub fn is_repodata(&self) -> bool {
        self.0.split('/').next() == Some("repodata")
    }
}

/// Of names that begin with a dot, those that are private.
fn is_private_file(name: &str) -> bool {
    name.starts_with(".createrepod")
        || name.starts_with(".ht")
        || name.starts_with("._")
        || name.ends_with(".rpm")
        || matches!(name, ".repodata" | ".DS_Store")
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Location {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_cannot_leave_its_repository() {
        for bad in ["", "/", "/etc/passwd", "a//b", "a/", "./a", "a/../b", "..", "a\0b"] {
            assert!(Location::parse(bad).is_err(), "{bad:?} was accepted");
        }
        for good in ["a", "a/b.rpm", "..a", "a..", "a b/c#d%25+é.rpm"] {
            assert_eq!(Location::parse(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn hidden_names_and_repodata_are_reserved_by_exact_name() {
        let reserved = |text| Location::parse(text).unwrap().is_reserved();
        assert!(
            reserved("repodata/x.rpm") && reserved("repodata") && reserved(".createrepod/incoming/x.rpm")
        );
        assert!(reserved("a/.hidden/x.rpm") && reserved("a/.x.rpm"));
        assert!(!reserved("repodata-1.0-1.noarch.rpm") && !reserved("createrepodata-1.rpm"));
        assert!(!reserved("a/repodata/x.rpm"), "only the top's repodata/ is ours");
    }

    #[test]
    fn files_that_begin_with_a_dot_are_shown_but_those_of_programs_and_hidden_directories() {
        let private = |text| Location::parse(text).unwrap().is_private();
        for shown in ["a.rpm", ".treeinfo", "os/.discinfo", "a/b.c/.d"] {
            assert!(!private(shown), "{shown}");
        }
        for hidden in [
            ".createrepod",
            ".createrepod/lock",
            "a/.git/config",
            ".a.rpm",
            "a/.htpasswd",
            "._a",
            ".DS_Store",
        ] {
            assert!(private(hidden), "{hidden}");
        }
    }

    #[test]
    fn urls_of_the_servers_own_begin_at_the_top() {
        let own = |text| Location::parse(text).unwrap().is_own_url();
        assert!(own("-") && own("-/a.rpm") && own("@2024/a.rpm") && own("@testing"));
        assert!(!own("a/-/b.rpm") && !own("a/@1/b.rpm") && !own("-a") && !own("a@b"));
    }

    #[test]
    fn within_means_the_directory_itself_or_below_it() {
        let l = |text| Location::parse(text).unwrap();
        assert!(l("a/b").is_within(&l("a")) && l("a").is_within(&l("a")));
        assert!(!l("ab").is_within(&l("a")));
    }
}
