//! DELETE of a file.

use hyper::StatusCode;
use hyper::header::HeaderMap;

use super::{condition, prefer, published, tell};
use crate::auth::Principal;
use crate::package::Location;
use crate::repository::Handle;
use crate::serve::error::ServeError;
use crate::serve::{Answer, Server, blocking, empty};

/// Answers a DELETE; says whether the metadata still names the package.
pub(crate) async fn delete(
    server: &Server,
    principal: &Principal,
    handle: &Handle,
    location: Location,
    headers: &HeaderMap,
) -> Result<Answer, ServeError> {
    let (removing, condition, by) = (handle.clone(), condition(headers), principal.clone());
    let ticket = blocking("remove the file", move || removing.remove(&location, &condition, &by)).await??;
    let wait = prefer::wait(headers, server.limits.wait);
    let state = published(handle, Some(ticket), wait).await;
    let mut answer = empty(StatusCode::NO_CONTENT);
    tell(&mut answer, handle, state, wait);
    Ok(answer)
}
