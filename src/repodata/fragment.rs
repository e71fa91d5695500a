//! One package's pieces of XML, one for each file: the unit of incremental work.

use super::repomd::KINDS;
use super::{filelists, filelists_ext, other, primary};
use crate::package::{HeaderRange, Location, Package, PkgId};

/// One package's entries in primary.xml, filelists.xml, other.xml and, where it is wanted,
/// filelists-ext.xml: UTF-8 text from `<package` to `</package>` and one newline.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fragments {
    pub primary: Vec<u8>,
    pub filelists: Vec<u8>,
    pub other: Vec<u8>,
    /// Empty unless [`RenderOptions::filelists_ext`] asks for it.
    pub filelists_ext: Vec<u8>,
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
    /// Whether filelists-ext.xml is made too.
    pub filelists_ext: bool,
}

impl Fragments {
    /// Renders a package as createrepo_c 1.2 does.
    pub fn render(package: &Package<'_>, entry: &Entry<'_>, options: &RenderOptions) -> Self {
        let mut fragments = Self {
            primary: Vec::with_capacity(4 << 10),
            filelists: Vec::with_capacity(256 + 64 * package.files.len()),
            other: Vec::with_capacity(2 << 10),
            filelists_ext: Vec::new(),
        };
        primary::render(&mut fragments.primary, package, entry);
        filelists::render(&mut fragments.filelists, package, entry);
        other::render(&mut fragments.other, package, entry, options);
        if options.filelists_ext {
            filelists_ext::render(&mut fragments.filelists_ext, package, entry);
        }
        fragments
    }

    /// The texts in the order of [`MetadataType::EVERY`](super::MetadataType::EVERY).
    pub fn texts(&self) -> [&[u8]; KINDS] {
        [&self.primary, &self.filelists, &self.other, &self.filelists_ext]
    }

    pub fn len(&self) -> usize {
        self.texts().iter().map(|t| t.len()).sum()
    }
}

#[cfg(test)]
mod tests;
