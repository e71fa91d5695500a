//! `POST /-/api/v1/verify`, or of one repository: everything is read again while it is served, and what is found is told as
//! lines of JSON, each an [`Event`], as it comes. With `?repair` what is found is mended, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::CACHE_CONTROL;
use hyper::http::request::Parts;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::answer::{Answer, live, set};
use super::api::wanted;
use super::error::ServeError;
use super::site::{Mount, Mounts};
use super::work::verifying;
use super::{Ends, Server};
use crate::repository::verify::{Report, Told};
use crate::repository::{Handle, Progress};

/// Lines that may wait for a client that does not read.
const AHEAD: usize = 64;
/// How far it is, is told at most once in so many packages.
const STEP: u64 = 16;

/// What is told while a repository is verified. A line without `end` behind it was broken off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// What follows is about this one.
    Repository(String),
    /// So many packages are to be read.
    ToRead(u64),
    /// So many of them are read.
    Read(u64),
    Report(Told),
    /// What is left after it was mended.
    Repaired(Told),
    /// It cannot be verified, or not be mended, and why.
    Failed(String),
    End,
}

pub(super) async fn answer(
    server: &Server,
    ends: &Ends,
    parts: &Parts,
    mounts: &Arc<Mounts>,
    one: Option<&Mount>,
) -> Result<Answer, ServeError> {
    let wanted = wanted(server, ends, parts, mounts, one).await?;
    let wanted: Vec<Mount> = wanted.into_iter().cloned().collect();
    let repair = parts.uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "repair"));
    let (tell, lines) = mpsc::channel(AHEAD);
    let work = Work { tell, closing: server.closing.clone(), repair };
    tokio::spawn(async move {
        for mount in wanted {
            if work.one(&mount).await.is_none() {
                return;
            }
        }
        work.say(&Event::End).await;
    });
    let mut answer = live(StatusCode::OK, "application/x-ndjson", lines);
    set(&mut answer, CACHE_CONTROL, "no-store");
    Ok(answer)
}

/// One request's work; ends when nobody listens any more.
#[derive(Clone)]
struct Work {
    tell: mpsc::Sender<Bytes>,
    closing: Arc<AtomicBool>,
    repair: bool,
}

impl Work {
    /// `None`: there is no reason to go on.
    async fn one(&self, mount: &Mount) -> Option<()> {
        self.say(&Event::Repository(mount.config.name.clone())).await?;
        let Ok(handle) = &mount.door else {
            let why = "it cannot be opened; createrepod status tells why";
            return self.say(&Event::Failed(why.into())).await;
        };
        let report = match self.verify(handle).await? {
            Ok(report) => report,
            Err(why) => return self.say(&Event::Failed(why)).await,
        };
        self.say(&Event::Report(Told::from(&*report))).await?;
        if !self.repair || report.findings.is_empty() {
            return Some(());
        }
        let ticket = handle.mend(&report);
        while handle.wait(ticket, Duration::from_secs(1)).await.is_none() {
            if self.is_over() {
                return None;
            }
            if let Some(why) = handle.trouble() {
                return self.say(&Event::Failed(why)).await;
            }
        }
        match self.verify(handle).await? {
            Ok(report) => self.say(&Event::Repaired(Told::from(&*report))).await,
            Err(why) => self.say(&Event::Failed(why)).await,
        }
    }

    async fn verify(&self, handle: &Handle) -> Option<Result<Arc<Report>, String>> {
        let (handle, work) = (handle.clone(), self.clone());
        let verified = verifying(move || {
            let progress = Telling { tell: work.tell.clone(), read: AtomicU64::new(0) };
            handle.verify(&progress, &|| work.is_over(), false)
        });
        match verified.await {
            Ok(Ok(report)) => (!report.is_partial).then_some(Ok(report)),
            Ok(Err(error)) => Some(Err(format!("{error:#}"))),
            Err(_) => Some(Err("verifying ended by a bug; please report it".into())),
        }
    }

    fn is_over(&self) -> bool {
        self.tell.is_closed() || self.closing.load(Ordering::Relaxed)
    }

    async fn say(&self, event: &Event) -> Option<()> {
        self.tell.send(line(event)).await.ok()
    }
}

fn line(event: &Event) -> Bytes {
    let mut text = serde_json::to_string(event).unwrap_or_default();
    text.push('\n');
    text.into()
}

/// Tells how far it is. A client that does not keep up hears less of it.
struct Telling {
    tell: mpsc::Sender<Bytes>,
    read: AtomicU64,
}

impl Progress for Telling {
    fn to_read(&self, packages: u64) {
        let _ = self.tell.try_send(line(&Event::ToRead(packages)));
    }

    fn one_read(&self) {
        let read = self.read.fetch_add(1, Ordering::Relaxed) + 1;
        if read.is_multiple_of(STEP) {
            let _ = self.tell.try_send(line(&Event::Read(read)));
        }
    }
}
