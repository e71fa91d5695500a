//! Texts kept in a file without a name, so that memory holds only where they are.

use std::fs::File;
use std::io::{self, BufWriter, Seek as _, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where one text lies in a [`Spool`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    pub offset: u64,
    pub len: u64,
}

/// Append, then read in any order.
pub struct Spool {
    file: BufWriter<File>,
    len: u64,
}

impl Spool {
    /// Makes the file in `directory`; the name is gone before this returns.
    pub fn new(directory: &Path) -> io::Result<Self> {
        static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = directory.join(format!(".createrepod-spool-{}-{number}", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Self { file: BufWriter::with_capacity(1 << 20, file), len: 0 })
    }

    pub fn append(&mut self, text: &[u8]) -> io::Result<Place> {
        self.file.write_all(text)?;
        let place = Place { offset: self.len, len: text.len() as u64 };
        self.len += place.len;
        Ok(place)
    }

    /// Ends appending.
    pub fn into_reader(mut self) -> io::Result<SpoolReader> {
        self.file.flush()?;
        Ok(SpoolReader(self.file.into_inner().map_err(io::IntoInnerError::into_error)?))
    }
}

/// For what is one text in all.
impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Reads back; shared by any number of threads.
pub struct SpoolReader(File);

impl SpoolReader {
    /// Writes everything to `sink`.
    pub fn copy_to(mut self, sink: &mut dyn Write) -> io::Result<()> {
        self.0.rewind()?;
        io::copy(&mut self.0, sink).map(|_| ())
    }

    pub fn read(&self, place: Place) -> io::Result<Vec<u8>> {
        let mut text = vec![0; usize::try_from(place.len).map_err(io::Error::other)?];
        self.0.read_exact_at(&mut text, place.offset)?;
        Ok(text)
    }
}
