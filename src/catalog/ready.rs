//! Chunks made before there is a list that has them, known by what they are made of.
//!
//! When packages settle, most chunks change at once, and which they will be is known before the package comes that
//! has them settle. They are made in idle time; the update that needs them finds them here, or makes them.

use std::collections::HashMap;

use super::recut::{Item, Text};
use crate::package::{Checksum, ChecksumType, Hasher};
use crate::repodata::{Compression, Effort, KINDS, Part};

/// What such chunks are made of, and where their pieces lie. Worth nothing after a compaction.
#[derive(Default)]
pub struct Ready(HashMap<Checksum, [Part; KINDS]>);

impl Ready {
    pub(super) fn find(&self, made_of: &Checksum) -> Option<[Part; KINDS]> {
        self.0.get(made_of).copied()
    }

    pub(super) fn insert(&mut self, made_of: Checksum, parts: [Part; KINDS]) {
        self.0.insert(made_of, parts);
    }

    /// Bytes they occupy in the file of pieces, although no chunk names them.
    pub fn bytes(&self) -> u64 {
        self.0.values().flatten().map(|part| part.raw.len + part.piece.len).sum()
    }
}

/// Says what a chunk is made of: where its packages' fragments lie, and how they are compressed. `None` where some
/// were rendered just now.
pub fn made_of(items: &[Item], compression: Compression, effort: Effort) -> Option<Checksum> {
    let mut sum = Hasher::new(ChecksumType::Sha256);
    sum.update(format!("{compression:?} {effort:?}").as_bytes());
    for item in items {
        let Text::Kept(spans) = &item.text else { return None };
        for span in spans {
            sum.update(&span.offset.to_le_bytes());
            sum.update(&span.len.to_le_bytes());
        }
    }
    Some(sum.finish())
}
