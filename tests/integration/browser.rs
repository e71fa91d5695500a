//! The pages in a real browser: light and dark, narrow and wide.
//!
//! With `CREATEREPOD_SCREENSHOTS=DIR` the pictures are kept there, for whoever wants to look.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::world::{Daemon, Rpm, Tree, clients, http, skipped};

/// Packages whose every word would like to be markup.
const HOSTILE: &str = "<img src=x onerror=alert(1)>\"'&\u{202e}";

struct Browser {
    program: PathBuf,
    home: TempDir,
}

/// What a page did while it was shown.
#[derive(Debug)]
struct Visit {
    /// What the page, or the browser about it, wrote to the console.
    console: Vec<String>,
    /// Every URL the page itself asked for.
    requests: Vec<String>,
    picture: Vec<u8>,
}

impl Browser {
    fn find() -> Option<Self> {
        let program = clients::find("chromium")?;
        let browser = Self { program, home: TempDir::new().unwrap() };
        // It wants shared memory and namespaces that not every container gives.
        let start = browser.command(1280, false).arg("--dump-dom").arg("about:blank").output().unwrap();
        if !start.status.success() {
            skipped(format!("the pages in a browser: chromium does not run here: {}", start.status));
            return None;
        }
        Some(browser)
    }

    fn command(&self, width: u32, dark: bool) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("HOME", self.home.path())
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
            ])
            .args([
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            .args(["--disable-extensions", "--enable-logging=stderr", "--virtual-time-budget=5000"])
            .arg(format!("--user-data-dir={}", self.home.path().join("profile").display()))
            .arg(format!("--blink-settings=preferredColorScheme={}", if dark { 0 } else { 1 }))
            .arg(format!("--window-size={width},1400"));
        command
    }

    fn visit(&self, url: &str, width: u32, dark: bool) -> Visit {
        let (picture, log) = (self.home.path().join("picture.png"), self.home.path().join("net.json"));
        let _ = fs::remove_file(&picture);
        let run = self
            .command(width, dark)
            .arg(format!("--screenshot={}", picture.display()))
            .arg(format!("--log-net-log={}", log.display()))
            .arg(url)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(run.status.success() && picture.exists(), "{url}: {text}");
        let console = text.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect();
        Visit { console, requests: requests(&log), picture: fs::read(&picture).unwrap() }
    }
}

/// The URLs in a network log that were asked for on behalf of a page.
fn requests(log: &Path) -> Vec<String> {
    let text = fs::read_to_string(log).unwrap();
    let log: serde_json::Value = serde_json::from_str(&text)
        .or_else(|_| serde_json::from_str(&format!("{}]}}", text.trim_end().trim_end_matches(','))))
        .expect("the network log is JSON");
    let events = log["events"].as_array().expect("events");
    let asked = events.iter().filter_map(|event| {
        let parameters = &event["params"];
        let for_a_page = parameters["initiator"].as_str().is_some_and(|by| by != "not an origin");
        for_a_page.then(|| parameters["url"].as_str().map(str::to_owned)).flatten()
    });
    asked.collect()
}

#[test]
fn pages_load_nothing_from_elsewhere_and_break_no_rule_of_their_own() {
    let Some(browser) = Browser::find() else { return };
    // What we look for is found where it is.
    let wrong = browser.home.path().join("wrong.html");
    fs::write(
        &wrong,
        "<!DOCTYPE html><meta http-equiv=\"Content-Security-Policy\" content=\"script-src 'none'\">\
         <script>1</script><img src=\"http://127.0.0.1:9/elsewhere.png\">",
    )
    .unwrap();
    let seen = browser.visit(&format!("file://{}", wrong.display()), 390, false);
    assert!(
        !seen.console.is_empty() && seen.requests.iter().any(|url| url.contains("elsewhere")),
        "{seen:?}"
    );

    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", "");
    for (name, version) in
        [("hello", "2.12.1"), ("nginx-mod-http-image-filter", "1.26.2"), ("openssl-libs", "3.2.2")]
    {
        let rpm = Rpm::new(name).version(version).release("4.el9").payload(300_000);
        daemon.put_and_wait(&format!("Packages/{}/{}", &name[..1], rpm.file_name()), &rpm.build());
    }
    let hostile = Rpm::new("evil").version("1.0").summary(HOSTILE);
    assert_eq!(
        daemon.put_and_wait(&format!("{HOSTILE}.rpm").replace('/', "_"), &hostile.build()).status,
        201
    );
    let many = Rpm::new("many");
    for number in 0..40 {
        let rpm = many.clone().version(format!("1.{number}"));
        daemon.put(&format!("many/{}", rpm.file_name()), &rpm.build());
    }
    tree.write("many/broken-1.0-1.noarch.rpm", b"this is no package");
    daemon.put_and_wait("many/last.rpm", &Rpm::new("last").build());

    let empty_tree = Tree::new();
    let empty = Daemon::serve_config(
        &crate::world::daemon::write_config(
            &empty_tree,
            &format!(
                "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = \"{}\"\n",
                empty_tree.beside("state").display()
            ),
        ),
        "/",
    );
    let root = |daemon: &Daemon| format!("http://{}/", daemon.address());
    let pages = [
        ("repositories", root(&daemon)),
        ("no-repository", root(&empty)),
        ("repository", daemon.url()),
        ("directory", format!("{}many/?sort=-date", daemon.url())),
        ("not-found", format!("{}nothing", daemon.url())),
    ];
    let keep = std::env::var_os("CREATEREPOD_SCREENSHOTS").map(PathBuf::from);
    for (name, url) in pages {
        for (width, dark) in [(390, false), (390, true), (1280, false), (1280, true)] {
            let visit = browser.visit(&url, width, dark);
            assert_eq!(visit.console, [] as [&str; 0], "{url} at {width}, dark: {dark}");
            for request in &visit.requests {
                assert!(
                    request.starts_with(&root(&daemon)) || request.starts_with(&root(&empty)),
                    "{url} asks for {request}"
                );
            }
            if let Some(keep) = &keep {
                fs::create_dir_all(keep).unwrap();
                let tone = if dark { "dark" } else { "light" };
                fs::write(keep.join(format!("{name}-{width}-{tone}.png")), &visit.picture).unwrap();
            }
        }
    }
}

#[test]
fn pages_and_refusals_come_in_the_form_that_is_asked_for() {
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "base_url = \"https://repo.example.com/\"", "");
    let rpm = Rpm::new("hello").summary(HOSTILE);
    daemon.put_and_wait(&rpm.file_name(), &rpm.build());
    let ask =
        |path: &str, accept: &str| http::send(daemon.address(), "GET", path, &[("Accept", accept)], None);
    let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
    for (path, accept, kind) in [
        ("/rpm/", browser, "text/html"),
        ("/rpm/", "*/*", "text/html"),
        ("/rpm/", "application/json", "application/json"),
        ("/", browser, "text/html"),
        ("/", "application/json", "application/json"),
        ("/rpm/nothing", browser, "text/html"),
        ("/rpm/nothing", "*/*", "text/plain"),
        ("/rpm/nothing", "application/json", "application/json"),
    ] {
        let answer = ask(path, accept);
        let found = answer.header("Content-Type").unwrap_or_default();
        assert!(found.starts_with(kind), "{path} for {accept}: {found}");
        if kind == "text/html" {
            let policy = answer.header("Content-Security-Policy").expect("a policy");
            assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
            assert!(!answer.text().contains("<img"), "{}", answer.text());
        }
    }
    let page = ask("/rpm/", browser).text();
    for command in [
        "dnf config-manager addrepo --from-repofile=https://repo.example.com/rpm/rpm.repo",
        "dnf config-manager --add-repo https://repo.example.com/rpm/rpm.repo",
        "zypper addrepo https://repo.example.com/rpm/rpm.repo",
        "curl -T PACKAGE.rpm https://repo.example.com/rpm/",
        "baseurl=https://repo.example.com/rpm/",
        "1 package",
    ] {
        assert!(page.contains(command), "{command}: {page}");
    }
    assert!(page.contains("&lt;img src=x"), "the summary is shown as text: {page}");
    let json: serde_json::Value = serde_json::from_slice(&ask("/rpm/", "application/json").body).unwrap();
    assert_eq!(
        (&json["repository"]["packages"], &json["repository"]["newest"][0]["name"]),
        (&1.into(), &"hello".into())
    );
    let entry =
        json["entries"].as_array().unwrap().iter().find(|entry| entry["name"] == rpm.file_name()).unwrap();
    assert_eq!((&entry["package"]["version"], &entry["size"]), (&"1.0-1".into(), &rpm.build().len().into()));
}

#[test]
fn a_directory_of_ten_thousand_is_listed_at_once_and_whole() {
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", "accept = \"any\"");
    for number in 0..10_000 {
        fs::write(tree.path(format!("file{number:05}")), "").unwrap();
    }
    let before = daemon.resident_kib();
    let page = daemon.get("");
    assert_eq!(
        (page.status, page.text().matches("<tr><td class=\"name\"><a href=\"file").count()),
        (200, 10_000)
    );
    let listed = daemon.request("PROPFIND", "", &[("Depth", "1")], None);
    assert!(listed.text().matches("<D:response>").count() >= 10_001);
    let grown = daemon.resident_kib().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB");
}
