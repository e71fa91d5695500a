//! Faults of the machine around the daemon: each with a clear message, and in the end as if it had not been.
//!
//! More of them lie where their subject is; docs/reliability.md lists all.

mod calls;
mod descriptors;
mod mounts;
mod races;
mod rights;
mod sandbox;
mod space;
mod state;
mod tree;
