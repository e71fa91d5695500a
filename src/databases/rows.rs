//! The rows that a package has in the databases, by what its XML says.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::schema::LISTS;
use crate::repodata::element::{Step, attribute, visit};
use crate::repodata::read::pkgid_of;

/// Why a package's entry gives no rows.
pub(super) enum Bad {
    Sqlite(rusqlite::Error),
    Entry(String),
}

impl From<rusqlite::Error> for Bad {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Texts of primary.xml by the names of their columns.
#[derive(Default)]
struct Row(BTreeMap<&'static str, String>);

impl Row {
    fn set(&mut self, column: &'static str, value: Option<String>) {
        self.0.insert(column, value.unwrap_or_default());
    }

    fn text(&self, column: &str) -> &str {
        self.0.get(column).map_or("", String::as_str)
    }

    /// Where createrepo_c has NULL for what is empty.
    fn nullable(&self, column: &str) -> Option<&str> {
        Some(self.text(column)).filter(|text| !text.is_empty())
    }

    fn number(&self, column: &str) -> i64 {
        self.text(column).trim().parse().unwrap_or(0)
    }
}

/// Puts a package's element of primary.xml in, under this `pkgKey`.
pub(super) fn add_primary(connection: &Connection, key: i64, element: &str) -> Result<(), Bad> {
    let mut row = Row::default();
    let mut list: Option<&'static str> = None;
    let mut file_type = String::new();
    let mut trouble = None;
    let visited = visit(element, |step| {
        let done = match step {
            Step::Open { name, depth: 1, tag, .. } => note_attributes(&mut row, name, tag),
            Step::Open { name, depth: 2, tag, .. } => {
                list = LISTS.into_iter().find(|list| *list == name);
                match name {
                    "header-range" => attribute(tag, "start").and_then(|start| {
                        row.set("header_start", start);
                        row.set("header_end", attribute(tag, "end")?);
                        Ok(())
                    }),
                    "file" => {
                        attribute(tag, "type").map(|kind| file_type = kind.unwrap_or_else(|| "file".into()))
                    }
                    _ => Ok(()),
                }
            }
            Step::Open { name: "entry", depth: 3, tag, .. } => match list {
                Some(list) => {
                    let values = Relation::of(tag)?;
                    trouble = values.insert(connection, list, key).err();
                    Ok(())
                }
                None => Ok(()),
            },
            Step::Close { name: "file", depth: 2, text } => {
                let insert = connection
                    .prepare_cached("INSERT INTO files (name, type, pkgKey) VALUES (?, ?, ?)")
                    .and_then(|mut insert| insert.execute(params![text, file_type, key]));
                trouble = insert.err();
                Ok(())
            }
            Step::Close { name, depth: 1 | 2, text } => {
                note_text(&mut row, name, text);
                Ok(())
            }
            _ => Ok(()),
        };
        match (&trouble, done) {
            (None, done) => done,
            // It is told below, in its own type.
            (Some(_), _) => Err(String::new()),
        }
    });
    if let Some(error) = trouble {
        return Err(error.into());
    }
    visited.map_err(Bad::Entry)?;
    insert_package(connection, key, &row)?;
    Ok(())
}

fn note_attributes(row: &mut Row, name: &str, tag: &quick_xml::events::BytesStart<'_>) -> Result<(), String> {
    let columns: &[(&str, &'static str)] = match name {
        "version" => &[("epoch", "epoch"), ("ver", "version"), ("rel", "release")],
        "checksum" => &[("type", "checksum_type")],
        "time" => &[("file", "time_file"), ("build", "time_build")],
        "size" => {
            &[("package", "size_package"), ("installed", "size_installed"), ("archive", "size_archive")]
        }
        "location" => &[("href", "href"), ("base", "base")],
        _ => &[],
    };
    for (from, column) in columns {
        row.set(column, attribute(tag, from)?);
    }
    Ok(())
}

fn note_text(row: &mut Row, name: &str, text: &str) {
    let column = match name {
        "name" => "name",
        "arch" => "arch",
        "checksum" => "pkgid",
        "summary" => "summary",
        "description" => "description",
        "packager" => "packager",
        "url" => "url",
        "license" => "license",
        "vendor" => "vendor",
        "group" => "group",
        "buildhost" => "buildhost",
        "sourcerpm" => "sourcerpm",
        _ => return,
    };
    row.set(column, Some(text.to_owned()));
}

fn insert_package(connection: &Connection, key: i64, row: &Row) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO packages (pkgKey, pkgId, name, arch, version, epoch, release, summary, description, url, \
         time_file, time_build, rpm_license, rpm_vendor, rpm_group, rpm_buildhost, rpm_sourcerpm, \
         rpm_header_start, rpm_header_end, rpm_packager, size_package, size_installed, size_archive, \
         location_href, location_base, checksum_type) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    insert.execute(params![
        key,
        row.text("pkgid").trim(),
        row.text("name"),
        row.text("arch"),
        row.nullable("version"),
        row.nullable("epoch"),
        row.nullable("release"),
        row.nullable("summary"),
        row.nullable("description"),
        row.nullable("url"),
        row.number("time_file"),
        row.number("time_build"),
        row.text("license"),
        row.text("vendor"),
        row.text("group"),
        row.text("buildhost"),
        row.text("sourcerpm"),
        row.number("header_start"),
        row.number("header_end"),
        row.nullable("packager"),
        row.number("size_package"),
        row.number("size_installed"),
        row.number("size_archive"),
        row.nullable("href"),
        row.nullable("base"),
        row.text("checksum_type"),
    ])?;
    Ok(())
}

/// `<rpm:entry …/>`
struct Relation {
    name: Option<String>,
    flags: Option<String>,
    epoch: Option<String>,
    version: Option<String>,
    release: Option<String>,
    pre: bool,
}

impl Relation {
    fn of(tag: &quick_xml::events::BytesStart<'_>) -> Result<Self, String> {
        let value = |name| Ok::<_, String>(attribute(tag, name)?.filter(|value| !value.is_empty()));
        Ok(Self {
            name: value("name")?,
            flags: value("flags")?,
            epoch: value("epoch")?,
            version: value("ver")?,
            release: value("rel")?,
            pre: value("pre")?.is_some_and(|pre| pre != "0"),
        })
    }

    fn insert(&self, connection: &Connection, list: &str, key: i64) -> rusqlite::Result<()> {
        let Self { name, flags, epoch, version, release, pre } = self;
        let (column, place) = if list == "requires" { (", pre", ", ?") } else { ("", "") };
        let mut insert = connection.prepare_cached(&format!(
            "INSERT INTO {list} (name, flags, epoch, version, release, pkgKey{column}) VALUES (?, ?, ?, ?, ?, ?{place})"
        ))?;
        if list == "requires" {
            let pre = if *pre { "TRUE" } else { "FALSE" };
            insert.execute(params![name, flags, epoch, version, release, key, pre])?;
        } else {
            insert.execute(params![name, flags, epoch, version, release, key])?;
        }
        Ok(())
    }
}

fn add_id(connection: &Connection, key: i64, element: &str) -> Result<(), Bad> {
    let pkgid = pkgid_of(element).map_err(Bad::Entry)?;
    let mut insert = connection.prepare_cached("INSERT INTO packages (pkgKey, pkgId) VALUES (?, ?)")?;
    insert.execute(params![key, pkgid])?;
    Ok(())
}

/// The same of filelists.xml and filelists-ext.xml.
pub(super) fn add_filelists(connection: &Connection, key: i64, element: &str) -> Result<(), Bad> {
    add_id(connection, key, element)?;
    // One row a directory: the names in it, and what each of them is.
    let mut directories: BTreeMap<String, (String, String)> = BTreeMap::new();
    let mut letter = 'f';
    let visited = visit(element, |step| {
        match step {
            Step::Open { name: "file", depth: 1, tag, .. } => {
                letter = match attribute(tag, "type")?.as_deref() {
                    Some("dir") => 'd',
                    Some("ghost") => 'g',
                    _ => 'f',
                };
            }
            Step::Close { name: "file", depth: 1, text } => {
                let (directory, name) = match text.rsplit_once('/') {
                    None => (".", text),
                    Some(("", name)) => ("/", name),
                    Some((directory, name)) => (directory.trim_end_matches('/'), name),
                };
                let (names, letters) = directories.entry(directory.to_owned()).or_default();
                if !letters.is_empty() {
                    names.push('/');
                }
                names.push_str(name);
                letters.push(letter);
            }
            _ => {}
        }
        Ok(())
    });
    visited.map_err(Bad::Entry)?;
    let mut insert = connection
        .prepare_cached("INSERT INTO filelist (pkgKey, dirname, filenames, filetypes) VALUES (?, ?, ?, ?)")?;
    for (directory, (names, letters)) in directories {
        insert.execute(params![key, directory, names, letters])?;
    }
    Ok(())
}

/// The same of other.xml.
pub(super) fn add_other(connection: &Connection, key: i64, element: &str) -> Result<(), Bad> {
    add_id(connection, key, element)?;
    let mut entries = Vec::new();
    let (mut author, mut date) = (None, 0i64);
    let visited = visit(element, |step| {
        match step {
            Step::Open { name: "changelog", depth: 1, tag, .. } => {
                author = attribute(tag, "author")?.filter(|author| !author.is_empty());
                date = attribute(tag, "date")?.and_then(|date| date.trim().parse().ok()).unwrap_or(0);
            }
            Step::Close { name: "changelog", depth: 1, text } => {
                entries.push((author.take(), date, text.to_owned()));
            }
            _ => {}
        }
        Ok(())
    });
    visited.map_err(Bad::Entry)?;
    let mut insert = connection
        .prepare_cached("INSERT INTO changelog (pkgKey, author, date, changelog) VALUES (?, ?, ?, ?)")?;
    for (author, date, text) in entries {
        insert.execute(params![key, author, date, text])?;
    }
    Ok(())
}
