//! DELETE of a file.

use hyper::StatusCode;
use hyper::header::HeaderMap;

use super::{condition, prefer, published, tell};
use crate::package::Location;
use crate::repository::Handle;
use crate::serve::error::ServeError;
use crate::serve::{Answer, Ends, Server, blocking, empty, may_write};

/// Answers a DELETE; says whether the metadata still names the package.
pub(crate) async fn delete(
    server: &Server,
    ends: Ends,
    handle: &Handle,
    location: Location,
    headers: &HeaderMap,
) -> Result<Answer, ServeError> {
    may_write(handle.config().write, ends.peer.ip(), headers)?;
    let removing = (handle.clone(), condition(headers));
    let ticket = blocking("remove the file", move || removing.0.remove(&location, &removing.1)).await??;
    let wait = prefer::wait(headers, server.limits.wait);
    let state = published(handle, Some(ticket), wait).await;
    let mut answer = empty(StatusCode::NO_CONTENT);
    tell(&mut answer, handle, state, wait);
    Ok(answer)
}
