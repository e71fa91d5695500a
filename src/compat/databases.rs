//! A metadata file's SQLite database, made from the packages' texts.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::output::{Finished, Style, Workshop};
use crate::databases::{Database, VERSION};
use crate::repodata::{Codec, MetadataType, Record};

/// Where databases are made before they are compressed; gone when dropped.
pub struct Place {
    path: PathBuf,
}

/// In the repository, or with `local` in the directory for temporary files.
pub fn place(workshop: &Workshop, local: bool) -> anyhow::Result<Place> {
    let path = if local {
        std::env::temp_dir().join(format!("createrepod-databases-{}", std::process::id()))
    } else {
        workshop.scratch().join("databases")
    };
    std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(Place { path })
}

impl Drop for Place {
    fn drop(&mut self) {
        // The system clears what cannot be removed.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Makes the database that says the same as the file of `xml`: `primary`, `filelists`, `other` or `filelists-ext`.
pub fn make(
    workshop: &Workshop,
    place: &Place,
    xml: &Record,
    codec: Codec,
    style: &Style,
    texts: &mut dyn Iterator<Item = anyhow::Result<String>>,
) -> anyhow::Result<Finished> {
    let kind = match xml.kind.as_str() {
        "primary" => MetadataType::Primary,
        "other" => MetadataType::Other,
        _ => MetadataType::Filelists,
    };
    let path: &Path = &place.path.join(format!("{}.sqlite", xml.kind));
    let mut database = Database::create(kind, path)?;
    for text in texts {
        database.add(&text?)?;
    }
    database.finish(&xml.checksum)?;
    let cannot = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    let (kind, base) = (format!("{}_db", xml.kind), format!("{}.sqlite", xml.kind));
    let mut finished = workshop.write(&kind, &base, codec, style, |sink| {
        io::copy(&mut file, sink).with_context(cannot)?;
        Ok(())
    })?;
    finished.record.database_version = Some(VERSION);
    Ok(finished)
}
