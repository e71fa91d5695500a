//! Writes additional metadata into staged files, in every form the repository's clients want.

use std::fs::File;
use std::io::{self, BufRead, Read, Seek, Write};
use std::sync::{Arc, Mutex};

use tracing::warn;

use crate::catalog::{PieceFile, Recipe};
use crate::config::RepositoryConfig;
use crate::package::{Checksum, Hasher};
use crate::publish::{Place, PublishError, Staged};
use crate::repodata::additional::{GROUP, MODULES, base_name, check, is_repacked, longest};
use crate::repodata::codec::{Encoder, Limits};
use crate::repodata::encoding::with_known_name;
use crate::repodata::join::Frame;
use crate::repodata::{Codec, Compression, Record, Span};
use crate::repository::{RepositoryError, lock, press};

/// Bytes of a file that are one piece of the catalog.
const PIECE: usize = 1 << 20;

/// A file with additional metadata, staged and synced. Its record's timestamp is the publication's to set.
pub struct MadeFile {
    pub record: Record,
    pub staged: Staged,
    pub recipe: Recipe,
}

/// Why no file was made.
pub enum Failure {
    /// What is wrong with the source, in one line.
    Source(String),
    Ours(RepositoryError),
}

impl From<RepositoryError> for Failure {
    fn from(error: RepositoryError) -> Self {
        Self::Ours(error)
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        Self::Ours(error.into())
    }
}

/// The records that metadata of this type has where it is compressed by us, and how each is. Clients of EL6 and
/// EL7 read comps only where it is plain; those that look for `group_gz` save some of the way.
pub fn forms(config: &RepositoryConfig, kind: &str) -> Vec<(String, Codec)> {
    let one = |codec| vec![(kind.to_owned(), codec)];
    match config.metadata.compression() {
        Compression::Zstd => one(Codec::Zstd),
        Compression::Gzip if kind == GROUP => {
            vec![(kind.to_owned(), Codec::None), (format!("{kind}_gz"), Codec::Gzip)]
        }
        Compression::Gzip => one(Codec::Gzip),
    }
}

/// A file that is read, and whether the system failed to: that is not what its bytes say.
pub struct Opened {
    file: File,
    failed: Mutex<Option<String>>,
}

impl Opened {
    pub fn new(file: File) -> Self {
        Self { file, failed: Mutex::default() }
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// What the system said, if it failed.
    pub fn failed(&self) -> Option<String> {
        lock(&self.failed).clone()
    }

    fn noted<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        outcome.inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                *lock(&self.failed) = Some(error.to_string());
            }
        })
    }
}

impl Read for &Opened {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.noted((&self.file).read(buffer))
    }
}

impl Seek for &Opened {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.noted((&self.file).seek(to))
    }
}

/// How a file is compressed, judged by how it begins.
pub fn codec_of(mut file: impl Read + Seek) -> io::Result<Codec> {
    let mut start = Vec::new();
    file.rewind()?;
    file.by_ref().take(6).read_to_end(&mut start)?;
    file.rewind()?;
    Ok(Codec::of_bytes(&start))
}

/// Where files are made.
pub struct Packer<'a> {
    pub config: &'a RepositoryConfig,
    pub place: &'a Place,
    pub pieces: Arc<PieceFile>,
}

impl Packer<'_> {
    /// Makes the files of what `file`, whose name is `name`, holds.
    pub fn file(&self, kind: &str, name: &str, mut file: &Opened) -> Result<Vec<MadeFile>, Failure> {
        let cannot = |error: io::Error| Failure::Source(error.to_string());
        let limits = Limits { open_size: Some(longest(kind)) };
        let checked = |file: &Opened, sink: &mut dyn Write| {
            let source = Codec::open(file, limits).map_err(|error| error.to_string())?;
            if !is_repacked(kind) || kind == MODULES {
                return check(kind, name, Tee { source, sink }).map_err(|error| error.to_string());
            }
            let (source, other) = with_known_name(source).map_err(|error| error.to_string())?;
            check(kind, name, Tee { source, sink }).map_err(|error| error.to_string())?;
            if let Some(other) = other {
                warn!(repo.name = %self.config.name,
                      "{} publishes {name} as UTF-8: it says encoding={other:?}, which not all clients read; write encoding=\"UTF-8\"",
                      self.config.name);
            }
            Ok(())
        };
        if is_repacked(kind) {
            return self.text(kind, name, forms(self.config, kind), |sink| checked(file, sink));
        }
        let (codec, named) = (codec_of(file).map_err(cannot)?, Codec::of_name(name));
        // Clients go by the name, so it must not say anything else than the file.
        let is_misnamed = named != Codec::None && named != codec;
        if is_misnamed || !self.config.metadata.reads(codec) {
            let plain = name.strip_suffix(named.suffix()).unwrap_or(name);
            let forms = vec![(kind.to_owned(), Codec::Gzip)];
            return self.text(kind, plain, forms, |sink| checked(file, sink));
        }
        // As it is, with what it holds uncompressed beside it.
        let mut made = self.text(kind, name, vec![(kind.to_owned(), Codec::None)], |sink| {
            let mut again = file;
            io::copy(&mut again, sink).map(|_| ()).map_err(|error| error.to_string())
        })?;
        let mut summed = Summed { hasher: Hasher::new(self.config.checksum), size: 0 };
        file.rewind().map_err(cannot)?;
        checked(file, &mut summed).map_err(Failure::Source)?;
        let is_packed = codec != Codec::None;
        for MadeFile { record, .. } in &mut made {
            record.open_checksum = is_packed.then(|| summed.hasher.clone().finish());
            record.open_size = is_packed.then_some(summed.size);
        }
        Ok(made)
    }

    /// Makes files of a text that `fill` writes, in these forms; what it says is wrong, is wrong with the source.
    pub fn text(
        &self,
        kind: &str,
        name: &str,
        forms: Vec<(String, Codec)>,
        fill: impl FnOnce(&mut dyn Write) -> Result<(), String>,
    ) -> Result<Vec<MadeFile>, Failure> {
        let failed = |source| Failure::Ours(press::failed(self.config, source));
        let mut files = Vec::new();
        for (kind, _) in &forms {
            files.push(Packing {
                staged: self.place.stage(kind)?,
                summed: Summed { hasher: Hasher::new(self.config.checksum), size: 0 },
                pieces: &self.pieces,
                spans: Vec::new(),
                waiting: Vec::new(),
            });
        }
        let open = {
            let summed = Summed { hasher: Hasher::new(self.config.checksum), size: 0 };
            let encoders: io::Result<Vec<_>> =
                files.iter_mut().zip(&forms).map(|(file, (_, codec))| codec.create(file)).collect();
            let mut plain = Plain { encoders: encoders.map_err(failed)?, summed, failed: None };
            fill(&mut plain).map_err(Failure::Source)?;
            if let Some(error) = plain.failed {
                return Err(failed(error));
            }
            plain.encoders.into_iter().try_for_each(Encoder::finish).map_err(failed)?;
            plain.summed
        };
        let open_checksum = open.hasher.finish();
        let base = base_name(kind, name);
        let mut made = Vec::new();
        for (file, (kind, codec)) in files.into_iter().zip(forms) {
            let packed = codec != Codec::None;
            let (mut staged, checksum, size, spans) = file.finish().map_err(failed)?;
            staged.sync()?;
            let name = format!("{checksum}-{base}{}", codec.suffix());
            let record = Record {
                kind,
                checksum,
                // createrepo_c says it of compressed files only.
                open_checksum: packed.then(|| open_checksum.clone()),
                href: format!("repodata/{name}"),
                base: None,
                timestamp: 0,
                size: Some(size),
                open_size: packed.then_some(open.size),
                header: None,
                database_version: None,
            };
            made.push(MadeFile {
                record,
                staged,
                recipe: Recipe { name, size, frame: Frame::default(), spans },
            });
        }
        Ok(made)
    }
}

/// Hands on what is read, as it is read.
struct Tee<'s, R> {
    source: R,
    sink: &'s mut dyn Write,
}

impl<R: BufRead> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Tee<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.source.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // What is consumed was filled in before; the sink keeps its own errors.
        if let Ok(available) = self.source.fill_buf() {
            let _ = self.sink.write_all(&available[..amount.min(available.len())]);
        }
        self.source.consume(amount);
    }
}

/// A checksum and a length in the making.
struct Summed {
    hasher: Hasher,
    size: u64,
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The text of all forms. Never fails: what fails here is not the source's fault, and is kept apart.
struct Plain<'w> {
    encoders: Vec<Encoder<'w>>,
    summed: Summed,
    failed: Option<io::Error>,
}

impl Write for Plain<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.summed.write_all(bytes)?;
        if self.failed.is_none() {
            self.failed = self.encoders.iter_mut().try_for_each(|encoder| encoder.write_all(bytes)).err();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One file on its way to the disk and into the catalog's pieces, from which it can be made again once it
/// is superseded.
struct Packing<'p> {
    staged: Staged,
    summed: Summed,
    pieces: &'p PieceFile,
    spans: Vec<Span>,
    waiting: Vec<u8>,
}

impl Packing<'_> {
    fn finish(mut self) -> io::Result<(Staged, Checksum, u64, Vec<Span>)> {
        self.store()?;
        Ok((self.staged, self.summed.hasher.finish(), self.summed.size, self.spans))
    }

    fn store(&mut self) -> io::Result<()> {
        if !self.waiting.is_empty() {
            self.spans.push(self.pieces.append(&self.waiting)?);
            self.waiting.clear();
        }
        Ok(())
    }
}

impl Write for Packing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.staged.write_all(bytes)?;
        self.summed.write_all(bytes)?;
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= PIECE {
            self.store()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
