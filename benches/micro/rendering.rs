//! A hundred packages from header to XML, and XML to pieces.

use createrepod::package::{Taken, Verify};
use createrepod::repodata::{Compression, Effort, Fragments};
use divan::Bencher;
use divan::counter::BytesCount;

use crate::{packages, render, take};

/// All three fragments of each package.
#[divan::bench]
fn fragments(bencher: Bencher<'_, '_>) {
    let taken: Vec<Taken> = packages(100).iter().map(|bytes| take(bytes, Verify::Header)).collect();
    let bytes: usize = taken.iter().map(|taken| render(taken).len()).sum();
    bencher
        .counter(BytesCount::new(bytes))
        .bench(|| taken.iter().map(|taken| render(taken).len()).sum::<usize>());
}

/// A closed chunk of 256 packages, and the 16 of the open run.
#[divan::bench(args = ["zstd closed", "zstd open", "gzip closed", "gzip open"])]
fn pieces(bencher: Bencher<'_, '_>, which: &str) {
    let (codec, kind) = which.split_once(' ').unwrap();
    let (count, effort) = if kind == "closed" { (256, Effort::Thorough) } else { (16, Effort::Quick) };
    let compression = if codec == "zstd" { Compression::Zstd } else { Compression::Gzip };
    let fragments: Vec<Fragments> =
        packages(count).iter().map(|bytes| render(&take(bytes, Verify::Header))).collect();
    let files: Vec<Vec<u8>> =
        (0..3).map(|at| fragments.iter().flat_map(|f| f.texts()[at]).copied().collect()).collect();
    let bytes: usize = files.iter().map(Vec::len).sum();
    bencher
        .counter(BytesCount::new(bytes))
        .bench(|| files.iter().map(|raw| compression.piece(effort, raw).unwrap().len()).sum::<usize>());
}
