//! Tells somebody that something needs a person: packages that are rejected, publications that fail.
//!
//! Each webhook has a queue and a task of its own, so that one that does not answer holds up nobody.

mod shape;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hyper::StatusCode;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::config::webhook::{WebhookConfig, WebhookEvent, WebhookUrl};
pub use shape::body;

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub event: WebhookEvent,
    pub repository: String,
    /// Why, where it failed.
    pub reason: Option<String>,
    /// Files that are not published, with their reasons.
    pub rejected: Vec<(String, String)>,
    /// How many more there are.
    pub more: usize,
    pub at: SystemTime,
}

/// One attempt to tell it.
#[derive(Debug, Clone)]
pub struct Letter {
    pub url: String,
    /// The authorities believed for `https://`; `None`: this machine's.
    pub ca: Option<PathBuf>,
    /// JSON.
    pub body: String,
}

/// Sends a letter: what was answered, or why it did not get there.
pub type Post =
    Arc<dyn Fn(Letter) -> Pin<Box<dyn Future<Output = Result<StatusCode, String>> + Send>> + Send + Sync>;

/// Notices that may wait for one webhook.
const QUEUE: usize = 100;
/// Between two attempts; after the last one it is given up.
const WAITS: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(300),
    Duration::from_secs(600),
];

/// All webhooks of a configuration.
pub struct Webhooks {
    post: Post,
    waits: &'static [Duration],
    open: Mutex<Vec<Open>>,
}

struct Open {
    config: WebhookConfig,
    queue: mpsc::Sender<Notice>,
    task: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Webhooks {
    pub fn new(post: Post) -> Self {
        Self { post, waits: &WAITS, open: Mutex::default() }
    }

    /// Makes them those of a new configuration. Those that stay as they are go on with what they have to tell.
    pub fn reconfigure(&self, wanted: &[WebhookConfig]) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|open| wanted.contains(&open.config));
        for config in wanted {
            if !open.iter().any(|open| open.config == *config) {
                let (queue, notices) = mpsc::channel(QUEUE);
                let task = tokio::spawn(tell(config.clone(), self.post.clone(), self.waits, notices));
                open.push(Open { config: config.clone(), queue, task });
            }
        }
    }

    /// Whether there is anybody to tell.
    pub fn is_empty(&self) -> bool {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Tells everybody who wants to know. Does not wait.
    pub fn tell(&self, notice: &Notice) {
        for open in self.open.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let wanted = open.config.wants(notice.event, &notice.repository);
            if wanted && open.queue.try_send(notice.clone()).is_err() {
                let name = &open.config.name;
                warn!(webhook = %name, "webhook {name} has {QUEUE} notices waiting: one more is dropped");
            }
        }
    }
}

/// Sends what comes, one after the other, each until it is taken or given up.
async fn tell(
    config: WebhookConfig,
    post: Post,
    waits: &'static [Duration],
    mut notices: mpsc::Receiver<Notice>,
) {
    let (name, place) = (&config.name, config.url.shown());
    while let Some(notice) = notices.recv().await {
        let body = body(config.format, &notice);
        let mut waits = waits.iter();
        loop {
            let why = match attempt(&config, &post, &body).await {
                Outcome::Taken => {
                    info!(webhook = %name, repo.name = %notice.repository, "told webhook {name} of {}", notice.repository);
                    break;
                }
                Outcome::Refused(why) => {
                    error!(webhook = %name, "webhook {name} at {place} refuses the notice, which is given up: {why}");
                    break;
                }
                Outcome::Later(why) => why,
            };
            let Some(wait) = waits.next() else {
                error!(webhook = %name, "webhook {name} at {place} is given up for this notice: {why}");
                break;
            };
            warn!(webhook = %name, "cannot tell webhook {name} at {place}: {why}; trying again in {} s", wait.as_secs());
            tokio::time::sleep(*wait).await;
        }
    }
}

enum Outcome {
    Taken,
    /// Sending the same again would not help.
    Refused(String),
    Later(String),
}

async fn attempt(config: &WebhookConfig, post: &Post, body: &str) -> Outcome {
    let url = match url_of(&config.url).await {
        Ok(url) => url,
        Err(error) => return Outcome::Later(format!("cannot read {}: {error}", config.url.shown())),
    };
    match post(Letter { url, ca: config.ca.clone(), body: body.to_owned() }).await {
        Ok(status) if status.is_success() => Outcome::Taken,
        Ok(status) => match status.as_u16() {
            408 | 425 | 429 | 500.. => Outcome::Later(format!("it answers {status}")),
            _ => Outcome::Refused(format!("it answers {status}")),
        },
        Err(why) => Outcome::Later(why),
    }
}

async fn url_of(url: &WebhookUrl) -> io::Result<String> {
    let path = match url {
        WebhookUrl::Written(url) => return Ok(url.clone()),
        WebhookUrl::File(path) => path.clone(),
    };
    let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
    let text = read.map_err(io::Error::other)??;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests;
