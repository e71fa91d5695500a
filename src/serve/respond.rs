//! One request, from its route to its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, HOST, SERVER, X_CONTENT_TYPE_OPTIONS};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode, Version};
use tracing::{debug, error, info};

use super::access::{authorize, may_see, wanted};
use super::access_log::Note;
use super::answer::{
    Answer, AnswerBody, PLAIN, Sent, blocking, empty, failed, one_line, set, set_static, text,
};
use super::connection::{InFlight, Pulse};
use super::error::ServeError;
use super::request::RequestBody;
use super::route::{Route, mount_of, route};
use super::site::{Mount, Mounts};
use super::{Ends, Server, Transport, browse, dot_repo, files, health, repomd, request_id};
use crate::auth::Principal;
use crate::config::ReadAccess;
use crate::dav;
use crate::package::Location;
use crate::repository::Handle;

pub(super) async fn respond(
    server: &Server,
    ends: &Ends,
    pulse: &Pulse,
    in_flight: InFlight,
    request: Request<Incoming>,
) -> Response<Sent> {
    let (mut parts, body) = request.into_parts();
    let note = server.access_log.note(ends, &parts);
    let id = request_id::of(&parts.headers);
    let mut body = RequestBody::new(body, &parts.headers, &server.limits, server.config.max_upload);
    let mounts = server.site.now();
    let mut principal = Principal::Anyone;
    let outcome = match host_header(&mut parts) {
        Ok(()) => answer(server, ends, &mounts, &parts, &mut principal, &mut body).await,
        Err(error) => Err(error),
    };
    let mut answer = outcome.unwrap_or_else(|error| {
        report(&parts, ends, id.to_str().unwrap_or_default(), &error);
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
    // A stream of HTTP/2 ends alone.
    if parts.version < Version::HTTP_2 && !body.drained().await {
        // The client is still sending, or about to: it must not take what follows for a next request.
        set(&mut answer, CONNECTION, "close");
        pulse.linger();
    }
    hand_over(answer, ends, pulse, &parts, &principal, (note, id, in_flight))
}

/// Adds what every answer has, and lets go of it.
pub(super) fn hand_over(
    mut answer: Answer,
    ends: &Ends,
    pulse: &Pulse,
    parts: &Parts,
    principal: &Principal,
    (mut note, id, in_flight): (Option<Box<Note>>, HeaderValue, InFlight),
) -> Response<Sent> {
    set_static(&mut answer, SERVER, concat!("createrepod/", env!("CARGO_PKG_VERSION")));
    set_static(&mut answer, X_CONTENT_TYPE_OPTIONS, "nosniff");
    if let Some(note) = &mut note {
        let status = answer.status().as_u16();
        note.answered(status, principal.name(), id.to_str().unwrap_or_default());
    }
    answer.headers_mut().insert(request_id::HEADER, id);
    answer.map(|mut body| {
        // Neither TLS nor HTTP/2's frames let the kernel move a file by itself.
        if let AnswerBody::File(file) = &mut body
            && parts.version < Version::HTTP_2
            && ends.transport != Transport::Tls
        {
            file.splice_onto(pulse.spans());
        }
        Sent::new(body, note, in_flight)
    })
}

/// Sees to it that there is exactly one Host header, whichever way the client said it.
fn host_header(parts: &mut Parts) -> Result<(), ServeError> {
    let bad = |why: &str| Err(ServeError::BadRequest(why.into()));
    let hosts = parts.headers.get_all(HOST).iter().count();
    if hosts > 1 {
        return bad("a request needs exactly one Host header");
    }
    // What HTTP/2 calls :authority; in HTTP/1 a whole URL in the request line outweighs the header.
    match parts.uri.authority().map(|authority| HeaderValue::from_str(authority.as_str())) {
        Some(Ok(authority)) => {
            if parts.version == Version::HTTP_2
                && parts.headers.get(HOST).is_some_and(|host| *host != authority)
            {
                return bad("the Host header is another than :authority");
            }
            parts.headers.insert(HOST, authority);
            Ok(())
        }
        Some(Err(_)) => bad("the URL's host is none"),
        None if hosts == 0 && parts.version >= Version::HTTP_11 => {
            bad("an HTTP/1.1 request needs exactly one Host header")
        }
        None => Ok(()),
    }
}

/// Refusals and failures are logged here and nowhere else.
fn report(parts: &Parts, ends: &Ends, id: &str, error: &ServeError) {
    let (peer, method, path) = (ends.spell_peer(), &parts.method, one_line(parts.uri.path()));
    let (status, why) = (error.status().as_u16(), error.words());
    let why = one_line(&why);
    match (error.cause(), error) {
        (Some(cause), _) => {
            let cause = one_line(&cause);
            error!(%peer, %method, %path, status, request_id = id, "cannot answer {method} {path}: {cause}");
        }
        // A package that was not taken is news to more than who sent it.
        (None, ServeError::Receive(_)) => {
            info!(%peer, %method, %path, status, request_id = id, "refused {method} {path} from {peer}: {why}");
        }
        (None, _) => {
            debug!(%peer, %method, %path, status, request_id = id, "refused {method} {path} from {peer}: {why}");
        }
    }
}

async fn answer(
    server: &Server,
    ends: &Ends,
    mounts: &Arc<Mounts>,
    parts: &Parts,
    principal: &mut Principal,
    body: &mut RequestBody,
) -> Result<Answer, ServeError> {
    let Parts { method, uri, headers, .. } = parts;
    let routed = route(method, uri.path(), mounts);
    let mount = routed.as_ref().map_or(None, Route::mount).or_else(|| mount_of(uri.path(), mounts));
    // Before anything is told, also that there is nothing.
    if let Some(mount) = mount {
        *principal = authorize(server, ends, parts, &mount.config, wanted(method, uri.query())).await?;
    }
    match routed? {
        Route::Front => {
            let mounts = visible(server, ends, parts, mounts).await;
            Ok(front(&mounts))
        }
        Route::Health => Ok(health::health(mounts)),
        Route::Ready => {
            let mounts = Arc::clone(mounts);
            blocking("say how things are", move || health::ready(&mounts)).await
        }
        Route::Status => {
            let mounts = visible(server, ends, parts, mounts).await;
            blocking("say how things are", move || health::status(&mounts)).await
        }
        Route::Repomd(mount, file, number) => {
            repomd::answer(&server.given, ends, mount, file, number, parts).await
        }
        Route::Mirrorlist(mount) => {
            let published = open(mount)?.published().ok_or_else(|| {
                ServeError::Unavailable("nothing is published yet; try again in a moment".into())
            })?;
            // Whoever is told its number will ask for it.
            published.given.store(true, Ordering::Release);
            let base = dot_repo::base(&mount.config, &server.config, &ends.reached());
            let mut answer = text(StatusCode::OK, PLAIN, format!("{base}@{}/\n", published.number));
            set(&mut answer, CACHE_CONTROL, "no-cache");
            Ok(answer)
        }
        Route::DotRepo(mount) => {
            let mut answer =
                text(StatusCode::OK, PLAIN, dot_repo::text(&mount.config, &server.config, &ends.reached()));
            set(&mut answer, CACHE_CONTROL, "no-cache");
            Ok(answer)
        }
        Route::File(mount, location) => {
            files::file(open(mount)?, location, uri.path(), method, headers).await
        }
        Route::Directory(mount, location) => directory(mount, location).await,
        Route::AddSlash => Ok(files::with_slash(uri.path())),
        Route::Put(mount, location) => {
            dav::put::put(server, principal, open(mount)?, location, parts, body).await
        }
        Route::Delete(mount, location) => {
            dav::delete::delete(server, principal, open(mount)?, location, parts).await
        }
        Route::Options(allow) => {
            let mut answer = empty(StatusCode::NO_CONTENT);
            set(&mut answer, ALLOW, allow);
            Ok(answer)
        }
    }
}

/// The repositories this client may know of.
async fn visible(server: &Server, ends: &Ends, parts: &Parts, mounts: &Arc<Mounts>) -> Arc<Mounts> {
    if mounts.all().iter().all(|mount| mount.config.read == ReadAccess::Anyone) {
        return Arc::clone(mounts);
    }
    let mut seen = Vec::new();
    for mount in mounts.all() {
        if may_see(server, ends, parts, &mount.config).await {
            seen.push(mount.clone());
        }
    }
    Arc::new(Mounts::new(seen))
}

pub(super) fn open(mount: &Mount) -> Result<&Handle, ServeError> {
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
