//! Every URL the daemon answers, in one enum. Pure: a method and a path in, a [`Route`] out.

use std::borrow::Cow;

use hyper::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::error::ServeError;
use super::repomd::RepomdFile;
use super::site::{Mount, Mounts};
use crate::package::Location;
use crate::repository::batches::BatchId;

/// Methods that reading takes.
pub const READ: &str = "GET, HEAD, OPTIONS";
/// Methods that the server's own files in a repository take.
pub const OURS: &str = "GET, HEAD, OPTIONS, PROPFIND, COPY";
/// Methods that a file in a repository takes.
pub const WRITE: &str =
    "GET, HEAD, PUT, DELETE, OPTIONS, PROPFIND, PROPPATCH, MKCOL, COPY, MOVE, LOCK, UNLOCK";
/// Methods that a folder in a repository takes.
pub const FOLDER: &str = "GET, HEAD, DELETE, OPTIONS, PROPFIND, PROPPATCH, MKCOL, COPY, MOVE, LOCK, UNLOCK";
/// Methods that the top of a repository takes.
pub const TOP: &str = "GET, HEAD, OPTIONS, PROPFIND, PROPPATCH, LOCK, UNLOCK";
/// Methods that `/` takes where no repository is.
pub const FRONT: &str = "GET, HEAD, OPTIONS, PROPFIND";

/// Longest path accepted, in bytes as sent: a [`Location`] with every byte percent-encoded, and its prefix.
const MAX_PATH: usize = 16 * 1024;

/// Where a repository with a keyring shows its public keys.
pub const PACKAGE_KEYS: &str = "-/packages.key";

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
    /// `/-/metrics`
    Metrics,
    /// `POST /-/api/v1/refresh`, or of one repository
    Refresh(Option<&'m Mount>),
    /// `POST /-/api/v1/verify`, or of one repository
    Verify(Option<&'m Mount>),
    /// `/-/api/v1/repositories/<name>/batches`
    Batches(&'m Mount),
    /// One of them: looked at or dropped.
    Batch(&'m Mount, BatchId),
    /// `POST …/<id>/commit`
    CommitBatch(&'m Mount, BatchId),
    /// `/-/mirrorlist/<name>`
    Mirrorlist(&'m Mount),
    /// `<repository>/repodata/repomd.xml{,.asc,.key}`, and with a number the same below `<repository>/@N/`
    Repomd(&'m Mount, RepomdFile, Option<u64>),
    /// `<repository>/<name>.repo`
    DotRepo(&'m Mount),
    /// `<repository>/-/packages.key`: the public keys whose signatures its packages must have
    PackageKeys(&'m Mount),
    File(&'m Mount, Location),
    /// `None`: the top of the repository.
    Directory(&'m Mount, Option<Location>),
    /// The repository's own URL without its slash.
    AddSlash,
    Put(&'m Mount, Location),
    /// Of a file, or of a folder with all that is in it.
    Delete(&'m Mount, Location),
    /// PROPFIND, PROPPATCH, MKCOL, COPY, MOVE, LOCK, UNLOCK.
    Dav(&'m Mount, Option<Location>),
    /// PROPFIND of [`Route::Front`].
    FrontDav,
    /// `OPTIONS`, with the methods this URL takes.
    Options(&'static str),
}

impl<'m> Route<'m> {
    /// The repository whose content this is; `None` where the route does not say, or asks for itself.
    pub fn mount(&self) -> Option<&'m Mount> {
        match *self {
            Self::Repomd(mount, ..)
            | Self::Mirrorlist(mount)
            | Self::DotRepo(mount)
            | Self::PackageKeys(mount)
            | Self::File(mount, _)
            | Self::Directory(mount, _)
            | Self::Put(mount, _)
            | Self::Delete(mount, _)
            | Self::Dav(mount, _) => Some(mount),
            // Whoever may write may see what waits.
            Self::Batches(_) | Self::Batch(..) | Self::CommitBatch(..) => None,
            Self::Front
            | Self::FrontDav
            | Self::Health
            | Self::Ready
            | Self::Status
            | Self::Metrics
            | Self::Refresh(_)
            | Self::Verify(_)
            | Self::AddSlash
            | Self::Options(_) => None,
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
            "/-/metrics" => Route::Metrics,
            "/-/api/v1/refresh" => return post_only(method, Route::Refresh(None)),
            "/-/api/v1/verify" => return post_only(method, Route::Verify(None)),
            other => match other.strip_prefix("/-/mirrorlist/") {
                Some(name) => Route::Mirrorlist(mounts.named(name).ok_or(ServeError::NotFound)?),
                None => return api(method, other, mounts),
            },
        };
        return read_only(method, route);
    }
    if !path.ends_with('/')
        && let Some(mount) = mounts.without_slash(&path)
    {
        return if is_read(method) { Ok(Route::AddSlash) } else { top(method, mount) };
    }
    let Some((mount, below)) = mounts.find(&path) else {
        return match (path.as_ref(), method.as_str()) {
            ("/", "PROPFIND") => Ok(Route::FrontDav),
            ("/", "OPTIONS") => Ok(Route::Options(FRONT)),
            ("/", _) => read_only(method, Route::Front),
            _ => Err(ServeError::NotFound),
        };
    };
    let (below, slash) = match below.strip_suffix('/') {
        Some(below) => (below, true),
        None => (below, false),
    };
    if below.is_empty() {
        return if is_read(method) { Ok(Route::Directory(mount, None)) } else { top(method, mount) };
    }
    let location = Location::parse(below).map_err(|error| ServeError::BadRequest(error.to_string()))?;
    if is_read(method) { read(mount, location, slash) } else { write(method, mount, location, slash) }
}

/// `/-/api/v1/repositories/NAME/…`
fn api<'m>(method: &Method, path: &str, mounts: &'m Mounts) -> Result<Route<'m>, ServeError> {
    let below = path.strip_prefix("/-/api/v1/repositories/").ok_or(ServeError::NotFound)?;
    let (name, what) = below.split_once('/').ok_or(ServeError::NotFound)?;
    let mount = mounts.named(name).ok_or(ServeError::NotFound)?;
    let id = |id: &str| BatchId::parse(id).ok_or(ServeError::NotFound);
    let parts: Vec<&str> = what.split('/').collect();
    match parts.as_slice() {
        ["refresh"] => post_only(method, Route::Refresh(Some(mount))),
        ["verify"] => post_only(method, Route::Verify(Some(mount))),
        ["batches"] => read_only(method, Route::Batches(mount)),
        ["batches", batch] => {
            let route = Route::Batch(mount, id(batch)?);
            match *method {
                Method::GET | Method::HEAD | Method::DELETE => Ok(route),
                Method::OPTIONS => Ok(Route::Options("GET, HEAD, DELETE, OPTIONS")),
                _ => Err(other_method(method, "GET, HEAD, DELETE, OPTIONS")),
            }
        }
        ["batches", batch, "commit"] => post_only(method, Route::CommitBatch(mount, id(batch)?)),
        _ => Err(ServeError::NotFound),
    }
}

fn post_only<'m>(method: &Method, route: Route<'m>) -> Result<Route<'m>, ServeError> {
    match *method {
        Method::POST => Ok(route),
        Method::OPTIONS => Ok(Route::Options("POST, OPTIONS")),
        _ => Err(other_method(method, "POST, OPTIONS")),
    }
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
    } else if location.as_str() == PACKAGE_KEYS && !slash && mount.config.keyring.is_some() {
        Ok(Route::PackageKeys(mount))
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
    let ours = is_own(mount, &location);
    match method.as_str() {
        "PROPFIND" | "COPY" if is_hidden(&location) || is_ours(&location) => Err(ServeError::NotFound),
        "PROPFIND" | "COPY" => Ok(Route::Dav(mount, Some(location))),
        "OPTIONS" if ours => Ok(Route::Options(OURS)),
        "OPTIONS" => Ok(Route::Options(if slash { FOLDER } else { WRITE })),
        "PUT" if slash => put_on_folder(FOLDER),
        "PUT" | "DELETE" => {
            writable(mount, &location)?;
            Ok(if *method == Method::PUT {
                Route::Put(mount, location)
            } else {
                Route::Delete(mount, location)
            })
        }
        _ if is_dav(method) => {
            writable(mount, &location)?;
            Ok(Route::Dav(mount, Some(location)))
        }
        _ if ours => Err(other_method(method, OURS)),
        _ => Err(other_method(method, if slash { FOLDER } else { WRITE })),
    }
}

/// Refuses names that nobody may write: the server's own, and what metadata cannot express.
pub fn writable(mount: &Mount, location: &Location) -> Result<(), ServeError> {
    if is_own(mount, location) {
        return Err(ServeError::Forbidden(
            "hidden names, repodata/, -/, @N/ and the .repo file are this server's own; choose another name"
                .into(),
        ));
    }
    if location.as_str().contains(char::is_control) {
        return Err(ServeError::BadRequest(
            "the name holds control characters, which metadata cannot express; choose another name".into(),
        ));
    }
    Ok(())
}

/// The repository and the place in it that a path (as sent, without the query) names.
pub fn place<'m>(path: &str, mounts: &'m Mounts) -> Result<(&'m Mount, Option<Location>), ServeError> {
    let path = decode(path)?;
    let nowhere = || ServeError::BadGateway("the destination is in no repository of this server".into());
    if path == "/-" || path.starts_with("/-/") {
        return Err(nowhere());
    }
    if let Some(mount) = mounts.without_slash(path.trim_end_matches('/')) {
        return Ok((mount, None));
    }
    let (mount, below) = mounts.find(&path).ok_or_else(nowhere)?;
    let location = Location::parse(below.strip_suffix('/').unwrap_or(below))
        .map_err(|error| ServeError::BadRequest(error.to_string()))?;
    Ok((mount, Some(location)))
}

/// What is not the tree's: hidden names, metadata (deeper in the tree it is nobody's upload either), and
/// what the server makes up.
fn is_own(mount: &Mount, location: &Location) -> bool {
    let is_metadata = location.as_str().split('/').any(|part| part == "repodata");
    is_hidden(location) || is_ours(location) || is_metadata || is_dot_repo(mount, location)
}

fn is_dav(method: &Method) -> bool {
    matches!(method.as_str(), "PROPFIND" | "PROPPATCH" | "MKCOL" | "COPY" | "MOVE" | "LOCK" | "UNLOCK")
}

/// Methods other than reading, on the top of a repository.
fn top<'m>(method: &Method, mount: &'m Mount) -> Result<Route<'m>, ServeError> {
    match method.as_str() {
        "OPTIONS" => Ok(Route::Options(TOP)),
        "PUT" => put_on_folder(TOP),
        "DELETE" => Err(ServeError::Forbidden("the repository itself cannot be deleted over HTTP".into())),
        _ if is_dav(method) => Ok(Route::Dav(mount, None)),
        _ => Err(other_method(method, TOP)),
    }
}

fn put_on_folder<'m>(allow: &'static str) -> Result<Route<'m>, ServeError> {
    let why = "this is a folder: add a slash and a file name to the URL (curl -T FILE URL/ does that)".into();
    Err(ServeError::MethodNotAllowed { allow, why })
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
            Ok(Route::Metrics) => "metrics".into(),
            Ok(Route::Refresh(None)) => "refresh".into(),
            Ok(Route::Refresh(Some(mount))) => at("refresh", mount, None),
            Ok(Route::Verify(mount)) => mount.map_or("verify".into(), |mount| at("verify", mount, None)),
            Ok(Route::DotRepo(mount)) => at("dotrepo", mount, None),
            Ok(Route::PackageKeys(mount)) => at("keys", mount, None),
            Ok(Route::File(mount, location)) => at("file", mount, Some(&location)),
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
    fn methods_of_webdav_have_their_routes() {
        let ask =
            |method: &str, path: &str| ask(&site(), &Method::from_bytes(method.as_bytes()).unwrap(), path);
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
                assert!(
                    answer.starts_with("404") || answer.starts_with("403"),
                    "{method} {hidden}: {answer}"
                );
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
        let find = |path| match place(path, &site) {
            Ok((mount, location)) => {
                format!("{}:{}", mount.config.name, location.map_or(String::new(), |l| l.to_string()))
            }
            Err(error) => error.status().as_u16().to_string(),
        };
        assert_eq!(find("/rpm/a%20b/x.rpm"), "rpm:a b/x.rpm");
        assert_eq!(find("/rpm/a/"), "rpm:a");
        assert_eq!((find("/rpm"), find("/rpm/")), ("rpm:".into(), "rpm:".into()));
        assert_eq!(
            (find("/elsewhere/x"), find("/-/x"), find("/")),
            ("502".into(), "502".into(), "502".into())
        );
        assert_eq!((find("/rpm/../x"), find("/rpm/%2e%2e/x")), ("400".into(), "400".into()));
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
