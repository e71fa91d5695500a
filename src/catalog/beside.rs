//! The catalog as another process may read it, while its owner works: a copy.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::Connection;

use super::identity::id as file_id;
use super::{CatalogError, FILE, LOG, connect};

/// How often the owner may come between.
const TRIES: u32 = 50;
const WAIT: Duration = Duration::from_millis(20);

/// Opens a copy of the database in `directory`, of which nothing is left once it is closed.
pub fn copy(directory: &Path) -> Result<Connection, CatalogError> {
    let failed = |source| CatalogError::Copy { path: directory.join(FILE), source };
    let place = Place::new().map_err(failed)?;
    for _ in 0..TRIES {
        if place.take(directory).map_err(failed)? {
            let db = connect::reader(&place.0.join(FILE))?;
            // Opens the log, too; from here on no name is needed.
            db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
            return Ok(db);
        }
        std::thread::sleep(WAIT);
    }
    Err(failed(io::Error::new(io::ErrorKind::ResourceBusy, "it changes all the time; try again")))
}

/// A directory that nobody else has, removed when this is dropped.
struct Place(PathBuf);

impl Place {
    fn new() -> io::Result<Self> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = LAST.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("createrepod-{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|()| Self(path)),
            }
        }
    }

    /// Whether what was copied is one state. The database comes first, and then its log: whatever was moved from the log
    /// into the database meanwhile is in the copy of the log, too, unless that was begun anew.
    fn take(&self, directory: &Path) -> io::Result<bool> {
        let (database, log) = (directory.join(FILE), directory.join(LOG));
        let (before, beginning) = (file_id(&database)?, head(&log)?);
        fs::copy(&database, self.0.join(FILE))?;
        // As if there were none: an empty one is none.
        let copied = File::create(self.0.join(LOG));
        match File::open(&log) {
            Ok(mut log) => _ = io::copy(&mut log, &mut copied?)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => drop(copied?),
            Err(error) => return Err(error),
        }
        let same = head(&log)? == beginning;
        Ok(same && (beginning.is_some() || file_id(&database)? == before))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is left lies where temporary files are tidied away.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The first bytes of a log, which are others once it is begun anew; `None` where there is none.
fn head(log: &Path) -> io::Result<Option<[u8; 32]>> {
    let mut head = [0; 32];
    match File::open(log).and_then(|mut file| file.read_exact(&mut head)) {
        Ok(()) => Ok(Some(head)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
