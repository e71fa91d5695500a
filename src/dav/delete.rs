//! DELETE of a file, or of a folder with all that is in it.

use hyper::StatusCode;

use super::locks::Reach;
use super::{Context, Target, condition, multistatus, prefer, published, tell};
use crate::auth::Principal;
use crate::package::Location;
use crate::repository::folders::Members;
use crate::repository::receive::{Condition, ReceiveError, Removal};
use crate::repository::{Handle, Ticket};
use crate::serve::error::ServeError;
use crate::serve::{Answer, changing, empty, removes_now};

/// Answers a DELETE; says whether the metadata still names the package.
pub(crate) async fn delete(context: &Context<'_>, location: Location) -> Result<Answer, ServeError> {
    let target = Target { location: Some(location.clone()) };
    let reach = Reach { place: location.as_str(), deep: true, membership: true };
    context.check(&target, &[reach]).await?;
    let whole = match context.header("depth") {
        None => true,
        Some(depth) => depth.eq_ignore_ascii_case("infinity"),
    };
    let removing = (context.handle.clone(), location.clone(), condition(&context.parts.headers));
    // Who may not remove at once was refused before: it needs another right.
    let how = match removes_now(context.parts.uri.query()) {
        true => Removal::AtOnce,
        false => Removal::WithGrace,
    };
    let by = context.principal.clone();
    let removed = changing("remove the file", move || {
        let (handle, location, condition) = removing;
        remove(&handle, &location, &condition, (how, &by), whole)
    })
    .await?;
    let (ticket, failed) = match removed {
        // Nothing but a name in our memory.
        Err(ServeError::Receive(ReceiveError::NotFound(_))) if context.share.let_go(location.as_str()) => {
            (None, Vec::new())
        }
        other => other?,
    };
    if !failed.is_empty() {
        return Ok(multistatus::failures(&context.href(""), &failed));
    }
    context.share.let_go(location.as_str());
    context.share.locks.forget(location.as_str());
    let wait = prefer::wait(&context.parts.headers, context.server.longest_wait());
    let state = published(context.handle, ticket, wait).await;
    let mut answer = empty(StatusCode::NO_CONTENT);
    tell(&mut answer, context.handle, state, wait);
    Ok(answer)
}

type Removed = (Option<Ticket>, Vec<(Location, ReceiveError)>);

fn remove(
    handle: &Handle,
    location: &Location,
    condition: &Condition,
    (how, by): (Removal, &Principal),
    whole: bool,
) -> Result<Removed, ServeError> {
    let folder = matches!(handle.stat(Some(location)), Ok(Some(found)) if found.is_directory);
    if !folder {
        return Ok((Some(handle.remove(location, condition, how, by)?), Vec::new()));
    }
    if !whole {
        return Err(ServeError::BadRequest(
            "a folder goes with all that is in it: Depth must be infinity".into(),
        ));
    }
    let Members { ticket, failed } = handle.remove_directory(location, how, by)?;
    Ok((ticket, failed))
}
