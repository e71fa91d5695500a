//! WebDAV properties that clients set (RFC 4918 calls them dead): kept in a file of their own beside the
//! catalog, because the catalog can be made anew from the tree and these cannot.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params};

use crate::package::Location;

const FILE: &str = "properties.sqlite";
/// Kept in SQLite's `user_version`.
const VERSION: u32 = 1;
/// Bytes of all properties of one resource.
pub const RESOURCE_LIMIT: u64 = 64 << 10;
/// Bytes of all properties of one repository.
pub const REPOSITORY_LIMIT: u64 = 16 << 20;

/// A property: its name in its namespace, and its element as the client sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Empty for names without one.
    pub namespace: String,
    pub name: String,
    /// The element whole, with the namespaces it needs declared in it.
    pub xml: Vec<u8>,
}

/// One instruction of a PROPPATCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Patch {
    Set(Property),
    Remove { namespace: String, name: String },
}

/// Why properties cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum PropertiesError {
    #[error(
        "there is no room for these properties: one resource may have {RESOURCE_LIMIT} bytes of them, one repository {REPOSITORY_LIMIT}"
    )]
    Full,
    #[error("{} was made by a newer createrepod (format {found})", path.display())]
    Newer { path: PathBuf, found: u32 },
    #[error("cannot use {}", path.display())]
    Sqlite { path: PathBuf, source: rusqlite::Error },
}

/// The properties of one repository's resources. Opened for one piece of work at a time.
pub struct Properties {
    db: Connection,
    path: PathBuf,
}

/// A resource's key: its location, or nothing for the top of the repository.
fn key(resource: Option<&Location>) -> &str {
    resource.map_or("", Location::as_str)
}

impl Properties {
    /// Opens the file in `directory`; `None` where nobody has set a property yet.
    pub fn open(directory: &Path) -> Result<Option<Self>, PropertiesError> {
        if !directory.join(FILE).exists() {
            return Ok(None);
        }
        Self::open_or_create(directory).map(Some)
    }

    /// Opens the file in `directory`, or makes it.
    pub fn open_or_create(directory: &Path) -> Result<Self, PropertiesError> {
        let path = directory.join(FILE);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = || -> rusqlite::Result<(Connection, u32)> {
            let mut db = Connection::open_with_flags(&path, flags)?;
            db.busy_timeout(std::time::Duration::from_secs(10))?;
            let mut version: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            if version == 0 {
                let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
                tx.execute_batch(
                    "CREATE TABLE IF NOT EXISTS property (
                         location TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, xml BLOB NOT NULL,
                         PRIMARY KEY (location, namespace, name)
                     ) WITHOUT ROWID",
                )?;
                tx.pragma_update(None, "user_version", VERSION)?;
                tx.commit()?;
                version = VERSION;
            }
            Ok((db, version))
        };
        match opened() {
            Ok((_, found)) if found > VERSION => Err(PropertiesError::Newer { path, found }),
            Ok((db, _)) => Ok(Self { db, path }),
            Err(source) => Err(PropertiesError::Sqlite { path, source }),
        }
    }

    fn failed(&self) -> impl Fn(rusqlite::Error) -> PropertiesError + use<> {
        let path = self.path.clone();
        move |source| PropertiesError::Sqlite { path: path.clone(), source }
    }

    /// The properties of a resource (`None`: the top), by namespace and name.
    pub fn of(&self, resource: Option<&Location>) -> Result<Vec<Property>, PropertiesError> {
        let read = || -> rusqlite::Result<Vec<Property>> {
            self.db
                .prepare_cached("SELECT namespace, name, xml FROM property WHERE location = ?")?
                .query_map([key(resource)], |row| {
                    Ok(Property { namespace: row.get(0)?, name: row.get(1)?, xml: row.get(2)? })
                })?
                .collect()
        };
        read().map_err(self.failed())
    }

    /// Carries out all of `patches`, or none.
    pub fn patch(&mut self, resource: Option<&Location>, patches: &[Patch]) -> Result<(), PropertiesError> {
        let failed = self.failed();
        let key = key(resource);
        let tx = self.db.transaction().map_err(&failed)?;
        for patch in patches {
            match patch {
                Patch::Set(Property { namespace, name, xml }) => tx
                    .prepare_cached("INSERT OR REPLACE INTO property VALUES (?, ?, ?, ?)")
                    .and_then(|mut insert| insert.execute(params![key, namespace, name, xml])),
                Patch::Remove { namespace, name } => tx
                    .prepare_cached("DELETE FROM property WHERE location = ? AND namespace = ? AND name = ?")
                    .and_then(|mut delete| delete.execute(params![key, namespace, name])),
            }
            .map_err(&failed)?;
        }
        let sum = "SELECT coalesce(sum(length(location) + length(namespace) + length(name) + length(xml)), 0) FROM property";
        let of_resource: u64 =
            tx.query_row(&format!("{sum} WHERE location = ?"), [key], |row| row.get(0)).map_err(&failed)?;
        let of_all: u64 = tx.query_row(sum, [], |row| row.get(0)).map_err(&failed)?;
        let grows = patches.iter().any(|patch| matches!(patch, Patch::Set(_)));
        if grows && (of_resource > RESOURCE_LIMIT || of_all > REPOSITORY_LIMIT) {
            return Err(PropertiesError::Full);
        }
        tx.commit().map_err(failed)
    }

    /// Drops the properties of a resource and of all below it.
    pub fn remove(&mut self, resource: &Location) -> Result<(), PropertiesError> {
        let (text, from, to) = range(resource);
        self.db
            .execute(
                "DELETE FROM property WHERE location = ?1 OR (location >= ?2 AND location < ?3)",
                params![text, from, to],
            )
            .map(drop)
            .map_err(self.failed())
    }

    /// Gives the properties of `from`, and of all below it, to what is at `to`, which loses its own. With
    /// `keep` they stay at `from` as well.
    pub fn transfer(&mut self, from: &Location, to: &Location, keep: bool) -> Result<(), PropertiesError> {
        let failed = self.failed();
        let work = |db: &mut Connection| -> rusqlite::Result<()> {
            let tx = db.transaction()?;
            let inside = "(location = ?1 OR (location >= ?2 AND location < ?3))";
            let (to_text, to_from, to_to) = range(to);
            tx.execute(&format!("DELETE FROM property WHERE {inside}"), params![to_text, to_from, to_to])?;
            let (text, from_from, from_to) = range(from);
            tx.execute(
                &format!(
                    "INSERT INTO property SELECT ?4 || substr(location, length(?1) + 1), namespace, name, xml
                     FROM property WHERE {inside}"
                ),
                params![text, from_from, from_to, to_text],
            )?;
            if !keep {
                tx.execute(
                    &format!("DELETE FROM property WHERE {inside}"),
                    params![text, from_from, from_to],
                )?;
            }
            tx.commit()
        };
        work(&mut self.db).map_err(failed)
    }

    /// Every resource that has properties.
    pub fn resources(&self) -> Result<Vec<String>, PropertiesError> {
        let read = || -> rusqlite::Result<Vec<String>> {
            self.db
                .prepare("SELECT DISTINCT location FROM property")?
                .query_map([], |row| row.get(0))?
                .collect()
        };
        read().map_err(self.failed())
    }
}

/// A location, and the range of everything below it.
fn range(resource: &Location) -> (String, String, String) {
    // Everything below `a` sorts from `a/` up to, and without, `a0`, the character after the slash.
    (resource.to_string(), format!("{resource}/"), format!("{resource}0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(text: &str) -> Location {
        Location::parse(text).unwrap()
    }

    fn set(name: &str, value: &str) -> Patch {
        Patch::Set(Property {
            namespace: "urn:x".into(),
            name: name.into(),
            xml: format!("<{name} xmlns=\"urn:x\">{value}</{name}>").into_bytes(),
        })
    }

    fn names(properties: &Properties, resource: &str) -> Vec<String> {
        let found = properties.of(Some(&location(resource))).unwrap();
        found.into_iter().map(|property| property.name).collect()
    }

    #[test]
    fn properties_are_there_after_a_restart_and_follow_their_resource() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Properties::open(dir.path()).unwrap().is_none(), "nothing is made by a look");
        let mut properties = Properties::open_or_create(dir.path()).unwrap();
        properties.patch(Some(&location("a/x.rpm")), &[set("one", "1"), set("two", "2")]).unwrap();
        properties.patch(Some(&location("a")), &[set("three", "3")]).unwrap();
        properties.patch(Some(&location("ab")), &[set("other", "")]).unwrap();
        properties.patch(None, &[set("top", "")]).unwrap();
        drop(properties);

        let mut properties = Properties::open(dir.path()).unwrap().unwrap();
        assert_eq!(names(&properties, "a/x.rpm"), ["one", "two"]);
        assert_eq!(properties.of(None).unwrap().len(), 1);
        properties.transfer(&location("a"), &location("ü/b"), false).unwrap();
        assert_eq!(names(&properties, "ü/b/x.rpm"), ["one", "two"]);
        assert!(names(&properties, "a").is_empty() && names(&properties, "a/x.rpm").is_empty());
        properties.transfer(&location("ü/b"), &location("c"), true).unwrap();
        assert_eq!(names(&properties, "c"), names(&properties, "ü/b"));
        properties.remove(&location("c")).unwrap();
        assert!(names(&properties, "c/x.rpm").is_empty());
        assert_eq!(names(&properties, "ab"), ["other"], "a name that begins alike is another");
    }

    #[test]
    fn a_patch_happens_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let mut properties = Properties::open_or_create(dir.path()).unwrap();
        let a = location("a");
        properties.patch(Some(&a), &[set("one", "1")]).unwrap();
        let remove = Patch::Remove { namespace: "urn:x".into(), name: "one".into() };
        let big = "x".repeat(RESOURCE_LIMIT as usize);
        let error = properties.patch(Some(&a), &[remove.clone(), set("big", &big)]).unwrap_err();
        assert!(matches!(error, PropertiesError::Full));
        assert_eq!(names(&properties, "a"), ["one"]);
        properties.patch(Some(&a), &[remove, set("two", "")]).unwrap();
        assert_eq!(names(&properties, "a"), ["two"]);
    }

    #[test]
    fn a_file_of_a_newer_version_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let properties = Properties::open_or_create(dir.path()).unwrap();
        properties.db.pragma_update(None, "user_version", VERSION + 1).unwrap();
        assert!(matches!(Properties::open(dir.path()), Err(PropertiesError::Newer { .. })));
    }
}
