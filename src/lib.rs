//! createrepod turns a directory of RPMs into a live yum/dnf repository.
//!
//! The modules stand in the order in which a package walks through them:
//!
//! ```text
//!  dav (PUT) ─> incoming ─> the tree on disk <── cp, rsync, build systems
//!                                  │
//!                                watch
//!       ┌───────── Dirty ──────────┘
//!       v
//!     scan ─ ChangeSet ─> catalog ─ Listing ─> repodata ─ Repomd ─> publish ─ Snapshot ─> serve
//! ```
//!
//! ARCHITECTURE.md draws the same picture with its reasons and says which room may import which.

// 1. words and formats: values in, values out
pub mod caught;
pub mod config;
pub mod crash;
pub mod package;
pub mod repodata;
pub mod rights;
pub mod tree;

// 2. hands: each touches exactly one outside thing; beneath: how all of them open what lies in a tree
pub mod auth;
pub mod beneath;
pub mod catalog;
pub mod databases;
pub mod fetch;
pub mod history;
pub mod incoming;
pub mod publish;
pub mod scan;
pub mod sign;
pub mod watch;
pub mod webhook;

// 3. flows: the stories
pub mod compat;
pub mod repository;

// 4. doors: where strangers come in
pub mod dav;
pub mod serve;

// 5. wiring
pub mod cli;
pub mod daemon;
pub mod logging;

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
#[cfg(test)]
mod layers;
