use std::time::Duration;

use super::world::{Client, World, rpm};
use crate::config::{LimitsConfig, ServerConfig};
use crate::serve::Listener;

#[test]
fn one_connection_serves_many_requests() {
    let world = World::new().published();
    let mut client = world.connect();
    for n in 0..5 {
        client.send("PUT", &format!("/rpm/{n}.rpm"), &[], &rpm(&format!("p{n}"), 0, 100));
        assert_eq!(client.response("PUT").status, 201);
        client.send("GET", "/rpm/repodata/repomd.xml", &[], b"");
        assert_eq!(client.response("GET").status, 200);
        // A small body that is refused is read to its end, so that the next request is found.
        client.send("PUT", "/rpm/x.txt", &[], b"GET /rpm/ HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(client.response("PUT").status, 415);
    }
    // And several at once.
    client.raw(&b"GET /-/health HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(3)).unwrap();
    for _ in 0..3 {
        assert_eq!(client.response("GET").status, 200);
    }
}

#[test]
fn what_is_refused_is_refused_before_the_client_sends_it() {
    let world = World::with(|_, server, _| server.max_upload = 10_000_000).published();
    assert_eq!(world.put("/rpm/a.rpm", &rpm("a", 0, 10)).status, 201);
    let held = |path: &str, more: (&'static str, &'static str), length: &str| {
        let mut client = world.connect();
        client.send("PUT", path, &[("Expect", "100-continue"), ("Content-Length", length), more], b"");
        let answer = client.response("PUT");
        (answer.status, answer.header("connection").map(str::to_owned), client)
    };
    let none = ("X-Nothing", "");
    for (status, path, more, length) in [
        (403, "/rpm/repodata/a.rpm", none, "5000000"),
        (404, "/none/a.rpm", none, "5000000"),
        (405, "/rpm/", none, "5000000"),
        (412, "/rpm/a.rpm", ("If-None-Match", "*"), "5000000"),
        (412, "/rpm/a.rpm", ("If-None-Match", "*"), "10"),
        (413, "/rpm/b.rpm", none, "10000001"),
        (415, "/rpm/b.txt", none, "5000000"),
    ] {
        let (got, connection, mut client) = held(path, more, length);
        assert_eq!((got, connection.as_deref()), (status, Some("close")), "{path} {length}");
        assert!(client.is_closed(), "{path}");
    }
    for payload in [100, 2_000_000] {
        let bytes = rpm(&format!("b{payload}"), 0, payload);
        let (status, _, mut client) = held(&format!("/rpm/b{payload}.rpm"), none, &bytes.len().to_string());
        assert_eq!(status, 100);
        client.raw(&bytes).unwrap();
        assert_eq!(client.response("PUT").status, 201);
    }
}

#[test]
fn a_client_that_goes_on_sending_still_reads_why_it_was_refused() {
    let world = World::with(|_, server, _| server.max_upload = 2_000_000);
    let large = vec![b'x'; 20_000_000];
    for headers in [&[][..], &[("Transfer-Encoding", "chunked")][..]] {
        let mut client = world.connect();
        let mut body = large.clone();
        if !headers.is_empty() {
            body.splice(..0, format!("{:x}\r\n", large.len()).bytes());
        }
        // No package at all: refused as soon as that is seen, or for its length.
        client.send("PUT", "/rpm/a.rpm", headers, &body);
        let answer = client.response("PUT");
        assert!(matches!(answer.status, 413 | 415), "{}", answer.text());
        assert!(answer.text().ends_with('\n'));
    }
}

#[test]
fn nonsense_gets_a_right_answer() {
    let world = World::new();
    let ask = |request: &[u8]| {
        let mut client = world.connect();
        client.raw(request).unwrap();
        client.try_response("GET").map(|answer| answer.status)
    };
    assert_eq!(ask(b"GET / HTTP/1.1\r\n\r\n"), Some(400), "no Host");
    assert_eq!(ask(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), Some(400), "two Hosts");
    assert_eq!(ask(b"GET / HTTP/1.0\r\n\r\n"), Some(200), "HTTP/1.0 has none");
    assert_eq!(ask(b"rubbish\r\n\r\n"), Some(400));
    assert_eq!(ask(b"GET http://localhost/-/status HTTP/1.1\r\nHost: localhost\r\n\r\n"), Some(200));
    assert_eq!(ask(b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n"), Some(204));
    let long = format!("GET /rpm/{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a/".repeat(10_000));
    assert_eq!(ask(long.as_bytes()), Some(414));
    let wide = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Wide: {}\r\n\r\n", "x".repeat(80_000));
    assert_eq!(ask(wide.as_bytes()), Some(431));
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X-Many: x\r\n".repeat(200));
    assert_eq!(ask(many.as_bytes()), Some(431));
    for (method, path, allow) in [
        (
            "POST",
            "/rpm/a.rpm",
            "GET, HEAD, PUT, DELETE, OPTIONS, PROPFIND, PROPPATCH, MKCOL, COPY, MOVE, LOCK, UNLOCK",
        ),
        ("PUT", "/rpm/", "GET, HEAD, OPTIONS, PROPFIND, PROPPATCH, LOCK, UNLOCK"),
        ("PUT", "/-/health", "GET, HEAD, OPTIONS"),
    ] {
        let answer = world.ask(method, path, &[], b"");
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{method} {path}");
    }
}

#[test]
fn a_client_that_is_slow_with_its_header_is_cut_off() {
    let world = World::with(|_, _, limits| limits.header_time = Duration::from_millis(100));
    for begun in [&b""[..], b"GET / HT", b"GET / HTTP/1.1\r\nHost: local"] {
        let mut client = world.connect();
        client.raw(begun).unwrap();
        // hyper may say 408 or nothing; either way it ends.
        match client.try_response("GET") {
            None => {}
            Some(answer) => assert_eq!(answer.status, 408),
        }
    }
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let world = World::with(|_, _, limits| {
        // Long enough that the honest one, on a busy machine, is not taken for another.
        limits.write_idle = Duration::from_secs(1);
        limits.connections = 1;
    });
    std::fs::write(world.path("large.rpm"), vec![0; 50_000_000]).unwrap();
    let mut idle = world.connect();
    idle.send("GET", "/rpm/large.rpm", &[], b"");
    // There is room for one only: this is answered when the other was cut off.
    assert_eq!(world.get("/").status, 200);
    drop(idle);
}

#[test]
fn connections_beyond_the_limit_wait_their_turn() {
    let world = World::with(|_, _, limits| limits.connections = 2);
    let mut first = world.connect();
    let mut second = world.connect();
    for client in [&mut first, &mut second] {
        client.send("GET", "/", &[], b"");
        assert_eq!(client.response("GET").status, 200);
    }
    let mut third = world.connect();
    third.send("GET", "/", &[], b"");
    drop(first);
    assert_eq!(third.response("GET").status, 200);
}

#[test]
fn a_stop_finishes_what_is_in_flight() {
    let mut world = World::new().published();
    let bytes = rpm("a", 0, 3_000_000);
    let mut busy = world.connect();
    busy.send("PUT", "/rpm/a.rpm", &[("Content-Length", &bytes.len().to_string())], &bytes[..2_000_000]);
    let mut idle = world.connect();
    idle.send("GET", "/-/health", &[], b"");
    assert_eq!(idle.response("GET").status, 200);
    world.signal_stop();
    assert!(idle.is_closed());
    busy.raw(&bytes[2_000_000..]).unwrap();
    assert_eq!(busy.response("PUT").status, 201);
    assert!(busy.is_closed());
    world.ended();
    assert!(std::net::TcpStream::connect(world.address).is_err());
}

#[test]
fn another_number_of_connections_for_an_address_counts_from_the_next_one_on() {
    let from = |listener| Listener::From("192.0.2.1".parse().unwrap(), listener);
    let world = World::behind(from, |_, _, limits| limits.per_address = 1).published();
    let change = |connections_per_address| {
        let limits = LimitsConfig { connections_per_address, ..LimitsConfig::default() };
        world.settings.replace(ServerConfig { limits, ..ServerConfig::default() }, None);
    };
    let ask = |client: &mut Client| {
        client.send("GET", "/-/health", &[], b"");
        client.response("GET").status
    };
    let come = || {
        let mut client = world.connect();
        (ask(&mut client), client)
    };
    let (status, mut first) = come();
    assert_eq!((status, come().0), (200, 429));
    change(2);
    let (status, mut second) = come();
    assert_eq!((status, come().0), (200, 429));
    // With fewer again, nobody who is inside is put out.
    change(1);
    assert_eq!(come().0, 429);
    assert_eq!((ask(&mut first), ask(&mut second)), (200, 200));
    change(0);
    assert_eq!(come().0, 200);
}
