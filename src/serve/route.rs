//! Every URL the daemon answers, in one enum. Pure: a method and a path in, a [`Route`] out.

use std::borrow::Cow;

use hyper::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::error::ServeError;
use super::repomd::RepomdFile;
use super::site::{Mount, Mounts};
use crate::package::Location;

/// Methods that reading takes.
pub const READ: &str = "GET, HEAD, OPTIONS";
/// Methods that a file in a repository takes.
pub const WRITE: &str = "GET, HEAD, PUT, DELETE, OPTIONS";

/// Longest path accepted, in bytes as sent: a [`Location`] with every byte percent-encoded, and its prefix.
const MAX_PATH: usize = 16 * 1024;

/// What a request asks for.
pub enum Route<'m> {
    /// `/`, where no repository is.
    Front,
    /// `/-/health`
    Health,
    /// `/-/ready`
    Ready,
    /// `/-/status` and `/-/api/v1/status`
    Status,
    /// `/-/mirrorlist/<name>`
    Mirrorlist(&'m Mount),
    /// `<repository>/repodata/repomd.xml{,.asc,.key}`, and with a number the same below `<repository>/@N/`
    Repomd(&'m Mount, RepomdFile, Option<u64>),
    /// `<repository>/<name>.repo`
    DotRepo(&'m Mount),
    File(&'m Mount, Location),
    /// `None`: the top of the repository.
    Directory(&'m Mount, Option<Location>),
    /// The repository's own URL without its slash.
    AddSlash,
    Put(&'m Mount, Location),
    Delete(&'m Mount, Location),
    /// `OPTIONS`, with the methods this URL takes.
    Options(&'static str),
}

impl<'m> Route<'m> {
    /// The repository whose content this is; `None` where the route does not say.
    pub fn mount(&self) -> Option<&'m Mount> {
        match *self {
            Self::Repomd(mount, ..)
            | Self::Mirrorlist(mount)
            | Self::DotRepo(mount)
            | Self::File(mount, _)
            | Self::Directory(mount, _)
            | Self::Put(mount, _)
            | Self::Delete(mount, _) => Some(mount),
            Self::Front | Self::Health | Self::Ready | Self::Status | Self::AddSlash | Self::Options(_) => {
                None
            }
        }
    }
}

/// The repository in which `path` (as sent, without the query) lies, whatever is asked of it.
pub fn mount_of<'m>(path: &str, mounts: &'m Mounts) -> Option<&'m Mount> {
    let path = decode(path).ok()?;
    if path == "/-" || path.starts_with("/-/") {
        return None;
    }
    mounts.without_slash(&path).or_else(|| mounts.find(&path).map(|(mount, _)| mount))
}

/// `path` (as sent) as everybody else spells it: every byte that may be is unencoded, and no part is empty.
pub fn normal(path: &str) -> String {
    decode(path).map_or_else(|_| "/".to_owned(), |path| encode_path(&path))
}

/// Finds what `method` on `path` (as sent, without the query) means. The longest prefix wins.
pub fn route<'m>(method: &Method, path: &str, mounts: &'m Mounts) -> Result<Route<'m>, ServeError> {
    if path == "*" && method == Method::OPTIONS {
        return Ok(Route::Options(WRITE));
    }
    let path = decode(path)?;
    if path == "/-" || path.starts_with("/-/") {
        let route = match &*path {
            "/-/health" => Route::Health,
            "/-/ready" => Route::Ready,
            "/-/status" | "/-/api/v1/status" => Route::Status,
            other => {
                let name = other.strip_prefix("/-/mirrorlist/").ok_or(ServeError::NotFound)?;
                Route::Mirrorlist(mounts.named(name).ok_or(ServeError::NotFound)?)
            }
        };
        return read_only(method, route);
    }
    if !path.ends_with('/') && mounts.without_slash(&path).is_some() {
        return if is_read(method) { Ok(Route::AddSlash) } else { folder(method) };
    }
    let Some((mount, below)) = mounts.find(&path) else {
        return if path == "/" { read_only(method, Route::Front) } else { Err(ServeError::NotFound) };
    };
    let (below, slash) = match below.strip_suffix('/') {
        Some(below) => (below, true),
        None => (below, false),
    };
    if below.is_empty() {
        return if is_read(method) { Ok(Route::Directory(mount, None)) } else { folder(method) };
    }
    let location = Location::parse(below).map_err(|error| ServeError::BadRequest(error.to_string()))?;
    if is_read(method) { read(mount, location, slash) } else { write(method, mount, location, slash) }
}

fn read(mount: &Mount, location: Location, slash: bool) -> Result<Route<'_>, ServeError> {
    if is_hidden(&location) {
        Err(ServeError::NotFound)
    } else if let Some((number, below)) = numbered(&location) {
        match RepomdFile::named(below.as_str()) {
            _ if slash => Err(ServeError::NotFound),
            Some(file) => Ok(Route::Repomd(mount, file, Some(number))),
            // Every file of a publication lies where it lay, also when its time is over.
            None if !is_ours(&below) => Ok(Route::File(mount, below)),
            None => Err(ServeError::NotFound),
        }
    } else if is_ours(&location) {
        Err(ServeError::NotFound)
    } else if slash {
        Ok(Route::Directory(mount, Some(location)))
    } else if let Some(file) = RepomdFile::named(location.as_str()) {
        Ok(Route::Repomd(mount, file, None))
    } else if is_dot_repo(mount, &location) {
        Ok(Route::DotRepo(mount))
    } else {
        Ok(Route::File(mount, location))
    }
}

fn write<'m>(
    method: &Method,
    mount: &'m Mount,
    location: Location,
    slash: bool,
) -> Result<Route<'m>, ServeError> {
    // Metadata deeper in the tree is nobody's upload either.
    let is_metadata = location.as_str().split('/').any(|part| part == "repodata");
    let ours = is_hidden(&location) || is_ours(&location) || is_metadata || is_dot_repo(mount, &location);
    match *method {
        _ if slash => folder(method),
        Method::OPTIONS if ours => Ok(Route::Options(READ)),
        Method::OPTIONS => Ok(Route::Options(WRITE)),
        Method::PUT | Method::DELETE if ours => Err(ServeError::Forbidden(
            "hidden names, repodata/, -/, @N/ and the .repo file are this server's own; choose another name"
                .into(),
        )),
        Method::PUT if location.as_str().contains(char::is_control) => Err(ServeError::BadRequest(
            "the name holds control characters, which metadata cannot express; choose another name".into(),
        )),
        Method::PUT => Ok(Route::Put(mount, location)),
        Method::DELETE => Ok(Route::Delete(mount, location)),
        _ => Err(other_method(method, if ours { READ } else { WRITE })),
    }
}

fn is_hidden(location: &Location) -> bool {
    location.as_str().split('/').any(|part| part.starts_with('.'))
}

/// The publication that `@N/…` is of, and what of it is asked for.
fn numbered(location: &Location) -> Option<(u64, Location)> {
    let (first, below) = location.as_str().split_once('/')?;
    let digits = first.strip_prefix('@').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some((digits.parse().ok()?, Location::parse(below).ok()?))
}

/// `/<repo>/-/…` and `/<repo>/@N/…` belong to the repository, not to its tree.
fn is_ours(location: &Location) -> bool {
    let first = location.as_str().split('/').next().unwrap_or_default();
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    first == "-" || first.strip_prefix('@').is_some_and(is_number)
}

fn is_dot_repo(mount: &Mount, location: &Location) -> bool {
    location.as_str().strip_suffix(".repo") == Some(&mount.config.name)
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn read_only<'m>(method: &Method, route: Route<'m>) -> Result<Route<'m>, ServeError> {
    match *method {
        Method::GET | Method::HEAD => Ok(route),
        Method::OPTIONS => Ok(Route::Options(READ)),
        _ => Err(other_method(method, READ)),
    }
}

fn folder<'m>(method: &Method) -> Result<Route<'m>, ServeError> {
    let why = match *method {
        Method::OPTIONS => return Ok(Route::Options(READ)),
        Method::PUT => {
            "this is a folder: add a slash and a file name to the URL (curl -T FILE URL/ does that)".into()
        }
        Method::DELETE => "this is a folder: only files can be deleted".into(),
        _ => return Err(other_method(method, READ)),
    };
    Err(ServeError::MethodNotAllowed { allow: READ, why })
}

fn other_method(method: &Method, allow: &'static str) -> ServeError {
    ServeError::MethodNotAllowed { allow, why: format!("{method} is not done here; this URL takes {allow}") }
}

/// A request path, decoded. Empty parts (`//`) are dropped, as nginx and Apache do; since no part
/// holds a slash, the parts can still be told apart.
fn decode(path: &str) -> Result<Cow<'_, str>, ServeError> {
    if path.len() > MAX_PATH {
        return Err(ServeError::UriTooLong);
    }
    if !path.starts_with('/') {
        return Err(ServeError::BadRequest("the request's path must begin with a slash".into()));
    }
    // As nearly all paths are: nothing is encoded, no part is empty, none is `.` or `..`.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'~');
    let pairs = path.as_bytes().windows(2);
    if path.bytes().all(plain) && !pairs.into_iter().any(|pair| matches!(pair, b"//" | b"/.")) {
        return Ok(path.into());
    }
    let mut decoded = String::with_capacity(path.len());
    for part in path.split('/').filter(|part| !part.is_empty()) {
        decoded.push('/');
        decoded.push_str(&decode_part(part)?);
    }
    if path.ends_with('/') {
        decoded.push('/');
    }
    Ok(decoded.into())
}

fn decode_part(part: &str) -> Result<String, ServeError> {
    let bad = |why: &str| Err(ServeError::BadRequest(format!("the URL {why}")));
    let stray = part.match_indices('%').any(|(at, _)| {
        !part.get(at + 1..at + 3).is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
    });
    if stray {
        return bad("holds a % that begins no percent-encoding; write it as %25");
    }
    let Ok(text) = percent_decode_str(part).decode_utf8() else {
        return bad("is not percent-encoded UTF-8");
    };
    if text.contains(['/', '\0']) {
        return bad("holds an encoded slash or NUL");
    }
    if matches!(&*text, "." | "..") {
        return bad("holds . or .. as a part of its path");
    }
    Ok(text.into_owned())
}

/// What may stand unencoded in a URL's path: RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One part of a path, percent-encoded.
pub fn encode_part(part: &str) -> String {
    utf8_percent_encode(part, ENCODED).to_string()
}

/// A decoded path such as a repository's `url`, percent-encoded but for its slashes.
pub fn encode_path(path: &str) -> String {
    path.split('/').map(encode_part).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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
            Ok(Route::DotRepo(mount)) => at("dotrepo", mount, None),
            Ok(Route::File(mount, location)) => at("file", mount, Some(&location)),
            Ok(Route::Directory(mount, location)) => at("directory", mount, location.as_ref()),
            Ok(Route::Put(mount, location)) => at("put", mount, Some(&location)),
            Ok(Route::Delete(mount, location)) => at("delete", mount, Some(&location)),
            Ok(Route::Options(allow)) => format!("options {allow}"),
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
            "/rpm/../etc/passwd",
            "/rpm/%2e%2e/x",
            "/rpm/a%2Fb.rpm",
            "/rpm/..%2f..%2fetc",
            "/rpm/a%00.rpm",
            "/rpm/%ff.rpm",
            "/rpm/%zz.rpm",
            "/rpm/%4",
            "/rpm/%é",
            "/rpm/./x",
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
        assert_eq!(put("/rpm/@scope/x.rpm"), "put rpm:@scope/x.rpm");
    }

    #[test]
    fn a_put_on_a_folder_says_what_to_add() {
        for path in ["/rpm/", "/rpm", "/rpm/sub/"] {
            assert!(
                put(path).starts_with("405") && put(path).contains("add a slash and a file name"),
                "{path}"
            );
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
    fn methods_of_webdav_are_refused_with_what_is_possible() {
        for method in ["PROPFIND", "MKCOL", "COPY", "MOVE", "LOCK", "PATCH", "POST"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            for (path, allow) in
                [("/rpm/x.rpm", WRITE), ("/rpm/", READ), ("/", READ), ("/rpm/repodata/x", READ)]
            {
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
        assert_eq!(ask(&site(), &Method::OPTIONS, "/rpm/"), format!("options {READ}"));
    }

    proptest::proptest! {
        #[test]
        fn every_location_is_found_by_its_encoded_url(parts in proptest::collection::vec("[^/\0]{1,40}", 1..5)) {
            let text = parts.join("/");
            let Ok(location) = Location::parse(&text) else { return Ok(()) };
            let path = format!("/rpm/{}", encode_path(&text));
            let hidden = is_hidden(&location) || is_ours(&location);
            match route(&Method::GET, &path, &site()) {
                Ok(Route::File(mount, found)) => {
                    proptest::prop_assert_eq!((&mount.config.name[..], found), ("rpm", location));
                }
                Ok(_) => proptest::prop_assert!(text == "rpm.repo" || text == "repodata/repomd.xml"),
                Err(_) => proptest::prop_assert!(hidden),
            }
        }

        #[test]
        fn no_path_makes_the_router_panic_or_leave(path in "/[ -~\u{0}-\u{1f}é]{0,60}") {
            for method in [Method::GET, Method::PUT, Method::DELETE] {
                if let Ok(Route::File(_, location) | Route::Put(_, location) | Route::Delete(_, location)) =
                    route(&method, &path, &site())
                {
                    proptest::prop_assert!(!location.as_str().split('/').any(|part| part.starts_with('.')));
                }
            }
        }
    }
}
