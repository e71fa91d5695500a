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
/// Bytes of what one holder has set in a repository.
pub const HOLDER_LIMIT: u64 = 4 << 20;

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

impl Patch {
    /// Bytes of what it sets.
    pub fn len(&self) -> usize {
        match self {
            Self::Set(Property { namespace, name, xml }) => namespace.len() + name.len() + xml.len(),
            Self::Remove { .. } => 0,
        }
    }
}

/// Why properties cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum PropertiesError {
    #[error(
        "there is no room for these properties: one resource may have {RESOURCE_LIMIT} bytes of them, one client {HOLDER_LIMIT}, one repository {REPOSITORY_LIMIT}"
    )]
    Full,
    #[error("{} was made by a newer createrepod (format {found})", path.display())]
    Newer { path: PathBuf, found: u32 },
    #[error("cannot use {}", path.display())]
    Sqlite { path: PathBuf, source: rusqlite::Error },
}

/// Bytes of properties, for any of their rows.
const SUM: &str = "SELECT coalesce(sum(length(CAST(location AS BLOB)) + length(CAST(namespace AS BLOB)) + length(CAST(name AS BLOB)) + length(xml)), 0) FROM property";

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
            // Beside the properties, whose table older programs know: who has set them.
            if version == VERSION {
                db.execute_batch(
                    "CREATE TABLE IF NOT EXISTS setter (
                         location TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, holder TEXT NOT NULL,
                         PRIMARY KEY (location, namespace, name)
                     ) WITHOUT ROWID",
                )?;
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

    /// Carries out all of `patches`, or none; `holder` says whose they are.
    pub fn patch(
        &mut self,
        resource: Option<&Location>,
        patches: &[Patch],
        holder: &str,
    ) -> Result<(), PropertiesError> {
        let failed = self.failed();
        let key = key(resource);
        let tx = self.db.transaction().map_err(&failed)?;
        for patch in patches {
            match patch {
                Patch::Set(Property { namespace, name, xml }) => tx
                    .prepare_cached("INSERT OR REPLACE INTO property VALUES (?, ?, ?, ?)")
                    .and_then(|mut insert| insert.execute(params![key, namespace, name, xml]))
                    .and_then(|_| tx.prepare_cached("INSERT OR REPLACE INTO setter VALUES (?, ?, ?, ?)"))
                    .and_then(|mut insert| insert.execute(params![key, namespace, name, holder])),
                Patch::Remove { namespace, name } => tx
                    .prepare_cached("DELETE FROM property WHERE location = ? AND namespace = ? AND name = ?")
                    .and_then(|mut delete| delete.execute(params![key, namespace, name])),
            }
            .map_err(&failed)?;
        }
        let of_resource: u64 =
            tx.query_row(&format!("{SUM} WHERE location = ?"), [key], |row| row.get(0)).map_err(&failed)?;
        let of_all: u64 = tx.query_row(SUM, [], |row| row.get(0)).map_err(&failed)?;
        let theirs = format!("{SUM} JOIN setter USING (location, namespace, name) WHERE holder = ?");
        let of_holder: u64 = tx.query_row(&theirs, [holder], |row| row.get(0)).map_err(&failed)?;
        let grows = patches.iter().any(|patch| matches!(patch, Patch::Set(_)));
        let full = of_resource > RESOURCE_LIMIT || of_all > REPOSITORY_LIMIT || of_holder > HOLDER_LIMIT;
        if grows && full {
            return Err(PropertiesError::Full);
        }
        tx.commit().map_err(failed)
    }

    /// Drops the properties of a resource and of all below it.
    pub fn remove(&mut self, resource: &Location) -> Result<(), PropertiesError> {
        let (text, from, to) = range(resource);
        ["property", "setter"]
            .into_iter()
            .try_for_each(|table| {
                let delete =
                    format!("DELETE FROM {table} WHERE location = ?1 OR (location >= ?2 AND location < ?3)");
                self.db.execute(&delete, params![text, from, to]).map(drop)
            })
            .map_err(self.failed())
    }

    /// Gives the properties of `from`, and of all below it, to what is at `to`, which loses its own. With
    /// `keep` they stay at `from` as well, if there is room for both.
    pub fn transfer(&mut self, from: &Location, to: &Location, keep: bool) -> Result<(), PropertiesError> {
        let failed = self.failed();
        let work = |db: &mut Connection| -> rusqlite::Result<bool> {
            let tx = db.transaction()?;
            let inside = "(location = ?1 OR (location >= ?2 AND location < ?3))";
            let (to_text, to_from, to_to) = range(to);
            tx.execute(&format!("DELETE FROM property WHERE {inside}"), params![to_text, to_from, to_to])?;
            tx.execute(&format!("DELETE FROM setter WHERE {inside}"), params![to_text, to_from, to_to])?;
            let (text, from_from, from_to) = range(from);
            for (table, last) in [("property", "xml"), ("setter", "holder")] {
                tx.execute(
                    &format!(
                        "INSERT INTO {table} SELECT ?4 || substr(location, length(?1) + 1), namespace, name, {last}
                         FROM {table} WHERE {inside}"
                    ),
                    params![text, from_from, from_to, to_text],
                )?;
                if !keep {
                    tx.execute(
                        &format!("DELETE FROM {table} WHERE {inside}"),
                        params![text, from_from, from_to],
                    )?;
                }
            }
            let most = "SELECT coalesce(max(size), 0) FROM (SELECT sum(length(xml)) AS size FROM property
                        JOIN setter USING (location, namespace, name) GROUP BY holder)";
            let of_all: u64 = tx.query_row(SUM, [], |row| row.get(0))?;
            let of_holder: u64 = tx.query_row(most, [], |row| row.get(0))?;
            if keep && (of_all > REPOSITORY_LIMIT || of_holder > HOLDER_LIMIT) {
                return Ok(false);
            }
            tx.commit().map(|()| true)
        };
        match work(&mut self.db).map_err(failed)? {
            true => Ok(()),
            false => Err(PropertiesError::Full),
        }
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
        properties.patch(Some(&location("a/x.rpm")), &[set("one", "1"), set("two", "2")], "x").unwrap();
        properties.patch(Some(&location("a")), &[set("three", "3")], "x").unwrap();
        properties.patch(Some(&location("ab")), &[set("other", "")], "x").unwrap();
        properties.patch(None, &[set("top", "")], "x").unwrap();
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
        properties.patch(Some(&a), &[set("one", "1")], "x").unwrap();
        let remove = Patch::Remove { namespace: "urn:x".into(), name: "one".into() };
        let big = "x".repeat(RESOURCE_LIMIT as usize);
        let error = properties.patch(Some(&a), &[remove.clone(), set("big", &big)], "x").unwrap_err();
        assert!(matches!(error, PropertiesError::Full));
        assert_eq!(names(&properties, "a"), ["one"]);
        properties.patch(Some(&a), &[remove, set("two", "")], "x").unwrap();
        assert_eq!(names(&properties, "a"), ["two"]);
    }

    #[test]
    fn one_holder_has_a_share_and_a_copy_counts() {
        let dir = tempfile::tempdir().unwrap();
        let mut properties = Properties::open_or_create(dir.path()).unwrap();
        let big = set("big", &"x".repeat(RESOURCE_LIMIT as usize - 200));
        let fill = |properties: &mut Properties, name: &str, holder: &str| {
            (0..1000)
                .find(|number| {
                    let at = location(&format!("{name}/{number}"));
                    properties.patch(Some(&at), std::slice::from_ref(&big), holder).is_err()
                })
                .unwrap()
        };
        assert_eq!(fill(&mut properties, "a", "one"), 64);
        let copied = properties.transfer(&location("a/0"), &location("b"), true);
        assert!(matches!(copied, Err(PropertiesError::Full)) && names(&properties, "b").is_empty());
        properties.transfer(&location("a"), &location("c"), false).unwrap();
        assert_eq!(names(&properties, "c/0"), ["big"], "what only moves needs no room");
        assert_eq!(fill(&mut properties, "d", "two"), 64, "another has a share, too");
        properties.remove(&location("c")).unwrap();
        assert_eq!(fill(&mut properties, "e", "one"), 64, "what is gone counts no more");
    }

    #[test]
    fn a_file_of_a_newer_version_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let properties = Properties::open_or_create(dir.path()).unwrap();
        properties.db.pragma_update(None, "user_version", VERSION + 1).unwrap();
        assert!(matches!(Properties::open(dir.path()), Err(PropertiesError::Newer { .. })));
    }
}
