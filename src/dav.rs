//! Writing over HTTP. PUT and DELETE are ours: they are atomic, checked and published. The other
//! methods of WebDAV are answered 405 by the routing table until they are served here.

pub(crate) mod delete;
mod digest;
pub(crate) mod prefer;
pub(crate) mod put;

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::HeaderName;

use crate::repository::receive::Condition;
use crate::repository::{Handle, Ticket};
use crate::serve::{Answer, Validators, set, write_condition};

const STATE: HeaderName = HeaderName::from_static("createrepod-state");
const REVISION: HeaderName = HeaderName::from_static("createrepod-revision");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

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
