//! The file of pieces: raw XML and compressed pieces, appended and never changed, so that neither
//! lives on the heap and a publication copies what it does not make.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::chunks::Chunk;
use crate::repodata::chunk::is_damaged;
use crate::repodata::{Pieces, Span};

/// An append-only cache file, read by pread. Its name carries a number that grows with each compaction.
#[derive(Debug)]
pub struct PieceFile {
    file: File,
    end: AtomicU64,
    number: u64,
}

impl PieceFile {
    /// Opens or creates `pieces.NUMBER` in `directory`.
    pub fn open(directory: &Path, number: u64) -> io::Result<Self> {
        let path = Self::path(directory, number);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        // Whatever a crash left behind the last committed piece is dead weight until the next compaction.
        let end = AtomicU64::new(file.metadata()?.len());
        Ok(Self { file, end, number })
    }

    /// Opens `pieces.NUMBER` for reading.
    pub fn open_existing(directory: &Path, number: u64) -> io::Result<Self> {
        let file = File::open(Self::path(directory, number))?;
        let end = AtomicU64::new(file.metadata()?.len());
        Ok(Self { file, end, number })
    }

    /// A file of pieces without a name in `directory`, gone when it is closed.
    pub fn scratch(directory: &Path) -> io::Result<Self> {
        // A name that a crash leaves is removed like that of an interrupted compaction.
        let number = u64::MAX;
        let path = Self::path(directory, number);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Self { file, end: AtomicU64::new(0), number })
    }

    pub fn path(directory: &Path, number: u64) -> PathBuf {
        directory.join(format!("pieces.{number}"))
    }

    /// The file itself, for reading.
    pub fn into_file(self) -> File {
        self.file
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    /// Bytes in the file, dead ones included.
    pub fn len(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// Appends `bytes`; safe from several threads.
    pub fn append(&self, bytes: &[u8]) -> io::Result<Span> {
        let len = bytes.len() as u64;
        let offset = self.end.fetch_add(len, Ordering::Relaxed);
        self.file.write_all_at(bytes, offset)?;
        Ok(Span { offset, len })
    }

    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl PieceFile {
    /// Whether every byte of this chunk is as it was written.
    pub(super) fn holds(&self, chunk: &Chunk) -> bool {
        let mut bytes = Vec::new();
        let mut is_whole = |span: Span, sum: u32| {
            bytes.clear();
            span.end() <= self.len() && self.read(span, &mut bytes).is_ok() && crc32fast::hash(&bytes) == sum
        };
        chunk
            .parts
            .iter()
            .all(|part| is_whole(part.raw, part.raw_crc) && is_whole(part.piece, part.piece_crc))
    }
}

/// Whether what was read is not what was written, or cannot be read any more.
pub fn is_damage(error: &io::Error) -> bool {
    // EIO: the disk has lost it.
    is_damaged(error) || error.kind() == io::ErrorKind::UnexpectedEof || error.raw_os_error() == Some(5)
}

impl Pieces for PieceFile {
    fn read(&self, span: Span, into: &mut Vec<u8>) -> io::Result<()> {
        let start = into.len();
        let len = usize::try_from(span.len).map_err(io::Error::other)?;
        into.resize(start + len, 0);
        self.file.read_exact_at(&mut into[start..], span.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_reads_back_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let first = PieceFile::open(dir.path(), 1).unwrap();
        let (a, b) = (first.append(b"alpha").unwrap(), first.append(b"beta").unwrap());
        drop(first);
        let again = PieceFile::open(dir.path(), 1).unwrap();
        let c = again.append(b"gamma").unwrap();
        let mut text = Vec::new();
        for span in [b, a, c] {
            again.read(span, &mut text).unwrap();
        }
        assert_eq!(text, b"betaalphagamma");
        assert!(again.read(Span { offset: 1000, len: 1 }, &mut text).is_err());
    }
}
