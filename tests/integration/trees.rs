//! Directories that become repositories by themselves, and trees that are only read.

use std::fs;

use crate::world::daemon::{run, write_config};
use crate::world::{Daemon, Metadata, PATIENCE, Rpm, Tree, eventually, http};

fn head(tree: &Tree) -> String {
    format!("[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = \"{}\"\n", tree.beside("state").display())
}

fn packages(daemon: &Daemon, url: &str) -> Option<Vec<String>> {
    let metadata = Metadata::fetch(daemon.address(), url).ok()?;
    Some(metadata.packages.iter().map(|package| package.name.clone()).collect())
}

#[test]
fn every_directory_that_matches_is_a_repository_while_it_is_there() {
    let tree = Tree::new();
    tree.write("9/x86_64/Packages/a/a.rpm", &Rpm::new("a").build());
    tree.write("9/source/notes.txt", b"");
    let text = head(&tree)
        + &format!(
            "[tree.el]\npath = \"{}\"\npattern = \"{{release}}/{{arch}}\"\nwrite = \"anyone\"\n\
             [repository.special]\npath = \"{}\"\n",
            tree.root().display(),
            tree.path("9/source").display(),
        );
    let daemon = Daemon::serve_config(&write_config(&tree, &text), "/el/9/x86_64/");
    eventually(PATIENCE, "the directory that is there is served", || {
        packages(&daemon, "/el/9/x86_64/").filter(|names| names == &["a"])
    });
    let status = daemon.status().to_string();
    assert!(status.contains("\"el-9-x86_64\"") && status.contains("\"special\""), "{status}");
    assert!(!status.contains("el-9-source"), "a named repository keeps its directory: {status}");

    fs::create_dir_all(tree.path("10/aarch64")).unwrap();
    tree.write("10/aarch64/b.rpm", &Rpm::new("b").build());
    eventually(PATIENCE, "a new directory is served", || {
        packages(&daemon, "/el/10/aarch64/").filter(|names| names == &["b"])
    });
    let answer =
        http::send(daemon.address(), "PUT", "/el/10/aarch64/c.rpm", &[], Some(&Rpm::new("c").build()));
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert!(tree.path("10/aarch64/c.rpm").is_file());

    // Moved away: while it is removed file by file, the daemon publishes what is left.
    fs::rename(tree.path("10"), tree.beside("ten")).unwrap();
    eventually(PATIENCE, "a directory that went is no longer served", || {
        let answer = http::send(daemon.address(), "GET", "/el/10/aarch64/repodata/repomd.xml", &[], None);
        (answer.status == 404).then_some(())
    });
    assert_eq!(packages(&daemon, "/el/9/x86_64/").unwrap(), ["a"]);
    daemon.stop();
}

#[test]
fn a_tree_with_metadata_elsewhere_is_never_written_to() {
    let tree = Tree::new();
    tree.write("a.rpm", &Rpm::new("a").build());
    // What somebody else made of it is not what we serve.
    tree.write("repodata/repomd.xml", b"<repomd/>");
    let text = head(&tree)
        + &format!(
            "[repository.rpm]\npath = \"{}\"\nmetadata_dir = \"{}\"\n",
            tree.root().display(),
            tree.beside("metadata").display()
        );
    let config = write_config(&tree, &text);
    let daemon = Daemon::serve_config(&config, "/rpm/");
    daemon.until_exactly(&["a.rpm"]);
    tree.write("b.rpm", &Rpm::new("b").build());
    let metadata = daemon.until_exactly(&["a.rpm", "b.rpm"]);
    let index = daemon.get("").text();
    assert_eq!(index.matches("repodata/\"").count(), 1, "{index}");
    assert!(daemon.get("repodata/").text().contains("-primary.xml"));
    let names: Vec<_> = fs::read_dir(tree.root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(fs::read(tree.path("repodata/repomd.xml")).unwrap(), b"<repomd/>");

    // Foreign hands in the metadata are noticed there, too, and a restart publishes nothing new.
    fs::write(tree.beside("metadata/repodata/repomd.xml"), "<repomd/>").unwrap();
    eventually(PATIENCE, "what is not ours is replaced, and what is there is served", || {
        let bytes = fs::read(tree.beside("metadata/repodata/repomd.xml")).unwrap();
        (bytes.len() > 100 && bytes == daemon.get("repodata/repomd.xml").body).then_some(())
    });
    let healed = daemon.metadata();
    assert_eq!(healed.hrefs(), metadata.hrefs());
    daemon.stop();
    let daemon = Daemon::serve_config(&config, "/rpm/");
    assert_eq!(daemon.metadata().repomd, healed.repomd);
    daemon.stop();
}

#[test]
fn metadata_elsewhere_and_uploads_exclude_each_other() {
    let tree = Tree::new();
    let text = head(&tree)
        + &format!(
            "[repository.rpm]\npath = \"{}\"\nmetadata_dir = \"{}\"\nwrite = \"anyone\"\n",
            tree.root().display(),
            tree.path("inside").display()
        );
    let file = write_config(&tree, &text);
    let refused =
        crate::world::daemon::run_refused(["serve".as_ref(), "--config".as_ref(), file.as_os_str()]);
    assert_eq!(refused.status.code(), Some(2), "{}", refused.stderr);
    for part in ["needs write = \"off\"", "lies inside repository"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
}

#[test]
fn commands_know_what_a_tree_holds_now() {
    let tree = Tree::new();
    let held = tree.root().join("9/x86_64");
    fs::create_dir_all(&held).unwrap();
    let text = format!(
        "[server]\nbase_url = \"https://repo.example.com/\"\n[state]\ndir = {:?}\n[tree.el]\npath = {:?}\n\
         pattern = \"{{release}}/{{arch}}\"\n",
        tree.beside("state"),
        tree.root(),
    );
    let file = write_config(&tree, &text);
    let say = |words: &[&str]| {
        let outcome = run(words.iter().copied().chain(["--config", file.to_str().unwrap()]));
        assert!(outcome.status.success(), "{words:?}: {outcome:?}");
        outcome.stdout
    };
    for words in [&["config", "dnf"][..], &["config", "dnf", "el-9-x86_64"]] {
        let said = say(words);
        assert!(
            said.contains("[el-9-x86_64]\n") && said.contains("https://repo.example.com/el/9/x86_64/"),
            "{said}"
        );
    }
    for kind in ["nginx", "apache"] {
        let said = say(&["config", kind]);
        assert!(said.contains(held.to_str().unwrap()), "{said}");
    }
    let said = say(&["config", "check"]);
    assert!(said.contains("is fine: 1 repository, 1 of them in 1 tree"), "{said}");
}
