//! The line that `systemctl status` shows: how much is served, when something was last published, what is wrong.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::systemd;
use crate::repository::Handle;
use crate::serve::{Mount, Site};

/// How often the line is put together.
const PERIOD: Duration = Duration::from_secs(5);
/// How many names the line has room for.
const NAMES: usize = 3;

/// Tells systemd whenever the line changes.
pub async fn keep_telling(site: Arc<Site>) {
    let mut told = String::new();
    let mut often = tokio::time::interval(PERIOD);
    loop {
        often.tick().await;
        let line = line(site.now().all(), SystemTime::now());
        if line != told {
            systemd::status(&line);
            told = line;
        }
    }
}

/// One line, in whole sentences.
pub fn line(mounts: &[Mount], now: SystemTime) -> String {
    let mut sums = Sums { repositories: mounts.len(), ..Sums::default() };
    for Mount { config, door } in mounts {
        match door {
            Ok(handle) => {
                sums.add(handle);
                if handle.trouble().is_some() {
                    sums.troubled.push(&config.name);
                }
            }
            Err(_) => sums.troubled.push(&config.name),
        }
    }
    sums.line(now)
}

#[derive(Default)]
struct Sums<'n> {
    repositories: usize,
    packages: u64,
    rejected: usize,
    unread: usize,
    published_at: Option<SystemTime>,
    unpublished: usize,
    troubled: Vec<&'n str>,
}

impl Sums<'_> {
    fn add(&mut self, handle: &Handle) {
        self.rejected += handle.left_out();
        self.unread += handle.unread().len();
        match handle.published() {
            Some(published) => {
                self.packages += published.packages;
                self.published_at = self.published_at.max(Some(published.at));
            }
            None => self.unpublished += 1,
        }
    }

    fn line(&self, now: SystemTime) -> String {
        if self.repositories == 0 {
            return "No repository is configured; add one to /etc/createrepod/repos.d/".into();
        }
        let mut line = format!(
            "Serving {} with {}",
            count(self.repositories as u64, "repository", "repositories"),
            count(self.packages, "package", "packages")
        );
        if let Some(at) = self.published_at {
            line += &format!("; last publication {}", ago(now.duration_since(at).unwrap_or_default()));
        }
        if self.unpublished > 0 {
            line += &format!("; {} not yet published", self.unpublished);
        }
        if self.rejected > 0 {
            line += &format!("; {} rejected", count(self.rejected as u64, "package", "packages"));
        }
        if self.unread > 0 {
            line += &format!("; {} cannot be read for now", count(self.unread as u64, "place", "places"));
        }
        if !self.troubled.is_empty() {
            let named = self.troubled.iter().take(NAMES).copied().collect::<Vec<_>>().join(", ");
            let more = if self.troubled.len() > NAMES { ", …" } else { "" };
            line += &format!("; {} in trouble: {named}{more}", self.troubled.len());
        }
        line
    }
}

fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// In one unit, so that the line does not change every second.
fn ago(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => "less than a minute ago".into(),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn the_line_names_what_a_sysadmin_looks_for() {
        let quiet = Sums { repositories: 1, packages: 1, published_at: Some(at(100)), ..Sums::default() };
        assert_eq!(
            quiet.line(at(130)),
            "Serving 1 repository with 1 package; last publication less than a minute ago"
        );
        let troubled = Sums {
            repositories: 9,
            packages: 1234,
            rejected: 2,
            unread: 1,
            unpublished: 1,
            published_at: Some(at(0)),
            troubled: vec!["a", "b", "c", "d"],
        };
        assert_eq!(
            troubled.line(at(3 * DAY)),
            "Serving 9 repositories with 1234 packages; last publication 3 days ago; 1 not yet published; \
             2 packages rejected; 1 place cannot be read for now; 4 in trouble: a, b, c, …"
        );
    }

    #[test]
    fn nothing_to_serve_says_what_to_do() {
        assert!(line(&[], at(0)).contains("/etc/createrepod/repos.d/"));
    }

    #[test]
    fn a_clock_that_went_back_is_no_age() {
        let sums = Sums { repositories: 1, published_at: Some(at(500)), ..Sums::default() };
        assert!(sums.line(at(100)).ends_with("less than a minute ago"));
        assert_eq!(ago(Duration::from_secs(3599)), "59 min ago");
        assert_eq!(ago(Duration::from_secs(2 * DAY - 1)), "47 h ago");
    }
}
