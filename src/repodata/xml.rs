//! Escaping, and what to do with characters XML forbids.
