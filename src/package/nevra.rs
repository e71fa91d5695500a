//! Name, epoch, version, release, architecture: what tells one package from another.

use std::fmt;

/// Identity of a package among its kind; displays as `name-epoch:version-release.arch`, epoch 0 left out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Nevra {
    pub name: Box<str>,
    pub evr: Evr,
    pub arch: Box<str>,
}

impl fmt::Display for Nevra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}.{}", self.name, self.evr, self.arch)
    }
}

/// Epoch, version and release.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Evr {
    pub epoch: u32,
    pub version: Box<str>,
    pub release: Box<str>,
}

impl fmt::Display for Evr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.epoch != 0 {
            write!(f, "{}:", self.epoch)?;
        }
        write!(f, "{}-{}", self.version, self.release)
    }
}
