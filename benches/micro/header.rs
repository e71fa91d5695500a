//! A hundred packages from bytes to what their headers say.

use createrepod::package::{Taken, Verify};
use divan::Bencher;
use divan::counter::BytesCount;

use crate::{packages, take};

/// Checksum, header and header digests; with `Digest` the payload's too.
#[divan::bench(args = [Verify::Header, Verify::Digest])]
fn intake(bencher: Bencher<'_, '_>, verify: Verify) {
    let packages = packages(100);
    let bytes: usize = packages.iter().map(Vec::len).sum();
    bencher
        .counter(BytesCount::new(bytes))
        .bench(|| packages.iter().map(|bytes| take(bytes, verify).size).sum::<u64>());
}

/// The header's lists alone.
#[divan::bench]
fn package(bencher: Bencher<'_, '_>) {
    let taken: Vec<Taken> = packages(100).iter().map(|bytes| take(bytes, Verify::Header)).collect();
    bencher.bench(|| taken.iter().map(|taken| taken.package().unwrap().files.len()).sum::<usize>());
}
