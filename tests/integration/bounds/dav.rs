//! WebDAV: names, namespaces, owners, values and batches of a hundred at once.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::{HOSTILE, assert_confined, confined};
use crate::world::daemon::write_config;
use crate::world::{Daemon, Rpm, Tree, http};

fn serve(tree: &Tree) -> Daemon {
    let (state, path) = (tree.beside("state"), tree.root());
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = {state:?}\n[repository.rpm]\npath = {path:?}\naccept = \"any\"\nwrite = \"anyone\"\n"
    );
    confined(&write_config(tree, &text))
}

/// Sends a request from each of a hundred connections, which read nothing for now.
fn from_all(daemon: &Daemon, request: impl Fn(usize) -> (String, String)) -> Vec<TcpStream> {
    let send = |number| {
        let (head, body) = request(number);
        let mut client = TcpStream::connect(daemon.address()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let length = body.len();
        // Who is refused before all was sent may be cut off.
        let _ = client.write_all(
            format!("{head}\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes(),
        );
        client
    };
    (0..HOSTILE).map(send).collect()
}

/// The status of the answer to each, all of which come.
fn statuses(clients: Vec<TcpStream>) -> Vec<u16> {
    let status = |mut client: TcpStream| {
        let mut line = [0; 12];
        client.read_exact(&mut line).unwrap();
        std::str::from_utf8(&line[9..]).unwrap().parse().unwrap()
    };
    clients.into_iter().map(status).collect()
}

fn assert_served(daemon: &Daemon) {
    let other = http::send(daemon.address(), "GET", "/rpm/other.txt", &[], None);
    assert_eq!((other.status, &*other.body), (200, &b"served"[..]), "another client is served");
}

fn tree() -> Tree {
    let tree = Tree::new();
    fs::write(tree.path("other.txt"), "served").unwrap();
    tree
}

/// Elements, each of which would have a copy of a long namespace, or of many.
fn multiplied(root: &str, open: &str, close: &str) -> [String; 2] {
    let long = format!("xmlns:x='{}'", "u".repeat(50_000));
    let many: String = (0..60).map(|n| format!("xmlns:n{n}='{}' ", "u".repeat(120))).collect();
    [(long, "x", 1300), (many, "n1", 1800)].map(|(declared, prefix, count)| {
        let names: String = (0..count).map(|n| format!("<{prefix}:a{n}/>")).collect();
        format!("<{root} xmlns='DAV:' {declared}>{open}{names}{close}</{root}>")
    })
}

#[test]
fn names_and_namespaces_are_not_multiplied() {
    let tree = tree();
    let daemon = serve(&tree);
    for (method, root, open, close) in [
        ("PROPFIND", "propfind", "<prop>", "</prop>"),
        ("PROPPATCH", "propertyupdate", "<set><prop>", "</prop></set>"),
        ("PROPPATCH", "propertyupdate", "<remove><prop>", "</prop></remove>"),
        ("PROPPATCH", "propertyupdate", "<set><prop><a>", "</a></prop></set>"),
        ("LOCK", "lockinfo", "<owner>", "</owner>"),
    ] {
        for body in multiplied(root, open, close) {
            let clients = from_all(&daemon, |_| {
                (format!("{method} /rpm/other.txt HTTP/1.1\r\nDepth: 0"), body.clone())
            });
            assert_served(&daemon);
            let statuses = statuses(clients);
            assert!(statuses.iter().all(|status| [400, 413, 503].contains(status)), "{method} {statuses:?}");
        }
    }
    assert_confined(&daemon);
    daemon.stop();
}

#[test]
fn values_and_owners_have_a_share() {
    let tree = tree();
    let daemon = serve(&tree);
    (0..HOSTILE).for_each(|number| fs::write(tree.path(format!("{number}.txt")), "").unwrap());
    let value = "v".repeat(60_000);
    let set = format!(
        "<propertyupdate xmlns='DAV:'><set><prop><a xmlns='urn:x'>{value}</a></prop></set></propertyupdate>"
    );
    let clients = from_all(&daemon, |number| (format!("PROPPATCH /rpm/{number}.txt HTTP/1.1"), set.clone()));
    assert_served(&daemon);
    let answers = statuses(clients);
    assert!(
        answers.contains(&207) && answers.iter().all(|status| [207, 503].contains(status)),
        "{answers:?}"
    );
    let owner = "o".repeat(7000);
    let lock = format!(
        "<lockinfo xmlns='DAV:'><lockscope><exclusive/></lockscope><locktype><write/></locktype><owner>{owner}</owner></lockinfo>"
    );
    let mut answers = Vec::new();
    for round in 0..7 {
        let clients =
            from_all(&daemon, |number| (format!("LOCK /rpm/l{round}-{number} HTTP/1.1"), lock.clone()));
        assert_served(&daemon);
        answers.extend(statuses(clients));
    }
    let taken = answers.iter().filter(|status| **status == 201).count();
    assert!((1..=500).contains(&taken) && answers.contains(&507), "{taken} locks of one address");
    assert_served(&daemon);
    assert_confined(&daemon);
    daemon.stop();
}

#[test]
fn listings_that_nobody_takes_hold_little() {
    let tree = tree();
    let daemon = serve(&tree);
    let (folder, long) = (tree.path("large"), "n".repeat(200));
    fs::create_dir(&folder).unwrap();
    (0..10_000).for_each(|n| fs::write(folder.join(format!("{long}-{n}.txt")), "").unwrap());
    let clients = from_all(&daemon, |_| ("PROPFIND /rpm/large/ HTTP/1.1\r\nDepth: 1".into(), String::new()));
    assert_served(&daemon);
    let whole = http::send(daemon.address(), "PROPFIND", "/rpm/", &[("Depth", "0")], None);
    assert_eq!(whole.status, 207, "short answers need no place");
    drop(clients);
    assert_confined(&daemon);
    daemon.stop();
}

#[test]
fn refused_uploads_of_all_fill_no_place_of_a_batch() {
    let tree = tree();
    let daemon = serve(&tree);
    for round in 0..11 {
        let clients = from_all(&daemon, |number| {
            let head = format!("PUT /rpm/b.rpm HTTP/1.1\r\nCreaterepod-Batch: junk{round}-{number}");
            (head, "x".into())
        });
        let statuses = statuses(clients);
        assert!(statuses.iter().all(|status| *status == 415), "{statuses:?}");
    }
    let bytes = Rpm::new("fine").build();
    let fine = daemon.request("PUT", "fine.rpm", &[("Createrepod-Batch", "build")], Some(&bytes));
    assert_eq!(fine.status, 201, "{}", fine.text());
    assert_confined(&daemon);
    daemon.stop();
}
