//! What each URL means, and what none may mean.

use std::sync::Arc;

use super::path::MAX_PATH;
use super::*;
use crate::config::RepositoryConfig;

fn mounts(urls: &[(&str, &str)]) -> Mounts {
    let mount = |&(name, url): &(&str, &str)| Mount {
        config: Arc::new(RepositoryConfig { url: url.into(), ..RepositoryConfig::new(name, "/x") }),
        door: Err("closed".into()),
    };
    Mounts::new(urls.iter().map(mount).collect())
}

/// The route, printed with the repository's name alone.
fn ask(mounts: &Mounts, method: &Method, path: &str) -> String {
    let below = |location: Option<&Location>| location.map_or("", Location::as_str).to_owned();
    let at = |kind: &str, mount: &Mount, location: Option<&Location>| {
        format!("{kind} {}:{}", mount.config.name, below(location))
    };
    match route(method, path, mounts) {
        Ok(Route::Repomd(mount, file, None)) => at(&format!("{file:?}").to_lowercase(), mount, None),
        Ok(Route::Repomd(mount, file, Some(number))) => {
            at(&format!("{file:?} of {number}").to_lowercase(), mount, None)
        }
        Ok(Route::Mirrorlist(mount)) => at("mirrorlist", mount, None),
        Ok(Route::Metrics) => "metrics".into(),
        Ok(Route::Refresh(None)) => "refresh".into(),
        Ok(Route::Refresh(Some(mount))) => at("refresh", mount, None),
        Ok(Route::Verify(mount)) => mount.map_or("verify".into(), |mount| at("verify", mount, None)),
        Ok(Route::DotRepo(mount)) => at("dotrepo", mount, None),
        Ok(Route::PackageKeys(mount)) => at("keys", mount, None),
        Ok(Route::File(mount, location) | Route::NumberedFile(mount, location)) => {
            at("file", mount, Some(&location))
        }
        Ok(Route::Directory(mount, location)) => at("directory", mount, location.as_ref()),
        Ok(Route::Put(mount, location)) => at("put", mount, Some(&location)),
        Ok(Route::Delete(mount, location)) => at("delete", mount, Some(&location)),
        Ok(Route::Dav(mount, location)) => at("dav", mount, location.as_ref()),
        Ok(Route::FrontDav) => "FrontDav".into(),
        Ok(Route::Options(allow)) => format!("options {allow}"),
        Ok(Route::Batches(mount)) => at("batches", mount, None),
        Ok(Route::Batch(mount, id)) => at(&format!("batch {}", id.as_str()), mount, None),
        Ok(Route::CommitBatch(mount, id)) => at(&format!("commit {}", id.as_str()), mount, None),
        Ok(Route::Front) => "Front".into(),
        Ok(Route::Health) => "Health".into(),
        Ok(Route::Ready) => "Ready".into(),
        Ok(Route::Status) => "Status".into(),
        Ok(Route::AddSlash) => "AddSlash".into(),
        Err(error) => format!("{} {error}", error.status().as_u16()),
    }
}

fn site() -> Mounts {
    mounts(&[("rpm", "/rpm/"), ("deep", "/el/9/x86_64/"), ("el", "/el/"), ("leer", "/mit leer/")])
}

fn get(path: &str) -> String {
    ask(&site(), &Method::GET, path)
}

fn put(path: &str) -> String {
    ask(&site(), &Method::PUT, path)
}

#[test]
fn the_daemons_own_urls_stand_beside_the_repositories() {
    assert_eq!(get("/"), "Front");
    assert_eq!(get("/-/health"), "Health");
    assert_eq!(get("/-/ready"), "Ready");
    assert_eq!(get("/-/status"), "Status");
    assert_eq!(get("/-/api/v1/status"), "Status");
    for nothing in ["/-/nothing", "/-/", "/-", "/elsewhere/x", "/-/health/"] {
        assert!(get(nothing).starts_with("404"), "{nothing}");
    }
    assert!(put("/-/health").starts_with("405"));
    assert!(put("/").starts_with("405"));
}

#[test]
fn batches_are_the_repositorys_by_its_name() {
    let batches = "/-/api/v1/repositories/deep/batches";
    assert_eq!(get(batches), "batches deep:");
    assert_eq!(get(&format!("{batches}/build-1")), "batch build-1 deep:");
    assert_eq!(ask(&site(), &Method::DELETE, &format!("{batches}/b")), "batch b deep:");
    assert_eq!(ask(&site(), &Method::POST, &format!("{batches}/b/commit")), "commit b deep:");
    for (method, path, status) in [
        (Method::GET, "/b/commit", "405"),
        (Method::POST, "/b", "405"),
        (Method::PUT, "", "405"),
        (Method::GET, "/.b", "404"),
        (Method::GET, "/b/other", "404"),
    ] {
        let answer = ask(&site(), &method, &format!("{batches}{path}"));
        assert!(answer.starts_with(status), "{method} {path}: {answer}");
    }
    assert!(get("/-/api/v1/repositories/nobody/batches").starts_with("404"));
}

#[test]
fn what_a_repository_answers_itself_is_no_file() {
    assert_eq!(get("/rpm/repodata/repomd.xml"), "repomd rpm:");
    assert_eq!(get("/rpm/repodata/x.xml"), "file rpm:repodata/x.xml");
    assert_eq!(get("/rpm/rpm.repo"), "dotrepo rpm:");
    assert_eq!(get("/rpm/other.repo"), "file rpm:other.repo");
    assert_eq!(get("/rpm/sub/rpm.repo"), "file rpm:sub/rpm.repo");
    assert_eq!(get("/rpm/sub/repodata/repomd.xml"), "file rpm:sub/repodata/repomd.xml");
}

#[test]
fn the_longest_prefix_wins() {
    assert_eq!(get("/el/9/x86_64/a.rpm"), "file deep:a.rpm");
    assert_eq!(get("/el/9/other/a.rpm"), "file el:9/other/a.rpm");
    assert_eq!(get("/el/9/x86_64"), "AddSlash");
    assert!(get("/rpmx/a.rpm").starts_with("404"), "a prefix ends at a slash");
}

#[test]
fn a_repository_at_the_root_leaves_the_daemons_urls_alone() {
    let root = mounts(&[("r", "/"), ("el", "/el/")]);
    let get = |path| ask(&root, &Method::GET, path);
    assert_eq!(get("/-/health"), "Health");
    assert_eq!(get("/"), "directory r:");
    assert_eq!(get("/a.rpm"), "file r:a.rpm");
    assert_eq!(get("/el"), "AddSlash");
}

#[test]
fn directories_end_in_a_slash() {
    assert_eq!(get("/rpm/"), "directory rpm:");
    assert_eq!(get("/rpm/sub/"), "directory rpm:sub");
    assert_eq!(get("/rpm/repodata/"), "directory rpm:repodata");
    assert_eq!(get("/rpm"), "AddSlash");
    assert_eq!(get("/mit%20leer"), "AddSlash");
    assert_eq!(get("/mit%20leer/"), "directory leer:");
}

#[test]
fn odd_names_are_decoded_once() {
    for (path, name) in [
        ("/rpm/a%20b.rpm", "a b.rpm"),
        ("/rpm/a+b.rpm", "a+b.rpm"),
        ("/rpm/a%2Bb.rpm", "a+b.rpm"),
        ("/rpm/100%25.rpm", "100%.rpm"),
        ("/rpm/%2525.rpm", "%25.rpm"),
        ("/rpm/a%23b&c.rpm", "a#b&c.rpm"),
        ("/rpm/%C3%A9.rpm", "é.rpm"),
        ("//rpm///x.rpm", "x.rpm"),
    ] {
        assert_eq!(get(path), format!("file rpm:{name}"), "{path}");
        assert_eq!(put(path), format!("put rpm:{name}"), "{path}");
        assert_eq!(get(&format!("/rpm/{}", encode_part(name))), format!("file rpm:{name}"));
    }
}

#[test]
fn no_url_leaves_its_repository() {
    for path in [
        "/..",
        "/rpm/../..",
        "/rpm/../../etc/passwd",
        "/rpm/%2e%2e/%2E%2e/x",
        "/rpm/a/.././../%2e./rpm/x",
        "//..//rpm/x",
        "/rpm/a%2Fb.rpm",
        "/rpm/..%2f..%2fetc",
        "/rpm/a%00.rpm",
        "/rpm/%ff.rpm",
        "/rpm/%zz.rpm",
        "/rpm/%4",
        "/rpm/%é",
        "rpm/x",
        "",
        "*",
    ] {
        assert!(get(path).starts_with("400"), "{path}: {}", get(path));
        assert!(put(path).starts_with("400"), "{path}: {}", put(path));
    }
}

#[test]
fn a_publication_has_its_own_place_for_what_differs() {
    assert_eq!(get("/rpm/repodata/repomd.xml"), "repomd rpm:");
    assert_eq!(get("/rpm/repodata/repomd.xml.asc"), "signature rpm:");
    assert_eq!(get("/rpm/@12/repodata/repomd.xml"), "repomd of 12 rpm:");
    assert_eq!(get("/rpm/@12/repodata/repomd.xml.key"), "key of 12 rpm:");
    assert_eq!(get("/rpm/@12/repodata/x-primary.xml.gz"), "file rpm:repodata/x-primary.xml.gz");
    assert_eq!(get("/rpm/@12/a/x.rpm"), "file rpm:a/x.rpm");
    assert_eq!(get("/-/mirrorlist/rpm"), "mirrorlist rpm:");
    assert!(get("/-/mirrorlist/nobody").starts_with("404"));
    assert!(get("/rpm/@99999999999999999999/repodata/repomd.xml").starts_with("404"));
    for path in ["/rpm/@12/x.rpm", "/rpm/@12/repodata/repomd.xml"] {
        assert!(put(path).starts_with("403"), "{path}: {}", put(path));
        assert!(ask(&site(), &Method::DELETE, path).starts_with("403"), "{path}");
    }
}

#[test]
fn a_publications_number_is_no_part_of_what_is_asked_for() {
    let asked = |path: &str| without_number(&normal(path), "/el/9/");
    assert_eq!(asked("/el/9/@17/secret/a.rpm"), "/el/9/secret/a.rpm");
    assert_eq!(asked("/el/9/%4017/secret/a.rpm"), "/el/9/secret/a.rpm");
    for same in ["/el/9/secret/a.rpm", "/el/9/a/@17/b.rpm", "/elsewhere/@17/b.rpm"] {
        assert_eq!(asked(same), normal(same), "{same}");
    }
}

#[test]
fn hidden_names_are_neither_read_nor_written() {
    for path in [
        "/rpm/.createrepod/lock",
        "/rpm/.x.rpm",
        "/rpm/a/.b/c.rpm",
        "/rpm/repodata/.new/x",
        "/rpm/-/x.rpm",
        "/rpm/@12/.x.rpm",
        "/rpm/@12/-/x.rpm",
        "/rpm/@12/@13/x.rpm",
        "/rpm/.htpasswd",
        "/rpm/.git/config",
        "/rpm/@scope/x.rpm",
    ] {
        assert!(get(path).starts_with("404"), "{path}");
        assert!(put(path).starts_with("403"), "{path}: {}", put(path));
        assert!(ask(&site(), &Method::DELETE, path).starts_with("403"), "{path}");
    }
    assert!(get("/rpm/@12/").starts_with("404"));
    assert!(get("/rpm/.hidden/").starts_with("404"));
    for path in ["/rpm/repodata/x.rpm", "/rpm/repodata", "/rpm/a/repodata/x.rpm", "/rpm/rpm.repo"] {
        assert!(put(path).starts_with("403"), "{path}: {}", put(path));
    }
    assert_eq!(put("/rpm/repodata-1.rpm"), "put rpm:repodata-1.rpm");
    assert_eq!(put("/rpm/a/@scope/x.rpm"), "put rpm:a/@scope/x.rpm");
    for installer in ["/rpm/.treeinfo", "/rpm/os/.discinfo"] {
        assert!(get(installer).starts_with("file rpm:"), "{}", get(installer));
        assert!(put(installer).starts_with("put rpm:"), "{}", put(installer));
        assert!(get(&format!("{installer}/")).starts_with("404"), "{installer} is no folder");
    }
}

#[test]
fn a_put_on_a_folder_says_what_to_add() {
    for path in ["/rpm/", "/rpm", "/rpm/sub/"] {
        assert!(put(path).starts_with("405") && put(path).contains("add a slash and a file name"), "{path}");
    }
}

#[test]
fn names_that_metadata_cannot_express_are_not_taken() {
    assert!(put("/rpm/a%0Ab.rpm").starts_with("400"));
}

#[test]
fn a_very_long_path_is_too_long() {
    assert!(get(&format!("/rpm/{}", "a/".repeat(MAX_PATH))).starts_with("414"));
    assert!(get(&format!("/rpm/{}", "a".repeat(300))).starts_with("400"), "no file name is that long");
}

#[test]
fn methods_of_webdav_have_their_routes() {
    let ask = |method: &str, path: &str| ask(&site(), &Method::from_bytes(method.as_bytes()).unwrap(), path);
    for method in ["PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK"] {
        assert_eq!(ask(method, "/rpm/a/x.rpm"), "dav rpm:a/x.rpm", "{method}");
        assert_eq!(ask(method, "/rpm/a/"), "dav rpm:a", "{method}");
        assert_eq!(ask(method, "/rpm/"), "dav rpm:", "{method}");
        assert_eq!(ask(method, "/rpm"), "dav rpm:", "{method}");
        assert!(ask(method, "/-/health").starts_with("405"), "{method}");
        let metadata = ask(method, "/rpm/repodata/x");
        match method {
            // Reading is allowed.
            "PROPFIND" | "COPY" => assert_eq!(metadata, "dav rpm:repodata/x"),
            _ => assert!(metadata.starts_with("403"), "{method}: {metadata}"),
        }
        for hidden in ["/rpm/.createrepod/lock", "/rpm/-/x", "/rpm/@1/x"] {
            let answer = ask(method, hidden);
            assert!(answer.starts_with("404") || answer.starts_with("403"), "{method} {hidden}: {answer}");
        }
    }
    assert_eq!(ask("PROPFIND", "/"), "FrontDav");
    assert_eq!(ask("DELETE", "/rpm/a/"), "delete rpm:a");
    assert!(ask("DELETE", "/rpm/").starts_with("403"));
    assert!(ask("MKCOL", "/rpm/a%0Ab").starts_with("400"));
}

#[test]
fn other_methods_are_refused_with_what_is_possible() {
    for method in ["PATCH", "POST", "REPORT"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        for (path, allow) in [
            ("/rpm/x.rpm", WRITE),
            ("/rpm/sub/", FOLDER),
            ("/rpm/", TOP),
            ("/", READ),
            ("/rpm/repodata/x", OURS),
        ] {
            match route(&method, path, &site()) {
                Err(ServeError::MethodNotAllowed { allow: said, .. }) => {
                    assert_eq!(said, allow, "{path}");
                }
                _ => panic!("{method} {path}"),
            }
        }
    }
    assert_eq!(ask(&site(), &Method::OPTIONS, "*"), format!("options {WRITE}"));
    assert_eq!(ask(&site(), &Method::OPTIONS, "/rpm/x.rpm"), format!("options {WRITE}"));
    assert_eq!(ask(&site(), &Method::OPTIONS, "/rpm/"), format!("options {TOP}"));
}

#[test]
fn a_destination_is_found_like_any_place() {
    let site = site();
    let ours = site.named("rpm").unwrap();
    let find = |path| match place(path, &site, ours) {
        Ok(location) => format!("rpm:{}", location.map_or(String::new(), |l| l.to_string())),
        Err(error) => error.status().as_u16().to_string(),
    };
    assert_eq!(find("/rpm/a%20b/x.rpm"), "rpm:a b/x.rpm");
    assert_eq!(find("/rpm/a/"), "rpm:a");
    assert_eq!((find("/rpm"), find("/rpm/")), ("rpm:".into(), "rpm:".into()));
    assert_eq!((find("/elsewhere/x"), find("/-/x"), find("/")), ("502".into(), "502".into(), "502".into()));
    assert_eq!((find("/rpm/../x"), find("/rpm/%2e%2e/x")), ("502".into(), "502".into()));
    assert_eq!((find("/rpm/x/../y"), find("/el/../rpm/y")), ("rpm:y".into(), "rpm:y".into()));
    // Of others' repositories nothing is told, not even that there are some.
    let words = |path| place(path, &site, ours).unwrap_err().words();
    let long = format!("/el/{}", "a".repeat(5000));
    for path in ["/el", "/el/", "/el/x", "/el/9/x86_64/x", &long, "/nowhere", "/nowhere/x", "/-/x", "/"] {
        assert_eq!(words(path), elsewhere().words(), "{path}");
    }
}

#[test]
fn dots_are_followed_as_other_web_servers_do() {
    for (path, meant) in [
        ("/rpm/./repodata/repomd.xml", "/rpm/repodata/repomd.xml"),
        ("/rpm/x/../repodata/repomd.xml", "/rpm/repodata/repomd.xml"),
        ("/rpm/x/%2e%2E/./y/%2e/a.rpm", "/rpm/y/a.rpm"),
        ("/./rpm/a.rpm", "/rpm/a.rpm"),
        ("/rpm/x//../a.rpm", "/rpm/a.rpm"),
        ("/el/../rpm/a.rpm", "/rpm/a.rpm"),
        ("/rpm/.", "/rpm/"),
        ("/rpm/x/..", "/rpm/"),
        ("/rpm/..", "/"),
        ("/rpm/x/y/..", "/rpm/x/"),
        ("/rpm/./-/../x/.createrepod/lock", "/rpm/x/.createrepod/lock"),
        ("/rpm/../-/health", "/-/health"),
        ("/rpm/...", "/rpm/..."),
    ] {
        assert_eq!(normal(path), meant, "{path}");
        assert_eq!((get(path), put(path)), (get(meant), put(meant)), "{path}");
    }
}

#[test]
fn a_url_is_somebodys_whether_or_not_there_is_something() {
    let site = site();
    let find = |path: &str| match whose(path, &site) {
        Whose::Content(mount) => format!("in {}", mount.config.name),
        Whose::Control(mount) => format!("of {}", mount.config.name),
        Whose::Nobody => "nobody".into(),
        Whose::Server => "server".into(),
    };
    for path in ["/rpm", "/rpm/", "/rpm/x", "/nosuch/../rpm/x", "/rpm/.hidden"] {
        assert_eq!(find(path), "in rpm", "{path}");
    }
    for below in ["mirrorlist/rpm", "api/v1/repositories/rpm", "api/v1/repositories/rpm/batches/x/y"] {
        assert_eq!(find(&format!("/-/{below}")), "of rpm", "{below}");
        assert_eq!(find(&format!("/-/{}", below.replace("rpm", "nosuch"))), "nobody", "{below}");
    }
    for path in ["/nosuch", "/nosuch/x", "/rpmx/x", "/mit", "/-/mirrorlist/", "/-/mirrorlist/rpm/x"] {
        assert_eq!(find(path), "nobody", "{path}");
    }
    for path in [
        "/",
        "/-",
        "/-/",
        "/-/health",
        "/-/nosuch",
        "/-/api/v1/refresh",
        "/favicon.ico",
        "/.well-known/x",
        "*",
        "/../x",
    ] {
        assert_eq!(find(path), "server", "{path}");
    }
}

proptest::proptest! {
    #[test]
    fn every_location_is_found_by_its_encoded_url(parts in proptest::collection::vec("[^/\0]{1,40}", 1..5)) {
        let text = parts.join("/");
        let Ok(location) = Location::parse(&text) else { return Ok(()) };
        let path = format!("/rpm/{}", encode_path(&text));
        let hidden = location.is_private() || location.is_own_url();
        match route(&Method::GET, &path, &site()) {
            Ok(Route::File(mount, found) | Route::NumberedFile(mount, found)) => {
                proptest::prop_assert_eq!((&mount.config.name[..], found), ("rpm", location));
            }
            Ok(_) => proptest::prop_assert!(text == "rpm.repo" || text == "repodata/repomd.xml"),
            Err(_) => proptest::prop_assert!(hidden),
        }
    }

    #[test]
    fn no_path_makes_the_router_panic_or_leave(path in "/[ -~\u{0}-\u{1f}é]{0,60}") {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            if let Ok(Route::File(_, location) | Route::NumberedFile(_, location) | Route::Put(_, location) | Route::Delete(_, location)) =
                route(&method, &path, &site())
            {
                proptest::prop_assert!(!location.is_private());
            }
        }
    }
}
