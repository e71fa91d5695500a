//! PUT: the body goes to `Handle::receive…`, what comes of it to the client; decides nothing itself.

use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_ENCODING, CONTENT_RANGE, ETAG};
use hyper::http::request::Parts;
use tokio::task::JoinHandle;

use super::{State, condition, digest, prefer, published, tell};
use crate::auth::Principal;
use crate::package::Location;
use crate::repository::Handle;
use crate::repository::receive::{Offer, Outcome, ReceiveError, Received, Receiving};
use crate::serve::error::ServeError;
use crate::serve::request::{BLOCK, Block, RequestBody};
use crate::serve::{Answer, PLAIN, Server, Validators, blocking, empty, one_line, set, text};

/// What failed, when our own code did.
const ATTEMPT: &str = "take the upload";

/// Answers a PUT: with the state of what was stored, and the revision that shows now.
pub(crate) async fn put(
    server: &Server,
    principal: &Principal,
    handle: &Handle,
    location: Location,
    parts: &Parts,
    body: &mut RequestBody,
) -> Result<Answer, ServeError> {
    whole_and_plain(parts)?;
    body.check_announced()?;
    let stated = digest::stated(&parts.headers)?;
    let offer = Offer {
        location: location.clone(),
        condition: condition(&parts.headers),
        stated,
        by: principal.clone(),
    };
    let received = receive(handle, offer, body).await?;
    let wait = prefer::wait(&parts.headers, server.limits.wait);
    Ok(answer(handle, &location, received, wait).await)
}

/// Refuses a part of a file, and a file in disguise: what is stored must be what was sent.
fn whole_and_plain(parts: &Parts) -> Result<(), ServeError> {
    if parts.headers.contains_key(CONTENT_RANGE) {
        return Err(ServeError::BadRequest(
            "parts of a file (Content-Range) are not taken; send the whole file".into(),
        ));
    }
    if parts.headers.get_all(CONTENT_ENCODING).iter().any(|coding| coding != "identity") {
        return Err(ServeError::UnsupportedMediaType(
            "encoded bodies (Content-Encoding) are not taken; send the file as it is".into(),
        ));
    }
    Ok(())
}

/// Takes the body in: what is small in one step on the blocking pool, the rest block by block, one
/// of which is written while the next one comes.
async fn receive(handle: &Handle, offer: Offer, body: &mut RequestBody) -> Result<Received, ServeError> {
    let is_small = body.announced().is_none_or(|length| length <= BLOCK as u64);
    let first = match is_small && !body.is_held_back() {
        true => body.next_block().await?,
        // What can be refused is refused before a byte is asked for.
        false => Block::default(),
    };
    let handle = handle.clone();
    let begin =
        move || -> Result<Receiving, ReceiveError> { write(handle.begin_receive(offer)?, first.parts) };
    if first.is_last {
        return Ok(blocking(ATTEMPT, move || begin()?.finish()).await??);
    }
    let mut writing = tokio::task::spawn_blocking(begin);
    if body.is_held_back() {
        let receiving = joined(&mut writing).await?;
        writing = tokio::task::spawn_blocking(move || Ok(receiving));
    }
    loop {
        // Whichever fails first ends the upload; what is staged goes with it.
        let (receiving, block) = tokio::try_join!(joined(&mut writing), body.next_block())?;
        if block.is_last {
            return Ok(blocking(ATTEMPT, move || write(receiving, block.parts)?.finish()).await??);
        }
        writing = tokio::task::spawn_blocking(move || write(receiving, block.parts));
    }
}

fn write(mut receiving: Receiving, parts: Vec<Bytes>) -> Result<Receiving, ReceiveError> {
    receiving.write_all(&parts)?;
    Ok(receiving)
}

async fn joined(writing: &mut JoinHandle<Result<Receiving, ReceiveError>>) -> Result<Receiving, ServeError> {
    let receiving = writing.await.map_err(|panic| ServeError::internal(ATTEMPT, panic))?;
    Ok(receiving?)
}

async fn answer(handle: &Handle, location: &Location, received: Received, wait: Option<Duration>) -> Answer {
    let Received { outcome, stamp, nevra, ticket } = received;
    let state = published(handle, ticket, wait).await;
    let what = match &nevra {
        Some(nevra) => format!("{nevra} as {location}"),
        None => location.to_string(),
    };
    let when = match (state, wait) {
        (State::Indexed, _) => "clients see it now".to_owned(),
        (State::Pending, None) => {
            "clients see it with the next publication (Prefer: wait=30 waits for that)".into()
        }
        (State::Pending, Some(wait)) => format!(
            "clients do not see it yet after {} seconds{}",
            wait.as_secs(),
            if handle.trouble().is_some() { "; the server has trouble publishing, see its log" } else { "" },
        ),
    };
    let (status, words) = match (outcome, state, wait) {
        (Outcome::New | Outcome::Replaced, State::Pending, Some(_)) => {
            (StatusCode::ACCEPTED, format!("stored {what}; {when}"))
        }
        (Outcome::New, _, _) => (StatusCode::CREATED, format!("stored {what}; {when}")),
        (Outcome::Same, _, _) => {
            (StatusCode::OK, format!("nothing to do: these bytes are there already, {what}; {when}"))
        }
        (Outcome::Replaced, _, _) => (StatusCode::NO_CONTENT, String::new()),
    };
    let mut answer = match words.as_str() {
        "" => empty(status),
        words => text(status, PLAIN, format!("{}\n", one_line(words))),
    };
    set(&mut answer, ETAG, &Validators::of(&stamp).etag);
    tell(&mut answer, handle, state, wait);
    answer
}
