//! Lists of large folders that nobody takes.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;

use super::{HOSTILE, assert_confined, confined};
use crate::world::daemon::write_config;
use crate::world::{Tree, http};

#[test]
fn lists_of_large_folders_share_their_memory() {
    let tree = Tree::new();
    let (state, path) = (tree.beside("state"), tree.root());
    let folder = path.join("large");
    fs::create_dir(&folder).unwrap();
    let long = "n".repeat(200);
    (0..20_000).for_each(|n| fs::write(folder.join(format!("{long}-{n}.txt")), "").unwrap());
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = {state:?}\n[limits]\nstall = \"60s\"\n\
         [repository.rpm]\npath = {path:?}\naccept = \"any\"\n"
    );
    let daemon = confined(&write_config(&tree, &text));
    let clients: Vec<_> = (0..HOSTILE)
        .map(|_| {
            let mut client = TcpStream::connect(daemon.address()).unwrap();
            client.write_all(b"GET /rpm/large/ HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            client
        })
        .collect();
    assert_eq!(http::send(daemon.address(), "GET", "/rpm/", &[], None).status, 200, "others are served");
    let late = http::send(daemon.address(), "GET", "/rpm/large/", &[], None);
    assert_eq!((late.status, late.header("Retry-After")), (503, Some("1")), "its turn came after theirs");
    drop(clients);
    let whole = crate::world::eventually(crate::world::PATIENCE, "there is room again", || {
        Some(http::send(daemon.address(), "GET", "/rpm/large/", &[], None))
            .filter(|answer| answer.status == 200)
    });
    assert!(whole.text().contains("-19999.txt"));
    assert_confined(&daemon);
    daemon.stop();
}
