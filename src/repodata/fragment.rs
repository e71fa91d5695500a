//! One package's three pieces of XML: the unit of incremental work.

use super::{filelists, other, primary};
use crate::package::{HeaderRange, Location, Package, PkgId};

/// One package's entries in primary.xml, filelists.xml and other.xml: UTF-8 text from `<package`
/// to `</package>` and one newline.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fragments {
    pub primary: Vec<u8>,
    pub filelists: Vec<u8>,
    pub other: Vec<u8>,
}

/// What the metadata says of a package that its header does not.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    pub pkgid: &'a PkgId,
    pub location: &'a Location,
    /// mtime in seconds since the epoch.
    pub file_time: i64,
    /// Bytes.
    pub size: u64,
    pub header_range: HeaderRange,
}

/// Settings that change a fragment's bytes. A catalog made with others is made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderOptions {
    /// The last N changelog entries; `None` for all.
    pub changelog_limit: Option<usize>,
}

impl Fragments {
    /// Renders a package as createrepo_c 1.2 does.
    pub fn render(package: &Package<'_>, entry: &Entry<'_>, options: &RenderOptions) -> Self {
        let mut fragments = Self {
            primary: Vec::with_capacity(4 << 10),
            filelists: Vec::with_capacity(256 + 64 * package.files.len()),
            other: Vec::with_capacity(2 << 10),
        };
        primary::render(&mut fragments.primary, package, entry);
        filelists::render(&mut fragments.filelists, package, entry);
        other::render(&mut fragments.other, package, entry, options);
        fragments
    }

    /// The three texts in the order primary, filelists, other.
    pub fn texts(&self) -> [&[u8]; 3] {
        [&self.primary, &self.filelists, &self.other]
    }

    pub fn len(&self) -> usize {
        self.texts().iter().map(|t| t.len()).sum()
    }
}

#[cfg(test)]
mod tests;
