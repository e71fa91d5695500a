//! What stays as it is shown, and what has to be compressed anew for a repository's clients.

use std::io::Seek;

use tracing::warn;

use super::pack::{Failure, Opened, codec_of, forms};
use super::{Extra, Fresh, Known};
use crate::catalog::additional::{ADOPTED, Source};
use crate::config::RepositoryConfig;
use crate::publish::Place;
use crate::repodata::additional::{GROUP, check, is_made, is_repacked, longest};
use crate::repodata::codec::Limits;
use crate::repodata::turn::Turn;
use crate::repodata::{Codec, Record, Repomd};
use crate::repository::adopt::checksum_of;
use crate::repository::{Repository, RepositoryError};
use crate::tree::FileStamp;

/// Whether clients can read what is shown beyond packages, as far as names tell.
pub fn as_configured(shown: &Repomd, config: &RepositoryConfig) -> bool {
    let mut additional = shown.records.iter().filter(|record| !is_made(&record.kind));
    additional.all(|record| config.metadata.reads(Codec::of_name(&record.href)))
}

impl Repository {
    /// Keeps what is shown of one type, where it may stay; or else makes it, if it can be made.
    pub(super) fn keep_or_remake(
        &mut self,
        kind: &str,
        records: Vec<Record>,
        known: &Known<'_>,
        shown: Option<&Repomd>,
        extras: &mut Vec<Extra>,
    ) -> Result<Option<Fresh>, RepositoryError> {
        let of_kind = || known.sources.iter().filter(|source| source.kind == kind);
        let forget = || Fresh { gone: of_kind().map(|s| s.path.clone()).collect(), ..Fresh::default() };
        if !self.config.additional_metadata.wants(kind) {
            return Ok(Some(forget()));
        }
        let is_whole = !records.is_empty() && records.iter().all(|record| self.place.has(record));
        let candidates = self.candidates(kind, known);
        let Some(taken) = candidates.first() else {
            // Metadata of somebody who was here before us, made of who knows what.
            let is_new = of_kind().next().is_none();
            let trouble =
                records.iter().find_map(|record| Some((record, self.trouble_of(kind, record, is_new)?)));
            if let Some((record, why)) = trouble {
                warn!(repo.name = %self.config.name,
                      "{} leaves out the {kind} metadata found in repodata/: {} {why}; put a file of that type into the directory",
                      self.config.name, record.href);
                return Ok(Some(forget()));
            }
            if !is_whole {
                return Ok(Some(forget()));
            }
            if is_new {
                warn!(repo.name = %self.config.name,
                      "{} keeps the {kind} metadata found in repodata/; a file of that type takes its place",
                      self.config.name);
            }
            extras.extend(self.in_readable_form(kind, records)?);
            let stamp = FileStamp { inode: 0, size: 0, mtime_ns: 0, ctime_ns: 0 };
            let adopted = Source { path: format!("{ADOPTED}{kind}"), kind: kind.into(), stamp, text: None };
            return Ok(Some(Fresh { sources: vec![adopted], ..Fresh::default() }));
        };
        let suits = || {
            let mut codecs = records.iter().map(|record| Codec::of_name(&record.href));
            if is_repacked(kind) {
                let shown = records.iter().map(|record| &record.kind).zip(codecs);
                return shown.eq(forms(&self.config, kind).iter().map(|(kind, codec)| (kind, *codec)));
            }
            let source = Codec::of_name(&taken.path());
            let as_it_is = if self.config.metadata.reads(source) { source } else { Codec::Gzip };
            // Where the name did not tell how the file is compressed, gzip took the place of that.
            let suits = |codec| {
                codec == as_it_is || codec == Codec::Gzip && matches!(as_it_is, Codec::None | Codec::Bzip2)
            };
            records.len() == 1 && codecs.all(suits)
        };
        let is_ours = records.iter().all(|record| record.checksum.kind == self.config.checksum);
        if is_whole && is_ours && suits() {
            extras.extend(records.into_iter().map(Extra::Kept));
            return Ok(None);
        }
        let made = self.remake(kind, known, shown)?;
        if made.is_none() && is_whole {
            // Its file is broken now: what it said last is in what is shown.
            extras.extend(self.in_readable_form(kind, records)?);
        }
        Ok(made)
    }

    /// What is wrong with a file that was found in `repodata/`. One that `is_new` here is read for that.
    fn trouble_of(&self, kind: &str, record: &Record, is_new: bool) -> Option<String> {
        let Some(file) = self.place.open(record).filter(|_| self.place.has(record)) else {
            return Some("is not there as repomd.xml says".to_owned());
        };
        if !is_new {
            return None;
        }
        match checksum_of(&file, &record.checksum).and_then(|found| (&file).rewind().map(|()| found)) {
            Ok(found) if found == record.checksum => {}
            Ok(_) => return Some("has another checksum than repomd.xml says".to_owned()),
            Err(error) => return Some(format!("cannot be read: {error}")),
        }
        // A database is not what its type is otherwise.
        if record.kind.ends_with("_db") {
            return None;
        }
        let _turn = Turn::for_lying();
        let name = record.href.rsplit('/').next().unwrap_or(&record.href);
        let text = Codec::open(file, Limits { open_size: Some(longest(kind)) });
        match text.map(|text| check(kind, name, text)) {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("is one that clients do not read: {error}")),
            Err(error) => Some(format!("cannot be read: {error}")),
        }
    }

    /// What is shown of one type, as it is; or compressed anew where there are clients who could not read it.
    fn in_readable_form(
        &mut self,
        kind: &str,
        mut records: Vec<Record>,
    ) -> Result<Vec<Extra>, RepositoryError> {
        let profile = self.config.metadata;
        let codecs = |place: &Place, record: &Record| {
            let inside = place.open(record).and_then(|file| codec_of(&file).ok()).unwrap_or(Codec::None);
            [inside, Codec::of_name(&record.href)]
        };
        let reads =
            |place: &Place, record: &Record| codecs(place, record).iter().all(|codec| profile.reads(*codec));
        let Some(main) = records.iter().find(|record| record.kind == kind).or(records.first()) else {
            return Ok(Vec::new());
        };
        let is_packed = codecs(&self.place, main) != [Codec::None; 2];
        let must_be_plain = kind == GROUP && forms(&self.config, kind)[0].1 == Codec::None;
        if reads(&self.place, main) && !(is_packed && must_be_plain) {
            records.retain(|record| reads(&self.place, record));
            return Ok(records.into_iter().map(Extra::Kept).collect());
        }
        let name = main.href.rsplit('/').next().unwrap_or(&main.href);
        let Some(file) = self.place.open(main) else { return Ok(Vec::new()) };
        let _turn = Turn::for_lying();
        match self.packer()?.file(kind, name, &Opened::new(file)) {
            Ok(files) => Ok(files.into_iter().map(Extra::Made).collect()),
            Err(Failure::Ours(error)) => Err(error),
            Err(Failure::Source(why)) => {
                warn!(repo.name = %self.config.name,
                      "{} leaves out the {kind} metadata found in repodata/: {name} cannot be compressed for its clients: {why}",
                      self.config.name);
                Ok(Vec::new())
            }
        }
    }
}
