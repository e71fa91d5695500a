//! Looks for what webhooks are told: files that are newly rejected or cannot be read for long, publications that fail, and
//! that work again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::{WebhookConfig, WebhookEvent};
use crate::fetch;
use crate::logging::chain;
use crate::repository::{Handle, Ticket};
use crate::serve::{Mount, Site};
use crate::webhook::{Letter, Notice, Post, Webhooks};

/// How often is looked; what comes in between is told together.
const PERIOD: Duration = Duration::from_secs(1);
/// What cannot be read for less time is nobody's business.
const LONG: Duration = Duration::from_secs(60);
/// Files named in one notice.
const NAMED: usize = 20;

/// The webhooks of a configuration, told by [`fetch::post`].
pub fn webhooks(configs: &[WebhookConfig]) -> Arc<Webhooks> {
    let post: Post = Arc::new(|letter: Letter| {
        Box::pin(async move {
            let Letter { url, ca, body } = letter;
            let answered = fetch::post(&url, body, ca.as_deref()).await;
            answered.map_err(|error| chain(&error))
        })
    });
    let webhooks = Webhooks::new(post);
    webhooks.reconfigure(configs);
    Arc::new(webhooks)
}

/// Tells them of everything that happens, until it is dropped.
pub async fn keep_telling(site: Arc<Site>, webhooks: Arc<Webhooks>) {
    let mut seen = Seen::default();
    let mut often = tokio::time::interval(PERIOD);
    loop {
        often.tick().await;
        if webhooks.is_empty() {
            // Whoever is named later hears what happens from then on.
            seen = Seen { is_late: true, ..Seen::default() };
            continue;
        }
        let site = Arc::clone(&site);
        // Some of it asks the catalog.
        let looked = tokio::task::spawn_blocking(move || {
            let notices = seen.look(site.now().all(), SystemTime::now());
            (seen, notices)
        });
        let Ok((looked, notices)) = looked.await else { return };
        seen = looked;
        notices.iter().for_each(|notice| webhooks.tell(notice));
    }
}

/// What was there when it was last looked.
#[derive(Default)]
struct Seen {
    /// Whether what is there at the first look is no news, whenever it came.
    is_late: bool,
    repositories: BTreeMap<String, Last>,
}

#[derive(Default)]
struct Last {
    is_troubled: bool,
    /// Whose rejects were counted last, and after which change.
    counted: Option<(usize, Ticket)>,
    rejected: BTreeMap<String, String>,
    /// What cannot be read: since when, and whether it was told.
    unread: BTreeMap<String, (SystemTime, bool)>,
}

impl Last {
    /// Of what cannot be read now, what has not been readable for long and was not told.
    fn unread_for_long(&mut self, unread: Vec<(String, String)>, now: SystemTime) -> Vec<(String, String)> {
        let before = std::mem::take(&mut self.unread);
        let mut news = Vec::new();
        for (path, reason) in unread {
            let (since, mut told) = before.get(&path).copied().unwrap_or((now, false));
            if !told && now.duration_since(since).is_ok_and(|age| age >= LONG) {
                told = true;
                news.push((path.clone(), reason));
            }
            self.unread.insert(path, (since, told));
        }
        news
    }
}

impl Seen {
    fn look(&mut self, mounts: &[Mount], now: SystemTime) -> Vec<Notice> {
        let names: BTreeSet<&str> = mounts.iter().map(|mount| mount.config.name.as_str()).collect();
        self.repositories.retain(|name, _| names.contains(name.as_str()));
        let mut notices = Vec::new();
        for Mount { config, door } in mounts {
            let notice = |event| Notice {
                event,
                repository: config.name.clone(),
                reason: None,
                rejected: Vec::new(),
                more: 0,
                at: now,
            };
            let is_new = !self.repositories.contains_key(&config.name);
            let is_quiet = is_new && self.is_late;
            let last = self.repositories.entry(config.name.clone()).or_default();
            let trouble = match door {
                Ok(handle) => handle.trouble(),
                Err(why) => Some(why.to_string()),
            };
            if trouble.is_some() != last.is_troubled && !is_quiet {
                let event = if trouble.is_some() { WebhookEvent::Failed } else { WebhookEvent::Recovered };
                notices.push(Notice { reason: trouble.clone(), ..notice(event) });
            }
            last.is_troubled = trouble.is_some();
            let Ok(handle) = door else { continue };
            if is_new {
                last.rejected = handle.rejected_before().clone();
            }
            let unread = last.unread_for_long(handle.unread(), now);
            if !unread.is_empty() {
                let more = unread.len().saturating_sub(NAMED);
                let named = unread.into_iter().take(NAMED).collect();
                notices.push(Notice { rejected: named, more, ..notice(WebhookEvent::Unread) });
            }
            let counted = Some((handle.left_out(), handle.passed()));
            if last.counted == counted {
                continue;
            }
            last.counted = counted;
            let rejected = rejected(handle);
            let news: Vec<_> = rejected
                .iter()
                .filter(|(location, reason)| match last.rejected.get(*location) {
                    // Known since before this daemon, which does not know why.
                    Some(known) => !known.is_empty() && known != *reason,
                    None => true,
                })
                .map(|(location, reason)| (location.clone(), reason.clone()))
                .collect();
            last.rejected = rejected;
            if !news.is_empty() && !is_quiet {
                let more = news.len().saturating_sub(NAMED);
                let named = news.into_iter().take(NAMED).collect();
                notices.push(Notice { rejected: named, more, ..notice(WebhookEvent::Rejected) });
            }
        }
        self.is_late = false;
        notices
    }
}

/// What is not published, by location.
fn rejected(handle: &Handle) -> BTreeMap<String, String> {
    let status = handle.status();
    let rejected = status.rejected.into_iter().map(|r| (r.location.to_string(), r.reason));
    rejected.chain(status.refused).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::slice::from_ref;

    use super::*;
    use crate::config::RepositoryConfig;
    use crate::tree::Dirty;

    /// What a look tells, in short.
    fn told(seen: &mut Seen, mounts: &[Mount]) -> Vec<String> {
        let short = |n: &Notice| {
            let files: Vec<_> = n.rejected.iter().map(|(at, _)| at.as_str()).collect();
            format!("{:?} {} {}", n.event, n.repository, files.join(","))
        };
        seen.look(mounts, SystemTime::UNIX_EPOCH).iter().map(short).collect()
    }

    fn refresh(handle: &Handle) {
        let ticket = handle.submit(Dirty::everything());
        while handle.passed() < ticket {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A file that can be no package, and was written long ago.
    fn bad(path: &Path) {
        std::fs::write(path, "no package").unwrap();
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000);
        std::fs::File::options().append(true).open(path).unwrap().set_modified(long_ago).unwrap();
    }

    #[test]
    fn each_file_is_told_once_and_not_again_after_a_restart() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("rpm");
        std::fs::create_dir(&root).unwrap();
        bad(&root.join("a.rpm"));
        let config =
            RepositoryConfig { state_dir: place.path().join("state"), ..RepositoryConfig::new("rpm", &root) };
        let open = || {
            let handle = Handle::open(config.clone()).unwrap();
            (Mount { config: Arc::new(config.clone()), door: Ok(handle.clone()) }, handle)
        };
        let mut seen = Seen::default();
        let (mount, handle) = open();
        refresh(&handle);
        assert_eq!(told(&mut seen, from_ref(&mount)), ["Rejected rpm a.rpm"]);
        assert!(told(&mut seen, from_ref(&mount)).is_empty());
        bad(&root.join("b.rpm"));
        refresh(&handle);
        assert_eq!(told(&mut seen, from_ref(&mount)), ["Rejected rpm b.rpm"]);
        handle.close();
        drop((mount, handle));

        let (mount, handle) = open();
        bad(&root.join("c.rpm"));
        refresh(&handle);
        assert_eq!(told(&mut Seen::default(), from_ref(&mount)), ["Rejected rpm c.rpm"], "a restart");
        let mut late = Seen { is_late: true, ..Seen::default() };
        assert!(told(&mut late, &[mount]).is_empty(), "who asks later hears of what comes later");
        handle.close();
    }

    #[test]
    fn what_cannot_be_read_is_told_once_and_only_when_it_lasts() {
        let mut last = Last::default();
        let unread =
            |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), "EIO".to_owned())).collect();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(last.unread_for_long(unread(&["a"]), at(0)).is_empty());
        assert!(last.unread_for_long(unread(&["a", "b"]), at(59)).is_empty());
        assert_eq!(last.unread_for_long(unread(&["a", "b"]), at(60)), unread(&["a"]));
        assert!(last.unread_for_long(unread(&["a"]), at(3600)).is_empty(), "once");
        assert!(last.unread_for_long(unread(&["b"]), at(3601)).is_empty(), "it could be read in between");
    }

    #[test]
    fn a_repository_that_fails_is_told_once_and_once_more_when_it_is_well() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("rpm");
        std::fs::create_dir(&root).unwrap();
        let config =
            RepositoryConfig { state_dir: place.path().join("state"), ..RepositoryConfig::new("rpm", &root) };
        let handle = Handle::open(config.clone()).unwrap();
        let config = Arc::new(config);
        let broken = Mount { config: config.clone(), door: Err("the disk is away".into()) };
        let well = Mount { config, door: Ok(handle.clone()) };
        let mut seen = Seen::default();
        let first = seen.look(from_ref(&broken), SystemTime::UNIX_EPOCH);
        assert_eq!(first[0].reason.as_deref(), Some("the disk is away"));
        assert!(told(&mut seen, &[broken]).is_empty());
        assert_eq!(told(&mut seen, from_ref(&well)), ["Recovered rpm "]);
        assert!(told(&mut seen, &[well]).is_empty());
        handle.close();
    }
}
