//! The eight kinds of relations to other packages, out of a header.

use std::borrow::Cow;
use std::iter::repeat_n;

use rpm::IndexTag;

use super::cost::Budget;
use super::header::Header;
use super::text::decode;
use super::{BadPackage, Dependency, Package};

const SENSE_EQUAL: u32 = 1 << 3;
const SENSE_STRONG: u32 = 1 << 27;

/// The lists of [`Package`] of the same names.
pub struct Relations<'h> {
    pub provides: Vec<Dependency<'h>>,
    pub requires: Vec<Dependency<'h>>,
    pub conflicts: Vec<Dependency<'h>>,
    pub obsoletes: Vec<Dependency<'h>>,
    pub suggests: Vec<Dependency<'h>>,
    pub enhances: Vec<Dependency<'h>>,
    pub recommends: Vec<Dependency<'h>>,
    pub supplements: Vec<Dependency<'h>>,
}

/// Tags of names, flags and versions.
struct Tags(IndexTag, IndexTag, IndexTag);
const PROVIDES: Tags =
    Tags(IndexTag::RPMTAG_PROVIDENAME, IndexTag::RPMTAG_PROVIDEFLAGS, IndexTag::RPMTAG_PROVIDEVERSION);
const REQUIRES: Tags =
    Tags(IndexTag::RPMTAG_REQUIRENAME, IndexTag::RPMTAG_REQUIREFLAGS, IndexTag::RPMTAG_REQUIREVERSION);
const CONFLICTS: Tags =
    Tags(IndexTag::RPMTAG_CONFLICTNAME, IndexTag::RPMTAG_CONFLICTFLAGS, IndexTag::RPMTAG_CONFLICTVERSION);
const OBSOLETES: Tags =
    Tags(IndexTag::RPMTAG_OBSOLETENAME, IndexTag::RPMTAG_OBSOLETEFLAGS, IndexTag::RPMTAG_OBSOLETEVERSION);
const SUGGESTS: Tags =
    Tags(IndexTag::RPMTAG_SUGGESTNAME, IndexTag::RPMTAG_SUGGESTFLAGS, IndexTag::RPMTAG_SUGGESTVERSION);
const ENHANCES: Tags =
    Tags(IndexTag::RPMTAG_ENHANCENAME, IndexTag::RPMTAG_ENHANCEFLAGS, IndexTag::RPMTAG_ENHANCEVERSION);
const RECOMMENDS: Tags =
    Tags(IndexTag::RPMTAG_RECOMMENDNAME, IndexTag::RPMTAG_RECOMMENDFLAGS, IndexTag::RPMTAG_RECOMMENDVERSION);
const SUPPLEMENTS: Tags = Tags(
    IndexTag::RPMTAG_SUPPLEMENTNAME,
    IndexTag::RPMTAG_SUPPLEMENTFLAGS,
    IndexTag::RPMTAG_SUPPLEMENTVERSION,
);
/// SUSE's weak dependencies before rpm 4.12; a flag tells the strong ones (recommends, supplements).
const OLD_SUGGESTS: Tags = Tags(
    IndexTag::RPMTAG_OLDSUGGESTSNAME,
    IndexTag::RPMTAG_OLDSUGGESTSFLAGS,
    IndexTag::RPMTAG_OLDSUGGESTSVERSION,
);
const OLD_ENHANCES: Tags = Tags(
    IndexTag::RPMTAG_OLDENHANCESNAME,
    IndexTag::RPMTAG_OLDENHANCESFLAGS,
    IndexTag::RPMTAG_OLDENHANCESVERSION,
);

/// Reads the relations; `package` knows its name and version already.
pub fn read<'h>(
    header: Header<'h>,
    package: &Package<'h>,
    budget: &mut Budget,
) -> Result<Relations<'h>, BadPackage> {
    let mut relations = Relations {
        provides: list(header, PROVIDES, budget)?,
        requires: list(header, REQUIRES, budget)?,
        conflicts: list(header, CONFLICTS, budget)?,
        obsoletes: list(header, OBSOLETES, budget)?,
        suggests: list(header, SUGGESTS, budget)?,
        enhances: list(header, ENHANCES, budget)?,
        recommends: list(header, RECOMMENDS, budget)?,
        supplements: list(header, SUPPLEMENTS, budget)?,
    };
    let says_source = package.is_source || header.has(IndexTag::RPMTAG_SOURCEPACKAGE as u32);
    let is_binary = header.has(IndexTag::RPMTAG_SOURCERPM as u32) || !says_source;
    if !header.has_region() && is_binary {
        provide_itself(header, package, &mut relations.provides, budget)?;
    }
    for suggestion in list(header, OLD_SUGGESTS, budget)? {
        let strong = suggestion.flags & SENSE_STRONG != 0;
        if strong { &mut relations.recommends } else { &mut relations.suggests }.push(suggestion);
    }
    for enhancement in list(header, OLD_ENHANCES, budget)? {
        let strong = enhancement.flags & SENSE_STRONG != 0;
        if strong { &mut relations.supplements } else { &mut relations.enhances }.push(enhancement);
    }
    Ok(relations)
}

/// Where the three arrays have different lengths, the shortest counts.
fn list<'h>(
    header: Header<'h>,
    Tags(names, flags, versions): Tags,
    budget: &mut Budget,
) -> Result<Vec<Dependency<'h>>, BadPackage> {
    let names = header.strings(names as u32);
    let flags = header.numbers(flags as u32);
    let versions = header.strings(versions as u32);
    let count = names.len().min(flags.len()).min(versions.len());
    let mut list = budget.list(count)?;
    list.extend(names.zip(versions).take(count).enumerate().map(|(at, (name, evr))| Dependency {
        name: decode(name),
        flags: flags.get(at).unwrap_or(0) as u32,
        evr: decode(evr),
    }));
    budget.texts(list.iter().flat_map(|entry| [&entry.name, &entry.evr]))?;
    Ok(list)
}

/// Packages from before rpm 4 do not say that they provide themselves. rpm appends it to each of the
/// three arrays as it reads them (whatever their lengths), and so does this.
fn provide_itself<'h>(
    header: Header<'h>,
    package: &Package<'h>,
    provides: &mut Vec<Dependency<'h>>,
    budget: &mut Budget,
) -> Result<(), BadPackage> {
    let own_evr = own_evr(package);
    let itself = |provide: &Dependency<'_>| {
        provide.name == package.name && provide.evr == own_evr && provide.flags == SENSE_EQUAL
    };
    if package.name.is_empty() || provides.iter().any(itself) {
        return Ok(());
    }
    let Tags(names, flags, versions) = PROVIDES;
    let names = header.strings(names as u32);
    let flags = header.numbers(flags as u32);
    let versions = header.strings(versions as u32);
    let missing = if versions.len() == 0 { names.len() } else { 0 };
    let mut list = budget.list(names.len() + 1)?;
    let names = names.map(decode).chain([package.name.clone()]);
    let flags = (0..flags.len())
        .map(|at| flags.get(at).unwrap_or(0) as u32)
        .chain(repeat_n(0, missing))
        .chain([SENSE_EQUAL]);
    let versions =
        versions.map(decode).chain(repeat_n(Cow::Borrowed(""), missing)).chain([Cow::Owned(own_evr.clone())]);
    list.extend(names.zip(flags).zip(versions).map(|((name, flags), evr)| Dependency { name, flags, evr }));
    *provides = list;
    Ok(())
}

/// As much of `epoch:version-release` as there is.
fn own_evr(package: &Package<'_>) -> String {
    let epoch = package.epoch.map(|epoch| format!("{epoch}:")).unwrap_or_default();
    let dash = if package.version.is_empty() || package.release.is_empty() { "" } else { "-" };
    format!("{epoch}{}{dash}{}", package.version, package.release)
}
