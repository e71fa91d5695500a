//! COPY and MOVE.
//!
//! Not left to dav-server, which deletes what has the name before it knows whether the copy is taken.

use hyper::StatusCode;
use hyper::header::{HOST, LOCATION};

use super::destination::{Authority, Destination};
use super::locks::Reach;
use super::{Context, Target, condition, multistatus, prefer, published, tell};
use crate::auth::{Permission, Principal};
use crate::repository::folders::Members;
use crate::repository::receive::{Condition, IncomingError, Outcome, ReceiveError};
use crate::repository::{Handle, Ticket};
use crate::serve::error::ServeError;
use crate::serve::{Answer, base, blocking, changing, elsewhere, empty, place, set};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Copy,
    Move,
}

/// What was done: whether something had the name before, when it shows, and what failed.
struct Done {
    replaced: bool,
    ticket: Option<Ticket>,
    failed: Vec<(crate::package::Location, ReceiveError)>,
}

/// Answers a COPY or MOVE of `source`.
pub(super) async fn transfer(
    context: &Context<'_>,
    source: &Target,
    kind: Kind,
) -> Result<Answer, ServeError> {
    let refused = |why: &str| Err(ServeError::Forbidden(why.to_owned()));
    let destination = context.destination()?;
    let replace = match context.header("overwrite") {
        None | Some("T" | "t") => true,
        Some("F" | "f") => false,
        Some(_) => return Err(ServeError::BadRequest("Overwrite must be T or F".into())),
    };
    let deep = match (context.header("depth"), kind) {
        (None, _) => true,
        (Some(depth), _) if depth.eq_ignore_ascii_case("infinity") => true,
        (Some("0"), Kind::Copy) => false,
        _ => return Err(ServeError::BadRequest("Depth must be infinity, or 0 for COPY".into())),
    };
    // The right to change was asked for where the request points.
    if kind == Kind::Copy {
        context.also_needs(Permission::Read, source).await?;
    }
    context.also_needs(Permission::Write, &destination).await?;
    let (Some(from), Some(to)) = (source.location.clone(), destination.location.clone()) else {
        return refused("the repository itself can be neither copied, moved nor replaced");
    };
    context.may_be_written(&to)?;
    if kind == Kind::Move {
        context.may_be_written(&from)?;
    }
    if from == to {
        return refused("source and destination are the same");
    }
    if to.is_within(&from) {
        return refused("a folder cannot be put into itself");
    }
    if from.is_within(&to) {
        return refused("the destination is a folder that holds the source");
    }
    let new = Reach { place: to.as_str(), deep: true, membership: true };
    let old = Reach { place: from.as_str(), deep: true, membership: true };
    let reaches = [new, old];
    context.check(source, if kind == Kind::Move { &reaches } else { &reaches[..1] }).await?;

    if let Some(answer) = context.transfer_placeholder(&from, &to, kind).await? {
        return Ok(answer);
    }
    // A package takes the place of a package as an upload does. Anything else removes what is there.
    let removes = replace && context.makes_room(&from, &to).await?;
    if removes {
        context.also_needs(Permission::Delete, &destination).await?;
    }
    let by = context.principal.clone();
    let work = Work { from: from.clone(), to: to.clone(), kind, replace, removes, deep, by };
    let (handle, condition) = (context.handle.clone(), condition(&context.parts.headers));
    let done = changing("copy or move", move || work.carry_out(&handle, condition)).await??;
    context.share.let_go(to.as_str());
    if done.failed.is_empty() {
        if kind == Kind::Move {
            context.share.locks.forget(from.as_str());
        }
    } else {
        return Ok(multistatus::failures(&context.href(""), &done.failed));
    }
    let wait = prefer::wait(&context.parts.headers, context.server.longest_wait());
    let state = published(context.handle, done.ticket, wait).await;
    let mut answer = empty(if done.replaced { StatusCode::NO_CONTENT } else { StatusCode::CREATED });
    if !done.replaced {
        set(&mut answer, LOCATION, &context.href(to.as_str()));
    }
    tell(&mut answer, context.handle, state, wait);
    Ok(answer)
}

struct Work {
    from: crate::package::Location,
    to: crate::package::Location,
    kind: Kind,
    replace: bool,
    /// Whoever asks may remove what is at `to`.
    removes: bool,
    deep: bool,
    by: Principal,
}

impl Work {
    fn carry_out(self, handle: &Handle, condition: Condition) -> Result<Done, ServeError> {
        let Self { from, to, kind, replace, removes, deep, by } = self;
        let looking = |error| ServeError::internal("look at the tree", error);
        let source = handle.stat(Some(&from)).map_err(looking)?.ok_or(ServeError::NotFound)?;
        if !condition(Some(&source.stamp)) {
            return Err(ServeError::PreconditionFailed);
        }
        let parent = handle.stat(to.parent().as_ref()).map_err(looking)?;
        if !parent.is_some_and(|parent| parent.is_directory) {
            return Err(super::no_folder());
        }
        let there = handle.stat(Some(&to)).map_err(looking)?;
        if there.is_some() && !replace {
            return Err(ServeError::PreconditionFailed);
        }
        let replaced = there.is_some();
        if let Some(there) = &there
            && (there.is_directory || source.is_directory)
        {
            if !removes {
                return Err(ServeError::Conflict("somebody else has put something there; try again".into()));
            }
            let Members { ticket, failed } = match kind {
                Kind::Copy => handle.copy_in_place_of(&from, &to, deep, &by),
                Kind::Move => handle.rename_in_place_of(&from, &to, &by),
            }
            .map_err(|error| match error {
                ReceiveError::Incoming(IncomingError::OtherFileSystem(place)) => ServeError::Conflict(format!(
                    "{place} lies on another file system, where nothing can take its place in one step; nothing was \
                     changed: delete it first"
                )),
                error => error.into(),
            })?;
            return Ok(Done { replaced, ticket, failed });
        }
        let replace = replace && (removes || handle.write_replaces(&to));
        if there.is_some() && !replace {
            return Err(ServeError::Conflict("somebody else has put something there; try again".into()));
        }
        match (kind, source.is_directory) {
            (Kind::Move, _) => {
                let always: Condition = Box::new(|_| true);
                let (_, ticket) = handle.rename(&from, &to, &always, replace, &by)?;
                Ok(Done { replaced, ticket: Some(ticket), failed: Vec::new() })
            }
            (Kind::Copy, true) => {
                let Members { ticket, failed } = handle.copy_directory_from(handle, &from, &to, deep, &by)?;
                Ok(Done { replaced, ticket, failed })
            }
            (Kind::Copy, false) => {
                let may: Condition = Box::new(move |there| there.is_none() || replace);
                let received = handle.copy_from(handle, &from, &to, may, &by)?;
                let replaced = replaced || received.outcome != Outcome::New;
                Ok(Done { replaced, ticket: received.ticket, failed: Vec::new() })
            }
        }
    }
}

impl Context<'_> {
    /// Where the `Destination` header points: in this repository, or nowhere we can go.
    fn destination(&self) -> Result<Target, ServeError> {
        let url = self.header("destination").ok_or_else(|| {
            ServeError::BadRequest(format!("{} needs a Destination header", self.parts.method))
        })?;
        self.target_of(url)
    }

    /// The place in this repository that an absolute URL, or an absolute path, names.
    pub(super) fn target_of(&self, url: &str) -> Result<Target, ServeError> {
        let Destination { server, path } = Destination::parse(url)?;
        if server.as_ref().is_some_and(|server| !self.is_called(server)) {
            return Err(elsewhere());
        }
        // A front may have left the path of base_url in it. Where both ways lead into this repository, it counts as below
        // that path only if it names the server as base_url does.
        let settings = self.server.settings.now();
        let is_told = server.as_ref().is_some_and(|server| server.is_one_of(self.base_host().as_deref()));
        let within = |path: &str| Ok(Target { location: place(path, self.mounts, self.mount)? });
        let whole = within(path);
        match base::below(path, &settings.base_path).map(within) {
            Some(Ok(below)) if is_told || whole.is_err() => Ok(below),
            _ => whole,
        }
    }

    /// Host and port in `base_url`.
    fn base_host(&self) -> Option<String> {
        let settings = self.server.settings.now();
        let (_, rest) = settings.config.base_url.as_deref()?.split_once("://")?;
        rest.split('/').next().map(str::to_owned)
    }

    /// Whether this server is known by that host and port: the client says so, or the configuration does.
    fn is_called(&self, server: &Authority<'_>) -> bool {
        let host = self.parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| self.parts.uri.authority().map(hyper::http::uri::Authority::as_str));
        let base = self.base_host();
        server.is_one_of([host, base.as_deref()].into_iter().flatten())
    }

    /// Whether something has to go for the copy of `from` to be at `to`.
    async fn makes_room(
        &self,
        from: &crate::package::Location,
        to: &crate::package::Location,
    ) -> Result<bool, ServeError> {
        let (handle, places) = (self.handle.clone(), [from.clone(), to.clone()]);
        let found = blocking("look at the tree", move || {
            places.map(|place| handle.stat(Some(&place)).map(|found| found.map(|found| found.is_directory)))
        });
        let [source, there] = found.await?;
        let looking = |error| ServeError::internal("look at the tree", error);
        Ok(match (source.map_err(looking)?, there.map_err(looking)?) {
            (Some(source), Some(there)) => source || there || !self.handle.write_replaces(to),
            _ => false,
        })
    }

    /// Copies or moves what is no file yet.
    async fn transfer_placeholder(
        &self,
        from: &crate::package::Location,
        to: &crate::package::Location,
        kind: Kind,
    ) -> Result<Option<Answer>, ServeError> {
        if self.share.placeholder(from.as_str()).is_none() {
            return Ok(None);
        }
        let (handle, places) = (self.handle.clone(), (from.clone(), to.clone()));
        let taken = blocking("look at the tree", move || {
            [handle.stat(Some(&places.0)), handle.stat(Some(&places.1))]
                .map(|found| !matches!(found, Ok(None)))
        })
        .await?;
        match taken {
            [true, _] => return Ok(None),
            [_, true] => {
                return Err(ServeError::Conflict(
                    "an empty file cannot take the place of a file with content".into(),
                ));
            }
            [false, false] => {}
        }
        if !self.share.hold_for_content(to.as_str(), &self.holder()) {
            return Err(ServeError::NoRoom("too many files wait for their content".into()));
        }
        if kind == Kind::Move {
            self.share.let_go(from.as_str());
            self.share.locks.forget(from.as_str());
        }
        Ok(Some(empty(StatusCode::CREATED)))
    }
}
