//! `verify [REPO…]`: reads everything again.

use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use super::failure::{Exit, Failure};
use super::index::Bar;
use super::{Verify, load};
use crate::config::RepositoryConfig;
use crate::logging::escaped;
use crate::repository::verify::{self, Report};

impl Verify {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut found = 0;
        for repository in self.wanted()? {
            found += one(&repository, self.repair)?;
        }
        match found {
            0 => Ok(()),
            1 => Err(Failure::new(Exit::Failed, "1 thing is not as it was published")),
            _ => Err(Failure::new(Exit::Failed, format!("{found} things are not as they were published"))),
        }
    }

    fn wanted(&self) -> Result<Vec<RepositoryConfig>, Failure> {
        let is_path = |name: &&String| name.contains('/') || *name == "." || *name == "..";
        let mut wanted = Vec::new();
        for directory in self.repositories.iter().filter(is_path) {
            wanted.extend(load::existing(Path::new(directory), &[])?.repositories);
        }
        let names: Vec<&String> = self.repositories.iter().filter(|name| !is_path(name)).collect();
        if !names.is_empty() || self.repositories.is_empty() {
            let configured = load::files(&self.config.config, &[])?.config.repositories;
            for name in &names {
                if !configured.iter().any(|repository| repository.name == **name) {
                    let why = format!("there is no repository {name:?} in {}", self.config.config.display());
                    return Err(Failure::new(Exit::NotFound, why));
                }
            }
            let named = |repository: &RepositoryConfig| names.iter().any(|name| **name == repository.name);
            wanted.extend(configured.into_iter().filter(|one| names.is_empty() || named(one)));
        }
        Ok(wanted)
    }
}

/// How many findings are left in one repository.
fn one(repository: &RepositoryConfig, repair: bool) -> Result<usize, Failure> {
    let begun = Instant::now();
    let look =
        |error: anyhow::Error| Failure::failed(&error.context(format!("cannot verify {}", repository.name)));
    let bar = Bar::new();
    let outcome = verify::verify(repository, &bar, &|| false, false);
    bar.0.finish_and_clear();
    let mut report = outcome.map_err(look)?;
    tell(&report)?;
    if repair && !report.findings.is_empty() {
        let bar = Bar::new();
        let outcome = verify::repair::repair(repository, &report, &bar);
        bar.0.finish_and_clear();
        let before = report.findings.len();
        report = outcome
            .map_err(|error| Failure::failed(&error.context(format!("cannot repair {}", repository.name))))?;
        print(&format!(
            "{}: repaired; {before} findings before, {} now\n",
            repository.name,
            report.findings.len()
        ))?;
        tell(&report)?;
    }
    print(&format!(
        "{}: {} packages and {} metadata files, {} MiB, {} findings, {:.1} s\n",
        repository.name,
        report.packages,
        report.metadata_files,
        report.bytes >> 20,
        report.findings.len(),
        begun.elapsed().as_secs_f64(),
    ))?;
    Ok(report.findings.len())
}

fn tell(report: &Report) -> Result<(), Failure> {
    report
        .findings
        .iter()
        .try_for_each(|finding| print(&format!("{}\n", escaped(&format!("{}: {finding}", finding.kind())))))
}

fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Failed, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
