//! What one RPM says about itself.

pub mod checksum;
mod cost;
mod dependencies;
mod digests;
pub mod header;
pub mod intake;
pub mod location;
pub mod nevra;
pub mod openpgp;
mod read;
mod sha256;
mod signatures;
mod tags;
#[cfg(test)]
pub mod testing;
mod text;
pub mod turn;

use std::borrow::Cow;

pub use checksum::{Checksum, ChecksumType, Hasher, PkgId};
pub use intake::{BadPackage, Intake, Taken, Unread};
pub use location::{Location, LocationError};
pub use nevra::{Evr, Nevra};

/// Text of a header: borrowed from its bytes where they are UTF-8, recoded from Latin-1 where not.
/// It may still hold characters XML forbids; `repodata::xml` replaces those.
pub type Text<'h> = Cow<'h, str>;

/// What one RPM's header says, as far as yum metadata repeats it.
///
/// Borrows from the header's bytes. Lists are in header order and unfiltered unless a field says
/// otherwise; which of them appear in the metadata, and how, is `repodata::primary`'s rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Package<'h> {
    pub name: Text<'h>,
    /// `None` when the header has no EPOCH; written as `0`.
    pub epoch: Option<u32>,
    pub version: Text<'h>,
    pub release: Text<'h>,
    /// ARCH, or `src` for a source package (nosrc ones too), as createrepo_c writes it.
    pub arch: Text<'h>,
    pub is_source: bool,
    pub summary: Text<'h>,
    pub description: Text<'h>,
    pub packager: Text<'h>,
    pub url: Text<'h>,
    pub license: Text<'h>,
    pub vendor: Text<'h>,
    pub group: Text<'h>,
    pub build_host: Text<'h>,
    pub source_rpm: Text<'h>,
    /// Seconds since the epoch.
    pub build_time: u64,
    /// SIZE or LONGSIZE: bytes on disk once installed.
    pub installed_size: u64,
    /// ARCHIVESIZE or LONGARCHIVESIZE, or the signature header's PAYLOADSIZE: bytes of the unpacked payload.
    pub archive_size: u64,
    pub provides: Vec<Dependency<'h>>,
    pub requires: Vec<Dependency<'h>>,
    pub conflicts: Vec<Dependency<'h>>,
    pub obsoletes: Vec<Dependency<'h>>,
    pub suggests: Vec<Dependency<'h>>,
    pub enhances: Vec<Dependency<'h>>,
    pub recommends: Vec<Dependency<'h>>,
    pub supplements: Vec<Dependency<'h>>,
    pub files: Vec<PackageFile<'h>>,
    /// In header order: newest first.
    pub changelogs: Vec<ChangelogEntry<'h>>,
    /// Name of the algorithm of [`PackageFile::digest`] (`md5` when the header does not say).
    pub file_digest_type: Option<ChecksumType>,
}

impl Package<'_> {
    pub fn nevra(&self) -> Nevra {
        Nevra {
            name: self.name.as_ref().into(),
            evr: Evr {
                epoch: self.epoch.unwrap_or(0),
                version: self.version.as_ref().into(),
                release: self.release.as_ref().into(),
            },
            arch: self.arch.as_ref().into(),
        }
    }
}

/// One relation to another package: a name with flags and a version, or a rich dependency kept verbatim.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dependency<'h> {
    pub name: Text<'h>,
    /// RPMSENSE bits as in the header; 0 where the header has fewer flags than names.
    pub flags: u32,
    /// `epoch:version-release` as in the header; empty where there is none.
    pub evr: Text<'h>,
}

/// One file the package owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageFile<'h> {
    /// DIRNAMES entry, such as `/usr/bin/`; empty for packages with OLDFILENAMES or relative paths.
    pub directory: Text<'h>,
    pub base_name: Text<'h>,
    pub kind: FileKind,
    /// Hexadecimal digits as in the header; empty for directories, links and the like.
    pub digest: Text<'h>,
}

impl PackageFile<'_> {
    /// Directory and name in one.
    pub fn path(&self) -> Cow<'_, str> {
        match &*self.directory {
            "" => Cow::Borrowed(&self.base_name),
            directory => Cow::Owned([directory, &self.base_name].concat()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    File,
    Directory,
    Ghost,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangelogEntry<'h> {
    pub author: Text<'h>,
    /// Seconds since the epoch.
    pub date: u64,
    pub text: Text<'h>,
}

/// Where the main header lies in the package file: `<rpm:header-range>`. `end` is the first byte
/// after it, that is, of the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeaderRange {
    pub start: u64,
    pub end: u64,
}

/// How much of a package is checked before it is taken (`verify` in the configuration).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub enum Verify {
    /// Only that the header can be read: what createrepo_c does, and what its command promises.
    Structure,
    /// Also the header's own digests and the package's length.
    Header,
    /// Also the payload's digest.
    #[default]
    Digest,
    /// Also that a trusted key signed all of it.
    Signature,
}
