//! Metadata beyond packages: which files of the tree hold it, whether they are good, and what is published
//! of them. A file that is broken changes nothing: what was good last stays.

mod pack;
mod shown;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::{Repository, RepositoryError};
use crate::catalog::additional::Source;
use crate::package::Location;
use crate::publish;
use crate::repodata::additional::{MODULES, family, is_made, longest, rank};
use crate::repodata::codec::Limits;
use crate::repodata::turn::Turn;
use crate::repodata::{Codec, Modules, Record, Repomd};
use crate::scan;
use crate::tree::{Differences, FileStamp, Found, Rejected, Unread};
use pack::{Failure, Opened, Packer, forms};

pub use pack::MadeFile;
pub use shown::as_configured;

/// What is known of additional metadata beyond what the catalog remembers.
#[derive(Default)]
pub struct Additional {
    /// Made and waiting for the next publication, by type.
    fresh: BTreeMap<String, Fresh>,
    /// What the catalog is to remember once that is published.
    published: Fresh,
    /// Files outside of the tree as last seen; `None` for one that is not there.
    outside: BTreeMap<PathBuf, Option<FileStamp>>,
    /// What is wrong with files outside of the tree, by path.
    trouble: BTreeMap<String, String>,
    /// Files of the tree that could not be read for now.
    unread: Vec<Unread>,
}

/// All of one type, made anew.
#[derive(Default)]
struct Fresh {
    files: Vec<MadeFile>,
    /// What it was made of, and what the catalog is to forget.
    sources: Vec<Source>,
    gone: Vec<String>,
}

/// One record of a publication.
pub enum Extra {
    /// As it is shown already.
    Kept(Record),
    Made(MadeFile),
}

/// A file that may hold metadata of some type.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Candidate {
    Inside(Location),
    Outside(PathBuf),
}

impl Candidate {
    fn path(&self) -> String {
        match self {
            Self::Inside(location) => location.to_string(),
            Self::Outside(path) => path.to_string_lossy().into_owned(),
        }
    }
}

/// Why a file is not taken.
enum Why {
    /// What it holds is no such metadata.
    Content(String),
    /// The system says so: it holds for this moment.
    System(String),
}

const CHANGED: &str = "it changed while it was read; it is looked at again once it is complete";

/// What a look knows when it turns to one type.
struct Known<'a> {
    sources: &'a [Source],
    rejected: &'a [Location],
    changed: &'a BTreeSet<Location>,
    gone: &'a BTreeSet<Location>,
}

impl Repository {
    /// Takes what concerns additional metadata out of `found`, and makes what changed. Says whether a
    /// publication is due for it, and which files were read.
    pub(super) fn look_at_additional(
        &mut self,
        found: &mut Differences,
    ) -> Result<(bool, Vec<Found>), RepositoryError> {
        let is_package = |location: &Location| location.names_a_package();
        let mut read: Vec<Found> = found.read.extract_if(.., |f| !is_package(&f.location)).collect();
        read.extend(found.recheck.extract_if(.., |f| !is_package(&f.location)));
        let gone: BTreeSet<Location> = found.gone.extract_if(.., |location| !is_package(location)).collect();
        let mut kinds = self.changed_outside();
        if read.is_empty() && gone.is_empty() && kinds.is_empty() {
            return Ok((false, read));
        }
        let changed: BTreeSet<Location> = read.iter().map(|found| found.location.clone()).collect();
        let sources = self.catalog()?.additional()?;
        let rejected = self.catalog()?.rejected_locations()?;
        for place in changed.iter().chain(&gone) {
            kinds.extend(self.config.additional_metadata.kind_of(place).map(str::to_owned));
            kinds.extend(sources.iter().filter(|s| s.path == place.as_str()).map(|s| s.kind.clone()));
        }
        let settled: Vec<Location> = gone.iter().cloned().collect();
        self.catalog()?.reject_files(&[], &settled)?;
        // Of this process or not: what a broken file said last is there.
        let shown = self.place.current()?.and_then(|bytes| publish::parse(&bytes).ok());
        let known = Known { sources: &sources, rejected: &rejected, changed: &changed, gone: &gone };
        let mut is_due = false;
        for kind in kinds {
            // Its staged files have the names of those to be made.
            self.additional.fresh.remove(&kind);
            let Some(fresh) = self.remake(&kind, &known, shown.as_ref())? else { continue };
            if shown.as_ref().is_some_and(|shown| fresh.shows_in(shown, &kind)) {
                self.catalog()?.set_additional(&fresh.sources, &fresh.gone)?;
            } else {
                is_due = true;
                self.additional.fresh.insert(kind, fresh);
            }
        }
        Ok((is_due, read))
    }

    /// What is published beyond packages: what waits for it, what is shown already, and what has to be made
    /// again because it is not.
    pub(super) fn additional(&mut self, shown: Option<&Repomd>) -> Result<Vec<Extra>, RepositoryError> {
        let mut fresh = std::mem::take(&mut self.additional.fresh);
        self.additional.published = Fresh::default();
        let sources = self.catalog()?.additional()?;
        let rejected = self.catalog()?.rejected_locations()?;
        let none = BTreeSet::new();
        let known = Known { sources: &sources, rejected: &rejected, changed: &none, gone: &none };
        let kind_of = |location: &Location| self.config.additional_metadata.kind_of(location);
        let mut kinds: BTreeSet<String> = fresh.keys().cloned().collect();
        kinds.extend(sources.iter().map(|source| source.kind.clone()));
        kinds.extend(rejected.iter().filter_map(|location| kind_of(location).map(str::to_owned)));
        kinds.extend(self.config.additional_metadata.outside().map(|(kind, _)| kind.to_owned()));
        let is_first = !self.catalog()?.knows_additional()?;
        let records = shown.map_or(&[][..], |shown| &shown.records);
        if is_first {
            let theirs = records.iter().map(|record| family(&record.kind)).filter(|kind| !is_made(kind));
            kinds.extend(theirs.map(str::to_owned));
        }
        let mut extras = Vec::new();
        for kind in kinds {
            let records: Vec<Record> =
                records.iter().filter(|record| family(&record.kind) == kind).cloned().collect();
            let made = match fresh.remove(&kind) {
                Some(made) => Some(made),
                None => self.keep_or_remake(&kind, records, &known, shown, &mut extras)?,
            };
            let Some(made) = made else { continue };
            extras.extend(made.files.into_iter().map(Extra::Made));
            self.additional.published.sources.extend(made.sources);
            self.additional.published.gone.extend(made.gone);
        }
        Ok(extras)
    }

    /// Notes that what [`additional`](Self::additional) told last is published.
    pub(super) fn additional_is_published(&mut self) -> Result<(), RepositoryError> {
        let Fresh { sources, gone, .. } = std::mem::take(&mut self.additional.published);
        let catalog = self.catalog()?;
        catalog.set_additional(&sources, &gone)?;
        Ok(catalog.set_knows_additional()?)
    }

    /// Files outside of the tree that are not published as they are now: `(path, reason)`.
    pub(super) fn additional_trouble(&self) -> Vec<(String, String)> {
        self.additional.trouble.iter().map(|(path, why)| (path.clone(), why.clone())).collect()
    }

    /// Files that could not be read for now; told once.
    pub(super) fn additional_unread(&mut self) -> Vec<Unread> {
        std::mem::take(&mut self.additional.unread)
    }

    /// Whether a file outside of the tree is another than last time.
    pub(super) fn is_changed_outside(&self) -> bool {
        self.look_outside().any(|(_, path, stamp)| self.additional.outside.get(path) != Some(&stamp))
    }

    /// Types whose file outside of the tree is another than last time.
    fn changed_outside(&mut self) -> BTreeSet<String> {
        let seen: Vec<_> = self
            .look_outside()
            .map(|(kind, path, stamp)| (kind.to_owned(), path.to_owned(), stamp))
            .collect();
        let outside = &mut self.additional.outside;
        let changed = seen
            .into_iter()
            .filter_map(|(kind, path, stamp)| (outside.insert(path, stamp) != Some(stamp)).then_some(kind));
        changed.collect()
    }

    fn look_outside(&self) -> impl Iterator<Item = (&str, &Path, Option<FileStamp>)> {
        let outside = self.config.additional_metadata.outside();
        // One that cannot be looked at is neither changed nor gone.
        outside.filter_map(|(kind, path)| Some((kind, path, scan::stamp_of(path).ok()?)))
    }

    /// The files that may hold metadata of this type, the one to be taken first.
    fn candidates(&self, kind: &str, known: &Known<'_>) -> Vec<Candidate> {
        let additional = &self.config.additional_metadata;
        let sources = known.sources.iter().filter_map(Source::location);
        let inside = sources.chain(known.rejected.iter().cloned()).chain(known.changed.iter().cloned());
        let mut inside: Vec<Location> = inside
            .filter(|place| additional.kind_of(place) == Some(kind) && !known.gone.contains(place))
            .collect();
        inside.sort();
        inside.dedup();
        if kind != MODULES {
            inside.sort_by_key(|place| rank(place.as_str()));
        }
        let outside =
            additional.outside().filter(|(named, path)| *named == kind && path.try_exists().unwrap_or(true));
        let outside = outside.map(|(_, path)| Candidate::Outside(path.to_owned()));
        inside.into_iter().map(Candidate::Inside).chain(outside).collect()
    }

    /// Makes all of one type from its files; `None` where they are broken and what was good last stays.
    fn remake(
        &mut self,
        kind: &str,
        known: &Known<'_>,
        shown: Option<&Repomd>,
    ) -> Result<Option<Fresh>, RepositoryError> {
        let candidates = self.candidates(kind, known);
        let gone =
            known.sources.iter().filter(|source| source.kind == kind).map(|s| s.path.clone()).collect();
        let nothing = Fresh { gone, ..Fresh::default() };
        let _turn = (!candidates.is_empty()).then(Turn::for_lying);
        if kind == MODULES && !candidates.is_empty() {
            return self.merge_modules(candidates, known, shown, nothing);
        }
        let [taken, others @ ..] = &candidates[..] else { return Ok(Some(nothing)) };
        for other in others {
            self.reject(
                other,
                FileStamp::default(),
                &format!("{} holds the {kind} metadata already; remove one of them", taken.path()),
            )?;
        }
        let (stamp, outcome) =
            self.read_candidate(taken, |packer, name, file| packer.file(kind, name, file))?;
        match outcome {
            Ok(files) => {
                self.accept(taken)?;
                let source = Source { path: taken.path(), kind: kind.to_owned(), stamp, text: None };
                let gone = nothing.gone.into_iter().filter(|path| *path != source.path).collect();
                Ok(Some(Fresh { files, sources: vec![source], gone }))
            }
            Err(why) => {
                self.leave_out(taken, stamp, why)?;
                Ok(None)
            }
        }
    }

    fn merge_modules(
        &mut self,
        candidates: Vec<Candidate>,
        known: &Known<'_>,
        shown: Option<&Repomd>,
        mut fresh: Fresh,
    ) -> Result<Option<Fresh>, RepositoryError> {
        let mut merged = Modules::default();
        let mut is_short = false;
        for candidate in candidates {
            let path = candidate.path();
            let before = known.sources.iter().find(|source| source.path == path && source.text.is_some());
            let is_changed = match &candidate {
                Candidate::Inside(location) => known.changed.contains(location),
                Candidate::Outside(_) => true,
            };
            let mut source = before.cloned();
            if before.is_none() || is_changed {
                let (stamp, outcome) = self.read_candidate(&candidate, |_, _, file| {
                    let limits = Limits { open_size: Some(longest(MODULES)) };
                    let text =
                        Codec::open(file, limits).map_err(|error| Failure::Source(error.to_string()))?;
                    Modules::read(text).map_err(|error| Failure::Source(error.to_string()))
                })?;
                let merge = |modules| self.merge(&mut merged, modules, &path).map_err(Why::Content);
                match outcome.and_then(merge) {
                    Ok(text) => {
                        self.accept(&candidate)?;
                        let kind = MODULES.to_owned();
                        fresh.sources.push(Source { path, kind, stamp, text: Some(text) });
                        continue;
                    }
                    Err(why) => self.leave_out(&candidate, stamp, why)?,
                }
            }
            match source.take().and_then(|source| Some((unpack(source.text.as_deref()?)?, source))) {
                Some((modules, source)) => {
                    if self.merge(&mut merged, modules, &path).is_ok() {
                        fresh.sources.push(source);
                    }
                }
                None => is_short = true,
            }
        }
        // The catalog was lost, and a file is broken: what it said last is in what is shown.
        if is_short
            && known.sources.iter().all(|source| source.text.is_none())
            && let Some(record) = shown.and_then(|shown| shown.record(MODULES))
            && let Some(modules) = self.place.open(record).and_then(|file| {
                Modules::read(Codec::open(file, Limits { open_size: Some(longest(MODULES)) }).ok()?).ok()
            })
        {
            let _ = merged.merge(modules);
        }
        fresh.gone.retain(|path| !fresh.sources.iter().any(|source| source.path == *path));
        if !merged.is_empty() {
            let forms = forms(&self.config, MODULES);
            let packer = self.packer()?;
            let fill = |sink: &mut dyn std::io::Write| merged.write(sink).map_err(|error| error.to_string());
            fresh.files = match packer.text(MODULES, "modules.yaml", forms, fill) {
                Ok(files) => files,
                Err(Failure::Ours(error)) => return Err(error),
                Err(Failure::Source(why)) => {
                    return Err(super::press::failed(&self.config, std::io::Error::other(why)));
                }
            };
        } else if is_short {
            return Ok(None);
        }
        Ok(Some(fresh))
    }

    /// Merges one file's modules in; what they say, compressed, for the catalog.
    fn merge(&self, merged: &mut Modules, modules: Modules, path: &str) -> Result<Vec<u8>, String> {
        let mut text = Vec::new();
        let mut encoder = Codec::Zstd.create(&mut text).map_err(|error| error.to_string())?;
        let packed = modules.write(&mut encoder).and_then(|()| encoder.finish());
        packed.map_err(|error| error.to_string())?;
        for passed_over in merged.merge(modules).map_err(|error| error.to_string())? {
            let stream = &passed_over.0;
            warn!(repo.name = %self.config.name, location = %path,
                  "{} publishes the module {stream} of another file: {path} says something else of it",
                  self.config.name);
        }
        Ok(text)
    }

    fn packer(&mut self) -> Result<Packer<'_>, RepositoryError> {
        let pieces = self.catalog()?.pieces();
        Ok(Packer { config: &self.config, place: &self.place, pieces })
    }

    /// Opens a candidate and hands it to `read`, with its name. The reason where it cannot be taken.
    fn read_candidate<T>(
        &mut self,
        candidate: &Candidate,
        read: impl FnOnce(&Packer<'_>, &str, &Opened) -> Result<T, Failure>,
    ) -> Result<(FileStamp, Result<T, Why>), RepositoryError> {
        let opened = match candidate {
            Candidate::Inside(location) => scan::open_additional(&self.config, location),
            Candidate::Outside(path) => scan::open_outside(path),
        };
        let (file, stamp) = match opened {
            Ok(opened) => opened,
            Err(why) => return Ok((FileStamp::default(), Err(Why::System(why)))),
        };
        let file = Opened::new(file);
        let path = candidate.path();
        let name = path.rsplit('/').next().unwrap_or(&path);
        let outcome = match read(&self.packer()?, name, &file) {
            Err(Failure::Ours(error)) => return Err(error),
            // Whatever was made of what could be read.
            _ if let Some(why) = file.failed() => Err(Why::System(format!("cannot read it: {why}"))),
            _ if !scan::is_unchanged(file.file(), &stamp) => Err(Why::System(CHANGED.to_owned())),
            Ok(made) => Ok(made),
            Err(Failure::Source(why)) => Err(Why::Content(why)),
        };
        Ok((stamp, outcome))
    }

    fn accept(&mut self, candidate: &Candidate) -> Result<(), RepositoryError> {
        match candidate {
            Candidate::Inside(location) => {
                Ok(self.catalog()?.reject_files(&[], std::slice::from_ref(location))?)
            }
            Candidate::Outside(_) => {
                self.additional.trouble.remove(&candidate.path());
                Ok(())
            }
        }
    }

    /// Takes note of a file that is not taken; what it said last stays.
    fn leave_out(
        &mut self,
        candidate: &Candidate,
        stamp: FileStamp,
        why: Why,
    ) -> Result<(), RepositoryError> {
        let reason = match why {
            Why::Content(why) => return self.reject(candidate, stamp, &why),
            Why::System(reason) => reason,
        };
        match candidate {
            Candidate::Inside(_) => {
                let moving = reason == CHANGED;
                self.additional.unread.push(Unread { path: candidate.path(), reason, moving });
            }
            Candidate::Outside(path) => {
                // The next look there finds a difference.
                self.additional.outside.remove(path);
                self.additional.trouble.insert(candidate.path(), reason);
            }
        }
        Ok(())
    }

    fn reject(&mut self, candidate: &Candidate, stamp: FileStamp, why: &str) -> Result<(), RepositoryError> {
        let (name, path) = (self.config.name.clone(), candidate.path());
        warn!(repo.name = %name, location = %path, "{name} rejects {path}: {why}; what was good last stays published");
        match candidate {
            Candidate::Inside(location) => {
                let rejected = Rejected { location: location.clone(), stamp, reason: why.to_owned() };
                Ok(self.catalog()?.reject_files(&[rejected], &[])?)
            }
            Candidate::Outside(_) => {
                self.additional.trouble.insert(path, why.to_owned());
                Ok(())
            }
        }
    }
}

impl Fresh {
    /// Whether `shown` has exactly these files of this type.
    fn shows_in(&self, shown: &Repomd, kind: &str) -> bool {
        let records: Vec<&Record> = shown.records.iter().filter(|r| family(&r.kind) == kind).collect();
        records.len() == self.files.len()
            && records.iter().zip(&self.files).all(|(record, made)| record.same_file(&made.record))
    }
}

fn unpack(text: &[u8]) -> Option<Modules> {
    let mut plain = Vec::new();
    let limits = Limits { open_size: Some(longest(MODULES)) };
    Codec::open(text, limits).ok()?.read_to_end(&mut plain).ok()?;
    Modules::read(&plain[..]).ok()
}
