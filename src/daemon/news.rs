//! Something changed, said by a watcher on another thread, and heard once all has been quiet for a moment.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// Who never stops changing is heard after this many quiet times all the same.
const AT_MOST: u32 = 10;

/// What tells; every clone tells the same listener.
pub type Teller = mpsc::UnboundedSender<()>;

/// What hears.
pub struct News {
    changes: mpsc::UnboundedReceiver<()>,
    /// When the first news came that nobody was told of yet. It stands here and not in the waiting future: that
    /// one is dropped whenever something else happens first, and what it had heard would be lost.
    since: Option<Instant>,
}

impl News {
    pub fn new() -> (Teller, Self) {
        let (tell, changes) = mpsc::unbounded_channel();
        (tell, Self { changes, since: None })
    }

    /// Ends when something was told and all has been quiet since; never, once nobody can tell any more.
    /// May be dropped at any time: what was heard is told by the next call.
    pub async fn quiet_for(&mut self, quiet: Duration) {
        if self.since.is_none() {
            if self.changes.recv().await.is_none() {
                return std::future::pending().await;
            }
            self.since = Some(Instant::now());
        }
        let latest = self.since.unwrap_or_else(Instant::now) + quiet * AT_MOST;
        while Instant::now() < latest {
            let until = latest.min(Instant::now() + quiet);
            if !matches!(timeout_at(until, self.changes.recv()).await, Ok(Some(()))) {
                break;
            }
        }
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn what_was_heard_by_a_wait_that_was_broken_off_is_told_by_the_next() {
        let (tell, mut news) = News::new();
        tell.send(()).unwrap();
        tokio::select! {
            biased;
            () = news.quiet_for(Duration::from_secs(3600)) => panic!("it was not quiet for an hour"),
            () = tokio::task::yield_now() => {}
        }
        news.quiet_for(QUIET).await;
        let more = tokio::time::timeout(QUIET * 5, news.quiet_for(QUIET)).await;
        assert!(more.is_err(), "and once only");
    }

    #[tokio::test]
    async fn who_never_stops_changing_is_heard_all_the_same() {
        let (tell, mut news) = News::new();
        let chatter = tokio::spawn(async move {
            while tell.send(()).is_ok() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        news.quiet_for(QUIET).await;
        chatter.abort();
    }
}
