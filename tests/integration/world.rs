//! What the tests act on: a tree, packages to put in it, a daemon that watches it, and real clients that read it.

pub mod authority;
pub mod clients;
pub mod daemon;
pub mod dnf;
/// Headers, well-formed and other: the library's own tests use the same file.
#[path = "../../src/package/testing.rs"]
pub mod header;
pub mod http;
pub mod metadata;
pub mod namespace;
pub mod rpms;
pub mod tree;

use std::fmt::{Debug, Display};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use daemon::Daemon;
pub use metadata::Metadata;
pub use rpms::Rpm;
pub use tree::Tree;

/// How long a test waits for something that must come. Only a failure takes this long.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until `look` finds something; panics after `limit`, saying what was waited for.
pub fn eventually<T>(limit: Duration, what: impl Display, mut look: impl FnMut() -> Option<T>) -> T {
    eventually_ok(limit, what, || look().ok_or("it did not come"))
}

/// Like [`eventually`], and says what was wrong at the last look.
pub fn eventually_ok<T, E: Debug>(
    limit: Duration,
    what: impl Display,
    mut look: impl FnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) => assert!(start.elapsed() < limit, "waited {limit:?} in vain: {what}: {why:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sets what threads wait for once it is dropped, also where a test fails: a scope waits for its threads before it tells why,
/// and would wait for ever.
pub struct AtLast<'a>(pub &'a AtomicBool);

impl Drop for AtLast<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Says on the terminal that something was not tested, past the capture of the test harness.
pub fn skipped(why: impl Display) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// The folder of shared material (corpora), if it is there: `CREATEREPOD_SHARED`, or beside the project.
pub fn shared() -> Option<PathBuf> {
    let place = std::env::var_os("CREATEREPOD_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    place.join("corpus").is_dir().then_some(place)
}

/// A stream of numbers that is the same in every run: xorshift64*.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}
