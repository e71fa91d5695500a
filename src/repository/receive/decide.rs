//! What becomes of a complete and valid upload: the overwrite rule, and the rule of duplicates.

use super::{Here, Offer, Outcome, ReceiveError, catalog};
use crate::config::Overwrite;
use crate::package::{Location, Nevra, PkgId};
use crate::repository::{Handle, Known};
use crate::tree::FileStamp;

/// What is to be done with a complete and valid upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    New,
    Replace,
    /// The stamp of the file that has these bytes already.
    Same(FileStamp),
}

impl Handle {
    /// `here`: what has the name.
    pub(super) fn decide(
        &self,
        offer: &Offer,
        here: Option<Here>,
        package: Option<(&Nevra, &PkgId)>,
    ) -> Result<Decision, ReceiveError> {
        let location = &offer.location;
        if !(offer.condition)(here.as_ref().map(|here| &here.stamp)) {
            return Err(ReceiveError::Condition(location.clone()));
        }
        self.decide_between(location, here, package, offer.clears.as_ref())
    }

    /// `clears`: what will be gone by then.
    fn decide_between(
        &self,
        location: &Location,
        here: Option<Here>,
        package: Option<(&Nevra, &PkgId)>,
        clears: Option<&Location>,
    ) -> Result<Decision, ReceiveError> {
        let Some((nevra, pkgid)) = package else {
            return Ok(if here.is_some() { Decision::Replace } else { Decision::New });
        };
        let here = match here {
            Some(here) => Some((self.pkgid(location, &here)?, here.stamp)),
            None => None,
        };
        // What the catalog has not yet noticed to be gone does not stand in the way.
        let mut same_nevra = self.find_nevra(nevra).map_err(|source| catalog(location, source))?;
        same_nevra.retain(|known| {
            let goes = clears.is_some_and(|clears| known.location.is_within(clears));
            known.location != *location && !goes && self.is_there(&known.location)
        });
        let here = here.as_ref().map(|(pkgid, stamp)| (pkgid, *stamp));
        decide(self.config().overwrite, location, (nevra, pkgid), here, &same_nevra)
    }

    /// What would become of a file in the tree as it is now.
    pub(in crate::repository) fn decide_about(
        &self,
        location: &Location,
        package: Option<(&Nevra, &PkgId)>,
    ) -> Result<Outcome, ReceiveError> {
        let here = self.look(location)?;
        Ok(match self.decide_between(location, here, package, None)? {
            Decision::New => Outcome::New,
            Decision::Replace => Outcome::Replaced,
            Decision::Same(_) => Outcome::Same,
        })
    }

    fn is_there(&self, location: &Location) -> bool {
        matches!(self.look(location), Ok(Some(_)))
    }
}

/// The overwrite rule and the rule of duplicates (product.md rule 10).
pub(super) fn decide(
    overwrite: Overwrite,
    location: &Location,
    (nevra, pkgid): (&Nevra, &PkgId),
    here: Option<(&PkgId, FileStamp)>,
    same_nevra_elsewhere: &[Known],
) -> Result<Decision, ReceiveError> {
    let taken = |identical| Err(ReceiveError::NameTaken { location: location.clone(), identical });
    let decision = match (here, overwrite) {
        (None, _) => Decision::New,
        (Some((old, _)), Overwrite::Deny) => return taken(old == pkgid),
        (Some((old, stamp)), Overwrite::Same | Overwrite::Allow) if old == pkgid => {
            return Ok(Decision::Same(stamp));
        }
        (Some(_), Overwrite::Same) => return taken(false),
        (Some(_), Overwrite::Allow) => Decision::Replace,
    };
    match same_nevra_elsewhere.iter().find(|known| known.pkgid != *pkgid) {
        Some(known) => {
            Err(ReceiveError::NevraTaken { nevra: nevra.clone(), location: known.location.clone() })
        }
        None => Ok(decision),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::{Checksum, ChecksumType, Evr};

    const STAMP: FileStamp = FileStamp { inode: 1, size: 2, mtime_ns: 3, ctime_ns: 4 };

    fn sum(text: &str) -> PkgId {
        Checksum::of(ChecksumType::Sha256, text.as_bytes())
    }

    /// What becomes of bytes "new" at `a.rpm`, in short.
    fn outcome(overwrite: Overwrite, here: Option<&str>, elsewhere: &[(&str, &str)]) -> &'static str {
        let location = Location::parse("a.rpm").unwrap();
        let evr = Evr { epoch: 0, version: "1".into(), release: "1".into() };
        let nevra = Nevra { name: "a".into(), evr, arch: "noarch".into() };
        let here = here.map(sum);
        let elsewhere: Vec<Known> = elsewhere
            .iter()
            .map(|(at, bytes)| Known {
                location: Location::parse(at).unwrap(),
                stamp: STAMP,
                pkgid: sum(bytes),
            })
            .collect();
        match decide(
            overwrite,
            &location,
            (&nevra, &sum("new")),
            here.as_ref().map(|h| (h, STAMP)),
            &elsewhere,
        ) {
            Ok(Decision::New) => "new",
            Ok(Decision::Replace) => "replace",
            Ok(Decision::Same(stamp)) if stamp == STAMP => "same",
            Err(ReceiveError::NameTaken { identical: true, .. }) => "name taken, identical",
            Err(ReceiveError::NameTaken { identical: false, .. }) => "name taken",
            Err(ReceiveError::NevraTaken { location, .. }) if location.as_str() == "b.rpm" => "nevra taken",
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_overwrite_rule_decides_about_names() {
        use Overwrite::{Allow, Deny, Same};
        for (rule, absent, identical, other) in [
            (Deny, "new", "name taken, identical", "name taken"),
            (Same, "new", "same", "name taken"),
            (Allow, "new", "same", "replace"),
        ] {
            assert_eq!(outcome(rule, None, &[]), absent, "{rule:?}");
            assert_eq!(outcome(rule, Some("new"), &[]), identical, "{rule:?}");
            assert_eq!(outcome(rule, Some("old"), &[]), other, "{rule:?}");
        }
    }

    #[test]
    fn one_nevra_has_one_content_over_http() {
        for rule in [Overwrite::Deny, Overwrite::Same, Overwrite::Allow] {
            assert_eq!(
                outcome(rule, None, &[("b.rpm", "new")]),
                "new",
                "{rule:?}: the same bytes twice are fine"
            );
            assert_eq!(outcome(rule, None, &[("c.rpm", "new"), ("b.rpm", "old")]), "nevra taken", "{rule:?}");
        }
        assert_eq!(outcome(Overwrite::Allow, Some("old"), &[("b.rpm", "old")]), "nevra taken");
        // What is there already stays as it is, whatever else is wrong.
        assert_eq!(outcome(Overwrite::Allow, Some("new"), &[("b.rpm", "old")]), "same");
    }
}
