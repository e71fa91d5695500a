//! One request, from its route to its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, HOST, HeaderName, SERVER, X_CONTENT_TYPE_OPTIONS};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio::time::Instant;
use tracing::{debug, error, info};

use super::accept;
use super::access::{authorize, may_see, may_see_causes, wanted};
use super::access_log::Note;
use super::answer::{
    Answer, AnswerBody, PLAIN, Sent, blocking, empty, failed, one_line, set, set_static, text,
};
use super::connection::{InFlight, Pulse};
use super::error::ServeError;
use super::metrics::Metrics;
use super::request::RequestBody;
use super::route::{Route, encode_path, mount_of, route};
use super::site::{Mount, Mounts};
use super::{
    Ends, Server, Transport, api, batches, browse, dot_repo, files, health, repomd, request_id, verify,
};
use crate::auth::{Permission, Principal};
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
    let begun = Instant::now();
    server.metrics.began();
    let settings = server.settings.now();
    let note = settings.access_log.note(ends, &parts);
    let id = request_id::of(&parts.headers);
    let mut body = RequestBody::new(body, &parts.headers, &settings.limits, settings.config.max_upload);
    let mounts = server.site.now();
    let mut principal = Principal::Anyone;
    let outcome = match host_header(&mut parts) {
        Ok(()) => answer(server, ends, &mounts, &parts, &mut principal, &mut body).await,
        Err(error) => Err(error),
    };
    let mut answer = outcome.unwrap_or_else(|error| {
        report(&parts, ends, id.to_str().unwrap_or_default(), &error);
        let mut answer = browse::refusal(failed(&error), one_line(&error.words()).as_ref(), &parts.headers);
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
    hand_over(answer, ends, pulse, &parts, &principal, (&server.metrics, begun), (note, id, in_flight))
}

/// Adds what every answer has, and lets go of it.
pub(super) fn hand_over(
    mut answer: Answer,
    ends: &Ends,
    pulse: &Pulse,
    parts: &Parts,
    principal: &Principal,
    (metrics, begun): (&Arc<Metrics>, Instant),
    (mut note, id, in_flight): (Option<Box<Note>>, HeaderValue, InFlight),
) -> Response<Sent> {
    set_static(&mut answer, SERVER, concat!("createrepod/", env!("CARGO_PKG_VERSION")));
    set_static(&mut answer, X_CONTENT_TYPE_OPTIONS, "nosniff");
    if let Some(note) = &mut note {
        let status = answer.status().as_u16();
        note.answered(status, principal.name(), id.to_str().unwrap_or_default());
    }
    metrics.answered(&parts.method, answer.status(), begun.elapsed());
    answer.headers_mut().insert(request_id::HEADER, id);
    answer.map(|mut body| {
        // Neither TLS nor HTTP/2's frames let the kernel move a file by itself.
        if let AnswerBody::File(file) = &mut body
            && parts.version < Version::HTTP_2
            && ends.transport != Transport::Tls
        {
            file.splice_onto(pulse.spans());
        }
        Sent::new(body, note, metrics.clone(), in_flight)
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
            let shown: Vec<_> = mounts.all().iter().map(shown_as).collect();
            let reached = ends.reached();
            let settings = server.settings.now();
            let base = dot_repo::server_base(&settings.config, &reached);
            Ok(browse::front(&shown, accept::page(headers), base))
        }
        Route::Health => Ok(health::health(mounts)),
        Route::Ready => {
            let mounts = Arc::clone(mounts);
            blocking("say how things are", move || health::ready(&mounts)).await
        }
        Route::Status => {
            let form = accept::refusal(headers);
            let mut shown = Vec::new();
            for mount in visible(server, ends, parts, mounts).await.all() {
                let knows = may_see_causes(server, ends, parts, &mount.config).await;
                shown.push((mount.clone(), knows));
            }
            blocking("say how things are", move || health::status(&shown, form)).await
        }
        Route::Metrics => {
            let mounts = visible(server, ends, parts, mounts).await;
            let metrics = Arc::clone(&server.metrics);
            blocking("put the metrics together", move || metrics.answer(&mounts)).await?
        }
        Route::Refresh(mount) => api::refresh(server, ends, parts, mounts, mount).await,
        Route::Verify(mount) => verify::answer(server, ends, parts, mounts, mount).await,
        Route::Batches(mount) => {
            *principal = authorize(server, ends, parts, &mount.config, Permission::Write).await?;
            batches::list(open(mount)?).await
        }
        Route::Batch(mount, id) => {
            *principal = authorize(server, ends, parts, &mount.config, Permission::Write).await?;
            match *method {
                Method::DELETE => batches::drop_one(open(mount)?, id, principal).await,
                _ => batches::one(open(mount)?, id).await,
            }
        }
        Route::CommitBatch(mount, id) => {
            *principal = authorize(server, ends, parts, &mount.config, Permission::Write).await?;
            batches::commit(server, open(mount)?, id, principal, parts).await
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
            let base = dot_repo::base(&mount.config, &server.settings.now().config, &ends.reached());
            let mut answer = text(StatusCode::OK, PLAIN, format!("{base}@{}/\n", published.number));
            set(&mut answer, CACHE_CONTROL, "no-cache");
            Ok(answer)
        }
        Route::DotRepo(mount) => {
            let written = dot_repo::text(&mount.config, &server.settings.now().config, &ends.reached());
            let mut answer = text(StatusCode::OK, PLAIN, written);
            set(&mut answer, CACHE_CONTROL, "no-cache");
            Ok(answer)
        }
        Route::PackageKeys(mount) => {
            let keys = open(mount)?.package_keys().ok_or_else(|| {
                ServeError::Unavailable("the keyring cannot be read now; try again in a moment".into())
            })?;
            let mut answer = text(StatusCode::OK, PLAIN, keys);
            set(&mut answer, CACHE_CONTROL, "no-cache");
            Ok(answer)
        }
        Route::File(mount, location) => {
            let place = location.as_str().to_owned();
            match files::file(open(mount)?, location, uri.path(), method, headers).await {
                Err(ServeError::NotFound) => {
                    let made = server.shares.of(&mount.config.name).placeholder(&place);
                    made.map(files::nothing_yet).ok_or(ServeError::NotFound)
                }
                other => other,
            }
        }
        Route::Directory(mount, location) => directory(server, ends, mount, location, parts).await,
        Route::AddSlash => Ok(files::with_slash(uri.path())),
        Route::Put(mount, location) => {
            dav::put::put(&context(server, ends, mounts, mount, parts, principal)?, location, body).await
        }
        Route::Delete(mount, location) => {
            dav::delete::delete(&context(server, ends, mounts, mount, parts, principal)?, location).await
        }
        Route::Dav(mount, location) => {
            dav::answer(&context(server, ends, mounts, mount, parts, principal)?, location, body).await
        }
        Route::FrontDav => {
            let depth = headers.get("depth").and_then(|depth| depth.to_str().ok());
            let mounts = visible(server, ends, parts, mounts).await;
            let urls = top_level(&mounts);
            dav::front(depth, urls, body).await
        }
        Route::Options(allow) => {
            let mut answer = empty(StatusCode::NO_CONTENT);
            set(&mut answer, ALLOW, allow);
            if allow.contains("PROPFIND") {
                set(&mut answer, HeaderName::from_static("dav"), "1, 2");
                // Windows takes it for a share only then.
                set(&mut answer, HeaderName::from_static("ms-author-via"), "DAV");
            }
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

fn context<'r>(
    server: &'r Server,
    ends: &'r Ends,
    mounts: &'r Mounts,
    mount: &'r Mount,
    parts: &'r Parts,
    principal: &'r Principal,
) -> Result<dav::Context<'r>, ServeError> {
    let share = server.shares.of(&mount.config.name);
    Ok(dav::Context { server, ends, mounts, mount, handle: open(mount)?, share, parts, principal })
}

/// `/`, and the repositories directly below it, as URLs.
fn top_level(mounts: &Mounts) -> Vec<String> {
    let urls = mounts.all().iter().map(|mount| mount.config.url.as_str());
    let direct = urls.filter(|url| url.matches('/').count() == 2).map(encode_path);
    std::iter::once("/".to_owned()).chain(direct).collect()
}

fn shown_as(Mount { config, door }: &Mount) -> browse::Shown {
    let state = match door.as_ref().map(Handle::published) {
        Ok(Some(published)) => browse::State::Published {
            packages: published.packages,
            at: published.at.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        },
        Ok(None) => browse::State::Indexing,
        Err(_) => browse::State::Broken,
    };
    browse::Shown { name: config.name.clone(), url: config.url.clone(), state }
}

async fn directory(
    server: &Server,
    ends: &Ends,
    mount: &Mount,
    location: Option<Location>,
    parts: &Parts,
) -> Result<Answer, ServeError> {
    let handle = open(mount)?.clone();
    let order = browse::Order::of(parts.uri.query());
    let form = accept::page(&parts.headers);
    let reached = ends.reached();
    let settings = server.settings.now();
    let base = dot_repo::server_base(&settings.config, &reached).to_owned();
    let dot_repo = dot_repo::text(&mount.config, &settings.config, &reached);
    blocking("list a directory", move || {
        let listed = handle.list_directory(location.as_ref()).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotADirectory => ServeError::NotFound,
            _ => files::open_failed(error),
        })?;
        let neighbours = handle.neighbours(location.as_ref());
        let about = location.is_none().then(|| browse::about(&handle, &base, dot_repo));
        let place = browse::Place {
            repository: &handle.config().name,
            url: &handle.config().url,
            path: location.as_ref().map_or("", Location::as_str),
        };
        Ok(browse::index(&place, listed, neighbours, order, form, about))
    })
    .await?
}
