//! The catalog's tables, as SQL text.

use super::sums;

/// Kept in SQLite's `user_version`. A catalog with a higher one belongs to a newer createrepod.
pub const VERSION: u32 = 5;

/// Version of what fragments look like. Raise it when rendering changes: catalogs are then made anew.
pub const RENDERING: u32 = 2;

/// Everything that a look at the tree can restore.
pub const FORGET: &str = "
DROP TABLE IF EXISTS package; DROP TABLE IF EXISTS rejected; DROP TABLE IF EXISTS chunk;
DELETE FROM meta WHERE key NOT IN ('path', 'pieces', 'open_since_boot');
";

/// Tables that came later and that no older createrepod minds: made wherever they are missing.
pub const ADD: &str = "
-- What was published, each under its number, as long as somebody may still ask for it.
-- `superseded_at`: NULL for the current one.
CREATE TABLE IF NOT EXISTS publication (
    number        INTEGER PRIMARY KEY,
    repomd        BLOB NOT NULL,
    signature     BLOB,
    public_key    BLOB,
    superseded_at INTEGER,
    sum           INTEGER
);
";

/// Tables of older versions that are kept, and that had no sums of rows.
pub const KEPT: [(&str, &str); 4] = [
    ("meta", sums::META),
    ("metadata_file", sums::METADATA_FILE),
    ("publication", sums::PUBLICATION),
    ("additional", sums::ADDITIONAL),
];

pub const CREATE: &str = "
-- `sum`, in every table: see `sums`. What is kept of an older version gets it when it is opened.
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value, sum INTEGER) WITHOUT ROWID;

-- One row a package file; the stamp says whether it must be read again.
CREATE TABLE package (
    location  TEXT PRIMARY KEY,
    inode     INTEGER NOT NULL,
    size      INTEGER NOT NULL,
    mtime_ns  INTEGER NOT NULL,
    ctime_ns  INTEGER NOT NULL,
    pkgid     BLOB NOT NULL,
    nevra     TEXT NOT NULL,
    sum       INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX package_nevra ON package (nevra);
CREATE INDEX package_mtime ON package (mtime_ns);

-- Files that are not published; the stamp says whether another look is worth it.
CREATE TABLE rejected (
    location  TEXT PRIMARY KEY,
    inode     INTEGER NOT NULL,
    size      INTEGER NOT NULL,
    mtime_ns  INTEGER NOT NULL,
    ctime_ns  INTEGER NOT NULL,
    reason    TEXT NOT NULL,
    sum       INTEGER NOT NULL
) WITHOUT ROWID;

-- The list of packages in order of publication, cut into chunks. `parts` says where each file's share
-- lies in the file of pieces; `members` names the packages, in order, with the lengths of their
-- fragments and their sums, and stands last because a publication reads it only for the chunks that change.
CREATE TABLE chunk (
    first_location TEXT PRIMARY KEY,
    young          INTEGER NOT NULL,
    first_mtime    INTEGER NOT NULL,
    last_location  TEXT NOT NULL,
    last_mtime     INTEGER NOT NULL,
    packages       INTEGER NOT NULL,
    ending         INTEGER NOT NULL,
    parts          BLOB NOT NULL,
    sum            INTEGER NOT NULL,
    members        BLOB NOT NULL
) WITHOUT ROWID;

-- Metadata files this daemon wrote; files in repodata/ that are not here are not ours to remove.
-- `head`, `spans` and `tail` are the recipe: what stands before the pieces, where the pieces lie
-- (offset, length), what stands behind them. `whole`: the file itself still lies in repodata/.
CREATE TABLE IF NOT EXISTS metadata_file (
    name          TEXT PRIMARY KEY,
    size          INTEGER NOT NULL,
    superseded_at INTEGER,
    whole         INTEGER NOT NULL,
    head          BLOB NOT NULL,
    spans         BLOB NOT NULL,
    tail          BLOB NOT NULL,
    sum           INTEGER
);
CREATE INDEX IF NOT EXISTS metadata_file_age ON metadata_file (superseded_at);
CREATE INDEX IF NOT EXISTS metadata_file_whole ON metadata_file (superseded_at) WHERE whole;

-- Files with additional metadata that is published; of modules also what they last said.
CREATE TABLE IF NOT EXISTS additional (
    path      TEXT PRIMARY KEY,
    inode     INTEGER NOT NULL,
    size      INTEGER NOT NULL,
    mtime_ns  INTEGER NOT NULL,
    ctime_ns  INTEGER NOT NULL,
    kind      TEXT NOT NULL,
    text      BLOB,
    sum       INTEGER
) WITHOUT ROWID;
";
