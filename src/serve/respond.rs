//! One request, from its route to its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, HOST, HeaderName, SERVER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio::time::Instant;
use tracing::{debug, error, info};

use super::accept::{self, Form};
use super::access::{Seen, admit, authorize, may_see_causes, visible};
use super::access_log::{self, Note};
use super::answer::{
    Answer, AnswerBody, PLAIN, Sent, empty, failed, holding, one_line, set, set_static, text,
};
use super::connection::{InFlight, Pulse};
use super::error::ServeError;
use super::large::large;
use super::metrics::{Metrics, TEXT_FORMAT};
use super::pools::Portion;
use super::request::RequestBody;
use super::route::{Route, encode_path, route, whose};
use super::site::{Mount, Mounts};
use super::work::{blocking, saying};
use super::{
    Ends, Server, Transport, api, audience, base, batches, browse, dot_repo, files, foreign, health, repomd,
    request_id, verify,
};
use crate::auth::{FewLines, Holder, Permission, Principal};
use crate::dav;
use crate::package::Location;
use crate::repository::Handle;
use crate::repository::browse::Listed;

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
    let note = settings.access_log.note(&server.guard, ends, &parts);
    let id = request_id::of(&parts.headers);
    let mut body = RequestBody::new(body, &parts.headers, &settings.limits, settings.config.max_upload);
    let mounts = server.site.now();
    let mut seen = Seen { principal: Principal::Anyone, by_anyone: false, let_in: false };
    let outcome = match host_header(&mut parts) {
        Ok(()) if pulse.has_hash() => Err(ServeError::BadRequest(
            "the URL holds a #, and what follows it is never part of a request; write it as %23".into(),
        )),
        Ok(()) => {
            base::take_off(&mut parts, &settings.base_path, &mounts);
            answer(server, ends, &mounts, &parts, &mut seen, &mut body).await
        }
        Err(error) => Err(error),
    };
    let mut answer = outcome.unwrap_or_else(|error| {
        report(server, &parts, ends, id.to_str().unwrap_or_default(), &error);
        let mut answer = browse::refusal(failed(&error), one_line(&error.words()).as_ref(), &parts.headers);
        if seen.let_in
            && let Ok(Route::Put(Mount { door: Ok(handle), .. }, _)) =
                route(&parts.method, parts.uri.path(), &mounts)
        {
            dav::tell_revision(&mut answer, handle);
        }
        answer
    });
    if !seen.by_anyone {
        audience::for_one_alone(&mut answer);
    }
    if parts.version >= Version::HTTP_2 {
        // A stream ends alone, but some clients show no answer of one that is reset.
        body.waste(&server.drains);
    } else if !body.drained().await {
        // The client is still sending, or about to: it must not take what follows for a next request.
        set(&mut answer, CONNECTION, "close");
        pulse.linger();
    }
    hand_over(answer, ends, pulse, &parts, &seen.principal, (&server.metrics, begun), (note, id, in_flight))
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
    audience::sandboxed(&mut answer);
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

/// Lines about failures, and about packages that were refused, each few in sum.
static FAILED: FewLines = FewLines::new();
static REFUSED: FewLines = FewLines::new();

/// Refusals and failures are logged here and nowhere else.
fn report(server: &Server, parts: &Parts, ends: &Ends, id: &str, error: &ServeError) {
    let peer = access_log::client(&server.guard, ends, parts);
    let (method, path) = (&parts.method, one_line(parts.uri.path()));
    let (status, why) = (error.status().as_u16(), error.words());
    let why = one_line(&why);
    match (error.cause(), error) {
        (Some(cause), _) => {
            let Some(left_out) = FAILED.one() else { return };
            let cause = one_line(&cause);
            error!(%peer, %method, %path, status, request_id = id, "cannot answer {method} {path}: {cause}{left_out}");
        }
        // A package that was not taken is news to more than who sent it.
        (None, ServeError::Receive(_)) => {
            let Some(left_out) = REFUSED.one() else { return };
            info!(%peer, %method, %path, status, request_id = id, "refused {method} {path} from {peer}: {why}{left_out}");
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
    seen: &mut Seen,
    body: &mut RequestBody,
) -> Result<Answer, ServeError> {
    let Parts { method, uri, headers, .. } = parts;
    foreign::refuse(ends, parts, mounts, server.settings.now().config.base_url.as_deref())?;
    admit(server, ends, parts, mounts, whose(uri.path(), mounts), seen).await?;
    let routed = route(method, uri.path(), mounts)?;
    let Seen { principal, by_anyone, .. } = seen;
    match routed {
        Route::Front => {
            let mounts = visible(server, ends, parts, mounts).await;
            let shown: Vec<_> = mounts.all().iter().map(shown_as).collect();
            let reached = ends.reached();
            let settings = server.settings.now();
            let base = dot_repo::server_base(&settings.config, &reached);
            Ok(browse::front(&shown, accept::page(headers), base))
        }
        Route::Health => Ok(health::health(mounts, &server.begun)),
        Route::Ready => {
            let mounts = Arc::clone(mounts);
            let is_current = server.settings.condition.mistake().is_none();
            saying(move || health::ready(&mounts, is_current)).await
        }
        Route::Status => {
            let form = accept::refusal(headers);
            let mounts = visible(server, ends, parts, mounts).await;
            let knows = may_see_causes(server, ends, parts, mounts.all()).await;
            let shown: Vec<_> = mounts.all().iter().cloned().zip(knows).collect();
            let expiries = server.settings.expiries();
            let configuration = health::configuration(&server.settings.condition, ends);
            let lists = health::Lists::over(ends.transport);
            let told = saying(move || health::status(&shown, configuration, &expiries, form, lists)).await?;
            let mut answer = match form {
                Form::Html => browse::dressed(large(server, ends, browse::HTML, told)?),
                Form::Json | Form::Text => large(server, ends, browse::JSON, told)?,
            };
            set(&mut answer, CACHE_CONTROL, "no-store");
            set(&mut answer, VARY, "Accept");
            Ok(answer)
        }
        Route::Metrics => {
            let mounts = visible(server, ends, parts, mounts).await;
            let (metrics, settings) = (Arc::clone(&server.metrics), Arc::clone(&server.settings));
            let (refused, expiries) = (server.guard.failures().counted(), settings.expiries());
            let told = move || metrics.text(&mounts, &settings.condition, &refused, &expiries);
            let mut answer = large(server, ends, TEXT_FORMAT, saying(told).await??)?;
            set(&mut answer, CACHE_CONTROL, "no-store");
            Ok(answer)
        }
        Route::Refresh(mount) => api::refresh(server, ends, parts, mounts, mount).await,
        Route::Verify(mount) => verify::answer(server, ends, parts, mounts, mount).await,
        Route::Batches(mount) => {
            *principal = authorize(server, ends, parts, &mount.config, Permission::Write).await?;
            batches::list(server, ends, open(mount)?).await
        }
        Route::Batch(mount, id) => {
            *principal = authorize(server, ends, parts, &mount.config, Permission::Write).await?;
            match *method {
                Method::DELETE => {
                    let holder = Holder::of(principal, dav::client(server, ends, parts));
                    if batches::is_of_another(open(mount)?, &id, holder).await? {
                        authorize(server, ends, parts, &mount.config, Permission::Delete).await?;
                    }
                    batches::drop_one(open(mount)?, id, principal).await
                }
                _ => batches::one(server, ends, open(mount)?, id).await,
            }
        }
        Route::CommitBatch(mount, id) => {
            *principal = authorize(server, ends, parts, &mount.config, Permission::Write).await?;
            batches::commit(server, ends, open(mount)?, id, principal, parts).await
        }
        Route::Repomd(mount, file, number) => {
            repomd::answer(&server.given, ends, mount, file, number, parts).await
        }
        Route::Mirrorlist(mount) => {
            *principal = authorize(server, ends, parts, &mount.config, Permission::Read).await?;
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
        Route::NumberedFile(mount, location) => {
            files::file(open(mount)?, location, None, method, headers, &ends.files).await
        }
        Route::File(mount, location) => {
            let place = location.as_str().to_owned();
            let told = server.settings.now().told(uri.path()).into_owned();
            match files::file(open(mount)?, location, Some(&told), method, headers, &ends.files).await {
                Err(ServeError::NotFound) => {
                    let made = server.shares.of(&mount.config.name).placeholder(&place);
                    made.map(files::nothing_yet).ok_or(ServeError::NotFound)
                }
                other => other,
            }
        }
        Route::Directory(mount, location) => {
            // Without a package that is left out there is no cause to tell.
            let left_out = open(mount)?.left_out() > 0;
            let knows =
                may_see_causes(server, ends, parts, if left_out { std::slice::from_ref(mount) } else { &[] });
            let causes = knows.await.contains(&true);
            *by_anyone &= !causes;
            directory(server, ends, mount, (location, causes), parts).await
        }
        Route::AddSlash => Ok(files::with_slash(&server.settings.now().told(uri.path()))),
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
            let mounts = visible(server, ends, parts, mounts).await;
            let urls = top_level(&mounts);
            dav::front(server, ends, parts, urls, body).await
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

/// About how many bytes a line of a list takes in memory, its name aside.
const IN_A_LIST: u64 = 400;

/// What a folder holds, as far as there is memory for it; `portion` grows with it.
fn entries(
    handle: &Handle,
    folder: Option<&Location>,
    portion: &mut Portion,
) -> Result<Vec<Listed>, ServeError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotADirectory => ServeError::NotFound,
        _ => files::open_failed(error),
    };
    let mut listed = Vec::new();
    for one in handle.entries_of(folder).map_err(failed)? {
        let one = one.map_err(failed)?;
        if !portion.grow(one.name.len() as u64 + IN_A_LIST) {
            let why = "many large folders are listed at the moment; try again in a moment";
            return Err(ServeError::Unavailable(why.into()));
        }
        listed.push(one);
    }
    Listed::sort(&mut listed);
    Ok(listed)
}

async fn directory(
    server: &Server,
    ends: &Ends,
    mount: &Mount,
    (location, causes): (Option<Location>, bool),
    parts: &Parts,
) -> Result<Answer, ServeError> {
    let handle = open(mount)?.clone();
    let order = browse::Order::of(parts.uri.query());
    let form = accept::page(&parts.headers);
    let reached = ends.reached();
    let settings = server.settings.now();
    let base = dot_repo::server_base(&settings.config, &reached).to_owned();
    let dot_repo = dot_repo::text(&mount.config, &settings.config, &reached);
    let (pools, peer) = (Arc::clone(&server.pools), ends.peer.ip());
    let turn = server.pools.folder().await;
    blocking("list a directory", move || {
        // As long as the work goes on, also where nobody waits for it any more.
        let _turn = turn;
        let mut portion = pools.list(peer);
        let listed = entries(&handle, location.as_ref(), &mut portion)?;
        let neighbours = handle.neighbours(location.as_ref());
        let about = location.is_none().then(|| browse::about(&handle, &base, dot_repo));
        let place = browse::Place {
            repository: &handle.config().name,
            url: &handle.config().url,
            path: location.as_ref().map_or("", Location::as_str),
            causes,
        };
        Ok(holding(browse::index(&place, listed, neighbours, order, form, about), portion))
    })
    .await?
}
