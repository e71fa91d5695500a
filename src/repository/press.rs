//! Puts the metadata files together, side by side, each synced as soon as it is whole.

use std::io;

use super::{Repository, RepositoryError};
use crate::catalog::{Listing, PieceFile};
use crate::config::RepositoryConfig;
use crate::publish::{Place, Staged};
use crate::repodata::join::{Joined, Recipe, Trail, join};
use crate::repodata::{Compression, MetadataType, Part};

/// One metadata file, staged and synced.
pub struct Made {
    pub kind: MetadataType,
    pub compression: Compression,
    pub joined: Joined,
    pub trail: Trail,
    pub staged: Staged,
}

impl Made {
    /// Its name in `repodata/`: the checksum makes it unique.
    pub fn file_name(&self) -> String {
        format!("{}-{}.xml{}", self.joined.checksum, self.kind.as_str(), self.compression.suffix())
    }
}

/// What every file of a publication has in common.
struct Press<'a> {
    config: &'a RepositoryConfig,
    place: &'a Place,
    pieces: &'a PieceFile,
    packages: u64,
}

/// Makes the files of the repository's kinds, in their order.
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
    outcomes.into_iter().map(whole).collect()
}

impl Press<'_> {
    fn make(&self, kind: MetadataType, parts: &[Part], trails: &[Trail]) -> Result<Made, RepositoryError> {
        let mut staged = self.place.stage(kind.as_str())?;
        let recipe = recipe(self.config, kind, self.packages, parts);
        let trails: Vec<&Trail> = trails.iter().collect();
        let joined = join(recipe, self.pieces, &trails, &mut staged);
        let (joined, trail) = joined.map_err(|source| failed(self.config, source))?;
        staged.sync()?;
        Ok(Made { kind, compression: recipe.compression, joined, trail, staged })
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
