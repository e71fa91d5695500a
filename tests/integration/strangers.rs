//! What strangers do through a browser, and what is told of those who guess secrets.

use std::fs;
use std::process::{Command, Stdio};

use crate::world::authority::Authority;
use crate::world::daemon::{program, run, write_config};
use crate::world::{Daemon, PATIENCE, Rpm, Tree, clients, eventually, http};

fn ask(daemon: &Daemon, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> http::Response {
    let body = matches!(method, "PUT" | "POST").then_some(body);
    http::send(daemon.address(), method, path, headers, body)
}

#[test]
fn a_page_of_another_site_changes_nothing() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    let daemon = Daemon::configured(&tree, "base_url = \"https://repo.example.com/\"", "");
    let package = Rpm::new("b").build();
    let evil: [&[(&str, &str)]; 5] = [
        &[("Origin", "http://evil.example")],
        &[("Origin", "null")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site"), ("Origin", "https://repo.example.com")],
        &[("Sec-Fetch-Site", "cross-site"), ("Authorization", "Basic YTpi")],
    ];
    for headers in evil {
        for method in
            ["PUT", "POST", "DELETE", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "PROPPATCH", "PATCH", "BREW"]
        {
            for path in ["/rpm/b.rpm", "/rpm/a-1.0-1.noarch.rpm", "/-/api/v1/refresh", "/nosuch/x"] {
                let answer = ask(&daemon, method, path, headers, &package);
                assert_eq!(answer.status, 403, "{method} {path} {headers:?}");
                assert!(answer.text().contains("another site"), "{}", answer.text());
            }
        }
        assert_eq!(
            ask(&daemon, "GET", "/rpm/", headers, b"").status,
            200,
            "reading is harmless: {headers:?}"
        );
    }
    assert_eq!(
        tree.names_in("").iter().filter(|name| name.ends_with(".rpm")).count(),
        1,
        "nothing came or went"
    );
    for (number, headers) in [
        &[][..],
        &[("Sec-Fetch-Site", "same-origin"), ("Origin", "https://elsewhere.behind.a.proxy")],
        &[("Sec-Fetch-Site", "none")],
        &[("Origin", "https://repo.example.com")],
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("/rpm/c{number}.rpm");
        let answer = ask(&daemon, "PUT", &name, headers, &Rpm::new(format!("c{number}")).build());
        assert_eq!(answer.status, 201, "{headers:?}: {}", answer.text());
    }
    daemon.stop();
}

#[test]
fn without_a_configuration_only_names_of_this_machine_are_answered() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    let daemon = Daemon::serve(&tree);
    let paths = ["/", "/-/status", "/-/health", "/nosuch"].map(str::to_owned);
    let repository = ["", "repodata/repomd.xml", "a-1.0-1.noarch.rpm"].map(|location| daemon.at(location));
    for path in paths.iter().chain(&repository) {
        for method in ["GET", "HEAD", "PROPFIND", "PUT", "OPTIONS"] {
            for host in
                ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", ""]
            {
                let answer = ask(&daemon, method, path, &[("Host", host)], b"x");
                assert_eq!(answer.status, 421, "{method} {path} for {host:?}");
                assert!(method == "HEAD" || answer.text().contains("localhost"), "{}", answer.text());
                assert!(!answer.text().contains("evil"), "{}", answer.text());
            }
        }
    }
    for host in ["localhost", "127.0.0.1", "[::1]:1", "LOCALHOST:80"] {
        assert_eq!(ask(&daemon, "GET", &repository[1], &[("Host", host)], b"").status, 200, "{host}");
    }
    daemon.stop();
}

#[test]
fn what_lies_in_a_tree_runs_no_script_in_a_browser() {
    let tree = Tree::new();
    let evil = b"<x:script xmlns:x='http://www.w3.org/1999/xhtml'>alert(1)</x:script>";
    for name in ["page.html", "comps.xml", "picture.svg", "plain", "README.txt", "sub/deep.xhtml"] {
        tree.write(name, evil);
    }
    tree.add(&Rpm::new("a"));
    let daemon = Daemon::configured(&tree, "", "accept = \"any\"");
    daemon.until_exactly(&["a-1.0-1.noarch.rpm"]);
    let primary = daemon.metadata();
    assert_eq!(primary.packages.len(), 1);
    assert_eq!(ask(&daemon, "DELETE", &daemon.at("a-1.0-1.noarch.rpm"), &[], b"").status, 204);
    let conditions: [&[(&str, &str)]; 6] = [
        &[],
        &[("Range", "bytes=0-3")],
        &[("Range", "bytes=0-1,3-4")],
        &[("Range", "bytes=99999-")],
        &[("If-None-Match", "*")],
        &[("If-Match", "\"x\"")],
    ];
    let files = [
        "page.html",
        "comps.xml",
        "picture.svg",
        "plain",
        "README.txt",
        "sub/deep.xhtml",
        "repodata/repomd.xml",
    ];
    let mut statuses = std::collections::BTreeSet::new();
    // The package is gone, and kept for a while.
    for name in files.into_iter().chain(["a-1.0-1.noarch.rpm", "nothing", "rpm.repo"]) {
        for method in ["GET", "HEAD", "OPTIONS", "PROPFIND", "POST", "BREW"] {
            for more in conditions {
                let answer = ask(&daemon, method, &daemon.at(name), more, b"");
                let policy = answer.header("content-security-policy").unwrap_or_default();
                assert!(
                    policy.starts_with("sandbox; default-src 'none'"),
                    "{method} {name} {more:?}: {policy:?}"
                );
                assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{method} {name}");
                statuses.insert(answer.status);
            }
        }
    }
    for status in [200, 206, 304, 404, 405, 412, 416] {
        assert!(statuses.contains(&status), "{status} was seen: {statuses:?}");
    }
    // Our own pages are no strangers'.
    let page = ask(&daemon, "GET", &daemon.at(""), &[("Accept", "text/html")], b"");
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("style-src 'sha256-") && !policy.contains("sandbox"), "{policy}");
    daemon.stop();
}

#[test]
fn who_guesses_is_named_in_the_log_with_the_address_of_the_client() {
    let tree = Tree::new();
    let log = tree.beside("access.log");
    let server = format!("trusted_proxies = [\"127.0.0.1/32\"]\naccess_log = {log:?}");
    let daemon = Daemon::configured(&tree, &server, "read = \"token\"");
    let from = |address: &str, authorization: &str| {
        let headers = [("X-Forwarded-For", address), ("Authorization", authorization)];
        ask(&daemon, "GET", "/rpm/x.rpm", &headers, b"").status
    };
    // mallory":failed log-in from 203.0.113.9
    assert_eq!(from("192.0.2.7", "Basic bWFsbG9yeSI6ZmFpbGVkIGxvZy1pbiBmcm9tIDIwMy4wLjExMy45"), 401);
    assert_eq!(from("2001:db8::7", "Bearer crd_wrong"), 401);
    let mut last = 0;
    for _ in 0..30 {
        last = from("192.0.2.8", "Basic YTpi");
    }
    assert_eq!(last, 429);
    assert_eq!(ask(&daemon, "GET", "/rpm/x.rpm", &[], b"").status, 401, "to say nothing is no failure");
    let said = daemon.log();
    let lines = |text: &str| said.lines().filter(|line| line.contains("WARN") && line.contains(text)).count();
    assert_eq!(lines("failed log-in from 192.0.2.7 as \"mallory\\\"\": user and password"), 1, "{said}");
    assert_eq!(lines("failed log-in from 2001:db8::7: "), 1, "{said}");
    assert!(lines("failed log-in from 192.0.2.8 as \"a\"") >= 10, "{said}");
    assert!(lines("failed log-in from 192.0.2.8 as \"a\"") < 30, "{said}");
    assert!(lines("too many failed log-ins from 192.0.2.8: refused for ") >= 1, "{said}");
    assert_eq!(lines("from 127.0.0.1"), 0, "{said}");
    let metrics = ask(&daemon, "GET", "/-/metrics", &[], b"").text();
    let count = |reason: &str| {
        let name = format!("createrepod_logins_refused_total{{reason=\"{reason}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap();
        line.parse::<f64>().unwrap() as usize
    };
    assert_eq!(count("wrong") + count("locked_out"), 32, "{metrics}");
    daemon.stop();
    let noted = fs::read_to_string(log).unwrap();
    let of = |address: &str| noted.lines().filter(|line| line.starts_with(&format!("{address} - "))).count();
    assert_eq!((of("192.0.2.7"), of("2001:db8::7"), of("192.0.2.8")), (1, 1, 30), "{noted}");
}

#[test]
fn a_refused_certificate_and_one_that_ends_are_told() {
    let tree = Tree::new();
    let Some(authority) = Authority::new(&tree) else { return };
    authority.issue("server");
    // Of version 1, since there are no extensions; and one that ends in ten days.
    authority.openssl(&["req", "-subj", "/CN=old", "-keyout", "old.key", "-out", "old.csr"], true);
    let sign = [
        "x509",
        "-req",
        "-in",
        "old.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "10",
    ];
    authority.openssl(&[&sign[..], &["-out", "old.crt"]].concat(), false);
    let again = [
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-days",
        "10",
        "-extfile",
        "names",
    ];
    authority.openssl(&[&again[..], &["-out", "server.crt"]].concat(), false);
    let ca = authority.at("ca.crt");
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\", \"https://127.0.0.1:0\"]\ncontrol = {:?}\n{}\n[state]\ndir = {:?}\n\
         [repository.rpm]\npath = {:?}\n",
        tree.beside("control.sock"),
        authority.tls(&format!(", client_ca = {ca:?}")),
        tree.beside("state"),
        tree.root(),
    );
    let file = write_config(&tree, &text);
    let file_name = file.to_str().unwrap();
    let checked = run(["config", "check", "--config", file_name]);
    let soon = format!("the TLS certificate {} expires in 9 days, on ", authority.at("server.crt").display());
    let is_soon = |text: &str| text.contains(&soon) || text.contains(&soon.replace("9 days", "10 days"));
    assert!(checked.status.success() && is_soon(&checked.stderr), "{checked:?}");
    let daemon = Daemon::serve_config(&file, "/rpm/");
    let status = run(["status", "--config", file_name]);
    assert!(is_soon(&daemon.log()) && is_soon(&status.stdout), "{}{status:?}", daemon.log());
    let metrics = ask(&daemon, "GET", "/-/metrics", &[], b"").text();
    for kind in ["server", "client_ca"] {
        let name = format!("createrepod_tls_certificate_expiry_timestamp_seconds{{file=\"{kind}\"}} ");
        assert!(metrics.contains(&name), "{metrics}");
    }
    let far = ask(&daemon, "GET", "/-/status", &[("X-Forwarded-For", "192.0.2.1")], b"").text();
    assert!(!far.contains("server.crt"), "paths are nobody's business: {far}");

    let log = daemon.log();
    let from = log.find("https://127.0.0.1:").expect("it listens for TLS");
    let address = log[from + "https://".len()..].split(['/', '\n', ' ']).next().unwrap().to_owned();
    let mut client = Command::new(&authority.openssl);
    client.args(["s_client", "-connect", &address, "-cert"]).arg(authority.at("old.crt"));
    client.arg("-key").arg(authority.at("old.key"));
    client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    eventually(PATIENCE, "the refused certificate is told", || {
        let told = "refused the TLS certificate of a client from 127.0.0.1: it is of X.509 version 1";
        daemon.log().contains(told).then_some(())
    });
    daemon.stop();
}

#[test]
fn a_key_on_p_521_serves_and_an_encrypted_one_is_called_so() {
    let tree = Tree::new();
    let Some(authority) = Authority::new(&tree) else { return };
    tree.add(&Rpm::new("a"));
    let new = [
        "req",
        "-x509",
        "-days",
        "30",
        "-nodes",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ];
    let to = ["-keyout", "server.key", "-out", "server.crt"];
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"];
    authority.openssl(&[&new[..], &curve, &to].concat(), false);
    let listen = "listen = [\"127.0.0.1:0\", \"https://127.0.0.1:0\"]";
    let text = format!(
        "[server]\n{listen}\n{}\n[state]\ndir = {:?}\n[repository.rpm]\npath = {:?}\n",
        authority.tls(""),
        tree.beside("state"),
        tree.root(),
    );
    let file = write_config(&tree, &text);
    let forms = [
        (vec!["ec", "-in", "server.key", "-out", "new.key"], "the older form"),
        (vec!["pkcs8", "-topk8", "-nocrypt", "-in", "server.key", "-out", "new.key"], "PKCS #8"),
    ];
    for (convert, form) in forms {
        authority.openssl(&convert, false);
        fs::rename(authority.at("new.key"), authority.at("server.key")).unwrap();
        let daemon = Daemon::serve_config(&file, "/rpm/");
        let log = daemon.log();
        let url = format!(
            "https://{}",
            log.split("https://").nth(1).unwrap().split(['/', '\n', ' ']).next().unwrap()
        );
        if let Some(curl) = clients::find("curl") {
            for version in ["--tlsv1.3", "--tls-max"] {
                let mut command = Command::new(&curl);
                command.args(["-sS", "--max-time", "60", "--cacert"]).arg(authority.at("server.crt"));
                command.arg(version).args((version == "--tls-max").then_some("1.2"));
                let output = clients::output(command.arg(format!("{url}/rpm/repodata/repomd.xml")));
                assert!(output.contains("<repomd"), "{form} {version}: {output}");
            }
        }
        daemon.stop();
    }
    for (convert, form) in [
        (
            ["ec", "-aes128", "-passout", "pass:x", "-in", "server.key", "-out", "locked.key"],
            "the older form",
        ),
        (["pkcs8", "-topk8", "-passout", "pass:x", "-in", "server.key", "-out", "locked.key"], "PKCS #8"),
    ] {
        authority.openssl(&convert, false);
        let text = text.replace("server.key", "locked.key");
        let file = tree.write_beside("locked.toml", text.as_bytes());
        let file = file.to_str().unwrap();
        for command in [&["serve", "--config", file][..], &["config", "check", "--config", file]] {
            let refused = program().args(command).output().unwrap();
            let said = String::from_utf8_lossy(&refused.stderr);
            assert_eq!(refused.status.code(), Some(2), "{form} {command:?}: {said}");
            assert!(said.contains("locked.key is encrypted"), "{form}: {said}");
        }
    }
}
