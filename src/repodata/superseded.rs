//! Metadata files that a newer publication has taken the place of.

/// A superseded file, kept for clients that hold the repomd.xml that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superseded {
    /// In `repodata/`.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Seconds since the epoch.
    pub superseded_at: u64,
}
