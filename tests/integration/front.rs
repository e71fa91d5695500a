//! The web servers in front, configured by `createrepod config nginx|apache`, judged by the servers themselves.

use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::world::clients;
use crate::world::daemon::{program, run, write_config};
use crate::world::http::Port;
use crate::world::{Daemon, Metadata, PATIENCE, Rpm, Tree, eventually, http};

/// The web server, killed when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Server {
    fn start(mut command: Command, port: u16, log: PathBuf) -> Self {
        let errors = fs::File::create(&log).unwrap();
        let child = command.stdout(Stdio::null()).stderr(errors).spawn().unwrap();
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], port)), log };
        eventually(PATIENCE, "the web server listens", || {
            if let Some(status) = server.child.try_wait().unwrap() {
                panic!("the web server ended with {status}: {}", fs::read_to_string(&server.log).unwrap());
            }
            TcpStream::connect(server.address).ok()
        });
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both end their children on SIGTERM.
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::TERM,
        );
        let _ = self.child.wait();
    }
}

/// A free port for the daemon, and what all configurations here begin with.
fn server(tree: &Tree, port: u16, prefix: &str) -> (Port, String) {
    let own = Port::reserve();
    // The web servers give up root, as they always do.
    fs::set_permissions(tree.beside(""), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(tree.root(), Permissions::from_mode(0o755)).unwrap();
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:{}\"]\nbase_url = \"http://127.0.0.1:{port}{prefix}/\"\n[state]\ndir = {:?}\n",
        own.number(),
        tree.beside("state"),
    );
    (own, text)
}

/// The front's configuration as the program prints it.
fn printed(file: &Path, kind: &str, port: u16) -> String {
    clients::output(
        program()
            .args(["config", kind, "--server-name", "127.0.0.1", "--port", &port.to_string(), "--config"])
            .arg(file),
    )
}

/// A daemon on a known port, which stays its own, and the front's configuration as the program prints it.
fn behind(tree: &Tree, kind: &str, port: u16) -> (Daemon, Port, String) {
    let (own, text) = server(tree, port, "");
    let text = format!(
        "{text}[repository.rpm]\npath = {:?}\nurl = \"/el 9/rpm/\"\nwrite = \"anyone\"\n",
        tree.root()
    );
    let file = write_config(tree, &text);
    let printed = printed(&file, kind, port);
    (Daemon::serve_config(&file, "/el 9/rpm/"), own, printed)
}

fn nginx(tree: &Tree, program: &Path, port: u16, front: &str) -> Server {
    let home = tree.beside("nginx");
    fs::create_dir_all(home.join("logs")).unwrap();
    let main = format!(
        "pid {0}/pid;\nerror_log {0}/logs/error.log;\nworker_processes 1;\nevents {{ }}\nhttp {{\n access_log off;\n \
         client_body_temp_path {0}/body;\n proxy_temp_path {0}/proxy;\n fastcgi_temp_path {0}/f;\n uwsgi_temp_path {0}/u;\n \
         scgi_temp_path {0}/s;\n{front}\n}}\n",
        home.display()
    );
    fs::write(home.join("nginx.conf"), main).unwrap();
    let mut command = Command::new(program);
    command.arg("-p").arg(&home).arg("-c").arg(home.join("nginx.conf")).arg("-e").arg(home.join("start.log"));
    command.args(["-g", "daemon off;"]);
    Server::start(command, port, home.join("stderr"))
}

fn apache(tree: &Tree, program: &Path, port: u16, front: &str) -> Server {
    let home = tree.beside("apache");
    fs::create_dir_all(&home).unwrap();
    let modules = ["/usr/lib/apache2/modules", "/usr/lib64/httpd/modules"]
        .into_iter()
        .find(|path| Path::new(path).is_dir())
        .expect("Apache's modules");
    let mut main = format!(
        "ServerRoot {0}\nPidFile {0}/pid\nErrorLog {0}/error.log\nListen 127.0.0.1:{port}\n",
        home.display()
    );
    for module in ["mpm_event", "authz_core", "rewrite", "proxy", "proxy_http", "headers"] {
        main += &format!("LoadModule {module}_module {modules}/mod_{module}.so\n");
    }
    if Path::new(modules).join("mod_unixd.so").is_file() {
        main += &format!("LoadModule unixd_module {modules}/mod_unixd.so\n");
    }
    if rustix::process::geteuid().is_root() {
        main += "User nobody\n";
    }
    fs::write(home.join("httpd.conf"), main + front).unwrap();
    let mut command = Command::new(program);
    command.arg("-f").arg(home.join("httpd.conf")).arg("-DFOREGROUND");
    Server::start(command, port, home.join("stderr"))
}

/// What must hold in front of the daemon, whoever stands there.
fn judge(tree: &Tree, daemon: Daemon, server: &Server) {
    let prefix = "/el%209/rpm/";
    let send = |method: &str, location: &str, body: Option<&[u8]>| {
        http::send(server.address, method, &format!("{prefix}{location}"), &[], body)
    };
    let hello = Rpm::new("hello").build();
    let answer = send("PUT", "a%2Bb/hello+1.rpm", Some(&hello));
    assert_eq!(answer.status, 201, "an upload goes through: {}", answer.text());
    let metadata = eventually(PATIENCE, "published through the front", || {
        Metadata::fetch(server.address, prefix).ok().filter(|metadata| metadata.packages.len() == 1)
    });
    assert_eq!(metadata.hrefs(), ["a+b/hello+1.rpm"]);
    if let Some(dnf) = clients::Dnf::find() {
        let listed = dnf.nevras(&format!("http://{}{prefix}", server.address));
        assert_eq!(listed.len(), 1, "{listed:?}");
    }
    for hidden in [".createrepod/lock", "a%2Bb/../.createrepod/lock", "%2ecreaterepod/lock"] {
        let answer = send("GET", hidden, None);
        assert!(matches!(answer.status, 400 | 404), "{hidden}: {}", answer.status);
    }
    assert_eq!(send("GET", "", None).status, 200, "folders are createrepod's");
    assert_eq!(send("GET", "nothing.rpm", None).status, 404);

    // A removed package and superseded metadata are not on disk; they stay fetchable for the grace period.
    assert_eq!(send("PUT", "second.rpm", Some(&Rpm::new("second").build())).status, 201);
    assert_eq!(send("DELETE", "second.rpm", None).status, 204);
    assert_eq!(send("GET", "second.rpm", None).status, 200, "kept for the grace period");
    tree.write("not readable/other.rpm", &Rpm::new("other").build());

    // With the daemon gone, what lies on disk is still there, and the rest is a bad gateway.
    daemon.stop();
    let package = send("GET", "a%2Bb/hello+1.rpm", None);
    assert_eq!((package.status, package.body == hello), (200, true), "the package comes from disk");
    let primary =
        fs::read_dir(tree.path("repodata")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let primary = primary.into_iter().find(|name| name.contains("-primary")).expect("a primary file");
    assert_eq!(send("GET", &format!("repodata/{primary}"), None).status, 200);
    let bad = |status: u16| matches!(status, 502 | 503);
    assert!(bad(send("GET", "repodata/repomd.xml", None).status), "repomd.xml is never from disk");
    assert!(bad(send("DELETE", "a%2Bb/hello+1.rpm", None).status), "only reads are from disk");
    tree.write(".hidden.rpm", b"secret");
    assert!(bad(send("GET", ".hidden.rpm", None).status), "about names with a dot createrepod decides");
    assert!(tree.path("a+b/hello+1.rpm").is_file());
}

#[test]
fn nginx_in_front_gives_packages_from_disk_and_hands_on_the_rest() {
    let Some(program) = clients::find("nginx") else { return };
    let (tree, port) = (Tree::new(), Port::reserve());
    let (daemon, _own, front) = behind(&tree, "nginx", port.number());
    let server = nginx(&tree, &program, port.number(), &front);
    judge(&tree, daemon, &server);
}

#[test]
fn apache_in_front_gives_packages_from_disk_and_hands_on_the_rest() {
    let Some(program) = clients::find("apache2") else { return };
    let (tree, port) = (Tree::new(), Port::reserve());
    let (daemon, _own, front) = behind(&tree, "apache", port.number());
    let server = apache(&tree, &program, port.number(), &front);
    judge(&tree, daemon, &server);
}

/// Repositories that anyone may read, and others: beside them, inside their URLs and around them, and links from one
/// tree into the other.
fn closed_and_open(tree: &Tree, kind: &str, port: u16, prefix: &str) -> (Daemon, Port, String, String) {
    let (own, mut text) = server(tree, port, prefix);
    for (name, url, rules) in [
        ("open", "/el/", ""),
        ("inner", "/el/inner/", "read = \"token\""),
        ("outer", "/priv/", "read = \"token\""),
        ("free", "/priv/free/", ""),
    ] {
        let path = if name == "open" { tree.root().to_owned() } else { tree.beside(name) };
        text += &format!("[repository.{name}]\npath = {path:?}\nurl = {url:?}\n{rules}\n");
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        fs::write(path.join(format!("{name}.rpm")), Rpm::new(name).build()).unwrap();
    }
    tree.write("inner/own.rpm", &Rpm::new("own").build());
    tree.write("evil.php.rpm", &Rpm::new("evil").build());
    std::os::unix::fs::symlink(tree.beside("inner/inner.rpm"), tree.path("link.rpm")).unwrap();
    std::os::unix::fs::symlink(tree.beside("inner"), tree.path("way")).unwrap();
    let file = write_config(tree, &text);
    let printed = printed(&file, kind, port);
    let daemon = Daemon::serve_config(&file, "/el/");
    let token = ["token", "add", "reader", "--repository", "*", "--scope", "read", "--config"];
    let token = run(token.iter().copied().chain([file.to_str().unwrap()])).stdout.trim().to_owned();
    (daemon, own, printed, token)
}

fn judge_closed(tree: &Tree, daemon: Daemon, token: &str, server: &Server, prefix: &str) {
    let bearer = format!("Bearer {token}");
    let at = |path: &str| format!("{prefix}{path}");
    let ask = |method: &str, path: &str| http::send(server.address, method, &at(path), &[], None);
    let with = |path: &str| http::send(server.address, "GET", &at(path), &[("Authorization", &bearer)], None);
    // What repomd.xml names is there to stay; other files may be on their way.
    let hashed = |repodata: PathBuf, what: &str| {
        eventually(PATIENCE, "published", || {
            let repomd = fs::read_to_string(repodata.join("repomd.xml")).ok()?;
            let named = repomd.split("href=\"repodata/").find(|part| part.contains(what))?;
            Some(named.split('"').next()?.to_owned())
        })
    };
    let metadata = |name: &str| {
        let path = if name == "open" { tree.root().to_owned() } else { tree.beside(name) };
        hashed(path.join("repodata"), "-primary")
    };
    let closed = [
        format!("/priv/repodata/{}", metadata("outer")),
        format!("/el/inner/repodata/{}", metadata("inner")),
        "/priv/outer.rpm".into(),
        "/el/inner/inner.rpm".into(),
        // Of the outer tree, but hidden by the inner repository's URL.
        "/el/inner/own.rpm".into(),
        "/priv/repodata/repomd.xml".into(),
        "/priv/outer.repo".into(),
        "/priv/".into(),
        "/el/inner/".into(),
    ];
    for path in &closed {
        for method in ["GET", "HEAD"] {
            assert_eq!(ask(method, path).status, 401, "{method} {path}");
        }
        let expected = if path.ends_with("own.rpm") { 404 } else { 200 };
        assert_eq!(with(path).status, expected, "{path} with a token");
    }
    for path in [
        "//priv//outer.rpm",
        "/priv/./outer.rpm",
        "/el/../priv/outer.rpm",
        "/el/%2e%2e/priv/outer.rpm",
        "/%70riv/outer%2erpm",
        "/priv/free/../outer.rpm",
        "/priv%2Fouter.rpm",
        "/el/..%2fpriv/outer.rpm",
        "/el/way/inner.rpm",
        "/el/link.rpm",
        "/el/.createrepod/lock",
        "/el/x/../.createrepod/lock",
    ] {
        let answer = ask("GET", path);
        assert!(matches!(answer.status, 400 | 401 | 404), "{path}: {}", answer.status);
    }
    let open = format!("/el/repodata/{}", metadata("open"));
    let open = [open.as_str(), "/el/open.rpm", "/priv/free/free.rpm", "/el/evil.php.rpm"];
    for path in open {
        assert_eq!(ask("GET", path).status, 200, "{path}");
    }
    daemon.stop();
    for path in &closed {
        for answer in [ask("GET", path), with(path)] {
            assert!(matches!(answer.status, 502 | 503), "{path} is never from disk: {}", answer.status);
        }
    }
    for path in open {
        let answer = ask("GET", path);
        assert_eq!(answer.status, 200, "{path} is from disk");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        let policy = answer.header("content-security-policy").unwrap_or_default();
        assert!(policy.starts_with("sandbox"), "{path}: {policy}");
        assert!(answer.header("content-type").unwrap_or_default().starts_with("application/"), "{path}");
    }
}

#[test]
fn behind_nginx_a_closed_repository_stays_closed() {
    let Some(program) = clients::find("nginx") else { return };
    for prefix in ["", "/below/a.path"] {
        let (tree, port) = (Tree::new(), Port::reserve());
        let (daemon, _own, front, token) = closed_and_open(&tree, "nginx", port.number(), prefix);
        let server = nginx(&tree, &program, port.number(), &front);
        judge_closed(&tree, daemon, &token, &server, prefix);
    }
}

#[test]
fn behind_apache_a_closed_repository_stays_closed() {
    let Some(program) = clients::find("apache2") else { return };
    for prefix in ["", "/below/a.path"] {
        let (tree, port) = (Tree::new(), Port::reserve());
        let (daemon, _own, front, token) = closed_and_open(&tree, "apache", port.number(), prefix);
        let server = apache(&tree, &program, port.number(), &front);
        judge_closed(&tree, daemon, &token, &server, prefix);
    }
}
