//! How much memory one package may take: product.md's rule 7.

use super::turn::MEMORY;
use super::{BadPackage, ChangelogEntry, Dependency, Package, PackageFile, Text};

/// A character takes at most this many more bytes once it is written as a reference (`&#xFFFD;` for one byte).
const ESCAPE: u64 = 7;
/// Tags and quotes around one dependency, the attribute names of its version, and its place in the sets that find repetitions.
const AROUND_DEPENDENCY: u64 = 40;
const AROUND_VERSION: u64 = 40;
const AROUND_PROVIDE: u64 = 24;
const AROUND_REQUIRE: u64 = 72;
/// The tags around one file, twice, and its place in the set of own files.
const AROUND_FILE: u64 = 140;
const AROUND_CHANGE: u64 = 60;

/// Counts memory before it is taken, because a small header can ask for much: the same directory
/// is written out for each of its files.
pub struct Budget {
    /// Bytes: the headers, what is read out of them, and the metadata written from that.
    limit: u64,
    is_over: bool,
    spent: u64,
    /// Bytes of all paths written out.
    paths: u64,
    header_len: u64,
}

impl Budget {
    /// `header_len`: bytes of both headers. `limit`: how many bytes there are.
    pub fn new(header_len: usize, limit: u64) -> Self {
        let header_len = header_len as u64;
        Self { limit, is_over: header_len > limit, spent: header_len, paths: 0, header_len }
    }

    /// Whether the package was refused because it would take more than the limit.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Texts of the header, which may have had to be recoded.
    pub fn texts<'t, 'h: 't>(
        &mut self,
        texts: impl IntoIterator<Item = &'t Text<'h>>,
    ) -> Result<(), BadPackage> {
        let owned = |text: &Text<'_>| match text {
            Text::Borrowed(_) => 0,
            Text::Owned(text) => text.capacity() as u64,
        };
        self.spend(texts.into_iter().map(owned).sum())
    }

    /// An empty list with room for `count` elements.
    pub fn list<T>(&mut self, count: usize) -> Result<Vec<T>, BadPackage> {
        self.spend((count as u64).saturating_mul(size_of::<T>() as u64))?;
        Ok(Vec::with_capacity(count))
    }

    /// A path of `len` bytes, which may have to be copied.
    pub fn path(&mut self, len: usize) -> Result<(), BadPackage> {
        self.paths += len as u64;
        self.spend(len as u64)
    }

    fn spend(&mut self, bytes: u64) -> Result<(), BadPackage> {
        self.spent = self.spent.saturating_add(bytes);
        if self.spent <= self.limit {
            return Ok(());
        }
        self.is_over = true;
        Err(too_much())
    }

    /// Adds what the metadata of `package` will take.
    pub fn check_rendering(&mut self, package: &Package<'_>) -> Result<(), BadPackage> {
        let all = dependencies(package).map(<[_]>::len).sum::<usize>() as u64;
        let around = all * (AROUND_DEPENDENCY + AROUND_VERSION)
            + package.provides.len() as u64 * AROUND_PROVIDE
            + package.requires.len() as u64 * AROUND_REQUIRE
            + package.files.len() as u64 * AROUND_FILE
            + package.changelogs.len() as u64 * AROUND_CHANGE;
        // Name and version stand in all three files, a path in two of them, and in the set of own files.
        let worst = (3 * self.header_len + 2 * self.paths) * (1 + ESCAPE) + self.paths;
        if self.spent + around + worst <= self.limit {
            return Ok(());
        }
        let plain = |entry: &&Dependency<'_>| entry.evr.is_empty();
        let unsaid = dependencies(package).flatten().filter(plain).count() as u64 * AROUND_VERSION;
        self.spend(around - unsaid + self.paths)?;
        self.spend(written(package))
    }
}

/// The refusal of a package that would take more than one may take.
pub fn too_much() -> BadPackage {
    BadPackage::Malformed(format!(
        "reading it would take more than the {} MiB a package may take",
        MEMORY >> 20
    ))
}

fn dependencies<'p, 'h>(package: &'p Package<'h>) -> impl Iterator<Item = &'p [Dependency<'h>]> {
    [
        &package.provides,
        &package.requires,
        &package.conflicts,
        &package.obsoletes,
        &package.suggests,
        &package.enhances,
        &package.recommends,
        &package.supplements,
    ]
    .into_iter()
    .map(Vec::as_slice)
}

/// Bytes of text the metadata of `package` takes, rounded up.
fn written(package: &Package<'_>) -> u64 {
    let everywhere = [&package.name, &package.version, &package.release, &package.arch];
    let once = [
        &package.summary,
        &package.description,
        &package.packager,
        &package.url,
        &package.license,
        &package.vendor,
        &package.group,
        &package.build_host,
        &package.source_rpm,
    ];
    let file = |file: &PackageFile<'_>| 2 * (escaped(&file.directory) + escaped(&file.base_name));
    let change = |entry: &ChangelogEntry<'_>| escaped(&entry.author) + escaped(&entry.text);
    everywhere.iter().map(|text| 3 * escaped(text)).sum::<u64>()
        + once.iter().map(|text| escaped(text)).sum::<u64>()
        + dependencies(package).flatten().map(|entry| escaped(&entry.name) + escaped(&entry.evr)).sum::<u64>()
        + package.files.iter().map(file).sum::<u64>()
        + package.changelogs.iter().map(change).sum::<u64>()
}

fn escaped(text: &str) -> u64 {
    let plain = |byte: &&u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b'<' | b'>' | b'&' | b'"');
    text.len() as u64 + ESCAPE * text.as_bytes().iter().filter(|byte| !plain(byte)).count() as u64
}
