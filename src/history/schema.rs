//! The history's tables, as SQL text.

/// Kept in SQLite's `user_version`. A history with a higher one belongs to a newer createrepod.
pub const VERSION: u32 = 2;

pub const CREATE: &str = "
-- Times in seconds since the epoch. `hash` is the SHA-256 of the text the holder has. After a rotation
-- `before` is the hash of the text before, which counts until `before_until`. `scopes` and
-- `repositories` are separated by commas, which neither can contain. `sum`: CRC-32 of all but `last_used`.
CREATE TABLE token (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE,
    hash          BLOB NOT NULL,
    before        BLOB,
    before_until  INTEGER,
    scopes        TEXT NOT NULL,
    repositories  TEXT NOT NULL,
    made          INTEGER NOT NULL,
    expires       INTEGER,
    last_used     INTEGER,
    sum           INTEGER
) WITHOUT ROWID;
";
