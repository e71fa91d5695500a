//! A client's TLS certificate as an identity.

/// A certificate whose chain and validity TLS has checked already; what remains is whom it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
}

impl Certificate {
    /// Takes the client's own certificate (the first of its chain), DER.
    pub fn from_der(der: &[u8]) -> Self {
        Self { der: der.to_vec() }
    }

    pub fn der(&self) -> &[u8] {
        &self.der
    }
}
