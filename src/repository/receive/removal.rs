//! The only way out over the network. What is removed stays fetchable for the grace period.

use std::fs::File;
use std::io;
use std::time::SystemTime;

use tracing::{info, warn};

use super::{Condition, ReceiveError};
use crate::auth::Principal;
use crate::incoming::kept::{Kept, Removed};
use crate::package::Location;
use crate::repository::{Handle, Ticket};
use crate::tree::Dirty;

/// What becomes of a removed package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It stays fetchable for the grace period.
    WithGrace,
    /// It is gone, and so is what earlier removals have kept of this name.
    AtOnce,
}

impl Handle {
    /// Takes a package (or with `accept = "any"` any file) out of the repository. Blocking.
    pub fn remove(
        &self,
        location: &Location,
        condition: &Condition,
        how: Removal,
        by: &Principal,
    ) -> Result<Ticket, ReceiveError> {
        if location.refuses_writes() {
            return Err(ReceiveError::Reserved(location.clone()));
        }
        self.refuse_strange_name(location)?;
        let reservations = &self.shared.receiving;
        let _held = reservations.hold(location, None);
        let failed = |source| ReceiveError::Io { attempt: "remove", location: location.clone(), source };
        let here = self.look(location)?;
        if here.is_none() && how == Removal::AtOnce {
            // What an earlier removal has kept.
            let forgotten = match reservations.kept(self.config()).map_err(failed)?.as_mut() {
                Some(kept) => kept.forget(location).map_err(failed)?,
                None => false,
            };
            if forgotten {
                return Ok(self.submit(Dirty::settled(location.clone())));
            }
        }
        let Some(here) = here else {
            return Err(ReceiveError::NotFound(location.clone()));
        };
        if !condition(Some(&here.stamp)) {
            return Err(ReceiveError::Condition(location.clone()));
        }
        let keep = how == Removal::WithGrace;
        let removed = match reservations.kept(self.config()).map_err(failed)?.as_mut() {
            Some(kept) => {
                let removed =
                    kept.remove(self.config(), location, keep).map_err(|source| match source.kind() {
                        // Somebody was faster.
                        io::ErrorKind::NotFound => ReceiveError::NotFound(location.clone()),
                        _ => failed(source),
                    })?;
                if !keep {
                    kept.forget(location).map_err(failed)?;
                }
                removed
            }
            None => Removed::Gone,
        };
        let repo = &self.config().name;
        info!(repo.name = %repo, location = %location, kept = removed == Removed::Kept, by = by.name(),
              "removed {:?} from {repo}{}", location.as_str(), by.in_a_sentence());
        self.drop_properties(location);
        self.expire_kept();
        Ok(self.submit(Dirty::settled(location.clone())))
    }

    /// Drops removed packages whose grace period, or whose space, has run out. Blocking; cheap when
    /// there is nothing to do. To be called now and then.
    pub fn expire_kept(&self) {
        let repo = &self.config().name;
        let expired = self.shared.receiving.kept(self.config()).and_then(|mut kept| match kept.as_mut() {
            Some(kept) => kept.expire(self.config(), SystemTime::now()),
            None => Ok((0, 0)),
        });
        match expired {
            Ok((_, 0)) => {}
            Ok((_, count)) => warn!(repo.name = %repo, count,
                "gave up {count} removed packages of {repo} before their grace period ended: grace_space is used up"),
            Err(error) => {
                warn!(repo.name = %repo, %error, "cannot clear removed packages of {repo}: {error}");
            }
        }
    }

    /// A file kept for `location` after its removal, if its grace period still runs.
    pub(in crate::repository) fn kept_file(&self, location: &Location) -> io::Result<Option<File>> {
        let kept = self.shared.receiving.kept(self.config())?;
        let read = |kept: &Kept| kept.read(location, self.config().grace, SystemTime::now());
        kept.as_ref().map_or(Ok(None), read)
    }
}
