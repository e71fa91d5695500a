//! Puts the metadata files together, side by side, each synced as soon as it is whole.

use std::io;

use super::{Repository, RepositoryError};
use crate::catalog::{Listing, PieceFile};
use crate::config::RepositoryConfig;
use crate::crash::{self, Point};
use crate::package::Checksum;
use crate::publish::{Place, Staged};
use crate::repodata::blocks;
use crate::repodata::join::{Joined, Recipe, Trail, join};
use crate::repodata::{MetadataType, Part, Repomd, Span, zchunk};

/// One metadata file, staged and synced.
pub struct Made {
    /// As in `<data type="…">`.
    pub kind: String,
    /// Its name in `repodata/`: the checksum makes it unique.
    pub file_name: String,
    pub joined: Joined,
    /// Its pieces, in order.
    pub spans: Vec<Span>,
    pub staged: Staged,
    pub how: How,
}

/// What a file was made of.
pub enum How {
    /// XML, from chunks.
    Chunks(Trail),
    /// A SQLite database, from blocks.
    Blocks(blocks::Known),
    /// A zchunk file, from the frames of a zstd file; its header's checksum and length in bytes.
    Frames((Checksum, u64)),
}

impl How {
    pub fn trail(self) -> Option<Trail> {
        match self {
            Self::Chunks(trail) => Some(trail),
            Self::Blocks(_) | Self::Frames(_) => None,
        }
    }
}

/// What every file of a publication has in common.
struct Press<'a> {
    config: &'a RepositoryConfig,
    place: &'a Place,
    pieces: &'a PieceFile,
    packages: u64,
}

/// Makes the files of the repository's kinds, in their order, and behind them their zchunk files where these are wanted.
pub fn make(repository: &mut Repository, listing: &Listing) -> Result<Vec<Made>, RepositoryError> {
    let pieces = repository.catalog()?.pieces();
    let press = Press {
        config: &repository.config,
        place: &repository.place,
        pieces: &pieces,
        packages: listing.packages(),
    };
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = repository
            .config
            .kinds()
            .iter()
            .zip(&repository.trails)
            .enumerate()
            .map(|(i, (&kind, trails))| {
                let (press, parts) = (&press, listing.parts(i));
                scope.spawn(move || press.make(kind, &parts, trails))
            })
            .collect();
        threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    let whole = |outcome| match outcome {
        Ok(made) => made,
        Err(_) => Err(RepositoryError::Panicked { name: repository.config.name.clone() }),
    };
    let made: Vec<(Made, Option<Made>)> = outcomes.into_iter().map(whole).collect::<Result<_, _>>()?;
    let (mut files, zchunk): (Vec<Made>, Vec<Option<Made>>) = made.into_iter().unzip();
    files.extend(zchunk.into_iter().flatten());
    Ok(files)
}

impl Press<'_> {
    fn make(
        &self,
        kind: MetadataType,
        parts: &[Part],
        trails: &[Trail],
    ) -> Result<(Made, Option<Made>), RepositoryError> {
        let mut staged = self.place.stage(kind.as_str())?;
        let recipe = recipe(self.config, kind, self.packages, parts);
        let trails: Vec<&Trail> = trails.iter().collect();
        let joined = join(recipe, self.pieces, &trails, &mut staged);
        let (joined, trail) = joined.map_err(|source| failed(self.config, source))?;
        staged.sync()?;
        crash::point(Point::MetadataStaged);
        let zchunk = self.config.zchunk.then(|| self.make_zchunk(recipe, &joined)).transpose()?;
        let made = Made {
            kind: kind.as_str().to_owned(),
            file_name: format!("{}-{}.xml{}", joined.checksum, kind.as_str(), recipe.compression.suffix()),
            joined,
            spans: parts.iter().map(|part| part.piece).collect(),
            staged,
            how: How::Chunks(trail),
        };
        Ok((made, zchunk))
    }

    fn make_zchunk(&self, recipe: Recipe<'_>, zstd: &Joined) -> Result<Made, RepositoryError> {
        let kind = format!("{}_zck", recipe.kind.as_str());
        let mut staged = self.place.stage(&kind)?;
        let joined = zchunk::join(recipe, zstd, self.pieces, &mut staged);
        let (joined, header) = joined.map_err(|source| failed(self.config, source))?;
        staged.sync()?;
        crash::point(Point::MetadataStaged);
        Ok(Made {
            kind,
            file_name: format!("{}-{}.xml.zck", joined.checksum, recipe.kind.as_str()),
            joined,
            spans: recipe.parts.iter().map(|part| part.piece).collect(),
            staged,
            how: How::Frames(header),
        })
    }
}

/// What a metadata file consists of, by the repository's settings.
pub fn recipe<'p>(
    config: &RepositoryConfig,
    kind: MetadataType,
    packages: u64,
    parts: &'p [Part],
) -> Recipe<'p> {
    Recipe { kind, compression: config.metadata.compression(), checksum: config.checksum, packages, parts }
}

pub fn failed(config: &RepositoryConfig, source: io::Error) -> RepositoryError {
    RepositoryError::Join { name: config.name.clone(), source }
}

/// Whether `shown` has zchunk files as the setting has it.
pub fn has_zchunk_as_configured(shown: &Repomd, config: &RepositoryConfig) -> bool {
    MetadataType::EVERY.iter().all(|kind| {
        let wanted = config.zchunk && config.kinds().contains(kind);
        shown.record(&format!("{}_zck", kind.as_str())).is_some() == wanted
    })
}
