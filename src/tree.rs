//! What the tree looks like, what changed in it, and how that travels between rooms.

use std::collections::BTreeSet;

use crate::package::openpgp::Vouched;
use crate::package::{Location, Nevra, PkgId};
use crate::repodata::Fragments;

/// A file as last seen. Equal stamps mean the same bytes (product.md rule 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FileStamp {
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since the epoch; negative before 1970.
    pub mtime_ns: i64,
    pub ctime_ns: i64,
}

impl FileStamp {
    /// File time in whole seconds, as `<time file="…">` publishes it and the order of publication uses it (`catalog/order.rs`).
    pub fn mtime(&self) -> i64 {
        self.mtime_ns.div_euclid(1_000_000_000)
    }

    /// Whether only what chmod, restorecon, a hard-link backup or a remount changes differs, so
    /// that the entry may stay while the bytes are read again.
    pub fn same_content_likely(&self, other: &Self) -> bool {
        self.size == other.size && self.mtime_ns == other.mtime_ns
    }
}

/// Places in the tree where something happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Everything must be compared: events were lost, or it is time for the slow path.
    pub everything: bool,
    /// Files known to be complete (closed, moved in, linked, uploaded), and names that vanished:
    /// looked at now, whatever their age.
    pub settled: BTreeSet<Location>,
    /// Files that may still be written, and directories that appeared: a file there is taken only
    /// when its mtime is older than `settle`.
    pub unsure: BTreeSet<Location>,
}

impl Dirty {
    pub fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    pub fn settled(location: Location) -> Self {
        Self::all_settled([location])
    }

    pub fn all_settled(locations: impl IntoIterator<Item = Location>) -> Self {
        Self { settled: locations.into_iter().collect(), ..Self::default() }
    }

    pub fn unsure(location: Location) -> Self {
        Self { unsure: BTreeSet::from([location]), ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        !self.everything && self.settled.is_empty() && self.unsure.is_empty()
    }

    pub fn merge(&mut self, other: Self) {
        self.everything |= other.everything;
        self.settled.extend(other.settled);
        self.unsure.extend(other.unsure);
    }
}

/// A package file found in the tree, not read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub location: Location,
    pub stamp: FileStamp,
}

/// A package that was read, checked and rendered.
#[derive(Debug, Clone)]
pub struct Scanned {
    pub location: Location,
    pub stamp: FileStamp,
    pub pkgid: PkgId,
    pub nevra: Nevra,
    pub fragments: Fragments,
    /// Whose signatures were found good when it was read; none where nobody asked.
    pub vouched: Vec<Vouched>,
}

/// A file that is not published, and why, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    pub location: Location,
    pub stamp: FileStamp,
    pub reason: String,
}

/// What the system could not tell for now of a file or directory. It says nothing of what lies there: what was known of
/// it stays, and it is looked at again soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Relative to the root, which is the empty text.
    pub path: String,
    /// In one line.
    pub reason: String,
    /// Whether it was only on the move: written to, renamed or removed in the middle of a look. Ordinary as long as it
    /// does not last.
    pub moving: bool,
}

/// Why a package was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotTaken {
    /// Its bytes say so: reading them again changes nothing.
    Rejected(Rejected),
    /// The system says so.
    Unread(Unread),
}

/// What a look at the tree found, held against what the catalog knew: the work to do.
#[derive(Debug, Default)]
pub struct Differences {
    /// New, or changed by size or mtime: to be read. Oldest first.
    pub read: Vec<Found>,
    /// Only inode or ctime differ: the entry stays, the file is read again at low priority.
    pub recheck: Vec<Found>,
    /// No longer there.
    pub gone: Vec<Location>,
    /// Too young to be trusted as complete: look again after `settle`.
    pub unsettled: Vec<Found>,
    /// Names that cannot be published (not UTF-8, a link that leaves the tree): `(path, reason)`.
    pub refused: Vec<(String, String)>,
    /// Places that nothing could be seen of.
    pub unread: Vec<Unread>,
}
