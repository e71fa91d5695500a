//! What programs ask for under `/-/api/v1/`, over HTTP and over the control socket.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::CACHE_CONTROL;
use hyper::http::request::Parts;
use serde_json::{Value, json};

use super::access::authorize;
use super::answer::{Answer, set, text};
use super::error::ServeError;
use super::site::{Mount, Mounts};
use super::{Ends, Server};
use crate::auth::Permission;
use crate::dav::prefer;
use crate::tree::Dirty;

/// Compares one repository with its tree, or all of them. 202 at once; with `Prefer: wait=N` 200 once
/// all that was found is published, or 202 when the time ran out.
pub(super) async fn refresh(
    server: &Server,
    ends: &Ends,
    parts: &Parts,
    mounts: &Arc<Mounts>,
    one: Option<&Mount>,
) -> Result<Answer, ServeError> {
    let wanted = wanted(server, ends, parts, mounts, one).await?;
    let tickets: Vec<_> = wanted
        .iter()
        .map(|mount| (*mount, mount.door.as_ref().ok().map(|handle| handle.submit(Dirty::everything()))))
        .collect();
    let limit = prefer::wait(&parts.headers, server.longest_wait());
    let mut repositories = Vec::new();
    let deadline = tokio::time::Instant::now() + limit.unwrap_or_default();
    let mut all_done = limit.is_some();
    for (mount, ticket) in tickets {
        let (Ok(handle), Some(ticket)) = (&mount.door, ticket) else {
            repositories.push(json!({ "name": mount.config.name, "state": "closed" }));
            continue;
        };
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let done = match limit {
            Some(_) => handle.wait(ticket, left.max(Duration::from_millis(1))).await.is_some(),
            None => false,
        };
        all_done &= done;
        repositories.push(outcome(mount, handle, done));
    }
    let status = if all_done { StatusCode::OK } else { StatusCode::ACCEPTED };
    let body = json!({ "repositories": repositories });
    let mut answer = text(status, "application/json", format!("{body:#}\n"));
    set(&mut answer, CACHE_CONTROL, "no-store");
    Ok(answer)
}

/// One repository, or all of them, for whoever may administer each.
pub(super) async fn wanted<'m>(
    server: &Server,
    ends: &Ends,
    parts: &Parts,
    mounts: &'m Mounts,
    one: Option<&'m Mount>,
) -> Result<Vec<&'m Mount>, ServeError> {
    let wanted: Vec<&Mount> = match one {
        Some(mount) => vec![mount],
        None => mounts.all().iter().collect(),
    };
    for mount in &wanted {
        authorize(server, ends, parts, &mount.config, Permission::Admin).await?;
    }
    Ok(wanted)
}

fn outcome(mount: &Mount, handle: &crate::repository::Handle, done: bool) -> Value {
    let published = handle.published();
    json!({
        "name": mount.config.name,
        "state": if done { "published" } else { "pending" },
        "revision": published.as_ref().map(|published| published.revision),
        "packages": published.as_ref().map(|published| published.packages),
    })
}
