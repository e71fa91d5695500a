//! `/-/api/v1/repositories/<name>/batches`: what waits, commit, drop.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::CACHE_CONTROL;
use hyper::http::request::Parts;
use serde_json::{Value, json};

use super::access::authorize;
use super::answer::{Answer, empty, set, text};
use super::error::ServeError;
use super::large::large;
use super::work::{blocking, changing, saying};
use super::{Ends, Server};
use crate::auth::{Holder, Permission, Principal};
use crate::dav;
use crate::dav::conditions::locks_let;
use crate::repository::Handle;
use crate::repository::batches::{BatchError, BatchId, Committed, Shown, Waiting, time_left};
use crate::repository::receive::{Outcome, ReceiveError};

/// How long a commit waits for its publication when the client does not say.
const WAIT: Duration = Duration::from_secs(30);

/// The batches that wait.
pub async fn list(server: &Server, ends: &Ends, handle: &Handle) -> Result<Answer, ServeError> {
    let (asking, life) = (handle.clone(), handle.config().batch_life);
    let told = saying(move || -> Result<String, BatchError> {
        let waiting = asking.batches()?;
        let all: Vec<_> = waiting.iter().map(|waiting| spell(waiting, life)).collect();
        Ok(format!("{:#}\n", json!({ "batches": all })))
    });
    told_of(server, ends, told.await??)
}

/// One of them.
pub async fn one(server: &Server, ends: &Ends, handle: &Handle, id: BatchId) -> Result<Answer, ServeError> {
    let (asking, life) = (handle.clone(), handle.config().batch_life);
    let told = saying(move || -> Result<Option<String>, BatchError> {
        let waiting = asking.batches()?;
        let found = waiting.iter().find(|waiting| waiting.id == id);
        Ok(found.map(|found| format!("{:#}\n", spell(found, life))))
    });
    told_of(server, ends, told.await??.ok_or(ServeError::NotFound)?)
}

fn told_of(server: &Server, ends: &Ends, told: String) -> Result<Answer, ServeError> {
    let mut answer = large(server, ends, "application/json", told)?;
    set(&mut answer, CACHE_CONTROL, "no-store");
    Ok(answer)
}

/// Whether it is not known to be this holder's: to drop it takes what others have sent away.
pub async fn is_of_another(handle: &Handle, id: &BatchId, holder: Holder) -> Result<bool, ServeError> {
    let (asking, id) = (handle.clone(), id.clone());
    Ok(blocking("look at the batch", move || asking.is_batch_of_another(&id, &holder)).await??)
}

/// Drops one.
pub async fn drop_one(handle: &Handle, id: BatchId, by: &Principal) -> Result<Answer, ServeError> {
    let (dropping, by) = (handle.clone(), by.clone());
    changing("drop the batch", move || dropping.drop_batch(&id, &by)).await??;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Commits one, and waits until clients see it.
pub async fn commit(
    server: &Server,
    ends: &Ends,
    handle: &Handle,
    id: BatchId,
    by: &Principal,
    parts: &Parts,
) -> Result<Answer, ServeError> {
    let unlocked = locks_let(&server.shares.of(&handle.config().name), parts, by)?;
    let name = id.as_str().to_owned();
    let commit = |replaces| {
        let (committing, id, by, unlocked) = (handle.clone(), id.clone(), by.clone(), unlocked.clone());
        changing("commit the batch", move || committing.commit_batch(&id, &by, replaces, &unlocked))
    };
    let committed = match commit(false).await? {
        Err(BatchError::Receive(refused @ ReceiveError::Protected(_))) => {
            // Who may remove the file may replace it.
            match authorize(server, ends, parts, handle.config(), Permission::Delete).await {
                Ok(_) => commit(true).await?,
                Err(_) => Err(refused.into()),
            }
        }
        committed => committed,
    };
    let Committed { shown, ticket } = committed?;
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
