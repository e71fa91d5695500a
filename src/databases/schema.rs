//! The tables, triggers and indexes of createrepo_c's databases.

use crate::repodata::MetadataType;

/// Tables of primary.xml that have a package's relations, each named as its element.
pub(super) const LISTS: [&str; 8] =
    ["requires", "provides", "conflicts", "obsoletes", "suggests", "enhances", "recommends", "supplements"];

/// What makes the empty tables.
pub(super) fn tables(kind: MetadataType) -> String {
    let mut sql = String::new();
    match kind {
        MetadataType::Primary => {
            sql += "CREATE TABLE packages (  pkgKey INTEGER PRIMARY KEY,  pkgId TEXT,  name TEXT,  arch TEXT,  \
                    version TEXT,  epoch TEXT,  release TEXT,  summary TEXT,  description TEXT,  url TEXT,  \
                    time_file INTEGER,  time_build INTEGER,  rpm_license TEXT,  rpm_vendor TEXT,  rpm_group TEXT,  \
                    rpm_buildhost TEXT,  rpm_sourcerpm TEXT,  rpm_header_start INTEGER,  rpm_header_end INTEGER,  \
                    rpm_packager TEXT,  size_package INTEGER,  size_installed INTEGER,  size_archive INTEGER,  \
                    location_href TEXT,  location_base TEXT,  checksum_type TEXT);\
                    CREATE TABLE files (  name TEXT,  type TEXT,  pkgKey INTEGER);";
            for list in LISTS {
                let pre = if list == "requires" { ", pre BOOLEAN DEFAULT FALSE" } else { "" };
                sql += &format!(
                    "CREATE TABLE {list} (  name TEXT,  flags TEXT,  epoch TEXT,  version TEXT,  release TEXT,  \
                     pkgKey INTEGER {pre});"
                );
            }
            sql += "CREATE TRIGGER removals AFTER DELETE ON packages  BEGIN    \
                    DELETE FROM files WHERE pkgKey = old.pkgKey;";
            for list in LISTS {
                sql += &format!("    DELETE FROM {list} WHERE pkgKey = old.pkgKey;");
            }
            sql += "  END;";
        }
        MetadataType::Filelists | MetadataType::FilelistsExt => {
            sql += "CREATE TABLE packages (  pkgKey INTEGER PRIMARY KEY,  pkgId TEXT);\
                    CREATE TABLE filelist (  pkgKey INTEGER,  dirname TEXT,  filenames TEXT,  filetypes TEXT);\
                    CREATE TRIGGER remove_filelist AFTER DELETE ON packages  BEGIN    \
                    DELETE FROM filelist WHERE pkgKey = old.pkgKey;  END;";
        }
        MetadataType::Other => {
            sql += "CREATE TABLE packages (  pkgKey INTEGER PRIMARY KEY,  pkgId TEXT);\
                    CREATE TABLE changelog (  pkgKey INTEGER,  author TEXT,  date INTEGER,  changelog TEXT);\
                    CREATE TRIGGER remove_changelogs AFTER DELETE ON packages  BEGIN    \
                    DELETE FROM changelog WHERE pkgKey = old.pkgKey;  END;";
        }
    }
    sql
}

/// What makes the indexes. Made last: filling a table that has an index costs several times as much.
pub(super) fn indexes(kind: MetadataType) -> String {
    match kind {
        MetadataType::Primary => {
            let mut sql = "CREATE INDEX packagename ON packages (name);\
                           CREATE INDEX packageId ON packages (pkgId);\
                           CREATE INDEX filenames ON files (name);\
                           CREATE INDEX pkgfiles ON files (pkgKey);"
                .to_owned();
            for list in LISTS {
                sql += &format!("CREATE INDEX pkg{list} on {list} (pkgKey);");
                if matches!(list, "requires" | "provides") {
                    sql += &format!("CREATE INDEX {list}name ON {list} (name);");
                }
            }
            sql
        }
        MetadataType::Filelists | MetadataType::FilelistsExt => "CREATE INDEX keyfile ON filelist (pkgKey);\
                                    CREATE INDEX pkgId ON packages (pkgId);\
                                    CREATE INDEX dirnames ON filelist (dirname);"
            .into(),
        MetadataType::Other => "CREATE INDEX keychange ON changelog (pkgKey);\
                                CREATE INDEX pkgId ON packages (pkgId);"
            .into(),
    }
}
