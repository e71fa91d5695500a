//! Lines of the log that strangers can bring about are few in sum: a flood of them costs the log no more than [`BURST`]
//! lines and then one each [`EACH`]. What is left out is counted, and told with the next line.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines at once.
const BURST: u32 = 100;
/// One more line after each such time.
const EACH: Duration = Duration::from_secs(1);

/// Lines of one kind.
#[derive(Debug, Default)]
pub struct FewLines {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When all [`BURST`] lines may be written again.
    whole_again: Option<Instant>,
    left_out: u64,
}

/// How many lines were left out before one; displays as what is added to that line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut(pub(super) u64);

impl FewLines {
    pub const fn new() -> Self {
        Self { state: Mutex::new(State { whole_again: None, left_out: 0 }) }
    }

    /// Whether a line may be written now. `None`: it is counted.
    pub fn one(&self) -> Option<LeftOut> {
        self.one_at(Instant::now())
    }

    fn one_at(&self, now: Instant) -> Option<LeftOut> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let whole_again = state.whole_again.unwrap_or(now).max(now) + EACH;
        if whole_again > now + EACH * BURST {
            state.left_out += 1;
            return None;
        }
        state.whole_again = Some(whole_again);
        Some(LeftOut(std::mem::take(&mut state.left_out)))
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(" (1 line like this one was left out before it)"),
            many => write!(f, " ({many} lines like this one were left out before it)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_few_lines_and_what_is_left_out_is_told() {
        let (few, start) = (FewLines::new(), Instant::now());
        let told = (0..10_000).filter(|_| few.one_at(start).is_some()).count();
        assert_eq!(told, BURST as usize);
        let later = start + EACH;
        let next = few.one_at(later).unwrap();
        assert_eq!(next, LeftOut(10_000 - u64::from(BURST)));
        assert_eq!(next.to_string(), " (9900 lines like this one were left out before it)");
        assert_eq!(LeftOut(0).to_string(), "");
        assert_eq!(few.one_at(later), None);
        let much_later = start + EACH * (BURST * 3);
        let told = (0..10_000).filter(|_| few.one_at(much_later).is_some()).count();
        assert_eq!(told, BURST as usize);
    }
}
