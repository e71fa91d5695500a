//! Small changes, whose price is the hashing of what did not change: it begins before all is compressed.

use std::io;

use rayon::prelude::*;

use super::press;
use crate::catalog::{Job, PieceFile, Update};
use crate::config::RepositoryConfig;
use crate::repodata::join::{Recipe, Trail, walk_open};
use crate::repodata::{KINDS, MetadataType, Part, Pieces};

/// Changes of no more packages, and of no more chunks, are hurried.
pub const FEW: usize = 8;

/// Nor changes of more bytes of XML, for all of it is in memory then.
const GATHERED: u64 = 32 << 20;

/// Runs the jobs of a small change, and beside them hashes what the files will consist of: of a change far
/// from the end, both take long, and neither needs what the other makes. The ways walked, by kind.
pub fn hurry(
    update: &Update<'_>,
    mut jobs: Vec<Job>,
    config: &RepositoryConfig,
    pieces: &PieceFile,
    trails: &[Vec<Trail>],
) -> Vec<Trail> {
    // What cannot be stored now fails again when the job runs, and is reported then.
    let is_small = jobs.len() <= FEW && jobs.iter().map(Job::bytes).sum::<u64>() <= GATHERED;
    let gathered = is_small && jobs.par_iter_mut().try_for_each(Job::gather).is_ok();
    let outline = if gathered { update.outline(&jobs) } else { Vec::new() };
    let run = || jobs.into_par_iter().for_each(Job::run);
    rayon::join(|| hash(&outline, config, pieces, trails, walk_open), run).0
}

/// Walks the way through each file of these chunks, as far as `walk` goes.
pub fn hash(
    outline: &[(u64, [Part; KINDS])],
    config: &RepositoryConfig,
    pieces: &PieceFile,
    trails: &[Vec<Trail>],
    walk: fn(Recipe<'_>, &dyn Pieces, &[&Trail]) -> io::Result<Trail>,
) -> Vec<Trail> {
    if outline.is_empty() {
        return Vec::new();
    }
    let packages = outline.iter().map(|(packages, _)| packages).sum();
    let of_kind = |(i, &kind): (usize, &MetadataType)| {
        let parts: Vec<Part> = outline.iter().map(|(_, parts)| parts[i]).collect();
        let trails: Vec<&Trail> = trails[i].iter().collect();
        // Whoever joins the pieces hashes what could not be hashed here.
        walk(press::recipe(config, kind, packages, &parts), pieces, &trails).unwrap_or_default()
    };
    config.kinds().par_iter().enumerate().map(of_kind).collect()
}
