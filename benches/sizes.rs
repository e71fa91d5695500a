//! How large the metadata of real repositories are when they are cut as we cut them, beside the same in
//! one stream, and how long both take to decode:
//!
//! ```text
//! cargo bench --bench sizes -- DIRECTORY…
//! ```
//!
//! Each directory holds a `repodata/` that anybody made; the packages themselves are not needed.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use createrepod::catalog::Frontier;
use createrepod::package::Location;
use createrepod::repodata::chunk::{Cutter, groups};
use createrepod::repodata::codec::Limits;
use createrepod::repodata::read::Packages;
use createrepod::repodata::{Codec, Compression, Effort, Repomd};

struct Package {
    location: Location,
    mtime: i64,
    pkgid_end: [u8; 4],
    texts: [String; 3],
}

impl Package {
    fn bytes(&self) -> u64 {
        self.texts.iter().map(|text| text.len() as u64).sum()
    }
}

fn main() {
    for directory in std::env::args().skip(1).filter(|argument| !argument.starts_with("--")) {
        compare(&directory, read(Path::new(&directory)));
    }
}

fn read(directory: &Path) -> Vec<Package> {
    let repomd =
        Repomd::read(io::BufReader::new(File::open(directory.join("repodata/repomd.xml")).unwrap())).unwrap();
    let open = |kind: &str| -> Box<dyn BufRead + Send> {
        let file = File::open(directory.join(&repomd.record(kind).unwrap().href)).unwrap();
        Codec::open(file, Limits { open_size: None }).unwrap()
    };
    let mut packages = Packages::new(open("primary"), open("filelists"), open("other")).unwrap();
    let mut list = Vec::new();
    while let Some(foreign) = packages.next_package().unwrap() {
        let text = |text: Option<String>| text.map(|text| text + "\n").unwrap_or_default();
        list.push(Package {
            location: Location::parse(&foreign.facts.href).unwrap(),
            mtime: foreign.facts.file_time,
            pkgid_end: foreign.facts.checksum().unwrap().end()[12..].try_into().unwrap(),
            texts: [text(Some(foreign.primary)), text(foreign.filelists), text(foreign.other)],
        });
    }
    list
}

fn compare(name: &str, mut list: Vec<Package>) {
    // createrepo_c's order.
    list.sort_by(|a, b| (a.location.file_name(), &a.location).cmp(&(b.location.file_name(), &b.location)));
    let raw = [0, 1, 2].map(|kind| joined(&list, kind));
    println!("{name}: {} packages, {} KiB", list.len(), raw.iter().map(Vec::len).sum::<usize>() >> 10);
    let zstd = raw.each_ref().map(|raw| one_stream(Codec::Zstd, raw));
    let gzip = raw.each_ref().map(|raw| one_stream(Codec::Gzip, raw));
    for (what, frontier) in [
        ("all settled", Frontier { since: i64::MAX }),
        ("as it is", Frontier::of(list.iter().map(|package| package.mtime).collect())),
        ("all young", Frontier::NONE),
    ] {
        list.sort_by_cached_key(|package| frontier.key(package.mtime, package.location.clone()));
        let young = list.partition_point(|package| package.mtime < frontier.since);
        let mut pieces = cut(&list[..young], true);
        pieces.extend(cut(&list[young..], false));
        for (compression, single) in [(Compression::Zstd, &zstd), (Compression::Gzip, &gzip)] {
            let started = Instant::now();
            let files = [0, 1, 2].map(|kind| file(compression, &list, &pieces, kind));
            let spent = started.elapsed();
            let grown = |at: usize| percent(files[at].len(), single[at].len());
            let (ours, theirs) = (files.each_ref().map(Vec::len), single.each_ref().map(Vec::len));
            println!(
                "  {what}, {} pieces, {}: {} KiB {:+.1} % (primary {:+.1}, filelists {:+.1}, other {:+.1}), \
                 decoding {:.2}, compressed in {} ms",
                pieces.len(),
                compression.suffix(),
                ours.iter().sum::<usize>() >> 10,
                percent(ours.iter().sum(), theirs.iter().sum()),
                grown(0),
                grown(1),
                grown(2),
                decoding(&files).as_secs_f64() / decoding(single).as_secs_f64(),
                spent.as_millis()
            );
        }
    }
}

/// Where pieces end: how many packages each has, and how well it is compressed.
fn cut(list: &[Package], settled: bool) -> Vec<(usize, Effort)> {
    let mut cutter = Cutter::default();
    let (mut pieces, mut start) = (Vec::new(), 0);
    for (at, package) in list.iter().enumerate() {
        if cutter.ends_after(package.pkgid_end, package.bytes()) {
            pieces.push((at + 1 - start, Effort::Thorough));
            start = at + 1;
        }
    }
    if settled {
        pieces.extend((start < list.len()).then_some((list.len() - start, Effort::Thorough)));
    } else {
        pieces
            .extend(groups(list[start..].iter().map(Package::bytes)).iter().map(|g| (g.packages, g.effort)));
    }
    pieces
}

fn file(compression: Compression, list: &[Package], pieces: &[(usize, Effort)], kind: usize) -> Vec<u8> {
    let mut file = compression.head().to_vec();
    let mut rest = list;
    let mut crc = crc32fast::Hasher::new();
    for &(packages, effort) in pieces {
        let (piece, after) = rest.split_at(packages);
        let raw = joined(piece, kind);
        crc.update(&raw);
        file.extend(compression.piece(effort, &raw).unwrap());
        rest = after;
    }
    file.extend(compression.tail(crc.finalize(), list.iter().map(|p| p.texts[kind].len() as u64).sum()));
    file
}

fn joined(list: &[Package], kind: usize) -> Vec<u8> {
    list.iter().flat_map(|package| package.texts[kind].bytes()).collect()
}

fn one_stream(codec: Codec, raw: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = codec.create(&mut file).unwrap();
    encoder.write_all(raw).unwrap();
    encoder.finish().unwrap();
    file
}

/// The shortest time of several.
fn decoding(files: &[Vec<u8>; 3]) -> Duration {
    let once = || {
        let started = Instant::now();
        for file in files {
            let mut text = Codec::open(&file[..], Limits { open_size: None }).unwrap();
            io::copy(&mut text, &mut io::sink()).unwrap();
        }
        started.elapsed()
    };
    (0..5).map(|_| once()).min().unwrap_or_default()
}

fn percent(ours: usize, theirs: usize) -> f64 {
    (ours as f64 / theirs as f64 - 1.0) * 100.0
}
