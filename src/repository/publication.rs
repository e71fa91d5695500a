//! From a listing to what clients see; and the end of what they no longer need.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::additional::Extra;
use super::databases;
use super::orphans;
use super::press::{self, How, Made};
use super::recover::sha256;
use super::{Published, Repository, RepositoryError, Signed};
use crate::catalog::{Listing, Recipe};
use crate::crash::{self, Point};
use crate::databases::VERSION;
use crate::publish;
use crate::repodata::{Record, Repomd, Tags};

/// 2026-01-01: no clock that is right has shown less since.
const WRITTEN: u64 = 1_767_225_600;

impl Repository {
    /// Publishes `listing`, unless what is published shows exactly that already.
    pub fn publish(&mut self, listing: &Listing) -> Result<(), RepositoryError> {
        let started = std::time::Instant::now();
        let _prepared = self.place.prepare()?;
        let current = self.place.current()?;
        let shown = current.as_deref().and_then(|bytes| publish::parse(bytes).ok());
        let mut made = press::make(self, listing)?;
        let now = self.not_before(shown.as_ref());
        let mut records: Vec<Record> =
            made.iter().map(|made| self.record(made, shown.as_ref(), now)).collect();
        let extras = self.additional(shown.as_ref())?;
        records.extend(extras.iter().map(|extra| extra_record(extra, shown.as_ref(), now)));
        let packages = listing.packages();

        if let (Some(bytes), Some(shown)) = (&current, &shown)
            && databases::beside(shown, &records, self.config.metadata)
            && self.place.is_whole(shown)
        {
            // The catalog was lost, or a change was taken back: nobody needs to fetch anything.
            let signed = self.sign(bytes)?;
            self.put_signature(signed.as_ref())?;
            self.note_as_ours(shown, &made)?;
            self.note_published(bytes.clone(), shown.revision_number(), packages, signed)?;
            self.keep_trails(packages, made.into_iter().filter_map(|made| made.how.trail()).collect());
            return self.additional_is_published();
        }
        if self.config.metadata.has_databases() {
            let databases = databases::make(self, listing, &made)?;
            let theirs = databases.iter().map(|made| self.record(made, shown.as_ref(), now));
            let theirs: Vec<Record> = theirs.collect();
            records.splice(made.len()..made.len(), theirs);
            made.extend(databases);
        }

        let repomd = Repomd { revision: now.to_string(), tags: Tags::default(), records };
        let mut bytes = Vec::new();
        let mut staged = self.place.stage("repomd")?;
        let write = repomd.write(&mut bytes).and_then(|()| staged.write_all(&bytes));
        write.map_err(|source| press::failed(&self.config, source))?;
        crash::point(Point::RepomdWritten);
        staged.sync()?;
        crash::point(Point::RepomdSynced);
        let signed = self.sign(&bytes)?;
        crash::point(Point::RepomdSigned);

        let mut recipes: Vec<Recipe> = made.iter().map(recipe).collect();
        let mut kept = Vec::new();
        let mut files = Vec::new();
        for extra in extras {
            match extra {
                Extra::Kept(record) => kept.push(record),
                Extra::Made(made) => {
                    files.push((made.staged, made.recipe.name.clone()));
                    recipes.push(made.recipe);
                }
            }
        }
        let catalog = self.catalog()?;
        catalog.note_metadata_files(&recipes)?;
        databases::note(self, &mut made)?;
        crash::point(Point::DatabasesNoted);
        self.catalog()?.set_published(None)?;
        crash::point(Point::NamesNoted);
        let mut trails = Vec::new();
        for Made { staged, file_name, how, .. } in made {
            files.push((staged, file_name));
            trails.extend(how.trail());
        }
        // Renamed before repomd.xml, as the files are: whoever has it finds its signature.
        files.extend(self.stage_signature(signed.as_ref())?);
        crash::point(Point::SignatureStaged);
        self.place.switch(files, staged)?;

        self.current_size =
            recipes.iter().map(|r| Some(r.size)).chain(kept.iter().map(|r| r.size)).flatten().sum();
        let kept = kept.iter().filter_map(|record| record.href.strip_prefix("repodata/").map(str::to_owned));
        let current: Vec<String> = recipes.into_iter().map(|r| r.name).chain(kept).collect();
        // Of a clock that is ahead now or was when it was last published, only the former counts.
        let since = if self.now() < WRITTEN { now } else { self.now() };
        self.catalog()?.supersede_metadata_files(&current, since)?;
        crash::point(Point::OldSuperseded);
        self.note_signature(signed.as_ref())?;
        crash::point(Point::SignatureNoted);
        self.note_published(bytes, now, packages, signed)?;
        self.additional_is_published()?;
        self.keep_trails(packages, trails);
        let name = &self.config.name;
        info!(repo.name = %name, packages, revision = now, duration_ms = started.elapsed().as_millis() as u64,
              "published {name} with {packages} packages");
        Ok(())
    }

    /// Files that are as we would write them are ours, whoever lost the notes of it: they go once they are superseded.
    fn note_as_ours(&mut self, shown: &Repomd, made: &[Made]) -> Result<(), RepositoryError> {
        let recipes: Vec<Recipe> = made.iter().map(recipe).collect();
        let sized = |record: &Record| {
            let name = record.href.strip_prefix("repodata/").filter(|name| orphans::is_as_ours(name))?;
            Some((name.to_owned(), record.size?))
        };
        let others: Vec<(String, u64)> = shown.records.iter().filter_map(sized).collect();
        let catalog = self.catalog()?;
        catalog.note_metadata_files(&recipes)?;
        Ok(catalog.take_back(&others, None)?)
    }

    fn record(&self, made: &Made, shown: Option<&Repomd>, now: u64) -> Record {
        let record = Record {
            kind: made.kind.clone(),
            checksum: made.joined.checksum.clone(),
            open_checksum: Some(made.joined.open_checksum.clone()),
            href: format!("repodata/{}", made.file_name),
            base: None,
            timestamp: now,
            size: Some(made.joined.size),
            open_size: Some(made.joined.open_size),
            header: match &made.how {
                How::Frames(header) => Some(header.clone()),
                How::Chunks(_) | How::Blocks(_) => None,
            },
            database_version: matches!(made.how, How::Blocks(_)).then_some(VERSION),
        };
        as_shown(record, shown)
    }

    /// The time of this publication: never before what clients have seen, whatever the clock does.
    fn not_before(&self, shown: Option<&Repomd>) -> u64 {
        let seen = shown
            .into_iter()
            .flat_map(|repomd| repomd.records.iter().map(|r| r.timestamp).chain([repomd.revision_number()]));
        // A repomd.xml from the far future, or with a revision that is no time, must not take us there. A clock that
        // stands before this program was written has lost its battery, and is no judge of that.
        let horizon = match self.now() {
            now if now < WRITTEN => u64::MAX,
            now => now + Duration::from_secs(366 * 24 * 3600).as_secs(),
        };
        seen.filter(|&time| time < horizon).fold(self.now(), u64::max)
    }

    fn note_published(
        &mut self,
        repomd: Vec<u8>,
        revision: u64,
        packages: u64,
        signed: Option<Signed>,
    ) -> Result<(), RepositoryError> {
        let sum = sha256(&repomd);
        let number = self.number_of(&repomd, signed.as_ref(), revision)?;
        crash::point(Point::PublicationNumbered);
        self.catalog()?.set_published(Some(&sum))?;
        crash::point(Point::PublicationNoted);
        let at = (self.clock)();
        let given = Arc::default();
        let repomd = repomd.into();
        self.published = Some(Arc::new(Published { revision, repomd, packages, at, number, signed, given }));
        Ok(())
    }
}

fn recipe(made: &Made) -> Recipe {
    Recipe {
        name: made.file_name.clone(),
        size: made.joined.size,
        frame: made.joined.frame.clone(),
        spans: made.spans.clone(),
    }
}

/// A record that is shown already stays as it is, with its time.
fn as_shown(record: Record, shown: Option<&Repomd>) -> Record {
    match shown.and_then(|shown| shown.record(&record.kind)) {
        Some(old) if old.same_file(&record) => old.clone(),
        _ => record,
    }
}

fn extra_record(extra: &Extra, shown: Option<&Repomd>, now: u64) -> Record {
    match extra {
        Extra::Kept(record) => record.clone(),
        Extra::Made(made) => as_shown(Record { timestamp: now, ..made.record.clone() }, shown),
    }
}
