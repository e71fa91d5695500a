//! System calls that fail: what the system says of a file or directory is no judgement of it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::world::clients::find;
use crate::world::daemon::{rejected, unread};
use crate::world::{Daemon, PATIENCE, Rpm, Tree, eventually, skipped};

const CALLS: [&str; 5] = [
    "open,openat,openat2",
    "read,pread64",
    "stat,lstat,fstat,newfstatat,statx",
    "getdents64",
    "inotify_add_watch",
];
const ERRORS: [&str; 7] = ["EIO", "EMFILE", "ENFILE", "ENOMEM", "ENOSPC", "ESTALE", "ETIMEDOUT"];

/// Makes calls of a running process fail that concern some places, until it is dropped.
struct Failing(Child);

impl Failing {
    /// `None` where strace may not trace.
    fn start(strace: &Path, daemon: &Daemon, rule: &str, places: &[String]) -> Option<Self> {
        let calls = rule.split(':').next()?;
        let mut command = Command::new(strace);
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
        command.args(["-e", &format!("inject={rule}"), "-p", &daemon.pid().to_string()]);
        for place in places {
            command.args(["-P", place]);
        }
        let mut failing = Self(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().ok()?);
        // Every thread that there is now is traced.
        eventually(PATIENCE, "strace traces, or ended", || {
            let ended = failing.0.try_wait().ok().flatten().is_some();
            (ended || is_traced(daemon.pid())).then_some(!ended)
        })
        .then_some(failing)
    }
}

fn is_traced(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    threads.map(|thread| fs::read_to_string(thread.path().join("status")).unwrap_or_default()).all(|status| {
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        tracer.is_none_or(|tracer| tracer.trim() != "0")
    })
}

impl Drop for Failing {
    fn drop(&mut self) {
        // It lets go of what it traces.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

/// xorshift
fn next(state: &mut u64, below: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state % below as u64) as usize
}

#[test]
fn no_call_that_fails_takes_a_package_out_or_keeps_one_out() {
    let Some(strace) = find("strace") else { return };
    let tree = Tree::new();
    let mut all: Vec<String> = Vec::new();
    for old in 0..4 {
        all.push(format!("old{old}.rpm"));
        tree.write(&all[old], &Rpm::new(format!("old{old}")).build());
    }
    let daemon = Daemon::configured(&tree, "", "settle = \"100ms\"");
    let of = |all: &[String]| daemon.until_exactly(&all.iter().map(String::as_str).collect::<Vec<_>>());
    of(&all);
    let mut state = 0x2026_1130_u64;
    for round in 0..12 {
        let calls = CALLS[round % CALLS.len()];
        let error = ERRORS[next(&mut state, ERRORS.len())];
        let (from, more) = (1 + next(&mut state, 3), next(&mut state, 4));
        let rule = format!("{calls}:error={error}:when={from}..{}", from + more);
        let (new, deep) = (format!("new{round}.rpm"), format!("dir{round}/deep.rpm"));
        let (changed, touched) = ("old0.rpm".to_owned(), format!("old{}.rpm", 1 + round % 3));
        let places = [&new, &deep, &changed, &touched, "comps.xml", &format!("dir{round}")];
        let places = places.map(|place| tree.path(place).to_str().unwrap().to_owned());
        let Some(failing) = Failing::start(&strace, &daemon, &rule, &places) else {
            return skipped("failing system calls: strace may not trace here");
        };
        tree.write(&new, &Rpm::new(format!("new{round}")).build());
        tree.write(&deep, &Rpm::new(format!("deep{round}")).build());
        let version = format!("2.{round}");
        let other = tree.write_beside("changed", &Rpm::new("old0").version(&version).build());
        fs::rename(other, tree.path(&changed)).unwrap();
        fs::set_permissions(tree.path(&touched), Permissions::from_mode(0o600 + 0o44 * (round as u32 % 2)))
            .unwrap();
        let comps = format!("<comps><group><id>g{round}</id><name>G</name></group></comps>");
        tree.write("comps.xml", comps.as_bytes());
        all.extend([new, deep]);
        let told = || format!("{rule}, rejected: {:?}\n{}", rejected(&daemon.status()), daemon.log());
        daemon.until("everything, with what replaced the other", |metadata| {
            let old = (0..4).all(|old| metadata.has(&format!("old{old}.rpm")));
            assert!(old, "what was published has left: {}", told());
            all.iter().all(|location| metadata.has(location))
                && metadata.package("old0.rpm").is_some_and(|package| package.version == version)
                && metadata.records.contains_key("group")
        });
        drop(failing);
        assert!(rejected(&daemon.status()).is_empty(), "{}", told());
    }
    eventually(PATIENCE, "nothing is unread", || unread(&daemon.status()).is_empty().then_some(()));
    of(&all).matches_tree(tree.root()).unwrap();
    daemon.stop();
}
