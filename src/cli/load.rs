//! Fetches the configuration's files and surroundings from the machine, for `config::resolve` to judge.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::failure::{Exit, Failure};
use crate::config::problem::{Origin, Problems};
use crate::config::resolve::{self, Resolved, Source, Surroundings};
use crate::config::{Config, Listen, ServerConfig, file};

/// Where the configuration lies unless told otherwise.
pub const DEFAULT_FILE: &str = "/etc/createrepod/createrepod.toml";

/// An environment variable; what is not UTF-8 in it is replaced, and then refused by whoever reads it.
pub fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// The configuration in `main` and in `repos.d` beside it, for whoever only looks at it.
pub fn files(main: &Path, listen: &[Listen]) -> Result<Resolved, Failure> {
    Ok(gathered(main, listen, false, &Files::default())?.0)
}

/// The same for the process that serves it, with the files it came from.
pub fn files_to_serve(main: &Path, listen: &[Listen]) -> Result<(Resolved, Files), Failure> {
    gathered(main, listen, true, &Files::default())
}

/// The same while it is served, after something has changed. Files that say nothing any more, or are gone with their
/// directory, are a mistake: nobody means to take all repositories away like this, but an editor, a full disk or a
/// package manager does it in passing.
pub fn files_again(main: &Path, listen: &[Listen], before: &Files) -> Result<(Resolved, Files), Failure> {
    gathered(main, listen, true, before)
}

/// The files of a configuration that say something.
#[derive(Debug, Clone, Default)]
pub struct Files(BTreeSet<PathBuf>);

impl Files {
    /// What is wrong with the files as they are now, seen from these.
    fn missed(&self, main: &Path, directory: &Path, sources: &[&Source], problems: &mut Problems) {
        let mut wrong = |file: &Path, what: &str| {
            let origin = Origin::File { file: Arc::new(file.to_owned()), line: 0 };
            problems.add(origin, what);
        };
        for source in sources.iter().filter(|source| source.text.trim().is_empty()) {
            if self.0.contains(&source.file) {
                let what = match source.file == main {
                    true => "it is empty now; to have it empty, write a comment into it (# …)",
                    false => {
                        "it is empty now; to take its repositories away, remove the file, or write a comment into it (# …)"
                    }
                };
                wrong(&source.file, what);
            }
        }
        if !directory.is_dir() && self.0.iter().any(|file| file.parent() == Some(directory)) {
            wrong(
                directory,
                "the directory is gone, with all that was configured in it; to take repositories away, remove their files \
                 and leave the directory",
            );
        }
    }
}

fn gathered(
    main: &Path,
    listen: &[Listen],
    serves: bool,
    before: &Files,
) -> Result<(Resolved, Files), Failure> {
    let mut problems = Problems::default();
    if before.0.contains(main) && !main.exists() {
        return Err(Failure::usage(format!("the configuration {} is gone; put it back", main.display())));
    }
    let main_source = read(main, serves, &mut problems)?;
    let directory = main.with_file_name("repos.d");
    let mut names = list(&directory)?;
    // The order of reading decides which of two clashing repositories is called the second.
    names.sort();
    let mut sources = Vec::new();
    for name in names {
        sources.extend(read(&name, serves, &mut problems)?);
    }
    let all: Vec<&Source> = main_source.iter().chain(&sources).collect();
    before.missed(main, &directory, &all, &mut problems);
    let filled = all.iter().filter(|source| !source.text.trim().is_empty());
    let files = Files(filled.map(|source| source.file.clone()).collect());
    let surroundings = Surroundings { environment: &environment, canonical: &canonical, listen, serves };
    match resolve::resolve(main_source.as_ref(), &sources, &surroundings) {
        Ok(resolved) => Ok((problems.or(resolved)?, files)),
        Err(more) => {
            problems.0.extend(more.0);
            Err(problems.into())
        }
    }
}

/// Where a daemon of the configuration in `main` may listen for commands, also where that has a mistake.
pub fn control_socket(main: &Path) -> Option<PathBuf> {
    let written = || std::fs::read_to_string(main).ok().and_then(|text| file::control(&text));
    let chosen = environment(resolve::CONTROL).map(PathBuf::from).or_else(written);
    // Another place may be another daemon's.
    chosen.or(ServerConfig::default().control).filter(|path| !path.as_os_str().is_empty())
}

/// Zero configuration for `directory`, which is made if it is missing.
pub fn directory(directory: &Path, listen: &[Listen]) -> Result<Config, Failure> {
    // What is wrong elsewhere is said before anything is made.
    if let Ok(absolute) = std::path::absolute(directory) {
        judged(&absolute, listen)?;
    }
    std::fs::create_dir_all(directory).map_err(|e| cannot("make the directory", directory, &e))?;
    existing(directory, listen)
}

/// Zero configuration for a `directory` that must be there.
pub fn existing(directory: &Path, listen: &[Listen]) -> Result<Config, Failure> {
    let absolute = directory.canonicalize().map_err(|e| cannot("find the directory", directory, &e))?;
    if !absolute.is_dir() {
        return Err(Failure::usage(format!("{} is not a directory", directory.display())));
    }
    judged(&absolute, listen)
}

fn judged(directory: &Path, listen: &[Listen]) -> Result<Config, Failure> {
    let surroundings =
        Surroundings { environment: &environment, canonical: &canonical, listen, serves: true };
    Ok(resolve::directory(directory, &surroundings)?)
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries.map_err(|e| unlisted(directory, &e))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| unlisted(directory, &e))?.path();
        // Editors leave .x.toml.swp and x.toml~ behind.
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    Ok(files)
}

fn read(file: &Path, serves: bool, problems: &mut Problems) -> Result<Option<Source>, Failure> {
    let bytes = std::fs::read(file).map_err(|error| match error.kind() {
        ErrorKind::NotFound if file == Path::new(DEFAULT_FILE) && serves => Failure::usage(format!(
            "there is no {DEFAULT_FILE}; name a directory to serve (createrepod serve DIR), \
             or another configuration (--config FILE)"
        )),
        ErrorKind::NotFound if file == Path::new(DEFAULT_FILE) => {
            Failure::usage(format!("there is no {DEFAULT_FILE}; name another configuration (--config FILE)"))
        }
        _ => Failure::usage(format!("cannot read the configuration {}: {error}", file.display())),
    })?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(Source { file: file.to_owned(), text })),
        Err(error) => {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            let origin = Origin::File { file: Arc::new(file.to_owned()), line };
            problems.add(origin, "expected UTF-8 text");
            Ok(None)
        }
    }
}

fn unlisted(directory: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("cannot list the configuration directory {}: {error}", directory.display()))
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    let exit = if error.kind() == ErrorKind::NotFound { Exit::NotFound } else { Exit::Usage };
    Failure::new(exit, format!("cannot {what} {}: {error}", path.display()))
}

/// `path` with its symbolic links resolved as far as it exists.
fn canonical(path: &Path) -> PathBuf {
    for above in path.ancestors() {
        if let Ok(resolved) = above.canonicalize() {
            // What comes below does not exist; only `.` is left out of it.
            return match path.strip_prefix(above) {
                Ok(below) if !below.as_os_str().is_empty() => resolved.join(below),
                _ => resolved,
            };
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn refusal<T>(outcome: Result<T, Failure>) -> (Exit, String) {
        let Err(failure) = outcome else { panic!("was accepted") };
        (failure.exit, format!("{failure:?}"))
    }

    #[test]
    fn files_of_repos_d_join_the_main_one() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::write(at("c.toml"), "[repository.main]\npath = '/main'\n").unwrap();
        let names = |place: &Path| {
            let config = files(place, &[]).unwrap_or_else(|failure| panic!("{failure:?}")).config;
            config.repositories.into_iter().map(|r| r.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&at("c.toml")), ["main"], "no repos.d is fine");
        fs::create_dir(at("repos.d")).unwrap();
        for (file, name) in
            [("b.toml", "b"), ("a.toml", "a"), (".b.toml", "swap"), ("a.toml~", "backup"), ("README", "x")]
        {
            fs::write(at("repos.d").join(file), format!("[repository.{name}]\npath = '/{name}'\n")).unwrap();
        }
        assert_eq!(names(&at("c.toml")), ["a", "b", "main"]);
    }

    #[test]
    fn what_is_not_utf8_is_refused_with_its_line_and_hides_no_other_error() {
        let place = tempfile::tempdir().unwrap();
        let main = place.path().join("c.toml");
        fs::create_dir(place.path().join("repos.d")).unwrap();
        fs::write(place.path().join("repos.d/x.toml"), b"# a\n# \xff\n").unwrap();
        fs::write(&main, "[server]\nlisten = 5\n").unwrap();
        let (exit, text) = refusal(files(&main, &[]));
        assert_eq!(exit, Exit::Usage);
        assert!(text.contains("x.toml:2: expected UTF-8") && text.contains("c.toml:2: listen:"), "{text}");
    }

    #[test]
    fn files_that_lose_what_they_said_change_nothing() {
        let place = tempfile::tempdir().unwrap();
        let (main, directory) = (place.path().join("c.toml"), place.path().join("repos.d"));
        let (one, two) = (directory.join("a.toml"), directory.join("b.toml"));
        fs::create_dir(&directory).unwrap();
        fs::write(&main, "[server]\n").unwrap();
        fs::write(&one, "[repository.a]\npath = '/a'\n").unwrap();
        fs::write(&two, "[repository.b]\npath = '/b'\n").unwrap();
        let (_, before) = files_to_serve(&main, &[]).unwrap_or_else(|failure| panic!("{failure:?}"));
        let again = |before: &Files| {
            let read = files_again(&main, &[], before);
            read.map(|(resolved, files)| (resolved.config.repositories.len(), files))
        };
        fs::write(&main, " \n").unwrap();
        fs::write(&two, "").unwrap();
        let (_, text) = refusal(again(&before));
        assert!(
            text.contains("c.toml: it is empty now") && text.contains("b.toml: it is empty now"),
            "{text}"
        );
        fs::write(&main, "# nothing\n").unwrap();
        fs::remove_file(&two).unwrap();
        let (count, before) = again(&before).unwrap();
        assert_eq!(count, 1, "a file that was removed takes its repository away");
        fs::write(&two, "").unwrap();
        assert_eq!(again(&before).unwrap().0, 1, "a new file that says nothing yet is no mistake");
        fs::remove_file(&two).unwrap();
        fs::rename(&directory, place.path().join("away")).unwrap();
        assert!(refusal(again(&before)).1.contains("the directory is gone"));
        fs::create_dir(&directory).unwrap();
        assert_eq!(again(&before).unwrap().0, 0, "whoever leaves the directory means it");
        fs::remove_file(&main).unwrap();
        assert!(refusal(again(&before)).1.contains("c.toml is gone"));
    }

    #[test]
    fn a_missing_configuration_is_a_wrong_usage() {
        let (exit, text) = refusal(files(Path::new("/nonexistent/c.toml"), &[]));
        assert_eq!(exit, Exit::Usage);
        assert!(text.contains("/nonexistent/c.toml"), "{text}");
    }

    #[test]
    fn a_directory_to_serve_is_made_and_one_to_index_must_be_there() {
        let place = tempfile::tempdir().unwrap();
        let deep = place.path().join("a/b");
        assert_eq!(refusal(existing(&deep, &[])).0, Exit::NotFound);
        let config = directory(&deep, &[]).unwrap_or_else(|failure| panic!("{failure:?}"));
        assert!(deep.is_dir());
        assert_eq!(config.repositories[0].path, deep.canonicalize().unwrap());
        fs::write(place.path().join("file"), "").unwrap();
        assert_eq!(refusal(existing(&place.path().join("file"), &[])).0, Exit::Usage);
    }

    #[test]
    fn a_path_is_resolved_as_far_as_it_exists() {
        let place = tempfile::tempdir().unwrap();
        let real = place.path().canonicalize().unwrap();
        fs::create_dir(real.join("d")).unwrap();
        std::os::unix::fs::symlink("d", real.join("link")).unwrap();
        assert_eq!(canonical(&real.join("link/x/y")), real.join("d/x/y"));
        assert_eq!(canonical(&real.join("link")), real.join("d"));
        assert_eq!(canonical(&real.join("none")), real.join("none"));
    }
}
