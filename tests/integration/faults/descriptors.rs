//! File descriptors that run out.

use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::world::clients::find;
use crate::world::daemon::{configuration, program};
use crate::world::{Daemon, PATIENCE, Rpm, Tree, eventually, http};

#[test]
fn with_hardly_any_descriptors_it_goes_on_once_clients_let_go() {
    let Some(prlimit) = find("prlimit") else { return };
    let tree = Tree::new();
    tree.write("a.rpm", &Rpm::new("a").build());
    let mut command = Command::new(prlimit);
    command.arg("--nofile=40:40").arg(program().get_program()).args(["serve", "--config"]);
    // Sixteen connections are always taken: with so few descriptors it is these that run out.
    command.arg(configuration(&tree, "", "[limits]\nconnections = 100000")).stdin(Stdio::null());
    let mut daemon = Daemon::start_as(command, "/rpm/");
    daemon.until_exactly(&["a.rpm"]);
    // A hundred clients who hold their connection and say nothing.
    let held: Vec<TcpStream> = (0..100).filter_map(|_| TcpStream::connect(daemon.address()).ok()).collect();
    assert!(held.len() >= 40, "{} connections", held.len());
    eventually(PATIENCE, "all its descriptors are used", || (daemon.open_files() >= 36).then_some(()));
    tree.write("b.rpm", &Rpm::new("b").build());
    tree.write("new/c.rpm", &Rpm::new("c").build());
    eventually(PATIENCE, "it is said", || {
        daemon.log().to_lowercase().contains("too many open files").then_some(())
    });
    assert!(daemon.is_alive());
    drop(held);
    daemon.until_exactly(&["a.rpm", "b.rpm", "new/c.rpm"]);
    assert_eq!(daemon.put_and_wait("d.rpm", &Rpm::new("d").build()).status, 201);
    daemon.until_exactly(&["a.rpm", "b.rpm", "d.rpm", "new/c.rpm"]).matches_tree(tree.root()).unwrap();
    let ready = http::send(daemon.address(), "GET", "/-/ready", &[], None);
    assert_eq!(ready.status, 200, "{}", ready.text());
    daemon.stop();
}
