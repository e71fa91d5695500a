//! repomd.xml, its signature and its key: of what is newest, of what a client was given, of publication N.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, USER_AGENT};
use hyper::http::request::Parts;

use super::answer::Answer;
use super::error::ServeError;
use super::foreign::PROXIED;
use super::pairs::{Numbered, Pairs};
use super::site::Mount;
use super::work::blocking;
use super::{Ends, Transport, files, respond};
use crate::package::Location;
use crate::repository::{Handle, Published};

/// The most repositories of which one connection remembers what it was given.
const MOST_GIVEN: usize = 8;

/// One of the three files that make a publication known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepomdFile {
    Repomd,
    Signature,
    Key,
}

impl RepomdFile {
    /// The one called `location`, if any is.
    pub fn named(location: &str) -> Option<Self> {
        match location {
            "repodata/repomd.xml" => Some(Self::Repomd),
            "repodata/repomd.xml.asc" => Some(Self::Signature),
            "repodata/repomd.xml.key" => Some(Self::Key),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Repomd => "repodata/repomd.xml",
            Self::Signature => "repodata/repomd.xml.asc",
            Self::Key => "repodata/repomd.xml.key",
        }
    }

    fn of(self, published: &Published) -> Option<Bytes> {
        match self {
            Self::Repomd => Some(published.repomd.clone()),
            Self::Signature => published.signed.as_ref().map(|signed| signed.signature.clone()),
            Self::Key => published.signed.as_ref().map(|signed| signed.public_key.clone()),
        }
    }
}

impl Numbered for Arc<Published> {
    fn number(&self) -> u64 {
        self.number
    }
}

/// What clients were given, by who they are.
pub(crate) struct Given {
    pairs: Mutex<Pairs<Arc<Published>>>,
    /// So that nobody can make others' keys.
    seed: RandomState,
    begun: Instant,
}

impl Default for Given {
    fn default() -> Self {
        Self { pairs: Mutex::default(), seed: RandomState::new(), begun: Instant::now() }
    }
}

impl Given {
    fn pairs(&self) -> MutexGuard<'_, Pairs<Arc<Published>>> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Who asks, as far as can be told: address, User-Agent, credential, and what a proxy says of them.
    fn client(&self, repository: &str, ends: &Ends, headers: &HeaderMap) -> u64 {
        let mut hasher = self.seed.build_hasher();
        (repository, ends.peer.ip().to_canonical()).hash(&mut hasher);
        for name in [&USER_AGENT, &AUTHORIZATION].into_iter().chain(&PROXIED) {
            for value in headers.get_all(name) {
                (name.as_str(), value.as_bytes()).hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

/// What one connection was given: there the pair is exact.
#[derive(Debug, Default)]
pub(crate) struct OnConnection(Mutex<Vec<(Arc<str>, Arc<Published>)>>);

impl OnConnection {
    fn note(&self, repository: &str, published: &Arc<Published>) {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        given.retain(|(name, _)| &**name != repository);
        if given.len() == MOST_GIVEN {
            given.remove(0);
        }
        given.push((repository.into(), Arc::clone(published)));
    }

    fn of(&self, repository: &str) -> Option<Arc<Published>> {
        let given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        given.iter().find(|(name, _)| &**name == repository).map(|(_, published)| Arc::clone(published))
    }
}

/// Answers with one of the three files: of publication `number`, or else of what this client is to see.
pub(super) async fn answer(
    given: &Given,
    ends: &Ends,
    mount: &Mount,
    file: RepomdFile,
    number: Option<u64>,
    parts: &Parts,
) -> Result<Answer, ServeError> {
    let handle = respond::open(mount)?;
    if let Some(number) = number {
        return numbered(handle, file, number, parts).await;
    }
    if let Some(answer) = at_once(given, ends, mount, file, parts) {
        return answer;
    }
    match handle.published() {
        // Whatever somebody else put there.
        Some(published) if !published.repomd.is_empty() => on_disk(handle, file, ends, parts).await,
        _ => before_the_first(given, mount, file, ends, parts).await,
    }
}

/// Answers with what is in memory; `None`: it is on disk, or nowhere.
pub(super) fn at_once(
    given: &Given,
    ends: &Ends,
    mount: &Mount,
    file: RepomdFile,
    parts: &Parts,
) -> Option<Result<Answer, ServeError>> {
    let published = mount.door.as_ref().ok()?.published();
    let newest = published.filter(|published| !published.repomd.is_empty())?;
    if newest.signed.is_none() && file != RepomdFile::Repomd && mount.config.sign.is_none() {
        return None;
    }
    let shown =
        if newest.signed.is_some() { choose(given, ends, mount, file, &newest, parts) } else { newest };
    shown.given.store(true, Ordering::Release);
    let Some(bytes) = file.of(&shown) else {
        return Some(Err(ServeError::Unavailable(format!(
            "what is published of {} could not be signed; the server's log says why",
            mount.config.name
        ))));
    };
    Some(whole(bytes, shown.revision, shown.at, file, parts))
}

/// The publication that this client is in the middle of, or the newest.
fn choose(
    given: &Given,
    ends: &Ends,
    mount: &Mount,
    file: RepomdFile,
    newest: &Arc<Published>,
    parts: &Parts,
) -> Arc<Published> {
    let name = &mount.config.name;
    let client = given.client(name, ends, &parts.headers);
    // A proxy sends the requests of many clients over one connection.
    let direct =
        ends.transport != Transport::Unix && !PROXIED.iter().any(|name| parts.headers.contains_key(name));
    match file {
        RepomdFile::Repomd => {
            let shown = given.pairs().give(client, newest, given.now());
            if direct {
                ends.given.note(name, &shown);
            }
            shown
        }
        RepomdFile::Signature => {
            let shown = given.pairs().signature(client, given.now());
            let exact = if direct { ends.given.of(name) } else { None };
            exact.or(shown).unwrap_or_else(|| Arc::clone(newest))
        }
        // Over a connection that lasts, too, a client is to learn of a new key.
        RepomdFile::Key => given.pairs().key(client, given.now()).unwrap_or_else(|| Arc::clone(newest)),
    }
}

async fn numbered(
    handle: &Handle,
    file: RepomdFile,
    number: u64,
    parts: &Parts,
) -> Result<Answer, ServeError> {
    let asked = handle.clone();
    let found = blocking("look for a publication", move || asked.publication(number)).await?;
    let found = found.map_err(|error| ServeError::internal("look for a publication", error))?;
    let bytes = found.and_then(|published| file.of(&published)).ok_or(ServeError::NotFound)?;
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(number);
    whole(bytes, number, at, file, parts)
}

fn whole(
    bytes: Bytes,
    revision: u64,
    at: SystemTime,
    file: RepomdFile,
    parts: &Parts,
) -> Result<Answer, ServeError> {
    // The checksum tells apart what the revision does not: two publications in one second, a clock set back.
    let etag = format!("\"{revision:x}-{:08x}\"", crc32fast::hash(&bytes));
    files::repomd(bytes, file.name(), etag, at, &parts.method, &parts.headers)
}

/// Before the first publication whatever an earlier run left. Where it is signed, the pair is as exact as later.
async fn before_the_first(
    given: &Given,
    mount: &Mount,
    file: RepomdFile,
    ends: &Ends,
    parts: &Parts,
) -> Result<Answer, ServeError> {
    let handle = respond::open(mount)?;
    if mount.config.sign.is_some() {
        let asked = handle.clone();
        let left = blocking("read what was published before", move || asked.left_behind()).await?;
        if let Some(left) = left.map_err(files::open_failed)? {
            let shown = choose(given, ends, mount, file, &left, parts);
            if let Some(bytes) = file.of(&shown) {
                return whole(bytes, shown.revision, shown.at, file, parts);
            }
        }
    }
    match on_disk(handle, file, ends, parts).await {
        Err(ServeError::NotFound) if file == RepomdFile::Repomd => Err(ServeError::Unavailable(format!(
            "the repository {} is being indexed for the first time; try again in a moment",
            mount.config.name
        ))),
        other => other,
    }
}

async fn on_disk(
    handle: &Handle,
    file: RepomdFile,
    ends: &Ends,
    parts: &Parts,
) -> Result<Answer, ServeError> {
    let location =
        Location::parse(file.name()).map_err(|error| ServeError::internal("name repomd.xml", error))?;
    files::file(handle, location, Some(parts.uri.path()), &parts.method, &parts.headers, &ends.files).await
}
