//! Status codes of product.md that are the door's own, each as a client meets it; the others are met in
//! `uploads`, `reading` and `connections`.

use std::time::Duration;

use super::world::{World, rpm};
use crate::config::{Overwrite, WriteAccess};

#[test]
fn a_put_is_answered_with_what_became_of_it() {
    let world = World::with(|repository, _, _| repository.overwrite = Overwrite::Allow).published();
    let (one, two) = (rpm("a", 1, 100), rpm("a", 2, 100));
    assert_eq!(world.put("/rpm/a.rpm", &one).status, 201);
    assert_eq!(world.put("/rpm/a.rpm", &one).status, 200);
    assert_eq!(world.put("/rpm/a.rpm", &two).status, 204);
    assert_eq!(world.put("/rpm/b.rpm", &one).status, 409, "another file has this NEVRA");
    assert_eq!(world.put("/rpm/b.rpm", b"no package at all").status, 415);
    assert_eq!(world.put("/rpm/b.rpm", &one[..one.len() - 5]).status, 422);
    assert_eq!(world.put("/rpm/", &one).status, 405);
    assert_eq!(world.ask("PUT", "/rpm/b.rpm", &[("If-Match", "*")], &one).status, 412);
    assert_eq!(world.ask("PUT", "/rpm/b.rpm", &[("Content-Range", "bytes 0-1/9")], &one).status, 400);
    assert_eq!(world.ask("PUT", "/rpm/b.rpm", &[("Content-Encoding", "gzip")], &one).status, 415);
}

#[test]
fn a_put_where_nobody_may_write_is_forbidden() {
    let world = World::with(|repository, _, _| repository.write = WriteAccess::Off);
    let answer = world.ask("PUT", "/rpm/a.rpm", &[("Expect", "100-continue"), ("Content-Length", "99")], b"");
    assert_eq!(answer.status, 403);
}

#[test]
fn a_body_that_dawdles_is_given_up() {
    let world = World::with(|_, _, limits| limits.body_idle = Duration::from_millis(200));
    let bytes = rpm("a", 0, 100_000);
    let mut client = world.connect();
    client.send("PUT", "/rpm/a.rpm", &[("Content-Length", &bytes.len().to_string())], &bytes[..1000]);
    assert_eq!(client.response("PUT").status, 408);
    assert!(client.is_closed());
}

#[test]
fn a_body_that_comes_a_byte_now_and_then_is_given_up() {
    // Each pause is short; the whole of them is not.
    let world = World::with(|_, _, limits| {
        limits.body_idle = Duration::from_millis(300);
        limits.least_rate = 1_000_000;
    });
    let bytes = rpm("a", 0, 100_000);
    let mut client = world.connect();
    client.send("PUT", "/rpm/a.rpm", &[("Content-Length", &bytes.len().to_string())], b"");
    for byte in &bytes {
        if client.raw(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        if client.has_something() {
            break;
        }
    }
    assert_eq!(client.response("PUT").status, 408);
}

#[test]
fn a_header_that_comes_a_byte_now_and_then_is_given_up() {
    let world = World::with(|_, _, limits| limits.header_time = Duration::from_millis(300));
    let mut client = world.connect();
    for byte in "GET / HTTP/1.1\r\nX: ".bytes().chain(std::iter::repeat(b'x')) {
        if client.raw(&[byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
        if client.has_something() {
            break;
        }
    }
    assert_eq!(client.response("GET").status, 408);
    assert!(client.is_closed());
}

#[test]
fn http_1_0_keeps_its_connection_if_it_asks_to() {
    let world = World::new().published();
    let mut client = world.connect();
    for _ in 0..3 {
        client.raw(b"GET /-/health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
        let answer = client.response("GET");
        assert_eq!((answer.status, answer.header("connection")), (200, Some("keep-alive")));
        assert!(answer.header("content-length").is_some());
    }
    client.raw(b"GET /-/health HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(client.response("GET").status, 200);
    assert!(client.is_closed());
}

#[test]
fn every_answer_names_its_request() {
    let world = World::new();
    let id = |headers: &[(&str, &str)]| {
        world.ask("GET", "/none", headers, b"").header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(id(&[("X-Request-Id", "build-4711")]), "build-4711");
    assert_ne!(id(&[("X-Request-Id", "a b\"")]), "a b\"");
    assert_ne!(id(&[]), id(&[]));
}
