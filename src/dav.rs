//! Writing over HTTP, and WebDAV class 1 and 2 (RFC 4918).
//!
//! What brings bytes in or takes files away (PUT, DELETE, COPY, MOVE) goes through `repository`: atomic,
//! checked and published. MKCOL and PROPPATCH are dav-server's, over our tree. What is kept for clients beside that (locks, names without content, properties) is bounded in sum,
//! and long answers are made while they are sent.

mod allowance;
pub(crate) mod conditions;
pub(crate) mod delete;
mod destination;
mod digest;
mod filesystem;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod handoff;
mod if_header;
mod lock;
mod locks;
mod multistatus;
pub(crate) mod prefer;
mod propfind;
mod proppatch;
pub(crate) mod put;
pub(crate) mod share;
mod stream;
mod transfer;
mod xml;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderName;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Request};
use tokio::sync::OwnedSemaphorePermit;

use crate::auth::{Holder, Permission, Principal};
use crate::package::Location;
use crate::repository::receive::Condition;
use crate::repository::{Handle, Ticket};
use crate::serve::error::ServeError;
use crate::serve::request::RequestBody;
use crate::serve::{
    Answer, Ends, Mount, Mounts, Server, Transport, Validators, authorize, encode_path, set, writable,
    write_condition,
};
use locks::Reach;
use share::Share;
use stream::Places;

const STATE: HeaderName = HeaderName::from_static("createrepod-state");
const REVISION: HeaderName = HeaderName::from_static("createrepod-revision");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

const XML: &str = "application/xml; charset=utf-8";
/// The entity tag of what is no file yet.
const EMPTY_TAG: &str = "\"empty\"";

/// One request on one repository.
pub(crate) struct Context<'r> {
    pub(crate) server: &'r Server,
    pub(crate) ends: &'r Ends,
    pub(crate) mounts: &'r Mounts,
    pub(crate) mount: &'r Mount,
    pub(crate) handle: &'r Handle,
    pub(crate) share: Arc<Share>,
    pub(crate) parts: &'r Parts,
    /// Who was found to have the right to what the method wants.
    pub(crate) principal: &'r Principal,
}

/// What a URL names in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// `None`: the top.
    pub(crate) location: Option<Location>,
}

impl Target {
    fn place(&self) -> &str {
        self.location.as_ref().map_or("", Location::as_str)
    }
}

impl Context<'_> {
    /// A header of the request that is there once, and text.
    fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
    }

    /// The path of a place as clients know it, encoded; that of a folder without its slash, but for the repository's own.
    fn href(&self, place: &str) -> String {
        let path = format!("{}{}", encode_path(&self.mount.config.url), encode_path(place));
        self.server.settings.now().told(&path).into_owned()
    }

    /// The client's own address; `None` for those at a unix socket.
    fn address(&self) -> Option<IpAddr> {
        client(self.server, self.ends, self.parts)
    }

    /// To whom bounds apply.
    fn holder(&self) -> Holder {
        Holder::of(self.principal, self.address())
    }

    /// Refuses names that are the server's own, and names that metadata cannot express.
    fn may_be_written(&self, location: &Location) -> Result<(), ServeError> {
        writable(self.mount, location)
    }

    /// Refuses those who lack a right beyond what the method itself wants of its own URL.
    async fn also_needs(&self, permission: Permission, target: &Target) -> Result<(), ServeError> {
        let path = format!("{}{}", encode_path(&self.mount.config.url), encode_path(target.place()));
        let failed = |error: hyper::http::Error| ServeError::internal("ask who may do what", error);
        let asked =
            Request::builder().method(self.parts.method.clone()).uri(path).body(()).map_err(failed)?;
        let (mut parts, ()) = asked.into_parts();
        parts.headers = self.parts.headers.clone();
        authorize(self.server, self.ends, &parts, &self.mount.config, permission).await.map(drop)
    }
}

/// The address of who asks; `None` for those at a unix socket.
pub(crate) fn client(server: &Server, ends: &Ends, parts: &Parts) -> Option<IpAddr> {
    let peer = matches!(ends.transport, Transport::Plain | Transport::Tls).then(|| ends.peer.ip());
    server.guard.client(peer, &parts.headers)
}

/// Answers the methods of WebDAV that HTTP does not have.
pub(crate) async fn answer(
    context: &Context<'_>,
    location: Option<Location>,
    body: &mut RequestBody,
) -> Result<Answer, ServeError> {
    let method = context.parts.method.as_str();
    let target = Target { location };
    let places = &context.server.shares.places;
    if method == "PROPFIND" {
        let body = whole(places, body).await?;
        return propfind::propfind(context, &target, body).await;
    }
    if method != "COPY"
        && let Some(location) = &target.location
    {
        context.may_be_written(location)?;
    }
    let body = whole(places, body).await?;
    if matches!(method, "COPY" | "MOVE" | "MKCOL") && !body.bytes.is_empty() {
        return Err(ServeError::UnsupportedMediaType(format!("{method} takes no body; leave it out")));
    }
    if matches!(method, "COPY" | "MOVE") {
        let kind = if method == "COPY" { transfer::Kind::Copy } else { transfer::Kind::Move };
        return transfer::transfer(context, &target, kind).await;
    }
    let place = target.place();
    let reach = Reach { place, deep: false, membership: method == "MKCOL" };
    // Locks do not stand in the way of those who deal with locks, but by their own rules.
    let reaches = if matches!(method, "LOCK" | "UNLOCK") { &[][..] } else { &[reach] };
    let keys = context.check(&target, reaches).await?;
    match method {
        "LOCK" => lock::lock(context, &target, &keys, &body.bytes).await,
        "UNLOCK" => lock::unlock(context, &target).await,
        _ => handoff::hand_off(context, &target, body.bytes).await,
    }
}

/// Why there is no place for a name.
fn no_folder() -> ServeError {
    ServeError::Conflict("the folder this would be in does not exist; make it first".into())
}

/// Answers a PROPFIND on `/` where no repository is; `paths` are `/` and what is directly below it, encoded.
pub(crate) async fn front(
    server: &Server,
    ends: &Ends,
    parts: &Parts,
    mut paths: Vec<String>,
    body: &mut RequestBody,
) -> Result<Answer, ServeError> {
    let body = whole(&server.shares.places, body).await?;
    if parts.headers.get("depth").is_none_or(|depth| depth != "1") {
        paths.truncate(1);
    }
    let settings = server.settings.now();
    let hrefs = paths.iter().map(|path| settings.told(path).into_owned()).collect();
    propfind::front(server, client(server, ends, parts), hrefs, &body.bytes).await
}

/// A small body, and the room that it takes where it is not very small.
struct Small {
    bytes: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

/// Bytes of a body for which there is always room.
const VERY_SMALL: usize = 4 << 10;

/// The whole of a small body.
async fn whole(places: &Places, body: &mut RequestBody) -> Result<Small, ServeError> {
    let limit = xml::LONGEST as u64;
    if body.announced().is_some_and(|length| length > limit) {
        return Err(ServeError::BodyTooLarge { limit });
    }
    let (mut bytes, mut room) = (Vec::new(), None);
    while let Some(part) = body.next_frame().await? {
        if bytes.len() + part.len() > xml::LONGEST {
            return Err(ServeError::BodyTooLarge { limit });
        }
        if room.is_none() && bytes.len() + part.len() > VERY_SMALL {
            room = Some(places.body(xml::LONGEST).await?);
        }
        bytes.extend_from_slice(&part);
    }
    Ok(Small { bytes, _room: room })
}

/// The request's conditions on what is there now.
fn condition(headers: &HeaderMap) -> Condition {
    let headers = headers.clone();
    Box::new(move |stamp| write_condition(&headers, stamp.map(Validators::of).as_ref()))
}

/// Whether clients see a change already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Indexed,
    Pending,
}

/// Waits for the publication of `ticket` as long as the client prefers; `None` is published as it is.
async fn published(handle: &Handle, ticket: Option<Ticket>, wait: Option<Duration>) -> State {
    let Some(ticket) = ticket else { return State::Indexed };
    match handle.wait(ticket, wait.unwrap_or_default()).await {
        Some(_) => State::Indexed,
        None => State::Pending,
    }
}

/// Says in which state the change is, and which revision shows now.
fn tell(answer: &mut Answer, handle: &Handle, state: State, wait: Option<Duration>) {
    let state = match state {
        State::Indexed => "indexed",
        State::Pending => "pending",
    };
    set(answer, STATE, state);
    tell_revision(answer, handle);
    if let Some(wait) = wait {
        set(answer, PREFERENCE_APPLIED, &format!("wait={}", wait.as_secs()));
    }
}

/// How long a client prefers to wait, at most `longest`.
pub(crate) fn preferred_wait(headers: &HeaderMap, longest: Duration) -> Option<Duration> {
    prefer::wait(headers, longest)
}

/// Says whether clients see a change, and which revision shows now.
pub(crate) fn tell_state(answer: &mut Answer, handle: &Handle, seen: bool, wait: Option<Duration>) {
    tell(answer, handle, if seen { State::Indexed } else { State::Pending }, wait);
}

/// Names the revision that shows now.
pub(crate) fn tell_revision(answer: &mut Answer, handle: &Handle) {
    let revision = handle.published().map_or(0, |published| published.revision);
    set(answer, REVISION, &revision.to_string());
}
