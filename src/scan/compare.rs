//! Holds what was seen against what was known. Pure.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::LookRules;
use super::walk::{Sighted, parents};
use crate::package::Location;
use crate::tree::{Differences, Dirty, FileStamp};

pub(super) fn compare(
    dirty: &Dirty,
    sighted: Sighted,
    known: &[(Location, FileStamp)],
    rules: &LookRules,
) -> Differences {
    let Sighted { mut files, unseen, mut refused, mut unread } = sighted;
    files.sort_unstable_by(|a, b| a.location.cmp(&b.location));
    files.dedup_by(|a, b| a.location == b.location);
    let mut known: Vec<&(Location, FileStamp)> = known.iter().collect();
    known.sort_by(|a, b| a.0.cmp(&b.0));
    refused.sort_unstable();
    refused.dedup();
    unread.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    unread.dedup_by(|a, b| a.path == b.path);

    let asked: HashSet<&str> = dirty.settled.union(&dirty.unsure).map(Location::as_str).collect();
    let unseen: HashSet<&str> = unseen.iter().map(String::as_str).collect();
    let is_gone = |location: &Location| {
        (dirty.everything || covers(&asked, location)) && !unseen.contains("") && !covers(&unseen, location)
    };

    let mut differences = Differences { refused, unread, ..Differences::default() };
    let mut known = known.into_iter().peekable();
    for found in files {
        let mut before = None;
        while let Some((location, stamp)) = known.peek() {
            match location.cmp(&found.location) {
                Ordering::Less if is_gone(location) => differences.gone.push(location.clone()),
                Ordering::Less => {}
                Ordering::Equal => before = Some(*stamp),
                Ordering::Greater => break,
            }
            known.next();
        }
        let unsure = !dirty.settled.contains(&found.location);
        match before {
            Some(stamp) if stamp == found.stamp => {}
            _ if unsure && is_young(&found.stamp, rules) => differences.unsettled.push(found),
            Some(stamp) if stamp.same_content_likely(&found.stamp) => differences.recheck.push(found),
            _ => differences.read.push(found),
        }
    }
    differences.gone.extend(known.map(|(location, _)| location).filter(|l| is_gone(l)).cloned());
    differences.read.sort_by_key(|found| found.stamp.mtime());
    differences
}

/// Whether `places` has the location or a directory it lies in.
fn covers(places: &HashSet<&str>, location: &Location) -> bool {
    !places.is_empty()
        && (places.contains(location.as_str()) || parents(location.as_str()).any(|p| places.contains(p)))
}

/// Whether a file was changed so lately that somebody may still be writing it.
///
/// A time further ahead than `settle` says nothing: then the change time decides, which nobody can
/// set; and where that is ahead too, the file server's clock is wrong and the file is taken.
fn is_young(stamp: &FileStamp, rules: &LookRules) -> bool {
    let Some(settle) = rules.settle else { return false };
    let settle = i64::try_from(settle.as_nanos()).unwrap_or(i64::MAX);
    let age = rules.now_ns.saturating_sub(stamp.mtime_ns);
    if age > settle.saturating_neg() {
        age < settle
    } else {
        (0..settle).contains(&rules.now_ns.saturating_sub(stamp.ctime_ns))
    }
}
