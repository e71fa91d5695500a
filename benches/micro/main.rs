//! The work done for one package, piece by piece: `cargo bench`, or `cargo bench -- join` for a part.
//!
//! Not part of `make test`. The packages come from benches/generator.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

mod header;
mod join;
mod rendering;
mod sums;

use createrepod::package::{ChecksumType, Intake, Location, Taken, Verify};
use createrepod::repodata::{Entry, Fragments, RenderOptions};
use createrepod_generator::{History, package};

fn main() {
    divan::main();
}

/// The first packages of a repository, as files.
fn packages(count: usize) -> Vec<Vec<u8>> {
    let history = History::new(1, count);
    history.items.iter().map(|item| package(&history, item).bytes).collect()
}

fn take(bytes: &[u8], verify: Verify) -> Taken {
    let mut intake = Intake::new(ChecksumType::Sha256, verify);
    bytes.chunks(64 << 10).for_each(|block| intake.feed(block).unwrap());
    intake.finish().unwrap()
}

fn render(taken: &Taken) -> Fragments {
    let location = Location::parse("Packages/h/hello-1.0-1.noarch.rpm").unwrap();
    let entry = Entry {
        pkgid: &taken.pkgid,
        location: &location,
        file_time: 1_700_000_000,
        size: taken.size,
        header_range: taken.header_range,
    };
    Fragments::render(
        &taken.package().unwrap(),
        &entry,
        &RenderOptions { changelog_limit: Some(10), filelists_ext: false },
    )
}
