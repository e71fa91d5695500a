use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use super::world::World;
use crate::config::{RepositoryConfig, Symlinks, WriteAccess};
use crate::serve::Mount;

#[test]
fn a_file_is_served_whole_and_in_parts_whatever_its_size() {
    let world = World::new();
    for size in [0usize, 1, 65_536, 65_537, 262_144, 1_000_000] {
        let bytes: Vec<u8> = (0..size).map(|i| (i * 7 % 251) as u8).collect();
        fs::write(world.path("file.rpm"), &bytes).unwrap();
        let got = world.get("/rpm/file.rpm");
        assert_eq!((got.status, got.header("content-length")), (200, Some(size.to_string().as_str())));
        assert!(got.body == bytes, "{size}");
        let head = world.ask("HEAD", "/rpm/file.rpm", &[], b"");
        for name in
            ["content-length", "content-type", "etag", "last-modified", "accept-ranges", "cache-control"]
        {
            assert!(head.header(name).is_some(), "{name}");
            assert_eq!(head.header(name), got.header(name), "{size} {name}");
        }
        if size > 1 {
            let middle = size / 2;
            let part = world.ask(
                "GET",
                "/rpm/file.rpm",
                &[("Range", &format!("bytes={}-{middle}", middle / 2))],
                b"",
            );
            assert_eq!(part.status, 206);
            let expected = format!("bytes {}-{middle}/{size}", middle / 2);
            assert_eq!(part.header("content-range"), Some(expected.as_str()));
            assert!(part.body == bytes[middle / 2..=middle], "{size}");
        }
        let beyond = world.ask("GET", "/rpm/file.rpm", &[("Range", &format!("bytes={size}-"))], b"");
        let expected = format!("bytes */{size}");
        assert_eq!((beyond.status, beyond.header("content-range")), (416, Some(expected.as_str())));
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_breaks_the_answer_off() {
    let world = World::new();
    fs::write(world.path("file.rpm"), vec![1; 50_000_000]).unwrap();
    let mut client = world.connect();
    client.send("GET", "/rpm/file.rpm", &[], b"");
    // More than the sockets hold, so the server has not read it all.
    let head = client.response("HEAD");
    assert_eq!(head.status, 200);
    fs::File::options().write(true).open(world.path("file.rpm")).unwrap().set_len(1000).unwrap();
    let came = client.rest();
    assert!(came < 50_000_000, "{came} bytes cannot have come from what is left");
}

#[test]
fn links_are_read_as_far_as_the_setting_says() {
    for (symlinks, inside, outside) in
        [(Symlinks::Never, 200, 404), (Symlinks::Inside, 200, 404), (Symlinks::Anywhere, 200, 200)]
    {
        let world = World::with(|repository, _, _| repository.symlinks = symlinks);
        fs::write(world.outside().join("secret"), "secret").unwrap();
        fs::create_dir(world.path("sub")).unwrap();
        fs::write(world.path("sub/file"), "public").unwrap();
        symlink("sub/file", world.path("relative")).unwrap();
        symlink(world.path("sub/file"), world.path("absolute")).unwrap();
        symlink("sub", world.path("directory")).unwrap();
        symlink("../secret", world.path("escape")).unwrap();
        symlink(world.outside().join("secret"), world.path("escape-absolutely")).unwrap();
        symlink("..", world.path("up")).unwrap();
        let status = |path: &str| world.get(&format!("/rpm/{path}")).status;
        for path in ["relative", "absolute", "directory/file", "directory/"] {
            assert_eq!(status(path), inside, "{symlinks:?} {path}");
        }
        for path in ["escape", "escape-absolutely", "up/secret", "up/"] {
            assert_eq!(status(path), outside, "{symlinks:?} {path}");
        }
        let index = world.get("/rpm/").text();
        assert_eq!(index.contains("relative"), inside == 200, "{symlinks:?}");
        assert_eq!(index.contains("escape"), outside == 200, "{symlinks:?}");
    }
}

#[test]
fn what_is_no_file_is_not_found() {
    let world = World::new();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        world.path("fifo.rpm"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    // Were it opened as a file is, this would never come back.
    assert_eq!(world.get("/rpm/fifo.rpm").status, 404);
    assert!(!world.get("/rpm/").text().contains("fifo"));
    fs::write(world.path("plain"), "").unwrap();
    for path in ["plain/", "plain/x", "none", "none/", &"n".repeat(255)] {
        assert_eq!(world.get(&format!("/rpm/{path}")).status, 404, "{path}");
    }
    assert_eq!(world.get("/rpm/.createrepod/").status, 404);
    assert!(!world.get("/rpm/").text().contains("createrepod/"));
}

#[test]
fn before_the_first_publication_clients_are_told_to_come_again() {
    let world = World::new();
    let repomd = world.get("/rpm/repodata/repomd.xml");
    assert_eq!((repomd.status, repomd.header("retry-after")), (503, Some("1")));
    assert_eq!(world.get("/-/health").status, 503);
    assert_eq!(world.get("/-/ready").status, 503);
    // What an earlier daemon or createrepo_c left is better than nothing.
    fs::create_dir(world.path("repodata")).unwrap();
    fs::write(world.path("repodata/repomd.xml"), "<repomd/>").unwrap();
    let repomd = world.get("/rpm/repodata/repomd.xml");
    assert_eq!((repomd.status, repomd.text().as_str()), (200, "<repomd/>"));
    fs::remove_dir_all(world.path("repodata")).unwrap();

    let world = world.published();
    assert_eq!(world.get("/-/health").status, 200);
    assert_eq!(world.get("/-/ready").status, 200);
    let repomd = world.get("/rpm/repodata/repomd.xml");
    assert_eq!((repomd.status, repomd.header("cache-control")), (200, Some("no-cache")));
    assert_eq!(repomd.body, fs::read(world.path("repodata/repomd.xml")).unwrap());
    let tag = repomd.header("etag").unwrap();
    assert_eq!(world.ask("GET", "/rpm/repodata/repomd.xml", &[("If-None-Match", tag)], b"").status, 304);
}

#[test]
fn a_broken_repository_is_named_and_the_others_go_on() {
    let world = World::new().published();
    let broken =
        RepositoryConfig { write: WriteAccess::Anyone, ..RepositoryConfig::new("broken", "/nowhere") };
    let secret = "/nowhere/at/all: permission denied";
    world.site.replace(vec![
        Mount { config: Arc::new(broken), door: Err(secret.into()) },
        Mount { config: Arc::new(world.handle.config().clone()), door: Ok(world.handle.clone()) },
    ]);
    for path in ["/broken/", "/broken/a.rpm", "/broken/repodata/repomd.xml"] {
        let answer = world.get(path);
        assert_eq!(answer.status, 503, "{path}");
        assert!(!answer.text().contains(secret));
    }
    assert_eq!(world.put("/broken/a.rpm", b"x").status, 503);
    assert_eq!(world.get("/rpm/").status, 200);
    assert_eq!(world.get("/-/health").status, 200);
    let ready = world.get("/-/ready");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("broken"), "{}", ready.text());
    let status: serde_json::Value = serde_json::from_slice(&world.get("/-/status").body).unwrap();
    assert_eq!(status["repositories"][0]["name"], "broken");
    assert_eq!(status["repositories"][0]["trouble"], secret);
    assert_eq!(status["repositories"][1]["packages"], 0);
    let front = world.get("/").text();
    assert!(
        front.contains("\"rpm/\"") && front.contains("\"broken/\"") && !front.contains(secret),
        "{front}"
    );
}

#[test]
fn the_repo_file_names_the_address_that_was_reached() {
    let world = World::new();
    let text = world.get("/rpm/rpm.repo").text();
    assert!(text.contains(&format!("baseurl=http://{}/rpm/\n", world.address)), "{text}");
}

#[test]
fn a_directory_without_its_slash_leads_to_the_one_with_it() {
    let world = World::new();
    fs::create_dir_all(world.path("sub dir/x")).unwrap();
    for (path, target) in [
        ("/rpm", "/rpm/"),
        ("/rpm/sub%20dir", "/rpm/sub%20dir/"),
        ("/rpm/sub%20dir/x?query", "/rpm/sub%20dir/x/"),
        ("//rpm/sub%20dir", "/rpm/sub%20dir/"),
    ] {
        let answer = world.get(path);
        assert_eq!((answer.status, answer.header("location")), (301, Some(target)), "{path}");
    }
}

#[test]
fn a_hash_in_a_target_is_refused_and_nothing_before_it_is_meant() {
    let world = World::new().published();
    fs::create_dir(world.path("folder")).unwrap();
    fs::write(world.path("folder/file"), "stays").unwrap();
    let mut client = world.connect();
    for _ in 0..3 {
        for (method, path) in
            [("DELETE", "/rpm/folder/#ment"), ("GET", "/rpm/repodata/repomd.xml#x"), ("GET", "/#")]
        {
            client.send(method, path, &[], b"");
            assert_eq!(client.response(method).status, 400, "{method} {path}");
        }
        client.send("GET", "/rpm/folder/file", &[("Referer", "http://h/#x HTTP/1.1")], b"");
        assert_eq!(client.response("GET").status, 200);
    }
}
