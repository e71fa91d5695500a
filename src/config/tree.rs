//! `[tree.NAME]`: every directory that matches a pattern becomes a repository.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{RepositoryConfig, covered, file};

/// A tree of repositories: where it lies, which of its directories count, and the settings they all get.
#[derive(Debug, Clone, PartialEq)]
pub struct TreeConfig {
    pub pattern: Pattern,
    /// `name`, `path` and `metadata_dir` are the tree's; `url` may hold the pattern's words.
    pub template: RepositoryConfig,
}

/// `{release}/{arch}`: one part for each level of directories, each of text and words in braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    parts: Vec<Vec<Piece>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Word(String),
}

/// What a pattern's words stand for in one directory's name: (word, text), in order.
pub type Words = Vec<(String, String)>;

impl Pattern {
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('/') || text.ends_with('/') {
            let right = text.trim_matches('/');
            return Err(format!("a pattern must not begin or end with /: write \"{right}\""));
        }
        let parts: Vec<Vec<Piece>> = text.split('/').map(pieces).collect::<Result<_, _>>()?;
        let pattern = Self { text: text.to_owned(), parts };
        let words: Vec<&str> = pattern.words().collect();
        if words.iter().collect::<BTreeSet<_>>().len() < words.len() {
            return Err(format!("{text:?} has a word twice"));
        }
        Ok(pattern)
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Levels of directories below the tree's root.
    pub fn depth(&self) -> usize {
        self.parts.len()
    }

    /// The words in braces.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().flatten().filter_map(|piece| match piece {
            Piece::Word(word) => Some(word.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// What the words stand for if the directory `name` fits at `level`.
    pub fn matches(&self, level: usize, name: &str) -> Option<Words> {
        if name.starts_with('.') || name == "repodata" {
            return None;
        }
        let mut words = Words::new();
        fits(self.parts.get(level)?, name, &mut words).then_some(words)
    }
}

/// `el{release}` as text and words.
fn pieces(part: &str) -> Result<Vec<Piece>, String> {
    let wrong = |why: &str| {
        Err(format!("{part:?} cannot be a part of a pattern such as \"{{release}}/{{arch}}\": {why}"))
    };
    if part.is_empty() || part.starts_with('.') || part == "repodata" {
        return wrong("no directory with this name is looked at");
    }
    let mut pieces = Vec::new();
    let mut rest = part;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('{') {
            let Some((word, after)) = after.split_once('}') else { return wrong("a { is not closed") };
            if word.is_empty() || !word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return wrong("a word in braces is made of letters, digits and _");
            }
            if matches!(pieces.last(), Some(Piece::Word(_))) {
                return wrong("between two words there must be some text");
            }
            pieces.push(Piece::Word(word.to_owned()));
            rest = after;
        } else {
            let end = rest.find('{').unwrap_or(rest.len());
            let (text, after) = rest.split_at(end);
            if text.contains(['}', '*', '?']) || text.chars().any(char::is_control) {
                return wrong("what varies is written as a word in braces");
            }
            pieces.push(Piece::Text(text.to_owned()));
            rest = after;
        }
    }
    Ok(pieces)
}

/// A word takes as little as it can, and at least one character.
fn fits(pieces: &[Piece], name: &str, words: &mut Words) -> bool {
    match pieces {
        [] => name.is_empty(),
        [Piece::Text(text), rest @ ..] => {
            name.strip_prefix(text.as_str()).is_some_and(|name| fits(rest, name, words))
        }
        [Piece::Word(word), rest @ ..] => {
            let ends = name.char_indices().map(|(start, c)| start + c.len_utf8());
            ends.into_iter().any(|end| {
                words.push((word.clone(), name[..end].to_owned()));
                let fitting = fits(rest, &name[end..], words);
                if !fitting {
                    words.pop();
                }
                fitting
            })
        }
    }
}

impl TreeConfig {
    /// The repository that the directory at `below` (relative to the tree's root, matching the pattern) becomes.
    pub fn repository(&self, below: &str, words: &Words) -> Result<RepositoryConfig, String> {
        let name = format!("{}-{}", self.template.name, below.replace('/', "-"));
        file::name(&name)?;
        let mut url = self.template.url.clone();
        for (word, text) in words {
            url = url.replace(&format!("{{{word}}}"), text);
        }
        let url = file::url(&url)?;
        let state_dir = self.template.state_dir.with_file_name(&name);
        let metadata_dir = self.template.metadata_dir.as_ref().map(|dir| dir.join(below));
        Ok(RepositoryConfig {
            path: self.template.path.join(below),
            name,
            url,
            state_dir,
            metadata_dir,
            ..self.template.clone()
        })
    }
}

/// The repositories that are named and those found in trees, together. A named one has precedence;
/// of two found ones that clash the first counts. What is left out is told.
pub fn together(
    named: &[RepositoryConfig],
    found: Vec<RepositoryConfig>,
    canonical: &dyn Fn(&Path) -> PathBuf,
) -> (Vec<RepositoryConfig>, Vec<String>) {
    let mut all = named.to_vec();
    let mut left_out = Vec::new();
    let mut paths: Vec<PathBuf> = named.iter().map(|repository| canonical(&repository.path)).collect();
    let mut names: BTreeSet<String> = all.iter().map(|repository| repository.name.clone()).collect();
    let mut urls: BTreeSet<String> = all.iter().map(|repository| repository.url.clone()).collect();
    for repository in found {
        let path = canonical(&repository.path);
        // Settings of its own are why somebody names a directory that a tree has as well.
        if named.iter().zip(&paths).any(|(_, other)| *other == path) {
            continue;
        }
        let why = if paths.iter().any(|other| path.starts_with(other) || other.starts_with(&path)) {
            "another repository has this directory, or one inside or around it".to_owned()
        } else if names.contains(&repository.name) {
            format!("the name {:?} is taken", repository.name)
        } else if urls.contains(&repository.url) {
            format!("the url {:?} is taken", repository.url)
        } else {
            paths.push(path);
            names.insert(repository.name.clone());
            urls.insert(repository.url.clone());
            all.push(repository);
            continue;
        };
        left_out.push(format!("{} becomes no repository: {why}", repository.path.display()));
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    covered::mark(&mut all);
    (all, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(pattern: &str, names: &[&str]) -> Option<Vec<String>> {
        let pattern = Pattern::parse(pattern).unwrap();
        assert_eq!(pattern.depth(), names.len());
        let mut all = Vec::new();
        for (level, name) in names.iter().enumerate() {
            all.extend(
                pattern.matches(level, name)?.into_iter().map(|(word, text)| format!("{word}={text}")),
            );
        }
        Some(all)
    }

    #[test]
    fn words_stand_for_parts_of_names() {
        let found = |pattern, names| words(pattern, names).map(|all| all.join(" "));
        assert_eq!(found("{release}/{arch}", &["9", "x86_64"]).as_deref(), Some("release=9 arch=x86_64"));
        assert_eq!(
            found("el{release}/{arch}/os", &["el9", "s390x", "os"]).as_deref(),
            Some("release=9 arch=s390x")
        );
        assert_eq!(found("{name}-{release}", &["a-b-9"]).as_deref(), Some("name=a release=b-9"));
        assert_eq!(found("el{release}", &["el"]), None);
        assert_eq!(found("el{release}", &["fc9"]), None);
        assert_eq!(found("{release}", &[".createrepod"]), None);
        assert_eq!(found("{release}", &["repodata"]), None);
        assert_eq!(found("{r}x", &["äx"]).as_deref(), Some("r=ä"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for pattern in
            ["", "/a", "a//b", "../{a}", "{a", "{}", "{a}{b}", "{a}/{a}", "*", "{a b}", ".x", "repodata"]
        {
            assert!(Pattern::parse(pattern).is_err(), "{pattern:?}");
        }
    }

    fn tree(url: &str) -> TreeConfig {
        let state_dir = PathBuf::from("/var/lib/createrepod/repositories/el");
        let template =
            RepositoryConfig { url: url.into(), state_dir, ..RepositoryConfig::new("el", "/srv/el") };
        TreeConfig { pattern: Pattern::parse("{release}/{arch}").unwrap(), template }
    }

    fn repository(below: &str) -> Result<RepositoryConfig, String> {
        let (release, arch) = below.split_once('/').unwrap();
        tree("/el/{arch}/{release}/")
            .repository(below, &vec![("release".into(), release.into()), ("arch".into(), arch.into())])
    }

    #[test]
    fn a_directory_becomes_a_repository_with_the_trees_settings() {
        let el9 = repository("9/x86_64").unwrap();
        assert_eq!((el9.name.as_str(), el9.url.as_str()), ("el-9-x86_64", "/el/x86_64/9/"));
        assert_eq!(el9.path, Path::new("/srv/el/9/x86_64"));
        assert_eq!(el9.state_dir, Path::new("/var/lib/createrepod/repositories/el-9-x86_64"));
        assert!(repository("9 beta/x86_64").unwrap_err().contains("cannot name a repository"));
    }

    #[test]
    fn named_repositories_come_first_and_clashes_are_told() {
        let plain = |path: &Path| path.to_owned();
        let named = [
            RepositoryConfig::new("mine", "/srv/el/9/x86_64"),
            RepositoryConfig::new("el-7-i386", "/srv/seven"),
        ];
        let found = ["9/x86_64", "9/s390x", "7/i386"].map(|below| repository(below).unwrap());
        let (all, left_out) = together(&named, found.to_vec(), &plain);
        let names: Vec<_> = all.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["el-7-i386", "el-9-s390x", "mine"]);
        assert_eq!(left_out, ["/srv/el/7/i386 becomes no repository: the name \"el-7-i386\" is taken"]);
    }
}
