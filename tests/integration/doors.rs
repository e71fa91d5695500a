//! The ways in: TLS, HTTP/2, client certificates, Unix sockets, several sockets of systemd's; and what
//! strangers may take.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::world::authority::Authority;
use crate::world::daemon::{program, run, write_config};
use crate::world::{AtLast, Daemon, PATIENCE, Rpm, Tree, clients, eventually, http};

fn serve(tree: &Tree, listen: &[&str], server: &str) -> Daemon {
    Daemon::serve_config(&configure(tree, listen, server), "/rpm/")
}

fn configure(tree: &Tree, listen: &[&str], server: &str) -> PathBuf {
    let (state, path) = (tree.beside("state"), tree.root());
    let text = format!(
        "[server]\nlisten = {listen:?}\n{server}\n[state]\ndir = {state:?}\n\n\
         [repository.rpm]\npath = {path:?}\nwrite = \"anyone\"\n"
    );
    write_config(tree, &text)
}

/// `https://127.0.0.1:PORT`, as the log has it.
fn https(daemon: &Daemon) -> String {
    let log = daemon.log();
    let from = log.find("https://127.0.0.1:").expect("it listens for TLS");
    log[from..].split('/').take(3).collect::<Vec<_>>().join("/")
}

fn curl(arguments: &[&str]) -> Option<Output> {
    let curl = clients::find("curl")?;
    Some(Command::new(curl).args(["-sS", "--max-time", "60"]).args(arguments).output().unwrap())
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn tls_speaks_http_2_and_1_and_both_versions() {
    let tree = Tree::new();
    let Some(authority) = Authority::new(&tree) else { return };
    authority.issue("server");
    tree.add(&Rpm::new("a"));
    let daemon = serve(&tree, &["127.0.0.1:0", "https://127.0.0.1:0"], &authority.tls(""));
    daemon.until_exactly(&["a-1.0-1.noarch.rpm"]);
    let ca = authority.at("ca.crt");
    let url = format!("{}/rpm/", https(&daemon));
    let repomd = format!("{url}repodata/repomd.xml");
    let large = vec![7; 3_000_000];
    fs::write(tree.root().join("large.txt"), &large).unwrap();
    for (options, version) in [
        (&["--http2", "--tlsv1.3"][..], "2"),
        (&["--http1.1", "--tlsv1.3"], "1.1"),
        (&["--http2", "--tls-max", "1.2"], "2"),
        (&["--http1.1", "--tls-max", "1.2"], "1.1"),
    ] {
        let ca = ["--cacert", ca.to_str().unwrap()];
        let written = ["-o", "/dev/null", "-w", "%{http_version} %{http_code}", &repomd];
        let Some(output) = curl(&[options, &ca, &written].concat()) else { return };
        assert_eq!(said(&output), format!("{version} 200"), "{options:?}");
        let body = curl(&[options, &ca, &[&format!("{url}large.txt")]].concat()).unwrap();
        assert!(body.stdout == large, "{options:?}: {} bytes", body.stdout.len());
        let name = format!("p{}.rpm", options.concat().replace(['-', '.'], ""));
        fs::write(tree.beside(&name), Rpm::new(name.trim_end_matches(".rpm")).build()).unwrap();
        let file = tree.beside(&name);
        let sent =
            curl(&[options, &ca, &["-w", "%{http_code}", "-T", file.to_str().unwrap(), &url]].concat());
        assert!(said(&sent.unwrap()).ends_with("201"), "{options:?}");
    }
    // Without TLS, for those who know: prior knowledge.
    let plain = format!("{}repodata/repomd.xml", daemon.url());
    let prior =
        curl(&["--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", &plain]);
    assert_eq!(said(&prior.unwrap()), "2 200");
    let dot_repo = curl(&["--cacert", ca.to_str().unwrap(), &format!("{url}rpm.repo")]).unwrap();
    assert!(said(&dot_repo).contains(&format!("baseurl={url}\n")), "{}", said(&dot_repo));
    daemon.stop();
}

#[test]
fn a_changed_certificate_is_taken_up_and_no_connection_is_dropped() {
    let tree = Tree::new();
    let Some(authority) = Authority::new(&tree) else { return };
    authority.issue("server");
    let daemon = serve(&tree, &["127.0.0.1:0", "https://127.0.0.1:0"], &authority.tls(""));
    let address = https(&daemon).trim_start_matches("https://").to_owned();
    let shown = || {
        let mut command = Command::new(&authority.openssl);
        command.args(["s_client", "-connect", &address]).stdin(Stdio::null()).stderr(Stdio::null());
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stdout).split("-----END").next().unwrap_or_default().to_owned()
    };
    let before = shown();
    assert!(before.contains("-----BEGIN CERTIFICATE"), "{before}");
    // A connection that was made with the old one, and lives on.
    let mut old = Command::new(&authority.openssl);
    let ca = authority.at("ca.crt");
    old.args(["s_client", "-quiet", "-connect", &address, "-CAfile"]).arg(&ca);
    let mut old = old.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut ask = |last: &str| {
        let request = format!("GET /-/health HTTP/1.1\r\nHost: localhost\r\nConnection: {last}\r\n\r\n");
        old.stdin.as_mut().unwrap().write_all(request.as_bytes()).unwrap();
    };
    ask("keep-alive");

    // One whose key is another's changes nothing, and the log says why.
    let good = fs::read(authority.at("server.crt")).unwrap();
    fs::copy(authority.at("ca.crt"), authority.at("server.crt")).unwrap();
    eventually(PATIENCE, "the mistake is told", || {
        daemon.log().contains("the certificate for TLS stays as it was").then_some(())
    });
    assert!(daemon.log().contains("the key is another certificate's"), "{}", daemon.log());
    assert_eq!(shown(), before);
    fs::write(authority.at("server.crt"), good).unwrap();

    authority.issue("server");
    eventually(PATIENCE, "the new certificate is shown", || (shown() != before).then_some(()));
    assert!(daemon.log().contains("took up the changed certificate"), "{}", daemon.log());
    ask("close");
    let mut answers = String::new();
    old.stdout.take().unwrap().read_to_string(&mut answers).unwrap();
    old.wait().unwrap();
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 2, "{answers}");
    daemon.stop();
}

#[test]
fn a_client_may_show_a_certificate_and_a_foreign_one_is_refused() {
    let tree = Tree::new();
    let Some(authority) = Authority::new(&tree) else { return };
    authority.issue("server");
    authority.issue("ci");
    let foreign = ["req", "-x509", "-subj", "/CN=ci", "-keyout", "foreign.key", "-out", "foreign.crt"];
    authority.openssl(&foreign, true);
    let more = format!(", client_ca = {:?}", authority.at("ca.crt"));
    let daemon = serve(&tree, &["127.0.0.1:0", "https://127.0.0.1:0"], &authority.tls(&more));
    let url = format!("{}/-/status", https(&daemon));
    let ca = authority.at("ca.crt");
    let with = |name: Option<&str>| {
        let mut arguments = vec!["--cacert".to_owned(), ca.display().to_string()];
        if let Some(name) = name {
            let at = |end: &str| authority.at(&format!("{name}.{end}")).display().to_string();
            arguments.extend(["--cert".into(), at("crt"), "--key".into(), at("key")]);
        }
        arguments.extend(["-o".into(), "/dev/null".into(), "-w".into(), "%{http_code}".into(), url.clone()]);
        curl(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let Some(without) = with(None) else { return };
    assert_eq!(said(&without), "200");
    assert_eq!(said(&with(Some("ci")).unwrap()), "200");
    assert!(!with(Some("foreign")).unwrap().status.success());
    daemon.stop();
}

#[test]
fn what_tls_cannot_be_spoken_with_is_told_at_start() {
    let tree = Tree::new();
    let config = |files: &str| {
        let text = format!("[server]\nlisten = [\"https://127.0.0.1:0\"]\ntls = {{ {files} }}\n");
        write_config(&tree, &text)
    };
    let missing = run([
        "serve".as_ref(),
        "--config".as_ref(),
        config("certificate = '/none', key = '/none'").as_os_str(),
    ]);
    assert_eq!(missing.status.code(), Some(1), "{}", missing.stderr);
    assert!(missing.stderr.contains("cannot speak TLS: cannot read /none"), "{}", missing.stderr);
    fs::write(tree.beside("empty"), "").unwrap();
    let empty = tree.beside("empty");
    let files = format!("certificate = {empty:?}, key = {empty:?}");
    let empty = run(["serve".as_ref(), "--config".as_ref(), config(&files).as_os_str()]);
    assert!(empty.stderr.contains("holds no certificate in PEM form"), "{}", empty.stderr);
}

#[test]
fn a_unix_socket_serves_a_proxy_and_is_gone_after_the_stop() {
    let tree = Tree::new();
    let socket = tree.beside("http.sock");
    // What a killed daemon left.
    drop(UnixListener::bind(&socket).unwrap());
    let listen = format!("unix:{}", socket.display());
    let daemon = serve(&tree, &["127.0.0.1:0", &listen], "");
    let file = tree.beside("a.rpm");
    fs::write(&file, Rpm::new("a").build()).unwrap();
    let through = ["--unix-socket", socket.to_str().unwrap()];
    let put =
        ["-w", "%{http_code}", "-H", "Prefer: wait=60", "-T", file.to_str().unwrap(), "http://proxy/rpm/"];
    let Some(sent) = curl(&[&through[..], &put].concat()) else { return };
    assert!(said(&sent).ends_with("201"), "{}", said(&sent));
    let got = curl(&[&through[..], &["http://proxy/rpm/a.rpm"]].concat()).unwrap();
    assert!(got.stdout == fs::read(&file).unwrap());
    let second = run(["serve".as_ref(), "--listen".as_ref(), listen.as_ref(), tree.root().as_os_str()]);
    assert!(second.stderr.contains("another process listens there"), "{}", second.stderr);
    daemon.stop();
    assert!(!socket.exists());
}

#[test]
fn systemd_may_hand_over_several_sockets() {
    let tree = Tree::new();
    let Some(authority) = Authority::new(&tree) else { return };
    authority.issue("server");
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let secure = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = tree.beside("http.sock");
    let unix = UnixListener::bind(&path).unwrap();
    let text = format!(
        "[server]\nlisten = [\"https://127.0.0.1:1\"]\n{}\n[state]\ndir = {:?}\n[repository.rpm]\npath = {:?}\n",
        authority.tls(""),
        tree.beside("state"),
        tree.root()
    );
    let mut command = Command::new("/bin/sh");
    let script = "exec 3<&0 4<&1 5<&2 </dev/null >/dev/null 2>\"$2\"; \
                  LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=http:https:unix exec \"$0\" serve --config \"$1\"";
    let log = tree.beside("log");
    command.arg("-c").arg(script).arg(program().get_program()).arg(write_config(&tree, &text)).arg(&log);
    command.stdin(OwnedFd::from(plain.try_clone().unwrap()));
    command.stdout(OwnedFd::from(secure.try_clone().unwrap())).stderr(OwnedFd::from(unix));
    let mut child = command.spawn().unwrap();
    let plain = plain.local_addr().unwrap();
    eventually(PATIENCE, "it answers", || {
        http::try_send(plain, "GET", "/-/health", &[], None).ok().map(|_| ())
    });
    let (ca, secure) = (authority.at("ca.crt"), secure.local_addr().unwrap());
    let code = ["-o", "/dev/null", "-w", "%{http_code}"];
    let url = format!("https://{secure}/-/status");
    let over_tls = curl(&[&code[..], &["--cacert", ca.to_str().unwrap(), &url]].concat());
    let over_unix =
        curl(&[&code[..], &["--unix-socket", path.to_str().unwrap(), "http://x/-/status"]].concat());
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    child.wait().unwrap();
    let log = fs::read_to_string(log).unwrap();
    for output in [over_tls, over_unix].into_iter().flatten() {
        assert_eq!(said(&output), "200", "{log}");
    }
    assert!(path.exists(), "systemd's socket is not ours to remove");
}

#[test]
fn a_thousand_slow_clients_hold_nobody_up() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    let limits = "[limits]\nconnections = 900\nheader_time = \"2s\"\nstall = \"2s\"\n";
    let daemon = serve(&tree, &["127.0.0.1:0"], limits);
    daemon.until_exactly(&["a-1.0-1.noarch.rpm"]);
    let address = daemon.address();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let done = &done;
        let _over = AtLast(done);
        for share in 0..4 {
            scope.spawn(move || slow_clients(address, share, done));
        }
        // While they are at it, a client that behaves gets all it asks for.
        for n in 0..20 {
            let answer = http::send(address, "GET", "/rpm/repodata/repomd.xml", &[], None);
            assert_eq!(answer.status, 200);
            let package = Rpm::new(format!("p{n}")).build();
            let stored = http::send(address, "PUT", &format!("/rpm/p{n}.rpm"), &[], Some(&package));
            assert_eq!(stored.status, 201, "{}", stored.text());
        }
    });
    daemon.stop();
}

/// 250 clients that send a byte now and then: half of them of a header, half of an upload.
fn slow_clients(address: SocketAddr, share: usize, done: &std::sync::atomic::AtomicBool) {
    let mut clients: Vec<Option<TcpStream>> = (0..250).map(|_| None).collect();
    while !done.load(std::sync::atomic::Ordering::Relaxed) {
        for (n, client) in clients.iter_mut().enumerate() {
            let begin = match (n + share) % 2 {
                0 => "GET /rpm/ HTTP/1.1\r\nX-Slow: ".to_owned(),
                _ => format!(
                    "PUT /rpm/slow{share}-{n}.rpm HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
                ),
            };
            let stays = client.as_mut().is_some_and(|client| client.write_all(b"x").is_ok());
            if !stays {
                *client = TcpStream::connect_timeout(&address, Duration::from_millis(50)).ok();
                if let Some(client) = client {
                    let _ = client.write_all(begin.as_bytes());
                }
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn the_access_log_notes_every_request_and_is_opened_anew() {
    let tree = Tree::new();
    let log = tree.beside("access.log");
    let daemon = serve(&tree, &["127.0.0.1:0"], &format!("access_log = {log:?}"));
    let package = Rpm::new("a").build();
    assert_eq!(daemon.put_and_wait("a.rpm", &package).status, 201);
    assert_eq!(daemon.get("a.rpm").body.len(), package.len());
    let evil = [("User-Agent", "x\" 200 1 \"-\" \"forged"), ("Referer", "http://example.com/\u{e9}")];
    assert_eq!(daemon.request("GET", "none", &evil, None).status, 404);
    let text = eventually(PATIENCE, "the lines are there", || {
        let text = fs::read_to_string(&log).ok()?;
        text.contains("forged").then_some(text)
    });
    // Without the questions whether it is ready.
    let all: Vec<&str> = text.lines().filter(|line| !line.contains("\"GET /-/")).collect();
    assert!(
        all[0].starts_with("127.0.0.1 - - [") && all[0].contains("\"PUT /rpm/a.rpm HTTP/1.1\" 201 "),
        "{text}"
    );
    assert!(
        all[1].contains(&format!("\"GET /rpm/a.rpm HTTP/1.1\" 200 {} \"-\" \"-\"", package.len())),
        "{text}"
    );
    assert!(all[2].ends_with(r#""http://example.com/\xc3\xa9" "x\" 200 1 \"-\" \"forged""#), "{text}");
    let old = tree.beside("access.log.1");
    fs::rename(&log, &old).unwrap();
    daemon.signal(Signal::HUP);
    eventually(PATIENCE, "the file is made anew", || {
        daemon.get("a.rpm");
        fs::read_to_string(&log).ok().filter(|text| !text.is_empty())
    });
    daemon.stop();
}

#[test]
fn changed_server_keys_are_taken_up_while_connections_go_on() {
    let tree = Tree::new();
    let first = tree.beside("first.log");
    let second = tree.beside("second.log");
    let write = |more: &str| {
        write_config(
            &tree,
            &format!(
                "[server]\nlisten = [\"127.0.0.1:0\"]\n{more}\n[state]\ndir = {:?}\n[repository.rpm]\npath = {:?}\nwrite = \"anyone\"\n",
                tree.beside("state"),
                tree.root()
            ),
        )
    };
    let daemon = Daemon::serve_config(&write(&format!("access_log = {first:?}")), "/rpm/");
    let connection = TcpStream::connect(daemon.address()).unwrap();
    let mut reader = std::io::BufReader::new(&connection);
    let mut ask = |path: &str| {
        (&connection)
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
            .unwrap();
        let (mut length, mut line) = (0, String::new());
        while line != "\r\n" {
            line.clear();
            std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
            let line = line.to_ascii_lowercase();
            length = line.strip_prefix("content-length:").map_or(length, |text| text.trim().parse().unwrap());
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    };
    assert!(ask("/rpm/rpm.repo").contains("baseurl=http://127.0.0.1"));
    let package = Rpm::new("a").build();

    // One mistake among good keys: nothing of them counts, and the log says why.
    write("base_url = \"https://wrong.example/\"\naccess_log = \"/nonexistent/access.log\"");
    eventually(PATIENCE, "the mistake is told", || {
        daemon.log().contains("the configuration stays as it was: cannot open the access log").then_some(())
    });
    assert!(ask("/rpm/rpm.repo").contains("baseurl=http://127.0.0.1"));

    write(&format!(
        "base_url = \"https://repo.example/\"\nmax_upload = \"100\"\naccess_log = {second:?}\ncontrol = {:?}",
        tree.beside("c.sock")
    ));
    // Over the connection that was there before.
    eventually(PATIENCE, "the new base URL is told", || {
        ask("/rpm/rpm.repo").contains("baseurl=https://repo.example/rpm/").then_some(())
    });
    assert_eq!(daemon.put("a.rpm", &package).status, 413);
    eventually(PATIENCE, "the new log is written", || {
        fs::read_to_string(&second).ok().filter(|text| text.contains("PUT /rpm/a.rpm"))
    });
    assert!(!fs::read_to_string(&first).unwrap().contains("PUT /rpm/a.rpm"));
    eventually(PATIENCE, "what waits is told", || {
        daemon.log().contains("[server] control changed; that is taken up by a restart only").then_some(())
    });
    daemon.stop();
}

#[test]
fn certificate_and_key_may_lie_elsewhere_from_now_on() {
    let tree = Tree::new();
    let Some(authority) = Authority::new(&tree) else { return };
    let names = ["server", "other"];
    names.iter().for_each(|name| authority.issue(name));
    let configure = |name: &str| {
        let [certificate, key] = ["crt", "key"].map(|end| authority.at(&format!("{name}.{end}")));
        let tls = format!("tls = {{ certificate = {certificate:?}, key = {key:?} }}");
        configure(&tree, &["127.0.0.1:0", "https://127.0.0.1:0"], &tls)
    };
    let daemon = Daemon::serve_config(&configure("server"), "/rpm/");
    let address = https(&daemon).trim_start_matches("https://").to_owned();
    let subject = || {
        let mut command = Command::new(&authority.openssl);
        command.args(["s_client", "-connect", &address]).stdin(Stdio::null()).stderr(Stdio::null());
        let said = String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned();
        said.lines().find(|line| line.starts_with("subject=")).unwrap_or_default().to_owned()
    };
    assert!(subject().ends_with("server"), "{}", subject());
    configure("nowhere");
    eventually(PATIENCE, "the mistake is told", || {
        daemon.log().contains("the configuration stays as it was: cannot speak TLS").then_some(())
    });
    assert!(subject().ends_with("server"), "{}", subject());
    configure("other");
    eventually(PATIENCE, "the other certificate is shown", || subject().ends_with("other").then_some(()));
    // From now on that file is the one that is watched.
    fs::rename(authority.at("server.key"), authority.at("other.key")).unwrap();
    fs::rename(authority.at("server.crt"), authority.at("other.crt")).unwrap();
    eventually(PATIENCE, "the renewed one is shown", || subject().ends_with("server").then_some(()));
    daemon.stop();
}

/// What is said to a connection that sends this and then waits; empty when nothing is said in `time`.
fn hears(address: SocketAddr, request: &str, time: Duration) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream.set_read_timeout(Some(time)).unwrap();
    let mut answer = [0; 12];
    match stream.read_exact(&mut answer) {
        Ok(()) => String::from_utf8_lossy(&answer).into_owned(),
        Err(_) => String::new(),
    }
}

#[test]
fn each_limit_is_taken_up_while_connections_go_on() {
    let tree = Tree::new();
    let patient = "header_time = '1h'\nstall = '1h'\nidle = '1h'\nstop = '1h'\nleast_rate = '0'\n";
    let configure = |limits: &str| configure(&tree, &["127.0.0.1:0"], &format!("[limits]\n{limits}\n"));
    let daemon = Daemon::serve_config(&configure(&format!("{patient}connections = 1")), "/rpm/");
    let address = daemon.address();
    let mut changes = 0;
    let mut change = |limits: &str| {
        configure(limits);
        changes += 1;
        eventually(PATIENCE, limits, || {
            (daemon.log().matches("took up the changed [server]").count() == changes).then_some(())
        });
    };
    let upload = "PUT /rpm/a.rpm HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nbegun";
    let fields = (0..20).map(|n| format!("X-{n}: {n}\r\n")).collect::<String>();
    let many = format!("GET /-/health HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    let large = format!("GET /-/health HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(40_000));

    // One place, and somebody in it: the next one waits until there are more.
    let mut inside = TcpStream::connect(address).unwrap();
    inside.write_all(upload.as_bytes()).unwrap();
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| hears(address, &many, PATIENCE));
        assert_eq!(hears(address, &many, Duration::from_millis(700)), "");
        change(&format!("{patient}connections = 100"));
        waiting.join().unwrap()
    });
    assert_eq!(waiting, "HTTP/1.1 200");
    assert_eq!(hears(address, &large, PATIENCE), "HTTP/1.1 200");

    change(&format!("{patient}header_count = 10"));
    assert_eq!(hears(address, &many, PATIENCE), "HTTP/1.1 431");
    change(&format!("{patient}header_size = '8k'"));
    assert_eq!(hears(address, &many, PATIENCE), "HTTP/1.1 200");
    assert_eq!(hears(address, &large, PATIENCE), "HTTP/1.1 431");
    change(&patient.replace("header_time = '1h'", "header_time = '1s'"));
    assert_eq!(hears(address, &many[..many.len() - 2], PATIENCE), "HTTP/1.1 408");
    change(&patient.replace("stall = '1h'", "stall = '1s'"));
    assert_eq!(hears(address, upload, PATIENCE), "HTTP/1.1 408");
    // Never silent for long, and much too slow.
    change(&patient.replace("stall = '1h'\n", "stall = '5s'\n").replace("'0'", "'1m'"));
    let mut slow = TcpStream::connect(address).unwrap();
    slow.write_all(upload.as_bytes()).unwrap();
    slow.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut answer = [0; 12];
    eventually(PATIENCE, "whoever trickles is told", || {
        let _ = slow.write_all(b"x");
        slow.read_exact(&mut answer).is_ok().then_some(())
    });
    assert_eq!(&answer, b"HTTP/1.1 408");
    change(&patient.replace("idle = '1h'", "idle = '1s'"));
    let mut idle = TcpStream::connect(address).unwrap();
    idle.write_all(b"GET /-/health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    idle.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut all = String::new();
    idle.read_to_string(&mut all).unwrap();
    assert!(all.starts_with("HTTP/1.1 200") && !all.contains("connection: close"), "{all}");
    // The upload that was begun first is still patient, and does not hold up the stop.
    change(&patient.replace("stop = '1h'", "stop = '1s'"));
    daemon.stop();
    drop(inside);
}

#[test]
fn the_journal_can_hold_the_access_log() {
    let tree = Tree::new();
    let daemon = serve(&tree, &["127.0.0.1:0"], "access_log = \"journal\"");
    let id = [("X-Request-Id", "trace-4711")];
    assert_eq!(daemon.request("GET", "none.rpm", &id, None).header("x-request-id"), Some("trace-4711"));
    eventually(PATIENCE, "the event is told", || {
        let log = daemon.log();
        (log.contains("404 GET /rpm/none.rpm") && log.contains("request_id=trace-4711")).then_some(())
    });
    daemon.stop();
}

#[test]
fn a_stop_waits_as_long_as_it_was_told_to() {
    let tree = Tree::new();
    let daemon = serve(&tree, &["127.0.0.1:0"], "[limits]\nstop = \"1s\"");
    let mut stream = TcpStream::connect(daemon.address()).unwrap();
    let package = Rpm::new("a").payload(8_000_000).build();
    let head = format!("PUT /rpm/a.rpm HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", package.len());
    stream.write_all(&[head.as_bytes(), &package[..package.len() / 2]].concat()).unwrap();
    eventually(PATIENCE, "it has begun", || daemon.stages_in(&tree).then_some(()));
    // The upload never ends; the daemon does.
    daemon.stop();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
}
