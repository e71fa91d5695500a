//! What was published lately, by number: repomd.xml and its signature. The files that one names are
//! in the ledger.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::chunks::corrupt;
use super::{Catalog, CatalogError, meta, sums};

/// The most bytes that superseded publications may take together; beyond them the oldest go first.
const MOST_BYTES: i64 = 64 << 20;

/// One publication as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Grows with every publication; near the revision, and never the same for two.
    pub number: u64,
    pub repomd: Vec<u8>,
    /// `repomd.xml.asc` and `repomd.xml.key`.
    pub signed: Option<(Vec<u8>, Vec<u8>)>,
}

impl Catalog {
    /// Notes that this is published now, and gives it its number: the one it has if it was published
    /// already, else a new one that is not below `revision`. `now`: seconds since the epoch.
    pub fn note_publication(
        &self,
        repomd: &[u8],
        signed: Option<(&[u8], &[u8])>,
        revision: u64,
        now: u64,
    ) -> Result<u64, CatalogError> {
        let (signature, public_key) = signed.unzip();
        let tx = self.db.unchecked_transaction()?;
        let current = tx
            .prepare_cached("SELECT number FROM publication WHERE superseded_at IS NULL AND repomd = ?")?
            .query_row([repomd], |row| row.get::<_, u64>(0))
            .optional()?;
        if let Some(number) = current {
            let sql =
                "UPDATE publication SET signature = ?1, public_key = ?2, sum = sum_of(number, repomd, ?1, ?2)
                       WHERE number = ?3";
            tx.prepare_cached(sql)?.execute(params![signature, public_key, number])?;
            tx.commit()?;
            return Ok(number);
        }
        let last: u64 = meta::get(&tx, meta::LAST_PUBLICATION)?.unwrap_or(0);
        let number = revision.max(last.saturating_add(1)).min(i64::MAX.cast_unsigned());
        tx.prepare_cached("UPDATE publication SET superseded_at = ? WHERE superseded_at IS NULL")?
            .execute([now])?;
        tx.prepare_cached("INSERT INTO publication VALUES (?1, ?2, ?3, ?4, NULL, sum_of(?1, ?2, ?3, ?4))")?
            .execute(params![number, repomd, signature, public_key])?;
        meta::set(&tx, meta::LAST_PUBLICATION, number)?;
        tx.commit()?;
        Ok(number)
    }

    /// The bytes of the repomd.xml that was published last, as far as this catalog knows.
    pub fn last_repomd(&self) -> Result<Option<Vec<u8>>, CatalogError> {
        let current = "SELECT repomd FROM publication WHERE superseded_at IS NULL";
        Ok(self.db.query_row(current, [], |row| row.get(0)).optional()?)
    }

    /// Forgets a superseded publication that nobody was told of.
    pub fn forget_publication(&self, number: u64) -> Result<(), CatalogError> {
        let Ok(number) = i64::try_from(number) else { return Ok(()) };
        self.db
            .prepare_cached("DELETE FROM publication WHERE number = ? AND superseded_at IS NOT NULL")?
            .execute([number])?;
        Ok(())
    }

    /// Forgets publications whose grace ended at `limit` (seconds since the epoch) or before, and the
    /// oldest when they take too much room.
    pub fn forget_publications(&self, limit: u64) -> Result<(), CatalogError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.db.prepare_cached("DELETE FROM publication WHERE superseded_at <= ?")?.execute([limit])?;
        let over = "DELETE FROM publication WHERE superseded_at IS NOT NULL AND number <= (
             SELECT number FROM (
                 SELECT number, sum(length(repomd) + ifnull(length(signature), 0) + ifnull(length(public_key), 0))
                     OVER (ORDER BY number DESC) AS bytes FROM publication)
             WHERE bytes > ? ORDER BY number DESC LIMIT 1)";
        self.db.prepare_cached(over)?.execute([MOST_BYTES])?;
        Ok(())
    }
}

/// The publication of this number, if it is the current one or its grace still runs.
pub fn publication(db: &Connection, number: u64) -> rusqlite::Result<Option<Publication>> {
    let read = |row: &Row<'_>| {
        if !row.get::<_, bool>(3)? {
            return Err(corrupt("publication"));
        }
        let (signature, public_key): (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(1)?, row.get(2)?);
        Ok(Publication { number, repomd: row.get(0)?, signed: signature.zip(public_key) })
    };
    let Ok(key) = i64::try_from(number) else { return Ok(None) };
    let sum = sums::PUBLICATION;
    let sql = format!("SELECT repomd, signature, public_key, sum IS {sum} FROM publication WHERE number = ?");
    db.prepare_cached(&sql)?.query_row([key], read).optional()
}
