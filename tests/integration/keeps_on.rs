//! What goes wrong around the daemon (its log's reader, its configuration's files) takes nothing of it away.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use rustix::process::Signal;

use crate::world::daemon::{program, write_config};
use crate::world::{Daemon, PATIENCE, Rpm, Tree, eventually, http};

/// A configuration with a control socket and one repository, `/rpm/`, and its text.
fn configured(tree: &Tree) -> (std::path::PathBuf, String) {
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\ncontrol = \"{0}/control.sock\"\n[state]\ndir = \"{0}/state\"\n\
         [repository.rpm]\npath = \"{1}\"\nwrite = \"anyone\"\n",
        tree.beside("").display(),
        tree.root().display()
    );
    (write_config(tree, &text), text)
}

fn command(words: &[&str], config: &std::path::Path) -> (Option<i32>, String, String) {
    let output = program().args(words).arg("--config").arg(config).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn metric(daemon: &Daemon, line: &str) -> bool {
    http::send(daemon.address(), "GET", "/-/metrics", &[], None).text().lines().any(|found| found == line)
}

#[test]
fn a_log_that_nobody_reads_any_more_costs_lines_only() {
    let tree = Tree::new();
    let mut child = program()
        .args(["serve".as_ref(), tree.root().as_os_str(), "--listen".as_ref(), "127.0.0.1:0".as_ref()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = lines.find_map(|line| {
        let line = line.unwrap();
        let rest = line.split_once("listening on http://")?.1;
        rest[..rest.find('/')?].parse().ok()
    });
    let address = address.unwrap();
    // The reader goes away.
    drop(lines);
    for n in 0..5 {
        let name = format!("p{n}");
        let answer = http::send(
            address,
            "PUT",
            &format!("/rpm/{name}.rpm"),
            &[("Prefer", "wait=60")],
            Some(&Rpm::new(name).build()),
        );
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    let metrics = http::send(address, "GET", "/-/metrics", &[], None).text();
    let lost = metrics
        .lines()
        .find_map(|line| line.strip_prefix("createrepod_log_lines_lost_total{log=\"daemon\"} "));
    assert!(lost.unwrap().parse::<u64>().unwrap() >= 5, "{metrics}");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    let status = eventually(PATIENCE, "the daemon stops", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn a_log_whose_reader_does_not_read_holds_nobody_up() {
    let tree = Tree::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut filler = writer.try_clone().unwrap();
    let mut child = program()
        .args(["serve".as_ref(), tree.root().as_os_str(), "--listen".as_ref(), "127.0.0.1:0".as_ref()])
        .stdout(Stdio::null())
        .stderr(writer)
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(reader);
    let address = reader.by_ref().lines().find_map(|line| {
        let line = line.unwrap();
        let rest = line.split_once("listening on http://")?.1;
        rest[..rest.find('/')?].parse().ok()
    });
    let address = address.unwrap();
    // All but full: a pipe has room for 64 KiB.
    std::io::Write::write_all(&mut filler, &[b'\n'; 60_000]).unwrap();
    drop(filler);
    for n in 0..60 {
        let name = format!("p{n}");
        let path = format!("/rpm/{name}.rpm");
        let answer = http::send(address, "PUT", &path, &[], Some(&Rpm::new(name).build()));
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(http::send(address, "GET", &path, &[], None).status, 200);
    }
    // Read again, all of it is there, in order.
    let mut lines = reader.lines().map(Result::unwrap);
    for n in 0..60 {
        let what = format!("received \"p{n}.rpm\"");
        assert!(lines.any(|line| line.contains(&what)), "{what}");
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(lines.any(|line| line.contains("stopped") || line.contains("stopping")));
    let status = eventually(PATIENCE, "the daemon stops", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let tree = Tree::new();
    for words in [&["config", "show"][..], &["createrepo_c", "--version"], &["--help"], &["status"]] {
        let (file, _) = configured(&tree);
        let mut command = program();
        command.args(words);
        if matches!(words[0], "config" | "status") {
            command.arg("--config").arg(file);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn files_of_the_configuration_that_become_empty_or_vanish_change_nothing() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    let (file, text) = configured(&tree);
    let (main, one) = text.split_at(text.find("[repository").unwrap());
    let directory = tree.beside("repos.d");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("rpm.toml"), one).unwrap();
    write_config(&tree, main);
    let daemon = Daemon::serve_config(&file, "/rpm/");
    daemon.until("one package", |metadata| metadata.packages.len() == 1);
    let served = || daemon.get("repodata/repomd.xml").status == 200;
    let named = |what: &str| {
        eventually(PATIENCE, format!("{what} is named"), || daemon.log().contains(what).then_some(()));
        assert!(served(), "{what}");
        assert!(metric(&daemon, "createrepod_config_last_reload_successful 0"));
    };
    let mended = |times: usize| {
        eventually(PATIENCE, "the mended configuration is taken up", || {
            (daemon.log().matches("the configuration is mended and taken up").count() == times).then_some(())
        });
        assert!(served() && metric(&daemon, "createrepod_config_last_reload_successful 1"));
    };
    fs::write(&file, "").unwrap();
    named("createrepod.toml: it is empty now");
    fs::write(&file, main).unwrap();
    mended(1);
    fs::write(directory.join("rpm.toml"), "\n").unwrap();
    named("rpm.toml: it is empty now");
    fs::write(directory.join("rpm.toml"), one).unwrap();
    mended(2);
    fs::rename(&directory, tree.beside("away")).unwrap();
    named("the directory is gone");
    fs::rename(tree.beside("away"), &directory).unwrap();
    mended(3);
    fs::rename(&file, tree.beside("moved")).unwrap();
    named("createrepod.toml is gone");
    fs::rename(tree.beside("moved"), &file).unwrap();
    mended(4);
    // What is removed on purpose is gone.
    fs::remove_file(directory.join("rpm.toml")).unwrap();
    eventually(PATIENCE, "the repository is gone", || (!served()).then_some(()));
    assert!(!daemon.log().contains("inotify: Os"), "{}", daemon.log());
    daemon.stop();
}

#[test]
fn commands_ask_a_daemon_whose_configuration_has_a_mistake_by_now() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    let (file, text) = configured(&tree);
    let daemon = Daemon::serve_config(&file, "/rpm/");
    daemon.until("one package", |metadata| metadata.packages.len() == 1);
    write_config(&tree, &(text.clone() + "wirte = \"anyone\"\n"));
    eventually(PATIENCE, "the mistake is noticed", || {
        metric(&daemon, "createrepod_config_last_reload_successful 0").then_some(())
    });
    let (code, out, err) = command(&["status"], &file);
    assert_eq!(code, Some(0), "{out}{err}");
    for part in ["is running", "1 package", "not taken up", "unknown key \"wirte\""] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let ready = http::send(daemon.address(), "GET", "/-/ready", &[], None);
    assert_eq!(ready.status, 200);
    assert!(ready.text().contains("not taken up") && !ready.text().contains("wirte"), "{}", ready.text());
    assert!(!daemon.status().to_string().contains("wirte"), "strangers are told no values");
    for words in [&["refresh"][..], &["verify", "rpm"]] {
        let (code, out, err) = command(words, &file);
        assert_eq!(code, Some(0), "{words:?}: {out}{err}");
    }
    write_config(&tree, &text);
    eventually(PATIENCE, "it is mended", || daemon.log().contains("mended and taken up").then_some(()));
    assert!(!command(&["status"], &file).1.contains("not taken up"));
    // Without a daemon there is only the mistake to tell.
    daemon.stop();
    write_config(&tree, &(text + "wirte = \"anyone\"\n"));
    let (code, _, err) = command(&["status"], &file);
    assert!(code == Some(2) && err.contains("wirte"), "{code:?} {err}");
}

#[test]
fn what_holds_one_repository_up_holds_up_no_other() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    let (_, text) = configured(&tree);
    let gone = tree.beside("gone");
    let file = write_config(&tree, &format!("{text}[repository.gone]\npath = \"{}\"\n", gone.display()));
    let judge = |whose: &str| {
        let (code, out, err) = command(&["verify"], &file);
        assert_eq!(code, Some(1), "{whose}: {out}{err}");
        assert!(out.contains("rpm: 1 package") && err.contains("cannot verify gone"), "{whose}: {out}{err}");
        let (code, out, err) = command(&["verify", "rpm", "nosuch"], &file);
        assert_eq!(code, Some(3), "{whose}: {out}{err}");
        assert!(out.contains("rpm: 1 package") && err.contains("\"nosuch\""), "{whose}: {out}{err}");
        let (code, out, err) = command(&["status", "rpm", "gone"], &file);
        assert_eq!(code, Some(0), "{whose}: {out}{err}");
        assert!(out.contains("rpm at /rpm/") && out.contains("gone at /gone/"), "{whose}: {out}");
        let (code, out, err) = command(&["status", "rpm", "nosuch"], &file);
        assert!(
            code == Some(3) && out.contains("rpm at /rpm/") && !out.contains("gone at"),
            "{whose}: {out}{err}"
        );
        let (code, out, err) = command(&["refresh", "rpm", "gone"], &file);
        assert!(
            code != Some(0) && out.contains("rpm: 1 package") && err.contains("gone"),
            "{whose}: {out}{err}"
        );
    };
    let daemon = Daemon::serve_config_unready(&file, "/rpm/");
    daemon.until("one package", |metadata| metadata.packages.len() == 1);
    judge("by the daemon");
    daemon.signal(Signal::USR1);
    eventually(PATIENCE, "the end of a refresh is told", || {
        daemon.log().contains("refreshed: 1 repository compared").then_some(())
    });
    daemon.stop();
    judge("without one");
}

#[test]
fn a_refresh_that_is_not_done_in_time_is_no_success() {
    let tree = Tree::new();
    let (file, _) = configured(&tree);
    let daemon = Daemon::serve_config(&file, "/rpm/");
    daemon.until("an empty repository", |metadata| metadata.packages.is_empty());
    tree.write("repodata/repomd.xml.asc", b"x");
    fs::remove_dir_all(tree.path("repodata")).unwrap();
    fs::write(tree.path("repodata"), "in the way").unwrap();
    tree.add(&Rpm::new("a"));
    eventually(PATIENCE, "a refresh that is not done", || {
        let (code, _, err) = command(&["refresh", "--wait", "1s"], &file);
        (code == Some(1) && err.contains("still at work after 1s: rpm")).then_some(())
    });
}

#[test]
fn who_shares_requests_out_keeps_a_server_of_which_one_repository_is_in_trouble() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    // Without a key nothing can be published of it.
    for name in ["other", "keys"] {
        fs::create_dir(tree.beside(name)).unwrap();
    }
    let repository = |name: &str, path: &std::path::Path, more: &str| {
        format!("[repository.{name}]\npath = {path:?}\n{more}\n")
    };
    let signed = format!("verify = \"signature\"\nkeyring = {:?}", tree.beside("keys"));
    let troubled = repository("troubled", &tree.beside("other"), &signed);
    let start = |repositories: &str| {
        let state = tree.beside("state");
        let server =
            format!("[server]\nlisten = [\"127.0.0.1:0\"]\ncontrol = \"\"\n[state]\ndir = {state:?}\n");
        Daemon::serve_config_unready(&write_config(&tree, &(server + repositories)), "/rpm/")
    };
    let ask = |daemon: &Daemon, path: &str| http::send(daemon.address(), "GET", path, &[], None);
    let daemon = start(&format!("{}{troubled}", repository("rpm", tree.root(), "")));
    eventually(PATIENCE, "healthy", || (ask(&daemon, "/-/health").status == 200).then_some(()));
    let ready = eventually(PATIENCE, "in trouble", || {
        Some(ask(&daemon, "/-/ready")).filter(|ready| ready.text().contains("troubled: in trouble"))
    });
    assert_eq!(ready.status, 503);
    assert_eq!(ask(&daemon, "/-/health").status, 200, "what is published can be had here");
    daemon.stop();
    // With nothing to give it is no help to anybody.
    let daemon = start(&troubled);
    let health = eventually(PATIENCE, "all of it in trouble", || {
        Some(ask(&daemon, "/-/health"))
            .filter(|health| health.text().contains("every repository is in trouble"))
    });
    assert_eq!(health.status, 503);
    daemon.stop();
}
