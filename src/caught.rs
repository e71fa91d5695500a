//! Panics of libraries that were given a stranger's bytes: they are an answer, and no bug of ours.
//!
//! Whoever sends such bytes must not fill the log, so the hook that tells of panics asks here first.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Runs what a library does with a stranger's bytes; `None` where it panicked. What it leaves half done must not be used.
pub fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    let before = IS_CAUGHT.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    IS_CAUGHT.set(before);
    done.ok()
}

/// Whether a panic on this thread, now, ends in [`caught`]; for hooks.
pub fn is_caught() -> bool {
    IS_CAUGHT.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_none_and_only_what_is_inside_counts() {
        assert_eq!(caught(|| (is_caught(), caught(|| 1), is_caught())), Some((true, Some(1), true)));
        assert_eq!(caught(|| -> u8 { std::panic::resume_unwind(Box::new(())) }), None);
        assert!(!is_caught());
    }
}
