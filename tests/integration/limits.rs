//! What strangers may take of the door's time and room, over real sockets: whoever goes beyond is told why
//! before the connection ends. And whether every status code has its test.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use crate::world::daemon::write_config;
use crate::world::{Daemon, PATIENCE, Rpm, Tree, clients};

fn serve(tree: &Tree) -> Daemon {
    let (state, path) = (tree.beside("state"), tree.root());
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = {state:?}\n\
         [limits]\nheader_time = \"300ms\"\nstall = \"300ms\"\nheader_size = \"32k\"\nheader_count = 20\n\
         [repository.rpm]\npath = {path:?}\nwrite = \"anyone\"\n"
    );
    Daemon::serve_config(&write_config(tree, &text), "/rpm/")
}

/// All that the server says to these bytes, until it closes.
fn said(daemon: &Daemon, bytes: &[u8]) -> String {
    let mut client = TcpStream::connect(daemon.address()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// Whether it is an answer with this status that says something, and the end of the connection.
fn assert_refused(answer: &str, status: u16) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
}

#[test]
fn who_is_too_slow_is_told_so() {
    let tree = Tree::new();
    let daemon = serve(&tree);
    let header = said(&daemon, b"GET /rpm/ HTTP/1.1\r\nHost: x\r\nX-Slow: ");
    assert_refused(&header, 408);
    assert!(header.contains("the request did not come to its end"), "{header}");
    let package = Rpm::new("slow").build();
    for length in ["Content-Length: 100000", "Transfer-Encoding: chunked"] {
        let head = format!("PUT /rpm/slow.rpm HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n");
        let chunk =
            if length.starts_with('T') { format!("{:x}\r\n", package.len() + 9) } else { String::new() };
        let body = said(&daemon, &[head.as_bytes(), chunk.as_bytes(), &package].concat());
        assert_refused(&body, 408);
    }
    assert!(!tree.root().join("slow.rpm").exists());
}

#[test]
fn who_says_too_much_is_told_so() {
    let tree = Tree::new();
    let daemon = serve(&tree);
    let long = format!("GET /rpm/{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "a".repeat(20_000));
    assert_refused(&said(&daemon, long.as_bytes()), 414);
    let wide = format!("GET /rpm/ HTTP/1.1\r\nHost: x\r\nX-Wide: {}\r\n\r\n", "x".repeat(40_000));
    assert_refused(&said(&daemon, wide.as_bytes()), 431);
    let many = format!("GET /rpm/ HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-Many: 1\r\n".repeat(21));
    assert_refused(&said(&daemon, many.as_bytes()), 431);
    // It goes on for everybody else.
    assert!(
        said(&daemon, b"GET /-/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .starts_with("HTTP/1.1 200 ")
    );
}

#[test]
fn curl_shows_the_same() {
    let Some(curl) = clients::find("curl") else { return };
    let tree = Tree::new();
    let daemon = serve(&tree);
    let status = |more: &[&str]| {
        let mut command = Command::new(&curl);
        command.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "60"]).args(more);
        clients::output(&mut command)
    };
    // curl sends some kilobytes at a time, and rests for longer than the server waits.
    let mut slow = Rpm::new("slow").build();
    slow.resize(100_000, 0);
    let slow = tree.write_beside("slow.rpm", &slow);
    let url = daemon.url();
    assert_eq!(status(&["-T", slow.to_str().unwrap(), "--limit-rate", "25k", &url]), "408");
    assert_eq!(status(&[&format!("{url}{}", "a".repeat(20_000))]), "414");
    assert_eq!(status(&["-H", &format!("X-Wide: {}", "x".repeat(40_000)), &url]), "431");
}

#[test]
fn what_makes_no_sense_is_400() {
    let tree = Tree::new();
    let daemon = serve(&tree);
    for request in [
        "rubbish\r\n\r\n".to_owned(),
        "GET /rpm/ HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
        "PUT /rpm/a.rpm HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Range: bytes 0-1/2\r\nContent-Length: 2\r\n\r\nab".to_owned(),
        "PUT /rpm/a.rpm HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nab".to_owned(),
    ] {
        let answer = said(&daemon, request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request:?}: {answer}");
    }
}

/// The table in docs/testing.md says which test shows which status; each code the manual knows is there, and each
/// test it names is.
#[test]
fn every_status_code_has_its_test() {
    let read = |path: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let document = read("docs/testing.md");
    let table = document.split_once("| status | test |").expect("the table is there").1;
    let mut shown = std::collections::BTreeSet::new();
    for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let [_, statuses, test, _] = row.split('|').collect::<Vec<_>>()[..] else { panic!("{row}") };
        let (module, name) =
            test.trim().trim_matches('`').split_once("::").unwrap_or_else(|| panic!("{row}"));
        let code = read(&format!("tests/integration/{module}.rs"));
        assert!(code.contains(&format!("#[test]\nfn {name}()")), "{row}");
        shown.extend(statuses.split(',').map(|status| status.trim().parse::<u16>().unwrap()));
    }
    let known = [
        200, 201, 202, 204, 206, 207, 304, 400, 401, 403, 404, 405, 408, 409, 412, 413, 414, 415, 416, 422,
        423, 429, 431, 502, 503, 507,
    ];
    assert!(known.iter().all(|status| shown.contains(status)), "{shown:?}");
}
