//! What was read from a batch's packages, noted so that nobody reads them again.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use serde_json::{Value, json};
use tracing::warn;

use super::BatchPlace;
use crate::beneath::stamp;
use crate::config::RepositoryConfig;
use crate::incoming::ReadPackage;
use crate::incoming::place::rendered;
use crate::package::intake::Intake;
use crate::package::openpgp::Keyring;
use crate::package::{Checksum, Evr, Location, Nevra, Verify};
use crate::repodata::Fragments;

impl BatchPlace {
    /// What the note of a file says, if it is of the file as it is now.
    pub(super) fn noted(
        &self,
        config: &RepositoryConfig,
        location: &Location,
        metadata: &fs::Metadata,
    ) -> Option<ReadPackage> {
        let note = self.open().ok()??.sub("notes").ok()?.bytes(Self::note(location)).ok()?;
        let note: Value = serde_json::from_slice(&note).ok()?;
        let stamp = stamp(metadata);
        let text = |key: &str| note[key].as_str();
        let same = note["inode"].as_u64() == Some(stamp.inode)
            && note["size"].as_u64() == Some(stamp.size)
            && note["mtime_ns"].as_i64() == Some(stamp.mtime_ns)
            && text("location") == Some(location.as_str())
            && text("made_with") == Some(&made_with(config));
        if !same {
            return None;
        }
        let nevra = Nevra {
            name: text("name")?.into(),
            evr: Evr {
                epoch: u32::try_from(note["epoch"].as_u64()?).ok()?,
                version: text("version")?.into(),
                release: text("release")?.into(),
            },
            arch: text("arch")?.into(),
        };
        let pkgid = Checksum::from_hex(config.checksum, text("pkgid")?)?;
        let fragments = Fragments {
            primary: text("primary")?.into(),
            filelists: text("filelists")?.into(),
            other: text("other")?.into(),
            filelists_ext: text("filelists_ext")?.into(),
        };
        let vouched = serde_json::from_value(note["vouched"].clone()).ok()?;
        Some(ReadPackage { pkgid, nevra, fragments, vouched })
    }

    /// Writes down what was read; without it, it is read again.
    pub(super) fn write_note(
        &self,
        config: &RepositoryConfig,
        location: &Location,
        package: &ReadPackage,
        file: &File,
    ) {
        let write = || -> io::Result<()> {
            let stamp = stamp(&file.metadata()?);
            let ReadPackage { pkgid, nevra, fragments, vouched } = package;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let note = json!({
                "location": location.as_str(), "made_with": made_with(config),
                "inode": stamp.inode, "size": stamp.size, "mtime_ns": stamp.mtime_ns,
                "name": nevra.name, "epoch": nevra.evr.epoch, "version": nevra.evr.version,
                "release": nevra.evr.release, "arch": nevra.arch, "pkgid": pkgid.to_hex(),
                "primary": text(&fragments.primary), "filelists": text(&fragments.filelists),
                "other": text(&fragments.other), "filelists_ext": text(&fragments.filelists_ext),
                "vouched": vouched,
            });
            let notes = self.opened()?.make("notes")?;
            notes.create_anew(Self::note(location), 0o600)?.write_all(note.to_string().as_bytes())
        };
        if let Err(error) = write() {
            warn!("cannot note what is in {location}, it will be read again: {error}");
        }
    }
}

/// Settings that change what is noted of a package.
fn made_with(config: &RepositoryConfig) -> String {
    format!("{} {} {:?}", env!("CARGO_PKG_VERSION"), config.checksum, config.render_options())
}

/// Reads a package whose note is of no use.
pub(super) fn read_again(
    config: &RepositoryConfig,
    location: &Location,
    file: &File,
    keyring: Option<&Arc<Keyring>>,
) -> io::Result<ReadPackage> {
    // Before the keys are read nobody can say who vouches for it; that is asked again at the commit.
    let verify = if keyring.is_none() { config.verify.min(Verify::Digest) } else { config.verify };
    let mut intake = Intake::new(config.checksum, verify).trusting(keyring.cloned());
    let mut block = vec![0; 256 * 1024];
    let mut at = 0;
    loop {
        match std::os::unix::fs::FileExt::read_at(file, &mut block, at)? {
            0 => break,
            n => {
                intake.feed(&block[..n]).map_err(io::Error::other)?;
                at += n as u64;
            }
        }
    }
    let taken = intake.finish().map_err(io::Error::other)?;
    let metadata = file.metadata()?;
    rendered(&taken, location, &config.render_options(), at, metadata.mtime(), None).map_err(io::Error::other)
}
