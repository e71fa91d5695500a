//! PUT: the body goes to `Handle::receive…`, what comes of it to the client; decides nothing itself.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::HeaderName;
use hyper::header::{CONTENT_ENCODING, CONTENT_RANGE, ETAG, USER_AGENT};
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::locks::{Keys, Reach};
use super::{Context, State, Target, condition, digest, prefer, published, tell};
use crate::auth::Permission;
use crate::package::Location;
use crate::repository::Handle;
use crate::repository::batches::BatchId;
use crate::repository::receive::{Offer, Outcome, ReceiveError, Received, Receiving};
use crate::serve::error::ServeError;
use crate::serve::request::{BLOCK, Block, RequestBody};
use crate::serve::uploads::{Place, SLOW, Uploads};
use crate::serve::{Answer, PLAIN, Validators, blocking, empty, held, one_line, set, text};
use crate::tree::FileStamp;

const BATCH: HeaderName = HeaderName::from_static("createrepod-batch");

/// What failed, when our own code did.
const ATTEMPT: &str = "take the upload";

/// Answers a PUT: with the state of what was stored, and the revision that shows now.
pub(crate) async fn put(
    context: &Context<'_>,
    location: Location,
    body: &mut RequestBody,
) -> Result<Answer, ServeError> {
    let Context { server, handle, parts, share, .. } = context;
    whole_and_plain(parts)?;
    body.check_announced()?;
    let stated = digest::stated(&parts.headers)?;
    let keys = context.check(&Target { location: Some(location.clone()) }, &[]).await?;
    let unlocked = unlocked(context, &location, &keys).await?;
    if body.announced() == Some(0)
        && sends_nothing_first(&parts.headers, &keys.tokens)
        && let Some(answer) = hold(context, &location).await?
    {
        return Ok(answer);
    }
    let condition = condition(&parts.headers);
    // A lock that was taken while the bytes came counts as well.
    let condition = Box::new(move |there: Option<&FileStamp>| condition(there) && unlocked(there.is_some()));
    let batch = batch(&parts.headers)?;
    let (by, holder, place) = (context.principal.clone(), context.holder(), location.clone());
    let replaces = may_replace(context, &location).await?;
    let offer = Offer { location, condition, stated, by, holder, batch, replaces, clears: None };
    let received = receive(handle, offer, body, &server.uploads).await?;
    let location = place;
    share.let_go(location.as_str());
    let wait = prefer::wait(&parts.headers, server.longest_wait());
    Ok(answer(handle, &location, received, wait).await)
}

/// Refuses what is locked now; what it gives back asks again, knowing whether something has the name.
async fn unlocked(
    context: &Context<'_>,
    location: &Location,
    keys: &Keys,
) -> Result<impl Fn(bool) -> bool + Send + use<>, ServeError> {
    let (locks, place, keys) = (context.share.locks.clone(), location.to_string(), keys.clone());
    if !locks.is_empty() {
        let looking = (context.handle.clone(), location.clone());
        let here = blocking(ATTEMPT, move || looking.0.stat(Some(&looking.1))).await?;
        let membership = matches!(here, Ok(None));
        context.unlocked(Reach { place: &place, deep: false, membership }, &keys)?;
    }
    Ok(move |exists: bool| {
        locks.forbids(Reach { place: &place, deep: false, membership: !exists }, &keys).is_none()
    })
}

/// Whether a file that is no package may be replaced with other content, if it is there.
async fn may_replace(context: &Context<'_>, location: &Location) -> Result<bool, ServeError> {
    if context.handle.write_replaces(location) {
        return Ok(true);
    }
    let looking = (context.handle.clone(), location.clone());
    if let Ok(None) = blocking(ATTEMPT, move || looking.0.stat(Some(&looking.1))).await? {
        return Ok(false);
    }
    match context.also_needs(Permission::Delete, &Target { location: Some(location.clone()) }).await {
        Ok(()) => Ok(true),
        Err(error) if error.status().is_server_error() => Err(error),
        Err(_) => Ok(false),
    }
}

/// Mounted shares make a file before they have anything to put into it. From others, an empty file
/// is what it is: no package.
fn sends_nothing_first(headers: &HeaderMap, tokens: &[String]) -> bool {
    const MOUNTED: [&str; 5] = ["davfs2", "WebDAVFS", "WebDAVLib", "Microsoft-WebDAV-MiniRedir", "gvfs"];
    let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    !tokens.is_empty() || MOUNTED.iter().any(|name| agent.contains(name))
}

/// Keeps the name of a package in memory until its bytes come. `None`: it is a file like any other.
async fn hold(context: &Context<'_>, location: &Location) -> Result<Option<Answer>, ServeError> {
    let looking = (context.handle.clone(), location.clone());
    let (here, parent) = blocking(ATTEMPT, move || {
        let (handle, location) = looking;
        (handle.stat(Some(&location)), handle.stat(location.parent().as_ref()))
    })
    .await?;
    if !location.names_a_package() || !matches!(here, Ok(None)) {
        return Ok(None);
    }
    if !matches!(parent, Ok(Some(parent)) if parent.is_directory) {
        return Err(super::no_folder());
    }
    if !context.share.hold_for_content(location.as_str(), &context.holder()) {
        return Err(ServeError::NoRoom("too many files wait for their content".into()));
    }
    let words = format!("{location} waits for its content; nothing was stored\n");
    Ok(Some(text(StatusCode::CREATED, PLAIN, one_line(words.trim_end()).into_owned() + "\n")))
}

/// `Createrepod-Batch: ID`
fn batch(headers: &HeaderMap) -> Result<Option<BatchId>, ServeError> {
    let Some(value) = headers.get(BATCH) else { return Ok(None) };
    let id = value.to_str().ok().and_then(BatchId::parse);
    id.map(Some).ok_or_else(|| {
        ServeError::BadRequest(
            "Createrepod-Batch needs a name of letters, digits, \".\", \"_\" and \"-\", the first a letter or digit, at most 100"
                .into(),
        )
    })
}

/// Refuses a part of a file, and a file in disguise: what is stored must be what was sent.
fn whole_and_plain(parts: &Parts) -> Result<(), ServeError> {
    if parts.headers.contains_key(CONTENT_RANGE) {
        return Err(ServeError::BadRequest(
            "parts of a file (Content-Range) are not taken; send the whole file".into(),
        ));
    }
    if parts.headers.get_all(CONTENT_ENCODING).iter().any(|coding| coding != "identity") {
        return Err(ServeError::UnsupportedMediaType(
            "encoded bodies (Content-Encoding) are not taken; send the file as it is".into(),
        ));
    }
    Ok(())
}

/// An upload on its way, and its place among them.
struct Coming {
    receiving: Receiving,
    _place: Place,
}

/// Takes the body in: what is small in one step on the blocking pool, the rest block by block, one
/// of which is written while the next one comes.
async fn receive(
    handle: &Handle,
    mut offer: Offer,
    body: &mut RequestBody,
    uploads: &Uploads,
) -> Result<Received, ServeError> {
    let is_small = body.announced().is_none_or(|length| length <= BLOCK as u64);
    let handle = handle.clone();
    if is_small && body.is_held_back() {
        // What can be refused is refused before a byte is asked for.
        let looking = handle.clone();
        offer = blocking(ATTEMPT, move || looking.may_receive(&offer).map(|()| offer)).await??;
    }
    let first = if is_small { body.next_block().await? } else { Block::default() };
    if first.is_last {
        let place = uploads.complete().await?;
        let whole = move || {
            let mut receiving = handle.begin_receive(offer)?;
            receiving.write(&first.parts)?;
            receiving.finish()
        };
        return Ok(held(place, ATTEMPT, whole).await??);
    }
    let place = uploads.coming(&offer.holder).await?;
    let begin = move || -> Result<Coming, ReceiveError> {
        let coming = Coming { receiving: handle.begin_receive(offer)?, _place: place };
        write(coming, first.parts)
    };
    let mut writing = tokio::task::spawn_blocking(begin);
    if body.is_held_back() {
        let coming = joined(&mut writing).await?;
        writing = tokio::task::spawn_blocking(move || Ok(coming));
    }
    loop {
        // Whichever fails first ends the upload; what is staged goes with it.
        let (coming, block) = tokio::try_join!(joined(&mut writing), in_time(body, uploads))?;
        if block.is_last {
            let finish = move || {
                // The place is kept until all is in the tree.
                let Coming { receiving, _place } = write(coming, block.parts)?;
                receiving.finish()
            };
            return Ok(held((), ATTEMPT, finish).await??);
        }
        writing = tokio::task::spawn_blocking(move || write(coming, block.parts));
    }
}

/// The next block; an error where it comes slowly while others wait for a place.
async fn in_time(body: &mut RequestBody, uploads: &Uploads) -> Result<Block, ServeError> {
    let needed_elsewhere = async {
        sleep(SLOW).await;
        uploads.slow.my_turn().await;
    };
    tokio::select! {
        biased;
        block = body.next_block() => block,
        () = needed_elsewhere => Err(ServeError::Unavailable(
            "it came slowly while other uploads waited for its place; nothing was stored, send it again".into(),
        )),
    }
}

fn write(mut coming: Coming, parts: Vec<Bytes>) -> Result<Coming, ReceiveError> {
    coming.receiving.write(&parts)?;
    Ok(coming)
}

async fn joined(writing: &mut JoinHandle<Result<Coming, ReceiveError>>) -> Result<Coming, ServeError> {
    let coming = writing.await.map_err(|panic| ServeError::internal(ATTEMPT, panic))?;
    Ok(coming?)
}

async fn answer(handle: &Handle, location: &Location, received: Received, wait: Option<Duration>) -> Answer {
    let Received { outcome, stamp, nevra, ticket, batch } = received;
    let state = match batch {
        None => published(handle, ticket, wait).await,
        // There is nothing to wait for: another request shows it.
        Some(_) => State::Pending,
    };
    let what = match &nevra {
        Some(nevra) => format!("{nevra} as {location}"),
        None => location.to_string(),
    };
    let when = match (state, wait) {
        _ if batch.is_some() => "clients see it once its batch is committed".to_owned(),
        (State::Indexed, _) => "clients see it now".to_owned(),
        (State::Pending, None) => {
            "clients see it with the next publication (Prefer: wait=30 waits for that)".into()
        }
        (State::Pending, Some(wait)) => format!(
            "clients do not see it yet after {} seconds{}",
            wait.as_secs(),
            if handle.trouble().is_some() { "; the server has trouble publishing, see its log" } else { "" },
        ),
    };
    let (status, words) = match (outcome, state, wait) {
        (Outcome::New | Outcome::Replaced, State::Pending, Some(_)) if batch.is_none() => {
            (StatusCode::ACCEPTED, format!("stored {what}; {when}"))
        }
        (Outcome::New, _, _) => (StatusCode::CREATED, format!("stored {what}; {when}")),
        (Outcome::Same, _, _) => {
            (StatusCode::OK, format!("nothing to do: these bytes are there already, {what}; {when}"))
        }
        (Outcome::Replaced, _, _) => (StatusCode::NO_CONTENT, String::new()),
    };
    let mut answer = match words.as_str() {
        "" => empty(status),
        words => text(status, PLAIN, format!("{}\n", one_line(words))),
    };
    set(&mut answer, ETAG, &Validators::of(&stamp).etag);
    tell(&mut answer, handle, state, wait);
    answer
}
