//! Configuration: several repositories, prefixes, and refusals that help.

use std::fs;
use std::process::Command;

use crate::world::clients;
use crate::world::daemon::{run, run_refused, write_config};
use crate::world::{Daemon, Metadata, PATIENCE, Rpm, Tree, eventually, http};

fn head(tree: &Tree) -> String {
    format!("[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = \"{}\"\n", tree.beside("state").display())
}

#[test]
fn several_repositories_are_served_and_the_longest_prefix_wins() {
    let tree = Tree::new();
    let urls = [("plain", "/plain/"), ("el", "/el/"), ("deep", "/el/9/x86_64/"), ("default-url", "")];
    let mut text = head(&tree);
    for (name, url) in urls {
        let path = tree.beside("trees").join(name);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("own.rpm"), Rpm::new(name).build()).unwrap();
        text += &format!("[repository.{name}]\npath = \"{}\"\nwrite = \"anyone\"\n", path.display());
        if !url.is_empty() {
            text += &format!("url = \"{url}\"\n");
        }
    }
    let daemon = Daemon::serve_config(&write_config(&tree, &text), "/el/");
    for (name, url) in urls {
        let url = if url.is_empty() { format!("/{name}/") } else { url.to_owned() };
        let metadata = eventually(PATIENCE, format!("{url} is published"), || {
            Metadata::fetch(daemon.address(), &url).ok().filter(|metadata| !metadata.packages.is_empty())
        });
        assert_eq!(metadata.packages.len(), 1);
        assert_eq!(metadata.packages[0].name, name);
    }
    // An upload goes to the repository whose prefix is the longest.
    for (path, lands) in [("/el/9/x86_64/new.rpm", "deep/new.rpm"), ("/el/9/other.rpm", "el/9/other.rpm")] {
        let answer =
            http::send(daemon.address(), "PUT", path, &[], Some(&Rpm::new(path.replace('/', "_")).build()));
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert!(tree.beside("trees").join(lands).is_file(), "{lands}");
    }
    let front = http::send(daemon.address(), "GET", "/", &[], None).text();
    assert!(
        urls.iter().all(|(_, url)| front.contains(url.trim_start_matches('/'))),
        "the front page names them: {front}"
    );
    daemon.stop();
}

#[test]
fn a_check_tells_what_the_machine_lacks_as_well() {
    let tree = Tree::new();
    let lines = [
        "[server]",
        "listen = [\"https://127.0.0.1:0\"]",
        "tls = { certificate = \"/nonexistent/x.crt\", key = \"/nonexistent/x.key\" }",
        "access_log = \"/nonexistent/access.log\"",
        "htpasswd = \"/nonexistent/htpasswd\"",
        "[repository.gone]",
        "path = \"/nonexistent/rpm\"",
        "sign = { key = \"/nonexistent/key.asc\", passphrase = \"credential\" }",
        "[grant.g]",
        "users = [\"anna\"]",
        "repositories = [\"gone\", \"gome\"]",
        "scope = [\"write\"]",
    ];
    let warnings = [
        (5, "htpasswd: /nonexistent/htpasswd"),
        (7, "path: /nonexistent/rpm"),
        (8, "sign: /nonexistent/key.asc"),
    ];
    let check = |lines: &[&str]| {
        let file = write_config(&tree, &lines.join("\n"));
        let outcome = run(["config", "check", "--config", file.to_str().unwrap()]);
        (outcome.status.code(), outcome.stdout, outcome.stderr)
    };
    let (code, out, err) = check(&lines);
    assert_eq!(code, Some(2), "{out}{err}");
    for part in [
        "2 errors",
        "createrepod.toml:3: tls: cannot read /nonexistent/x.crt",
        "createrepod.toml:4: access_log: /nonexistent does not exist",
    ] {
        assert!(err.contains(part), "{part}: {err}");
    }
    // Without what would keep it from starting, the rest is a warning.
    let mut start = lines;
    (start[1], start[2], start[3]) = ("", "", "");
    let (code, out, err) = check(&start);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("is fine: 1 repository"), "{out}");
    for (line, what) in warnings {
        assert!(
            err.contains(&format!(
                "warning: {}:{line}: {what} does not exist",
                tree.beside("createrepod.toml").display()
            )),
            "{what}: {err}"
        );
    }
    assert!(
        err.contains(":11: repositories: no repository is called \"gome\"; did you mean \"gone\"?"),
        "{err}"
    );
    assert_eq!(err.lines().count(), 4, "a credential is there for the daemon only: {err}");
}

#[test]
fn unknown_keys_are_refused_all_at_once_with_file_line_and_the_nearest_key() {
    let tree = Tree::new();
    let text = head(&tree)
        + &format!(
            "[repository.rpm]\npath = \"{}\"\noverwrit = \"same\"\nmetdata = \"zstd\"\n",
            tree.root().display()
        );
    let file = write_config(&tree, &text);
    let line = |key: &str| text.lines().position(|line| line.starts_with(key)).unwrap() + 1;
    let refused = run_refused(["serve".as_ref(), "--config".as_ref(), file.as_os_str()]);
    assert_eq!(refused.status.code(), Some(2), "{}", refused.stderr);
    for (key, nearest) in [("overwrit", "overwrite"), ("metdata", "metadata")] {
        let place = format!("{}:{}", file.display(), line(key));
        assert!(refused.stderr.contains(&place), "{place} is named: {}", refused.stderr);
        assert!(refused.stderr.contains(nearest), "{nearest} is suggested: {}", refused.stderr);
    }
}

#[test]
fn wrong_values_are_refused_with_the_line() {
    let tree = Tree::new();
    let path = tree.root().display().to_string();
    for (setting, word) in [
        ("overwrite = \"perhaps\"", "perhaps"),
        ("metadata = \"lzip\"", "lzip"),
        ("grace = \"soon\"", "soon"),
        ("url = \"no-slash\"", "no-slash"),
        ("checksum = \"crc32\"", "crc32"),
    ] {
        let text = head(&tree) + &format!("[repository.rpm]\npath = \"{path}\"\n{setting}\n");
        let file = write_config(&tree, &text);
        let refused = run_refused(["serve".as_ref(), "--config".as_ref(), file.as_os_str()]);
        assert_eq!(refused.status.code(), Some(2), "{setting}: {}", refused.stderr);
        let place = format!("{}:{}", file.display(), text.lines().count());
        assert!(
            refused.stderr.contains(&place) && refused.stderr.contains(word),
            "{setting}: {}",
            refused.stderr
        );
    }
    let missing = run_refused(["serve", "--config", "/nonexistent/createrepod.toml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(missing.stderr.contains("/nonexistent/createrepod.toml"), "{}", missing.stderr);
}

#[test]
fn repositories_that_clash_are_refused() {
    let tree = Tree::new();
    fs::create_dir_all(tree.path("inner")).unwrap();
    let root = tree.root().display();
    for (text, word) in [
        (format!("[repository.a]\npath = \"{root}\"\n[repository.b]\npath = \"{root}/inner\"\n"), "inner"),
        (
            format!(
                "[repository.a]\npath = \"{root}/x\"\nurl = \"/u/\"\n[repository.b]\npath = \"{root}/y\"\nurl = \"/u/\"\n"
            ),
            "/u/",
        ),
        ("[repository.a]\n".to_owned(), "path"),
    ] {
        let file = write_config(&tree, &(head(&tree) + &text));
        let refused = run_refused(["serve".as_ref(), "--config".as_ref(), file.as_os_str()]);
        assert_eq!(refused.status.code(), Some(2), "{text}: {}", refused.stderr);
        assert!(refused.stderr.contains(word), "{text}: {}", refused.stderr);
    }
}

#[test]
fn index_makes_the_metadata_once_and_without_a_daemon() {
    let tree = Tree::new();
    for number in 0..20 {
        tree.add(&Rpm::new(format!("p{number}")));
    }
    tree.write("broken.rpm", b"not an rpm");
    let done = run(["index".as_ref(), tree.root().as_os_str()]);
    assert!(done.status.success(), "a bad package is a finding, not a failure: {}", done.stderr);
    assert!(
        done.stderr.contains("broken.rpm") || done.stdout.contains("broken.rpm"),
        "{} {}",
        done.stdout,
        done.stderr
    );
    let metadata = Metadata::from_tree(tree.root()).unwrap();
    assert_eq!(metadata.packages.len(), 20);
    metadata.matches_tree(tree.root()).unwrap();
    // Nothing changed: nothing is published.
    assert!(run(["index".as_ref(), tree.root().as_os_str()]).status.success());
    assert_eq!(Metadata::from_tree(tree.root()).unwrap().repomd, metadata.repomd);
    // A daemon takes over what index left, and the other way round.
    let daemon = Daemon::serve(&tree);
    daemon.until("twenty", |metadata| metadata.packages.len() == 20);
    tree.add(&Rpm::new("one-more"));
    daemon.until("one more", |metadata| metadata.packages.len() == 21);
    daemon.stop();
    tree.remove("p0-1.0-1.noarch.rpm");
    assert!(run(["index".as_ref(), tree.root().as_os_str()]).status.success());
    assert_eq!(Metadata::from_tree(tree.root()).unwrap().packages.len(), 20);
    let missing = run(["index".as_ref(), tree.beside("missing").as_os_str()]);
    assert!(!missing.status.success() && missing.stderr.contains("missing"), "{}", missing.stderr);
}

#[test]
fn index_shows_its_progress_to_a_terminal_and_to_nobody_else() {
    let tree = Tree::new();
    for number in 0..300 {
        tree.add(&Rpm::new(format!("p{number}")).payload(20_000));
    }
    let quiet = run(["index".as_ref(), tree.root().as_os_str()]);
    let words = quiet.stdout + &quiet.stderr;
    assert!(words.contains("300") && !words.contains(['\r', '\u{1b}']), "{words:?}");
    // script(1) runs it on a terminal of its own.
    let Some(script) = clients::find("script") else { return };
    fs::remove_dir_all(tree.path(".createrepod")).unwrap();
    let command = format!("{} index {}", env!("CARGO_BIN_EXE_createrepod"), tree.root().display());
    let shown =
        clients::output(Command::new(script).args(["-qec", &command, "/dev/null"]).env("TERM", "xterm"));
    assert!(shown.contains('\r') && shown.contains("300"), "{shown:?}");
}

#[test]
fn version_and_help_are_answered() {
    let version = run(["--version"]);
    assert!(version.status.success() && version.stdout.starts_with("createrepod "), "{version:?}");
    let help = run(["--help"]);
    assert!(help.status.success());
    for command in ["serve", "index"] {
        assert!(help.stdout.contains(command), "{}", help.stdout);
        assert!(run([command, "--help"]).status.success());
    }
    let wrong = run(["sevre"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(wrong.stderr.contains("serve"), "{}", wrong.stderr);
}

#[test]
fn a_changed_configuration_is_taken_up_without_a_restart_and_a_wrong_one_is_not() {
    let tree = Tree::new();
    for name in ["first", "second"] {
        fs::create_dir_all(tree.beside(name)).unwrap();
        fs::write(tree.beside(name).join("own.rpm"), Rpm::new(name).build()).unwrap();
    }
    let repository = |name: &str, more: &str| {
        format!("[repository.{name}]\npath = \"{}\"\n{more}\n", tree.beside(name).display())
    };
    let server = head(&tree);
    let write = |text: String| write_config(&tree, &(server.clone() + &text));
    let daemon = Daemon::serve_config(&write(repository("first", "")), "/first/");
    let shows = |path: &str, end: &str| {
        eventually(PATIENCE, format!("{path} shows files that end in {end}"), || {
            let repomd =
                http::send(daemon.address(), "GET", &format!("{path}repodata/repomd.xml"), &[], None);
            (repomd.status == 200 && repomd.text().contains(end)).then_some(())
        });
    };
    shows("/first/", ".xml.zst");

    // Added, noticed without a signal; what was there is not disturbed.
    write(repository("first", "") + &repository("second", ""));
    shows("/second/", ".xml.zst");

    // Wrong: all stays as it was, and the log says why.
    write(repository("first", "metdata = \"gzip\""));
    eventually(PATIENCE, "the mistake is named", || daemon.log().contains("metdata").then_some(()));
    shows("/second/", ".xml.zst");

    // Changed and removed at once, by the signal.
    write(repository("first", "metadata = \"gzip\""));
    daemon.signal(rustix::process::Signal::HUP);
    shows("/first/", ".xml.gz");
    eventually(PATIENCE, "the second is gone", || {
        let gone = http::send(daemon.address(), "GET", "/second/repodata/repomd.xml", &[], None);
        (gone.status == 404).then_some(())
    });
    daemon.stop();
}
