//! What is wrong with a metadata file that somebody else wrote.

/// Displays as one line: the kind of file and what is wrong in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed {file}: {why}")]
pub struct FormatError {
    /// `repomd.xml`, `primary.xml` …
    pub file: &'static str,
    pub why: String,
}
