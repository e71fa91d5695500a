//! A web service is told of what needs a person, by the real daemon.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use crate::world::daemon::write_config;
use crate::world::tree::set_mtime;
use crate::world::{Daemon, PATIENCE, Rpm, Tree, eventually};

/// A service that answers 503 once, and then takes what comes: the requests it got.
fn service() -> (String, Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (told, heard) = channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
                head += &line;
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let status = if number == 0 { "503 Later" } else { "204 Taken" };
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
            if told.send((head, String::from_utf8(body).unwrap())).is_err() {
                return;
            }
        }
    });
    (address, heard)
}

#[test]
fn a_service_is_told_of_rejected_files_again_until_it_takes_it_and_of_others_after_a_reload() {
    let (address, heard) = service();
    let next = || heard.recv_timeout(PATIENCE).expect("a notice");
    let tree = Tree::new();
    let url = tree.write_beside("hook.url", format!("http://{address}/hook/secret\n").as_bytes());
    let hook = format!("[webhook.ops]\nurl_file = {url:?}\nevents = [\"rejected\"]\n");
    let daemon = Daemon::configured(&tree, &hook, "");
    daemon.until("the start", |metadata| metadata.packages.is_empty());
    tree.write("a<b>.rpm", b"no package");
    set_mtime(&tree.path("a<b>.rpm"), 1_500_000_000);
    let (head, first) = next();
    assert!(head.starts_with("POST /hook/secret HTTP/1.1") && head.contains("application/json"), "{head}");
    assert!(first.contains(r#""location":"a<b>.rpm""#) && first.contains(r#""repository":"rpm""#), "{first}");
    assert_eq!(next().1, first, "the same again, since it was not taken");

    // Another shape, live; what was told is not told again.
    let config = tree.beside("createrepod.toml");
    let text = fs::read_to_string(&config).unwrap().replace("events =", "format = \"slack\"\nevents =");
    write_config(&tree, &text);
    tree.add(&Rpm::new("good"));
    eventually(PATIENCE, "the package", || (daemon.metadata().packages.len() == 1).then_some(()));
    // The change of the configuration has nothing to show for itself, so each try is a new file.
    let mut number = 0;
    let slack = eventually(PATIENCE, "a text for Slack", || {
        number += 1;
        let name = format!("c<{number}>.rpm");
        tree.write(&name, b"no package");
        set_mtime(&tree.path(&name), 1_500_000_000);
        let (_, body) = next();
        body.starts_with(r#"{"text":"#).then_some(body)
    });
    assert!(slack.contains("&lt;") && !slack.contains("a<b>") && !slack.contains("a&lt;b"), "{slack}");
    assert!(!daemon.log().contains("secret"), "{}", daemon.log());
    daemon.stop();
}
