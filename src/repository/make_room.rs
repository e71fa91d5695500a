//! COPY and MOVE onto what has to go: a folder, or a file where a folder comes. What can be refused is refused first, and what is
//! there goes only once all that takes its place is in.

use std::fs::File;
use std::io;
use std::time::SystemTime;

use rustix::fs::Dir;

use super::Handle;
use super::batches::{BatchError, BatchId};
use super::folders::Members;
use super::receive::{Condition, IncomingError, Offer, ReceiveError, Removal};
use crate::auth::{Holder, Principal};
use crate::beneath::Root;
use crate::config::Overwrite;
use crate::incoming::entries;
use crate::package::Location;

/// What a copy brings, in the order in which it is made.
struct Coming {
    folders: Vec<Location>,
    /// Each with its name at the destination.
    files: Vec<(Location, Location)>,
}

impl Handle {
    /// Copies a file or a folder (with `deep` with all that is in it) to `to`, and removes what is there with the grace period.
    /// Blocking.
    pub fn copy_in_place_of(
        &self,
        from: &Location,
        to: &Location,
        deep: bool,
        by: &Principal,
    ) -> Result<Members, ReceiveError> {
        self.may_make_room(to)?;
        let coming = self.coming(from, to, deep)?;
        let id = passing_batch();
        let held = coming.files.iter().try_for_each(|(old, new)| {
            let condition: Condition = Box::new(|_| true);
            let (location, stated, by, holder) = (new.clone(), Vec::new(), by.clone(), Holder::of(by, None));
            let (batch, clears) = (Some(id.clone()), Some(to.clone()));
            let offer = Offer { location, condition, stated, by, holder, batch, replaces: true, clears };
            self.copy_bytes(self, old, offer).map(drop)
        });
        if let Err(error) = held {
            self.let_go(&id, by);
            return Err(error);
        }
        let removed = self.remove_whatever(to, by)?;
        if !removed.failed.is_empty() {
            self.let_go(&id, by);
            return Ok(removed);
        }
        coming.folders.iter().try_for_each(|folder| self.make_directory(folder))?;
        let shown = match coming.files.is_empty() {
            true => None,
            false => self.commit_batch(&id, by, true, &|_, _| true).map_err(|error| error.of(to))?.ticket,
        };
        self.carry_properties(from, to, true);
        Ok(Members { ticket: removed.ticket.max(shown), failed: Vec::new() })
    }

    /// Renames a file or a folder to `to`, and removes what is there with the grace period. Blocking.
    pub fn rename_in_place_of(
        &self,
        from: &Location,
        to: &Location,
        by: &Principal,
    ) -> Result<Members, ReceiveError> {
        self.may_make_room(to)?;
        let source = self.entry(from)?.ok_or_else(|| ReceiveError::NotFound(from.clone()))?;
        if !source.is_directory {
            self.refuse_strange_name(from)?;
            self.refuse_strange_name(to)?;
        }
        // Where no rename leads, the copy is whole before anything goes.
        let is_far = !entries::may_be_renamed(self.config(), from, to)?;
        if is_far || !source.is_directory && self.is_checked_anew(from, to) {
            let copied = self.copy_in_place_of(from, to, true, by)?;
            if !copied.failed.is_empty() {
                return Ok(copied);
            }
            let Members { ticket: gone, failed } = self.remove_whatever(from, by)?;
            return Ok(Members { ticket: copied.ticket.max(gone), failed });
        }
        let removed = self.remove_whatever(to, by)?;
        if !removed.failed.is_empty() {
            return Ok(removed);
        }
        let (_, ticket) = self.rename(from, to, &always(), false, by)?;
        Ok(Members { ticket: removed.ticket.max(Some(ticket)), failed: Vec::new() })
    }

    /// Refuses what [`Handle::remove_directory`] could not remove whole, and packages that the overwrite rule protects.
    fn may_make_room(&self, to: &Location) -> Result<(), ReceiveError> {
        let mut waiting = vec![to.clone()];
        while let Some(location) = waiting.pop() {
            let Some(entry) = self.entry(&location)? else { continue };
            if !entry.is_directory {
                self.refuse_strange_name(&location)?;
                if location.names_a_package() && self.config().overwrite != Overwrite::Allow {
                    return Err(ReceiveError::NameTaken { location, identical: false });
                }
                continue;
            }
            let names = self.names_in(&location).map_err(|source| looking(&location, source))?;
            for name in names {
                let member = name.and_then(|name| Location::parse(&format!("{location}/{name}")).ok());
                match member.filter(|member| !member.is_reserved()) {
                    Some(member) => waiting.push(member),
                    None => return Err(IncomingError::NotEmpty(location).into()),
                }
            }
        }
        Ok(())
    }

    /// All names in a folder, hidden ones too; `None` for those that are not UTF-8.
    fn names_in(&self, folder: &Location) -> io::Result<Vec<Option<String>>> {
        let opened: File = Root::open(&self.config().path, self.config().symlinks)?.read(folder.as_str())?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&opened)? {
            let entry = entry?;
            match entry.file_name().to_bytes() {
                b"." | b".." => {}
                name => names.push(std::str::from_utf8(name).ok().map(str::to_owned)),
            }
        }
        Ok(names)
    }

    /// What a copy of `from` to `to` consists of.
    fn coming(&self, from: &Location, to: &Location, deep: bool) -> Result<Coming, ReceiveError> {
        let source = self.stat(Some(from)).map_err(|source| looking(from, source))?;
        let source = source.ok_or_else(|| ReceiveError::NotFound(from.clone()))?;
        if !source.is_directory {
            return Ok(Coming { folders: Vec::new(), files: vec![(from.clone(), to.clone())] });
        }
        let mut coming = Coming { folders: vec![to.clone()], files: Vec::new() };
        let mut waiting = if deep { vec![(from.clone(), to.clone())] } else { Vec::new() };
        while let Some((from, to)) = waiting.pop() {
            for entry in self.list_directory(Some(&from)).map_err(|source| looking(&from, source))? {
                let below = |folder: &Location| Location::parse(&format!("{folder}/{}", entry.name));
                let (Ok(old), Ok(new)) = (below(&from), below(&to)) else { continue };
                if !entry.is_directory {
                    coming.files.push((old, new));
                } else if self.is_folder_itself(&old) {
                    // Links to folders are left out: they may lead in circles.
                    coming.folders.push(new.clone());
                    waiting.push((old, new));
                }
            }
        }
        Ok(coming)
    }

    fn remove_whatever(&self, location: &Location, by: &Principal) -> Result<Members, ReceiveError> {
        if self.is_folder_itself(location) {
            return self.remove_directory(location, Removal::WithGrace, by);
        }
        let ticket = self.remove(location, &always(), Removal::WithGrace, by)?;
        Ok(Members { ticket: Some(ticket), failed: Vec::new() })
    }

    /// Drops what was held back for nothing.
    fn let_go(&self, id: &BatchId, by: &Principal) {
        match self.drop_batch(id, by) {
            Ok(()) | Err(BatchError::NotFound(_)) => {}
            Err(error) => {
                let repo = &self.config().name;
                tracing::warn!(repo.name = %repo, "cannot drop a copy of {repo} that was not made: {error}");
            }
        }
    }
}

/// The batch in which a copy is held back until there is room for it. One that a kill leaves is dropped like any other.
fn passing_batch() -> BatchId {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    BatchId::passing("copy", now, COUNTER.fetch_add(1, Ordering::Relaxed))
}

fn always() -> Condition {
    Box::new(|_| true)
}

fn looking(location: &Location, source: io::Error) -> ReceiveError {
    ReceiveError::Io { attempt: "look at", location: location.clone(), source }
}
