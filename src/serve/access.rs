//! Who may do what: what is known of a request, held against the repository's rules.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::Method;
use hyper::http::request::Parts;

use super::error::ServeError;
use super::foreign::not_local;
use super::route::{Whose, normal, without_number};
use super::site::{Mount, Mounts};
use super::{Ends, Server, Transport};
use crate::auth::{Asking, Permission, Principal, Refusal};
use crate::config::{ReadAccess, RepositoryConfig, WriteAccess};

/// What a method wants of the repository its URL lies in. A method we do not know wants to read: what
/// follows is a refusal, which is told to readers only.
pub(super) fn wanted(method: &Method, query: Option<&str>) -> Permission {
    match method.as_str() {
        "DELETE" if removes_now(query) => Permission::Admin,
        "PUT" | "MKCOL" | "COPY" | "PROPPATCH" | "LOCK" | "UNLOCK" => Permission::Write,
        "DELETE" | "MOVE" => Permission::Delete,
        _ => Permission::Read,
    }
}

/// `DELETE …?now` keeps nothing for the grace period.
pub(crate) fn removes_now(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').any(|pair| pair == "now" || pair.starts_with("now=")))
}

/// What a client was found to be, and what its answer tells.
pub(super) struct Seen {
    pub(super) principal: Principal,
    /// Whether anybody would be told the same: the answer may be kept by caches that many use.
    pub(super) by_anyone: bool,
    /// Whether it was found that the client may know what the URL names.
    pub(super) let_in: bool,
}

/// Whether a client may know what its URL is of, before anything is told, also that there is nothing: asks for what
/// the method wants of a repository.
pub(super) async fn admit(
    server: &Server,
    ends: &Ends,
    parts: &Parts,
    mounts: &Mounts,
    whose: Whose<'_>,
    seen: &mut Seen,
) -> Result<(), ServeError> {
    let all_open = || mounts.all().iter().all(|mount| mount.config.read == ReadAccess::Anyone);
    match whose {
        Whose::Content(mount) => {
            seen.by_anyone = mount.config.read == ReadAccess::Anyone;
            let wanted = wanted(&parts.method, parts.uri.query());
            seen.principal = authorize(server, ends, parts, &mount.config, wanted).await?;
        }
        Whose::Control(mount) => {
            seen.by_anyone = mount.config.read == ReadAccess::Anyone;
            if ends.transport != Transport::Control {
                let asking = asking(ends, parts, &mount.config, Permission::Read);
                let path = || normal(parts.uri.path());
                server.guard.knows(&Asking { path: &path, ..asking }).await?;
            }
        }
        Whose::Nobody => {
            seen.by_anyone = all_open();
            if !seen.by_anyone && ends.transport != Transport::Control {
                let refusal =
                    server.guard.nowhere(&parts.headers, peer(ends), ends.certificate.as_deref()).await;
                return Err(refusal.into());
            }
        }
        Whose::Server => seen.by_anyone = all_open(),
    }
    seen.let_in = true;
    Ok(())
}

/// The repositories this client may know of. Nobody is asked who it is.
pub(super) async fn visible(
    server: &Server,
    ends: &Ends,
    parts: &Parts,
    mounts: &Arc<Mounts>,
) -> Arc<Mounts> {
    let is_open = |mount: &Mount| mount.config.read == ReadAccess::Anyone;
    if ends.transport == Transport::Control || mounts.all().iter().all(is_open) {
        return Arc::clone(mounts);
    }
    let seen = among(server, ends, parts, mounts.all(), &|_| Permission::Read).await;
    let seen = mounts.all().iter().zip(seen).filter(|(_, seen)| *seen).map(|(mount, _)| mount.clone());
    Arc::new(Mounts::new(seen.collect()))
}

/// Whether the client may know what is wrong with each repository, and where: paths of this machine, names of files
/// that are not served, causes. Programs on this machine, and who may write. Nobody is asked who it is.
pub(super) async fn may_see_causes(
    server: &Server,
    ends: &Ends,
    parts: &Parts,
    mounts: &[Mount],
) -> Vec<bool> {
    let is_local = ends.transport == Transport::Control
        || (ends.transport != Transport::Unix && not_local(ends.peer.ip(), &parts.headers).is_none());
    if is_local {
        return vec![true; mounts.len()];
    }
    // What anyone may write, is for its administrators to look into.
    let right = |repository: &RepositoryConfig| match repository.write {
        WriteAccess::Anyone => Permission::Admin,
        _ => Permission::Write,
    };
    among(server, ends, parts, mounts, &right).await
}

/// Whether the client has a right to each repository.
async fn among(
    server: &Server,
    ends: &Ends,
    parts: &Parts,
    mounts: &[Mount],
    right: &(dyn Fn(&RepositoryConfig) -> Permission + Sync),
) -> Vec<bool> {
    let Some(first) = mounts.first() else { return Vec::new() };
    let asking = asking(ends, parts, &first.config, Permission::Read);
    server.guard.among(&asking, right, mounts.iter().map(|mount| &*mount.config)).await
}

/// Whether a request may do this in a repository, and who makes it. To be asked before anything is told
/// of what is there, and before a byte of a body is taken. Every request is asked once for what its
/// method wants; what it wants beyond that (the target of a MOVE) is asked for in addition.
pub(crate) async fn authorize(
    server: &Server,
    ends: &Ends,
    parts: &Parts,
    repository: &RepositoryConfig,
    permission: Permission,
) -> Result<Principal, ServeError> {
    // The file of the control socket says who may use it.
    if ends.transport == Transport::Control {
        return Ok(Principal::Local);
    }
    let path = || without_number(&normal(parts.uri.path()), &repository.url);
    let not_local = || not_local(ends.peer.ip(), &parts.headers);
    let asking = Asking { path: &path, not_local: &not_local, ..asking(ends, parts, repository, permission) };
    server.guard.decide(&asking).await.map_err(ServeError::from)
}

fn asking<'r>(
    ends: &'r Ends,
    parts: &'r Parts,
    repository: &'r RepositoryConfig,
    permission: Permission,
) -> Asking<'r> {
    Asking {
        repository,
        permission,
        method: parts.method.as_str(),
        path: &String::new,
        headers: &parts.headers,
        peer: peer(ends),
        certificate: ends.certificate.as_deref(),
        not_local: &|| Some("nobody asked where this one is"),
    }
}

/// Where a connection comes from; `None` for a unix socket.
pub(super) fn peer(ends: &Ends) -> Option<IpAddr> {
    matches!(ends.transport, Transport::Plain | Transport::Tls).then(|| ends.peer.ip())
}

impl From<Refusal> for ServeError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unknown(why) => Self::Unauthorized(why),
            Refusal::Forbidden(why) => Self::Forbidden(why),
            Refusal::TooMany(wait) => Self::TooManyRequests { seconds: wait.as_secs() + 1 },
            Refusal::Busy => Self::Busy,
            Refusal::Undecided(authorizer) => Self::Undecided { authorizer },
            Refusal::Nothing => Self::NotFound,
            Refusal::Failed(source) => Self::internal("find out who asks", source),
        }
    }
}
