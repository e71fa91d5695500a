//! `status`: what the daemon serves, and what is wrong; without a daemon, what it left.

use std::time::{Duration, SystemTime};

use hyper::Method;
use serde_json::{Value, json};

use super::ask::ask;
use super::control::Asked;
use super::failure::{Exit, Failure};
use super::print;
use crate::config::RepositoryConfig;
use crate::logging::escaped;
use crate::repository;

/// A busy disk may let the daemon wait; nothing that is well takes this long.
const LIMIT: Duration = Duration::from_secs(30);

/// How many findings of a verification people are shown.
const NAMED: usize = 20;

/// Prints all repositories, or one.
pub fn run(asked: &Asked, json: bool) -> Result<(), Failure> {
    let answer = match &asked.socket {
        Some(socket) => ask(socket, Method::GET, "/-/status", &[], LIMIT)?,
        None => None,
    };
    let mut status: Value = match answer {
        Some(answer) => {
            let mut status: Value = serde_json::from_slice(&answer.body).map_err(|error| {
                Failure::new(Exit::Failed, format!("the daemon's status cannot be read: {error}"))
            })?;
            status["running"] = json!(true);
            status
        }
        None => {
            let repositories: Vec<Value> = asked.config.repositories.iter().map(resting).collect();
            json!({ "version": env!("CARGO_PKG_VERSION"), "running": false, "repositories": repositories })
        }
    };
    if let Some(name) = &asked.repository
        && let Some(all) = status["repositories"].as_array_mut()
    {
        all.retain(|repository| repository["name"] == name.as_str());
        if all.is_empty() {
            return Err(Failure::new(Exit::NotFound, format!("no repository is named {name:?}")));
        }
    }
    match json {
        true => print(&format!("{status:#}\n")),
        false => print(&text(&status, SystemTime::now())),
    }
}

/// As the daemon would tell it.
fn resting(config: &RepositoryConfig) -> Value {
    let at = |time: SystemTime| humantime::format_rfc3339_seconds(time).to_string();
    match repository::at_rest(config) {
        Ok(found) => json!({
            "name": config.name,
            "url": config.url,
            "path": config.path,
            "revision": found.revision,
            "packages": found.packages,
            "published_at": found.published_at.map(at),
            "rejected": found.rejected.iter().map(|r| json!({ "location": r.location.as_str(), "reason": r.reason })).collect::<Vec<_>>(),
            "duplicates": found.duplicates.iter().map(crate::package::Location::as_str).collect::<Vec<_>>(),
            "verified": found.verified.as_ref().map(crate::serve::verified),
        }),
        Err(error) => {
            json!({ "name": config.name, "url": config.url, "path": config.path, "trouble": format!("{error:#}") })
        }
    }
}

/// For people: a line for each repository, and below it what needs somebody's attention.
fn text(status: &Value, now: SystemTime) -> String {
    let running = status["running"] == true;
    let version = status["version"].as_str().unwrap_or_default();
    let mut text = match running {
        true => format!("createrepod {version} is running\n"),
        false => "createrepod is not running; this is what it left\n".to_owned(),
    };
    let repositories = status["repositories"].as_array().map(Vec::as_slice).unwrap_or_default();
    if repositories.is_empty() {
        text += "no repository is configured: put [repository.NAME] and path = \"/directory/of/rpms\" into \
                 /etc/createrepod/repos.d/NAME.toml\n";
    }
    for repository in repositories {
        text += "\n";
        text += &of_one(repository, running, now);
    }
    text
}

fn of_one(repository: &Value, running: bool, now: SystemTime) -> String {
    let word = |key: &str| repository[key].as_str().map(escaped);
    let name = word("name").unwrap_or_default();
    let mut text = format!("{name} at {}", word("url").unwrap_or_default());
    if let Some(path) = word("path") {
        text += &format!(", {path}");
    }
    text.push('\n');
    text += &match repository["packages"].as_u64() {
        Some(1) => "  1 package".to_owned(),
        Some(count) => format!("  {count} packages"),
        None => "  nothing published yet".to_owned(),
    };
    if let Some(age) = age(&repository["published_at"], now) {
        text += &format!(", published {age}");
    }
    if let Some(took) = repository["took_ms"].as_u64() {
        text += &format!(" in {took} ms");
    }
    if let Some(revision) = repository["revision"].as_u64() {
        text += &format!(", revision {revision}");
    }
    text.push('\n');
    if let Some(trouble) = word("trouble") {
        text += &format!("  TROUBLE: {trouble}\n");
    }
    if let Some(pending @ 1..) = repository["pending"].as_u64() {
        text += &format!("  {pending} changes wait for the next publication\n");
    }
    let watching = &repository["watching"];
    if running
        && watching["by"] != "inotify"
        && let Some(why) = watching["why"].as_str()
    {
        let by = watching["by"].as_str().unwrap_or_default();
        text += &format!("  watched by {by}: {}\n", escaped(why));
    }
    text += &verified(&name, &repository["verified"], now);
    let list = |key: &str| repository[key].as_array().map(Vec::as_slice).unwrap_or_default();
    for (key, place) in [("rejected", "location"), ("refused", "path")] {
        for found in list(key) {
            let [place, reason] =
                [place, "reason"].map(|key| escaped(found[key].as_str().unwrap_or_default()));
            text += &format!("  {key}: {place}: {reason}\n");
        }
    }
    for found in list("duplicates") {
        let location = escaped(found.as_str().unwrap_or_default());
        text += &format!(
            "  duplicate: {location} has the name and version of another package, and other bytes\n"
        );
    }
    text
}

/// "1h 5m ago"; `None` where there is no time.
fn age(at: &Value, now: SystemTime) -> Option<String> {
    let at = humantime::parse_rfc3339(at.as_str()?).ok()?;
    let age = Duration::from_secs(now.duration_since(at).unwrap_or_default().as_secs());
    Some(match age.is_zero() {
        true => "just now".to_owned(),
        false => format!("{} ago", humantime::format_duration(age)),
    })
}

/// What reading everything again has found, the last time; nothing when that was never done.
fn verified(name: &str, verified: &Value, now: SystemTime) -> String {
    let Some(age) = age(&verified["at"], now) else { return String::new() };
    let found = verified["found"].as_u64().unwrap_or(0);
    if found == 0 {
        return format!("  verified {age}: all is as it was published\n");
    }
    let noun = if found == 1 { "thing is not as it was" } else { "things are not as they were" };
    let mut text =
        format!("  verified {age}: {found} {noun} published; createrepod verify {name} looks again\n");
    let findings = verified["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
    for finding in findings.iter().take(NAMED) {
        let [kind, what] = ["kind", "what"].map(|key| escaped(finding[key].as_str().unwrap_or_default()));
        text += &format!("  {kind}: {what}\n");
    }
    if found > NAMED as u64 {
        text += &format!("  … and {} more: createrepod status {name} --json\n", found - NAMED as u64);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_what_needs_attention() {
        let status = json!({ "version": "1.2.3", "running": true, "repositories": [
            { "name": "rpm", "url": "/rpm/", "path": "/srv/rpm", "packages": 2, "revision": 17, "published_at": "1970-01-01T00:00:10Z",
              "took_ms": 12, "pending": 3, "trouble": null, "watching": { "by": "inotify" },
              "rejected": [{ "location": "a\u{1b}.rpm", "reason": "truncated" }], "refused": [], "duplicates": ["b.rpm"],
              "verified": { "at": "1970-01-01T00:00:15Z", "found": 1, "findings": [{ "kind": "rotten", "what": "c.rpm: its bytes" }] } },
            { "name": "far", "url": "/far/", "packages": null, "trouble": "cannot read /far",
              "watching": { "by": "polling", "why": "nfs" } },
        ]});
        insta::assert_snapshot!(text(&status, SystemTime::UNIX_EPOCH + Duration::from_secs(75)), @r"
        createrepod 1.2.3 is running

        rpm at /rpm/, /srv/rpm
          2 packages, published 1m 5s ago in 12 ms, revision 17
          3 changes wait for the next publication
          verified 1m ago: 1 thing is not as it was published; createrepod verify rpm looks again
          rotten: c.rpm: its bytes
          rejected: a\u{1b}.rpm: truncated
          duplicate: b.rpm has the name and version of another package, and other bytes

        far at /far/
          nothing published yet
          TROUBLE: cannot read /far
          watched by polling: nfs
        ");
        let none = json!({ "running": false, "repositories": [] });
        assert!(text(&none, SystemTime::UNIX_EPOCH).contains("repos.d/NAME.toml"));
    }
}
