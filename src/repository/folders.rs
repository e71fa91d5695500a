//! Folders of a repository, made, copied and removed over the network.

use std::io;
use std::sync::Arc;

use super::receive::{Condition, Offer, ReceiveError, Received, Removal};
use super::{Handle, Ticket};
use crate::auth::{Holder, Principal};
use crate::crash::{self, Point};
use crate::incoming::entries;
use crate::package::Location;

/// Bytes copied at a time.
const BLOCK: usize = 1 << 20;

/// What became of the members of a folder: the last ticket, and what failed, with its reason.
#[derive(Default)]
pub struct Members {
    pub ticket: Option<Ticket>,
    pub failed: Vec<(Location, ReceiveError)>,
}

impl Members {
    fn take(&mut self, location: &Location, outcome: Result<Option<Ticket>, ReceiveError>) {
        match outcome {
            Ok(ticket) => self.ticket = self.ticket.max(ticket),
            Err(error) => self.failed.push((location.clone(), error)),
        }
    }

    fn failed_below(&self, directory: &Location) -> bool {
        self.failed.iter().any(|(location, _)| location.is_within(directory))
    }
}

impl Handle {
    /// Makes a folder whose parent exists. Blocking.
    pub fn make_directory(&self, location: &Location) -> Result<(), ReceiveError> {
        if location.is_reserved() {
            return Err(ReceiveError::Reserved(location.clone()));
        }
        Ok(entries::make_directory(self.config(), location)?)
    }

    /// Removes a folder with all that is in it, file by file, each as [`Handle::remove`] does. What
    /// cannot be removed stays, with the folders that lead to it. Blocking.
    pub fn remove_directory(
        &self,
        location: &Location,
        how: Removal,
        by: &Principal,
    ) -> Result<Members, ReceiveError> {
        if location.is_reserved() {
            return Err(ReceiveError::Reserved(location.clone()));
        }
        let always: Condition = Box::new(|_| true);
        let mut members = Members::default();
        let mut folders = vec![location.clone()];
        let mut at = 0;
        while let Some(folder) = folders.get(at).cloned() {
            at += 1;
            let listed = match self.list_directory(Some(&folder)) {
                Ok(listed) => listed,
                Err(source) => {
                    members.take(&folder, Err(failed("list", &folder, source)));
                    continue;
                }
            };
            for entry in listed {
                let Ok(member) = Location::parse(&format!("{folder}/{}", entry.name)) else { continue };
                match entry.is_directory && self.is_folder_itself(&member) {
                    true => folders.push(member),
                    false => {
                        let removed = self.remove(&member, &always, how, by);
                        members.take(&member, removed.map(Some));
                    }
                }
            }
        }
        for folder in folders.into_iter().rev() {
            if !members.failed_below(&folder) {
                let removed = entries::remove_directory(self.config(), &folder);
                members.take(&folder, removed.map(|()| None).map_err(ReceiveError::from));
            }
        }
        if members.failed.is_empty() {
            self.drop_properties(location);
        }
        Ok(members)
    }

    /// Takes a copy of a file of `source`, which may be another repository, as an upload of its bytes.
    /// `condition` is about what has the name now. Blocking.
    pub fn copy_from(
        &self,
        source: &Self,
        from: &Location,
        to: &Location,
        condition: Condition,
        by: &Principal,
    ) -> Result<Received, ReceiveError> {
        let (location, stated, by, holder) = (to.clone(), Vec::new(), by.clone(), Holder::of(by, None));
        // Whoever asks for copies has looked whether something may go.
        let (replaces, batch, clears) = (true, None, None);
        let offer = Offer { location, condition, stated, by, holder, batch, replaces, clears };
        let received = self.copy_bytes(source, from, offer)?;
        crash::point(Point::CopyReceived);
        if Arc::ptr_eq(&self.shared, &source.shared) {
            self.carry_properties(from, to, true);
        }
        crash::point(Point::CopyCarried);
        Ok(received)
    }

    /// Takes the bytes of a file of `source` as an upload.
    pub(super) fn copy_bytes(
        &self,
        source: &Self,
        from: &Location,
        offer: Offer,
    ) -> Result<Received, ReceiveError> {
        let reading = |cause| failed("read", from, cause);
        let root = source.root_of(Some(from)).map_err(reading)?;
        let mut file = root.read(from.as_str()).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ReceiveError::NotFound(from.clone()),
            _ => reading(error),
        })?;
        let metadata = file.metadata().map_err(reading)?;
        if metadata.is_dir() {
            return Err(ReceiveError::Folder(from.clone()));
        }
        if !metadata.is_file() {
            return Err(ReceiveError::NotFound(from.clone()));
        }
        let mut receiving = self.begin_receive(offer)?;
        let mut block = vec![0; BLOCK];
        loop {
            match io::Read::read(&mut file, &mut block) {
                Ok(0) => break,
                Ok(n) => receiving.write(&[&block[..n]])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(reading(error)),
            }
        }
        receiving.finish()
    }

    /// Copies a folder of `source` to `to`, which does not exist, with `deep` with all that is in it. Blocking.
    pub fn copy_directory_from(
        &self,
        source: &Self,
        from: &Location,
        to: &Location,
        deep: bool,
        by: &Principal,
    ) -> Result<Members, ReceiveError> {
        self.make_directory(to)?;
        if Arc::ptr_eq(&self.shared, &source.shared) {
            self.carry_properties(from, to, true);
        }
        let mut members = Members::default();
        let mut folders = if deep { vec![(from.clone(), to.clone())] } else { Vec::new() };
        while let Some((from, to)) = folders.pop() {
            let listed = match source.list_directory(Some(&from)) {
                Ok(listed) => listed,
                Err(source) => {
                    members.take(&to, Err(failed("list", &from, source)));
                    continue;
                }
            };
            for entry in listed {
                let below = |folder: &Location| Location::parse(&format!("{folder}/{}", entry.name));
                let (Ok(old), Ok(new)) = (below(&from), below(&to)) else { continue };
                if !entry.is_directory {
                    let copied = self.copy_from(source, &old, &new, Box::new(|there| there.is_none()), by);
                    members.take(&new, copied.map(|received| received.ticket));
                } else if source.is_folder_itself(&old) {
                    // Links to folders are left out: they may lead in circles.
                    match self.make_directory(&new) {
                        Ok(()) => folders.push((old, new)),
                        Err(error) => members.take(&new, Err(error)),
                    }
                }
            }
        }
        Ok(members)
    }

    /// Whether this is a directory and no link to one.
    pub(super) fn is_folder_itself(&self, location: &Location) -> bool {
        matches!(self.entry(location), Ok(Some(entry)) if entry.is_directory)
    }
}

fn failed(attempt: &'static str, location: &Location, source: io::Error) -> ReceiveError {
    ReceiveError::Io { attempt, location: location.clone(), source }
}
