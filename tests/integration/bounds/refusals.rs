//! Uploads that are refused before they have come: the client reads why.

use std::fs;
use std::process::{Command, Output};

use crate::world::authority::Authority;
use crate::world::daemon::write_config;
use crate::world::{Daemon, Rpm, Tree, clients};

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Over HTTP/2 a stream that is reset before the body has come makes curl say "(92) Stream error" and nothing else.
#[test]
fn curl_shows_why_an_upload_is_refused_over_http_2() {
    let Some(curl) = clients::find("curl") else { return };
    let tree = Tree::new();
    let Some(authority) = Authority::new(&tree) else { return };
    authority.issue("server");
    let (state, root) = (tree.beside("state"), tree.root());
    for name in ["open", "closed", "off"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\", \"https://127.0.0.1:0\"]\nmax_upload = \"20m\"\n{}\n[state]\ndir = {state:?}\n\
         [repository.open]\npath = {:?}\nwrite = \"anyone\"\n\
         [repository.closed]\npath = {:?}\nwrite = \"token\"\n\
         [repository.off]\npath = {:?}\nwrite = \"off\"\n",
        authority.tls(""),
        root.join("open"),
        root.join("closed"),
        root.join("off"),
    );
    let daemon = Daemon::serve_config(&write_config(&tree, &text), "/open/");
    let log = daemon.log();
    let from = log.find("https://127.0.0.1:").expect("it listens for TLS");
    let server = log[from..].split('/').take(3).collect::<Vec<_>>().join("/");
    let ca = authority.at("ca.crt");
    let put = |size: usize, damage: bool, more: &[&str], url: &str| {
        let mut bytes = Rpm::new("refused").build();
        bytes.resize(size.max(bytes.len()), 7);
        if damage {
            bytes[0] = 0;
        }
        let file = tree.beside("upload.rpm");
        fs::write(&file, bytes).unwrap();
        let mut command = Command::new(&curl);
        command.args([
            "-sS",
            "--http2",
            "--max-time",
            "60",
            "-w",
            "%{http_version} %{http_code}",
            "--cacert",
        ]);
        command.arg(&ca).args(more).arg("-T").arg(&file).arg(format!("{server}{url}"));
        said(&command.output().unwrap())
    };
    for size in [27_000, 30_000_000] {
        for _ in 0..4 {
            let unknown = put(size, false, &[], "/closed/a.rpm");
            assert!(unknown.ends_with("2 401") && unknown.contains("say who you are"), "{unknown}");
            let off = put(size, false, &[], "/off/a.rpm");
            assert!(off.ends_with("2 403") && off.contains("takes no uploads"), "{off}");
            let name = put(size, false, &[], "/open/a.txt");
            let expected = if size > 20 << 20 { "2 413" } else { "2 415" };
            assert!(name.ends_with(expected) && !name.contains("curl: ("), "{name}");
        }
    }
    let no_package = put(15_000_000, true, &[], "/open/a.rpm");
    assert!(no_package.ends_with("2 415") && no_package.contains("nothing was stored"), "{no_package}");
    let digest = ["-H", "Content-Digest: sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"];
    let damaged = put(15_000_000, false, &digest, "/open/a.rpm");
    assert!(damaged.ends_with("2 422") && damaged.contains("nothing was stored"), "{damaged}");
    // Without curl's length, the length is known only once it is too long.
    let chunked = put(30_000_000, false, &["-H", "Content-Length:"], "/open/a.rpm");
    assert!(chunked.contains("2 4") && !chunked.contains("curl: (92)"), "{chunked}");
    daemon.stop();
}
