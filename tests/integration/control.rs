//! The commands that ask the running daemon, and what they do without one.

use std::process::{Command, Stdio};

use crate::world::clients;
use crate::world::daemon::{Daemon, program, run, write_config};
use crate::world::{PATIENCE, Rpm, Tree, eventually, http};

/// A configuration with a control socket of its own.
fn config(tree: &Tree) -> std::path::PathBuf {
    write_config(
        tree,
        &format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\ncontrol = \"{0}/control.sock\"\n[state]\ndir = \"{0}/state\"\n\
             [repository.rpm]\npath = \"{1}\"\nrescan = \"1h\"\n",
            tree.beside("").display(),
            tree.root().display()
        ),
    )
}

fn command(words: &[&str], config: &std::path::Path) -> (Option<i32>, String, String) {
    let output = program().args(words).arg("--config").arg(config).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn status_and_refresh_ask_the_daemon_and_work_without_one() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    tree.write("bad.rpm", b"no package");
    let file = config(&tree);
    let daemon = Daemon::serve_config(&file, "/rpm/");
    let (code, out, err) = command(&["refresh", "rpm", "--wait", "1m"], &file);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("rpm: "), "{out}");
    daemon.until("one package", |metadata| metadata.packages.len() == 1);
    let (code, out, err) = command(&["status"], &file);
    assert_eq!(code, Some(0), "{err}");
    let path = tree.root().to_string_lossy();
    for part in ["is running", "1 package,", "rejected: bad.rpm: ", "/rpm/", &path] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (_, out, _) = command(&["status", "rpm", "--json"], &file);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&json["running"], &json["repositories"][0]["packages"]), (&true.into(), &1.into()));
    for words in [["status", "nope"], ["refresh", "nope"]] {
        let (code, _, err) = command(&words, &file);
        assert_eq!(code, Some(3), "{err}");
    }
    // Strangers may not ask for it.
    let answer = http::send(daemon.address(), "POST", "/-/api/v1/refresh", &[], Some(b""));
    assert!(matches!(answer.status, 401 | 403), "{}", answer.status);
    daemon.stop();

    tree.add(&Rpm::new("b"));
    let (code, out, err) = command(&["status"], &file);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("is not running") && out.contains("1 package,") && out.contains("bad.rpm"), "{out}");
    let (code, out, err) = command(&["refresh"], &file);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("rpm: 2 packages (1 read now"), "{out}");
    let (_, out, _) = command(&["status"], &file);
    assert!(out.contains("2 packages,"), "{out}");
}

#[test]
fn a_daemon_of_a_directory_is_asked_by_that_directory() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    let daemon = Daemon::serve(&tree);
    daemon.until("one package", |metadata| metadata.packages.len() == 1);
    let status = run(["status".as_ref(), tree.root().as_os_str()]).stdout;
    assert!(status.contains("is running") && status.contains("1 package,"), "{status}");
    let refreshed = run(["refresh".as_ref(), tree.root().as_os_str()]).stdout;
    assert!(refreshed.contains("1 package, revision"), "{refreshed}");
    daemon.stop();
}

#[test]
fn causes_are_told_on_this_machine_and_a_page_to_people() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    tree.write("bad<b>.rpm", b"no package");
    let daemon = Daemon::serve(&tree);
    let ask = |headers: &[(&str, &str)]| http::send(daemon.address(), "GET", "/-/status", headers, None);
    eventually(PATIENCE, "both files are looked at", || {
        let here: serde_json::Value = serde_json::from_str(&ask(&[]).text()).unwrap();
        let here = &here["repositories"][0];
        (here["rejected"][0]["location"] == "bad<b>.rpm" && here["packages"] == 1).then_some(())
    });
    // As a proxy passes strangers on.
    let far = ask(&[("X-Forwarded-For", "192.0.2.1")]);
    assert!(
        !far.text().contains("bad<b>") && !far.text().contains(&*tree.root().to_string_lossy()),
        "{}",
        far.text()
    );
    let far: serde_json::Value = serde_json::from_str(&far.text()).unwrap();
    assert_eq!(far["repositories"][0]["rejected"].as_array().unwrap().len(), 1);
    assert_eq!(far["repositories"][0]["packages"], 1);
    let page = ask(&[("Accept", "text/html,*/*;q=0.8")]);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let text = page.text();
    assert!(text.contains("1 package") && text.contains("rejected: bad&lt;b&gt;.rpm: "), "{text}");
    daemon.stop();
}

#[test]
fn causes_are_told_to_whoever_may_write() {
    let tree = Tree::new();
    tree.write("bad.rpm", b"no package");
    let file = config(&tree);
    let text = std::fs::read_to_string(&file).unwrap();
    let far = "[repository.far]\npath = \"@far\"\nwrite = \"token\"\n"
        .replace('@', &tree.beside("").to_string_lossy());
    std::fs::write(&file, text + "write = \"token\"\n" + &far).unwrap();
    std::fs::create_dir(tree.beside("far")).unwrap();
    std::fs::write(tree.beside("far/worse.rpm"), "no package").unwrap();
    let daemon = Daemon::serve_config(&file, "/rpm/");
    let token = |scope: &str| {
        let words = ["token", "add", scope, "--repository", "rpm", "--scope", scope];
        let (code, out, err) = command(&words, &file);
        assert_eq!(code, Some(0), "{err}");
        format!("Bearer {}", out.trim())
    };
    // As a proxy passes them on.
    let ask = |authorization: &str| {
        let headers = [("X-Forwarded-For", "192.0.2.1"), ("Authorization", authorization)];
        http::send(daemon.address(), "GET", "/-/status", &headers, None).text()
    };
    let (write, read) = (token("write"), token("read"));
    let told = eventually(PATIENCE, "both files are looked at", || {
        let told = ask(&write);
        (told.matches("\"reason\"").count() == 2).then_some(told)
    });
    assert!(told.contains("bad.rpm") && !told.contains("worse.rpm"), "{told}");
    for nobody in [&read, "Bearer crd_nonsense"] {
        let told = ask(nobody);
        assert!(!told.contains("bad.rpm") && !told.contains("worse.rpm"), "{told}");
        assert!(told.contains("not told to everybody"), "{told}");
    }
    daemon.stop();
}

#[test]
fn the_control_socket_shows_what_strangers_may_not_read() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    let file = config(&tree);
    let text = std::fs::read_to_string(&file).unwrap() + "read = \"token\"\nwrite = \"token\"\n";
    std::fs::write(&file, text).unwrap();
    let daemon = Daemon::serve_config(&file, "/rpm/");
    let (code, out, err) = command(&["status", "rpm"], &file);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("rpm at /rpm/"), "{out}");
    let stranger = http::send(daemon.address(), "GET", "/-/status", &[], None);
    assert!(!stranger.text().contains("/rpm/"), "{}", stranger.text());
    // Nor do its numbers tell that it is there; Prometheus is given a token.
    let words = ["token", "add", "prometheus", "--repository", "rpm", "--scope", "read"];
    let (_, token, _) = command(&words, &file);
    let bearer = format!("Bearer {}", token.trim());
    let metrics =
        |headers: &[(&str, &str)]| http::send(daemon.address(), "GET", "/-/metrics", headers, None).text();
    assert!(!metrics(&[]).contains("repository=\"rpm\"") && metrics(&[]).contains("createrepod_build_info"));
    assert!(
        metrics(&[("Authorization", &bearer)]).contains("createrepod_repository_up{repository=\"rpm\"} 1")
    );
    daemon.stop();
}

#[test]
fn metrics_follow_prometheus_conventions() {
    let tree = Tree::new();
    tree.write("bad.rpm", b"no package");
    let daemon = Daemon::serve(&tree);
    assert_eq!(daemon.put_and_wait("a.rpm", &Rpm::new("a").build()).status, 201);
    let answer = http::send(daemon.address(), "GET", "/-/metrics", &[], None);
    assert_eq!(answer.status, 200);
    let text = answer.text();
    for line in [
        "createrepod_packages{repository=\"rpm\"} 1\n",
        "createrepod_uploads_total{repository=\"rpm\"} 1\n",
        "createrepod_repository_up{repository=\"rpm\"} 1\n",
        "createrepod_http_requests_total{method=\"PUT\",status=\"201\"} 1\n",
        "createrepod_publication_failures_total{repository=\"rpm\"} 0\n",
        "process_resident_memory_bytes ",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let published: u64 = text
        .lines()
        .find_map(|line| {
            line.strip_prefix("createrepod_publication_duration_seconds_count{repository=\"rpm\"} ")
        })
        .unwrap()
        .parse()
        .unwrap();
    assert!(published >= 1);
    if let Some(promtool) = clients::find("promtool") {
        let mut check = Command::new(promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut check.stdin.take().unwrap(), text.as_bytes()).unwrap();
        let said = check.wait_with_output().unwrap();
        assert!(
            said.status.success(),
            "{}{}",
            String::from_utf8_lossy(&said.stdout),
            String::from_utf8_lossy(&said.stderr)
        );
    }
    daemon.stop();
}
