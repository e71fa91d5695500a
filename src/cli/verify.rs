//! `verify [REPO…]`: everything is read again: by the daemon that has it, or else here.

use std::cell::Cell;
use std::time::{Instant, SystemTime};

use hyper::{Method, StatusCode};

use super::ask::{listen, repository_path};
use super::control::{Asked, unknown};
use super::failure::{Exit, Failure};
use super::index::{Bar, as_owner};
use super::print;
use crate::config::RepositoryConfig;
use crate::logging::escaped;
use crate::repository::verify::{self, Report, Told, Verified};
use crate::serve::verify::Event;

/// What came of it.
#[derive(Default)]
struct Sum {
    /// Findings that are left.
    found: usize,
    /// What could not be verified.
    failures: Vec<Failure>,
}

/// Verifies all repositories, or the named ones, one after the other; one that cannot be verified holds up no other.
pub fn run(all: &[Asked], repair: bool) -> Result<(), Failure> {
    let mut sum = Sum::default();
    for asked in all {
        if !by_the_daemon(asked, repair, &mut sum)? {
            here(asked, repair, &mut sum)?;
        }
    }
    match sum.found {
        0 => {}
        1 => sum.failures.push(Failure::new(Exit::Failed, "1 thing is not as it was published")),
        found => sum
            .failures
            .push(Failure::new(Exit::Failed, format!("{found} things are not as they were published"))),
    }
    Failure::all(sum.failures)
}

/// `false` when no daemon listens.
fn by_the_daemon(asked: &Asked, repair: bool, sum: &mut Sum) -> Result<bool, Failure> {
    let Some(socket) = &asked.socket else { return Ok(false) };
    let paths: Vec<_> = match asked.repositories.as_slice() {
        [] => vec![(None, "/-/api/v1/verify".to_owned())],
        names => names.iter().map(|name| (Some(name), repository_path(name, "verify"))).collect(),
    };
    for (name, mut path) in paths {
        if repair {
            path += "?repair";
        }
        let mut hearing = Hearing::new(repair);
        let Some(answer) = listen(socket, Method::POST, &path, &mut |line| hearing.hear(line))? else {
            return Ok(false);
        };
        match (answer.status, name) {
            (StatusCode::OK, _) if hearing.is_over => {
                sum.found += hearing.left;
                sum.failures.extend(hearing.failures);
            }
            (StatusCode::OK, _) => {
                return Err(Failure::new(Exit::Failed, "the daemon stopped before all was verified"));
            }
            (StatusCode::NOT_FOUND, Some(name)) => sum.failures.push(unknown(name)),
            _ => {
                let why = String::from_utf8_lossy(&answer.body).trim().to_owned();
                return Err(Failure::new(Exit::Failed, format!("the daemon did not verify: {why}")));
            }
        }
    }
    Ok(true)
}

/// No daemon has them.
fn here(asked: &Asked, repair: bool, sum: &mut Sum) -> Result<(), Failure> {
    for wanted in asked.wanted()? {
        match wanted.and_then(|repository| one(repository, repair)) {
            Ok(left) => sum.found += left,
            Err(failure) => sum.failures.push(failure),
        }
    }
    Ok(())
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
    failures: Vec<Failure>,
    is_over: bool,
}

impl Hearing {
    fn new(repair: bool) -> Self {
        Self { repair, now: None, left: 0, failures: Vec::new(), is_over: false }
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
                self.failures.push(Failure::new(Exit::Failed, format!("cannot verify {}: {why}", now.name)));
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
