//! The packages' texts, from when they are read until they are published: on disk, in their order.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;

use super::databases;
use super::output::{Finished, Style, Workshop};
use super::spool::{Place, Spool, SpoolReader};
use crate::repodata::{Codec, MetadataType};

/// Takes texts: primary, filelists, other, and filelists-ext where it is wanted.
pub struct Intake {
    spools: Vec<Spool>,
}

impl Intake {
    pub fn new(scratch: &Path, filelists_ext: bool) -> anyhow::Result<Self> {
        let spools: Result<_, _> = (0..3 + usize::from(filelists_ext)).map(|_| Spool::new(scratch)).collect();
        Ok(Self { spools: spools.with_context(|| format!("cannot write to {}", scratch.display()))? })
    }

    /// Keeps one package's texts, each with a newline at its end.
    pub fn put(&mut self, texts: &[Vec<u8>]) -> anyhow::Result<Vec<Place>> {
        let places: Result<_, _> =
            self.spools.iter_mut().zip(texts).map(|(spool, text)| spool.append(text)).collect();
        places.context("cannot keep what the packages say")
    }

    /// Ends taking; `lots` are the packages that are published.
    pub fn close(self, lots: Vec<Vec<Place>>) -> anyhow::Result<Stock> {
        let readers: Result<_, _> = self.spools.into_iter().map(Spool::into_reader).collect();
        Ok(Stock { readers: readers.context("cannot keep what the packages say")?, lots })
    }
}

/// The texts of the packages that are published.
pub struct Stock {
    readers: Vec<SpoolReader>,
    lots: Vec<Vec<Place>>,
}

impl Stock {
    /// How many files there are.
    pub fn kinds(&self) -> usize {
        self.readers.len()
    }

    /// The packages' texts in one of the files.
    fn texts(&self, file: usize) -> impl Iterator<Item = anyhow::Result<String>> {
        self.lots.iter().map(move |places| Ok(String::from_utf8(self.readers[file].read(places[file])?)?))
    }

    /// Writes one whole file, uncompressed.
    fn write(&self, file: usize, sink: &mut dyn Write) -> anyhow::Result<()> {
        let kind = MetadataType::EVERY[file];
        sink.write_all(kind.preamble(self.lots.len() as u64).as_bytes())?;
        for places in &self.lots {
            sink.write_all(&self.readers[file].read(places[file])?)?;
        }
        Ok(sink.write_all(kind.closing().as_bytes())?)
    }

    /// The files of the packages: each compressed by a thread of its own.
    pub fn publish(&self, workshop: &Workshop, codec: Codec, style: &Style) -> anyhow::Result<Vec<Finished>> {
        let make = |file: usize| {
            let kind = MetadataType::EVERY[file].as_str();
            workshop.write(kind, &format!("{kind}.xml"), codec, style, |sink| self.write(file, sink))
        };
        side_by_side(self.readers.len(), &make)
    }

    /// The zchunk files that say the same as `files`, which [`Stock::publish`] made.
    pub fn zchunk(
        &self,
        workshop: &Workshop,
        style: &Style,
        files: &[Finished],
    ) -> anyhow::Result<Vec<Finished>> {
        let make = |file: usize| {
            let kind = MetadataType::EVERY[file].as_str();
            workshop.write_zchunk(&files[file], &format!("{kind}.xml"), style)
        };
        side_by_side(files.len(), &make)
    }
    /// The databases that say the same as `files`, which [`Stock::publish`] made.
    pub fn databases(
        &self,
        workshop: &Workshop,
        local: bool,
        codec: Codec,
        style: &Style,
        files: &[Finished],
    ) -> anyhow::Result<Vec<Finished>> {
        let place = databases::place(workshop, local)?;
        let make = |(file, made): (usize, &Finished)| {
            databases::make(workshop, &place, &made.record, codec, style, &mut self.texts(file))
        };
        files.iter().enumerate().map(make).collect()
    }
}

/// Does one thing for each of so many files, a thread each.
fn side_by_side(
    count: usize,
    make: &(dyn Fn(usize) -> anyhow::Result<Finished> + Sync),
) -> anyhow::Result<Vec<Finished>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|file| scope.spawn(move || make(file))).collect();
        threads
            .into_iter()
            .map(|thread| {
                thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread that compresses has failed")))
            })
            .collect()
    })
}
