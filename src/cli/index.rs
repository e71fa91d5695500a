//! `index DIR`: the metadata once, without a daemon.

use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::failure::{Exit, Failure};
use super::{Index, load, print};
use crate::config::{MetadataProfile, RepositoryConfig, SignConfig};
use crate::logging::escaped;
use crate::repository::{self, Progress, Summary};

impl Index {
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.zchunk && self.metadata != MetadataProfile::Zstd {
            return Err(Failure::usage(
                "--zchunk needs --metadata zstd: zchunk files are made of zstd frames",
            ));
        }
        become_owner(&self.directory)?;
        let config = load::existing(&self.directory, &[])?;
        let Some(mut repository) = config.repositories.into_iter().next() else {
            return Err(Failure::usage("no directory was named"));
        };
        repository.metadata = self.metadata;
        repository.checksum = self.checksum;
        repository.filelists_ext = self.filelists_ext;
        repository.zchunk = self.zchunk;
        repository.changelog_limit = self.changelog_limit.0;
        repository.verify = self.verify;
        repository.symlinks = self.symlinks;
        repository.sign =
            self.sign_key.map(|key| SignConfig::Key { key, passphrase: self.sign_passphrase.clone() });
        run_once(repository, &self.directory)
    }
}

/// Indexes and reports; `directory` as its user calls it.
pub(super) fn run_once(repository: RepositoryConfig, directory: &Path) -> Result<(), Failure> {
    let begun = Instant::now();
    let bar = Bar::new();
    let outcome = repository::index(repository, &bar);
    bar.0.finish_and_clear();
    let summary = outcome
        .map_err(|error| Failure::failed(&error.context(format!("cannot index {}", directory.display()))))?;
    report(&summary, begun.elapsed())
}

/// Where root was asked to index somebody else's directory, the work is done with the rights of its owner: whoever may
/// write there could have root write elsewhere, and the owner could not change what root had written.
fn become_owner(directory: &Path) -> Result<(), Failure> {
    use rustix::process::{Gid, Uid};
    // A directory that is missing is told of by whoever opens it.
    let Ok(metadata) = std::fs::metadata(directory) else { return Ok(()) };
    if !rustix::process::geteuid().is_root() || metadata.uid() == 0 {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid()));
    let refused = |why: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Refused,
            format!(
                "{} belongs to the user with the number {uid}, and root does not write there: run this as that user \
                 ({why})",
                directory.display()
            ),
        )
    };
    // Rights are each thread's own: from this one all others come.
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
    if !matches!(threads, Ok(1)) {
        return Err(refused(&"its rights cannot be taken here"));
    }
    rustix::thread::set_thread_groups(&[gid])
        .and_then(|()| rustix::thread::set_thread_res_gid(gid, gid, gid))
        .and_then(|()| rustix::thread::set_thread_res_uid(uid, uid, uid))
        .map_err(|error| refused(&format_args!("cannot take that user's rights: {error}")))
}

/// Refuses to work as another user than the daemon: it could not write its own files any more.
pub(super) fn as_owner(repository: &RepositoryConfig) -> Result<(), Failure> {
    let Ok(metadata) = std::fs::metadata(&repository.state_dir) else { return Ok(()) };
    if metadata.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Refused,
        format!(
            "the daemon is not running, and {} belongs to another user: do it as that one, \
             such as with runuser -u createrepod -- createrepod …",
            repository.state_dir.display()
        ),
    ))
}

/// The summary goes to standard output, what was left out to standard error. A package that was
/// rejected is a finding, not a failure.
fn report(summary: &Summary, took: Duration) -> Result<(), Failure> {
    let mut findings = String::new();
    for rejected in &summary.rejected {
        findings +=
            &format!("rejected {}: {}\n", escaped(rejected.location.as_str()), escaped(&rejected.reason));
    }
    for (path, reason) in &summary.refused {
        findings += &format!("left out {}: {}\n", escaped(path), escaped(reason));
    }
    // Nobody to tell is no failure of the index.
    let _ = std::io::stderr().write_all(findings.as_bytes());
    print(&format!("{}\n", sentence(summary, took)))
}

fn sentence(summary: &Summary, took: Duration) -> String {
    let Summary { packages, read, rejected, refused, changed, revision } = summary;
    let left_out = rejected.len() + refused.len();
    let left_out = if left_out == 0 { String::new() } else { format!(", {left_out} left out") };
    let took = took.as_secs_f64();
    let noun = if *packages == 1 { "package" } else { "packages" };
    match changed {
        true => format!("{packages} {noun} ({read} read now{left_out}), revision {revision}, {took:.1} s"),
        false => format!("{packages} {noun}, nothing changed{left_out}, revision {revision}, {took:.1} s"),
    }
}

/// A bar when a terminal is watching, nothing otherwise.
pub(super) struct Bar(pub(super) ProgressBar);

impl Bar {
    pub(super) fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::default_spinner());
        bar.set_message("looking at the tree");
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }
}

impl Progress for Bar {
    fn to_read(&self, packages: u64) {
        self.0.set_length(packages);
        let template = "{bar:40} {pos}/{len} packages, {per_sec}, {eta} left";
        // The template is ours; a wrong one leaves the spinner.
        self.0.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
    }

    fn one_read(&self) {
        self.0.inc(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_counts_what_was_left_out() {
        let mut summary =
            Summary { packages: 5, read: 2, rejected: vec![], refused: vec![], changed: true, revision: 7 };
        let took = Duration::from_millis(1234);
        assert_eq!(sentence(&summary, took), "5 packages (2 read now), revision 7, 1.2 s");
        summary.refused.push(("x".into(), "why".into()));
        assert_eq!(sentence(&summary, took), "5 packages (2 read now, 1 left out), revision 7, 1.2 s");
        summary.changed = false;
        assert_eq!(sentence(&summary, took), "5 packages, nothing changed, 1 left out, revision 7, 1.2 s");
    }
}
