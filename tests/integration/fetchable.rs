//! What is listed can be fetched, and what a directory of packages holds besides is served.

use std::os::unix::fs::symlink;

use crate::world::daemon::{configuration, write_config};
use crate::world::{Daemon, Metadata, Rpm, Tree, http};

/// Every package that the metadata below `url` lists answers with its own bytes.
fn all_can_be_fetched(daemon: &Daemon, tree: &Tree, url: &str) -> Vec<String> {
    let metadata = Metadata::fetch(daemon.address(), url).unwrap();
    let mut hrefs: Vec<String> = metadata.packages.iter().map(|package| package.href.clone()).collect();
    for href in &hrefs {
        let answer = http::send(daemon.address(), "GET", &format!("{url}{}", http::encode(href)), &[], None);
        assert_eq!(answer.status, 200, "{href}");
        assert_eq!(answer.body, std::fs::read(tree.path(href)).unwrap(), "{href}");
    }
    hrefs.sort();
    hrefs
}

#[test]
fn directories_at_the_servers_own_urls_are_left_out_and_named() {
    let tree = Tree::new();
    tree.write("a.rpm", &Rpm::new("a").build());
    tree.write("@2024/a.rpm", &Rpm::new("b").build());
    tree.write("@testing/c.rpm", &Rpm::new("c").build());
    tree.write("-/d.rpm", &Rpm::new("d").build());
    tree.write("sub/@1/-/e.rpm", &Rpm::new("e").build());
    let daemon = Daemon::serve(&tree);
    daemon.until("two packages", |metadata| metadata.packages.len() == 2);
    assert_eq!(all_can_be_fetched(&daemon, &tree, "/rpm/"), ["a.rpm", "sub/@1/-/e.rpm"]);
    for href in ["@2024/a.rpm", "@testing/c.rpm", "-/d.rpm"] {
        assert_eq!(daemon.get(href).status, if href == "@2024/a.rpm" { 200 } else { 404 }, "{href}");
        assert_eq!(daemon.put(href, &Rpm::new("new").build()).status, 403, "{href}");
    }
    // The URL of publication 2024 has what lies below the repository's own.
    assert_eq!(daemon.get("@2024/a.rpm").body, std::fs::read(tree.path("a.rpm")).unwrap());
    let status = daemon.status().to_string();
    for named in ["@2024", "@testing", "\"-\""] {
        assert!(status.contains(named), "{named} is not named: {status}");
    }
    // Another look finds them again, and one that came alone.
    tree.write("@2024/f.rpm", &Rpm::new("f").build());
    tree.add(&Rpm::new("g"));
    daemon.until("three packages", |metadata| metadata.packages.len() == 3);
    all_can_be_fetched(&daemon, &tree, "/rpm/");
    daemon.stop();
}

#[test]
fn what_another_repositorys_url_covers_is_left_out_until_that_repository_goes() {
    let (tree, other) = (Tree::new(), Tree::new());
    tree.write("9/a.rpm", &Rpm::new("a").build());
    tree.write("90/b.rpm", &Rpm::new("b").build());
    other.write("c.rpm", &Rpm::new("c").build());
    let head = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = \"{}\"\n",
        tree.beside("state").display()
    );
    let outer = format!("{head}[repository.a]\npath = \"{}\"\nurl = \"/el/\"\n", tree.root().display());
    let both = format!("{outer}[repository.b]\npath = \"{}\"\nurl = \"/el/9/\"\n", other.root().display());
    let config = write_config(&tree, &both);
    let daemon = Daemon::serve_config(&config, "/el/");
    daemon.until("one package", |metadata| metadata.packages.len() == 1);
    assert_eq!(all_can_be_fetched(&daemon, &tree, "/el/"), ["90/b.rpm"]);
    assert_eq!(all_can_be_fetched(&daemon, &other, "/el/9/"), ["c.rpm"]);
    let status = daemon.status().to_string();
    assert!(status.contains("repository \\\"b\\\""), "{status}");

    write_config(&tree, &outer);
    daemon.until("two packages", |metadata| metadata.packages.len() == 2);
    assert_eq!(all_can_be_fetched(&daemon, &tree, "/el/"), ["9/a.rpm", "90/b.rpm"]);
    write_config(&tree, &both);
    daemon.until("one package again", |metadata| metadata.packages.len() == 1);
    daemon.stop();
}

#[test]
fn what_installers_read_is_served_and_taken_and_other_hidden_things_are_not() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    tree.write(".treeinfo", b"[general]\nversion = 9\n");
    tree.write("os/.discinfo", b"1700000000\n");
    for private in [".htpasswd", ".git/config", ".a.rpm", "._a", ".DS_Store"] {
        tree.write(private, b"private");
    }
    let daemon = Daemon::serve_config(&configuration(&tree, "", "accept = \"any\"\n"), "/rpm/");
    assert_eq!(daemon.get(".treeinfo").body, b"[general]\nversion = 9\n");
    assert_eq!(daemon.get("os/.discinfo").status, 200);
    let listing = daemon.get("").text();
    assert!(
        listing.contains(".treeinfo") && !listing.contains(".git") && !listing.contains(".ht"),
        "{listing}"
    );
    for private in
        [".htpasswd", ".git/config", ".git/", ".git", ".a.rpm", "._a", ".DS_Store", ".createrepod/lock"]
    {
        assert_eq!(daemon.get(private).status, 404, "{private}");
        assert!(matches!(daemon.put(private, b"x").status, 403 | 405), "{private}");
        assert!(matches!(daemon.request("DELETE", private, &[], None).status, 403 | 404), "{private}");
    }
    assert_eq!(daemon.request("MKCOL", ".new/", &[], None).status, 403);
    assert_eq!(daemon.put("9/.treeinfo", b"[general]\n").status, 201);
    assert_eq!(daemon.get("9/.treeinfo").body, b"[general]\n");
    let to = [("Destination", daemon.at(".moved"))];
    let to: Vec<(&str, &str)> = to.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(daemon.request("MOVE", "os/", &to, None).status, 403, "no directory becomes hidden");
    // A folder goes with all that can be fetched from it.
    assert_eq!(daemon.request("DELETE", "9/", &[], None).status, 204);
    assert!(!tree.path("9").exists());
    daemon.stop();
}

#[test]
fn a_link_to_a_package_can_be_fetched_and_lists_it_once() {
    for symlinks in ["never", "inside", "anywhere"] {
        let tree = Tree::new();
        tree.write("p/hello-1.rpm", &Rpm::new("hello").build());
        symlink("p/hello-1.rpm", tree.path("hello-latest.rpm")).unwrap();
        symlink("/etc/hostname", tree.path("outside.rpm")).unwrap();
        let repository = format!("symlinks = \"{symlinks}\"\n");
        let daemon = Daemon::serve_config(&configuration(&tree, "", &repository), "/rpm/");
        daemon.until("one package", |metadata| metadata.packages.len() == 1);
        assert_eq!(all_can_be_fetched(&daemon, &tree, "/rpm/"), ["p/hello-1.rpm"], "{symlinks}");
        let link = daemon.get("hello-latest.rpm");
        assert_eq!((link.status, link.body), (200, Rpm::new("hello").build()), "{symlinks}");
        if symlinks != "anywhere" {
            assert_eq!(daemon.get("outside.rpm").status, 404, "{symlinks}");
        }
        // The link is switched, as a release script does.
        tree.write("p/hello-2.rpm", &Rpm::new("hello").version("2").build());
        std::fs::remove_file(tree.path("hello-latest.rpm")).unwrap();
        symlink("p/hello-2.rpm", tree.path("hello-latest.rpm")).unwrap();
        daemon.until("both versions, once each", |metadata| metadata.packages.len() == 2);
        assert_eq!(daemon.get("hello-latest.rpm").body, Rpm::new("hello").version("2").build());
        daemon.stop();
    }
}
