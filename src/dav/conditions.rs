//! Whether a request may go on: its `If` header, and other people's locks.

use super::if_header::{self, List, What};
use super::locks::Reach;
use super::{Context, Target};
use crate::serve::error::ServeError;
use crate::serve::{Validators, blocking};

impl Context<'_> {
    /// Refuses a request whose `If` header does not hold (412), or that would change what somebody else
    /// has locked (423). Gives back the lock tokens that were submitted.
    pub(super) async fn check(
        &self,
        target: &Target,
        reaches: &[Reach<'_>],
    ) -> Result<Vec<String>, ServeError> {
        let lists = self.if_lists()?;
        let tokens = lists.as_deref().map(if_header::tokens).unwrap_or_default();
        if let Some(lists) = lists
            && !self.any_holds(target, &lists).await?
        {
            return Err(ServeError::PreconditionFailed);
        }
        for reach in reaches {
            self.unlocked(*reach, &tokens)?;
        }
        Ok(tokens)
    }

    /// Refuses what somebody else's lock forbids.
    pub(super) fn unlocked(&self, reach: Reach<'_>, tokens: &[String]) -> Result<(), ServeError> {
        match self.share.locks.forbids(reach, tokens) {
            Some(place) => Err(ServeError::Locked { place }),
            None => Ok(()),
        }
    }

    fn if_lists(&self) -> Result<Option<Vec<List>>, ServeError> {
        let bad = || ServeError::BadRequest("the If header cannot be read".into());
        let mut values = self.parts.headers.get_all("if").iter();
        let Some(value) = values.next() else { return Ok(None) };
        let text = value.to_str().map_err(|_| bad())?;
        if values.next().is_some() {
            return Err(bad());
        }
        if_header::parse(text).map(Some).ok_or_else(bad)
    }

    async fn any_holds(&self, target: &Target, lists: &[List]) -> Result<bool, ServeError> {
        for list in lists {
            let about = match &list.resource {
                None => Some(target.clone()),
                Some(url) => self.target_of(url).ok(),
            };
            // What is not ours has no lock and no tag here.
            let tag = match &about {
                Some(about) if list.conditions.iter().any(|c| matches!(c.what, What::Tag(_))) => {
                    self.tag(about).await?
                }
                _ => None,
            };
            let place = about.as_ref().map(Target::place);
            let holds = list.holds(|what| match what {
                What::Token(token) => place.is_some_and(|at| self.share.locks.is_covered_by(at, token)),
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
