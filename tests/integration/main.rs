//! The promises of the manual, kept by the real program and read by real clients.
//!
//! `make test` installs the clients. One that is missing is skipped with a loud line, or, with
//! `CREATEREPOD_REQUIRE_CLIENTS=1`, a failure. No test decides on times: each waits for a condition.

// A test that unwraps in vain has failed, and says where.
#![allow(clippy::unwrap_used, clippy::panic)]

mod world;

mod access;
mod additional;
mod adopt;
mod batches;
mod bounds;
mod browser;
mod cases;
mod catalog;
mod check;
mod clients;
mod closed;
mod compat;
mod config;
mod control;
mod crash;
mod createrepo_c;
mod databases;
mod digests;
mod doors;
mod faults;
mod fetchable;
mod foreign;
mod front;
mod hostile;
mod incremental;
mod keeps_on;
mod limits;
mod lock;
mod many;
mod odd;
mod pair;
mod planted;
mod powercut;
mod profiles;
mod publish;
mod read;
mod removal;
mod sign;
mod soak;
mod strangers;
mod systemd;
mod together;
mod trees;
mod trust;
mod upload;
mod verify;
mod watch;
mod webdav;
mod webhook;
