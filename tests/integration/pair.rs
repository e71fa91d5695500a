//! repomd.xml and its signature are two URLs, and a publication can come between: the pair matches all the same.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::sign::{generate, signed_by};
use crate::world::clients::{Dnf, Gpg};
use crate::world::daemon::configuration;
use crate::world::http::{self, Response};
use crate::world::{AtLast, Daemon, Rpm, Tree};

/// Publishes again and again until `done`; how often.
fn keep_publishing(daemon: &Daemon, done: &AtomicBool) -> u64 {
    let mut published = 0;
    while !done.load(Ordering::Relaxed) {
        let rpm = Rpm::new("busy").version(format!("1.{published}"));
        let name = rpm.file_name();
        assert_eq!(daemon.put_and_wait(&name, &rpm.build()).status, 201);
        published += 1;
    }
    published
}

fn get(daemon: &Daemon, agent: &str, path: &str) -> Response {
    http::send(daemon.address(), "GET", path, &[("User-Agent", agent)], None)
}

/// Holds a signature against repomd.xml with the library's own check, which is fast enough for thousands.
fn matches(key: &[u8], signature: &[u8], repomd: &[u8]) -> bool {
    let certificate = createrepod::package::openpgp::Certificate::read(key).unwrap();
    certificate.check(signature, repomd).is_ok()
}

#[test]
fn clients_that_use_a_connection_for_each_file_get_a_pair_that_matches_while_we_publish() {
    let tree = Tree::new();
    let key = generate(&tree, "signing.asc", &["--ed25519"]);
    let daemon = signed_by(&tree, &key);
    let done = AtomicBool::new(false);
    let pairs = AtomicU64::new(0);
    let (published, differing) = std::thread::scope(|scope| {
        let over = AtLast(&done);
        let publisher = scope.spawn(|| keep_publishing(&daemon, &done));
        let clients: Vec<_> = (0..6)
            .map(|client| {
                let (daemon, pairs) = (&daemon, &pairs);
                scope.spawn(move || {
                    let mut seen = BTreeSet::new();
                    let agent = format!("client/{client}");
                    let mut round = 0;
                    // A client moves on after two seconds at the earliest.
                    while round < 60 || seen.len() < 3 {
                        round += 1;
                        let repomd = get(daemon, &agent, "/rpm/repodata/repomd.xml");
                        // Some are slow, each in its own way; whoever takes longer than a second counts as well,
                        // since nobody else has this name.
                        if (client + round) % 7 == 0 {
                            std::thread::sleep(Duration::from_millis(40 * client));
                        }
                        let signature = get(daemon, &agent, "/rpm/repodata/repomd.xml.asc");
                        let key = get(daemon, &agent, "/rpm/repodata/repomd.xml.key");
                        assert_eq!((repomd.status, signature.status, key.status), (200, 200, 200));
                        assert!(
                            matches(&key.body, &signature.body, &repomd.body),
                            "client {client}, round {round}"
                        );
                        pairs.fetch_add(1, Ordering::Relaxed);
                        seen.insert(repomd.body);
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    seen.len()
                })
            })
            .collect();
        let differing: Vec<usize> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        drop(over);
        (publisher.join().unwrap(), differing)
    });
    println!(
        "{published} publications, {} pairs, {differing:?} different ones each",
        pairs.load(Ordering::Relaxed)
    );
    assert!(published >= 10, "{published} publications");
    assert!(differing.iter().all(|count| *count >= 3), "clients move on: {differing:?}");
    daemon.stop();
}

/// Asks for one path after the other on one connection.
fn one_connection(daemon: &Daemon) -> impl FnMut(&str) -> Vec<u8> + use<> {
    use std::io::{BufRead, BufReader, Read, Write};
    let mut stream = BufReader::new(std::net::TcpStream::connect(daemon.address()).unwrap());
    move |path| {
        write!(stream.get_mut(), "GET {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: shared\r\n\r\n").unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let lower = line.trim_end().to_lowercase();
            if let Some(value) = lower.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            if lower.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        body
    }
}

#[test]
fn the_first_answer_after_a_start_without_a_catalog_has_its_signature_too() {
    let tree = Tree::new();
    let key = generate(&tree, "signing.asc", &["--ed25519"]);
    let line = format!("sign = {{ key = \"{}\" }}", key.display());
    let config = configuration(&tree, "", &line);
    tree.add(&Rpm::new("a"));
    let daemon = Daemon::serve_config(&config, "/rpm/");
    daemon.until_exactly(&["a-1.0-1.noarch.rpm"]);
    daemon.kill();
    std::fs::remove_dir_all(tree.beside("state")).unwrap();
    // Asked as soon as it listens, before anything is published.
    let daemon = Daemon::serve_config_unready(&config, "/rpm/");
    let mut ask = one_connection(&daemon);
    let given = ask("/rpm/repodata/repomd.xml");
    assert!(given.starts_with(b"<?xml"), "{}", String::from_utf8_lossy(&given));
    tree.add(&Rpm::new("b"));
    let newest = daemon.until_exactly(&["a-1.0-1.noarch.rpm", "b-1.0-1.noarch.rpm"]).repomd;
    assert_ne!(given, newest);
    let (signature, key) = (ask("/rpm/repodata/repomd.xml.asc"), ask("/rpm/repodata/repomd.xml.key"));
    assert!(matches(&key, &signature, &given));
    assert!(!matches(&key, &signature, &newest));
    daemon.stop();
}

#[test]
fn one_connection_gets_the_signature_of_exactly_what_it_was_given_however_late() {
    let tree = Tree::new();
    let key = generate(&tree, "signing.asc", &["--ed25519"]);
    let daemon = signed_by(&tree, &key);
    let mut ask = one_connection(&daemon);
    let given = ask("/rpm/repodata/repomd.xml");
    // Others that cannot be told apart move on meanwhile, by more than the two seconds we keep them.
    for number in 0..4 {
        let rpm = Rpm::new(format!("new{number}"));
        assert_eq!(daemon.put_and_wait(&rpm.file_name(), &rpm.build()).status, 201);
        std::thread::sleep(Duration::from_millis(800));
        get(&daemon, "shared", "/rpm/repodata/repomd.xml");
        get(&daemon, "shared", "/rpm/repodata/repomd.xml.asc");
    }
    let newest = get(&daemon, "another", "/rpm/repodata/repomd.xml").body;
    assert_ne!(given, newest);
    let signature = ask("/rpm/repodata/repomd.xml.asc");
    let key = ask("/rpm/repodata/repomd.xml.key");
    assert!(matches(&key, &signature, &given));
    assert!(!matches(&key, &signature, &newest));
}

#[test]
fn a_publication_stays_whole_under_its_number_which_the_mirrorlist_names() {
    let tree = Tree::new();
    let key = generate(&tree, "signing.asc", &["--ed25519"]);
    let daemon = signed_by(&tree, &key);
    let first = Rpm::new("first");
    assert_eq!(daemon.put_and_wait(&first.file_name(), &first.build()).status, 201);
    let mirrorlist = || {
        let answer = http::send(daemon.address(), "GET", "/-/mirrorlist/rpm", &[], None);
        assert_eq!(answer.status, 200);
        answer.text().trim().to_owned()
    };
    let path = |url: &str| url.split_once(&daemon.address().to_string()).unwrap().1.to_owned();
    let old = mirrorlist();
    assert!(old.starts_with(&format!("{}@", daemon.url())) && old.ends_with('/'), "{old}");
    let before = get(&daemon, "a", &format!("{}repodata/repomd.xml", path(&old)));
    for number in 0..5 {
        let rpm = Rpm::new(format!("more{number}"));
        assert_eq!(daemon.put_and_wait(&rpm.file_name(), &rpm.build()).status, 201);
    }
    assert_eq!(daemon.request("DELETE", &first.file_name(), &[], None).status, 204);
    daemon.until("the first is gone", |metadata| !metadata.has(&first.file_name()));
    let new = mirrorlist();
    assert_ne!(old, new);
    let again = |daemon: &Daemon| {
        let old = path(&old);
        let [repomd, signature, key] = ["repomd.xml", "repomd.xml.asc", "repomd.xml.key"]
            .map(|name| get(daemon, "b", &format!("{old}repodata/{name}")));
        assert_eq!((repomd.status, signature.status, key.status), (200, 200, 200));
        assert_eq!(repomd.body, before.body, "it stays as it was");
        assert!(matches(&key.body, &signature.body, &repomd.body));
        // All it names is there, and the package that was removed since.
        let metadata = crate::world::Metadata::fetch(daemon.address(), &old).unwrap();
        assert_eq!(metadata.hrefs(), [first.file_name()]);
        let package = get(daemon, "b", &format!("{old}{}", first.file_name()));
        assert_eq!((package.status, package.body), (200, first.build()));
    };
    again(&daemon);
    assert_eq!(get(&daemon, "b", "/rpm/@1/repodata/repomd.xml").status, 404);
    assert_eq!(http::send(daemon.address(), "GET", "/-/mirrorlist/nobody", &[], None).status, 404);
    if let Some(dnf) = Dnf::find() {
        let by_mirrorlist = format!(
            "[rpm]\nname=rpm\nmirrorlist=http://{}/-/mirrorlist/rpm\nenabled=1\ngpgcheck=0\nrepo_gpgcheck=1\n\
             gpgkey={}repodata/repomd.xml.key\n",
            daemon.address(),
            daemon.url()
        );
        assert!(dnf.checked(&by_mirrorlist).unwrap().contains("more4"));
        let frozen = by_mirrorlist.replace(
            &format!("mirrorlist=http://{}/-/mirrorlist/rpm", daemon.address()),
            &format!("baseurl={old}"),
        );
        let listed = Dnf::find().unwrap().checked(&frozen).unwrap();
        assert!(listed.contains("first") && !listed.contains("more"), "{listed}");
    }
    daemon.stop();
    // A restart has forgotten nothing.
    let daemon = Daemon::serve_config(&tree.beside("createrepod.toml"), "/rpm/");
    let port = |daemon: &Daemon| daemon.address().port();
    assert_ne!(port(&daemon), 0);
    let old = path_of(&old);
    let repomd = get(&daemon, "c", &format!("{old}repodata/repomd.xml"));
    assert_eq!((repomd.status, repomd.body), (200, before.body.clone()));
}

/// The path of a URL.
fn path_of(url: &str) -> String {
    url.splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap()
}

#[test]
fn dnf_checks_signatures_again_and_again_while_we_publish_without_an_error() {
    if Gpg::find().is_none() {
        return;
    }
    let Some(first) = Dnf::find() else { return };
    let tree = Tree::new();
    let key = generate(&tree, "signing.asc", &["--ed25519"]);
    let daemon = signed_by(&tree, &key);
    let dot_repo = daemon.get("rpm.repo").text();
    let done = AtomicBool::new(false);
    let (published, rounds) = std::thread::scope(|scope| {
        let over = AtLast(&done);
        let publisher = scope.spawn(|| keep_publishing(&daemon, &done));
        let mut rounds = 0;
        for _ in 0..12 {
            first.checked(&dot_repo).unwrap();
            rounds += 1;
        }
        drop(over);
        (publisher.join().unwrap(), rounds)
    });
    println!("{published} publications, {rounds} times dnf");
    assert!(published >= 5);
    daemon.stop();
}
