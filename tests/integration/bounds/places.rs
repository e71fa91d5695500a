//! Places in sum: of uploads that come slowly, of long answers of our own, of lines in the log, of conditions.

use super::{assert_confined, confined};
use crate::world::daemon::{run, write_config};
use crate::world::{Daemon, PATIENCE, Rpm, Tree, eventually, http};

fn serve(tree: &Tree) -> Daemon {
    serve_with(tree, "")
}

/// With more settings of the server.
fn serve_with(tree: &Tree, more: &str) -> Daemon {
    let (state, path) = (tree.beside("state"), tree.root());
    let control = tree.beside("control.sock");
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\ncontrol = {control:?}\n{more}[state]\ndir = {state:?}\n\
         [repository.rpm]\npath = {path:?}\nwrite = \"anyone\"\n"
    );
    confined(&write_config(tree, &text))
}

#[test]
fn uploads_that_come_slowly_have_few_places_and_others_are_served() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    let daemon = serve_with(&tree, "trusted_proxies = [\"127.0.0.1\"]\n");
    daemon.until_exactly(&["a-1.0-1.noarch.rpm"]);
    let package = Rpm::new("large").payload(3 << 20).build();
    let at_rest = daemon.open_files();
    // The beginnings of 300 packages, of which nothing more comes.
    let slow: Vec<_> = (0..300)
        .map(|n| {
            let path = daemon.at(&format!("slow{n}.rpm"));
            http::begin_upload(daemon.address(), &path, package.len(), &package[..2000])
        })
        .collect();
    // By somebody else: large and small.
    let far = [("X-Forwarded-For", "192.0.2.7")];
    assert_eq!(daemon.request("PUT", "large.rpm", &far, Some(&package)).status, 201);
    assert_eq!(
        daemon.put("b.rpm", &Rpm::new("b").build()).status,
        201,
        "what comes at once needs no such place"
    );
    assert_eq!(daemon.get("a-1.0-1.noarch.rpm").status, 200);
    assert_eq!(daemon.status()["repositories"][0]["name"], "rpm");
    let open = daemon.open_files();
    // Each has its connection, and 32 have files beside it.
    assert!(open < at_rest + 300 + 32 * 3, "{open} open files");
    let mut slow = slow.into_iter();
    let answer = http::receive(slow.next().unwrap(), "PUT").unwrap();
    assert_eq!(answer.status, 503, "who is slow makes room: {}", answer.text());
    assert!(answer.header("Retry-After").is_some());
    drop(slow);
    let again = eventually(PATIENCE, "there is room again", || {
        Some(daemon.put("large2.rpm", &Rpm::new("large2").payload(3 << 20).build()))
            .filter(|a| a.status == 201)
    });
    drop(again);
    assert_confined(&daemon);
    daemon.stop();
}

#[test]
fn a_status_tells_the_first_of_many_and_how_many_there_are() {
    let tree = Tree::new();
    (0..150).for_each(|n| tree.write(format!("bad{n:03}.rpm"), b"no package"));
    let daemon = serve(&tree);
    let ask = |headers: &[(&str, &str)]| http::send(daemon.address(), "GET", "/-/status", headers, None);
    let told = eventually(PATIENCE, "all are looked at", || {
        let told: serde_json::Value = serde_json::from_str(&ask(&[]).text()).unwrap();
        let told = told["repositories"][0].clone();
        (told["counts"]["rejected"] == 150).then_some(told)
    });
    assert_eq!(told["rejected"].as_array().unwrap().len(), 100);
    assert!(ask(&[("Accept", "text/html")]).text().contains("rejected: 50 more"));
    let far: serde_json::Value =
        serde_json::from_str(&ask(&[("X-Forwarded-For", "192.0.2.1")]).text()).unwrap();
    let far = &far["repositories"][0];
    assert_eq!((far["rejected"].as_array().unwrap().len(), &far["counts"]["rejected"]), (1, &150.into()));
    let config = tree.beside("createrepod.toml");
    let all = run(["status".as_ref(), "--json".as_ref(), "--config".as_ref(), config.as_os_str()]);
    let all: serde_json::Value = serde_json::from_str(&all.stdout).unwrap();
    assert_eq!(all["repositories"][0]["rejected"].as_array().unwrap().len(), 150, "here all are told");
    // Who asks and takes nothing.
    let greedy: Vec<_> = (0..super::HOSTILE)
        .map(|_| {
            let mut client = std::net::TcpStream::connect(daemon.address()).unwrap();
            std::io::Write::write_all(&mut client, b"GET /-/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .unwrap();
            client
        })
        .collect();
    assert_eq!(ask(&[("X-Forwarded-For", "192.0.2.1")]).status, 200);
    drop(greedy);
    assert_confined(&daemon);
    daemon.stop();
}

#[test]
fn lines_that_clients_bring_about_are_few_and_the_rest_is_counted() {
    let tree = Tree::new();
    let daemon = serve(&tree);
    let refused = || daemon.put("bad.rpm", b"no package").status;
    (0..300).for_each(|_| assert_eq!(refused(), 415));
    let lines = || daemon.log().lines().filter(|line| line.contains("refused PUT")).count();
    eventually(PATIENCE, "the lines are there", || (lines() >= 100).then_some(()));
    assert!(lines() < 250, "{} lines", lines());
    eventually(PATIENCE, "what was left out is told", || {
        assert_eq!(refused(), 415);
        daemon.log().contains("like this one were left out before it").then_some(())
    });
    daemon.stop();
}

#[test]
fn an_if_header_costs_few_looks() {
    let tree = Tree::new();
    let daemon = serve(&tree);
    let put = |value: String| {
        let answer = daemon.request("PUT", "a.rpm", &[("If", &value)], Some(&Rpm::new("a").build()));
        (answer.status, answer.text())
    };
    let lists = |count: usize, of: &dyn Fn(usize) -> String| (0..count).map(of).collect::<String>();
    assert_eq!(put(lists(200, &|n| format!("([\"{n}\"])"))).0, 412, "one place is looked at once");
    let (status, why) = put(lists(300, &|n| format!("([\"{n}\"])")));
    assert!(status == 400 && why.contains("256 conditions"), "{status} {why}");
    let (status, why) = put(lists(20, &|n| format!("</rpm/{n}.rpm> ([\"x\"])")));
    assert!(status == 400 && why.contains("16 places"), "{status} {why}");
    daemon.stop();
}
