//! `config import`: reads /etc/inotify-createrepo.conf, a shell fragment with one variable, `REPO=`.

use std::path::{Path, PathBuf};

use crate::config::file;

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Imported {
    pub name: String,
    pub path: PathBuf,
    /// Variables that createrepod has no use for.
    pub unknown: Vec<String>,
}

/// `name`: instead of the directory's. The error says line and reason.
pub fn read(text: &str, name: Option<&str>) -> Result<Imported, String> {
    let mut path = None;
    let mut unknown = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let (variable, value) = line
            .split_once('=')
            .ok_or_else(|| format!("line {number}: expected VARIABLE=value, found {line:?}"))?;
        if variable != "REPO" {
            unknown.push(variable.to_owned());
            continue;
        }
        let value = unquoted(value).map_err(|why| format!("line {number}: {why}"))?;
        // The shell's last assignment counts.
        path = Some(file::absolute(&value).map_err(|why| format!("line {number}: REPO: {why}"))?);
    }
    let path = path.ok_or("it has no line REPO=/directory/of/rpms")?;
    let name = match name {
        Some(name) => name.to_owned(),
        None => path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
    };
    file::name(&name).map_err(|why| format!("{why}; choose a name with --name"))?;
    Ok(Imported { name, path, unknown })
}

/// A shell word without expansions.
fn unquoted(value: &str) -> Result<String, String> {
    let value = value.trim();
    let (inner, rest, expands) = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let (inner, rest) =
                value[1..].split_once(quote).ok_or_else(|| format!("the quote {quote} is not closed"))?;
            (inner, rest, quote == '"')
        }
        _ => match value.split_once(char::is_whitespace) {
            Some((inner, rest)) => (inner, rest, true),
            None => (value, "", true),
        },
    };
    let rest = rest.trim_start();
    if !rest.is_empty() && !rest.starts_with('#') {
        return Err(format!(
            "expected one directory, found {value:?}; each repository needs a file of its own"
        ));
    }
    if expands && inner.contains(['$', '`', '\\', '*', '?']) {
        return Err(format!("{inner:?} means something to the shell; write the directory out"));
    }
    Ok(inner.to_owned())
}

impl Imported {
    /// A file of repos.d.
    pub fn toml(&self, from: &Path) -> String {
        let string = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let name = if self.name.contains('.') { string(&self.name) } else { self.name.clone() };
        let mut text = format!("# Taken over from {} by `createrepod config import`.\n", from.display());
        for variable in &self.unknown {
            text += &format!("# {variable}= has no counterpart here.\n");
        }
        text += &format!(
            "[repository.{name}]\npath = {}\n# Uploads over HTTP, for those who had Apache's mod_dav for them: write = \"token\".\n",
            string(&self.path.to_string_lossy())
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_as_it_is_shipped_is_taken_over() {
        let imported = read("# the repository\nREPO=/var/www/repos/rpm-repo\n", None).unwrap();
        assert_eq!(
            (imported.name.as_str(), imported.path.to_str().unwrap()),
            ("rpm-repo", "/var/www/repos/rpm-repo")
        );
        let toml = imported.toml(Path::new("/etc/inotify-createrepo.conf"));
        let table: toml::Table = toml.parse().unwrap();
        assert_eq!(table["repository"]["rpm-repo"]["path"].as_str(), Some("/var/www/repos/rpm-repo"));
    }

    #[test]
    fn what_the_shell_would_make_of_it_is_understood_or_refused() {
        let path = |text: &str| read(text, Some("x")).map(|i| i.path.to_string_lossy().into_owned());
        assert_eq!(path("export REPO=\"/srv/my rpms\"  # ours\nLOG=/x").unwrap(), "/srv/my rpms");
        assert_eq!(path("REPO=/a\nREPO='/b$c'\n").unwrap(), "/b$c");
        for (text, why) in [
            ("REPO=$HOME/rpm", "line 1: \"$HOME/rpm\" means something to the shell"),
            ("\nREPO=/a /b", "line 2: expected one directory"),
            ("REPO='/a", "is not closed"),
            ("REPO=rpm", "expected a path that begins with /"),
            ("LOG=/x", "it has no line REPO="),
            ("start", "line 1: expected VARIABLE=value"),
        ] {
            let error = path(text).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
        assert!(read("REPO=/srv/über", None).unwrap_err().contains("--name"));
    }
}
