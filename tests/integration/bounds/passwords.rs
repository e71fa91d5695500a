//! Passwords that are wrong, from everywhere.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{assert_confined, confined};
use crate::world::daemon::write_config;
use crate::world::{Tree, clients, http};

/// From three hundred addresses at once; each would take a core for a while.
#[test]
fn a_right_password_is_answered_while_three_hundred_are_wrong() {
    let Some(htpasswd) = clients::find("htpasswd") else { return };
    let tree = Tree::new();
    let (state, path, file) = (tree.beside("state"), tree.root(), tree.beside("htpasswd"));
    for (flags, name) in [("-cbB", "alice"), ("-bB", "bob")] {
        let mut command = Command::new(&htpasswd);
        clients::output(command.args(["-C", "11", flags]).arg(&file).args([name, "right"]));
    }
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\ntrusted_proxies = [\"127.0.0.1/32\"]\nhtpasswd = {file:?}\n\
         [state]\ndir = {state:?}\n[grant.all]\nusers = [\"*\"]\nscope = [\"read\"]\nrepositories = [\"*\"]\n\
         [repository.rpm]\npath = {path:?}\nread = \"token\"\n"
    );
    let daemon = confined(&write_config(&tree, &text));
    let ask = |from: &str, user: &str, password: &str| {
        let credentials = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        let headers = [("X-Forwarded-For", from), ("Authorization", credentials.as_str())];
        http::send(daemon.address(), "GET", "/rpm/", &headers, None)
    };
    assert_eq!(ask("192.0.2.1", "alice", "right").status, 200);
    let (refused, wrong) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for n in 0..300 {
            let (ask, refused, wrong) = (&ask, &refused, &wrong);
            scope.spawn(move || {
                let answer = ask(&format!("198.51.{}.{}", n / 250, n % 250), "alice", &format!("wrong {n}"));
                match answer.status {
                    401 => wrong.fetch_add(1, Ordering::Relaxed),
                    503 if answer.header("Retry-After").is_some() => refused.fetch_add(1, Ordering::Relaxed),
                    status => panic!("{status} {}", answer.text()),
                };
            });
        }
        // What is remembered waits for nobody, and a known address has its own queue.
        assert_eq!(ask("192.0.2.1", "alice", "right").status, 200);
        assert_eq!(ask("192.0.2.1", "bob", "right").status, 200);
    });
    let (refused, wrong) = (refused.into_inner(), wrong.into_inner());
    assert_eq!(refused + wrong, 300);
    assert!(refused > 0, "nobody was turned away");
    assert_confined(&daemon);
    daemon.stop();
}
