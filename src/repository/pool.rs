//! The few threads that do the work of all repositories, and the clock that reminds them: a thousand
//! quiet repositories cost no thread, and a thousand busy ones no more than a few.

use std::collections::{BinaryHeap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tracing::error;

use super::{Shared, lock, worker};

/// Repositories that have something to do, in the order in which they asked.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Arc<Shared>>,
    threads: usize,
    idle: usize,
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue { waiting: VecDeque::new(), threads: 0, idle: 0 });
static ASKED: Condvar = Condvar::new();

/// How long a thread without work stays.
const STAY: Duration = Duration::from_secs(10);

/// How many repositories are worked on at once. Reading and compressing use every core by themselves.
fn most_threads() -> usize {
    std::thread::available_parallelism().map_or(4, usize::from).max(2) * 2
}

/// Gives a repository its turn as soon as a thread is free. It must not be waiting already.
pub fn push(shared: Arc<Shared>) {
    let mut queue = lock(&QUEUE);
    queue.waiting.push_back(shared);
    // An idle thread takes one repository; it may be long about it.
    if queue.waiting.len() > queue.idle && queue.threads < most_threads() {
        queue.threads += 1;
        if let Err(cause) = std::thread::Builder::new().name("repository".into()).spawn(serve) {
            queue.threads -= 1;
            error!("cannot start a thread to keep repositories up to date: {cause}");
        }
    }
    ASKED.notify_one();
}

/// Whether a repository waits for a thread.
pub fn has_waiting() -> bool {
    !lock(&QUEUE).waiting.is_empty()
}

fn serve() {
    let mut queue = lock(&QUEUE);
    loop {
        if let Some(shared) = queue.waiting.pop_front() {
            drop(queue);
            worker::turn(&shared);
            drop(shared);
            queue = lock(&QUEUE);
            continue;
        }
        queue.idle += 1;
        let (woken, timeout) = ASKED.wait_timeout(queue, STAY).unwrap_or_else(PoisonError::into_inner);
        queue = woken;
        queue.idle -= 1;
        if timeout.timed_out() && queue.waiting.is_empty() {
            queue.threads -= 1;
            return;
        }
    }
}

/// Wakes repositories when their time has come.
struct Timer {
    due: Mutex<BinaryHeap<Alarm>>,
    sooner: Condvar,
}

struct Alarm {
    at: Instant,
    shared: Weak<Shared>,
}

impl PartialEq for Alarm {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Alarm {}

impl PartialOrd for Alarm {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Alarm {
    /// The earliest is the greatest, so that the heap yields it first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.at.cmp(&self.at)
    }
}

/// Gives `shared` a turn at `at`.
pub fn remind(at: Instant, shared: &Arc<Shared>) {
    static TIMER: OnceLock<Timer> = OnceLock::new();
    let timer = TIMER.get_or_init(|| {
        let spawned = std::thread::Builder::new().name("reminder".into()).spawn(|| TIMER.wait().run());
        if let Err(cause) = spawned {
            error!(
                "cannot start the thread that keeps time: {cause}; put-off work waits for the next change"
            );
        }
        Timer { due: Mutex::default(), sooner: Condvar::new() }
    });
    lock(&timer.due).push(Alarm { at, shared: Arc::downgrade(shared) });
    timer.sooner.notify_one();
}

impl Timer {
    fn run(&self) {
        let mut due = lock(&self.due);
        loop {
            let now = Instant::now();
            let wait = due.peek().map(|alarm| alarm.at.saturating_duration_since(now));
            match wait {
                Some(Duration::ZERO) => {
                    let alarm = due.pop();
                    drop(due);
                    if let Some(shared) = alarm.and_then(|alarm| alarm.shared.upgrade()) {
                        worker::wake(&shared);
                    }
                    due = lock(&self.due);
                }
                Some(wait) => {
                    due = self.sooner.wait_timeout(due, wait).unwrap_or_else(PoisonError::into_inner).0;
                }
                None => due = self.sooner.wait(due).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}
