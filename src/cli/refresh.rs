//! `refresh`: has the daemon compare trees with what is known of them; without a daemon, does it itself.

use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::Value;

use super::ask::{Answer, ask, repository_path};
use super::control::{Asked, unknown};
use super::failure::{Exit, Failure};
use super::{index, print};
use crate::logging::escaped;

/// Compares all repositories, or the named ones; waits until what was found is published, at most `wait`.
pub fn run(all: &[Asked], wait: Duration) -> Result<(), Failure> {
    let mut failures = Vec::new();
    for asked in all {
        let paths: Vec<_> = match asked.repositories.as_slice() {
            [] => vec![(None, "/-/api/v1/refresh".to_owned())],
            names => names.iter().map(|name| (Some(name), repository_path(name, "refresh"))).collect(),
        };
        for (name, path) in paths {
            let answer = match &asked.socket {
                Some(socket) => {
                    let prefer = format!("wait={}", wait.as_secs());
                    let limit = wait + Duration::from_secs(30);
                    ask(socket, Method::POST, &path, &[("prefer", &prefer)], limit)?
                }
                None => None,
            };
            match answer {
                Some(answer) => failures.extend(tell(&answer, name, wait)?),
                None => {
                    failures.extend(directly(asked)?);
                    break;
                }
            }
        }
    }
    Failure::all(failures)
}

/// Prints what the daemon did; what it could not do is returned.
fn tell(answer: &Answer, name: Option<&String>, wait: Duration) -> Result<Vec<Failure>, Failure> {
    if answer.status == StatusCode::NOT_FOUND
        && let Some(name) = name
    {
        return Ok(vec![unknown(name)]);
    }
    if !answer.status.is_success() {
        let why = String::from_utf8_lossy(&answer.body).trim().to_owned();
        return Err(Failure::new(Exit::Failed, format!("the daemon did not refresh: {why}")));
    }
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let mut text = String::new();
    let (mut closed, mut late) = (Vec::new(), Vec::new());
    for repository in said["repositories"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let name = escaped(repository["name"].as_str().unwrap_or_default());
        match repository["state"].as_str() {
            Some("published") => {
                let packages = repository["packages"].as_u64().unwrap_or(0);
                let noun = if packages == 1 { "package" } else { "packages" };
                text += &format!("{name}: {packages} {noun}, revision {}\n", repository["revision"]);
            }
            Some("closed") => closed.push(name),
            _ => late.push(name),
        }
    }
    print(&text)?;
    let mut failures = Vec::new();
    if !closed.is_empty() {
        let names = closed.join(", ");
        failures
            .push(Failure::new(Exit::Failed, format!("cannot be opened, see createrepod status: {names}")));
    }
    if !late.is_empty() {
        let (names, first) = (late.join(", "), &late[0]);
        let wait = humantime::format_duration(wait);
        failures.push(Failure::new(
            Exit::Failed,
            format!("still at work after {wait}: {names}; createrepod status {first} tells more"),
        ));
    }
    Ok(failures)
}

/// No daemon has them: each is indexed here and now.
fn directly(asked: &Asked) -> Result<Vec<Failure>, Failure> {
    let mut failures = Vec::new();
    for wanted in asked.wanted()? {
        let done = wanted.and_then(|config| {
            index::as_owner(config)?;
            print(&format!("{}: ", config.name))?;
            index::run_once(config.clone(), &config.path)
        });
        failures.extend(done.err());
    }
    Ok(failures)
}
