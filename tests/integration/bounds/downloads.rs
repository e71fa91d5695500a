//! Downloads that nobody takes.

use std::fs::File;
use std::io::Write as _;
use std::net::TcpStream;

use super::h2::Client;
use super::{HOSTILE, assert_confined, confined};
use crate::world::daemon::write_config;
use crate::world::{Daemon, PATIENCE, Tree, eventually};

const LARGE: u64 = 64 << 20;

fn serve(tree: &Tree, stall: &str) -> Daemon {
    File::create(tree.root().join("large.bin")).unwrap().set_len(LARGE).unwrap();
    let (state, path) = (tree.beside("state"), tree.root());
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = {state:?}\n[limits]\nstall = {stall:?}\n\
         [repository.rpm]\npath = {path:?}\naccept = \"any\"\n"
    );
    confined(&write_config(tree, &text))
}

fn assert_served(daemon: &Daemon) {
    let other = daemon.get("large.bin");
    assert_eq!((other.status, other.body.len() as u64), (200, LARGE), "another client is served");
}

/// Windows of nothing, pings answered: each stream would hold a file and a block for ever.
#[test]
fn streams_of_http_2_that_nobody_takes_are_cut_off() {
    let tree = Tree::new();
    let daemon = serve(&tree, "2s");
    let before = daemon.open_files();
    let mut clients: Vec<_> = (0..HOSTILE)
        .map(|_| {
            let mut client = Client::connect(daemon.address(), 0).unwrap();
            (0..128).for_each(|_| client.get("/rpm/large.bin").unwrap());
            client
        })
        .collect();
    // More than it may have are refused at once; all others are answered, and reset when nothing is taken.
    let first = clients[0].read_until(|came| came.resets >= 96 && came.answers > 0);
    assert!(first.resets >= 96 && first.answers > 0 && first.bytes == 0, "{first:?}");
    assert_served(&daemon);
    assert_confined(&daemon);
    let rest = clients[0].read_until(|came| came.resets >= 128 - 96);
    assert!(rest.resets >= 128 - first.resets, "{rest:?}");
    std::thread::scope(|scope| {
        for client in &mut clients[1..] {
            scope.spawn(move || client.read_until(|came| came.resets >= 128));
        }
    });
    eventually(PATIENCE, "the files are closed", || {
        (daemon.open_files() <= before + HOSTILE + 8).then_some(())
    });
    assert_served(&daemon);
    drop(clients);
    daemon.stop();
}

/// Windows of two gigabytes, and a socket nobody reads: each connection would hold a block for each of its streams.
#[test]
fn connections_of_http_2_that_nobody_reads_hold_little() {
    let tree = Tree::new();
    let daemon = serve(&tree, "60s");
    let clients: Vec<_> = (0..HOSTILE)
        .map(|_| {
            let mut client = Client::connect(daemon.address(), 0x7fff_0000).unwrap();
            (0..128).for_each(|_| client.get("/rpm/large.bin").unwrap());
            client
        })
        .collect();
    for _ in 0..3 {
        assert_served(&daemon);
    }
    assert_confined(&daemon);
    drop(clients);
    daemon.stop();
}

/// The same over HTTP/1: large files, and many ranges of one.
#[test]
fn connections_of_http_1_that_nobody_reads_hold_little() {
    let tree = Tree::new();
    let daemon = serve(&tree, "60s");
    let ranges: Vec<_> = (0..200).map(|n| format!("{}-{}", n * 300_000, n * 300_000 + 200_000)).collect();
    let ranges = format!("Range: bytes={}\r\n", ranges.join(","));
    let clients: Vec<_> = (0..HOSTILE)
        .map(|n| {
            let mut client = TcpStream::connect(daemon.address()).unwrap();
            let range = if n % 2 == 0 { ranges.as_str() } else { "" };
            let request = format!("GET /rpm/large.bin HTTP/1.1\r\nHost: x\r\n{range}\r\n");
            client.write_all(request.repeat(4).as_bytes()).unwrap();
            client
        })
        .collect();
    for _ in 0..3 {
        assert_served(&daemon);
    }
    assert_confined(&daemon);
    drop(clients);
    daemon.stop();
}
