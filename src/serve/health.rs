//! Liveness, readiness and what each repository shows now.

use std::time::SystemTime;

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, RETRY_AFTER, VARY};
use serde_json::{Value, json};

use super::accept::Form;
use super::answer::{Answer, PLAIN, one_line, set, text};
use super::browse;
use super::site::{Mount, Mounts};
use crate::config::{ReadAccess, RepositoryConfig};
use crate::repository::verify::Verified;
use crate::repository::{Means, Status};

/// 200 once every repository that could be opened has its first publication, 503 before.
pub fn health(mounts: &Mounts) -> Answer {
    let waiting: Vec<&str> = mounts
        .all()
        .iter()
        .filter(|mount| mount.door.as_ref().is_ok_and(|handle| handle.published().is_none()))
        .map(|mount| name(&mount.config))
        .collect();
    answer(match waiting.as_slice() {
        [] => Ok(()),
        names => Err(format!("not yet published: {}", names.join(", "))),
    })
}

/// Blocking. Like [`health`], and 503 also while a repository cannot be opened or cannot publish.
pub fn ready(mounts: &Mounts) -> Answer {
    let mut problems = Vec::new();
    for Mount { config, door } in mounts.all() {
        let status = match door {
            Ok(handle) => handle.status(),
            Err(why) => Status { trouble: Some(why.to_string()), ..Status::default() },
        };
        match (&status.published, &status.trouble) {
            // Anybody may ask; paths and causes are for `status` and the log.
            (_, Some(_)) => problems.push(format!("{}: in trouble", name(config))),
            (None, None) => problems.push(format!("{}: not yet published", name(config))),
            (Some(_), None) => {}
        }
    }
    answer(if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) })
}

/// What a repository is called before whoever asks: anybody may.
fn name(config: &RepositoryConfig) -> &str {
    if config.read == ReadAccess::Anyone { &config.name } else { "a repository" }
}

fn answer(state: Result<(), String>) -> Answer {
    let mut answer = match &state {
        Ok(()) => text(StatusCode::OK, PLAIN, "ok\n"),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{}\n", one_line(why))),
    };
    set(&mut answer, CACHE_CONTROL, "no-store");
    if state.is_err() {
        set(&mut answer, RETRY_AFTER, "1");
    }
    answer
}

/// Blocking. Every repository, each with whether the client may know causes; a page where `form` says HTML.
pub fn status(mounts: &[(Mount, bool)], form: Form) -> Answer {
    let repositories: Vec<Value> = mounts
        .iter()
        .map(|(Mount { config, door }, knows)| {
            let status = match door {
                Ok(handle) => handle.status(),
                Err(why) => Status { trouble: Some(why.to_string()), ..Status::default() },
            };
            let mut shown = repository(&config.name, &config.url, &status);
            match knows {
                true => shown["path"] = config.path.to_string_lossy().into(),
                false => hide_causes(&mut shown),
            }
            shown
        })
        .collect();
    let status = json!({ "version": env!("CARGO_PKG_VERSION"), "repositories": repositories });
    let mut answer = match form {
        Form::Html => browse::status(&status),
        Form::Json | Form::Text => text(StatusCode::OK, "application/json", format!("{status:#}\n")),
    };
    set(&mut answer, CACHE_CONTROL, "no-store");
    set(&mut answer, VARY, "Accept");
    answer
}

/// Leaves that something is wrong, and how often; paths, names of files that are not served, and causes go.
fn hide_causes(repository: &mut Value) {
    const HIDDEN: &str = "not told to everybody; ask on this machine, or as somebody who may write";
    if !repository["trouble"].is_null() {
        repository["trouble"] = HIDDEN.into();
    }
    for key in ["rejected", "refused"] {
        for found in repository[key].as_array_mut().into_iter().flatten() {
            *found = json!({ "reason": HIDDEN });
        }
    }
    for key in ["watching", "verified"] {
        if let Some(fields) = repository[key].as_object_mut() {
            fields.remove("why");
            fields.remove("findings");
        }
    }
}

fn repository(name: &str, url: &str, status: &Status) -> Value {
    let published = status.published.as_deref();
    let at = |time: SystemTime| humantime::format_rfc3339_seconds(time).to_string();
    let rejected: Vec<Value> = status
        .rejected
        .iter()
        .map(|rejected| json!({ "location": rejected.location.as_str(), "reason": rejected.reason }))
        .collect();
    let refused: Vec<Value> =
        status.refused.iter().map(|(path, reason)| json!({ "path": path, "reason": reason })).collect();
    json!({
        "name": name,
        "url": url,
        "revision": published.map(|published| published.revision),
        "packages": published.map(|published| published.packages),
        "published_at": published.map(|published| at(published.at)),
        "pending": status.pending,
        "took_ms": status.took.map(|took| took.as_millis() as u64),
        "duplicates": status.duplicates.iter().map(crate::package::Location::as_str).collect::<Vec<_>>(),
        "trouble": status.trouble,
        "rejected": rejected,
        "refused": refused,
        "watching": status.watching.as_ref().map(watching),
        "verified": status.verified.as_ref().map(verified),
    })
}

pub(crate) fn verified(verified: &Verified) -> Value {
    json!({
        "at": humantime::format_rfc3339_seconds(verified.at).to_string(),
        "packages": verified.told.packages,
        "bytes": verified.told.bytes,
        "found": verified.told.found,
        "findings": verified.told.findings,
    })
}

fn watching(means: &Means) -> Value {
    match means {
        Means::Inotify => json!({ "by": "inotify" }),
        Means::Polling { why } => json!({ "by": "polling", "why": why }),
        Means::Missing { why } => json!({ "by": "nothing", "why": why }),
    }
}
