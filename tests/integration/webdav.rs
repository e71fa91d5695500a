//! WebDAV as real clients use it, and as RFC 4918 words it.

use std::fs;
use std::process::Command;

use crate::world::clients::{self, output};
use crate::world::daemon::{Publications, run, write_config};
use crate::world::http::Response;
use crate::world::{Daemon, Rpm, Tree};

const ANY: &str = "accept = \"any\"\noverwrite = \"allow\"";

fn dav(daemon: &Daemon, method: &str, location: &str, headers: &[(&str, &str)]) -> Response {
    daemon.request(method, location, headers, None)
}

/// The URL of a location, for a Destination header.
fn url(daemon: &Daemon, location: &str) -> String {
    format!("http://{}{}", daemon.address(), daemon.at(location))
}

fn propfind(daemon: &Daemon, location: &str, depth: &str, body: &str) -> Response {
    daemon.request("PROPFIND", location, &[("Depth", depth)], Some(body.as_bytes()))
}

const LOCK: &str = "<?xml version=\"1.0\"?><D:lockinfo xmlns:D=\"DAV:\"><D:lockscope><D:exclusive/></D:lockscope>\
                    <D:locktype><D:write/></D:locktype><D:owner>me</D:owner></D:lockinfo>";

/// Locks, and returns the token with its brackets.
fn lock(daemon: &Daemon, location: &str, depth: &str, status: u16) -> String {
    let answer = daemon.request("LOCK", location, &[("Depth", depth)], Some(LOCK.as_bytes()));
    assert_eq!(answer.status, status, "{}", answer.text());
    answer.header("Lock-Token").expect("Lock-Token").to_owned()
}

#[test]
fn litmus_passes_whole() {
    let Some(litmus) = clients::find("litmus") else { return };
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", ANY);
    let home = tempfile::TempDir::new().unwrap();
    let run = Command::new(litmus).arg("-k").arg(daemon.url()).current_dir(home.path()).output().unwrap();
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    let mut passed = 0;
    for line in text.lines().filter(|line| line.starts_with("<- summary for")) {
        // <- summary for `basic': of 16 tests run: 16 passed, 0 failed. 100.0%
        let counts: Vec<u32> =
            line.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
        assert_eq!((counts[0], counts[2]), (counts[1], 0), "{text}");
        passed += counts[1];
    }
    assert!(run.status.success() && passed == 104, "{passed} tests passed\n{text}");
    // A fragment in a request line is cut off by the HTTP library before anybody sees it.
    let warnings = text.lines().filter(|line| line.contains("WARNING") && !line.contains("fragment"));
    assert_eq!(warnings.count(), 0, "{text}");
    assert_eq!(tree.names_in(""), ["litmus"], "what litmus leaves is its own");
}

#[test]
fn a_package_that_is_moved_is_not_read_again_and_shown_in_one_publication() {
    const PAYLOAD: usize = 24 << 20;
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", "");
    let (rpm, small) = (Rpm::new("big").payload(PAYLOAD), Rpm::new("small"));
    assert_eq!(daemon.put_and_wait("a/big.rpm", &rpm.build()).status, 201);
    assert_eq!(daemon.put_and_wait("a/small.rpm", &small.build()).status, 201);
    let (before, publications) = (daemon.bytes_read(), Publications::count_in(&tree));
    let wait = ("Prefer", "wait=60");
    let answer = dav(&daemon, "MOVE", "a/big.rpm", &[("Destination", &url(&daemon, "a/b ü.rpm")), wait]);
    assert_eq!(
        (answer.status, answer.header("Createrepod-State")),
        (201, Some("indexed")),
        "{}",
        answer.text()
    );
    assert_eq!(publications.so_far(), 1);
    daemon.until_exactly(&["a/b ü.rpm", "a/small.rpm"]).matches_tree(tree.root()).unwrap();
    // A whole folder, too.
    assert_eq!(dav(&daemon, "MOVE", "a", &[("Destination", &url(&daemon, "c")), wait]).status, 201);
    daemon.until_exactly(&["c/b ü.rpm", "c/small.rpm"]).matches_tree(tree.root()).unwrap();
    // Longer than any second look at a young file waits.
    std::thread::sleep(std::time::Duration::from_secs(5));
    let read = daemon.bytes_read() - before;
    assert!(read < PAYLOAD as u64 / 2, "{read} bytes were read");
    for old in ["a/big.rpm", "a/b ü.rpm", "a/small.rpm"] {
        assert_eq!(daemon.get(old).status, 200, "{old} stays fetchable for the grace period");
    }
    // What a scan of the tree alone would say is what was said.
    let said = daemon.metadata();
    daemon.stop();
    fs::remove_dir_all(tree.beside("state")).unwrap();
    let again = Daemon::configured(&tree, "", "");
    let scanned = again.until_exactly(&["c/b ü.rpm", "c/small.rpm"]);
    assert!(
        said.primary == scanned.primary && said.filelists == scanned.filelists && said.other == scanned.other
    );
}

#[test]
fn a_copy_is_an_upload_of_those_bytes() {
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", ANY);
    let (a, other) = (Rpm::new("a"), Rpm::new("a").salt(7));
    daemon.put_and_wait("a.rpm", &a.build());
    let to = |location: &str| url(&daemon, location);
    // Another name, the same bytes.
    let answer = dav(&daemon, "COPY", "a.rpm", &[("Destination", &to("b.rpm")), ("Prefer", "wait=60")]);
    assert_eq!(
        (answer.status, answer.header("Createrepod-State")),
        (201, Some("indexed")),
        "{}",
        answer.text()
    );
    assert!(daemon.metadata().has("b.rpm"));
    // What is no package does not become one.
    assert_eq!(daemon.put("text", b"no package").status, 201);
    for method in ["COPY", "MOVE"] {
        let answer = dav(&daemon, method, "text", &[("Destination", &to("a.rpm"))]);
        assert_eq!(answer.status, 415, "{method}: {}", answer.text());
        assert_eq!(
            fs::read(tree.path("a.rpm")).unwrap(),
            a.build(),
            "{method}: what was there is still there"
        );
        assert_eq!(dav(&daemon, method, "text", &[("Destination", &to("c.rpm"))]).status, 415);
        assert!(tree.path("text").exists() && !tree.path("c.rpm").exists());
    }
    // One NEVRA, one content.
    assert_eq!(daemon.put("hidden-as-text", &other.build()).status, 201);
    let answer = dav(&daemon, "COPY", "hidden-as-text", &[("Destination", &to("d.rpm"))]);
    assert_eq!(answer.status, 409, "{}", answer.text());
    tree.remove("hidden-as-text");
    tree.remove("text");
    tree.has_no_leftovers();
}

#[test]
fn the_overwrite_rule_holds_for_copy_and_move() {
    let (one, two) = (Rpm::new("p").build(), Rpm::new("q").build());
    for (rule, identical, other) in [("deny", 409, 409), ("same", 204, 409), ("allow", 204, 204)] {
        for method in ["COPY", "MOVE"] {
            let tree = Tree::new();
            let daemon = Daemon::configured(&tree, "", &format!("overwrite = \"{rule}\""));
            for (name, bytes) in [("one.rpm", &one), ("same.rpm", &one), ("two.rpm", &two)] {
                assert_eq!(daemon.put_and_wait(name, bytes).status, 201);
            }
            let transfer = |from: &str, to: &str, overwrite: &str| {
                let destination = url(&daemon, to);
                dav(&daemon, method, from, &[("Destination", &destination), ("Overwrite", overwrite)])
            };
            assert_eq!(transfer("one.rpm", "two.rpm", "F").status, 412, "{rule} {method}");
            assert_eq!(transfer("one.rpm", "same.rpm", "T").status, identical, "{rule} {method}");
            if method == "MOVE" && identical == 204 {
                assert_eq!(daemon.put_and_wait("one.rpm", &one).status, 201);
            }
            assert_eq!(transfer("one.rpm", "two.rpm", "T").status, other, "{rule} {method}");
            let expected = if other == 204 { &one } else { &two };
            assert_eq!(&fs::read(tree.path("two.rpm")).unwrap(), expected, "{rule} {method}");
        }
    }
}

#[test]
fn packages_only_means_packages_only() {
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", "");
    daemon.put_and_wait("a.rpm", &Rpm::new("a").build());
    for method in ["COPY", "MOVE"] {
        let answer = dav(&daemon, method, "a.rpm", &[("Destination", &url(&daemon, "a.txt"))]);
        assert_eq!(answer.status, 415, "{method}: {}", answer.text());
    }
    assert_eq!(tree.names_in(""), ["a.rpm"]);
}

#[test]
fn metadata_and_hidden_names_refuse_every_write() {
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", ANY);
    daemon.put_and_wait("a.rpm", &Rpm::new("a").build());
    let before = tree.leftovers();
    for place in [
        "repodata",
        "repodata/x.rpm",
        "repodata/repomd.xml",
        ".createrepod",
        ".x/y",
        "a/.b.rpm",
        "sub/repodata",
    ] {
        for method in ["PUT", "DELETE", "MKCOL", "PROPPATCH", "LOCK", "MOVE"] {
            let body = (method == "PUT").then_some(&b"x"[..]);
            let answer = daemon.request(method, place, &[("Destination", &url(&daemon, "b.rpm"))], body);
            assert_eq!(answer.status, 403, "{method} {place}: {}", answer.text());
        }
        for method in ["COPY", "MOVE"] {
            let answer = dav(&daemon, method, "a.rpm", &[("Destination", &url(&daemon, place))]);
            assert_eq!(answer.status, 403, "{method} to {place}: {}", answer.text());
        }
    }
    for method in ["DELETE", "MOVE", "COPY"] {
        let answer = dav(&daemon, method, "", &[("Destination", &url(&daemon, "b"))]);
        assert_eq!(answer.status, 403, "{method} of the repository itself");
    }
    for hidden in [".createrepod", ".createrepod/lock"] {
        assert_eq!(propfind(&daemon, hidden, "0", "").status, 404);
    }
    let listed = propfind(&daemon, "", "1", "").text();
    assert!(listed.contains("/rpm/repodata/<") && !listed.contains(".createrepod"), "{listed}");
    assert_eq!(propfind(&daemon, "repodata", "1", "").status, 207);
    assert_eq!(tree.leftovers(), before);
}

#[test]
fn nothing_leaves_the_tree() {
    let tree = Tree::new();
    fs::create_dir(tree.beside("outside")).unwrap();
    fs::write(tree.beside("outside/secret"), "secret").unwrap();
    std::os::unix::fs::symlink("../outside", tree.path("out")).unwrap();
    let daemon = Daemon::configured(&tree, "", ANY);
    daemon.put_and_wait("a.rpm", &Rpm::new("a").build());
    assert_eq!(propfind(&daemon, "out/", "1", "").status, 404);
    assert!(!propfind(&daemon, "", "1", "").text().contains("/out"));
    for target in [
        "/rpm/out/x",
        "/rpm/../x",
        "/rpm/%2e%2e/x",
        "/rpm/a%2Fb",
        "/elsewhere/x",
        "http://evil.example/rpm/x",
    ] {
        let answer = dav(&daemon, "COPY", "a.rpm", &[("Destination", target)]);
        assert!([400, 409, 502].contains(&answer.status), "{target}: {} {}", answer.status, answer.text());
        assert!(!target.starts_with("http:") || answer.status == 502, "{target}: {}", answer.status);
    }
    for method in ["COPY", "MOVE"] {
        let answer = dav(&daemon, method, "out/secret", &[("Destination", &url(&daemon, "stolen"))]);
        assert_eq!(answer.status, 404, "{method}");
    }
    assert!(!dav(&daemon, "MKCOL", "out/new", &[]).text().contains("root"));
    assert_eq!(fs::read_dir(tree.beside("outside")).unwrap().count(), 1);
    assert!(!tree.path("stolen").exists());
}

#[test]
fn properties_survive_a_restart_and_follow_what_they_belong_to() {
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", ANY);
    daemon.put_and_wait("a.rpm", &Rpm::new("a").build());
    let set = "<?xml version=\"1.0\"?><D:propertyupdate xmlns:D=\"DAV:\" xmlns:x=\"urn:x\"><D:set><D:prop>\
               <x:team>core &amp; <x:b>more</x:b></x:team></D:prop></D:set></D:propertyupdate>";
    let answer = daemon.request("PROPPATCH", "a.rpm", &[], Some(set.as_bytes()));
    assert!(answer.status == 207 && answer.text().contains("200 OK"), "{}", answer.text());
    let ask = "<D:propfind xmlns:D=\"DAV:\"><D:prop><team xmlns=\"urn:x\"/><gone xmlns=\"urn:x\"/></D:prop></D:propfind>";
    let has = |daemon: &Daemon, location: &str| {
        let text = propfind(daemon, location, "0", ask).text();
        let (found, missing) = text.split_once("200 OK").unwrap_or(("", &text));
        assert!(missing.contains("gone") && missing.contains("404 Not Found"), "{text}");
        found.contains("core &amp; ") && found.contains("more")
    };
    assert!(has(&daemon, "a.rpm"));
    daemon.stop();
    let daemon = Daemon::configured(&tree, "", ANY);
    assert!(has(&daemon, "a.rpm"), "after a restart");
    dav(&daemon, "COPY", "a.rpm", &[("Destination", &url(&daemon, "b.rpm"))]);
    assert!(has(&daemon, "a.rpm") && has(&daemon, "b.rpm"), "a copy has them");
    dav(&daemon, "MOVE", "a.rpm", &[("Destination", &url(&daemon, "c.rpm"))]);
    assert!(has(&daemon, "c.rpm"), "they move along");
    assert_eq!(dav(&daemon, "DELETE", "c.rpm", &[]).status, 204);
    daemon.put_and_wait("c.rpm", &Rpm::new("a").build());
    assert!(!has(&daemon, "c.rpm"), "they go with what is deleted");
    // All or nothing, and not without end.
    let protected =
        set.replace("</D:set>", "</D:set><D:set><D:prop><D:getetag>x</D:getetag></D:prop></D:set>");
    let answer = daemon.request("PROPPATCH", "c.rpm", &[], Some(protected.as_bytes())).text();
    assert!(answer.contains("424 Failed Dependency") && answer.contains("403 Forbidden"), "{answer}");
    assert!(!has(&daemon, "c.rpm"));
    for number in 0..3 {
        let big = set.replace("core", &"x".repeat(30_000)).replace("team", &format!("team{number}"));
        let answer = daemon.request("PROPPATCH", "c.rpm", &[], Some(big.as_bytes())).text();
        assert_eq!(answer.contains("507"), number == 2, "{number}: {answer}");
    }
}

#[test]
fn locks_stand_in_the_way_of_every_change_of_others() {
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", ANY);
    let (a, b) = (Rpm::new("a").build(), Rpm::new("b").build());
    assert_eq!(dav(&daemon, "MKCOL", "d", &[]).status, 201);
    daemon.put_and_wait("d/a.rpm", &a);
    daemon.put_and_wait("b.rpm", &b);
    let token = lock(&daemon, "d/a.rpm", "0", 200);
    let to = url(&daemon, "d/a.rpm");
    let away = url(&daemon, "away.rpm");
    let tries = |headers: &[(&str, &str)]| {
        [
            daemon.request("PUT", "d/a.rpm", headers, Some(&a)).status,
            daemon.request("PROPPATCH", "d/a.rpm", headers, Some(PATCH.as_bytes())).status,
            dav(&daemon, "COPY", "b.rpm", &[headers, &[("Destination", to.as_str())]].concat()).status,
            dav(&daemon, "MOVE", "d/a.rpm", &[headers, &[("Destination", away.as_str())]].concat()).status,
            dav(&daemon, "DELETE", "d/a.rpm", headers).status,
            dav(&daemon, "DELETE", "d", headers).status,
            daemon.request("LOCK", "d", headers, Some(LOCK.as_bytes())).status,
        ]
    };
    assert_eq!(tries(&[]), [423; 7]);
    assert_eq!(fs::read(tree.path("d/a.rpm")).unwrap(), a);
    // A condition that does not hold is another matter.
    let bogus = "(<urn:uuid:00000000-0000-4000-8000-000000000000>)";
    assert_eq!(tries(&[("If", bogus)])[..6], [412; 6]);
    // Reading is nobody's to forbid.
    assert_eq!(daemon.get("d/a.rpm").status, 200);
    let holder = format!("({token})");
    assert_eq!(daemon.request("PUT", "d/a.rpm", &[("If", &holder)], Some(&a)).status, 200);
    let etag = daemon.get("d/a.rpm").header("ETag").unwrap().to_owned();
    for (condition, status) in [
        (format!("({token} [{etag}])"), 200),
        (format!("({token} [\"other\"])"), 412),
        (format!("({token} [\"other\"]) ({token} Not <DAV:no-lock>)"), 200),
        (format!("<{to}> ({token})"), 200),
        (format!("<{away}> ({token})"), 412),
        ("(Not <DAV:no-lock>)".to_owned(), 423),
        ("nonsense".to_owned(), 400),
    ] {
        let answer = daemon.request("PUT", "d/a.rpm", &[("If", &condition)], Some(&a));
        assert_eq!(answer.status, status, "{condition}: {}", answer.text());
    }
    // The lock does not move along.
    let moved = dav(&daemon, "MOVE", "d/a.rpm", &[("If", &holder), ("Destination", &away)]);
    assert_eq!(moved.status, 201, "{}", moved.text());
    assert!(!propfind(&daemon, "away.rpm", "0", "").text().contains("activelock"));
    assert_eq!(dav(&daemon, "DELETE", "away.rpm", &[]).status, 204);
}

const PATCH: &str = "<D:propertyupdate xmlns:D=\"DAV:\"><D:set><D:prop><x xmlns=\"urn:x\">1</x></D:prop></D:set></D:propertyupdate>";

#[test]
fn a_locked_folder_lets_no_name_come_or_go() {
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", ANY);
    dav(&daemon, "MKCOL", "d", &[]);
    daemon.put_and_wait("d/a.rpm", &Rpm::new("a").build());
    let token = lock(&daemon, "d", "0", 200);
    let new = Rpm::new("new").build();
    assert_eq!(daemon.put("d/new.rpm", &new).status, 423, "{}", daemon.put("d/new.rpm", &new).text());
    assert_eq!(dav(&daemon, "MKCOL", "d/sub", &[]).status, 423);
    assert_eq!(dav(&daemon, "DELETE", "d/a.rpm", &[]).status, 423);
    assert_eq!(daemon.put("d/a.rpm", &Rpm::new("a").build()).status, 200, "a member may change");
    let holder = format!("<{}> ({token})", url(&daemon, "d"));
    assert_eq!(daemon.request("PUT", "d/new.rpm", &[("If", &holder)], Some(&new)).status, 201);
    let unlock = dav(&daemon, "UNLOCK", "d", &[("Lock-Token", &token)]);
    assert_eq!(unlock.status, 204);
    assert_eq!(dav(&daemon, "UNLOCK", "d", &[("Lock-Token", &token)]).status, 409);
    assert_eq!(dav(&daemon, "DELETE", "d/a.rpm", &[]).status, 204);
}

#[test]
fn a_lock_on_nothing_and_an_empty_upload_of_a_mounted_share_are_no_files() {
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", "");
    let mounted = ("User-Agent", "davfs2/1.6.1 neon/0.32.2");
    let token = lock(&daemon, "a.rpm", "0", 201);
    let holder = format!("({token})");
    let empty = daemon.request("PUT", "b.rpm", &[mounted], Some(b""));
    assert_eq!(empty.status, 201, "{}", empty.text());
    assert!(tree.names_in("").is_empty(), "nothing is in the tree");
    for name in ["a.rpm", "b.rpm"] {
        let found = daemon.get(name);
        assert_eq!((found.status, found.body.len()), (200, 0), "{name}");
        assert!(propfind(&daemon, "", "1", "").text().contains(name));
    }
    assert_eq!(lock(&daemon, "c.rpm", "0", 201).len(), token.len());
    assert_eq!(daemon.put("a.rpm", &Rpm::new("a").build()).status, 423);
    let stored = daemon.request(
        "PUT",
        "a.rpm",
        &[("If", &holder), ("Prefer", "wait=60")],
        Some(&Rpm::new("a").build()),
    );
    assert_eq!(stored.status, 201, "{}", stored.text());
    assert_eq!(daemon.put_and_wait("b.rpm", &Rpm::new("b").build()).status, 201);
    daemon.until_exactly(&["a.rpm", "b.rpm"]);
    // A pipeline that sends an empty file hears that it is no package.
    let refused = daemon.put("d.rpm", b"");
    assert!((400..500).contains(&refused.status), "{}", refused.status);
    // Unlocked without content, it is as if it had never been.
    let token = lock(&daemon, "e.rpm", "0", 201);
    assert_eq!(dav(&daemon, "UNLOCK", "e.rpm", &[("Lock-Token", &token)]).status, 204);
    assert_eq!(daemon.get("e.rpm").status, 404);
    let without_parent = daemon.request("LOCK", "no/such/x.rpm", &[], Some(LOCK.as_bytes()));
    assert_eq!(without_parent.status, 409, "{}", without_parent.text());
}

#[test]
fn folders_are_made_copied_and_deleted_with_all_that_is_in_them() {
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", "");
    assert_eq!(dav(&daemon, "MKCOL", "a/b", &[]).status, 409, "no parent");
    assert_eq!(dav(&daemon, "MKCOL", "a", &[]).status, 201);
    assert_eq!(dav(&daemon, "MKCOL", "a", &[]).status, 405, "it is there");
    assert_eq!(daemon.request("MKCOL", "b", &[], Some(b"x")).status, 415, "with a body");
    for name in ["one", "two"] {
        daemon.put_and_wait(&format!("a/deep/{name}.rpm"), &Rpm::new(name).build());
    }
    let destination = url(&daemon, "c");
    assert_eq!(dav(&daemon, "COPY", "a", &[("Destination", &destination), ("Depth", "1")]).status, 400);
    assert_eq!(
        dav(&daemon, "COPY", "a", &[("Destination", &destination), ("Prefer", "wait=60")]).status,
        201
    );
    daemon.until_exactly(&["a/deep/one.rpm", "a/deep/two.rpm", "c/deep/one.rpm", "c/deep/two.rpm"]);
    assert_eq!(
        dav(&daemon, "COPY", "a", &[("Destination", &url(&daemon, "a/deep/x"))]).status,
        403,
        "into itself"
    );
    assert_eq!(dav(&daemon, "MOVE", "a", &[("Destination", &url(&daemon, "x/y/z"))]).status, 409);
    assert_eq!(dav(&daemon, "DELETE", "a", &[("Depth", "0")]).status, 400);
    assert_eq!(dav(&daemon, "DELETE", "a/", &[]).status, 204);
    daemon.until_exactly(&["c/deep/one.rpm", "c/deep/two.rpm"]);
    assert!(!tree.path("a").exists());
    assert_eq!(daemon.get("a/deep/one.rpm").status, 200, "kept for the grace period");
    // What may not be removed stays, and is named.
    tree.write("c/deep/README", b"not a package");
    let partly = dav(&daemon, "DELETE", "c", &[]);
    assert_eq!(partly.status, 207);
    assert!(
        partly.text().contains("/rpm/c/deep/README<") && partly.text().contains("415"),
        "{}",
        partly.text()
    );
    assert_eq!(tree.names_in("c/deep"), ["README"]);
}

#[test]
fn a_listing_tells_what_is_there_and_no_more_than_was_asked() {
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", ANY);
    let name = "a b&<c>\"é'%#?.rpm";
    daemon.put_and_wait(name, &Rpm::new("a").build());
    dav(&daemon, "MKCOL", "sub", &[]);
    for depth in ["infinity", "Infinity"] {
        let refused = dav(&daemon, "PROPFIND", "", &[("Depth", depth), ("X-Litmus", "props: 1")]);
        assert!(
            refused.status == 403 && refused.text().contains("propfind-finite-depth"),
            "{}",
            refused.text()
        );
    }
    assert_eq!(dav(&daemon, "PROPFIND", "", &[]).status, 403, "no Depth is infinity");
    assert_eq!(dav(&daemon, "PROPFIND", "", &[("Depth", "2")]).status, 400);
    assert_eq!(propfind(&daemon, "nothing", "0", "").status, 404);
    let listed = propfind(&daemon, "", "1", "");
    assert_eq!(listed.status, 207);
    let text = listed.text();
    let hrefs: Vec<&str> = text
        .split("<D:href>")
        .skip(1)
        .filter_map(|rest| rest.split_once("</D:href>").map(|(href, _)| href))
        .collect();
    assert_eq!(hrefs, ["/rpm/", "/rpm/repodata/", "/rpm/sub/", &daemon.at(name)]);
    let etag = daemon.get(name).header("ETag").unwrap().replace('"', "&quot;");
    assert!(text.contains(&format!("<D:getetag>{etag}</D:getetag>")), "{text}");
    assert_eq!(propfind(&daemon, "", "0", "").text().matches("<D:response>").count(), 1);
    let names =
        propfind(&daemon, name, "0", "<D:propfind xmlns:D=\"DAV:\"><D:propname/></D:propfind>").text();
    assert!(names.contains("<D:getetag/>") && !names.contains(&etag), "{names}");
    let quota = "<D:propfind xmlns:D=\"DAV:\"><D:prop><D:quota-available-bytes/></D:prop></D:propfind>";
    assert!(propfind(&daemon, "", "0", quota).text().contains("</D:quota-available-bytes>"));
    // Where no repository is, clients find those that are.
    let front = crate::world::http::send(daemon.address(), "PROPFIND", "/", &[("Depth", "1")], None);
    assert!(front.status == 207 && front.text().contains("<D:href>/rpm/</D:href>"), "{}", front.text());
}

#[test]
fn hostile_bodies_are_refused_and_the_daemon_lives() {
    let tree = Tree::new();
    let mut daemon = Daemon::configured(&tree, "", ANY);
    daemon.put_and_wait("a.rpm", &Rpm::new("a").build());
    let deep = |count: usize| {
        format!(
            "<propfind xmlns=\"DAV:\"><prop>{}{}</prop></propfind>",
            "<a>".repeat(count),
            "</a>".repeat(count)
        )
    };
    let laughs = "<!DOCTYPE l [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;\">]>\
                  <propfind xmlns=\"DAV:\"><prop><x>&b;</x></prop></propfind>";
    let mut bodies: Vec<(Vec<u8>, u16)> = vec![
        (deep(9_000).into_bytes(), 400),
        (deep(100_000).into_bytes(), 413),
        (laughs.into(), 400),
        (b"<propfind xmlns=\"DAV:\"><prop>".to_vec(), 400),
        (b"\xff\xfe<".to_vec(), 400),
        (b"<a/>".to_vec(), 400),
    ];
    bodies.push((
        format!("<propfind xmlns=\"DAV:\"><prop>{}</prop></propfind>", "<x/>".repeat(10_000)).into_bytes(),
        400,
    ));
    for (body, status) in bodies {
        for method in ["PROPFIND", "PROPPATCH", "LOCK"] {
            let answer = daemon.request(method, "a.rpm", &[("Depth", "0")], Some(&body));
            // What a lock keeps is bounded more closely.
            let status = if method == "LOCK" && body.len() > 8192 { 413 } else { status };
            assert_eq!(answer.status, status, "{method} {}", answer.text());
        }
    }
    assert!(daemon.is_alive());
    // So is a lock's owner.
    let owner = LOCK.replace("me", &"x".repeat(9000));
    assert_eq!(daemon.request("LOCK", "a.rpm", &[], Some(owner.as_bytes())).status, 413);
    // Locks are bounded.
    let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
    for number in 0..1010 {
        let answer = daemon.request(
            "LOCK",
            &format!("n{number}.rpm"),
            &[("Timeout", "Infinite")],
            Some(LOCK.as_bytes()),
        );
        *statuses.entry(answer.status).or_default() += 1;
    }
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), [(201, 500), (507, 510)]);
    assert_eq!(tree.names_in(""), ["a.rpm"]);
    for raw in ["/rpm/%ff.rpm", "/rpm/a%00", "/rpm/%zz"] {
        let answer = crate::world::http::send(daemon.address(), "MKCOL", raw, &[], None);
        assert_eq!(answer.status, 400, "{raw}");
    }
    assert_eq!(dav(&daemon, "MKCOL", "a\nb", &[]).status, 400);
}

#[test]
fn a_deep_tree_is_listed_moved_and_deleted() {
    let tree = Tree::new();
    let mut daemon = Daemon::configured(&tree, "", ANY);
    let deepest = ["d"; 1000].join("/");
    fs::create_dir_all(tree.path(&deepest)).unwrap();
    assert_eq!(propfind(&daemon, &deepest, "1", "").status, 207);
    assert_eq!(dav(&daemon, "MOVE", "d/d", &[("Destination", &url(&daemon, "e"))]).status, 201);
    assert_eq!(dav(&daemon, "COPY", "e", &[("Destination", &url(&daemon, "f"))]).status, 201);
    assert_eq!(dav(&daemon, "DELETE", "e", &[]).status, 204);
    assert!(!tree.path("e").exists() && tree.path("f").exists() && daemon.is_alive());
}

#[test]
fn options_tell_what_a_mount_needs_to_know() {
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", "");
    for place in ["", "a.rpm", "sub/"] {
        let answer = dav(&daemon, "OPTIONS", place, &[]);
        assert_eq!((answer.status, answer.header("DAV")), (204, Some("1, 2")), "{place}");
        assert!(answer.header("Allow").unwrap().contains("LOCK"));
    }
    let front = crate::world::http::send(daemon.address(), "OPTIONS", "/", &[], None);
    assert_eq!(front.header("DAV"), Some("1, 2"));
}

#[test]
fn who_may_not_write_may_look() {
    let tree = Tree::new();
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = \"{}\"\n[repository.rpm]\npath = \"{}\"\nwrite = \"off\"\n",
        tree.beside("state").display(),
        tree.root().display()
    );
    tree.add(&Rpm::new("a"));
    let daemon = Daemon::serve_config(&write_config(&tree, &text), "/rpm/");
    let name = Rpm::new("a").file_name();
    daemon.until_exactly(&[&name]);
    for method in ["PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "DELETE"] {
        let answer = dav(&daemon, method, &name, &[("Destination", &url(&daemon, "b.rpm"))]);
        assert_eq!(answer.status, 403, "{method}: {}", answer.text());
    }
    assert_eq!(propfind(&daemon, "", "1", "").status, 207);
    assert_eq!(tree.names_in(""), [name]);
}

#[test]
fn what_is_removed_beside_what_windows_sets_is_removed() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    let daemon = Daemon::serve(&tree);
    daemon.until_exactly(&["a-1.0-1.noarch.rpm"]);
    let patch = |steps: &str| {
        let body = format!(
            "<propertyupdate xmlns='DAV:' xmlns:Z='urn:schemas-microsoft-com:'>{steps}</propertyupdate>"
        );
        let answer = daemon.request("PROPPATCH", "a-1.0-1.noarch.rpm", &[], Some(body.as_bytes()));
        assert_eq!(answer.status, 207, "{}", answer.text());
        answer.text()
    };
    let shown = || propfind(&daemon, "a-1.0-1.noarch.rpm", "0", "").text().contains(">mine<");
    let set = "<set><prop><displayname>mine</displayname></prop></set>";
    let remove = "<remove><prop><displayname/></prop></remove>";
    let windows = |value: &str| {
        format!("<set><prop><Z:Win32FileAttributes>{value}</Z:Win32FileAttributes></prop></set>")
    };
    patch(set);
    assert!(shown());
    // Where one is refused, nothing is done.
    assert!(patch(&format!("{remove}{}", windows("<x/>"))).contains("424"));
    assert!(shown());
    assert!(!patch(&format!("{remove}{}", windows("00000020"))).contains("424"));
    assert!(!shown());
    daemon.stop();
}

#[test]
fn write_alone_replaces_no_metadata_and_no_file_with_other_content() {
    let tree = Tree::new();
    let (state, root) = (tree.beside("state"), tree.root());
    for (overwrite, refused) in [("same", 403), ("allow", 204)] {
        let text = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = {state:?}\n[repository.rpm]\npath = {root:?}\n\
             write = \"token\"\naccept = \"any\"\noverwrite = {overwrite:?}\n"
        );
        let config = write_config(&tree, &text);
        let daemon = Daemon::serve_config(&config, "/rpm/");
        let token = |name: &str, scopes: &[&str]| {
            let name = format!("{name}-{overwrite}");
            let mut add =
                vec!["token", "add", &name, "--repository", "rpm", "--config", config.to_str().unwrap()];
            scopes.iter().for_each(|scope| add.extend(["--scope", scope]));
            format!("Bearer {}", run(add).stdout.trim())
        };
        let (write, delete) = (token("w", &["write"]), token("d", &["write", "delete"]));
        let put = |who: &str, at: &str, batch: Option<&str>, body: &str| {
            let mut headers = vec![("Authorization", who)];
            headers.extend(batch.map(|batch| ("Createrepod-Batch", batch)));
            daemon.request("PUT", at, &headers, Some(body.as_bytes())).status
        };
        let commit = |who: &str, batch: &str| {
            let path = format!("/-/api/v1/repositories/rpm/batches/{batch}/commit");
            crate::world::http::send(daemon.address(), "POST", &path, &[("Authorization", who)], Some(b""))
                .status
        };
        let comps = |name: &str| format!("<comps><group><id>{name}</id><name>{name}</name></group></comps>");
        let to = url(&daemon, "notes");
        let copy = |who: &str| {
            daemon.request("COPY", "other", &[("Authorization", who), ("Destination", &to)], None).status
        };
        let _ = (fs::remove_file(root.join("comps.xml")), fs::remove_file(root.join("notes")));
        assert_eq!(put(&write, "comps.xml", None, &comps("a")), 201);
        assert_eq!(put(&write, "comps.xml", None, &comps("a")), 204, "the same again is fine");
        assert_eq!(put(&write, "comps.xml", None, &comps("b")), refused, "{overwrite}");
        assert_eq!(put(&delete, "comps.xml", None, &comps("c")), 204);
        // What comes in between is not replaced by a commit either.
        assert_eq!(put(&write, "notes", Some("x"), "held"), 201);
        assert_eq!(put(&write, "notes", None, "1"), 201);
        assert_eq!(put(&write, "other", None, "2"), if overwrite == "same" { 201 } else { 204 });
        assert_eq!(copy(&write), refused, "{overwrite}");
        if overwrite == "same" {
            assert_eq!(put(&write, "notes", Some("y"), "3"), 403);
            assert_eq!(commit(&write, "x"), 403);
            assert_eq!(fs::read_to_string(root.join("notes")).unwrap(), "1");
        }
        assert_eq!(commit(&delete, "x"), 200);
        assert_eq!(fs::read_to_string(root.join("notes")).unwrap(), "held");
        assert_eq!(copy(&delete), 204);
        daemon.stop();
    }
}

#[test]
fn curl_and_wget_do_their_usual_work() {
    let (Some(curl), Some(wget)) = (clients::find("curl"), clients::find("wget")) else { return };
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", "");
    let rpm = Rpm::new("hello");
    let file = tree.write_beside(rpm.file_name(), &rpm.build());
    let quiet = ["-sS", "--fail"];
    output(Command::new(&curl).args(quiet).arg("-T").arg(&file).arg(daemon.url()));
    daemon.until_exactly(&[&rpm.file_name()]);
    let destination = format!("Destination: {}", url(&daemon, "sub/hello.rpm"));
    output(Command::new(&curl).args(quiet).args(["-X", "MKCOL"]).arg(format!("{}sub/", daemon.url())));
    let at = url(&daemon, &rpm.file_name());
    output(Command::new(&curl).args(quiet).args(["-X", "MOVE", "-H", &destination, &at]));
    daemon.until_exactly(&["sub/hello.rpm"]);
    // A mirror of the whole repository by the links of its pages.
    let mirror = tempfile::TempDir::new().unwrap();
    let arguments = ["-q", "-r", "-np", "-nH", "--cut-dirs=1", "-e", "robots=off"];
    output(Command::new(&wget).args(arguments).arg(daemon.url()).current_dir(mirror.path()));
    assert_eq!(fs::read(mirror.path().join("sub/hello.rpm")).unwrap(), rpm.build());
    assert!(mirror.path().join("repodata/repomd.xml").exists());
    output(
        Command::new(&curl).args(quiet).args(["-X", "DELETE"]).arg(format!("{}sub/hello.rpm", daemon.url())),
    );
    daemon.until_exactly(&[]);
}

#[test]
fn rclone_does_its_usual_work() {
    let Some(rclone) = clients::find("rclone") else { return };
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", "");
    let local = tempfile::TempDir::new().unwrap();
    for name in ["one", "two"] {
        let rpm = Rpm::new(name);
        fs::create_dir_all(local.path().join("el9")).unwrap();
        fs::write(local.path().join("el9").join(rpm.file_name()), rpm.build()).unwrap();
    }
    let (one, two) = (Rpm::new("one").file_name(), Rpm::new("two").file_name());
    let run = |arguments: &[&str]| {
        let remote = format!(":webdav,url='{}':", daemon.url());
        let arguments = arguments.iter().map(|argument| argument.replace("REMOTE:", &remote));
        output(Command::new(&rclone).args(["--config", "/dev/null", "--retries", "1"]).args(arguments))
    };
    run(&["copy", local.path().to_str().unwrap(), "REMOTE:"]);
    daemon.until_exactly(&[&format!("el9/{one}"), &format!("el9/{two}")]);
    let listed = run(&["lsf", "-R", "--files-only", "--exclude", "repodata/**", "REMOTE:"]);
    let mut listed: Vec<_> = listed.lines().collect();
    listed.sort_unstable();
    assert_eq!(listed, [format!("el9/{one}"), format!("el9/{two}")]);
    run(&["moveto", &format!("REMOTE:el9/{one}"), "REMOTE:el9/renamed.rpm"]);
    run(&["copyto", "REMOTE:el9/renamed.rpm", "REMOTE:el9/copy.rpm"]);
    run(&["deletefile", &format!("REMOTE:el9/{two}")]);
    daemon.until_exactly(&["el9/copy.rpm", "el9/renamed.rpm"]);
    run(&["moveto", "REMOTE:el9", "REMOTE:el10"]);
    daemon.until_exactly(&["el10/copy.rpm", "el10/renamed.rpm"]).matches_tree(tree.root()).unwrap();
    assert_eq!(
        run(&["cat", "REMOTE:el10/copy.rpm"]).len(),
        String::from_utf8_lossy(&Rpm::new("one").build()).len()
    );
    run(&["purge", "REMOTE:el10"]);
    daemon.until_exactly(&[]);
    assert!(!tree.path("el10").exists());
}

/// GNOME Files without its window: the same library and the same backend.
#[test]
fn gnome_files_backend_does_its_usual_work() {
    let (Some(gio), Some(_), Some(session)) =
        (clients::find("gio"), clients::gvfs(), clients::find("dbus-run-session"))
    else {
        return;
    };
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", "");
    let file = tree.write_beside("hello.rpm", &Rpm::new("hello").build());
    let home = tempfile::TempDir::new().unwrap();
    let share = format!("dav://{}/rpm", daemon.address());
    let script = format!(
        "set -eu; gio={gio:?}; file={file:?}; share={share}
         $gio mount $share/
         $gio mkdir $share/new
         $gio copy $file $share/new/hello.rpm
         $gio list $share/new/
         $gio move $share/new/hello.rpm $share/moved.rpm
         $gio cat $share/moved.rpm | cmp - $file
         $gio copy $share/moved.rpm $share/new/copied.rpm
         $gio remove $share/moved.rpm"
    );
    let mut command = Command::new(session);
    command.args(["--", "timeout", "90", "sh", "-c", &script]);
    command
        .env("HOME", home.path())
        .env("XDG_RUNTIME_DIR", home.path())
        .env_remove("DBUS_SESSION_BUS_ADDRESS");
    let listed = output(&mut command);
    assert!(listed.lines().any(|line| line == "hello.rpm"), "{listed}");
    daemon.until_exactly(&["new/copied.rpm"]).matches_tree(tree.root()).unwrap();
}

#[test]
fn cadaver_does_its_usual_work() {
    let Some(cadaver) = clients::find("cadaver") else { return };
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", "");
    let file = tree.write_beside("hello.rpm", &Rpm::new("hello").build());
    let run = |script: &str| {
        use std::io::Write;
        let home = tempfile::TempDir::new().unwrap();
        let mut child = Command::new(&cadaver)
            .arg(daemon.url())
            .env("HOME", home.path())
            .current_dir(tree.beside(""))
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let text = String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned();
        assert!(!text.contains("failed"), "{script}: {text}");
        text
    };
    run(&format!("mkcol new\nput {} new/hello.rpm\nmove new/hello.rpm new/moved.rpm\n", file.display()));
    daemon.until_exactly(&["new/moved.rpm"]);
    assert!(run("ls new\n").contains("moved.rpm"));
    run(
        "copy new/moved.rpm new/copied.rpm\nlock new/moved.rpm\ndiscover new/moved.rpm\nunlock new/moved.rpm\n",
    );
    daemon.until_exactly(&["new/copied.rpm", "new/moved.rpm"]);
    run(
        "propset new/moved.rpm colour blue\npropget new/moved.rpm colour\ndelete new/copied.rpm\nrmcol new\n",
    );
    daemon.until_exactly(&[]);
}

#[test]
fn a_mount_by_davfs2_is_a_directory_like_any_other() {
    let Some(mount) = clients::find("mount.davfs") else { return };
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", "");
    let home = tempfile::TempDir::new().unwrap();
    let (at, cache) = (home.path().join("mnt"), home.path().join("cache"));
    fs::create_dir(&at).unwrap();
    fs::create_dir(&cache).unwrap();
    for place in [home.path(), &cache] {
        // It drops root for a user of its own.
        fs::set_permissions(place, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    }
    let conf = home.path().join("davfs2.conf");
    let settings =
        format!("ask_auth 0\ndelay_upload 0\ncache_dir {}\nuse_locks 1\ndir_refresh 0\n", cache.display());
    fs::write(&conf, settings).unwrap();
    let options = format!("conf={},uid=0,gid=0", conf.display());
    let mounted = Command::new(mount).arg(daemon.url()).arg(&at).args(["-o", &options]).output().unwrap();
    if !mounted.status.success() {
        // It takes root, and a kernel that lets us.
        let why = String::from_utf8_lossy(&mounted.stderr).trim().replace('\n', " ");
        crate::world::skipped(format!(
            "a_mount_by_davfs2_is_a_directory_like_any_other: cannot mount: {why}"
        ));
        return;
    }
    let (one, two) = (Rpm::new("one"), Rpm::new("two"));
    let work = || -> std::io::Result<()> {
        fs::create_dir(at.join("sub"))?;
        fs::write(at.join("sub").join(one.file_name()), one.build())?;
        fs::write(at.join(two.file_name()), two.build())?;
        fs::rename(at.join(two.file_name()), at.join("sub/renamed.rpm"))
    };
    let done = work();
    let unmounted = Command::new("umount").arg(&at).status();
    done.unwrap();
    assert!(unmounted.unwrap().success());
    daemon.until_exactly(&[&format!("sub/{}", one.file_name()), "sub/renamed.rpm"]);
    tree.has_no_leftovers();
}

#[test]
fn a_scope_of_write_removes_nothing() {
    let tree = Tree::new();
    let (state, root) = (tree.beside("state"), tree.root());
    let config = write_config(
        &tree,
        &format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = {state:?}\n[repository.rpm]\npath = {root:?}\n\
             write = \"token\"\naccept = \"any\"\noverwrite = \"same\"\n"
        ),
    );
    let daemon = Daemon::serve_config(&config, "/rpm/");
    let token = |name: &str, scopes: &[&str]| {
        let mut add = vec!["token", "add", name, "--repository", "rpm", "--config", config.to_str().unwrap()];
        scopes.iter().for_each(|scope| add.extend(["--scope", scope]));
        let made = run(add);
        assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
        format!("Bearer {}", made.stdout.trim())
    };
    let (write, delete) = (token("w", &["write"]), token("d", &["write", "delete"]));
    let ask = |who: &str, method: &str, at: &str, to: &str, body: Option<&[u8]>| {
        let to = url(&daemon, to);
        daemon.request(method, at, &[("Authorization", who), ("Destination", &to)], body).status
    };
    let (p, q) = (Rpm::new("p").build(), Rpm::new("q").build());
    for (at, bytes) in [("p.rpm", &p), ("full/q.rpm", &q)] {
        assert_eq!(ask(&write, "PUT", at, "", Some(bytes)), 201);
    }
    for (at, text) in [("notes/a", "1"), ("notes/sub/b", "2"), ("file", "3")] {
        assert_eq!(ask(&write, "PUT", at, "", Some(text.as_bytes())), 201, "{at}");
    }
    assert_eq!(ask(&write, "MKCOL", "empty", "", None), 201);
    let copies =
        [("p.rpm", "full"), ("empty", "p.rpm"), ("file", "notes"), ("notes", "file"), ("full", "empty")];
    for (from, to) in copies {
        assert_eq!(ask(&write, "COPY", from, to, None), 403, "{from} over {to}");
    }
    for from in ["p.rpm", "full", "file"] {
        assert_eq!(ask(&write, "MOVE", from, "new", None), 403, "{from}");
    }
    // The right to delete does not outweigh the rule about packages, nor what does not get in.
    for (from, to) in [("p.rpm", "full"), ("empty", "p.rpm"), ("file", "full"), ("full", "p.rpm")] {
        for method in ["COPY", "MOVE"] {
            assert_eq!(ask(&delete, method, from, to, None), 409, "{method} {from} over {to}");
        }
    }
    assert_eq!(ask(&write, "PUT", "damaged", "", Some(&p[..p.len() - 9])), 201);
    assert_eq!(ask(&write, "MKCOL", "bad.rpm", "", None), 201);
    assert_eq!(ask(&write, "PUT", "bad.rpm/x", "", Some(b"x")), 201);
    for method in ["COPY", "MOVE"] {
        assert_eq!(ask(&delete, method, "damaged", "bad.rpm", None), 422, "{method}");
    }
    tree.write("notes/.hidden", b"nobody's to remove");
    assert_eq!(ask(&delete, "COPY", "file", "notes", None), 409);
    tree.remove("notes/.hidden");
    for (at, text) in [("notes/a", "1"), ("notes/sub/b", "2"), ("file", "3"), ("bad.rpm/x", "x")] {
        assert_eq!(fs::read_to_string(tree.path(at)).unwrap(), text, "{at} is still there");
    }
    assert_eq!((fs::read(tree.path("p.rpm")).unwrap(), fs::read(tree.path("full/q.rpm")).unwrap()), (p, q));
    // With it the copy takes the place whole.
    assert_eq!(ask(&delete, "COPY", "notes", "file", None), 204);
    assert_eq!(fs::read_to_string(tree.path("file/sub/b")).unwrap(), "2");
    assert_eq!(ask(&delete, "COPY", "notes/a", "file", None), 204);
    assert_eq!(fs::read_to_string(tree.path("file")).unwrap(), "1");
    assert_eq!(ask(&delete, "COPY", "full", "notes", None), 204);
    daemon.until_exactly(&["full/q.rpm", "notes/q.rpm", "p.rpm"]);
    assert_eq!(ask(&delete, "MOVE", "file", "bad.rpm", None), 415);
    assert_eq!(ask(&delete, "MOVE", "file", "empty", None), 204);
    assert!(fs::read_to_string(tree.path("empty")).unwrap() == "1" && !tree.path("file").exists());
}
