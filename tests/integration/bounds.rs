//! Every bound of docs/bounds.md: driven from a hundred connections at once, while others are served.
//!
//! The daemon may open 1,024 files, and its resident memory must never have been more than 512 MiB. A limit of the
//! address space or of `RLIMIT_DATA` would count the stacks of threads and what the allocator only reserves.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::world::Daemon;
use crate::world::daemon::program;

mod dav;
mod downloads;
mod h2;
mod listings;
mod passwords;
mod places;
mod refusals;
mod superseded;
mod uploads;

/// Connections of whoever means harm.
const HOSTILE: usize = 100;
const MOST_MIB: u64 = 512;

/// The daemon with this configuration and no more than 1,024 files.
fn confined(config: &Path) -> Daemon {
    let inner = program();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 1024 && exec \"$@\"", "sh"]).arg(inner.get_program());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.args(["serve".as_ref(), "--config".as_ref(), config.as_os_str()]);
    Daemon::start_as(command, "/rpm/")
}

/// The most memory it has had, in MiB.
fn peak_mib(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn assert_confined(daemon: &Daemon) {
    let (mib, files) = (peak_mib(daemon), daemon.open_files());
    assert!(mib <= MOST_MIB, "{mib} MiB");
    assert!(files < 1000, "{files} open files");
}
