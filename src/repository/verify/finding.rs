//! What can be wrong, in words a person can act on.

use std::fmt;

use crate::package::Location;

/// One thing that is not as it was published. Displays as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Same size and times, other bytes.
    Rotten {
        location: Location,
    },
    /// Changed since it was indexed, and not taken up.
    Changed {
        location: Location,
    },
    Missing {
        location: Location,
    },
    Unreadable {
        location: Location,
        why: String,
    },
    /// A package for which no key of today's keyring vouches, where that is asked for.
    Untrusted {
        location: Location,
        why: String,
    },
    /// A package nobody has taken up.
    NotIndexed {
        location: Location,
    },
    /// A file in repodata/ that is not what repomd.xml, or its own name, says.
    Metadata {
        name: String,
        why: String,
    },
    /// A file in repodata/ that is not ours.
    Foreign {
        name: String,
    },
    /// The catalog does not hold what was written into it.
    Catalog {
        why: String,
    },
    /// What metadata is made of is damaged, so that the next publication would be.
    Pieces,
}

impl Finding {
    /// The package it is about.
    pub fn location(&self) -> Option<&Location> {
        match self {
            Self::Rotten { location }
            | Self::Changed { location }
            | Self::Missing { location }
            | Self::Unreadable { location, .. }
            | Self::Untrusted { location, .. }
            | Self::NotIndexed { location } => Some(location),
            Self::Metadata { .. } | Self::Foreign { .. } | Self::Catalog { .. } | Self::Pieces => None,
        }
    }

    /// In one word, for machines.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Rotten { .. } => "rotten",
            Self::Changed { .. } => "changed",
            Self::Missing { .. } => "missing",
            Self::Unreadable { .. } => "unreadable",
            Self::Untrusted { .. } => "untrusted",
            Self::NotIndexed { .. } => "not-indexed",
            Self::Metadata { .. } => "metadata",
            Self::Foreign { .. } => "foreign",
            Self::Catalog { .. } => "catalog",
            Self::Pieces => "pieces",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rotten { location } => write!(
                f,
                "{location}: its bytes have changed although its size and times have not (the disk?); \
                 bring it back from where it came from"
            ),
            Self::Changed { location } => write!(f, "{location}: it was changed and is not indexed anew"),
            Self::Missing { location } => write!(f, "{location}: it is published, but not there"),
            Self::Unreadable { location, why } => write!(f, "{location}: it cannot be read: {why}"),
            Self::Untrusted { location, why } => {
                write!(f, "{location}: it is published, and no key of the keyring vouches for it: {why}")
            }
            Self::NotIndexed { location } => write!(f, "{location}: it is there, but not indexed"),
            Self::Metadata { name, why } => write!(f, "repodata/{name}: {why}"),
            Self::Foreign { name } => write!(f, "repodata/{name}: it is not ours"),
            Self::Catalog { why } => write!(f, "the catalog: {why}; the next change makes it anew"),
            Self::Pieces => f.write_str("the catalog: pieces that metadata is made of are damaged"),
        }
    }
}
