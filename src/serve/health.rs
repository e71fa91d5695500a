//! Liveness, readiness and what each repository shows now.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, RETRY_AFTER};
use serde_json::{Value, json};

use super::Expiry;
use super::accept::Form;
use super::answer::{Answer, PLAIN, one_line, set, text};
use super::browse;
use super::condition::Condition;
use super::site::{Mount, Mounts};
use super::{Ends, Transport};
use crate::config::{ReadAccess, RepositoryConfig};
use crate::repository::verify::Verified;
use crate::repository::{Means, Status};

/// For who shares requests out among several servers: 503 while this one is being started, until each repository is
/// published that is not in trouble; then 200, as long as any is published. One repository in trouble, or a new one,
/// must not take the others from clients. `begun`: whether that start is over.
pub fn health(mounts: &Mounts, begun: &AtomicBool) -> Answer {
    let is_published = |mount: &&Mount| mount.door.as_ref().is_ok_and(|handle| handle.published().is_some());
    let is_in_trouble =
        |mount: &&Mount| mount.door.as_ref().map_or(true, |handle| handle.trouble().is_some());
    let waiting: Vec<&str> = mounts
        .all()
        .iter()
        .filter(|mount| !is_published(mount) && !is_in_trouble(mount))
        .map(|mount| name(&mount.config))
        .collect();
    if waiting.is_empty() {
        begun.store(true, Ordering::Relaxed);
    }
    let some = mounts.all().is_empty() || mounts.all().iter().any(|mount| is_published(&mount));
    answer(match some {
        true if begun.load(Ordering::Relaxed) => Ok(""),
        true => Err(format!("not yet published: {}", waiting.join(", "))),
        false if waiting.is_empty() => Err("every repository is in trouble".into()),
        false => Err(format!("not yet published: {}", waiting.join(", "))),
    })
}

/// Blocking. 503 until every repository is published, and while a repository cannot be opened or cannot publish. A
/// configuration on the disk that cannot be taken up (`is_current` is false) is told, too; what is served does not suffer
/// from it.
pub fn ready(mounts: &Mounts, is_current: bool) -> Answer {
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
    let well = match is_current {
        true => "",
        false => "the configuration on the disk is not taken up: createrepod status tells why\n",
    };
    answer(if problems.is_empty() { Ok(well) } else { Err(problems.join("; ")) })
}

/// How the configuration on the disk stands to the one that counts. What is wrong with it names paths and values, so
/// that is told to the commands of this program alone.
pub fn configuration(condition: &Condition, ends: &Ends) -> Value {
    let mistake = condition.mistake().map(|mistake| match ends.transport {
        Transport::Control => mistake.to_string(),
        Transport::Plain | Transport::Tls | Transport::Unix => "createrepod status tells it".to_owned(),
    });
    json!({ "is_current": mistake.is_none(), "mistake": mistake })
}

/// What a repository is called before whoever asks: anybody may.
fn name(config: &RepositoryConfig) -> &str {
    if config.read == ReadAccess::Anyone { &config.name } else { "a repository" }
}

/// What is to be said beside "ok", or what is wrong.
fn answer(state: Result<&str, String>) -> Answer {
    let mut answer = match &state {
        Ok(more) => text(StatusCode::OK, PLAIN, format!("ok\n{more}")),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{}\n", one_line(why))),
    };
    set(&mut answer, CACHE_CONTROL, "no-store");
    if state.is_err() {
        set(&mut answer, RETRY_AFTER, "1");
    }
    answer
}

/// Entries of one list of a status, and bytes of all lists of an answer, for whoever asks over the network.
const ENTRIES: usize = 100;
const BYTES: usize = 256 << 10;

/// How much of the lists is told.
#[derive(Debug, Clone, Copy)]
pub enum Lists {
    /// All of it: to the commands of this program.
    Whole,
    /// The first of each, as long as so many bytes are left.
    Cut { bytes: usize },
}

impl Lists {
    /// For whoever came this way.
    pub fn over(transport: Transport) -> Self {
        match transport {
            Transport::Control => Self::Whole,
            Transport::Plain | Transport::Tls | Transport::Unix => Self::Cut { bytes: BYTES },
        }
    }

    /// The entries of a list that are told.
    fn of<T>(&mut self, all: &[T], one: impl Fn(&T) -> Value) -> Value {
        let mut told = Vec::new();
        for entry in all {
            let entry = one(entry);
            if let Self::Cut { bytes } = self {
                let left = bytes.checked_sub(entry.to_string().len());
                let Some(left) = left.filter(|_| told.len() < ENTRIES) else { break };
                *bytes = left;
            }
            told.push(entry);
        }
        told.into()
    }
}

/// Blocking. Every repository, each with whether the client may know causes, and to such a client when certificates end;
/// a page where `form` says HTML. Gives its text.
pub fn status(
    mounts: &[(Mount, bool)],
    configuration: Value,
    expiries: &[Expiry],
    form: Form,
    mut lists: Lists,
) -> String {
    let repositories: Vec<Value> = mounts
        .iter()
        .map(|(Mount { config, door }, knows)| {
            let status = match door {
                Ok(handle) => handle.status(),
                Err(why) => Status { trouble: Some(why.to_string()), ..Status::default() },
            };
            let mut nothing = Lists::Cut { bytes: 0 };
            let lists = if *knows { &mut lists } else { &mut nothing };
            let mut shown = repository(&config.name, &config.url, &status, lists);
            match knows {
                true => shown["path"] = config.path.to_string_lossy().into(),
                false => hide_causes(&mut shown),
            }
            shown
        })
        .collect();
    let mut status = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "configuration": configuration,
        "repositories": repositories,
    });
    if mounts.iter().any(|(_, knows)| *knows) {
        status["certificates"] = expiries.iter().map(certificate).collect();
    }
    match form {
        Form::Html => browse::status(&status),
        Form::Json | Form::Text => format!("{status:#}\n"),
    }
}

/// Leaves that something is wrong, and how often; paths, names of files that are not served, and causes go.
fn hide_causes(repository: &mut Value) {
    const HIDDEN: &str = "not told to everybody; ask on this machine, or as somebody who may write";
    if !repository["trouble"].is_null() {
        repository["trouble"] = HIDDEN.into();
    }
    for warning in repository["warnings"].as_array_mut().into_iter().flatten() {
        *warning = HIDDEN.into();
    }
    for key in ["rejected", "refused", "unread"] {
        if repository["counts"][key] != 0 {
            repository[key] = json!([{ "reason": HIDDEN }]);
        }
    }
    for key in ["watching", "verified"] {
        if let Some(fields) = repository[key].as_object_mut() {
            fields.remove("why");
            fields.remove("findings");
        }
    }
}

fn certificate(expiry: &Expiry) -> Value {
    json!({
        "file": expiry.file.to_string_lossy(),
        "role": expiry.role,
        "expires": expiry.date(),
        "warning": expiry.warning(SystemTime::now()),
    })
}

fn repository(name: &str, url: &str, status: &Status, lists: &mut Lists) -> Value {
    let published = status.published.as_deref();
    let at = |time: SystemTime| humantime::format_rfc3339_seconds(time).to_string();
    let place = |(path, reason): &(String, String)| json!({ "path": path, "reason": reason });
    let rejected = lists.of(
        &status.rejected,
        |rejected| json!({ "location": rejected.location.as_str(), "reason": rejected.reason }),
    );
    json!({
        "name": name,
        "url": url,
        "revision": published.map(|published| published.revision),
        "packages": published.map(|published| published.packages),
        "published_at": published.map(|published| at(published.at)),
        "pending": status.pending,
        "took_ms": status.took.map(|took| took.as_millis() as u64),
        // How long each list is; what is told of it may be less.
        "counts": {
            "duplicates": status.duplicates.len(),
            "rejected": status.rejected.len(),
            "refused": status.refused.len(),
            "unread": status.unread.len(),
        },
        "duplicates": lists.of(&status.duplicates, |location| location.as_str().into()),
        "trouble": status.trouble,
        "warnings": status.warnings,
        "rejected": rejected,
        "refused": lists.of(&status.refused, place),
        "unread": lists.of(&status.unread, place),
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
