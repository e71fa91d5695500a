//! Checksums of rows: SQLite notices a page that is none, and not a value with one bit changed.

use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;

/// Of a package's row, without what is held against the file anyway whenever it is used.
pub const PACKAGE: &str = "sum_of(location, mtime_ns, pkgid, nevra)";
/// The same of a rejected file's.
pub const REJECTED: &str = "sum_of(location, reason)";
/// The list of members carries a sum of its own.
pub const CHUNK: &str =
    "sum_of(first_location, young, first_mtime, last_location, last_mtime, packages, ending, parts)";
pub const METADATA_FILE: &str = "sum_of(name, size, superseded_at, whole, head, spans, tail)";
pub const PUBLICATION: &str = "sum_of(number, repomd, signature, public_key)";
pub const ADDITIONAL: &str = "sum_of(path, kind, text)";
pub const META: &str = "sum_of(key, value)";

/// Every table, and the sum that its rows must have.
pub const TABLES: [(&str, &str); 7] = [
    ("meta", META),
    ("package", PACKAGE),
    ("rejected", REJECTED),
    ("chunk", CHUNK),
    ("metadata_file", METADATA_FILE),
    ("publication", PUBLICATION),
    ("additional", ADDITIONAL),
];

/// Makes `sum_of(…)` known to a connection: CRC-32 of any values, of their types and their lengths.
pub fn register(db: &Connection) -> rusqlite::Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    db.create_scalar_function("sum_of", -1, flags, |values| Ok(sum_of(values)))
}

fn sum_of(values: &Context<'_>) -> i64 {
    let mut sum = crc32fast::Hasher::new();
    let mut take = |kind: u8, bytes: &[u8]| {
        sum.update(&[kind]);
        sum.update(&(bytes.len() as u64).to_le_bytes());
        sum.update(bytes);
    };
    for at in 0..values.len() {
        match values.get_raw(at) {
            ValueRef::Null => take(0, &[]),
            ValueRef::Integer(number) => take(1, &number.to_le_bytes()),
            ValueRef::Real(number) => take(2, &number.to_le_bytes()),
            ValueRef::Text(text) => take(3, text),
            ValueRef::Blob(bytes) => take(4, bytes),
        }
    }
    sum.finalize().into()
}
