//! One request, from its route to its answer.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, HOST, SERVER, X_CONTENT_TYPE_OPTIONS};
use hyper::http::request::Parts;
use hyper::{Request, StatusCode, Version};
use tracing::{debug, error, info};

use super::access::{authorize, wanted};
use super::answer::{Answer, PLAIN, blocking, empty, failed, one_line, set, text};
use super::connection::Lingers;
use super::error::ServeError;
use super::request::RequestBody;
use super::route::{Route, mount_of, route};
use super::site::{Mount, Mounts};
use super::{Ends, Server, browse, dot_repo, files, health};
use crate::auth::Principal;
use crate::dav;
use crate::package::Location;
use crate::repository::Handle;

pub(super) async fn respond(
    server: &Server,
    ends: &Ends,
    lingers: Lingers,
    request: Request<Incoming>,
) -> Answer {
    let (parts, body) = request.into_parts();
    let mut body = RequestBody::new(body, &parts.headers, server.limits.body_idle, server.config.max_upload);
    let mounts = server.site.now();
    let outcome = answer(server, ends, &mounts, &parts, &mut body).await;
    let mut answer = outcome.unwrap_or_else(|error| {
        report(&parts, ends, &error);
        let mut answer = failed(&error);
        if error.is_about_who_asks() {
            return answer;
        }
        if let Ok(Route::Put(Mount { door: Ok(handle), .. }, _)) =
            route(&parts.method, parts.uri.path(), &mounts)
        {
            dav::tell_revision(&mut answer, handle);
        }
        answer
    });
    if !body.drained().await {
        // The client is still sending, or about to: it must not take what follows for a next request.
        set(&mut answer, CONNECTION, "close");
        lingers.set();
    }
    set(&mut answer, SERVER, concat!("createrepod/", env!("CARGO_PKG_VERSION")));
    set(&mut answer, X_CONTENT_TYPE_OPTIONS, "nosniff");
    answer
}

/// Refusals and failures are logged here and nowhere else.
fn report(parts: &Parts, ends: &Ends, error: &ServeError) {
    let (peer, method, path) = (ends.peer, &parts.method, one_line(parts.uri.path()));
    let (status, why) = (error.status().as_u16(), error.words());
    let why = one_line(&why);
    match (error.cause(), error) {
        (Some(cause), _) => {
            let cause = one_line(&cause);
            error!(%peer, %method, %path, status, "cannot answer {method} {path}: {cause}");
        }
        // A package that was not taken is news to more than who sent it.
        (None, ServeError::Receive(_)) => {
            info!(%peer, %method, %path, status, "refused {method} {path} from {peer}: {why}");
        }
        (None, _) => debug!(%peer, %method, %path, status, "refused {method} {path} from {peer}: {why}"),
    }
}

async fn answer(
    server: &Server,
    ends: &Ends,
    mounts: &Arc<Mounts>,
    parts: &Parts,
    body: &mut RequestBody,
) -> Result<Answer, ServeError> {
    if parts.version == Version::HTTP_11 && parts.headers.get_all(HOST).iter().count() != 1 {
        return Err(ServeError::BadRequest("an HTTP/1.1 request needs exactly one Host header".into()));
    }
    let Parts { method, uri, headers, .. } = parts;
    let routed = route(method, uri.path(), mounts);
    let mount = routed.as_ref().map_or(None, Route::mount).or_else(|| mount_of(uri.path(), mounts));
    // Before anything is told, also that there is nothing.
    let principal = match mount {
        Some(mount) => authorize(server, ends, parts, &mount.config, wanted(method)).await?,
        None => Principal::Anyone,
    };
    match routed? {
        Route::Front => Ok(front(mounts)),
        Route::Health => Ok(health::health(mounts)),
        Route::Ready => {
            let mounts = Arc::clone(mounts);
            blocking("say how things are", move || health::ready(&mounts)).await
        }
        Route::Status => {
            let mounts = Arc::clone(mounts);
            blocking("say how things are", move || health::status(&mounts)).await
        }
        Route::Repomd(mount) => repomd(mount, parts).await,
        Route::DotRepo(mount) => {
            let mut answer =
                text(StatusCode::OK, PLAIN, dot_repo::text(&mount.config, &server.config, ends.local));
            set(&mut answer, CACHE_CONTROL, "no-cache");
            Ok(answer)
        }
        Route::File(mount, location) => {
            files::file(open(mount)?, location, uri.path(), method, headers).await
        }
        Route::Directory(mount, location) => directory(mount, location).await,
        Route::AddSlash => Ok(files::with_slash(uri.path())),
        Route::Put(mount, location) => {
            dav::put::put(server, &principal, open(mount)?, location, parts, body).await
        }
        Route::Delete(mount, location) => {
            dav::delete::delete(server, &principal, open(mount)?, location, headers).await
        }
        Route::Options(allow) => {
            let mut answer = empty(StatusCode::NO_CONTENT);
            set(&mut answer, ALLOW, allow);
            Ok(answer)
        }
    }
}

fn open(mount: &Mount) -> Result<&Handle, ServeError> {
    // Why is for the log and the status; it holds paths that are nobody else's business.
    mount.door.as_ref().map_err(|_| {
        ServeError::Unavailable(format!(
            "the repository {} cannot be served at the moment; the server's log says why",
            mount.config.name
        ))
    })
}

fn front(mounts: &Mounts) -> Answer {
    let shown: Vec<browse::Shown> = mounts
        .all()
        .iter()
        .map(|Mount { config, door }| browse::Shown {
            name: config.name.clone(),
            url: config.url.clone(),
            packages: door.as_ref().ok().and_then(Handle::published).map(|published| published.packages),
        })
        .collect();
    browse::front(&shown)
}

async fn directory(mount: &Mount, location: Option<Location>) -> Result<Answer, ServeError> {
    let handle = open(mount)?.clone();
    let url = match &location {
        Some(location) => format!("{}{location}/", mount.config.url),
        None => mount.config.url.clone(),
    };
    let name = location.is_none().then(|| mount.config.name.clone());
    blocking("list a directory", move || {
        let listed = handle.list_directory(location.as_ref()).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotADirectory => ServeError::NotFound,
            _ => files::open_failed(error),
        })?;
        Ok(browse::index(&url, &listed, url == "/", name.as_deref()))
    })
    .await?
}

/// The published repomd.xml from memory; before the first publication whatever an earlier run left.
async fn repomd(mount: &Mount, parts: &Parts) -> Result<Answer, ServeError> {
    let handle = open(mount)?;
    if let Some(published) = handle.published().filter(|published| !published.repomd.is_empty()) {
        // No two publications share a revision; the checksum tells apart what a clock set back might not.
        let etag = format!("\"{:x}-{:08x}\"", published.revision, crc32fast::hash(&published.repomd));
        return files::repomd(published.repomd.clone(), etag, published.at, &parts.method, &parts.headers);
    }
    let location = Location::parse("repodata/repomd.xml")
        .map_err(|error| ServeError::internal("name repomd.xml", error))?;
    match files::file(handle, location, parts.uri.path(), &parts.method, &parts.headers).await {
        Err(ServeError::NotFound) => Err(ServeError::Unavailable(format!(
            "the repository {} is being indexed for the first time; try again in a moment",
            mount.config.name
        ))),
        other => other,
    }
}
