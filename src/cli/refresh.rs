//! `refresh`: has the daemon compare trees with what is known of them; without a daemon, does it itself.

use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::Value;

use super::ask::{ask, repository_path};
use super::control::Asked;
use super::failure::{Exit, Failure};
use super::{index, print};

/// Compares all repositories, or one; waits until what was found is published, at most `wait`.
pub fn run(asked: &Asked, wait: Duration) -> Result<(), Failure> {
    let path = match &asked.repository {
        Some(name) => repository_path(name, "refresh"),
        None => "/-/api/v1/refresh".to_owned(),
    };
    let prefer = format!("wait={}", wait.as_secs());
    let answer = match &asked.socket {
        Some(socket) => {
            ask(socket, Method::POST, &path, &[("prefer", &prefer)], wait + Duration::from_secs(30))?
        }
        None => None,
    };
    let Some(answer) = answer else { return directly(asked) };
    if answer.status == StatusCode::NOT_FOUND {
        let name = asked.repository.as_deref().unwrap_or_default();
        return Err(Failure::new(Exit::NotFound, format!("no repository is named {name:?}")));
    }
    if !answer.status.is_success() {
        let why = String::from_utf8_lossy(&answer.body).trim().to_owned();
        return Err(Failure::new(Exit::Failed, format!("the daemon did not refresh: {why}")));
    }
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let mut text = String::new();
    let mut closed = Vec::new();
    for repository in said["repositories"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let name = repository["name"].as_str().unwrap_or_default();
        match repository["state"].as_str() {
            Some("published") => {
                let packages = repository["packages"].as_u64().unwrap_or(0);
                let noun = if packages == 1 { "package" } else { "packages" };
                text += &format!("{name}: {packages} {noun}, revision {}\n", repository["revision"]);
            }
            Some("closed") => closed.push(name.to_owned()),
            _ => text += &format!("{name}: still at work; createrepod status {name} tells more\n"),
        }
    }
    print(&text)?;
    match closed.as_slice() {
        [] => Ok(()),
        names => Err(Failure::new(
            Exit::Failed,
            format!("cannot be opened, see createrepod status: {}", names.join(", ")),
        )),
    }
}

/// No daemon has them: each is indexed here and now.
fn directly(asked: &Asked) -> Result<(), Failure> {
    for config in asked.wanted()? {
        index::as_owner(config)?;
        print(&format!("{}: ", config.name))?;
        index::run_once(config.clone(), &config.path)?;
    }
    Ok(())
}
