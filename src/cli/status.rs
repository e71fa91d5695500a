//! `status`: what the daemon serves, and what is wrong; without a daemon, what it left.

use std::time::{Duration, SystemTime};

use hyper::Method;
use serde_json::{Value, json};

use super::ask::ask;
use super::control::{Asked, unknown};
use super::failure::{Exit, Failure};
use super::print;
use crate::config::RepositoryConfig;
use crate::logging::escaped;
use crate::repository;

/// A busy disk may let the daemon wait; nothing that is well takes this long.
const LIMIT: Duration = Duration::from_secs(30);

/// How many findings of a verification people are shown.
const NAMED: usize = 20;

/// Prints all repositories, or the named ones.
pub fn run(all: &[Asked], json: bool) -> Result<(), Failure> {
    let mut told = Vec::new();
    let mut failures = Vec::new();
    for asked in all {
        told.push(one(asked, &mut failures)?);
    }
    match json {
        true => print(&format!("{:#}\n", together(told)))?,
        false => {
            let texts: Vec<_> = told.iter().map(|status| text(status, SystemTime::now())).collect();
            print(&texts.join("\n"))?;
        }
    }
    Failure::all(failures)
}

/// What one daemon says of what is asked about.
fn one(asked: &Asked, failures: &mut Vec<Failure>) -> Result<Value, Failure> {
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
            // A mistake may be newer than the daemon's last look.
            if let Some(mistake) = asked.mistake().filter(|_| status["configuration"]["mistake"].is_null()) {
                status["configuration"] = json!({ "is_current": false, "mistake": mistake });
            }
            status
        }
        None => {
            let all = asked.wanted()?;
            let found = all.into_iter().filter_map(Result::ok);
            let repositories: Vec<Value> = found.map(resting).collect();
            json!({ "version": env!("CARGO_PKG_VERSION"), "running": false, "repositories": repositories })
        }
    };
    if let Some(all) = status["repositories"].as_array_mut().filter(|_| !asked.repositories.is_empty()) {
        let is_there = |name: &&String| all.iter().any(|repository| repository["name"] == name.as_str());
        failures.extend(asked.repositories.iter().filter(|name| !is_there(name)).map(|name| unknown(name)));
        all.retain(|repository| asked.repositories.iter().any(|name| repository["name"] == name.as_str()));
        if all.is_empty() {
            return Failure::all(std::mem::take(failures)).map(|()| status);
        }
    }
    Ok(status)
}

/// What several daemons say, as one.
fn together(told: Vec<Value>) -> Value {
    let mut told = told.into_iter();
    let mut first = told.next().unwrap_or_default();
    for mut other in told {
        first["running"] = json!(first["running"] == true && other["running"] == true);
        if let (Some(all), Some(more)) =
            (first["repositories"].as_array_mut(), other["repositories"].as_array_mut())
        {
            all.append(more);
        }
    }
    first
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
    if let Some(mistake) = status["configuration"]["mistake"].as_str() {
        text += "CONFIGURATION: what is on the disk is not taken up; what was read before it counts:\n";
        mistake.lines().for_each(|line| text += &format!("  {}\n", escaped(line)));
    }
    for certificate in status["certificates"].as_array().map(Vec::as_slice).unwrap_or_default() {
        if let Some(warning) = certificate["warning"].as_str() {
            text += &format!("WARNING: {}\n", escaped(warning));
        }
    }
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
    for warning in repository["warnings"].as_array().map(Vec::as_slice).unwrap_or_default() {
        text += &format!("  warning: {}\n", escaped(warning.as_str().unwrap_or_default()));
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
    for (key, place) in [("rejected", "location"), ("refused", "path"), ("unread", "path")] {
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
        false => format!("{} ago", spaced(&humantime::format_duration(age).to_string())),
    })
}

/// `10 days 3h` of `10days 3h`: a word stands apart from its number, a letter does not.
fn spaced(text: &str) -> String {
    let apart = |part: &str| match part.find(|c: char| !c.is_ascii_digit()) {
        Some(at) if part.len() > at + 2 => format!("{} {}", &part[..at], &part[at..]),
        _ => part.to_owned(),
    };
    text.split(' ').map(apart).collect::<Vec<_>>().join(" ")
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
    fn ages_are_read_by_people() {
        let age = |seconds| {
            age(&json!("1970-01-01T00:00:00Z"), SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
                .unwrap()
        };
        assert_eq!(
            [age(0), age(65), age(864_000), age(867_600)],
            ["just now", "1m 5s ago", "10 days ago", "10 days 1h ago"]
        );
    }

    #[test]
    fn people_read_what_needs_attention() {
        let status = json!({ "version": "1.2.3", "running": true, "certificates": [
            { "file": "/a.crt", "warning": "the TLS certificate /a.crt expires in 3 days" }, { "file": "/b.crt", "warning": null },
        ], "repositories": [
            { "name": "rpm", "url": "/rpm/", "path": "/srv/rpm", "packages": 2, "revision": 17, "published_at": "1970-01-01T00:00:10Z",
              "took_ms": 12, "pending": 3, "trouble": null, "watching": { "by": "inotify" },
              "rejected": [{ "location": "a\u{1b}.rpm", "reason": "truncated" }], "refused": [], "duplicates": ["b.rpm"],
              "verified": { "at": "1970-01-01T00:00:15Z", "found": 1, "findings": [{ "kind": "rotten", "what": "c.rpm: its bytes" }] } },
            { "name": "far", "url": "/far/", "packages": null, "trouble": "cannot read /far",
              "watching": { "by": "polling", "why": "nfs" } },
        ]});
        insta::assert_snapshot!(text(&status, SystemTime::UNIX_EPOCH + Duration::from_secs(75)), @r"
        createrepod 1.2.3 is running
        WARNING: the TLS certificate /a.crt expires in 3 days

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
        let mistaken = json!({ "running": true, "repositories": [],
            "configuration": { "is_current": false, "mistake": "2 errors\n  c.toml:3: a\u{1b}\n  c.toml:4: b" } });
        let shown = text(&mistaken, SystemTime::UNIX_EPOCH);
        assert!(
            shown.contains("not taken up") && shown.contains("\n    c.toml:3: a\\u{1b}\n    c.toml:4: b\n"),
            "{shown}"
        );
        let none = json!({ "running": false, "repositories": [] });
        assert!(text(&none, SystemTime::UNIX_EPOCH).contains("repos.d/NAME.toml"));
    }
}
