//! Which packages createrepo_c looks at: the walk, the lists, the patterns.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::repodata::additional::names_modules;

/// One package to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub path: PathBuf,
    /// Relative to the directory that is indexed, as it is written in the metadata before `--cut-dirs` and `--location-prefix`.
    pub relative: String,
    /// Which of the directories, from 0.
    pub medium: usize,
}

impl Source {
    /// Whether it is a package; otherwise it holds module metadata.
    pub fn is_package(&self) -> bool {
        !names_modules(file_name(&self.relative))
    }

    /// What createrepo_c orders by.
    fn key(&self) -> (&str, &OsStr) {
        // Bytes, not parts: `./b` stands before `a`.
        (file_name(&self.relative), self.path.as_os_str())
    }
}

/// Puts packages into createrepo_c's order.
pub fn sort(sources: &mut [Source]) {
    sources.sort_by(|a, b| a.key().cmp(&b.key()));
}

pub fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Shell-like patterns as GLib knows them: `*` and `?`, which also stand for slashes.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    p = star + 1;
                    t = from + 1;
                    retry = Some((star, t));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

/// What to leave out of a walk.
#[derive(Debug, Clone, Copy)]
pub struct Walk<'a> {
    pub excludes: &'a [String],
    pub skip_symlinks: bool,
}

impl Walk<'_> {
    /// Every `.rpm` below `root`, and every file with module metadata; hidden ones too, symbolic links followed.
    /// Directories that cannot be listed go to `unreadable`.
    pub fn collect(&self, root: &Path, medium: usize, unreadable: &mut Vec<String>) -> Vec<Source> {
        let mut found = Vec::new();
        self.enter(root, "", medium, &mut HashSet::new(), &mut found, unreadable);
        found
    }

    fn enter(
        &self,
        directory: &Path,
        prefix: &str,
        medium: usize,
        above: &mut HashSet<(u64, u64)>,
        found: &mut Vec<Source>,
        unreadable: &mut Vec<String>,
    ) {
        let entries = match fs::metadata(directory).and_then(|meta| Ok((meta, fs::read_dir(directory)?))) {
            // A link to a directory above would never end.
            Ok((meta, _)) if !above.insert((meta.dev(), meta.ino())) => return,
            Ok((meta, entries)) => ((meta.dev(), meta.ino()), entries),
            Err(error) => {
                unreadable.push(format!("Cannot open directory: {}: {error}", directory.display()));
                return;
            }
        };
        for entry in entries.1.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                unreadable.push(format!(
                    "Left out {}: its name is not UTF-8; rename the file",
                    entry.path().display()
                ));
                continue;
            };
            let relative = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
            let path = entry.path();
            let kind = entry.file_type();
            let is_link = kind.as_ref().is_ok_and(fs::FileType::is_symlink);
            let is_dir = match kind {
                Ok(kind) if !kind.is_symlink() => kind.is_dir(),
                // A link that leads nowhere is passed over without a word.
                _ => match fs::metadata(&path) {
                    Ok(meta) => meta.is_dir(),
                    Err(_) => continue,
                },
            };
            if is_dir {
                self.enter(&path, &relative, medium, above, found, unreadable);
            } else if (name.ends_with(".rpm") || names_modules(name) && !prefix.starts_with("repodata"))
                && !(is_link && self.skip_symlinks)
                && !self.excludes.iter().any(|glob| matches(glob, name) || matches(glob, &relative))
            {
                found.push(Source { path, relative, medium });
            }
        }
        above.remove(&entries.0);
    }
}

/// `--cut-dirs` and `--location-prefix`: where the metadata say the package lies.
pub fn location(relative: &str, cut: usize, prefix: Option<&str>) -> String {
    let mut rest = relative;
    for _ in 0..cut {
        match rest.split_once('/') {
            Some((_, below)) => rest = below,
            None => break,
        }
    }
    match prefix {
        Some(prefix) if !prefix.is_empty() => format!("{}/{rest}", prefix.trim_end_matches('/')),
        _ => rest.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_glibs() {
        for (pattern, text) in
            [("*", ""), ("a*", "a/b"), ("*b?c*", "a/bxcd"), ("x.rpm", "x.rpm"), ("a**b", "ab")]
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("a", "ab"), ("?", ""), ("*a", "ab"), ("[ab]", "a")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        assert!(!matches(&"*a".repeat(40), &"b".repeat(10_000)), "and it takes no time");
    }

    #[test]
    fn locations_are_cut_and_prefixed() {
        assert_eq!(location("a/b/c.rpm", 1, None), "b/c.rpm");
        assert_eq!(location("a/b/c.rpm", 5, Some("p")), "p/c.rpm");
        assert_eq!(location("c.rpm", 0, Some("/p/")), "/p/c.rpm");
    }

    #[test]
    fn the_order_is_by_file_name_then_path() {
        let source = |relative: &str| Source { path: relative.into(), relative: relative.into(), medium: 0 };
        let mut all = ["z/a.rpm", "c.rpm", "b/c.rpm", "a/z.rpm"].map(source);
        sort(&mut all);
        assert_eq!(all.map(|s| s.relative), ["z/a.rpm", "b/c.rpm", "c.rpm", "a/z.rpm"]);
    }

    #[test]
    fn a_walk_ends_where_links_go_round() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(".h/d.rpm")).unwrap();
        for name in ["a.rpm", ".h/d.rpm/b.rpm", ".h/c.RPM"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        std::os::unix::fs::symlink("..", dir.path().join(".h/up")).unwrap();
        std::os::unix::fs::symlink("a.rpm", dir.path().join("l.rpm")).unwrap();
        std::os::unix::fs::symlink("none", dir.path().join("n.rpm")).unwrap();
        let names = |skip_symlinks, excludes: &[String]| {
            let mut found = Walk { excludes, skip_symlinks }.collect(dir.path(), 0, &mut Vec::new());
            sort(&mut found);
            found.into_iter().map(|s| s.relative).collect::<Vec<_>>()
        };
        assert_eq!(names(false, &[]), ["a.rpm", ".h/d.rpm/b.rpm", "l.rpm"]);
        assert_eq!(names(true, &[".h/*".into()]), ["a.rpm"]);
    }
}
