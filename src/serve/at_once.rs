//! Answers nobody has to wait for: what is in memory, read by whoever may read it without saying who they
//! are. They are most of what a repository is asked for. All else goes the long way, [`super::respond`].

use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body as _, Incoming};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, Response, Version};
use tokio::time::Instant;

use super::answer::{Answer, Sent};
use super::connection::{InFlight, Pulse};
use super::respond::{hand_over, open};
use super::route::{Route, route};
use super::site::Mount;
use super::{Ends, Server, files, foreign, repomd, request_id};
use crate::auth::Principal;
use crate::config::ReadAccess;
use hyper::http::request::Parts;

/// An answer that is there, or the way to one.
pub(super) enum Answering {
    Ready(Option<Response<Sent>>),
    /// Boxed: most requests do not need its room, which is much.
    Waiting(Pin<Box<dyn Future<Output = Response<Sent>> + Send>>),
}

impl Future for Answering {
    type Output = Result<Response<Sent>, std::convert::Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Ready(answer) => answer.take().map_or(Poll::Pending, |answer| Poll::Ready(Ok(answer))),
            Self::Waiting(answer) => answer.as_mut().poll(cx).map(Ok),
        }
    }
}

/// The answer, or what is needed to find it the long way.
pub(super) fn at_once(
    server: &Server,
    ends: &Ends,
    pulse: &Pulse,
    in_flight: InFlight,
    request: Request<Incoming>,
) -> Result<Response<Sent>, Box<(Request<Incoming>, InFlight)>> {
    let begun = Instant::now();
    let (parts, body) = request.into_parts();
    let answer = if body.is_end_stream() && !pulse.has_hash() { find(server, ends, &parts) } else { None };
    match answer {
        Some(answer) => {
            server.metrics.began();
            let id = request_id::of(&parts.headers);
            let note = server.settings.now().access_log.note(&server.guard, ends, &parts);
            Ok(hand_over(
                answer,
                ends,
                pulse,
                &parts,
                &Principal::Anyone,
                (&server.metrics, begun),
                (note, id, in_flight),
            ))
        }
        None => Err(Box::new((Request::from_parts(parts, body), in_flight))),
    }
}

/// Refusals and whatever is out of the ordinary are left to the long way, which knows them all.
fn find(server: &Server, ends: &Ends, parts: &Parts) -> Option<Answer> {
    let Parts { method, uri, headers, version, .. } = parts;
    let mut hosts = headers.get_all(HOST).iter();
    let is_plain = matches!(*method, Method::GET | Method::HEAD)
        && uri.authority().is_none()
        && (hosts.next().is_some() || *version < Version::HTTP_11)
        && hosts.next().is_none()
        && !headers.contains_key(AUTHORIZATION)
        && ends.certificate.is_none();
    if !is_plain {
        return None;
    }
    let mounts = server.site.now();
    if foreign::is_misdirected(ends, headers, &mounts) {
        return None;
    }
    let is_open = |mount: &Mount| mount.config.read == ReadAccess::Anyone;
    match route(method, uri.path(), &mounts).ok()? {
        Route::Repomd(mount, file, None) if is_open(mount) => {
            repomd::at_once(&server.given, ends, mount, file, parts)?.ok()
        }
        Route::File(mount, location) | Route::NumberedFile(mount, location) if is_open(mount) => {
            files::at_once(open(mount).ok()?, &location, method, headers, &ends.files)?.ok()
        }
        _ => None,
    }
}
