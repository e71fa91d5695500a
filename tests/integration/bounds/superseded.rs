//! Metadata of before, of which only the recipe is left.

use std::fs;

use super::h2::Client;
use super::{HOSTILE, assert_confined, confined};
use crate::world::daemon::write_config;
use crate::world::{Daemon, Rpm, Tree, http};

/// The URLs of the metadata that is published now.
fn published(daemon: &Daemon) -> Vec<String> {
    let repomd = daemon.get("repodata/repomd.xml").text();
    let names = repomd.split('"').filter(|part| part.starts_with("repodata/"));
    names.map(str::to_owned).collect()
}

/// Files of the daemon's that are open and have no name: what it would write an answer to.
fn unnamed(daemon: &Daemon) -> Vec<String> {
    let open = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().flatten();
    let links = open.filter_map(|entry| fs::read_link(entry.path()).ok());
    let links = links.map(|link| link.to_string_lossy().into_owned());
    links.filter(|link| link.ends_with(" (deleted)") || link.starts_with("/memfd:")).collect()
}

#[test]
fn superseded_metadata_costs_no_disk_however_many_ask() {
    let tree = Tree::new();
    let (state, path) = (tree.beside("state"), tree.root());
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = {state:?}\n[limits]\nstall = \"60s\"\n\
         [repository.rpm]\npath = {path:?}\nwrite = \"anyone\"\ngrace_space = \"40k\"\n"
    );
    // Enough that what is superseded does not fit whole, and what it shares with the new metadata does.
    (0..600).for_each(|n| tree.add(&Rpm::new(format!("p{n}"))));
    let daemon = confined(&write_config(&tree, &text));
    daemon.until("all of them", |metadata| metadata.hrefs().len() == 600);
    let before: Vec<_> = published(&daemon).into_iter().map(|name| (daemon.get(&name), name)).collect();
    assert_eq!(daemon.put_and_wait("another.rpm", &Rpm::new("another").build()).status, 201);
    let folded = before.iter().find(|(_, name)| !tree.root().join(name).exists());
    let (whole, name) = folded.expect("of one at least only the recipe is left");

    let before = unnamed(&daemon);
    let mut clients = Vec::new();
    for n in 0..HOSTILE {
        let again = daemon.get(name);
        assert_eq!((again.status, &again.body), (200, &whole.body));
        let head = daemon.request("HEAD", name, &[], None);
        assert_eq!(head.header("Content-Length"), Some(&*whole.body.len().to_string()));
        assert_eq!(head.header("ETag"), whole.header("ETag"));
        let (from, to) = (n % whole.body.len(), (n * 7 % whole.body.len()).max(n % whole.body.len()));
        let part = daemon.request("GET", name, &[("Range", &format!("bytes={from}-{to}"))], None);
        assert_eq!((part.status, &part.body[..]), (206, &whole.body[from..=to]), "{from}-{to}");
        let parts = daemon.request("GET", name, &[("Range", "bytes=0-9,20-29")], None);
        assert_eq!(parts.status, 206);
        assert!(parts.body.windows(10).any(|bytes| bytes == &whole.body[20..30]));
        // And one that takes nothing.
        let mut client = Client::connect(daemon.address(), 0).unwrap();
        (0..8).for_each(|_| client.get(&format!("/rpm/{name}")).unwrap());
        client.read_until(|came| came.answers > 0);
        clients.push(client);
    }
    assert_eq!(unnamed(&daemon), before);
    assert_eq!(http::send(daemon.address(), "GET", "/-/health", &[], None).status, 200);
    assert_confined(&daemon);
    drop(clients);
    daemon.stop();
}
