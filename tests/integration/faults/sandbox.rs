//! The service's sandbox, made by hand as far as that goes without systemd: what the unit says of users, capabilities and
//! files holds here, and the system calls that are made are held against its filter.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::world::clients::{find, output};
use crate::world::daemon::program;
use crate::world::namespace::Namespace;
use crate::world::{Daemon, Metadata, PATIENCE, Rpm, Tree, eventually, skipped};

const NOBODY: u32 = 65534;
const UNIT: &str = include_str!("../../../systemd/createrepod.service");

/// All of it read-only but what the unit leaves: the tree at /srv, the state, /run/createrepod and a /tmp of its own.
/// Arguments: the program's directory, the tree, the state.
const MAKE: &str = r#"
mount -t tmpfs -o mode=755 none /mnt
mkdir /mnt/bin && mount --bind "$1" /mnt/bin
mount --bind "$2" /srv
state=$(mktemp -d) && mount --bind "$3" "$state"
mount -t tmpfs -o mode=755 none /var/lib
mkdir /var/lib/createrepod && mount --bind "$state" /var/lib/createrepod
mount -t tmpfs -o mode=755 none /run
mkdir /run/createrepod && chown 65534:65534 /run/createrepod && mount --bind /run/createrepod /run/createrepod
umount "$state" && rmdir "$state"
for home in /home /root; do mount -t tmpfs -o mode=0 none "$home"; done
for place in /tmp /var/tmp; do mount -t tmpfs -o mode=1777 none "$place"; done
cut -d" " -f5 /proc/self/mountinfo | while read -r point; do
	case $point in
	/srv|/var/lib/createrepod|/run/createrepod|/tmp|/var/tmp|/proc*|/sys*|/dev*) ;;
	# One that another hides cannot be reached, by nobody.
	*) mount -o remount,bind,ro "$point" 2>/dev/null || [ ! -w "$point" ] || exit 1 ;;
	esac
done
"#;

fn serve(namespace: &Namespace, around: &[&str]) -> Daemon {
    let mut command = namespace.command("env");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CREATEREPOD_") {
            command.env_remove(name);
        }
    }
    let id = NOBODY.to_string();
    command.args(["-C", "/", "setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--no-new-privs"]);
    command.args(["--bounding-set=-all", "--inh-caps=-all"]).args(around);
    command
        .args(["/mnt/bin/createrepod", "serve", "--config", "/mnt/bin/createrepod.toml"])
        .stdin(Stdio::null());
    Daemon::start_as(command, "/rpm/")
}

/// Names of system calls that the unit allows.
fn allowed() -> Option<BTreeSet<String>> {
    let text = output(Command::new(find("systemd-analyze")?).args(["--no-pager", "syscall-filter"]));
    let set = |name: &str| -> Vec<String> {
        let lines = text.lines().skip_while(|line| *line != name).skip(1);
        let members = lines.take_while(|line| line.starts_with(' ')).map(str::trim);
        members.filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    let whole = |name: &str| {
        let (mut names, mut waiting) = (BTreeSet::new(), vec![name.to_owned()]);
        while let Some(next) = waiting.pop() {
            match next.starts_with('@') {
                true => waiting.extend(set(&next)),
                false => _ = names.insert(next),
            }
        }
        assert!(!names.is_empty(), "systemd knows {name}");
        names
    };
    let mut names = BTreeSet::new();
    for line in UNIT.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        match line.strip_prefix('~') {
            Some(taken) => taken.split(' ').for_each(|set| names = &names - &whole(set)),
            None => line.split(' ').for_each(|set| names.extend(whole(set))),
        }
    }
    Some(names)
}

/// Those in a table of `strace -c`: each line begins with a share of the time. A thread that ends in the middle of a call
/// has one of its own, which begins with its number.
fn made(table: &str) -> BTreeSet<String> {
    let is_share = |word: &str| word.contains('.') && word.parse::<f64>().is_ok();
    let counted = |line: &&str| line.split_ascii_whitespace().next().is_some_and(is_share);
    let last = |line: &str| line.split_ascii_whitespace().last().unwrap().to_owned();
    let mut names: BTreeSet<String> = table.lines().filter(counted).map(last).collect();
    names.remove("total");
    names
}

#[test]
fn in_the_services_sandbox_all_works_and_nothing_outside_is_written() {
    // What is made below by hand; whoever changes the unit looks here, too.
    for line in [
        "ProtectSystem=strict",
        "ReadWritePaths=-/srv -/var/www",
        "StateDirectory=createrepod",
        "RuntimeDirectory=createrepod",
        "ProtectHome=true",
        "PrivateTmp=true",
        "NoNewPrivileges=true",
        "CapabilityBoundingSet=",
        "User=createrepod",
    ] {
        assert!(UNIT.lines().any(|found| found == line), "{line}");
    }
    if !rustix::process::geteuid().is_root() {
        let required = std::env::var_os("CREATEREPOD_REQUIRE_CLIENTS").is_some_and(|value| value == "1");
        assert!(!required, "the sandbox needs root, and CREATEREPOD_REQUIRE_CLIENTS=1");
        return skipped("the service's sandbox: only root can make it");
    }
    let (Some(namespace), Some(_)) = (Namespace::with_all_users(), find("setpriv")) else { return };
    let tree = Tree::new();
    let (state, programs) = (tree.beside("state"), tree.beside("bin"));
    let published = tree.path("rpm");
    for place in [&state, &programs, &published] {
        fs::create_dir(place).unwrap();
    }
    for place in [tree.root(), &state, &published] {
        chown(place, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    fs::copy(program().get_program(), programs.join("createrepod")).unwrap();
    let text = "[server]\nlisten = [\"127.0.0.1:0\"]\ncontrol = \"/run/createrepod/control.sock\"\n\
                [state]\ndir = \"/var/lib/createrepod\"\n[repository.rpm]\npath = \"/srv/rpm\"\n\
                write = \"anyone\"\nmetadata = \"el7\"\n";
    fs::write(programs.join("createrepod.toml"), text).unwrap();
    for (place, mode) in [(&*programs, 0o755), (&programs.join("createrepod.toml"), 0o644)] {
        fs::set_permissions(place, fs::Permissions::from_mode(mode)).unwrap();
    }
    let arguments = [&*programs, tree.root(), &state];
    output(namespace.command("sh").args(["-euc", MAKE, "sandbox"]).args(arguments));
    for place in ["/usr/x", "/etc/x", "/x", "/var/lib/x", "/mnt/bin/x", "/home/x"] {
        let touched = namespace.command("touch").arg(place).output().unwrap();
        assert!(!touched.status.success(), "{place} can be written in the sandbox, by root even");
    }

    // Traced by one that is as powerless, which leaves its table in the state directory.
    let tracer = ["strace", "-D", "-f", "-c", "-o", "/var/lib/createrepod/calls"];
    let traces = find("strace").is_some()
        && Command::new("strace").args(["-D", "-o", "/dev/null", "true"]).status().is_ok_and(|s| s.success());
    if !traces {
        skipped("the service's system calls: strace may not trace here");
    }
    let daemon = serve(&namespace, if traces { &tracer } else { &[] });
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{line} is missing in {status}");
    }
    assert!(status.contains(&format!("Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}")), "{status}");
    assert_eq!(daemon.put_and_wait("deep/er/a.rpm", &Rpm::new("a").build()).status, 201);
    fs::write(published.join("b.rpm"), Rpm::new("b").build()).unwrap();
    daemon.until_exactly(&["b.rpm", "deep/er/a.rpm"]).matches_tree(&published).unwrap();
    let to = format!("{}moved.rpm", daemon.url());
    let moved = daemon.request("MOVE", "deep/er/a.rpm", &[("Destination", &to)], None);
    assert_eq!(moved.status, 201, "{}", moved.text());
    assert_eq!(daemon.request("DELETE", "b.rpm", &[], None).status, 204);
    let before = daemon.until_exactly(&["moved.rpm"]);
    is_content(&daemon, &namespace);
    daemon.stop();

    let daemon = serve(&namespace, &[]);
    assert_eq!(daemon.until_exactly(&["moved.rpm"]).repomd, before.repomd, "a restart publishes nothing new");
    assert_eq!(daemon.put_and_wait("c.rpm", &Rpm::new("c").build()).status, 201);
    daemon.until_exactly(&["c.rpm", "moved.rpm"]);
    is_content(&daemon, &namespace);
    daemon.kill();
    let daemon = serve(&namespace, &[]);
    daemon.until_exactly(&["c.rpm", "moved.rpm"]);
    daemon.stop();
    Metadata::from_tree(&published).unwrap().matches_tree(&published).unwrap();
    if let (true, Some(allowed)) = (traces, allowed()) {
        let table = eventually(PATIENCE, "the table of system calls", || {
            fs::read_to_string(state.join("calls")).ok().filter(|table| table.contains(" total"))
        });
        let made = made(&table);
        assert!(made.contains("fsync") && made.contains("openat2"), "{made:?}");
        let forbidden: Vec<_> = made.difference(&allowed).collect();
        assert!(forbidden.is_empty(), "the unit's filter forbids {forbidden:?}");
    }
}

/// Nothing was refused, and nothing lies where the next start would not find it.
fn is_content(daemon: &Daemon, namespace: &Namespace) {
    let log = daemon.log();
    for refusal in ["Read-only", "Permission denied", "Operation not permitted", "WARN", "ERROR"] {
        assert!(!log.contains(refusal), "{log}");
    }
    for place in ["/tmp", "/var/tmp"] {
        let names: Vec<_> = fs::read_dir(namespace.path(Path::new(place))).unwrap().flatten().collect();
        assert!(names.is_empty(), "{names:?} in {place}");
    }
}
