//! Names in a repository that are not its tree's: whose they are, and that nobody writes them.

use crate::package::Location;
use crate::serve::error::ServeError;
use crate::serve::site::Mount;

/// Refuses names that nobody may write: the server's own, and what metadata cannot express.
pub fn writable(mount: &Mount, location: &Location) -> Result<(), ServeError> {
    if is_own(mount, location) {
        return Err(ServeError::Forbidden(
            "hidden names, repodata/, -/, @N/ and the .repo file are this server's own; choose another name"
                .into(),
        ));
    }
    if location.as_str().contains(char::is_control) {
        return Err(ServeError::BadRequest(
            "the name holds control characters, which metadata cannot express; choose another name".into(),
        ));
    }
    Ok(())
}

/// What is not the tree's: hidden names, metadata (deeper in the tree it is nobody's upload either), and
/// what the server makes up.
pub(super) fn is_own(mount: &Mount, location: &Location) -> bool {
    let is_metadata = location.as_str().split('/').any(|part| part == "repodata");
    is_hidden(location) || is_ours(location) || is_metadata || is_dot_repo(mount, location)
}

pub(super) fn is_hidden(location: &Location) -> bool {
    location.as_str().split('/').any(|part| part.starts_with('.'))
}

/// The publication that `@N/…` is of, and what of it is asked for.
pub(super) fn numbered(location: &Location) -> Option<(u64, Location)> {
    let (first, below) = location.as_str().split_once('/')?;
    let digits = first.strip_prefix('@').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some((digits.parse().ok()?, Location::parse(below).ok()?))
}

/// `/<repo>/-/…` and `/<repo>/@N/…` belong to the repository, not to its tree.
pub(super) fn is_ours(location: &Location) -> bool {
    let first = location.as_str().split('/').next().unwrap_or_default();
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    first == "-" || first.strip_prefix('@').is_some_and(is_number)
}

pub(super) fn is_dot_repo(mount: &Mount, location: &Location) -> bool {
    location.as_str().strip_suffix(".repo") == Some(&mount.config.name)
}
