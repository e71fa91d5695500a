//! `verify [REPO…]`: everything is read again: by the daemon that has it, or else here.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use hyper::{Method, StatusCode};

use super::ask::{listen, repository_path, socket_of};
use super::failure::{Exit, Failure};
use super::index::{Bar, as_owner};
use super::{Verify, load, print};
use crate::config::{Config, RepositoryConfig};
use crate::logging::escaped;
use crate::repository::verify::{self, Report, Told, Verified};
use crate::serve::verify::Event;

/// What is to be verified, and who may have it.
struct Wanted {
    socket: Option<PathBuf>,
    config: Config,
    /// `None`: all of them.
    name: Option<String>,
}

impl Verify {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut found = 0;
        for wanted in self.wanted()? {
            found += match wanted.by_the_daemon(self.repair)? {
                Some(found) => found,
                None => wanted.here(self.repair)?,
            };
        }
        match found {
            0 => Ok(()),
            1 => Err(Failure::new(Exit::Failed, "1 thing is not as it was published")),
            _ => Err(Failure::new(Exit::Failed, format!("{found} things are not as they were published"))),
        }
    }

    fn wanted(&self) -> Result<Vec<Wanted>, Failure> {
        let is_path = |name: &str| name.contains('/') || name == "." || name == "..";
        let configured = |name: Option<String>| {
            let config = load::files(&self.config.config, &[])?.config;
            Ok(Wanted { socket: config.server.control.clone(), config, name })
        };
        let directory = |directory: &str| {
            let config = load::existing(Path::new(directory), &[])?;
            let socket = config.repositories.first().map(|repository| socket_of(&repository.path));
            Ok(Wanted { socket, config, name: None })
        };
        if self.repositories.is_empty() {
            return Ok(vec![configured(None)?]);
        }
        let one =
            |name: &String| if is_path(name) { directory(name) } else { configured(Some(name.clone())) };
        self.repositories.iter().map(one).collect()
    }
}

impl Wanted {
    /// How many findings are left; `None` when no daemon listens.
    fn by_the_daemon(&self, repair: bool) -> Result<Option<usize>, Failure> {
        let Some(socket) = &self.socket else { return Ok(None) };
        let mut path = match &self.name {
            Some(name) => repository_path(name, "verify"),
            None => "/-/api/v1/verify".to_owned(),
        };
        if repair {
            path += "?repair";
        }
        let mut hearing = Hearing::new(repair);
        let Some(answer) = listen(socket, Method::POST, &path, &mut |line| hearing.hear(line))? else {
            return Ok(None);
        };
        match (answer.status, &self.name) {
            (StatusCode::OK, _) if hearing.is_over => Ok(Some(hearing.left)),
            (StatusCode::OK, _) => {
                Err(Failure::new(Exit::Failed, "the daemon stopped before all was verified"))
            }
            (StatusCode::NOT_FOUND, Some(name)) => Err(unknown(name)),
            _ => {
                let why = String::from_utf8_lossy(&answer.body).trim().to_owned();
                Err(Failure::new(Exit::Failed, format!("the daemon did not verify: {why}")))
            }
        }
    }

    /// No daemon has them.
    fn here(&self, repair: bool) -> Result<usize, Failure> {
        let named = |config: &&RepositoryConfig| self.name.as_ref().is_none_or(|name| *name == config.name);
        let wanted: Vec<_> = self.config.repositories.iter().filter(named).collect();
        if let (Some(name), []) = (&self.name, wanted.as_slice()) {
            return Err(unknown(name));
        }
        let mut left = 0;
        for repository in wanted {
            left += one(repository, repair)?;
        }
        Ok(left)
    }
}

fn unknown(name: &str) -> Failure {
    Failure::new(Exit::NotFound, format!("no repository is named {name:?}"))
}

/// How many findings are left in one repository.
fn one(repository: &RepositoryConfig, repair: bool) -> Result<usize, Failure> {
    if repair {
        as_owner(repository)?;
    }
    let outcome = Outcome::begin(&repository.name);
    let report = verify::verify(repository, &outcome.bar, &|| false, false);
    let failed = |why: &str, error: anyhow::Error| {
        Failure::failed(&error.context(format!("cannot {why} {}", repository.name)))
    };
    let report = report.map_err(|error| failed("verify", error))?;
    outcome.found(&Told::from(&report))?;
    let report: Report = match repair && !report.findings.is_empty() {
        false => report,
        true => {
            let repaired = verify::repair::repair(repository, &report, &outcome.bar);
            let repaired = repaired.map_err(|error| failed("repair", error))?;
            outcome.mended(&Told::from(&repaired))?;
            repaired
        }
    };
    // For the status; only where the daemon can renew it afterwards.
    if as_owner(repository).is_ok() {
        Verified::new(SystemTime::now(), &report).keep(&repository.state_dir);
    }
    outcome.end(&Told::from(&report))
}

/// What the daemon tells, line by line.
struct Hearing {
    repair: bool,
    now: Option<Outcome>,
    left: usize,
    is_over: bool,
}

impl Hearing {
    fn new(repair: bool) -> Self {
        Self { repair, now: None, left: 0, is_over: false }
    }

    fn hear(&mut self, line: &str) -> Result<(), Failure> {
        let event = serde_json::from_str(line).map_err(|error| {
            Failure::new(Exit::Failed, format!("what the daemon says cannot be read: {error}"))
        })?;
        if let Event::Repository(name) = event {
            self.now = Some(Outcome::begin(&name));
            return Ok(());
        }
        let Some(now) = &self.now else {
            self.is_over = event == Event::End;
            return Ok(());
        };
        match event {
            Event::Repository(_) => {}
            Event::ToRead(packages) => crate::repository::Progress::to_read(&now.bar, packages),
            Event::Read(packages) => now.bar.0.set_position(packages),
            Event::Report(told) => {
                now.found(&told)?;
                if !self.repair || told.findings.is_empty() {
                    self.left += now.end(&told)?;
                }
            }
            Event::Repaired(told) => {
                now.mended(&told)?;
                self.left += now.end(&told)?;
            }
            Event::Failed(why) => {
                now.bar.0.finish_and_clear();
                return Err(Failure::new(Exit::Failed, format!("cannot verify {}: {why}", now.name)));
            }
            Event::End => self.is_over = true,
        }
        Ok(())
    }
}

/// What is printed of one repository, whoever verifies it.
struct Outcome {
    name: String,
    begun: Instant,
    bar: Bar,
    before: Cell<usize>,
}

impl Outcome {
    fn begin(name: &str) -> Self {
        Self { name: name.to_owned(), begun: Instant::now(), bar: Bar::new(), before: Cell::new(0) }
    }

    fn found(&self, told: &Told) -> Result<(), Failure> {
        self.before.set(told.findings.len());
        let lines =
            told.findings.iter().map(|found| escaped(&format!("{}: {}", found.kind, found.what)) + "\n");
        let lines: String = lines.collect();
        self.bar.0.suspend(|| print(&lines))
    }

    fn mended(&self, told: &Told) -> Result<(), Failure> {
        let (name, before, now) = (&self.name, self.before.get(), told.findings.len());
        let text = format!("{name}: repaired; {before} findings before, {now} now\n");
        self.bar.0.suspend(|| print(&text))?;
        self.found(told)
    }

    /// How many findings are left.
    fn end(&self, told: &Told) -> Result<usize, Failure> {
        self.bar.0.finish_and_clear();
        print(&format!(
            "{}: {} {} and {} metadata files, {} MiB, {} findings, {:.1} s\n",
            escaped(&self.name),
            told.packages,
            if told.packages == 1 { "package" } else { "packages" },
            told.metadata_files,
            told.bytes >> 20,
            told.findings.len(),
            self.begun.elapsed().as_secs_f64(),
        ))?;
        Ok(told.findings.len())
    }
}
