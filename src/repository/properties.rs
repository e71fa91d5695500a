//! WebDAV properties of a repository's resources; see `catalog::properties`.

use tracing::warn;

use super::Handle;
use crate::auth::{Holder, Principal};
pub use crate::catalog::properties::{Patch, Properties, PropertiesError, Property, RESOURCE_LIMIT};
use crate::package::Location;

impl Handle {
    /// What clients have set, to be asked for one resource after the other; `None` where nobody has set anything. Blocking.
    pub fn properties(&self) -> Result<Option<Properties>, PropertiesError> {
        Properties::open(&self.config().state_dir)
    }

    /// Sets and removes properties, all of them or none, as part of what `holder` may have. Blocking.
    pub fn patch_properties(
        &self,
        resource: Option<&Location>,
        patches: &[Patch],
        holder: &Holder,
    ) -> Result<(), PropertiesError> {
        let mut properties = Properties::open_or_create(&self.config().state_dir)?;
        let holder = spell(holder);
        match properties.patch(resource, patches, &holder) {
            Err(PropertiesError::Full) => {
                // What others removed on disk has left its properties behind.
                self.sweep(&mut properties)?;
                properties.patch(resource, patches, &holder)
            }
            other => other,
        }
    }

    fn sweep(&self, properties: &mut Properties) -> Result<(), PropertiesError> {
        for text in properties.resources()? {
            if let Ok(location) = Location::parse(&text)
                && self.stat(Some(&location)).is_ok_and(|found| found.is_none())
            {
                properties.remove(&location)?;
            }
        }
        Ok(())
    }

    /// Lets go of what was set on a resource that is removed, and on all below it.
    pub(super) fn drop_properties(&self, resource: &Location) {
        self.change_properties(|properties| properties.remove(resource));
    }

    /// Takes what was set on a resource, and on all below it, along to its new name, or with `keep` to its copy.
    pub(super) fn carry_properties(&self, from: &Location, to: &Location, keep: bool) {
        self.change_properties(|properties| properties.transfer(from, to, keep));
    }

    /// The file itself has moved or gone by now: what becomes of its properties cannot undo that.
    fn change_properties(&self, change: impl FnOnce(&mut Properties) -> Result<(), PropertiesError>) {
        let changed = match Properties::open(&self.config().state_dir) {
            Ok(Some(mut properties)) => change(&mut properties),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = changed {
            let repo = &self.config().name;
            warn!(repo.name = %repo, %error, "cannot keep the WebDAV properties of {repo} up to date: {error}");
        }
    }
}

/// A holder as it is written down.
fn spell(holder: &Holder) -> String {
    match holder {
        Holder::Named(Principal::Anyone | Principal::Local) | Holder::At(None) => "local".to_owned(),
        Holder::Named(Principal::Token(name)) => format!("token {name}"),
        Holder::Named(Principal::User(name)) => format!("user {name}"),
        Holder::Named(Principal::Certificate(name)) => format!("certificate {name}"),
        Holder::Named(Principal::Authorized(name)) => format!("authorized {name}"),
        Holder::At(Some(address)) => format!("address {address}"),
    }
}
