//! DELETE of a file.

use hyper::StatusCode;
use hyper::http::request::Parts;

use super::{condition, prefer, published, tell};
use crate::auth::Principal;
use crate::package::Location;
use crate::repository::Handle;
use crate::repository::receive::Removal;
use crate::serve::error::ServeError;
use crate::serve::{Answer, Server, blocking, empty, removes_now};

/// Answers a DELETE; says whether the metadata still names the package.
pub(crate) async fn delete(
    server: &Server,
    principal: &Principal,
    handle: &Handle,
    location: Location,
    parts: &Parts,
) -> Result<Answer, ServeError> {
    let headers = &parts.headers;
    // Who may not was refused before: it needs another right.
    let how = if removes_now(parts.uri.query()) { Removal::AtOnce } else { Removal::WithGrace };
    let (removing, condition, by) = (handle.clone(), condition(headers), principal.clone());
    let ticket =
        blocking("remove the file", move || removing.remove(&location, &condition, how, &by)).await??;
    let wait = prefer::wait(headers, server.limits.wait);
    let state = published(handle, Some(ticket), wait).await;
    let mut answer = empty(StatusCode::NO_CONTENT);
    tell(&mut answer, handle, state, wait);
    Ok(answer)
}
