//! WebDAV properties of a repository's resources; see `catalog::properties`.

use tracing::warn;

use super::Handle;
use crate::catalog::properties::Properties;
pub use crate::catalog::properties::{Patch, PropertiesError, Property};
use crate::package::Location;

impl Handle {
    /// What clients have set on a resource (`None`: the top of the repository). Blocking.
    pub fn properties(&self, resource: Option<&Location>) -> Result<Vec<Property>, PropertiesError> {
        match Properties::open(&self.config().state_dir)? {
            Some(properties) => properties.of(resource),
            None => Ok(Vec::new()),
        }
    }

    /// The same for several resources in one go, in their order. Blocking.
    pub fn properties_of_all(
        &self,
        resources: &[Option<Location>],
    ) -> Result<Vec<Vec<Property>>, PropertiesError> {
        match Properties::open(&self.config().state_dir)? {
            Some(properties) => resources.iter().map(|resource| properties.of(resource.as_ref())).collect(),
            None => Ok(vec![Vec::new(); resources.len()]),
        }
    }

    /// Sets and removes properties, all of them or none. Blocking.
    pub fn patch_properties(
        &self,
        resource: Option<&Location>,
        patches: &[Patch],
    ) -> Result<(), PropertiesError> {
        let mut properties = Properties::open_or_create(&self.config().state_dir)?;
        match properties.patch(resource, patches) {
            Err(PropertiesError::Full) => {
                // What others removed on disk has left its properties behind.
                self.sweep(&mut properties)?;
                properties.patch(resource, patches)
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
