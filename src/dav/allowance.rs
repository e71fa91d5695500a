//! How much of the door's memory locks and names without content may take: in all, and of one holder.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::Holder;

/// Locks and names together, and their bytes, in all repositories.
const MOST: Spent = Spent { things: 5000, bytes: 8 << 20 };
/// Of one holder.
pub(super) const SHARE: Spent = Spent { things: 500, bytes: 1 << 20 };

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) things: usize,
    bytes: usize,
}

impl Spent {
    fn and(self, bytes: usize) -> Self {
        Self { things: self.things + 1, bytes: self.bytes + bytes }
    }

    fn fits(self, within: Self) -> bool {
        self.things <= within.things && self.bytes <= within.bytes
    }
}

/// What is taken now.
#[derive(Debug, Default)]
pub(super) struct Allowance(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    sum: Spent,
    by: HashMap<Holder, Spent>,
}

/// Room for one thing; given back when dropped.
#[derive(Debug)]
pub(super) struct Taken {
    of: Arc<Allowance>,
    holder: Holder,
    bytes: usize,
}

impl Allowance {
    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for a thing of so many bytes; `None` when there is none, in all or for this holder.
    pub(super) fn take(self: &Arc<Self>, holder: &Holder, bytes: usize) -> Option<Taken> {
        let mut all = self.all();
        let sum = all.sum.and(bytes);
        let theirs = all.by.get(holder).copied().unwrap_or_default().and(bytes);
        if !sum.fits(MOST) || !theirs.fits(SHARE) {
            return None;
        }
        all.sum = sum;
        all.by.insert(holder.clone(), theirs);
        Some(Taken { of: Arc::clone(self), holder: holder.clone(), bytes })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut all = self.of.all();
        all.sum.things -= 1;
        all.sum.bytes -= self.bytes;
        if let Some(theirs) = all.by.get_mut(&self.holder) {
            theirs.things -= 1;
            theirs.bytes -= self.bytes;
            if theirs.things == 0 {
                all.by.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(number: u8) -> Holder {
        Holder::At(Some([192, 0, 2, number].into()))
    }

    #[test]
    fn one_has_a_share_and_all_have_no_more_than_there_is() {
        let allowance = Arc::new(Allowance::default());
        let mut taken: Vec<Taken> =
            (0..SHARE.things).filter_map(|_| allowance.take(&holder(0), 10)).collect();
        assert_eq!(taken.len(), SHARE.things);
        assert!(allowance.take(&holder(0), 0).is_none() && allowance.take(&holder(1), 0).is_some());
        assert!(allowance.take(&holder(1), SHARE.bytes + 1).is_none(), "bytes count as well");
        for number in 1..=u8::MAX {
            taken.extend(std::iter::from_fn(|| allowance.take(&holder(number), 10)));
        }
        assert_eq!(taken.len(), MOST.things);
        taken.clear();
        let all = allowance.all();
        assert!(all.sum == Spent::default() && all.by.is_empty(), "what is dropped is given back");
    }
}
