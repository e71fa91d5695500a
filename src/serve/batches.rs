//! `/-/api/v1/repositories/<name>/batches`: what waits, commit, drop.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::CACHE_CONTROL;
use hyper::http::request::Parts;
use serde_json::{Value, json};

use super::Server;
use super::answer::{Answer, blocking, empty, set, text};
use super::error::ServeError;
use crate::auth::Principal;
use crate::dav;
use crate::repository::Handle;
use crate::repository::batches::{BatchId, Committed, Shown, Waiting, time_left};
use crate::repository::receive::Outcome;

/// How long a commit waits for its publication when the client does not say.
const WAIT: Duration = Duration::from_secs(30);

/// The batches that wait.
pub async fn list(handle: &Handle) -> Result<Answer, ServeError> {
    let asking = handle.clone();
    let waiting = blocking("list the batches", move || asking.batches()).await??;
    let life = handle.config().batch_life;
    let all: Vec<_> = waiting.iter().map(|waiting| spell(waiting, life)).collect();
    Ok(answer(StatusCode::OK, &json!({ "batches": all })))
}

/// One of them.
pub async fn one(handle: &Handle, id: BatchId) -> Result<Answer, ServeError> {
    let asking = handle.clone();
    let waiting = blocking("look at the batch", move || asking.batches()).await??;
    let found = waiting.iter().find(|waiting| waiting.id == id).ok_or(ServeError::NotFound)?;
    Ok(answer(StatusCode::OK, &spell(found, handle.config().batch_life)))
}

/// Drops one.
pub async fn drop_one(handle: &Handle, id: BatchId, by: &Principal) -> Result<Answer, ServeError> {
    let (dropping, by) = (handle.clone(), by.clone());
    blocking("drop the batch", move || dropping.drop_batch(&id, &by)).await??;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Commits one, and waits until clients see it.
pub async fn commit(
    server: &Server,
    handle: &Handle,
    id: BatchId,
    by: &Principal,
    parts: &Parts,
) -> Result<Answer, ServeError> {
    let (committing, by, name) = (handle.clone(), by.clone(), id.as_str().to_owned());
    let Committed { shown, ticket } =
        blocking("commit the batch", move || committing.commit_batch(&id, &by)).await??;
    let asked = dav::preferred_wait(&parts.headers, server.longest_wait());
    let seen = match ticket {
        None => true,
        Some(ticket) => handle.wait(ticket, asked.unwrap_or(WAIT.min(server.longest_wait()))).await.is_some(),
    };
    let status = if seen { StatusCode::OK } else { StatusCode::ACCEPTED };
    let packages: Vec<_> = shown.iter().map(spell_shown).collect();
    let mut answer = answer(
        status,
        &json!({
            "batch": name,
            "state": if seen { "indexed" } else { "pending" },
            "revision": handle.published().map_or(0, |published| published.revision),
            "files": packages,
        }),
    );
    dav::tell_state(&mut answer, handle, seen, asked);
    Ok(answer)
}

fn spell(waiting: &Waiting, life: Duration) -> Value {
    let files: Vec<_> = waiting
        .files
        .iter()
        .map(|(location, size, nevra)| {
            json!({ "location": location.as_str(), "size": size, "nevra": nevra.as_ref().map(ToString::to_string) })
        })
        .collect();
    json!({
        "batch": waiting.id.as_str(),
        "seconds_left": time_left(waiting.touched, life).as_secs(),
        "files": files,
    })
}

fn spell_shown(shown: &Shown) -> Value {
    let outcome = match shown.outcome {
        Outcome::New => "new",
        Outcome::Same => "same",
        Outcome::Replaced => "replaced",
    };
    json!({
        "location": shown.location.as_str(),
        "nevra": shown.nevra.as_ref().map(ToString::to_string),
        "outcome": outcome,
    })
}

fn answer(status: StatusCode, value: &Value) -> Answer {
    let mut answer = text(status, "application/json", format!("{value:#}\n"));
    set(&mut answer, CACHE_CONTROL, "no-store");
    answer
}
