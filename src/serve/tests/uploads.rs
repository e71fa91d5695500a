use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use super::world::{Response, World, rpm};
use crate::config::{Accept, Overwrite, Space, Symlinks, WriteAccess};

fn state(response: &Response) -> Option<&str> {
    response.header("createrepod-state")
}

const WAIT: [(&str, &str); 1] = [("Prefer", "wait=60")];

#[test]
fn a_package_goes_in_comes_out_and_is_published() {
    let world = World::new().published();
    let bytes = rpm("a", 0, 10);
    let put = world.ask("PUT", "/rpm/deep/a.rpm", &WAIT, &bytes);
    assert_eq!((put.status, state(&put)), (201, Some("indexed")), "{}", put.text());
    assert_eq!(put.header("preference-applied"), Some("wait=60"));
    assert!(put.text().contains("a-1.0-1.noarch"), "{}", put.text());
    let got = world.get("/rpm/deep/a.rpm");
    assert_eq!((got.status, &got.body), (200, &bytes));
    assert_eq!(got.header("etag"), put.header("etag"));
    let repomd = world.get("/rpm/repodata/repomd.xml").text();
    let revision = put.header("createrepod-revision").unwrap();
    assert!(repomd.contains(&format!("<revision>{revision}</revision>")), "{repomd}");

    let again = world.ask("PUT", "/rpm/deep/a.rpm", &WAIT, &bytes);
    assert_eq!((again.status, state(&again)), (200, Some("indexed")), "{}", again.text());
    let again = world.put("/rpm/deep/a.rpm", &bytes);
    assert_eq!((again.status, state(&again)), (200, Some("indexed")), "{}", again.text());
    let other = world.put("/rpm/deep/a.rpm", &rpm("a", 1, 10));
    assert_eq!(other.status, 409);
    assert!(other.header("createrepod-revision").is_some() && state(&other).is_none());
    let elsewhere = world.put("/rpm/other.rpm", &rpm("a", 1, 10));
    assert_eq!(elsewhere.status, 409);
    assert!(elsewhere.text().contains("deep/a.rpm"), "{}", elsewhere.text());
    // Other bytes of one NEVRA are the trouble; the same bytes under a second name are not.
    assert_eq!(world.put("/rpm/second.rpm", &bytes).status, 201);
}

#[test]
fn files_and_directories_get_the_configured_modes_and_the_time_of_arrival() {
    let world = World::with(|repository, _, _| repository.umask = 0o027);
    fs::create_dir(world.path("group")).unwrap();
    fs::set_permissions(world.path("group"), fs::Permissions::from_mode(0o2775)).unwrap();
    let before = std::time::SystemTime::now() - Duration::from_secs(1);
    assert_eq!(world.put("/rpm/group/new/a.rpm", &rpm("a", 0, 10)).status, 201);
    let file = fs::metadata(world.path("group/new/a.rpm")).unwrap();
    assert_eq!(file.mode() & 0o7777, 0o640);
    assert!(file.modified().unwrap() >= before);
    assert_eq!(fs::metadata(world.path("group/new")).unwrap().mode() & 0o7777, 0o2750, "setgid is inherited");
}

#[test]
fn the_published_stamp_is_the_files_own() {
    let world = World::new().published();
    world.ask("PUT", "/rpm/a.rpm", &WAIT, &rpm("a", 0, 10));
    let revision = world.handle.published().unwrap().revision;
    let location = crate::package::Location::parse("a.rpm").unwrap();
    let known = world.handle.find_location(&location).unwrap().unwrap();
    let file = fs::metadata(world.path("a.rpm")).unwrap();
    let ns = |seconds: i64, nanos: i64| seconds * 1_000_000_000 + nanos;
    assert_eq!((known.stamp.inode, known.stamp.size), (file.ino(), file.size()));
    assert_eq!(known.stamp.mtime_ns, ns(file.mtime(), file.mtime_nsec()));
    assert_eq!(known.stamp.ctime_ns, ns(file.ctime(), file.ctime_nsec()));
    // So a full comparison finds nothing to do.
    let world = world.published();
    assert_eq!(world.handle.published().unwrap().revision, revision);
}

#[test]
fn a_large_upload_is_streamed() {
    let world = World::new();
    let bytes = rpm("large", 0, 5_000_000);
    let put = world.put("/rpm/large.rpm", &bytes);
    assert_eq!(put.status, 201, "{}", put.text());
    assert!(fs::read(world.path("large.rpm")).unwrap() == bytes);
    let mut chunked = Vec::new();
    for chunk in bytes.chunks(300_007) {
        chunked.extend(format!("{:x}\r\n", chunk.len()).bytes());
        chunked.extend(chunk);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    let put = world.ask("PUT", "/rpm/chunked.rpm", &[("Transfer-Encoding", "chunked")], &chunked);
    assert_eq!(put.status, 201, "{}", put.text());
    assert!(fs::read(world.path("chunked.rpm")).unwrap() == bytes);
}

#[test]
fn what_is_refused_says_why_in_one_line_and_leaves_nothing() {
    let world = World::with(|repository, server, _| {
        repository.write = WriteAccess::Local;
        server.max_upload = 50_000;
    });
    fs::create_dir(world.path("folder")).unwrap();
    fs::write(world.path("file"), "x").unwrap();
    let good = rpm("a", 0, 1000);
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let large = rpm("a", 0, 60_000);
    type Case<'c> = (u16, &'c str, &'c [(&'c str, &'c str)], &'c [u8]);
    let cases: &[Case<'_>] = &[
        (400, "/rpm/new/a%00.rpm", &[], &good),
        (400, "/rpm/new/a%0d%0aX-Evil:1.rpm", &[], &good),
        (400, "/rpm/new/a.rpm", &[("Content-Range", "bytes 0-1/2")], &good),
        (400, "/rpm/new/a.rpm", &[("Content-Digest", "sha-256=:nonsense:")], &good),
        (403, "/rpm/new/a.rpm", &[("X-Forwarded-For", "192.0.2.1")], &good),
        (403, "/rpm/repodata/a.rpm", &[], &good),
        (403, "/rpm/.hidden/a.rpm", &[], &good),
        (403, "/rpm/rpm.repo", &[], &good),
        (404, "/elsewhere/a.rpm", &[], &good),
        (405, "/rpm/folder", &[], &good),
        (405, "/rpm/new/", &[], &good),
        (405, "/rpm", &[], &good),
        (409, "/rpm/file/a.rpm", &[], &good),
        (412, "/rpm/new/a.rpm", &[("If-Match", "*")], &good),
        (413, "/rpm/new/a.rpm", &[], &large),
        (415, "/rpm/new/a.txt", &[], &good),
        (415, "/rpm/new/a.rpm", &[], b"<html>not found</html>"),
        (415, "/rpm/new/a.rpm", &[], b""),
        (415, "/rpm/new/a.rpm", &[("Content-Encoding", "gzip")], &good),
        (422, "/rpm/new/a.rpm", &[], &good[..good.len() - 1]),
        (422, "/rpm/new/a.rpm", &[], &damaged),
        (422, "/rpm/new/a.rpm", &[("OC-Checksum", "MD5:00000000000000000000000000000000")], &good),
    ];
    for (status, path, headers, body) in cases {
        let answer = world.ask("PUT", path, headers, body);
        let text = answer.text();
        assert_eq!(answer.status, *status, "{path} {headers:?}: {text}");
        assert!(text.ends_with('\n') && text.trim_end().lines().count() == 1, "{path} {headers:?}: {text:?}");
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(answer.header("server").unwrap().starts_with("createrepod/"));
        assert_eq!(answer.header("allow").is_some(), *status == 405);
        assert!(answer.header("x-evil").is_none());
        assert!(!world.path("new").exists(), "{path} {headers:?}");
    }
    assert_eq!(world.leftovers(), [] as [&str; 0]);
    assert_eq!(world.put("/rpm/new/a.rpm", &good).status, 201);
}

#[test]
fn an_upload_that_breaks_off_leaves_nothing() {
    let world = World::with(|repository, _, _| repository.overwrite = Overwrite::Allow);
    let old = rpm("old", 0, 100);
    assert_eq!(world.put("/rpm/old.rpm", &old).status, 201);
    let new = rpm("new", 0, 3_000_000);
    for path in ["/rpm/old.rpm", "/rpm/deep/er/new.rpm"] {
        for sent in [0, 10, 1_500_000, new.len() - 1] {
            let mut client = world.connect();
            let length = new.len().to_string();
            client.send("PUT", path, &[("Content-Length", &length)], &new[..sent]);
            drop(client);
        }
    }
    // Whoever comes later takes the name as if nothing had been.
    assert_eq!(world.put("/rpm/last.rpm", &rpm("last", 0, 10)).status, 201);
    assert_eq!(fs::read(world.path("old.rpm")).unwrap(), old);
    assert!(!world.path("deep").exists());
    assert_eq!(world.leftovers(), [] as [&str; 0]);
}

#[test]
fn a_body_that_stalls_is_408() {
    let world = World::with(|_, _, limits| limits.body_idle = Duration::from_millis(100));
    for sent in [10, 2_000_000] {
        let bytes = rpm("slow", 0, 3_000_000);
        let mut client = world.connect();
        client.send("PUT", "/rpm/slow.rpm", &[("Content-Length", &bytes.len().to_string())], &bytes[..sent]);
        let answer = client.response("PUT");
        assert_eq!(answer.status, 408, "{}", answer.text());
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(!world.path("slow.rpm").exists());
    }
}

#[test]
fn a_stalled_upload_stands_in_nobodys_way() {
    let world = World::new();
    let bytes = rpm("a", 0, 3_000_000);
    let mut stalled = world.connect();
    stalled.send("PUT", "/rpm/a.rpm", &[("Content-Length", &bytes.len().to_string())], &bytes[..2_000_000]);
    assert_eq!(world.put("/rpm/a.rpm", &rpm("a", 1, 100)).status, 201);
    stalled.raw(&bytes[2_000_000..]).unwrap();
    assert_eq!(stalled.response("PUT").status, 409);
}

#[test]
fn nothing_is_written_through_a_link_that_leaves_the_tree() {
    let world = World::with(|repository, _, _| repository.overwrite = Overwrite::Allow);
    let outside = world.outside().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("there.rpm"), "precious").unwrap();
    symlink(&outside, world.path("out")).unwrap();
    symlink(outside.join("there.rpm"), world.path("link.rpm")).unwrap();
    symlink(outside.join("absent.rpm"), world.path("dangling.rpm")).unwrap();
    fs::create_dir(world.path("real")).unwrap();
    symlink("real", world.path("inside")).unwrap();
    for (path, status) in
        [("out/x.rpm", 409), ("out/new/x.rpm", 409), ("link.rpm", 409), ("dangling.rpm", 409)]
    {
        let answer = world.put(&format!("/rpm/{path}"), &rpm("x", 0, 10));
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert_ne!(world.ask("DELETE", &format!("/rpm/{path}"), &[], b"").status, 204, "{path}");
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read(outside.join("there.rpm")).unwrap(), b"precious");
    assert_eq!(world.put("/rpm/inside/x.rpm", &rpm("x", 0, 10)).status, 201);
    assert!(world.path("real/x.rpm").is_file());
}

#[test]
fn nothing_is_written_through_a_link_where_none_is_followed() {
    let world = World::with(|repository, _, _| repository.symlinks = Symlinks::Never);
    fs::create_dir(world.path("real")).unwrap();
    symlink("real", world.path("inside")).unwrap();
    assert_eq!(world.put("/rpm/inside/x.rpm", &rpm("x", 0, 10)).status, 409);
    assert_eq!(world.put("/rpm/real/x.rpm", &rpm("x", 0, 10)).status, 201);
    // A name more for those who read.
    assert_eq!(world.get("/rpm/inside/x.rpm").status, 200);
    assert_eq!(world.get("/rpm/real/x.rpm").status, 200);
}

#[test]
fn overwrite_allow_replaces_and_deny_takes_no_name_twice() {
    let world = World::with(|repository, _, _| repository.overwrite = Overwrite::Allow).published();
    assert_eq!(world.put("/rpm/a.rpm", &rpm("a", 0, 10)).status, 201);
    assert_eq!(world.put("/rpm/b.rpm", &rpm("b", 0, 10)).status, 201);
    let replaced = world.ask("PUT", "/rpm/a.rpm", &WAIT, &rpm("a", 1, 10));
    assert_eq!((replaced.status, state(&replaced)), (204, Some("indexed")));
    assert_eq!(fs::read(world.path("a.rpm")).unwrap(), rpm("a", 1, 10));
    // Not even then may one NEVRA have two contents.
    assert_eq!(world.put("/rpm/b.rpm", &rpm("a", 2, 10)).status, 409);
    assert_eq!(world.leftovers(), [] as [&str; 0]);

    let world = World::with(|repository, _, _| repository.overwrite = Overwrite::Deny);
    assert_eq!(world.put("/rpm/a.rpm", &rpm("a", 0, 10)).status, 201);
    assert_eq!(world.put("/rpm/a.rpm", &rpm("a", 0, 10)).status, 409);
    assert_eq!(world.put("/rpm/a.rpm", &rpm("a", 1, 10)).status, 409);
}

#[test]
fn a_file_that_came_by_cp_is_compared_by_its_bytes() {
    // Nobody has told the catalog of it.
    let world = World::new();
    fs::write(world.path("a.rpm"), rpm("a", 0, 10)).unwrap();
    assert_eq!(world.put("/rpm/a.rpm", &rpm("a", 0, 10)).status, 200);
    assert_eq!(world.put("/rpm/a.rpm", &rpm("a", 1, 10)).status, 409);
}

#[test]
fn a_package_that_was_removed_by_hand_is_not_in_the_way() {
    let world = World::new().published();
    assert_eq!(world.ask("PUT", "/rpm/a.rpm", &WAIT, &rpm("a", 0, 10)).status, 201);
    fs::remove_file(world.path("a.rpm")).unwrap();
    assert_eq!(world.put("/rpm/b.rpm", &rpm("a", 1, 10)).status, 201);
    assert_eq!(world.put("/rpm/a.rpm", &rpm("c", 0, 10)).status, 201);
}

#[test]
fn any_file_is_taken_where_that_is_set() {
    let world = World::with(|repository, _, _| repository.accept = Accept::Any).published();
    let first = world.put("/rpm/notes/a.txt", b"one");
    assert_eq!((first.status, state(&first)), (201, Some("indexed")), "{}", first.text());
    let tag = first.header("etag").unwrap().to_owned();
    assert_eq!(world.put("/rpm/notes/a.txt", b"").status, 204);
    assert_eq!(world.ask("PUT", "/rpm/notes/a.txt", &[("If-Match", &tag)], b"late").status, 412);
    assert_eq!(world.ask("PUT", "/rpm/notes/a.txt", &[("If-None-Match", "*")], b"late").status, 412);
    assert_eq!(fs::read(world.path("notes/a.txt")).unwrap(), b"");
    assert_eq!(world.put("/rpm/x.rpm", b"still no package").status, 415);
    assert_eq!(world.ask("DELETE", "/rpm/notes/a.txt", &[], b"").status, 204);
    assert!(!world.path("notes/a.txt").exists());
}

#[test]
fn of_fifty_uploads_of_one_nevra_exactly_one_wins() {
    for (round, own_names) in [false, true].into_iter().enumerate() {
        let world = Arc::new(World::new());
        let barrier = Arc::new(Barrier::new(50));
        let uploads: Vec<_> = (0..50u64)
            .map(|salt| {
                let (world, barrier) = (world.clone(), barrier.clone());
                let path = if own_names { format!("/rpm/{salt}/a.rpm") } else { "/rpm/a.rpm".into() };
                let body = rpm(&format!("a{round}"), salt, 10_000);
                std::thread::spawn(move || {
                    barrier.wait();
                    world.put(&path, &body).status
                })
            })
            .collect();
        let mut statuses: Vec<u16> = uploads.into_iter().map(|upload| upload.join().unwrap()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses[0], 201);
        assert!(statuses[1..].iter().all(|status| *status == 409), "{statuses:?}");
        let directories = fs::read_dir(world.path("")).unwrap().flatten();
        let names =
            directories.map(|e| e.file_name().into_string().unwrap()).filter(|name| !name.starts_with('.'));
        assert_eq!(names.filter(|name| name != "repodata").count(), 1, "no directory of a loser is left");
    }
}

#[test]
fn of_twenty_uploads_of_the_same_bytes_all_succeed() {
    let world = Arc::new(World::new());
    let body = rpm("a", 0, 10_000);
    let uploads: Vec<_> = (0..20)
        .map(|_| {
            let (world, body) = (world.clone(), body.clone());
            std::thread::spawn(move || world.put("/rpm/new/a.rpm", &body).status)
        })
        .collect();
    let mut statuses: Vec<u16> = uploads.into_iter().map(|upload| upload.join().unwrap()).collect();
    statuses.sort_unstable();
    assert_eq!((statuses[18], statuses[19]), (200, 201), "{statuses:?}");
    assert_eq!(statuses[0], 200);
}

#[test]
fn a_removed_package_stays_fetchable_and_unlisted_until_its_grace_is_over() {
    let world = World::new().published();
    let bytes = rpm("a", 0, 10);
    assert_eq!(world.ask("PUT", "/rpm/deep/a.rpm", &WAIT, &bytes).status, 201);
    assert_eq!(world.ask("DELETE", "/rpm/deep/a.rpm", &[("If-Match", "\"x\"")], b"").status, 412);
    let gone = world.ask("DELETE", "/rpm/deep/a.rpm", &WAIT, b"");
    assert_eq!((gone.status, state(&gone)), (204, Some("indexed")));
    assert_eq!(world.handle.published().unwrap().packages, 0);
    assert_eq!(world.get("/rpm/deep/a.rpm").body, bytes);
    assert!(!world.get("/rpm/deep/").text().contains("a.rpm"));
    assert_eq!(world.ask("DELETE", "/rpm/deep/a.rpm", &[], b"").status, 404);
    // The name and the NEVRA are free again.
    let other = rpm("a", 1, 10);
    assert_eq!(world.put("/rpm/deep/a.rpm", &other).status, 201);
    assert_eq!(world.get("/rpm/deep/a.rpm").body, other);
}

#[test]
fn what_is_kept_is_bounded_by_time_and_space() {
    let world = World::with(|repository, _, _| repository.grace = Duration::ZERO);
    world.put("/rpm/a.rpm", &rpm("a", 0, 10));
    assert_eq!(world.ask("DELETE", "/rpm/a.rpm", &[], b"").status, 204);
    assert_eq!(world.get("/rpm/a.rpm").status, 404);

    let size = rpm("a", 0, 10_000).len() as u64;
    let world = World::with(|repository, _, _| repository.grace_space = Space::Bytes(size * 2 + 10));
    for name in ["a", "b", "c"] {
        assert_eq!(world.put(&format!("/rpm/{name}.rpm"), &rpm(name, 0, 10_000)).status, 201);
    }
    for name in ["a", "b", "c"] {
        assert_eq!(world.ask("DELETE", &format!("/rpm/{name}.rpm"), &[], b"").status, 204);
    }
    let statuses = ["a", "b", "c"].map(|name| world.get(&format!("/rpm/{name}.rpm")).status);
    assert_eq!(statuses, [404, 200, 200], "the oldest goes first");
}

#[test]
fn a_wait_that_runs_out_is_202() {
    // Metadata cannot be made: its directory is a file.
    let world = World::new();
    fs::write(world.path("repodata"), "in the way").unwrap();
    let put = world.ask("PUT", "/rpm/a.rpm", &[("Prefer", "wait=0")], &rpm("a", 0, 10));
    assert_eq!((put.status, state(&put)), (202, Some("pending")), "{}", put.text());
    assert_eq!(put.header("preference-applied"), Some("wait=0"));
    assert_eq!(put.header("createrepod-revision"), Some("0"));
    assert!(world.path("a.rpm").is_file());
}
