//! Two writers on one repository exclude each other.

use crate::world::daemon::{run, run_refused, write_config};
use crate::world::{Daemon, Rpm, Tree};

#[test]
fn a_second_daemon_is_refused_and_the_first_is_named() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    let mut daemon = Daemon::serve(&tree);
    let before = daemon.until_exactly(&["a-1.0-1.noarch.rpm"]);
    let pid = daemon.pid().to_string();

    let second =
        run_refused(["serve".as_ref(), tree.root().as_os_str(), "--listen".as_ref(), "127.0.0.1:0".as_ref()]);
    assert_eq!(second.status.code(), Some(4), "{}", second.stderr);
    assert!(second.stderr.contains(&pid), "process {pid} is named: {}", second.stderr);

    // Also with another state directory: the lock is in the tree.
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = \"{}\"\n[repository.other]\npath = \"{}\"\nwrite = \"off\"\n",
        tree.beside("state").display(),
        tree.root().display()
    );
    let third = run_refused(["serve".as_ref(), "--config".as_ref(), write_config(&tree, &text).as_os_str()]);
    assert!(!third.status.success());
    assert!(third.stderr.contains(&pid), "process {pid} is named: {}", third.stderr);

    let index = run(["index".as_ref(), tree.root().as_os_str()]);
    assert_eq!(index.status.code(), Some(4), "{}", index.stderr);
    assert!(index.stderr.contains(&pid), "process {pid} is named: {}", index.stderr);

    assert!(daemon.is_alive());
    assert_eq!(daemon.metadata().repomd, before.repomd);
    tree.add(&Rpm::new("b"));
    daemon.until_exactly(&["a-1.0-1.noarch.rpm", "b-1.0-1.noarch.rpm"]);
    daemon.kill();
    // Nothing stale remains of a killed one.
    let daemon = Daemon::serve(&tree);
    daemon.stop();
}

#[test]
fn an_address_that_is_taken_is_refused_with_what_to_do() {
    let tree = Tree::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused =
        run_refused(["serve".as_ref(), tree.root().as_os_str(), "--listen".as_ref(), address.as_ref()]);
    assert!(!refused.status.success());
    assert!(refused.stderr.contains(&address) && refused.stderr.contains("--listen"), "{}", refused.stderr);
}
