//! Whether a request may go on: its `If` header, and other people's locks.

use hyper::http::request::Parts;

use super::if_header::{self, List, What};
use super::locks::{Keys, Reach};
use super::share::Share;
use super::{Context, Target};
use crate::auth::Principal;
use crate::package::Location;
use crate::serve::error::ServeError;
use crate::serve::{Validators, blocking};

/// What a commit asks of each file: whether locks let it change, given whether something has its name. The request's `If` header
/// submits the tokens.
pub(crate) fn locks_let(
    share: &Share,
    parts: &Parts,
    by: &Principal,
) -> Result<impl Fn(&Location, bool) -> bool + Clone + Send + use<>, ServeError> {
    let lists = if_lists(parts)?;
    let tokens = lists.as_deref().map(if_header::tokens).unwrap_or_default();
    let (locks, keys) = (share.locks.clone(), Keys { tokens, by: by.clone() });
    Ok(move |location: &Location, exists: bool| {
        let reach = Reach { place: location.as_str(), deep: false, membership: !exists };
        locks.forbids(reach, &keys).is_none()
    })
}

/// Conditions of one request: clients send one for each lock they have on what they change.
const MOST: usize = 256;
/// Places whose tags one request asks for: each is a look at the tree.
const MOST_TAGS: usize = 16;

fn if_lists(parts: &Parts) -> Result<Option<Vec<List>>, ServeError> {
    let bad = || ServeError::BadRequest("the If header cannot be read".into());
    let mut values = parts.headers.get_all("if").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().map_err(|_| bad())?;
    if values.next().is_some() {
        return Err(bad());
    }
    let lists = if_header::parse(text).ok_or_else(bad)?;
    if lists.iter().map(|list| list.conditions.len()).sum::<usize>() > MOST {
        return Err(ServeError::BadRequest(format!("the If header has more than {MOST} conditions")));
    }
    Ok(Some(lists))
}

impl Context<'_> {
    /// Refuses a request whose `If` header does not hold (412), or that would change what somebody else
    /// has locked (423). Gives back the lock tokens that were submitted, with whose they have to be.
    pub(super) async fn check(&self, target: &Target, reaches: &[Reach<'_>]) -> Result<Keys, ServeError> {
        let lists = if_lists(self.parts)?;
        let tokens = lists.as_deref().map(if_header::tokens).unwrap_or_default();
        let keys = Keys { tokens, by: self.principal.clone() };
        if let Some(lists) = lists
            && !self.any_holds(target, &lists).await?
        {
            return Err(ServeError::PreconditionFailed);
        }
        for reach in reaches {
            self.unlocked(*reach, &keys)?;
        }
        Ok(keys)
    }

    /// Refuses what somebody else's lock forbids.
    pub(super) fn unlocked(&self, reach: Reach<'_>, keys: &Keys) -> Result<(), ServeError> {
        match self.share.locks.forbids(reach, keys) {
            Some(place) => Err(ServeError::Locked { place }),
            None => Ok(()),
        }
    }

    async fn any_holds(&self, target: &Target, lists: &[List]) -> Result<bool, ServeError> {
        let mut known: Vec<(Target, Option<String>)> = Vec::new();
        for list in lists {
            let about = match &list.resource {
                None => Some(target.clone()),
                Some(url) => self.target_of(url).ok(),
            };
            // What is not ours has no lock and no tag here.
            let tag = match &about {
                Some(about) if list.conditions.iter().any(|c| matches!(c.what, What::Tag(_))) => {
                    match known.iter().find(|(target, _)| target == about) {
                        Some((_, tag)) => tag.clone(),
                        None if known.len() == MOST_TAGS => {
                            let why =
                                format!("the If header asks for the tags of more than {MOST_TAGS} places");
                            return Err(ServeError::BadRequest(why));
                        }
                        None => {
                            let tag = self.tag(about).await?;
                            known.push((about.clone(), tag.clone()));
                            tag
                        }
                    }
                }
                _ => None,
            };
            let place = about.as_ref().map(Target::place);
            let holds = list.holds(|what| match what {
                What::Token(token) => place.is_some_and(|at| self.share.locks.find(at, token).is_some()),
                What::Tag(stated) => tag.as_ref() == Some(stated),
            });
            if holds {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The entity tag of what is at `target`.
    async fn tag(&self, target: &Target) -> Result<Option<String>, ServeError> {
        let (handle, location) = (self.handle.clone(), target.location.clone());
        let found = blocking("look at a file", move || handle.stat(location.as_ref()))
            .await?
            .map_err(|error| ServeError::internal("look at a file", error))?;
        Ok(match found {
            Some(listed) => (!listed.is_directory).then(|| Validators::of(&listed.stamp).etag),
            None => self.share.placeholder(target.place()).map(|_| super::EMPTY_TAG.to_owned()),
        })
    }
}
