//! Rights that the daemon lacks: root's power over modes is taken from it where the test itself is root.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::world::clients::find;
use crate::world::daemon::{configuration, program, rejected, unread};
use crate::world::{Daemon, PATIENCE, Rpm, Tree, eventually};

const NOBODY: u32 = 65534;

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn serve(command: Command, tree: &Tree) -> Daemon {
    let mut command = command;
    command.args(["serve", "--config"]).arg(configuration(tree, "", "")).stdin(Stdio::null());
    Daemon::start_as(command, "/rpm/")
}

/// The program, held to file modes like everybody.
fn held_to_modes() -> Option<Command> {
    if !rustix::process::geteuid().is_root() {
        return Some(program());
    }
    let mut command = Command::new(find("setpriv")?);
    command
        .args(["--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]);
    command.arg(program().get_program());
    Some(command)
}

#[test]
fn what_may_not_be_read_is_named_with_what_mends_it_and_removes_nothing() {
    let Some(command) = held_to_modes() else { return };
    let tree = Tree::new();
    tree.write("a.rpm", &Rpm::new("a").build());
    tree.write("closed/b.rpm", &Rpm::new("b").build());
    let daemon = serve(command, &tree);
    let before = daemon.until_exactly(&["a.rpm", "closed/b.rpm"]);
    // A directory that was read before and may not be now: what is known below it stays.
    mode(&tree.path("closed"), 0o000);
    tree.write_beside("c.rpm", &Rpm::new("c").build());
    mode(&tree.beside("c.rpm"), 0o000);
    fs::rename(tree.beside("c.rpm"), tree.path("c.rpm")).unwrap();
    daemon.signal(Signal::USR1);
    eventually(PATIENCE, "both are listed with a reason", || {
        let unread = unread(&daemon.status());
        let told = |name: &str| unread.iter().any(|(path, reason)| path == name && reason.contains("chmod"));
        let log = daemon.log();
        let named = log.lines().any(|line| line.contains("cannot read \"closed\"") && line.contains("chmod"));
        (told("c.rpm") && told("closed") && named).then_some(())
    });
    assert!(rejected(&daemon.status()).is_empty(), "the packages are not to blame");
    assert_eq!(daemon.metadata().repomd, before.repomd);
    mode(&tree.path("closed"), 0o755);
    mode(&tree.path("c.rpm"), 0o644);
    daemon.until_exactly(&["a.rpm", "c.rpm", "closed/b.rpm"]);
    eventually(PATIENCE, "all can be read", || unread(&daemon.status()).is_empty().then_some(()));
    daemon.stop();
}

#[test]
fn a_directory_that_may_not_be_written_refuses_uploads_and_says_what_mends_it() {
    let Some(command) = held_to_modes() else { return };
    let tree = Tree::new();
    fs::create_dir(tree.path("closed")).unwrap();
    let daemon = serve(command, &tree);
    mode(&tree.path("closed"), 0o555);
    let refused = daemon.put("closed/a.rpm", &Rpm::new("a").build());
    assert_eq!(refused.status, 500, "{}", refused.text());
    assert!(refused.text().contains("chgrp or setfacl"), "{}", refused.text());
    assert_eq!(daemon.put_and_wait("b.rpm", &Rpm::new("b").build()).status, 201);
    mode(&tree.path("closed"), 0o755);
    assert_eq!(daemon.put_and_wait("closed/a.rpm", &Rpm::new("a").build()).status, 201);
    daemon.until_exactly(&["b.rpm", "closed/a.rpm"]);
    daemon.stop();
}

#[test]
fn the_daemon_needs_no_root_no_capability_and_no_way_to_get_one() {
    let tree = Tree::new();
    let mut command = program();
    if rustix::process::geteuid().is_root() {
        let Some(setpriv) = find("setpriv") else { return };
        // Nobody may reach neither the temporary directory nor, perhaps, the program where it was built.
        let copy = tree.beside("createrepod");
        fs::copy(program().get_program(), &copy).unwrap();
        for place in [tree.beside(""), tree.root().to_owned(), copy.clone()] {
            std::os::unix::fs::chown(&place, Some(NOBODY), Some(NOBODY)).unwrap();
            mode(&place, 0o755);
        }
        let id = NOBODY.to_string();
        command = Command::new(setpriv);
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--no-new-privs"]);
        command.args(["--bounding-set=-all", "--inh-caps=-all"]).arg(copy);
    }
    let daemon = serve(command, &tree);
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert!(!line("Uid:").split_ascii_whitespace().any(|id| id == "0"), "{status}");
    assert_eq!(line("CapEff:"), "0000000000000000");
    assert_eq!(daemon.put_and_wait("deep/er/a.rpm", &Rpm::new("a").build()).status, 201);
    tree.write("b.rpm", &Rpm::new("b").build());
    daemon.until_exactly(&["b.rpm", "deep/er/a.rpm"]).matches_tree(tree.root()).unwrap();
    assert_eq!(daemon.request("DELETE", "deep/er/a.rpm", &[], None).status, 204);
    daemon.until_exactly(&["b.rpm"]);
    daemon.stop();
}
