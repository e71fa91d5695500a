//! Every URL the daemon answers, in one enum. Pure: a method and a path in, a [`Route`] out.

mod own;
mod path;

use hyper::Method;

use super::error::ServeError;
use super::repomd::RepomdFile;
use super::site::{Mount, Mounts};
use crate::package::Location;
use crate::repository::Handle;
use crate::repository::batches::BatchId;
use own::{is_dot_repo, is_own, numbered};
pub use own::{without_number, writable};
use path::decode;
pub use path::{encode_part, encode_path, normal};

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
    /// A file below `<repository>/@N/`, where there are no folders.
    NumberedFile(&'m Mount, Location),
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

/// What a URL is of, whatever is asked of it and whether or not there is such a thing.
pub enum Whose<'m> {
    /// Of this repository's content.
    Content(&'m Mount),
    /// What the server says of this repository, and does with it, below `/-/`.
    Control(&'m Mount),
    /// Of a repository that does not exist.
    Nobody,
    /// The server's own, and what no repository can have.
    Server,
}

/// Asked for by browsers by themselves: nobody is to be asked for a password because of them.
const ASKED_UNASKED: [&str; 2] = ["/favicon.ico", "/robots.txt"];

/// Whose `path` (as sent, without the query) is.
pub fn whose<'m>(path: &str, mounts: &'m Mounts) -> Whose<'m> {
    let Ok(path) = decode(path) else { return Whose::Server };
    if path == "/-" || path.starts_with("/-/") {
        let name = path.strip_prefix("/-/mirrorlist/").or_else(|| {
            let below = path.strip_prefix("/-/api/v1/repositories/")?;
            Some(below.split_once('/').map_or(below, |(name, _)| name))
        });
        return match name {
            Some(name) => mounts.named(name).map_or(Whose::Nobody, Whose::Control),
            None => Whose::Server,
        };
    }
    match mounts.without_slash(&path).or_else(|| mounts.find(&path).map(|(mount, _)| mount)) {
        Some(mount) => Whose::Content(mount),
        // No repository's URL begins with a dot; others ask for /.well-known/ by themselves as well.
        None if path == "/" || path.starts_with("/.") || ASKED_UNASKED.contains(&&*path) => Whose::Server,
        None => Whose::Nobody,
    }
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
    if location.is_private() || slash && location.file_name().starts_with('.') {
        Err(ServeError::NotFound)
    } else if let Some((number, below)) = numbered(&location) {
        match RepomdFile::named(below.as_str()) {
            _ if slash || is_yet_to_come(mount, number) => Err(ServeError::NotFound),
            Some(file) => Ok(Route::Repomd(mount, file, Some(number))),
            // Every file of a publication lies where it lay, also when its time is over.
            None if !below.is_own_url() && !below.is_private() => Ok(Route::NumberedFile(mount, below)),
            None => Err(ServeError::NotFound),
        }
    } else if location.as_str() == PACKAGE_KEYS && !slash && mount.config.keyring.is_some() {
        Ok(Route::PackageKeys(mount))
    } else if location.is_own_url() {
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

/// Whether no publication can have had this number: they grow.
fn is_yet_to_come(mount: &Mount, number: u64) -> bool {
    let published = mount.door.as_ref().ok().and_then(Handle::published);
    published.is_some_and(|published| number > published.number)
}

fn write<'m>(
    method: &Method,
    mount: &'m Mount,
    location: Location,
    slash: bool,
) -> Result<Route<'m>, ServeError> {
    let ours = is_own(mount, &location);
    match method.as_str() {
        "PROPFIND" | "COPY" if location.is_private() || location.is_own_url() => Err(ServeError::NotFound),
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

/// The place in the repository `ours` that a path (as sent, without the query) names, and `None` for its top. What it
/// names elsewhere, and whether anything is there, is not told.
pub fn place(path: &str, mounts: &Mounts, ours: &Mount) -> Result<Option<Location>, ServeError> {
    let path = decode(path)?;
    let is_ours = |mount: &&Mount| mount.config.name == ours.config.name;
    if path == "/-" || path.starts_with("/-/") {
        return Err(elsewhere());
    }
    if let Some(mount) = mounts.without_slash(path.trim_end_matches('/')) {
        return if is_ours(&mount) { Ok(None) } else { Err(elsewhere()) };
    }
    let (_, below) = mounts.find(&path).filter(|(mount, _)| is_ours(mount)).ok_or_else(elsewhere)?;
    Location::parse(below.strip_suffix('/').unwrap_or(below))
        .map(Some)
        .map_err(|error| ServeError::BadRequest(error.to_string()))
}

/// Why a destination is none we can go to.
pub fn elsewhere() -> ServeError {
    ServeError::BadGateway(
        "the destination is on another server or in another repository; behind a proxy, pass the Host header on \
         or set base_url"
            .into(),
    )
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

#[cfg(test)]
mod tests;
