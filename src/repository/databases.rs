//! The SQLite databases of a publication, for repositories whose clients want them: kept between
//! publications and changed by the difference, so that they cost what changed.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tracing::warn;

use super::press::{How, Made, failed};
use super::{Repository, RepositoryError};
use crate::catalog::{Chunk, Listing, PieceFile};
use crate::config::{MetadataProfile, RepositoryConfig};
use crate::databases::kept::{self, Kept, Packages, RunId, Shown};
use crate::databases::{DatabaseError, VERSION, published};
use crate::package::{Checksum, ChecksumType};
use crate::publish::Place;
use crate::repodata::blocks::{self, Known};
use crate::repodata::chunk::read_checked;
use crate::repodata::{KINDS, MetadataType, Part, Record, Repomd, Span};

/// Packages, for which the difference is always worth finding.
const WORTH_A_DIFFERENCE: u64 = 500;

/// What a repository knows of its databases.
#[derive(Default)]
pub struct State {
    /// `None` while nothing happens, and where there are none.
    kept: Option<Kept>,
    /// The files as this process left them; `None` where that is not known, so that every byte has to be read.
    left: Option<kept::Files>,
    /// The checksums along each file as last published.
    states: [Vec<blocks::State>; 3],
}

impl State {
    /// Closes the databases.
    pub fn rest(&mut self) {
        self.kept = None;
        self.states = Default::default();
    }

    /// For idle times.
    pub fn tidy(&mut self) -> Result<(), DatabaseError> {
        let Some(kept) = &mut self.kept else { return Ok(()) };
        let done = kept.shrink();
        match done {
            Ok(false) => return Ok(()),
            Ok(true) => self.left = Some(kept.files()),
            Err(_) => self.kept = None,
        }
        done.map(drop)
    }
}

fn kind_of(kind: MetadataType) -> String {
    format!("{}_db", kind.as_str())
}

/// Whether a record is of a database as we publish it.
fn is_ours(record: &Record) -> bool {
    let base = record.kind.trim_end_matches("_db");
    record.kind.ends_with("_db")
        && record.database_version == Some(VERSION)
        && record.href == format!("repodata/{}-{base}.sqlite.gz", record.checksum)
}

/// Whether `shown` has the databases that the profile asks for, and no others.
pub fn as_configured(shown: &Repomd, profile: MetadataProfile) -> bool {
    let wanted = |kind: &MetadataType| shown.record(&kind_of(*kind)).is_some_and(is_ours);
    match profile.has_databases() {
        true => MetadataType::ALL.iter().all(wanted),
        false => !shown.records.iter().any(|record| record.kind.ends_with("_db")),
    }
}

/// Whether `shown` has these records, and beside them nothing but the databases that belong to them: a database
/// is published together with the XML that says the same, and its bytes need not be those of another run.
pub fn beside(shown: &Repomd, records: &[Record], profile: MetadataProfile) -> bool {
    let (databases, others): (Vec<&Record>, Vec<_>) =
        shown.records.iter().partition(|record| record.kind.ends_with("_db"));
    others.len() == records.len()
        && others.iter().zip(records).all(|(a, b)| a.same_file(b))
        && as_configured(shown, profile)
        && databases.len() == if profile.has_databases() { 3 } else { 0 }
}

/// Makes the databases that say the same as `xml`: primary, filelists and other, staged and synced.
pub fn make(
    repository: &mut Repository,
    listing: &Listing,
    xml: &[Made],
) -> Result<Vec<Made>, RepositoryError> {
    let [primary, filelists, other, ..] = xml else { return Ok(Vec::new()) };
    let sums = [primary, filelists, other].map(|made| &made.joined.checksum);
    let kept = bring_up(repository, listing, sums)?;
    let paths = MetadataType::ALL.map(|kind| kept.path(kind));
    let last = MetadataType::ALL.map(|kind| kept.last_shown(kind));
    // Should anything fail from here on, they hold what is listed all the same.
    repository.databases.kept = Some(kept);
    let mut known = [Known::default(), Known::default(), Known::default()];
    let states = std::mem::take(&mut repository.databases.states);
    for ((last, known), states) in last.into_iter().zip(&mut known).zip(states) {
        let Some((name, marks)) = last else { continue };
        if let Some(spans) = repository.catalog()?.spans_of(&name)? {
            *known = Known { marks, spans, states };
        }
    }
    let pieces = repository.catalog()?.pieces();
    let press = Press { config: &repository.config, place: &repository.place, pieces: &pieces };
    let outcomes = std::thread::scope(|scope| {
        let threads: Vec<_> = MetadataType::ALL
            .into_iter()
            .zip(&paths)
            .zip(&known)
            .map(|((kind, path), known)| {
                let press = &press;
                scope.spawn(move || press.make(kind, path, known))
            })
            .collect();
        threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    let whole = |outcome| match outcome {
        Ok(made) => made,
        Err(_) => Err(RepositoryError::Panicked { name: repository.config.name.clone() }),
    };
    outcomes.into_iter().map(whole).collect()
}

/// Remembers how the databases are published, once the catalog knows their pieces.
pub fn note(repository: &mut Repository, made: &mut [Made]) -> Result<(), RepositoryError> {
    let State { kept: Some(kept), states, left } = &mut repository.databases else { return Ok(()) };
    for (kind, kept_states) in MetadataType::ALL.into_iter().zip(states) {
        if let Some(made) = made.iter_mut().find(|made| made.kind == kind_of(kind))
            && let How::Blocks(blocks) = &mut made.how
        {
            let (name, open_checksum) = (made.file_name.clone(), made.joined.open_checksum.clone());
            kept.note_shown(kind, &Shown { name, open_checksum, marks: std::mem::take(&mut blocks.marks) })?;
            *kept_states = std::mem::take(&mut blocks.states);
        }
    }
    *left = Some(kept.files());
    Ok(())
}

/// Removes what a former setting kept.
pub fn forget(state_dir: &Path) -> Result<(), DatabaseError> {
    let directory = directory(state_dir);
    if directory.exists() { kept::discard(&directory) } else { Ok(()) }
}

fn directory(state_dir: &Path) -> std::path::PathBuf {
    state_dir.join("databases")
}

/// The kept databases, holding what is listed. Those that are lost or damaged are made anew.
fn bring_up(
    repository: &mut Repository,
    listing: &Listing,
    sums: [&Checksum; 3],
) -> Result<Kept, RepositoryError> {
    let directory = directory(&repository.config.state_dir);
    // Noted again once they are published.
    let left = repository.databases.left.take();
    let is_as_left = left.is_some_and(|left| left == kept::Files::of(&directory));
    let kept = repository.databases.kept.take().filter(|_| is_as_left);
    let kept = kept.or_else(|| Kept::open(&directory, !is_as_left));
    let name = repository.config.name.clone();
    let mut source = Source::new(repository, listing)?;
    if let Some(mut kept) = kept {
        let unknown = kept.unknown(&source.runs)?;
        let new: u64 = unknown.iter().map(|at| listing.chunks[*at].packages).sum();
        source.learn(repository, listing, unknown.into_iter())?;
        // Where most is new, making all anew costs less and leaves no holes.
        let worth_it = new <= WORTH_A_DIFFERENCE || new * 2 <= listing.packages();
        match worth_it.then(|| kept.bring_to(&source, sums)) {
            None => {}
            Some(Ok(())) if kept.hold(listing.packages()) => return Ok(kept),
            Some(Ok(())) => {
                warn!(repo.name = %name, "the databases kept for {name} do not hold what they should; they are made anew");
            }
            Some(Err(error @ DatabaseError::Packages { .. })) => return Err(error.into()),
            Some(Err(error)) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                warn!(repo.name = %name, "{error}: {cause}; the databases of {name} are made anew");
            }
        }
    } else if fs::exists(&directory).unwrap_or(false) {
        warn!(repo.name = %name, "the databases kept for {name} are not as they were left; they are made anew");
    }
    source.learn(repository, listing, 0..listing.chunks.len())?;
    Ok(Kept::build(&directory, &source, sums)?)
}

/// The chunks of a listing as the databases ask for them.
struct Source<'l> {
    chunks: &'l [Chunk],
    runs: Vec<RunId>,
    /// Of the chunks that are to be read.
    lens: HashMap<usize, Vec<[u32; KINDS]>>,
    pieces: Arc<PieceFile>,
}

impl<'l> Source<'l> {
    fn new(repository: &mut Repository, listing: &'l Listing) -> Result<Self, RepositoryError> {
        Ok(Self {
            chunks: &listing.chunks,
            runs: listing.chunks.iter().map(run_id).collect(),
            lens: HashMap::new(),
            pieces: repository.catalog()?.pieces(),
        })
    }

    fn learn(
        &mut self,
        repository: &mut Repository,
        listing: &Listing,
        chunks: impl Iterator<Item = usize>,
    ) -> Result<(), RepositoryError> {
        let catalog = repository.catalog()?;
        for at in chunks {
            self.lens.insert(at, catalog.fragment_lens(&listing.chunks[at])?);
        }
        Ok(())
    }
}

impl Packages for Source<'_> {
    fn runs(&self) -> &[RunId] {
        &self.runs
    }

    fn count(&self, run: usize) -> usize {
        self.lens.get(&run).map_or(0, Vec::len)
    }

    fn entries(&self, run: usize, kind: MetadataType) -> io::Result<Vec<String>> {
        let place = MetadataType::EVERY.iter().position(|every| *every == kind).unwrap_or_default();
        let mut raw = Vec::new();
        let part = &self.chunks[run].parts[place];
        read_checked(&*self.pieces, part.raw, part.raw_crc, &mut raw)?;
        let mut rest = String::from_utf8(raw).map_err(io::Error::other)?;
        let lens = self.lens.get(&run).map(Vec::as_slice).unwrap_or_default();
        let mut entries = Vec::with_capacity(lens.len());
        for len in lens.iter().rev() {
            let start = rest.len().checked_sub(len[place] as usize).filter(|at| rest.is_char_boundary(*at));
            let start = start.ok_or_else(|| io::Error::other("a chunk is shorter than its packages"))?;
            entries.push(rest.split_off(start));
        }
        entries.reverse();
        Ok(entries)
    }
}

/// A chunk by its packages' entries: lengths and CRC-32 of all of them, and where it begins and ends.
fn run_id(chunk: &Chunk) -> RunId {
    let mut text = Vec::with_capacity(256);
    for location in [&chunk.first.location, &chunk.last.location] {
        text.extend(location.as_str().as_bytes());
        text.push(0);
    }
    for Part { raw: Span { len, .. }, raw_crc, .. } in &chunk.parts[..MetadataType::ALL.len()] {
        text.extend(len.to_le_bytes());
        text.extend(raw_crc.to_le_bytes());
    }
    let mut id = RunId::default();
    id.copy_from_slice(&Checksum::of(ChecksumType::Sha256, &text).as_bytes()[..16]);
    id
}

/// What the files have in common.
struct Press<'a> {
    config: &'a RepositoryConfig,
    place: &'a Place,
    pieces: &'a PieceFile,
}

impl Press<'_> {
    fn make(&self, kind: MetadataType, path: &Path, known: &Known) -> Result<Made, RepositoryError> {
        let mut staged = self.place.stage(&kind_of(kind))?;
        let press = |sink| {
            let store = |bytes: &[u8]| self.pieces.append(bytes);
            blocks::press(published(path)?, known, self.config.checksum, self.pieces, &store, sink)
        };
        let pressed = press(&mut staged).map_err(|source| failed(self.config, source))?;
        staged.sync()?;
        Ok(Made {
            kind: kind_of(kind),
            file_name: format!("{}-{}.sqlite.gz", pressed.joined.checksum, kind.as_str()),
            joined: pressed.joined,
            spans: pressed.blocks.spans.clone(),
            staged,
            how: How::Blocks(pressed.blocks),
        })
    }
}
