//! A token as it is remembered: everything but its secret.

use super::Grant;

/// A credential that was made here. Of its secret only the SHA-256 is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Part of the text its holder has; says which token it is, and is no secret.
    pub id: String,
    /// What people call it; no two have the same.
    pub name: String,
    /// SHA-256 of the whole text.
    pub hash: [u8; 32],
    /// After a rotation: the SHA-256 of the text before, and until when it still counts.
    pub before: Option<([u8; 32], u64)>,
    pub grant: Grant,
    /// Times in seconds since the epoch; when its secret was made.
    pub made: u64,
    pub expires: Option<u64>,
    pub last_used: Option<u64>,
}

/// Where tokens are remembered. Everything here blocks.
pub trait TokenStore: Send + Sync {
    /// The token of this id as it is at this moment: one that was revoked is not found.
    fn find(&self, id: &str) -> anyhow::Result<Option<Token>>;

    /// Notes that it was used at `now` (seconds since the epoch).
    fn used(&self, id: &str, now: u64) -> anyhow::Result<()>;
}
