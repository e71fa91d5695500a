//! What a build pipeline learns from the answer to its PUT, and what may never go wrong with it.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::Barrier;

use crate::world::clients::{self, Dnf};
use crate::world::daemon::{Publications, program, write_config};
use crate::world::tree::build_all;
use crate::world::{Daemon, PATIENCE, Rpm, Tree, eventually, http, skipped};

fn one_line(response: &http::Response) -> String {
    let text = response.text();
    let line = text.trim_end();
    assert!(!line.is_empty() && !line.contains('\n'), "the reason is one line: {text:?}");
    line.to_owned()
}

fn state(response: &http::Response) -> &str {
    response.header("Createrepod-State").unwrap_or_else(|| panic!("no Createrepod-State: {response:?}"))
}

fn revision(response: &http::Response) -> u64 {
    let text = response
        .header("Createrepod-Revision")
        .unwrap_or_else(|| panic!("no Createrepod-Revision: {response:?}"));
    text.parse().unwrap()
}

#[test]
fn a_new_package_is_201_and_the_same_bytes_again_are_200() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    let rpm = Rpm::new("hello");
    let name = rpm.file_name();
    let first = daemon.put(&name, &rpm.build());
    assert_eq!(first.status, 201, "{}", first.text());
    assert!(["pending", "indexed"].contains(&state(&first)));
    revision(&first);
    assert_eq!(fs::read(tree.path(&name)).unwrap(), rpm.build());
    daemon.until_exactly(&[&name]).matches_tree(tree.root()).unwrap();

    let publications = Publications::count_in(&tree);
    let again = daemon.put_and_wait(&name, &rpm.build());
    assert_eq!((again.status, state(&again)), (200, "indexed"), "{}", again.text());
    assert_eq!(publications.so_far(), 0, "the same bytes again change nothing");
    tree.has_no_leftovers();
}

#[test]
fn prefer_wait_answers_when_the_package_is_visible() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    for number in 0..5 {
        let rpm = Rpm::new(format!("waited{number}"));
        let answer = daemon.put_and_wait(&rpm.file_name(), &rpm.build());
        // Read at once: no condition is waited for here.
        let metadata = daemon.metadata();
        assert_eq!((answer.status, state(&answer)), (201, "indexed"), "{}", answer.text());
        let applied = answer
            .header("Preference-Applied")
            .unwrap_or_else(|| panic!("no Preference-Applied: {answer:?}"));
        assert!(applied.starts_with("wait"), "{applied}");
        assert!(metadata.has(&rpm.file_name()), "{:?}", metadata.hrefs());
        assert_eq!(revision(&answer), metadata.revision);
    }
}

#[test]
fn an_uploaded_package_is_not_read_again() {
    const PAYLOAD: usize = 24 << 20;
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    let (big, before) = (Rpm::new("big").payload(PAYLOAD).build(), daemon.bytes_read());
    assert_eq!(daemon.put_and_wait("big.rpm", &big).status, 201);
    // Longer than any second look at a young file waits.
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert!(daemon.metadata().has("big.rpm"));
    let read = daemon.bytes_read() - before;
    assert!(read < PAYLOAD as u64 / 4, "{read} bytes were read from files");
    // What comes by file has to be read, so the measure measures.
    tree.write("copied.rpm", &Rpm::new("copied").payload(PAYLOAD).build());
    daemon.until_exactly(&["big.rpm", "copied.rpm"]);
    assert!(daemon.bytes_read() - before > PAYLOAD as u64);
}

#[test]
fn curl_uploads_a_file_into_a_folder_and_a_stream_to_a_name() {
    let Some(curl) = clients::find("curl") else { return };
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    let rpm = Rpm::new("curled");
    let file = tree.write_beside(rpm.file_name(), &rpm.build());
    let curl = |arguments: &[&str], input: Option<&std::path::Path>| {
        let mut command = Command::new(&curl);
        command.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}"]).args(arguments);
        if let Some(input) = input {
            command.stdin(fs::File::open(input).unwrap());
        }
        clients::output(&mut command)
    };
    let file_text = file.to_str().unwrap();
    assert_eq!(curl(&["-T", file_text, &daemon.url()], None), "201");
    // Parents are created; `-T -` sends chunks.
    let deep = daemon.url() + "el9/x86_64/stream.rpm";
    assert_eq!(
        curl(&["-T", "-", &deep], Some(&tree.write_beside("s.rpm", &Rpm::new("stream").build()))),
        "201"
    );
    daemon.until_exactly(&["curled-1.0-1.noarch.rpm", "el9/x86_64/stream.rpm"]);
    // A large file: curl asks with Expect: 100-continue.
    let large = tree.write_beside("large.rpm", &Rpm::new("large").payload(3_000_000).build());
    assert_eq!(curl(&["-T", large.to_str().unwrap(), &daemon.url()], None), "201");
    daemon.until("large.rpm", |metadata| metadata.has("large.rpm")).matches_tree(tree.root()).unwrap();
}

#[test]
fn a_chunked_upload_is_fine() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    let rpm = Rpm::new("chunked").payload(200_000);
    let bytes = rpm.build();
    let pieces: Vec<&[u8]> = bytes.chunks(7_919).collect();
    let path = daemon.at(&rpm.file_name());
    let answer = http::send_chunked(daemon.address(), "PUT", &path, &[("Prefer", "wait=60")], &pieces);
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(fs::read(tree.path(rpm.file_name())).unwrap(), bytes);
    assert!(daemon.metadata().has(&rpm.file_name()));
}

#[test]
fn other_bytes_under_a_name_that_is_taken_are_409_and_the_old_file_stays() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    let rpm = Rpm::new("taken");
    let name = rpm.file_name();
    assert_eq!(daemon.put(&name, &rpm.build()).status, 201);
    let other = daemon.put(&name, &rpm.clone().salt(1).build());
    assert_eq!(other.status, 409);
    assert!(one_line(&other).contains("taken"), "{}", other.text());
    // Another version under that name is other bytes too.
    assert_eq!(daemon.put(&name, &Rpm::new("taken").version("2.0").build()).status, 409);
    // The same NEVRA under another name.
    let elsewhere = daemon.put("elsewhere/x.rpm", &rpm.clone().salt(2).build());
    assert_eq!(elsewhere.status, 409, "{}", elsewhere.text());
    assert!(one_line(&elsewhere).contains(&name), "it names the file in the way: {}", elsewhere.text());
    assert_eq!(fs::read(tree.path(&name)).unwrap(), rpm.build());
    assert!(!tree.path("elsewhere/x.rpm").exists());
    daemon.until_exactly(&[&name]);
    tree.has_no_leftovers();
}

#[test]
fn overwrite_allow_replaces_with_204_and_deny_refuses_even_the_same_bytes() {
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", "overwrite = \"allow\"");
    let rpm = Rpm::new("again");
    assert_eq!(daemon.put("again.rpm", &rpm.build()).status, 201);
    let replaced = daemon.put_and_wait("again.rpm", &rpm.clone().salt(1).build());
    assert_eq!((replaced.status, state(&replaced)), (204, "indexed"));
    daemon.metadata().matches_tree(tree.root()).unwrap();
    assert_eq!(fs::read(tree.path("again.rpm")).unwrap(), rpm.clone().salt(1).build());
    daemon.stop();

    let daemon = Daemon::configured(&tree, "", "overwrite = \"deny\"");
    assert_eq!(daemon.put("again.rpm", &rpm.clone().salt(1).build()).status, 409);
    daemon.stop();
}

#[test]
fn an_upload_on_a_folder_is_405_and_says_what_to_do() {
    let tree = Tree::new();
    fs::create_dir(tree.path("folder")).unwrap();
    fs::create_dir(tree.path("folder.rpm")).unwrap();
    let daemon = Daemon::serve(&tree);
    let bytes = Rpm::new("a").build();
    for location in ["", "folder", "folder/", "folder.rpm"] {
        let answer = daemon.put(location, &bytes);
        assert_eq!(answer.status, 405, "{location:?}: {}", answer.text());
        assert!(answer.header("Allow").is_some(), "405 names the methods: {answer:?}");
        assert!(one_line(&answer).contains("file name"), "{}", answer.text());
    }
    daemon.until_exactly(&[]);
}

#[test]
fn what_is_not_a_package_is_415() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    for (location, body) in
        [("text.rpm", b"this is a text\n".as_slice()), ("notes.txt", b"notes"), ("empty.rpm", b"")]
    {
        let answer = daemon.put(location, body);
        assert_eq!(answer.status, 415, "{location}: {}", answer.text());
        one_line(&answer);
        assert!(!tree.path(location).exists());
    }
    // A package under another suffix would never be indexed.
    assert_eq!(daemon.put("package.zip", &Rpm::new("a").build()).status, 415);
    tree.has_no_leftovers();
}

#[test]
fn a_damaged_package_is_422_and_says_what_is_wrong() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    let whole = Rpm::new("damaged").payload(50_000).build();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let middle = whole.len() - 25_000;
    let mut payload = whole.clone();
    payload[middle] ^= 0x40;
    let cut = whole[..whole.len() - 1_000].to_vec();
    let mut longer = whole.clone();
    longer.extend_from_slice(b"more");
    for (what, bytes) in [
        ("flipped", flipped),
        ("payload", payload),
        ("cut", cut),
        ("longer", longer),
        ("header", whole[..2_000].to_vec()),
    ] {
        let answer = daemon.put("damaged.rpm", &bytes);
        assert_eq!(answer.status, 422, "{what}: {}", answer.text());
        one_line(&answer);
        assert!(!tree.path("damaged.rpm").exists());
    }
    assert_eq!(daemon.put("damaged.rpm", &whole).status, 201);
    daemon.until_exactly(&["damaged.rpm"]);
    tree.has_no_leftovers();
}

#[test]
fn a_stated_digest_that_does_not_fit_is_refused() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    let bytes = Rpm::new("digest").build();
    let wrong = format!("SHA256:{}", "0".repeat(64));
    let answer = daemon.request("PUT", "digest.rpm", &[("OC-Checksum", &wrong)], Some(&bytes));
    assert!((400..500).contains(&answer.status), "{answer:?}");
    assert!(!tree.path("digest.rpm").exists());
    let wrong = format!("sha-256=:{}:", "A".repeat(43) + "=");
    let answer = daemon.request("PUT", "digest.rpm", &[("Content-Digest", &wrong)], Some(&bytes));
    assert!((400..500).contains(&answer.status), "{answer:?}");
    assert!(!tree.path("digest.rpm").exists());
    let right = format!("SHA256:{}", crate::world::metadata::digest("sha256", &bytes).unwrap());
    assert_eq!(daemon.request("PUT", "digest.rpm", &[("OC-Checksum", &right)], Some(&bytes)).status, 201);
}

#[test]
fn if_none_match_star_is_412_when_the_name_is_taken() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    let bytes = Rpm::new("once").build();
    let only_new = [("If-None-Match", "*")];
    assert_eq!(daemon.request("PUT", "once.rpm", &only_new, Some(&bytes)).status, 201);
    assert_eq!(daemon.request("PUT", "once.rpm", &only_new, Some(&bytes)).status, 412);
}

#[test]
fn more_than_max_upload_is_413_also_when_the_length_is_not_announced() {
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "max_upload = \"100k\"", "");
    let small = Rpm::new("small").build();
    let large = Rpm::new("large").payload(200_000).build();
    assert_eq!(daemon.put("large.rpm", &large).status, 413);
    let pieces: Vec<&[u8]> = large.chunks(10_000).collect();
    let path = daemon.at("large.rpm");
    // The server may hang up on a client that goes on sending.
    let answer =
        std::panic::catch_unwind(|| http::send_chunked(daemon.address(), "PUT", &path, &[], &pieces));
    assert!(answer.map_or(true, |answer| answer.status == 413));
    assert!(!tree.path("large.rpm").exists());
    assert_eq!(daemon.put("small.rpm", &small).status, 201);
    tree.has_no_leftovers();
}

#[test]
fn nothing_can_be_written_into_the_metadata_or_the_daemons_own_places_or_hidden_names() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    daemon.until_exactly(&[]);
    let bytes = Rpm::new("intruder").build();
    for location in [
        "repodata/x.rpm",
        ".createrepod/x.rpm",
        ".createrepod/incoming/x.rpm",
        "sub/repodata/x.rpm",
        ".x.rpm",
        "sub/.h/x.rpm",
    ] {
        let answer = daemon.put(location, &bytes);
        assert!((400..500).contains(&answer.status), "{location}: {answer:?}");
        assert!(!tree.path(location).exists(), "{location}");
    }
    for path in [
        "/rpm/../x.rpm",
        "/rpm/%2e%2e/x.rpm",
        "/rpm/a/..%2f..%2fx.rpm",
        "/rpm/a%00b.rpm",
        "/x.rpm",
        "/other/x.rpm",
        "/-/x.rpm",
    ] {
        let answer = http::send(daemon.address(), "PUT", path, &[], Some(&bytes));
        assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
    }
    assert!(!tree.beside("x.rpm").exists());
    for (method, location) in
        [("DELETE", "repodata/repomd.xml"), ("DELETE", ".createrepod/lock"), ("DELETE", "")]
    {
        let answer = daemon.request(method, location, &[], None);
        assert!((400..500).contains(&answer.status), "{method} {location}: {answer:?}");
    }
    daemon.until_exactly(&[]);
}

#[test]
fn an_upload_through_a_symlink_does_not_leave_the_tree() {
    let tree = Tree::new();
    fs::create_dir(tree.beside("outside")).unwrap();
    std::os::unix::fs::symlink(tree.beside("outside"), tree.path("out")).unwrap();
    std::os::unix::fs::symlink(tree.beside("outside/target.rpm"), tree.path("link.rpm")).unwrap();
    let daemon = Daemon::serve(&tree);
    let bytes = Rpm::new("escape").build();
    let answer = daemon.put("out/x.rpm", &bytes);
    assert!((400..500).contains(&answer.status), "{answer:?}");
    daemon.put("link.rpm", &bytes);
    assert_eq!(fs::read_dir(tree.beside("outside")).unwrap().count(), 0);
}

#[test]
fn zero_configuration_takes_writes_from_local_clients_only() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    let bytes = Rpm::new("local").build();
    let port = daemon.address().port();
    let own = format!("http://127.0.0.1:{port}");
    for headers in [
        [("Host", "repo.example.com")],
        [("Forwarded", "for=192.0.2.1")],
        [("X-Forwarded-For", "192.0.2.1")],
        [("Via", "1.1 proxy")],
        [("Origin", "http://evil.example.com")],
    ] {
        // Whatever is asked of a name that is not this machine's is refused (DNS rebinding); otherwise reading stays open.
        let (refused, read) = if headers[0].0 == "Host" { (421, 421) } else { (403, 200) };
        let answer = daemon.request("PUT", "local.rpm", &headers, Some(&bytes));
        assert_eq!(answer.status, refused, "{headers:?}: {}", answer.text());
        one_line(&answer);
        let answer = daemon.request("DELETE", "local.rpm", &headers, None);
        assert_eq!(answer.status, refused, "{headers:?}: {}", answer.text());
        let answer = daemon.request("GET", "repodata/repomd.xml", &headers, None);
        assert_eq!(answer.status, read, "{headers:?}");
    }
    assert!(!tree.path("local.rpm").exists());
    let host = format!("localhost:{port}");
    let fine = [("Host", host.as_str())];
    assert_eq!(daemon.request("PUT", "local.rpm", &fine, Some(&bytes)).status, 201);
    assert_eq!(daemon.request("PUT", "local.rpm", &[("Origin", own.as_str())], Some(&bytes)).status, 200);
}

#[test]
fn a_repository_that_takes_no_writes_answers_403_or_405() {
    let tree = Tree::new();
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = \"{}\"\n[repository.rpm]\npath = \"{}\"\nwrite = \"off\"\n",
        tree.beside("state").display(),
        tree.root().display()
    );
    let daemon = Daemon::serve_config(&write_config(&tree, &text), "/rpm/");
    let answer = daemon.put("a.rpm", &Rpm::new("a").build());
    assert!(matches!(answer.status, 403 | 405), "{answer:?}");
    one_line(&answer);
    assert!(!tree.path("a.rpm").exists());
}

#[test]
fn delete_removes_a_package_and_keeps_it_fetchable() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    let rpm = Rpm::new("deleted");
    let name = rpm.file_name();
    assert_eq!(daemon.put_and_wait(&name, &rpm.build()).status, 201);
    let gone = daemon.request("DELETE", &name, &[], None);
    assert_eq!(gone.status, 204, "{}", gone.text());
    assert!(!tree.path(&name).exists());
    daemon.until_exactly(&[]);
    // Clients that hold older metadata still get it, until its grace has run out.
    let kept = daemon.get(&name);
    assert_eq!((kept.status, kept.body), (200, rpm.build()));
    assert!(!daemon.get("").text().contains(&name), "but it is not listed");
    assert_eq!(daemon.request("DELETE", "never-there.rpm", &[], None).status, 404);
    // The name is free again, for other bytes too.
    assert_eq!(daemon.put_and_wait(&name, &rpm.clone().salt(1).build()).status, 201);
    assert_eq!(daemon.get(&name).body, rpm.salt(1).build());
    daemon.until_exactly(&[&name]);
}

#[test]
fn an_aborted_upload_leaves_nothing_and_the_old_file_untouched() {
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", "overwrite = \"allow\"");
    let old = Rpm::new("old").build();
    assert_eq!(daemon.put_and_wait("old.rpm", &old).status, 201);
    let before = daemon.metadata();
    let new = Rpm::new("old").version("2.0").payload(500_000).build();
    let open: Vec<_> = ["old.rpm", "new.rpm", "deep/new.rpm"]
        .iter()
        .flat_map(|location| [(location, 10), (location, new.len() / 2), (location, new.len() - 1)])
        .map(|(location, sent)| {
            http::begin_upload(daemon.address(), &daemon.at(location), new.len(), &new[..sent])
        })
        .collect();
    // While they hang, nothing of them can be seen.
    assert_eq!(daemon.get("new.rpm").status, 404);
    assert_eq!(daemon.get("old.rpm").body, old);
    assert_eq!(
        tree.names_in(""),
        if tree.path("deep").exists() { vec!["deep", "old.rpm"] } else { vec!["old.rpm"] }
    );
    drop(open);
    eventually(PATIENCE, "nothing is left of the aborted uploads", || {
        (tree.leftovers().is_empty() && !daemon.stages_in(&tree)).then_some(())
    });
    assert_eq!(fs::read(tree.path("old.rpm")).unwrap(), old);
    tree.add(&Rpm::new("last"));
    let after = daemon.until("the last one", |metadata| metadata.has("last-1.0-1.noarch.rpm"));
    assert_eq!(after.packages.len(), 2, "{:?}", after.hrefs());
    assert_eq!(after.package("old.rpm"), before.package("old.rpm"));
}

#[test]
fn of_fifty_parallel_uploads_of_one_nevra_exactly_one_is_201() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    // All under one name; then each under its own.
    for (round, own_names) in [false, true].into_iter().enumerate() {
        let bodies: Vec<_> = (0..50)
            .map(|salt| Rpm::new(format!("raced{round}")).salt(salt).payload(20_000).build())
            .collect();
        let barrier = Barrier::new(bodies.len());
        let location = |number: usize| {
            if own_names { format!("copy{number}/raced{round}.rpm") } else { format!("raced{round}.rpm") }
        };
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let (daemon, barrier, location) = (&daemon, &barrier, &location);
            let uploads: Vec<_> = bodies
                .iter()
                .enumerate()
                .map(|(number, body)| {
                    scope.spawn(move || {
                        barrier.wait();
                        daemon.put(&location(number), body).status
                    })
                })
                .collect();
            uploads.into_iter().map(|upload| upload.join().unwrap()).collect()
        });
        let mut counts = BTreeMap::new();
        for status in &statuses {
            *counts.entry(*status).or_insert(0) += 1;
        }
        assert_eq!(counts, BTreeMap::from([(201, 1), (409, 49)]));
        let winner = statuses.iter().position(|status| *status == 201).unwrap();
        let name = location(winner);
        assert_eq!(fs::read(tree.path(&name)).unwrap(), bodies[winner]);
        let metadata = daemon.until("the winner", |metadata| metadata.has(&name));
        assert_eq!(metadata.packages.len(), round + 1, "{:?}", metadata.hrefs());
        metadata.matches_tree(tree.root()).unwrap();
        tree.has_no_leftovers();
    }
}

#[test]
fn two_hundred_parallel_uploads_are_all_201_and_all_in_the_metadata() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    daemon.until_exactly(&[]);
    let publications = Publications::count_in(&tree);
    let rpms: Vec<_> =
        (0..200).map(|number| Rpm::new(format!("parallel{number:03}")).payload(10_000)).collect();
    let built = build_all(&rpms);
    let barrier = Barrier::new(built.len());
    let refused: Vec<String> = std::thread::scope(|scope| {
        let (daemon, barrier) = (&daemon, &barrier);
        let uploads: Vec<_> = built
            .iter()
            .map(|(name, body)| {
                scope.spawn(move || {
                    barrier.wait();
                    let answer = daemon.put_and_wait(name, body);
                    (answer.status != 201 || state(&answer) != "indexed")
                        .then(|| format!("{name}: {answer:?}"))
                })
            })
            .collect();
        uploads.into_iter().filter_map(|upload| upload.join().unwrap()).collect()
    });
    assert_eq!(refused, Vec::<String>::new());
    let metadata = daemon.metadata();
    assert_eq!(metadata.packages.len(), built.len());
    metadata.matches_tree(tree.root()).unwrap();
    let made = publications.so_far();
    assert!(made < 100, "{made} publications for 200 uploads at once");
}

#[test]
fn awkward_names_work_from_upload_to_dnf() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    let names = [
        "with space.rpm",
        "per%cent%41.rpm",
        "hash#tag.rpm",
        "plus+plus.rpm",
        "amp&er<sand>.rpm",
        "ünïcode-日本.rpm",
        "tilde~caret^.rpm",
        "quote'\"s.rpm",
        "question?mark=1.rpm",
        "dir with #%+& é/inner.rpm",
        "semi;colon:at@.rpm",
    ];
    let mut wanted = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let rpm = Rpm::new(format!("awkward{number}"));
        let answer = daemon.put_and_wait(name, &rpm.build());
        assert_eq!(answer.status, 201, "{name}: {}", answer.text());
        assert!(tree.path(name).is_file(), "{name}");
        let got = daemon.get(name);
        assert_eq!((got.status, got.body), (200, rpm.build()), "{name}");
        wanted.push((crate::world::metadata::digest("sha256", &rpm.build()).unwrap(), *name));
    }
    let metadata = daemon.metadata();
    assert_eq!(metadata.packages.len(), names.len());
    // And by file drop.
    tree.write("dropped #%&+ é.rpm", &Rpm::new("dropped").build());
    daemon.until("the dropped one", |metadata| metadata.packages.len() == names.len() + 1);
    let Some(dnf) = Dnf::find() else { return };
    assert_eq!(dnf.nevras(&daemon.url()).len(), names.len() + 1);
    let downloaded = dnf.download_all(&daemon.url());
    for (digest, name) in wanted {
        assert!(downloaded.contains(&digest), "dnf downloaded {name}");
    }
    assert_eq!(downloaded.len(), names.len() + 1);
}

#[test]
fn a_full_disk_is_507_and_what_was_there_stays() {
    let Some(unshare) = clients::find("unshare") else { return };
    let tree = Tree::new();
    let config = write_config(
        &tree,
        &format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = {:?}\n\
             [repository.rpm]\npath = {:?}\nwrite = \"anyone\"\n",
            tree.beside("state"),
            tree.root(),
        ),
    );
    // A file system of 3 MB, which nobody else sees.
    let small = |program: &std::ffi::OsStr| {
        let mut command = Command::new(&unshare);
        let script = "mount -t tmpfs -o size=3m small \"$0\" && exec \"$@\"";
        command.args(["-Urm", "sh", "-c", script]).arg(tree.root()).arg(program);
        command
    };
    if !small("true".as_ref()).output().is_ok_and(|tried| tried.status.success()) {
        skipped("user namespaces are not allowed here: an upload to a full disk");
        return;
    }
    let mut command = small(program().get_program());
    command.args(["serve".as_ref(), "--config".as_ref(), config.as_os_str()]);
    let daemon = Daemon::start_as(command, "/rpm/");
    let first = Rpm::new("first");
    assert_eq!(daemon.put_and_wait(&first.file_name(), &first.build()).status, 201);
    let before = daemon.get("repodata/repomd.xml").body;

    let huge = Rpm::new("huge").payload(8_000_000);
    let refused = daemon.put(&huge.file_name(), &huge.build());
    assert_eq!(refused.status, 507, "{}", refused.text());
    let told = one_line(&refused);
    assert!(told.contains("the disk is full"), "{told}");
    assert!(daemon.log().contains(tree.root().to_str().unwrap()), "the log says where: {}", daemon.log());
    assert_eq!(daemon.get("repodata/repomd.xml").body, before, "what was published stays");
    assert_eq!(daemon.get(&huge.file_name()).status, 404);

    // Its bytes are free again.
    let next = Rpm::new("next").payload(500_000);
    let answer = daemon.put_and_wait(&next.file_name(), &next.build());
    assert_eq!((answer.status, state(&answer)), (201, "indexed"), "{}", answer.text());
    daemon.until_exactly(&[&first.file_name(), &next.file_name()]);
    daemon.stop();
}
