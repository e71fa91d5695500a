//! Who asks, and what they may do where.

mod certificate;

pub use crate::rights::{Permission, Scopes};
pub use certificate::Certificate;

/// Who makes a request, as far as it had to be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Nobody asked: the repository is open for what was wanted.
    Anyone,
    /// Somebody on this machine, where nothing is configured.
    Local,
}

impl Principal {
    /// For the log: a name without control characters and without a secret; `None` for those without one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Anyone | Self::Local => None,
        }
    }

    /// ` by NAME`, or nothing.
    pub fn in_a_sentence(&self) -> String {
        self.name().map(|name| format!(" by {name}")).unwrap_or_default()
    }
}
