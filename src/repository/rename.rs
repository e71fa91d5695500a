//! A rename keeps what is known: the package is not read again, and one publication shows it under
//! its new name only.

use std::io;

use rustix::fs::{FileType, OFlags};
use tracing::info;

use super::receive::{Condition, Outcome, ReceiveError, Received, Removal};
use super::{Handle, Ticket};
use crate::auth::Principal;
use crate::beneath::{Root, stat_stamp};
use crate::catalog::CatalogError;
use crate::catalog::reader::Listed;
use crate::config::Overwrite;
use crate::crash::{self, Point};
use crate::incoming::entries::Renamed;
use crate::incoming::{CommitMode, IncomingError, entries};
use crate::package::{Evr, Location, Nevra};
use crate::repodata::Fragments;
use crate::repodata::element::Facts;
use crate::tree::{Dirty, FileStamp, Scanned};

/// Bytes of remembered metadata carried along in memory; packages beyond are read again.
const CARRIED: usize = 64 << 20;

/// What the catalog knows of a package that is about to move.
struct Remembered {
    listed: Listed,
    nevra: Nevra,
    fragments: Fragments,
}

impl Handle {
    /// Renames a file or a directory. `replace` says whether a file of that name may be replaced, where
    /// the overwrite rule allows it. `condition` is about `from`. Blocking.
    pub fn rename(
        &self,
        from: &Location,
        to: &Location,
        condition: &Condition,
        replace: bool,
        by: &Principal,
    ) -> Result<(Outcome, Ticket), ReceiveError> {
        match self.rename_now(from, to, condition, replace, by) {
            // Somebody was faster, and it is gone.
            Err(ReceiveError::Incoming(_) | ReceiveError::Io { .. })
                if matches!(self.entry(from), Ok(None)) =>
            {
                Err(ReceiveError::NotFound(from.clone()))
            }
            renamed => renamed,
        }
    }

    fn rename_now(
        &self,
        from: &Location,
        to: &Location,
        condition: &Condition,
        replace: bool,
        by: &Principal,
    ) -> Result<(Outcome, Ticket), ReceiveError> {
        for location in [from, to] {
            if location.refuses_writes() {
                return Err(ReceiveError::Reserved(location.clone()));
            }
        }
        let source = self.entry(from)?.ok_or_else(|| ReceiveError::NotFound(from.clone()))?;
        if !condition(Some(&source.stamp)) {
            return Err(ReceiveError::Condition(from.clone()));
        }
        if source.is_directory {
            // Hidden directories are nobody's to make, show or move.
            if let Some(hidden) = [from, to].into_iter().find(|location| location.is_reserved()) {
                return Err(ReceiveError::Reserved(hidden.clone()));
            }
            return match self.rename_directory(from, to, by) {
                Err(ReceiveError::Incoming(IncomingError::OtherFileSystem(_))) => {
                    self.carry_directory_over(from, to, by)
                }
                renamed => renamed,
            };
        }
        for location in [from, to] {
            self.refuse_strange_name(location)?;
        }
        if self.is_checked_anew(from, to) {
            // Its bytes were never looked at: it comes in like any upload.
            return self.carry_over(from, to, replace, by);
        }
        match self.rename_file(from, to, &source.stamp, replace, by) {
            Err(ReceiveError::Incoming(IncomingError::OtherFileSystem(_))) => {
                self.carry_over(from, to, replace, by)
            }
            renamed => renamed,
        }
    }

    /// Copies a file, as any upload comes in, and removes the old one once the copy is there and safe: for names that no
    /// rename leads to.
    fn carry_over(
        &self,
        from: &Location,
        to: &Location,
        replace: bool,
        by: &Principal,
    ) -> Result<(Outcome, Ticket), ReceiveError> {
        let Received { outcome, ticket, .. } =
            self.copy_from(self, from, to, Box::new(move |there| there.is_none() || replace), by)?;
        let always: Condition = Box::new(|_| true);
        let gone = self.remove(from, &always, Removal::WithGrace, by)?;
        Ok((outcome, ticket.map_or(gone, |ticket| ticket.max(gone))))
    }

    fn rename_file(
        &self,
        from: &Location,
        to: &Location,
        stamp: &FileStamp,
        replace: bool,
        by: &Principal,
    ) -> Result<(Outcome, Ticket), ReceiveError> {
        let _held = self.shared.receiving.hold_both(from, to);
        let mode = self.may_take_the_name(from, to, replace)?;
        let remembered = self.remember_one(from, stamp);
        let kept = match from.names_a_package() {
            true => self.keep_old_names(std::iter::once(from))?,
            false => Vec::new(),
        };
        let renamed = self.undo_on_failure(kept, entries::rename(self.config(), from, to, mode))?;
        let moved = remembered.and_then(|remembered| self.moved_to(remembered, to));
        let mut dirty = Dirty::settled(from.clone());
        if moved.is_none() {
            dirty.settled.insert(to.clone());
        }
        // Told before it is synced: whoever hears of it from the tree must find it known.
        let ticket = self.moved(moved.into_iter().collect(), dirty);
        self.end_rename(&renamed, from, to)?;
        self.tell(from, to, by);
        let outcome = if mode == CommitMode::Replace { Outcome::Replaced } else { Outcome::New };
        Ok((outcome, ticket))
    }

    /// Whether the bytes at `from` were never looked at for what they are to be at `to`.
    pub(super) fn is_checked_anew(&self, from: &Location, to: &Location) -> bool {
        to.names_a_package() && !from.names_a_package()
            || self.config().additional_metadata.kind_of(to).is_some()
    }

    /// Copies a folder with all that is in it, and removes the old one once all of it is there; on an error the old one stays
    /// whole, and what was copied goes.
    fn carry_directory_over(
        &self,
        from: &Location,
        to: &Location,
        by: &Principal,
    ) -> Result<(Outcome, Ticket), ReceiveError> {
        let copied = self.copy_directory_from(self, from, to, true, by)?;
        if let Some((_, error)) = copied.failed.into_iter().next() {
            let _ = self.remove_directory(to, Removal::AtOnce, by);
            return Err(error);
        }
        let removed = self.remove_directory(from, Removal::WithGrace, by)?;
        if let Some((_, error)) = removed.failed.into_iter().next() {
            return Err(error);
        }
        let ticket = copied.ticket.max(removed.ticket).unwrap_or_else(|| self.shared.inbox.last());
        Ok((Outcome::New, ticket))
    }

    fn rename_directory(
        &self,
        from: &Location,
        to: &Location,
        by: &Principal,
    ) -> Result<(Outcome, Ticket), ReceiveError> {
        let _held = self.shared.receiving.hold_both(from, to);
        let known = self
            .with_reader(|reader| reader.packages_in(Some(from), true))
            .map_err(|error| catalog(from, error))?;
        let kept = self.keep_old_names(known.iter().map(|(listed, _)| &listed.location))?;
        let listed: Vec<Listed> = known.into_iter().map(|(listed, _)| listed).collect();
        let remembered = self.remember(&listed);
        let renamed =
            self.undo_on_failure(kept, entries::rename(self.config(), from, to, CommitMode::New))?;
        let moved = remembered
            .into_iter()
            .filter_map(|one| {
                let below = one.listed.location.as_str().strip_prefix(from.as_str())?;
                let to = Location::parse(&format!("{to}{below}")).ok()?;
                self.moved_to(one, &to)
            })
            .collect();
        let mut dirty = Dirty::settled(from.clone());
        dirty.merge(Dirty::unsure(to.clone()));
        let ticket = self.moved(moved, dirty);
        self.end_rename(&renamed, from, to)?;
        self.tell(from, to, by);
        Ok((Outcome::New, ticket))
    }

    /// What follows once the worker knows of it.
    fn end_rename(&self, renamed: &Renamed, from: &Location, to: &Location) -> Result<(), ReceiveError> {
        crash::point(Point::RenameTold);
        self.carry_properties(from, to, false);
        crash::point(Point::RenameCarried);
        renamed.sync().map_err(|source| failed("sync the rename of", from, source))?;
        crash::point(Point::RenameSynced);
        Ok(())
    }

    fn tell(&self, from: &Location, to: &Location, by: &Principal) {
        let repo = &self.config().name;
        info!(repo.name = %repo, location = %to, from = %from, by = by.name(),
              "renamed {:?} to {:?} in {repo}{}", from.as_str(), to.as_str(), by.in_a_sentence());
    }

    /// The overwrite rule, for a file that exists already.
    fn may_take_the_name(
        &self,
        from: &Location,
        to: &Location,
        replace: bool,
    ) -> Result<CommitMode, ReceiveError> {
        let Some(here) = self.look(to)? else { return Ok(CommitMode::New) };
        if !replace {
            return Err(ReceiveError::Condition(to.clone()));
        }
        let overwrite = self.config().overwrite;
        if !to.names_a_package() || overwrite == Overwrite::Allow {
            return Ok(CommitMode::Replace);
        }
        let source = self.look(from)?.ok_or_else(|| ReceiveError::NotFound(from.clone()))?;
        let identical = self.pkgid(from, &source)? == self.pkgid(to, &here)?;
        match overwrite {
            Overwrite::Same if identical => Ok(CommitMode::Replace),
            Overwrite::Same | Overwrite::Deny | Overwrite::Allow => {
                Err(ReceiveError::NameTaken { location: to.clone(), identical })
            }
        }
    }

    /// What the metadata says of the package, if the file is still the one it says it of.
    fn remember_one(&self, location: &Location, stamp: &FileStamp) -> Option<Remembered> {
        let listed = self.with_reader(|reader| reader.package(location)).ok()??;
        if listed.stamp != *stamp {
            return None;
        }
        self.remember(&[listed]).pop()
    }

    /// What the metadata says of these packages, as far as there is memory for it. What is missing costs
    /// no more than reading the package again.
    fn remember(&self, packages: &[Listed]) -> Vec<Remembered> {
        let fragments = self.with_reader(|reader| reader.fragments(packages, CARRIED)).unwrap_or_default();
        let both = packages.iter().zip(fragments);
        both.filter_map(|(listed, fragments)| self.remembered(listed.clone(), fragments?)).collect()
    }

    fn remembered(&self, listed: Listed, fragments: Fragments) -> Option<Remembered> {
        let facts = Facts::of(std::str::from_utf8(&fragments.primary).ok()?).ok()?;
        let evr = Evr {
            epoch: facts.epoch.parse().ok()?,
            version: facts.version.into(),
            release: facts.release.into(),
        };
        let nevra = Nevra { name: facts.name.into(), evr, arch: facts.arch.into() };
        // Metadata replaces what XML cannot say; such a name is not the package's own.
        let same = self.find_nevra(&nevra).ok()?.iter().any(|known| known.location == listed.location);
        same.then_some(Remembered { listed, nevra, fragments })
    }

    /// The same package at its new place, as it lies there now.
    fn moved_to(&self, remembered: Remembered, to: &Location) -> Option<Scanned> {
        let Remembered { listed, nevra, mut fragments } = remembered;
        let now = self.entry(to).ok()??;
        // A rename changes the ctime at most.
        if !(now.stamp.inode == listed.stamp.inode && now.stamp.same_content_likely(&listed.stamp)) {
            return None;
        }
        let primary = std::str::from_utf8(&fragments.primary).ok()?;
        let relocated = Facts::of(primary).ok()?.relocated(primary, None, to.as_str());
        fragments.primary = relocated.into_bytes();
        // Where signatures are asked for, it is read again: the catalog does not say who vouches for it.
        let vouched = Vec::new();
        Some(Scanned {
            location: to.clone(),
            stamp: now.stamp,
            pkgid: listed.pkgid,
            nevra,
            fragments,
            vouched,
        })
    }

    /// Keeps the old names of packages fetchable for the grace period.
    fn keep_old_names<'l>(
        &self,
        packages: impl Iterator<Item = &'l Location>,
    ) -> Result<Vec<String>, ReceiveError> {
        let mut keys = Vec::new();
        for location in packages {
            let linked = self.shared.receiving.kept(self.config()).and_then(|mut kept| match kept.as_mut() {
                Some(kept) => kept.link(self.config(), location),
                None => Ok(None),
            });
            match linked {
                Ok(key) => keys.extend(key),
                // Gone meanwhile; the rename will tell.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    self.forget_old_names(&keys);
                    return Err(failed("keep the old name of", location, source));
                }
            }
        }
        Ok(keys)
    }

    fn undo_on_failure<T>(
        &self,
        kept: Vec<String>,
        renamed: Result<T, IncomingError>,
    ) -> Result<T, ReceiveError> {
        if renamed.is_err() {
            self.forget_old_names(&kept);
        }
        Ok(renamed?)
    }

    fn forget_old_names(&self, keys: &[String]) {
        if let Ok(mut kept) = self.shared.receiving.kept(self.config())
            && let Some(kept) = kept.as_mut()
        {
            keys.iter().for_each(|key| kept.unlink(key));
        }
    }

    /// What has this name itself: a link is not followed.
    pub(super) fn entry(&self, location: &Location) -> Result<Option<Entry>, ReceiveError> {
        let look = || -> io::Result<Entry> {
            let root = Root::open(&self.config().path, self.config().symlinks)?;
            let found = root.open_at(location.as_str(), OFlags::PATH | OFlags::NOFOLLOW)?;
            let stat = rustix::fs::fstat(found)?;
            Ok(Entry {
                is_directory: FileType::from_raw_mode(stat.st_mode).is_dir(),
                stamp: stat_stamp(&stat),
            })
        };
        match look() {
            Ok(entry) => Ok(Some(entry)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
            Err(error) if crate::incoming::leads_out(&error) => {
                Err(IncomingError::NoDirectory(location.clone()).into())
            }
            Err(source) => Err(failed("look at", location, source)),
        }
    }
}

pub(super) struct Entry {
    pub(super) is_directory: bool,
    stamp: FileStamp,
}

fn failed(attempt: &'static str, location: &Location, source: io::Error) -> ReceiveError {
    ReceiveError::Io { attempt, location: location.clone(), source }
}

fn catalog(location: &Location, error: CatalogError) -> ReceiveError {
    ReceiveError::Catalog { location: location.clone(), source: error.into() }
}
