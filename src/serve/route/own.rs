//! Names in a repository that are not its tree's: whose they are, and that nobody writes them.

use crate::package::Location;
use crate::serve::error::ServeError;
use crate::serve::site::Mount;

/// Refuses names that nobody may write: the server's own, and what metadata cannot express.
pub fn writable(mount: &Mount, location: &Location) -> Result<(), ServeError> {
    if is_own(mount, location) {
        return Err(ServeError::Forbidden(
            "hidden directories, repodata/, -/, names that begin with @, and the .repo file are this server's own; \
             choose another name"
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

/// What is not the tree's: private names, metadata (deeper in the tree it is nobody's upload either), and
/// what the server makes up.
pub(super) fn is_own(mount: &Mount, location: &Location) -> bool {
    let is_metadata = location.as_str().split('/').any(|part| part == "repodata");
    location.is_private() || location.is_own_url() || is_metadata || is_dot_repo(mount, location)
}

/// The publication that `@N/…` is of, and what of it is asked for.
pub(super) fn numbered(location: &Location) -> Option<(u64, Location)> {
    let (first, below) = location.as_str().split_once('/')?;
    let digits = first.strip_prefix('@').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some((digits.parse().ok()?, Location::parse(below).ok()?))
}

/// The path of what a URL gives (`path`, as sent and normal, below the repository at `url`): a publication's number is no part of it,
/// so that nobody gets by one what is refused without it.
pub fn without_number(path: &str, url: &str) -> String {
    let top = super::encode_path(url);
    let below =
        path.strip_prefix(&*top).and_then(|below| below.strip_prefix('@').or(below.strip_prefix("%40")));
    match below.and_then(|below| below.split_once('/')) {
        Some((number, below)) if number.bytes().all(|byte| byte.is_ascii_digit()) => format!("{top}{below}"),
        _ => path.to_owned(),
    }
}

pub(super) fn is_dot_repo(mount: &Mount, location: &Location) -> bool {
    location.as_str().strip_suffix(".repo") == Some(&mount.config.name)
}
