//! Who may not read a repository learns nothing of it: every URL and method is answered as where nothing is, caches keep
//! nothing of it for others, and reasons are for those who may write.

use std::fs;

use serde_json::Value;

use crate::world::daemon::{run, write_config};
use crate::world::{Daemon, PATIENCE, Rpm, Tree, eventually, http};

/// Two closed repositories, one of which takes no uploads, beside an open one; and tokens.
struct World {
    tree: Tree,
    daemon: Daemon,
    /// May do everything in the open one, and nothing elsewhere.
    open: String,
    /// May read the closed ones.
    reader: String,
    /// May write into the first closed one, and not read it.
    writer: String,
}

impl World {
    fn new() -> Self {
        let tree = Tree::new();
        let mut text = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = {:?}\n[repository.rpm]\npath = {:?}\nwrite = \"token\"\n",
            tree.beside("state"),
            tree.root(),
        );
        tree.add(&Rpm::new("a"));
        for (name, write) in [("closed", "token"), ("sealed", "off")] {
            let path = tree.beside(name);
            fs::create_dir_all(path.join("folder")).unwrap();
            fs::write(path.join("a.rpm"), Rpm::new("a").build()).unwrap();
            text += &format!("[repository.{name}]\npath = {path:?}\nread = \"token\"\nwrite = \"{write}\"\n");
        }
        let config = write_config(&tree, &text);
        let daemon = Daemon::serve_config(&config, "/rpm/");
        let token = |name: &str, repository: &str, scope: &str| {
            let config = config.to_str().unwrap();
            let made =
                run(["token", "add", name, "--repository", repository, "--scope", scope, "--config", config]);
            made.stdout.trim().to_owned()
        };
        let (open, reader) = (token("open", "rpm", "admin"), token("reader", "?*ed", "read"));
        let writer = token("writer", "closed", "write");
        let world = Self { tree, daemon, open, reader, writer };
        for name in ["closed", "sealed"] {
            eventually(PATIENCE, "published", || {
                let repomd =
                    world.ask("GET", &format!("/{name}/repodata/repomd.xml"), Some(&world.reader), &[]);
                (repomd.status == 200).then_some(())
            });
        }
        world
    }

    fn ask(&self, method: &str, path: &str, token: Option<&str>, more: &[(&str, &str)]) -> http::Response {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers = more.to_vec();
        headers.extend(bearer.as_deref().map(|bearer| ("Authorization", bearer)));
        let body = matches!(method, "PUT" | "POST").then_some(&b"not a package"[..]);
        http::send(self.daemon.address(), method, path, &headers, body)
    }
}

const METHODS: [&str; 16] = [
    "GET",
    "HEAD",
    "PUT",
    "POST",
    "DELETE",
    "OPTIONS",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "PATCH",
    "TRACE",
    "BREW",
];

/// Every kind of URL that names a repository.
const PATHS: [&str; 27] = [
    "/NAME",
    "/NAME/",
    "/NAME/a.rpm",
    "/NAME/a.rpm?now",
    "/NAME/a.rpm/",
    "/NAME/folder",
    "/NAME/folder/",
    "/NAME/nothing.rpm",
    "/NAME/NAME.repo",
    "/NAME/repodata/",
    "/NAME/repodata/repomd.xml",
    "/NAME/repodata/repomd.xml.asc",
    "/NAME/repodata/repomd.xml.key",
    "/NAME/@1/repodata/repomd.xml",
    "/NAME/@1/a.rpm",
    "/NAME/-/packages.key",
    "/NAME/.createrepod/lock",
    "/NAME/folder/../a.rpm",
    "/NAME/a%2fb.rpm",
    "/rpm/../NAME/a.rpm",
    "/-/mirrorlist/NAME",
    "/-/api/v1/repositories/NAME",
    "/-/api/v1/repositories/NAME/refresh",
    "/-/api/v1/repositories/NAME/verify",
    "/-/api/v1/repositories/NAME/batches",
    "/-/api/v1/repositories/NAME/batches/x",
    "/-/api/v1/repositories/NAME/batches/x/commit",
];

/// What an answer tells, but for the repository's name and what differs from one to the next.
fn told(answer: &http::Response, name: &str) -> String {
    let mut lines: Vec<String> = answer
        .headers
        .iter()
        .filter(|(name, _)| !["date", "x-request-id"].contains(&name.to_ascii_lowercase().as_str()))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    lines.sort();
    format!("{}\n{}\n{}", answer.status, lines.join("\n"), answer.text()).replace(name, "NAME")
}

#[test]
fn a_closed_repository_is_answered_as_one_that_does_not_exist() {
    let world = World::new();
    assert_eq!(world.ask("GET", "/closed/a.rpm", Some(&world.reader), &[]).status, 200, "it is there");
    assert_eq!(world.ask("GET", "/closed/a.rpm", None, &[]).status, 401, "clients are asked who they are");
    assert_eq!(world.ask("GET", "/closed/a.rpm", Some(&world.open), &[]).status, 404);
    for method in METHODS {
        for path in PATHS {
            for token in [None, Some(world.open.as_str())] {
                for more in [&[][..], &[("Accept", "text/html"), ("Depth", "0"), ("Range", "bytes=0-1")]] {
                    let ask =
                        |name: &str| told(&world.ask(method, &path.replace("NAME", name), token, more), name);
                    let nothing = ask("nosuch");
                    for name in ["closed", "sealed"] {
                        assert_eq!(
                            ask(name),
                            nothing,
                            "{method} {path} {name}, {more:?}, token: {}",
                            token.is_some()
                        );
                    }
                }
            }
        }
    }
    // Where something may be moved to.
    for method in ["COPY", "MOVE"] {
        let ask = |name: &str, below: &str| {
            let destination = format!("http://{}/{name}{below}", world.daemon.address());
            let more = [("Destination", destination.as_str())];
            told(&world.ask(method, "/rpm/a-1.0-1.noarch.rpm", Some(&world.open), &more), name)
        };
        let long = format!("/{}", "a".repeat(4000));
        for below in ["", "/", "/a.rpm", "/folder/b.rpm", "/@1/a.rpm", long.as_str()] {
            assert_eq!(ask("closed", below), ask("nosuch", below), "{method} to {below}");
        }
    }
    // What shows all of them shows these to nobody else.
    for (method, path) in
        [("GET", "/"), ("GET", "/-/status"), ("GET", "/-/metrics"), ("PROPFIND", "/"), ("GET", "/-/ready")]
    {
        for token in [None, Some(world.open.as_str()), Some(world.writer.as_str())] {
            let answer = world.ask(method, path, token, &[("Depth", "1")]).text();
            assert!(!answer.contains("closed") && !answer.contains("sealed"), "{method} {path}: {answer}");
        }
        if path != "/-/ready" {
            assert!(
                world.ask(method, path, Some(&world.reader), &[("Depth", "1")]).text().contains("closed")
            );
        }
    }
    // Wrong secrets are counted alike. The last of these is locked out.
    for (at, path) in PATHS.iter().filter(|path| !path.contains("%2f")).enumerate() {
        let wrong = |name: &str| {
            let answer = world.ask("GET", &path.replace("NAME", name), Some("crd_wrong"), &[]);
            (answer.status, answer.text().replace(name, "NAME"))
        };
        if at < 4 {
            assert_eq!(wrong("closed"), wrong("nosuch"), "{path}");
        } else {
            assert!(
                [401, 429].contains(&wrong("closed").0) && [401, 429].contains(&wrong("nosuch").0),
                "{path}"
            );
        }
    }
}

#[test]
fn who_has_some_right_is_told_what_is_missing() {
    let world = World::new();
    let ask = |method, path, token: &str| world.ask(method, path, Some(token), &[]);
    let refused = ask("GET", "/closed/a.rpm", &world.writer);
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("no right to read here; granted is write"), "{}", refused.text());
    assert_eq!(ask("PUT", "/closed/b.rpm", &world.writer).status, 415, "no package, but it may be sent");
    assert_eq!(ask("PUT", "/closed/b.rpm", &world.reader).status, 403);
    let refused = ask("PUT", "/sealed/b.rpm", &world.reader);
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("takes no uploads"), "{}", refused.text());
    assert_eq!(ask("GET", "/-/api/v1/repositories/closed/batches", &world.writer).status, 200);
    assert_eq!(ask("PUT", "/-/api/v1/repositories/closed/batches", &world.writer).status, 405);
    assert_eq!(ask("OPTIONS", "/-/mirrorlist/closed", &world.reader).status, 204);
    assert_eq!(ask("GET", "/-/mirrorlist/closed", &world.reader).status, 200);
    assert_eq!(ask("GET", "/-/mirrorlist/closed", &world.writer).status, 403);
    assert_eq!(ask("GET", "/nosuch/x", &world.reader).status, 404);
}

#[test]
fn what_not_everybody_may_read_is_kept_by_no_cache_that_many_use() {
    let world = World::new();
    let primary = world.ask("GET", "/closed/repodata/repomd.xml", Some(&world.reader), &[]).text();
    let primary = primary.split("href=\"").find(|part| part.contains("-primary")).unwrap();
    let primary = format!("/closed/{}", primary.split('"').next().unwrap());
    let repo = "/closed/closed.repo";
    let all = [
        "/",
        "/-/status",
        "/-/metrics",
        "/closed",
        "/closed/",
        "/closed/a.rpm",
        &primary,
        repo,
        "/closed/nothing",
    ];
    let conditions: [&[(&str, &str)]; 4] =
        [&[], &[("Accept", "text/html")], &[("Range", "bytes=0-1,4-5")], &[("If-None-Match", "*")]];
    for path in all.iter().copied().chain(["/-/mirrorlist/closed", "/closed/repodata/repomd.xml"]) {
        for method in ["GET", "HEAD", "OPTIONS", "PROPFIND", "BREW"] {
            for token in [None, Some(&world.reader), Some(&world.open)] {
                for more in conditions {
                    let answer = world.ask(method, path, token.map(String::as_str), more);
                    let cache = answer.header("cache-control").unwrap_or_default();
                    assert!(
                        cache.starts_with("private"),
                        "{method} {path} {more:?} {}: {cache}",
                        answer.status
                    );
                    let vary = answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("vary"));
                    assert!(
                        vary.clone().any(|(_, value)| value.contains("Authorization")),
                        "{method} {path}"
                    );
                }
            }
        }
    }
    let private = world.ask("GET", &primary, Some(&world.reader), &[]);
    assert_eq!(private.header("cache-control"), Some("private, max-age=31536000, immutable"));
    // What anybody may read is for everybody, whoever reads it.
    for token in [None, Some(world.open.as_str())] {
        let open = world.ask("GET", "/rpm/a-1.0-1.noarch.rpm", token, &[]);
        assert_eq!((open.status, open.header("cache-control")), (200, Some("public, max-age=3600")));
        let missing = world.ask("GET", "/rpm/nothing", token, &[]);
        assert_eq!((missing.status, missing.header("cache-control")), (404, Some("no-store")));
    }
}

#[test]
fn why_a_package_is_rejected_is_told_to_those_who_may_mend_it() {
    let world = World::new();
    let whole = Rpm::new("whole").build();
    world.tree.write("cut.rpm", &whole[..whole.len() - 10]);
    let json = [("Accept", "application/json")];
    let of_cut = |token: Option<&str>, more: &[(&str, &str)]| {
        let headers: Vec<_> = json.iter().chain(more).copied().collect();
        let listed: Value = serde_json::from_str(&world.ask("GET", "/rpm/", token, &headers).text()).unwrap();
        let entries = listed["entries"].as_array().unwrap();
        let cut = entries.iter().find(|entry| entry["name"] == "cut.rpm").unwrap();
        (cut["package"]["state"].clone(), cut["package"]["reason"].as_str().unwrap_or_default().to_owned())
    };
    eventually(PATIENCE, "rejected", || (of_cut(None, &[]).0 == "rejected").then_some(()));
    let far = [("X-Forwarded-For", "192.0.2.1")];
    for (token, more, told) in [
        (None, &[][..], true),
        (None, &far, false),
        (None, &[("Host", "evil.example")], false),
        (Some(&world.reader), &far, false),
        (Some(&world.open), &far, true),
    ] {
        let reason = of_cut(token.map(String::as_str), more).1;
        assert_eq!(reason.contains("truncated"), told, "{more:?}: {reason}");
        assert_eq!(reason.contains("not told to everybody"), !told, "{more:?}: {reason}");
        let headers: Vec<_> = [("Accept", "text/html")].iter().chain(more).copied().collect();
        let page = world.ask("GET", "/rpm/", token.map(String::as_str), &headers);
        assert_eq!(page.text().contains("truncated"), told, "{more:?}");
        assert_eq!(page.header("cache-control").unwrap().contains("private"), told, "{more:?}");
    }
}
