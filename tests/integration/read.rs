//! What browsers, curl, dnf and caches get when they read.

use crate::world::{Daemon, Rpm, Tree, http};

fn served() -> (Tree, Daemon, Vec<u8>) {
    let tree = Tree::new();
    let rpm = Rpm::new("a").payload(100_000);
    tree.add(&rpm);
    let daemon = Daemon::serve(&tree);
    daemon.until_exactly(&["a-1.0-1.noarch.rpm"]);
    (tree, daemon, rpm.build())
}

const A: &str = "a-1.0-1.noarch.rpm";

#[test]
fn get_and_head_tell_length_time_tag_and_type() {
    let (_tree, daemon, bytes) = served();
    let get = daemon.get(A);
    assert_eq!((get.status, get.body.len()), (200, bytes.len()));
    assert_eq!(get.body, bytes);
    let head = daemon.request("HEAD", A, &[], None);
    assert_eq!((head.status, head.body.len()), (200, 0));
    for name in ["Content-Length", "Content-Type", "ETag", "Last-Modified", "Accept-Ranges"] {
        assert!(get.header(name).is_some(), "no {name}: {:?}", get.headers);
        assert_eq!(get.header(name), head.header(name), "{name}");
    }
    assert_eq!(get.header("Content-Length"), Some(bytes.len().to_string().as_str()));
    assert_eq!(get.header("Content-Type"), Some("application/x-rpm"));
    assert_eq!(get.header("Accept-Ranges"), Some("bytes"));
    assert!(get.header("Date").is_some());
}

#[test]
fn metadata_has_the_right_types_and_cache_rules() {
    let (_tree, daemon, _) = served();
    let repomd = daemon.get("repodata/repomd.xml");
    let kind = repomd.header("Content-Type").unwrap();
    assert!(kind.starts_with("application/xml") || kind.starts_with("text/xml"), "{kind}");
    assert_eq!(repomd.header("Cache-Control"), Some("no-cache"));
    for record in daemon.metadata().records.values() {
        let file = daemon.get(&record.href);
        assert_eq!(file.status, 200);
        // The file is the compressed thing itself; a Content-Encoding would have clients unpack it.
        assert_eq!(file.header("Content-Encoding"), None);
        let cache = file.header("Cache-Control").unwrap();
        assert!(cache.contains("immutable") && cache.contains("max-age"), "{cache}");
        assert_eq!(file.header("Content-Type"), Some("application/zstd"));
    }
}

#[test]
fn ranges_are_served_as_rfc_9110_says() {
    let (_tree, daemon, bytes) = served();
    let size = bytes.len();
    let range = |value: &str| daemon.request("GET", A, &[("Range", value)], None);
    for (value, from, to) in [
        ("bytes=0-99".to_owned(), 0, 100),
        ("bytes=100-100".to_owned(), 100, 101),
        (format!("bytes={}-", size - 10), size - 10, size),
        ("bytes=-7".to_owned(), size - 7, size),
        (format!("bytes=5-{}", size + 1_000), 5, size),
        (format!("bytes=-{}", size + 1_000), 0, size),
    ] {
        let part = range(&value);
        assert_eq!(part.status, 206, "{value}");
        assert_eq!(
            part.header("Content-Range"),
            Some(format!("bytes {from}-{}/{size}", to - 1).as_str()),
            "{value}"
        );
        assert!(part.body == bytes[from..to], "{value}");
    }
    let beyond = range(&format!("bytes={size}-"));
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.header("Content-Range"), Some(format!("bytes */{size}").as_str()));
    for nonsense in ["bytes=5-2", "bytes=abc", "lines=1-2", "bytes="] {
        let answer = range(nonsense);
        assert_eq!((answer.status, answer.body.len()), (200, size), "{nonsense} is ignored");
    }
    // A resumed download goes on only with the same bytes.
    let tag = daemon.get(A).header("ETag").unwrap().to_owned();
    let same = daemon.request("GET", A, &[("Range", "bytes=1-2"), ("If-Range", &tag)], None);
    assert_eq!(same.status, 206);
    let other = daemon.request("GET", A, &[("Range", "bytes=1-2"), ("If-Range", "\"other\"")], None);
    assert_eq!((other.status, other.body.len()), (200, size));
}

#[test]
fn conditional_requests_spare_the_body() {
    let (tree, daemon, _) = served();
    for location in [A, "repodata/repomd.xml"] {
        let first = daemon.get(location);
        let (tag, time) = (first.header("ETag").unwrap(), first.header("Last-Modified").unwrap());
        for headers in [[("If-None-Match", tag)], [("If-None-Match", "*")], [("If-Modified-Since", time)]] {
            let answer = daemon.request("GET", location, &headers, None);
            assert_eq!((answer.status, answer.body.len()), (304, 0), "{location} {headers:?}");
            assert_eq!(answer.header("ETag"), Some(tag));
        }
        for headers in [
            [("If-None-Match", "\"other\"")],
            [("If-Modified-Since", "Mon, 01 Jan 2001 00:00:00 GMT")],
            [("If-Match", tag)],
        ] {
            assert_eq!(daemon.request("GET", location, &headers, None).status, 200, "{location} {headers:?}");
        }
        assert_eq!(
            daemon.request("GET", location, &[("If-Match", "\"other\"")], None).status,
            412,
            "{location}"
        );
    }
    // Another publication, another tag.
    let before = daemon.get("repodata/repomd.xml").header("ETag").unwrap().to_owned();
    tree.add(&Rpm::new("b"));
    daemon.until("b", |metadata| metadata.packages.len() == 2);
    let after = daemon.request("GET", "repodata/repomd.xml", &[("If-None-Match", &before)], None);
    assert_eq!(after.status, 200);
}

#[test]
fn the_index_lists_names_escaped_and_nothing_of_the_daemons_own() {
    let tree = Tree::new();
    tree.write("sub dir/<b>&amp;\".rpm", &Rpm::new("b").build());
    tree.add(&Rpm::new("a"));
    tree.write(".hidden.rpm", &Rpm::new("hidden").build());
    let daemon = Daemon::serve(&tree);
    daemon.until("two packages", |metadata| metadata.packages.len() == 2);
    let index = daemon.get("");
    assert_eq!(index.status, 200);
    assert!(index.header("Content-Type").unwrap().starts_with("text/html"));
    let html = index.text();
    assert!(html.contains("a-1.0-1.noarch.rpm") && html.contains("sub%20dir/"), "{html}");
    assert!(html.contains("repodata/"), "{html}");
    assert!(!html.contains(".createrepod") && !html.contains("hidden"), "{html}");
    let sub = daemon.get("sub dir/").text();
    assert!(sub.contains("%3Cb%3E") && !sub.contains("<b>&amp;\""), "{sub}");
    // Without the slash a browser would resolve the links wrongly.
    let redirect = daemon.get("sub dir");
    assert!(matches!(redirect.status, 301 | 308), "{redirect:?}");
    assert!(redirect.header("Location").unwrap().ends_with("/rpm/sub%20dir/"), "{redirect:?}");
    let bare = http::send(daemon.address(), "GET", "/rpm", &[], None);
    assert!(matches!(bare.status, 301 | 308), "{bare:?}");
    assert_eq!(http::send(daemon.address(), "GET", "/", &[], None).status, 200);
}

#[test]
fn what_is_not_there_or_not_for_reading_is_404() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    tree.write(".hidden.rpm", b"secret");
    std::fs::write(tree.beside("secret"), b"secret").unwrap();
    let daemon = Daemon::serve(&tree);
    for path in [
        "/rpm/none.rpm",
        "/rpm/.createrepod/lock",
        "/rpm/.createrepod/",
        "/rpm/.hidden.rpm",
        "/none/",
        "/rpm/a-1.0-1.noarch.rpm/",
        "/rpm/a-1.0-1.noarch.rpm/x",
        "/rpm/repodata/none.xml",
        "/-/none",
    ] {
        assert_eq!(http::send(daemon.address(), "GET", path, &[], None).status, 404, "{path}");
    }
    for path in [
        "/rpm/../secret",
        "/rpm/%2e%2e/secret",
        "/rpm/..%2fsecret",
        "/rpm/sub/../../secret",
        "/rpm/%00",
        "//etc/passwd",
    ] {
        let answer = http::send(daemon.address(), "GET", path, &[], None);
        assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
        assert!(!answer.text().contains("secret\n") && !answer.text().contains("root:"), "{path}");
    }
}

#[test]
fn a_client_that_holds_older_metadata_can_still_read_it() {
    let (tree, daemon, _) = served();
    let before = daemon.metadata();
    for number in 0..3 {
        tree.add(&Rpm::new(format!("more{number}")));
        daemon.until("one more", |metadata| metadata.packages.len() == 2 + number);
    }
    for record in before.records.values() {
        let file = daemon.get(&record.href);
        assert_eq!(file.status, 200, "{}", record.href);
        assert_eq!(
            crate::world::metadata::digest(&record.checksum.0, &file.body).unwrap(),
            record.checksum.1
        );
    }
}

#[test]
fn a_connection_serves_many_requests() {
    use std::io::{BufRead, BufReader, Read, Write};
    let (_tree, daemon, _) = served();
    let mut stream = std::net::TcpStream::connect(daemon.address()).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for _ in 0..20 {
        write!(stream, "GET /rpm/repodata/repomd.xml HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let (mut line, mut length) = (String::new(), 0);
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        assert!(body.ends_with(b"</repomd>\n") || body.ends_with(b"</repomd>"));
    }
}
