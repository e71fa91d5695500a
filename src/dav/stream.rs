//! Long answers in XML: made piece by piece as the client takes them, by a bounded number at a time.
//!
//! What fits in one small piece is answered at once. Everything longer needs one of a few [`Places`], and holds one piece of text
//! and what it takes to make the next one. Whoever takes nothing loses its place when somebody else needs it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::CACHE_CONTROL;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::XML;
use crate::auth::FewLines;
use crate::serve::error::ServeError;
use crate::serve::{Admitted, Answer, AnswerBody, Crowd, Crowded, Server, blocking, set, text};

/// Bytes of an answer that needs no place.
const SMALL: usize = 8 << 10;
/// Bytes of an answer made at a time.
const PIECE: usize = 16 << 10;
/// Long answers at a time, and of these for one address.
const PLACES: usize = 64;
const PER_ADDRESS: usize = 16;
/// Folders that are open for an answer that has no place yet.
const OPENING: usize = 16;
/// Pieces made at a time: the other cores are for others.
const TURNS: usize = 4;
/// Who waits for a place, and how long.
const WAITING: usize = 64;
const WAIT: Duration = Duration::from_secs(5);
/// After this time a client that takes nothing is the first to go.
const STALLED: Duration = Duration::from_secs(1);
/// KiB of bodies that are being read, beyond what each has anyway.
const BODIES: usize = 8 << 10;
const BODY_WAIT: Duration = Duration::from_secs(2);
/// Bodies of which trees are made at a time, all of them read whole before.
const TREES: usize = 4;

/// Lines about listings that broke off, few in sum.
static BROKEN_OFF: FewLines = FewLines::new();

/// What bounds long answers and long bodies, of all repositories together.
pub(crate) struct Places {
    free: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    waiting: Semaphore,
    opening: Semaphore,
    crowd: Arc<Crowd>,
    /// Clients that take nothing, which hear when somebody needs a place.
    stalled: Arc<Crowded>,
    bodies: Arc<Semaphore>,
    trees: Semaphore,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            free: Arc::new(Semaphore::new(PLACES)),
            turns: Arc::new(Semaphore::new(TURNS)),
            waiting: Semaphore::new(WAITING),
            opening: Semaphore::new(OPENING),
            crowd: Arc::default(),
            stalled: Arc::default(),
            bodies: Arc::new(Semaphore::new(BODIES)),
            trees: Semaphore::new(TREES),
        }
    }
}

/// A place, given back when dropped.
struct Place {
    _free: OwnedSemaphorePermit,
    _admitted: Admitted,
}

/// Makes an answer piece by piece. Blocking.
pub(super) trait Source: Send + 'static {
    /// Writes until `out` has about `enough` bytes; whether that was all.
    fn fill(&mut self, out: &mut String, enough: usize) -> Result<bool, ServeError>;
}

impl Places {
    async fn take(&self, address: Option<IpAddr>, wait: Duration) -> Result<Place, ServeError> {
        let busy =
            || ServeError::Unavailable("too many listings are being read; try again in a moment".into());
        let admitted = self.crowd.admit(address.unwrap_or(std::net::Ipv4Addr::LOCALHOST.into()), PER_ADDRESS);
        let admitted = admitted.ok_or_else(busy)?;
        let free = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(free) => free,
            Err(_) => {
                let _waiting = self.waiting.try_acquire().map_err(|_| busy())?;
                let until = Instant::now() + wait;
                loop {
                    self.stalled.make_room();
                    // Another may stall meanwhile, so this is asked again.
                    match timeout(
                        wait.min(Duration::from_millis(200)),
                        Arc::clone(&self.free).acquire_owned(),
                    )
                    .await
                    {
                        Ok(Ok(free)) => break free,
                        _ if Instant::now() >= until => return Err(busy()),
                        _ => {}
                    }
                }
            }
        };
        Ok(Place { _free: free, _admitted: admitted })
    }

    /// Leave to open a folder, kept until its answer is whole or has a place: what waits holds no open files.
    pub(super) async fn opening(&self) -> Result<SemaphorePermit<'_>, ServeError> {
        match timeout(WAIT, self.opening.acquire()).await {
            Ok(Ok(leave)) => Ok(leave),
            _ => {
                Err(ServeError::Unavailable("too many listings are being read; try again in a moment".into()))
            }
        }
    }

    /// A turn to have a tree made of a body.
    pub(super) async fn tree(&self) -> Result<SemaphorePermit<'_>, ServeError> {
        match timeout(WAIT, self.trees.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(ServeError::Unavailable(
                "too many properties are being set; try again in a moment".into(),
            )),
        }
    }

    /// Room for a long body, as long as it is kept.
    pub(super) async fn body(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ServeError> {
        let needed = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        match timeout(BODY_WAIT, Arc::clone(&self.bodies).acquire_many_owned(needed)).await {
            Ok(Ok(room)) => Ok(room),
            _ => Err(ServeError::Unavailable(
                "too many long requests are being read; try again in a moment".into(),
            )),
        }
    }
}

/// Answers 207 with all that `source` makes. `address`: the client's.
pub(super) async fn answer(
    server: &Server,
    address: Option<IpAddr>,
    source: impl Source,
) -> Result<Answer, ServeError> {
    let places = &server.shares.places;
    let (source, first, is_all) = next(Arc::clone(&places.turns), source, SMALL).await?;
    let mut answer = if is_all {
        text(StatusCode::MULTI_STATUS, XML, first)
    } else {
        let place = places.take(address, WAIT).await?;
        let (pieces, taken) = mpsc::channel(1);
        let mut answer = Answer::new(AnswerBody::Pieces(taken));
        *answer.status_mut() = StatusCode::MULTI_STATUS;
        set(&mut answer, hyper::header::CONTENT_TYPE, XML);
        let sending = Sending {
            pieces,
            stalled: Arc::clone(&places.stalled),
            turns: Arc::clone(&places.turns),
            limits: Arc::clone(&server.settings.now().limits),
            moved: 0,
            waited: Duration::ZERO,
            _place: place,
        };
        tokio::spawn(sending.all(source, first));
        answer
    };
    set(&mut answer, CACHE_CONTROL, "no-cache");
    Ok(answer)
}

/// The next piece, made when it is its turn.
async fn next<S: Source>(
    turns: Arc<Semaphore>,
    mut source: S,
    enough: usize,
) -> Result<(S, Bytes, bool), ServeError> {
    let turn = turns.acquire_owned().await.map_err(|error| ServeError::internal("list a folder", error))?;
    blocking("list a folder", move || {
        let mut out = String::with_capacity(enough + 4096);
        let is_all = source.fill(&mut out, enough)?;
        drop(turn);
        Ok((source, out.into(), is_all))
    })
    .await?
}

/// One long answer on its way.
struct Sending {
    pieces: mpsc::Sender<Option<Bytes>>,
    stalled: Arc<Crowded>,
    turns: Arc<Semaphore>,
    limits: Arc<crate::serve::Limits>,
    moved: u64,
    /// How long the client let us wait.
    waited: Duration,
    _place: Place,
}

impl Sending {
    async fn all(mut self, mut source: impl Source, mut piece: Bytes) {
        let mut is_all = false;
        loop {
            if !piece.is_empty() && !self.send(Some(piece)).await {
                return;
            }
            if is_all {
                // Without this the client sees that it is not all.
                self.send(None).await;
                return;
            }
            match next(Arc::clone(&self.turns), source, PIECE).await {
                Ok(made) => (source, piece, is_all) = made,
                Err(error) => {
                    if let Some(left_out) = BROKEN_OFF.one() {
                        let cause = error.cause().unwrap_or_else(|| error.words());
                        warn!("a listing broke off: {cause}{left_out}");
                    }
                    return;
                }
            }
        }
    }

    /// Whether the client has taken it.
    async fn send(&mut self, piece: Option<Bytes>) -> bool {
        let bytes = piece.as_ref().map_or(0, Bytes::len) as u64;
        let began = Instant::now();
        let patience = self.limits.patience(self.limits.write_idle, self.moved, self.waited);
        let needed_elsewhere = async {
            sleep(STALLED).await;
            self.stalled.my_turn().await;
        };
        let taken = tokio::select! {
            biased;
            sent = self.pieces.send(piece) => sent.is_ok(),
            () = sleep(patience) => false,
            () = needed_elsewhere => false,
        };
        if !taken {
            debug!("a listing was broken off: its client takes nothing, or is gone");
        }
        self.moved += bytes;
        self.waited += began.elapsed();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_are_few_and_one_address_has_a_share_of_them() {
        let places = Places::default();
        let (none, long) = (Duration::ZERO, Duration::from_secs(3600));
        let address = |number: usize| Some(IpAddr::from([192, 0, 2, number as u8]));
        let mut taken = Vec::new();
        for number in 0..PLACES {
            taken.push(places.take(address(number / PER_ADDRESS), none).await.unwrap());
        }
        assert!(matches!(places.take(address(0), long).await, Err(ServeError::Unavailable(_))), "its share");
        assert!(
            matches!(places.take(address(99), none).await, Err(ServeError::Unavailable(_))),
            "all of them"
        );
        let (place, ()) = tokio::join!(places.take(address(99), long), async { taken.clear() });
        assert!(place.is_ok(), "whoever waits gets one");
        let room = places.body(BODIES << 10).await.unwrap();
        assert!(places.bodies.try_acquire().is_err());
        drop(room);
        assert!(places.body(1024).await.is_ok());
    }
}
