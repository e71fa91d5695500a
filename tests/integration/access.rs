//! Who may do what, asked by the clients people use: curl, wget, dnf.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::world::authority::Authority;
use crate::world::clients::{self, Dnf};
use crate::world::daemon::{configuration, program, run, write_config};
use crate::world::http::Port;
use crate::world::{Daemon, PATIENCE, Rpm, Tree, eventually, http};

/// A daemon with `[repository.rpm]` and `[repository.private]`, and its configuration.
struct World {
    tree: Tree,
    config: PathBuf,
    daemon: Daemon,
}

impl World {
    fn new(server: &str, rpm: &str, private: &str, more: &str) -> Self {
        let tree = Tree::new();
        fs::create_dir(tree.beside("private")).unwrap();
        let config = write_config(
            &tree,
            &format!(
                "[server]\nlisten = [\"127.0.0.1:0\"]\n{server}\n[state]\ndir = \"{}\"\n\
                 [repository.rpm]\npath = \"{}\"\n{rpm}\n[repository.private]\npath = \"{}\"\n{private}\n{more}\n",
                tree.beside("state").display(),
                tree.root().display(),
                tree.beside("private").display(),
            ),
        );
        let daemon = Daemon::serve_config(&config, "/rpm/");
        Self { tree, config, daemon }
    }

    fn tokens() -> Self {
        Self::new("", "write = \"token\"", "read = \"token\"\nwrite = \"token\"", "")
    }

    fn command(&self, arguments: &[&str]) -> crate::world::daemon::Outcome {
        let config = self.config.to_str().unwrap();
        run(["token"].iter().chain(arguments).chain(&["--config", config]))
    }

    fn token(&self, name: &str, repository: &str, scope: &str) -> String {
        let made = self.command(&["add", name, "--repository", repository, "--scope", scope]);
        assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
        let token = made.stdout.trim().to_owned();
        assert!(token.starts_with("crd_") && !made.stderr.contains(&token), "{made:?}");
        token
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.daemon.address())
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> http::Response {
        http::send(self.daemon.address(), method, path, headers, body)
    }

    fn with(&self, token: &str, method: &str, path: &str, body: Option<&[u8]>) -> http::Response {
        self.ask(method, path, &[("Authorization", &format!("Bearer {token}"))], body)
    }
}

fn curl(arguments: &[&str]) -> Option<(u16, String)> {
    let curl = clients::find("curl")?;
    let output = Command::new(curl)
        .args(["-sS", "-o", "-", "-w", "\n%{http_code}", "--max-time", "60"])
        .args(arguments)
        .env("HOME", "/nonexistent")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap();
    Some((status.parse().unwrap(), body.to_owned()))
}

#[test]
fn a_token_is_made_used_rotated_and_revoked_while_the_daemon_runs() {
    let world = World::tokens();
    let rpm = Rpm::new("hello");
    let file = world.tree.write_beside(rpm.file_name(), &rpm.build());
    let (file, url) = (file.to_str().unwrap(), world.url("/rpm/"));
    let Some((status, _)) = curl(&["-T", file, &url]) else { return };
    assert_eq!(status, 401, "nobody writes without a token");

    let token = world.token("ci", "rpm", "write");
    let (status, body) = curl(&["-u", &format!("ci:{token}"), "-T", file, &url]).unwrap();
    assert_eq!(status, 201, "{body}");
    let bearer = format!("Authorization: Bearer {token}");
    assert_eq!(curl(&["-H", &bearer, "-T", file, &url]).unwrap().0, 200);
    let netrc = format!("machine 127.0.0.1 login ci password {token}\n");
    let netrc = world.tree.write_beside("netrc", netrc.as_bytes());
    assert_eq!(curl(&["--netrc-file", netrc.to_str().unwrap(), "-T", file, &url]).unwrap().0, 200);

    let rotated = world.command(&["rotate", "ci", "--overlap", "1h"]);
    let new = rotated.stdout.trim().to_owned();
    for either in [&token, &new] {
        assert_eq!(
            world.with(either, "PUT", &world.daemon.at(&rpm.file_name()), Some(&rpm.build())).status,
            200
        );
    }
    let rotated = world.command(&["rotate", "ci"]);
    for old in [&token, &new] {
        assert_eq!(
            world.with(old, "PUT", &world.daemon.at(&rpm.file_name()), Some(&rpm.build())).status,
            401
        );
    }
    let new = rotated.stdout.trim().to_owned();
    assert_eq!(world.with(&new, "PUT", &world.daemon.at(&rpm.file_name()), Some(&rpm.build())).status, 200);
    assert_eq!(world.command(&["revoke", "ci"]).status.code(), Some(0));
    let after = world.with(&new, "PUT", &world.daemon.at(&rpm.file_name()), Some(&rpm.build()));
    assert_eq!(after.status, 401, "from the next request on");
    world.daemon.until_exactly(&[&rpm.file_name()]);
}

#[test]
fn the_command_says_how_it_ended() {
    let world = World::tokens();
    world.token("ci", "rpm", "write,delete");
    let code = |arguments: &[&str]| world.command(arguments).status.code();
    assert_eq!(code(&["add", "ci", "--repository", "rpm", "--scope", "read"]), Some(4), "the name is taken");
    assert_eq!(
        code(&["add", "x", "--repository", "other", "--scope", "read"]),
        Some(3),
        "no such repository"
    );
    assert_eq!(code(&["add", "x", "--repository", "rpm", "--scope", "rite"]), Some(2));
    assert_eq!(code(&["revoke", "other"]), Some(3));
    assert_eq!(code(&["rotate", "other"]), Some(3));
    let listed: serde_json::Value = serde_json::from_str(&world.command(&["list", "--json"]).stdout).unwrap();
    assert_eq!(listed["tokens"][0]["name"], "ci");
    assert_eq!(listed["tokens"][0]["scopes"], serde_json::json!(["write", "delete"]));
    assert_eq!(listed["tokens"][0]["expires"], serde_json::Value::Null);
    let table = world.command(&["list"]).stdout;
    assert!(table.starts_with("NAME") && table.contains("write,delete"), "{table}");
}

#[test]
fn every_door_of_a_private_repository_is_closed_before_anything_is_told() {
    let world = World::tokens();
    let rpm = Rpm::new("secret");
    fs::write(world.tree.beside("private").join(rpm.file_name()), rpm.build()).unwrap();
    let there = format!("/private/{}", rpm.file_name());
    let (upload, read) = (world.token("up", "private", "write"), world.token("down", "private", "read"));
    eventually(PATIENCE, "the package is published", || {
        (world.with(&read, "GET", &there, None).status == 200).then_some(())
    });
    for path in [
        there.as_str(),
        "/private/nothing.rpm",
        "/private/",
        "/private",
        "/private/repodata/repomd.xml",
        "/private/private.repo",
        "/private/.createrepod/lock",
        "/private/-/x",
        "/private/repodata/",
    ] {
        for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PROPFIND", "MKCOL", "LOCK"] {
            let answer = world.ask(method, path, &[], (method == "PUT").then_some(&b"x"[..]));
            assert_eq!(answer.status, 401, "{method} {path}: {answer:?}");
            let challenges: Vec<_> = answer
                .headers
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case("www-authenticate"))
                .collect();
            assert!(challenges.iter().any(|(_, value)| value.starts_with("Basic realm=")), "{answer:?}");
            assert!(challenges.iter().any(|(_, value)| value.starts_with("Bearer")), "{answer:?}");
            assert!(answer.header("Createrepod-Revision").is_none() && !answer.text().contains("secret"));
        }
    }
    assert!(!world.ask("GET", "/", &[], None).text().contains("private"));
    assert!(!world.ask("GET", "/-/status", &[], None).text().contains("private"));
    assert!(world.with(&read, "GET", "/-/status", None).text().contains("private"));
    // Who is known hears more.
    assert_eq!(world.with(&read, "GET", "/private/nothing.rpm", None).status, 404);
    assert_eq!(world.with(&read, "PUT", &there, Some(b"x")).status, 403);
    assert_eq!(world.with(&upload, "GET", &there, None).status, 403);
    assert_eq!(world.with(&upload, "DELETE", &there, None).status, 403);
    let elsewhere = world.token("elsewhere", "rpm", "admin");
    assert_eq!(
        world.with(&elsewhere, "GET", &there, None).status,
        404,
        "it is not even told that it is there"
    );
}

#[test]
fn a_client_that_waits_for_100_continue_is_refused_before_it_sends() {
    let world = World::tokens();
    let mut stream = std::net::TcpStream::connect(world.daemon.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head =
        "PUT /rpm/a.rpm HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 401 "), "{line}");
}

#[test]
fn dnf_reads_a_private_repository_with_a_token() {
    let world = World::tokens();
    let rpm = Rpm::new("secret");
    fs::write(world.tree.beside("private").join(rpm.file_name()), rpm.build()).unwrap();
    let token = world.token("mirror", "priv*", "read");
    eventually(PATIENCE, "it is published", || {
        let metadata = world.with(&token, "GET", "/private/repodata/repomd.xml", None);
        let listed = world.with(&token, "GET", "/-/status", None).text();
        (metadata.status == 200 && listed.contains("\"packages\": 1")).then_some(())
    });
    let Some(dnf) = Dnf::find() else { return };
    let names = dnf.nevras_as(&world.url("/private/"), "mirror", &token);
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["secret-0:1.0-1.noarch"]);
}

#[test]
fn users_of_an_htpasswd_file_have_what_the_grants_say() {
    let Some(htpasswd) = clients::find("htpasswd") else { return };
    let tree = Tree::new();
    let file = tree.beside("htpasswd");
    let user = |flags: &str, name: &str, password: &str| {
        clients::output(Command::new(&htpasswd).arg(flags).arg(&file).args([name, password]));
    };
    user("-cbB", "alice", "correct horse");
    user("-bm", "bob", "battery");
    user("-bs", "carol", "staple");
    let world = World::new(
        &format!("htpasswd = \"{}\"", file.display()),
        "write = \"token\"",
        "read = \"token\"",
        "[grant.all]\nusers = [\"*\"]\nscope = [\"read\"]\n\
         [grant.builders]\nusers = [\"alice\"]\nrepositories = [\"rpm\"]\nscope = [\"write\"]",
    );
    let rpm = Rpm::new("hello");
    let package = world.tree.write_beside(rpm.file_name(), &rpm.build());
    let package = package.to_str().unwrap();
    let up = |who: &str| curl(&["-u", who, "-T", package, &world.url("/rpm/")]).map(|(status, _)| status);
    let down = |who: &str| curl(&["-u", who, &world.url("/private/")]).map(|(status, _)| status);
    let Some(status) = up("alice:correct horse") else { return };
    assert_eq!(status, 201);
    assert_eq!(up("bob:battery"), Some(403));
    assert_eq!(up("bob:correct horse"), Some(401));
    for who in ["alice:correct horse", "bob:battery", "carol:staple"] {
        assert_eq!(down(who), Some(200), "{who}");
    }
    user("-bB", "dave", "new");
    assert_eq!(down("dave:new"), Some(200), "the file is read again when it changes");
    clients::output(Command::new(&htpasswd).arg("-D").arg(&file).arg("bob"));
    assert_eq!(down("bob:battery"), Some(401));
}

#[test]
fn who_guesses_too_often_waits() {
    let world = World::new("trusted_proxies = [\"127.0.0.1\"]", "write = \"token\"", "read = \"token\"", "");
    let guess = |client: &str, secret: &str| {
        let headers = [("Authorization", secret), ("X-Forwarded-For", client)];
        world.ask("GET", "/private/x", &headers, None)
    };
    let wrong = "Basic YWxpY2U6d3Jvbmc=";
    for _ in 0..10 {
        assert_eq!(guess("192.0.2.1", wrong).status, 401);
    }
    let refused = guess("192.0.2.1", wrong);
    assert_eq!(refused.status, 429);
    let seconds: u64 = refused.header("Retry-After").unwrap().parse().unwrap();
    assert!((1..=7).contains(&seconds), "{seconds}");
    assert_eq!(guess("192.0.2.2", wrong).status, 401, "another address");
    let token = world.token("ci", "private", "read");
    assert_eq!(guess("192.0.2.1", &format!("Bearer {token}")).status, 404, "a right token");
    assert_eq!(world.ask("GET", "/private/x", &[("X-Forwarded-For", "192.0.2.1")], None).status, 401);
}

#[test]
fn removing_at_once_needs_another_right() {
    let world = World::tokens();
    let rpm = Rpm::new("hello");
    let path = world.daemon.at(&rpm.file_name());
    let now = format!("{path}?now");
    let [write, delete, admin] = ["write", "delete", "admin"].map(|scope| world.token(scope, "rpm", scope));
    assert_eq!(world.with(&write, "PUT", &path, Some(&rpm.build())).status, 201);
    assert_eq!(world.with(&write, "DELETE", &path, None).status, 403);
    assert_eq!(world.with(&delete, "DELETE", &now, None).status, 403);
    assert_eq!(world.with(&delete, "DELETE", &path, None).status, 204);
    assert_eq!(world.ask("GET", &path, &[], None).status, 200, "for the grace period");
    assert_eq!(world.with(&admin, "DELETE", &now, None).status, 204);
    assert_eq!(world.ask("GET", &path, &[], None).status, 404);
    assert_eq!(world.with(&admin, "DELETE", &now, None).status, 404);
    assert_eq!(world.with(&admin, "PUT", &path, Some(&rpm.build())).status, 201);
    assert_eq!(world.with(&admin, "DELETE", &now, None).status, 204);
    assert_eq!(world.ask("GET", &path, &[], None).status, 404, "nothing is kept");
}

/// Answers by the user's name, and remembers what it was asked; speaks TLS if it is told how.
fn authorizer(tls: Option<Arc<ServerConfig>>) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let heads = Arc::clone(&asked);
    // Ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            match &tls {
                None => judge(stream, &heads),
                Some(tls) => {
                    judge(StreamOwned::new(ServerConnection::new(Arc::clone(tls)).unwrap(), stream), &heads);
                }
            }
        }
    });
    (address, asked)
}

/// Answers one question; none where the handshake fails.
fn judge(mut stream: impl Read + Write, asked: &Mutex<Vec<String>>) {
    let lines = BufReader::new(&mut stream).lines();
    let head: Vec<_> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    if head.is_empty() {
        return;
    }
    let head = head.join("\n").to_lowercase();
    // alice:a, bob:b
    let status = match head.lines().find_map(|line| line.strip_prefix("authorization: basic ")) {
        Some("ywxpy2u6yq==") => 200,
        Some("ym9iomi=") => 403,
        _ => 401,
    };
    asked.lock().unwrap().push(head);
    let _ = write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let _ = stream.flush();
}

#[test]
fn an_authorizer_decides_and_is_asked_once() {
    let (address, asked) = authorizer(None);
    let world = World::new(
        "",
        "write = \"ldap\"",
        "read = \"ldap\"",
        &format!("[authorizer.ldap]\nurl = \"http://{address}/may\""),
    );
    let rpm = Rpm::new("hello");
    let path = world.daemon.at(&rpm.file_name());
    let put = |who: &str| world.ask("PUT", &path, &[("Authorization", who)], Some(&rpm.build()));
    assert_eq!(put("Basic YWxpY2U6YQ==").status, 201);
    assert_eq!(put("Basic YWxpY2U6YQ==").status, 200);
    assert_eq!(put("Basic Ym9iOmI=").status, 403);
    assert_eq!(put("Basic YWxpY2U6eA==").status, 401, "the same user with another password");
    assert_eq!(world.ask("PUT", &path, &[], Some(b"x")).status, 401);
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 3, "{asked:#?}");
    let expected = format!("x-original-uri: {}", path.to_lowercase());
    assert!(
        asked[0].contains(&expected) && asked[0].contains("createrepod-permission: write"),
        "{}",
        asked[0]
    );
    // A token of our own needs nobody else.
    let token = world.token("ci", "rpm", "write");
    assert_eq!(world.with(&token, "PUT", &path, Some(&rpm.build())).status, 200);
}

#[test]
fn an_authorizer_behind_tls_must_have_a_certificate_that_is_believed() {
    let made = Tree::new();
    let Some(authority) = Authority::new(&made) else { return };
    authority.issue("server");
    let chain = CertificateDer::pem_file_iter(authority.at("server.crt")).unwrap().map(Result::unwrap);
    let key = PrivateKeyDer::from_pem_file(authority.at("server.key")).unwrap();
    let tls = ServerConfig::builder().with_no_client_auth().with_single_cert(chain.collect(), key).unwrap();
    let (address, asked) = authorizer(Some(Arc::new(tls)));
    let (port, ca) = (address.port(), authority.at("ca.crt"));
    let world = World::new(
        "",
        "write = \"ours\"",
        "write = \"strange\"",
        // This machine's authorities do not vouch for it.
        &format!(
            "[authorizer.ours]\nurl = \"https://localhost:{port}/may\"\nca = {ca:?}\n\
             [authorizer.strange]\nurl = \"https://localhost:{port}/may\""
        ),
    );
    let rpm = Rpm::new("hello");
    let put = |repository: &str, who: &str| {
        let path = format!("/{repository}/{}", rpm.file_name());
        world.ask("PUT", &path, &[("Authorization", who)], Some(&rpm.build()))
    };
    assert_eq!(put("private", "Basic YWxpY2U6YQ==").status, 503);
    assert!(asked.lock().unwrap().is_empty(), "the secret is not told to whoever listens there");
    eventually(PATIENCE, "it is in the log", || {
        world.daemon.log().contains("the authorizer strange gives no answer").then_some(())
    });
    assert_eq!(put("rpm", "Basic YWxpY2U6YQ==").status, 201);
    assert_eq!(put("rpm", "Basic Ym9iOmI=").status, 403);
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 2, "{asked:#?}");
    assert!(asked[0].contains(&format!("host: localhost:{port}")), "{}", asked[0]);
}

#[test]
fn an_authorizer_that_is_down_is_no_answer() {
    // Nobody listens there.
    let port = Port::reserve();
    let nobody = port.address();
    let world = World::new("", "read = \"a\"", "", &format!("[authorizer.a]\nurl = \"http://{nobody}/\""));
    let answer = world.ask("GET", "/rpm/", &[("Authorization", "Basic YTpi")], None);
    assert_eq!(answer.status, 503);
    assert!(answer.header("Retry-After").is_some());
    eventually(PATIENCE, "it is in the log", || {
        world.daemon.log().contains("the authorizer a gives no answer").then_some(())
    });
}

#[test]
fn no_secret_is_ever_written_down() {
    let Some(htpasswd) = clients::find("htpasswd") else { return };
    let tree = Tree::new();
    let (file, log) = (tree.beside("htpasswd"), tree.beside("access.log"));
    clients::output(Command::new(htpasswd).arg("-cbB").arg(&file).args(["alice", "horse-battery-staple"]));
    let world = World::new(
        &format!("htpasswd = \"{}\"\naccess_log = \"{}\"", file.display(), log.display()),
        "write = \"token\"",
        "read = \"token\"",
        "[grant.all]\nusers = [\"*\"]\nscope = [\"read\"]",
    );
    let token = world.token("ci", "*", "write");
    let rpm = Rpm::new("hello");
    let basic = |text: &str| format!("Basic {}", base64(text.as_bytes()));
    let mut seen = String::new();
    for authorization in [
        format!("Bearer {token}"),
        format!("Bearer {}", token.replace("crd_", "crd_x")),
        basic(&format!("ci:{token}")),
        basic("alice:horse-battery-staple"),
        basic("alice:horse-battery-stapler"),
        basic("nobody:horse-battery-staple"),
    ] {
        let headers = [("Authorization", authorization.as_str())];
        for (method, path) in [("PUT", "/rpm/a.rpm"), ("GET", "/private/"), ("GET", "/-/status")] {
            let answer = world.ask(method, path, &headers, (method == "PUT").then_some(&rpm.build()[..]));
            seen += &format!("{:?}{}", answer.headers, answer.text());
        }
    }
    seen += &world.daemon.log();
    seen += &fs::read_to_string(&log).unwrap();
    seen += &world.command(&["list"]).stdout;
    seen += &world.command(&["list", "--json"]).stdout;
    seen += &run(["config", "show", "--config", world.config.to_str().unwrap()]).stdout;
    assert!(seen.contains("ci") && seen.contains("alice"), "whose it was is written down");
    let secret = &token[token.len() - 32..];
    for leaked in [secret, "horse-battery", &base64(b"alice:horse"), "$2y$"] {
        let at = seen.find(leaked).map(|at| &seen[at.saturating_sub(200)..at]);
        assert_eq!(at, None, "{leaked}");
    }
    let history = fs::read(world.tree.beside("state").join("history.sqlite")).unwrap();
    assert!(!String::from_utf8_lossy(&history).contains(secret), "only its hash is kept");
}

fn base64(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = three.iter().fold(0u32, |n, byte| n << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for i in 0..4 {
            let letter = LETTERS[(number >> (18 - 6 * i) & 63) as usize];
            write!(text, "{}", if i <= three.len() { char::from(letter) } else { '=' }).unwrap();
        }
    }
    text
}

#[test]
fn a_token_that_was_made_before_is_brought_back_by_its_secret() {
    let tree = Tree::new();
    let config = configuration(&tree, "", "read = \"token\"");
    let words =
        ["token", "add", "ci", "--repository", "rpm", "--scope", "read", "--secret-stdin", "--config"];
    let add = |secret: &str, more: &[&str]| {
        use std::io::Write as _;
        let mut command = program();
        command.args(words).arg(&config).args(more);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(secret.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.stdout.is_empty(), "the secret is not shown again");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let secret = "crd_k5mnqzx2_7hq2kzv5pwxn3d6rtyabmcfg4jlseuoi";
    let daemon = Daemon::serve_config(&config, "/rpm/");
    let status = || {
        let bearer = format!("Bearer {secret}");
        daemon.request("GET", "repodata/repomd.xml", &[("Authorization", &bearer)], None).status
    };
    assert_eq!(status(), 401);
    let (code, said) = add("password\n", &[]);
    assert!(code == Some(2) && said.contains("32 letters") && !said.contains("password"), "{said}");
    let (code, said) = add(&format!("{secret}\n"), &[]);
    assert!(code == Some(0) && said.contains("counts from now on") && !said.contains(secret), "{said}");
    assert_eq!(status(), 200);
    let (code, said) = add(secret, &[]);
    assert!(code == Some(0) && said.contains("there already"), "{said}");
    let (code, said) = add(secret, &["--scope", "write"]);
    assert!(code == Some(4) && said.contains("other rights"), "{said}");
    daemon.stop();
}

#[test]
fn a_batch_has_its_place_from_its_holders_share_and_is_dropped_by_its_holder() {
    let world = World::tokens();
    let [one, two, remover] = [("one", "write"), ("two", "write"), ("remover", "write,delete")]
        .map(|(name, scope)| world.token(name, "rpm", scope));
    let api = "/-/api/v1/repositories/rpm/batches";
    let put = |token: &str, batch: &str, name: &str, body: &[u8]| {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str()), ("Createrepod-Batch", batch)];
        world.ask("PUT", &world.daemon.at(name), &headers, Some(body))
    };
    let [a, b] = ["a", "b"].map(|name| (format!("{name}-1-1.noarch.rpm"), Rpm::new(name).build()));
    // What is refused takes no place: more than one may have, and more than there are.
    for number in 0..1100 {
        let refused = put(&one, &format!("junk{number}"), "b.rpm", b"x");
        assert_eq!(refused.status, 415, "{}", refused.text());
    }
    assert_eq!(put(&two, "build", &a.0, &a.1).status, 201);
    for number in 0..100 {
        let taken = put(&one, &format!("own{number}"), &b.0, &b.1);
        assert_eq!(taken.status, 201, "{}", taken.text());
    }
    let full = put(&one, "own100", &b.0, &b.1);
    assert!((400..500).contains(&full.status), "{} {}", full.status, full.text());
    assert_eq!(put(&two, "another", &b.0, &b.1).status, 201, "another has a share, too");

    let drop = |token: &str, batch: &str| world.with(token, "DELETE", &format!("{api}/{batch}"), None).status;
    assert_eq!(drop(&one, "build"), 403, "the scope write takes nothing of others away");
    assert_eq!((drop(&one, "own0"), drop(&remover, "own1")), (204, 204));
    assert_eq!(drop(&remover, "nothing"), 404);

    let lock =
        "<lockinfo xmlns='DAV:'><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>";
    let locked = world.with(&one, "LOCK", &world.daemon.at(&a.0), Some(lock.as_bytes()));
    assert_eq!(locked.status, 201, "{}", locked.text());
    assert_eq!(put(&two, "build", &b.0, &b.1).status, 201);
    let commit = || world.with(&two, "POST", &format!("{api}/build/commit"), Some(b""));
    let refused = commit();
    assert!(refused.status == 423 && refused.text().contains(&a.0), "{} {}", refused.status, refused.text());
    assert!(!world.tree.path(&a.0).exists() && !world.tree.path(&b.0).exists(), "nothing is shown by halves");
    let token = locked.header("Lock-Token").unwrap().to_owned();
    let bearer = format!("Bearer {one}");
    let unlock = [("Authorization", bearer.as_str()), ("Lock-Token", token.as_str())];
    assert_eq!(world.ask("UNLOCK", &world.daemon.at(&a.0), &unlock, None).status, 204);
    assert_eq!(commit().status, 200);
    assert!(world.tree.path(&a.0).exists() && world.tree.path(&b.0).exists());
}
