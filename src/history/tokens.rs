//! Tokens: made, listed, rotated, revoked, looked up.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{History, HistoryError, corrupt};
use crate::rights::{Grant, Pattern, Permission, Token, TokenStore};

const COLUMNS: &str =
    "id, name, hash, before, before_until, scopes, repositories, made, expires, last_used, sum";

impl History {
    /// All tokens, by name.
    pub fn tokens(&self) -> Result<Vec<Token>, HistoryError> {
        let all = self.ask(|db| {
            let mut ask = db.prepare_cached(&format!("SELECT {COLUMNS} FROM token ORDER BY name"))?;
            ask.query_map([], token)?.collect()
        })?;
        Ok(all.unwrap_or_default())
    }

    /// Remembers a new token, or finds that its name is taken.
    pub fn add_token(&self, token: &Token) -> Result<(), HistoryError> {
        self.change(|db| {
            if self.named(db, &token.name)?.is_some() {
                return Err(HistoryError::NameTaken(token.name.clone()));
            }
            self.insert(db, token)
        })
    }

    /// Replaces the token called `name` by what `renew` makes of it.
    pub fn renew_token(&self, name: &str, renew: impl FnOnce(Token) -> Token) -> Result<Token, HistoryError> {
        self.change(|db| {
            let old = self.named(db, name)?.ok_or_else(|| HistoryError::NoToken(name.to_owned()))?;
            db.execute("DELETE FROM token WHERE name = ?1", [name]).map_err(|source| self.failed(source))?;
            let new = renew(old);
            self.insert(db, &new)?;
            Ok(new)
        })
    }

    /// Forgets the token called `name`.
    pub fn revoke_token(&self, name: &str) -> Result<(), HistoryError> {
        self.change(|db| match db.execute("DELETE FROM token WHERE name = ?1", [name]) {
            Ok(0) => Err(HistoryError::NoToken(name.to_owned())),
            Ok(_) => Ok(()),
            Err(source) => Err(self.failed(source)),
        })
    }

    fn named(&self, db: &Connection, name: &str) -> Result<Option<Token>, HistoryError> {
        let ask = format!("SELECT {COLUMNS} FROM token WHERE name = ?1");
        db.query_row(&ask, [name], token).optional().map_err(|source| self.failed(source))
    }

    fn insert(&self, db: &Connection, token: &Token) -> Result<(), HistoryError> {
        let Token { id, name, hash, before, grant, made, expires, last_used } = token;
        let repositories: Vec<&str> = grant.repositories.iter().map(Pattern::as_str).collect();
        db.execute(
            &format!("INSERT INTO token ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"),
            params![
                id,
                name,
                hash,
                before.map(|(hash, _)| hash),
                before.map(|(_, until)| until),
                grant.scopes.to_string(),
                repositories.join(","),
                made,
                expires,
                last_used,
                sum_of(token)
            ],
        )
        .map_err(|source| self.failed(source))?;
        Ok(())
    }
}

impl TokenStore for History {
    fn find(&self, id: &str) -> anyhow::Result<Option<Token>> {
        let found = self.ask(|db| {
            let mut ask = db.prepare_cached(&format!("SELECT {COLUMNS} FROM token WHERE id = ?1"))?;
            ask.query_row([id], token).optional()
        })?;
        Ok(found.flatten())
    }

    fn used(&self, id: &str, now: u64) -> anyhow::Result<()> {
        self.ask(|db| db.execute("UPDATE token SET last_used = ?2 WHERE id = ?1", params![id, now]))?;
        Ok(())
    }
}

fn unchecked(row: &Row<'_>) -> rusqlite::Result<Token> {
    let wrong = |column: usize, why: String| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, why.into())
    };
    let before: (Option<[u8; 32]>, Option<u64>) = (row.get(3)?, row.get(4)?);
    let listed = |column: usize| -> rusqlite::Result<Vec<String>> {
        let text: String = row.get(column)?;
        Ok(text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect())
    };
    // What this version does not know gives nobody a right, and hides no token that must be revoked.
    let scopes = listed(5)?.iter().filter_map(|name| Permission::parse(name).ok()).collect();
    let repositories = listed(6)?
        .iter()
        .map(|name| Pattern::parse(name))
        .collect::<Result<_, _>>()
        .map_err(|why| wrong(6, why))?;
    Ok(Token {
        id: row.get(0)?,
        name: row.get(1)?,
        hash: row.get(2)?,
        before: before.0.zip(before.1),
        grant: Grant { scopes, repositories },
        made: row.get(7)?,
        expires: row.get(8)?,
        last_used: row.get(9)?,
    })
}

/// A row, if it is as it was written: one bit may be another repository, or another year.
fn token(row: &Row<'_>) -> rusqlite::Result<Token> {
    let stated: Option<u32> = row.get(10)?;
    // Also what this version does not know counts.
    if stated == Some(sum_of_row(row)?) {
        unchecked(row)
    } else {
        Err(corrupt("a token is not as it was written"))
    }
}

fn sum_of(token: &Token) -> u32 {
    let Token { id, name, hash, before, grant, made, expires, last_used: _ } = token;
    let repositories: Vec<&str> = grant.repositories.iter().map(Pattern::as_str).collect();
    let (hash_before, until) = before.unzip();
    sum([
        Some(id.as_bytes()),
        Some(name.as_bytes()),
        Some(hash),
        hash_before.as_ref().map(|hash| &hash[..]),
        until.map(u64::to_le_bytes).as_ref().map(|bytes| &bytes[..]),
        Some(grant.scopes.to_string().as_bytes()),
        Some(repositories.join(",").as_bytes()),
        Some(&made.to_le_bytes()),
        expires.map(u64::to_le_bytes).as_ref().map(|bytes| &bytes[..]),
    ])
}

fn sum_of_row(row: &Row<'_>) -> rusqlite::Result<u32> {
    let number =
        |column: usize| Ok::<_, rusqlite::Error>(row.get::<_, Option<u64>>(column)?.map(u64::to_le_bytes));
    let (until, made, expires) = (number(4)?, number(7)?, number(8)?);
    let text = |column: usize| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_bytes_or_null()?);
    Ok(sum([
        text(0)?,
        text(1)?,
        text(2)?,
        text(3)?,
        until.as_ref().map(|bytes| &bytes[..]),
        text(5)?,
        text(6)?,
        made.as_ref().map(|bytes| &bytes[..]),
        expires.as_ref().map(|bytes| &bytes[..]),
    ]))
}

/// CRC-32 of values and their lengths.
fn sum<const N: usize>(values: [Option<&[u8]>; N]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    for value in values {
        sum.update(&value.map_or(u64::MAX, |value| value.len() as u64).to_le_bytes());
        sum.update(value.unwrap_or_default());
    }
    sum.finalize()
}

/// Gives the tokens that an older version left their sums.
pub(super) fn add_sums(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch("ALTER TABLE token ADD COLUMN sum INTEGER")?;
    let mut all = db.prepare(&format!("SELECT {COLUMNS} FROM token"))?;
    let sums = all.query_map([], |row| Ok((row.get::<_, String>(0)?, sum_of_row(row)?)))?;
    for (id, sum) in sums.collect::<rusqlite::Result<Vec<_>>>()? {
        db.execute("UPDATE token SET sum = ?2 WHERE id = ?1", params![id, sum])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn a_token(name: &str, id: &str) -> Token {
        Token {
            id: id.into(),
            name: name.into(),
            hash: [7; 32],
            before: None,
            grant: Grant {
                scopes: [Permission::Read, Permission::Write].into_iter().collect(),
                repositories: vec![Pattern::parse("rpm").unwrap(), Pattern::parse("el-*").unwrap()],
            },
            made: 1_700_000_000,
            expires: Some(1_800_000_000),
            last_used: None,
        }
    }

    #[test]
    fn what_one_process_changes_is_true_for_the_other_at_once() {
        let place = tempfile::tempdir().unwrap();
        let (daemon, command) = (History::at(place.path()), History::at(place.path()));
        assert_eq!(daemon.find("a").unwrap(), None, "no file is no token");
        assert_eq!(daemon.tokens().unwrap(), []);
        command.add_token(&a_token("ci", "a")).unwrap();
        assert_eq!(daemon.find("a").unwrap(), Some(a_token("ci", "a")));
        daemon.used("a", 5).unwrap();
        assert_eq!(command.tokens().unwrap()[0].last_used, Some(5));
        command.revoke_token("ci").unwrap();
        assert_eq!(daemon.find("a").unwrap(), None);
    }

    #[test]
    fn a_name_is_given_once() {
        let place = tempfile::tempdir().unwrap();
        let history = History::at(place.path());
        history.add_token(&a_token("ci", "a")).unwrap();
        assert!(matches!(history.add_token(&a_token("ci", "b")), Err(HistoryError::NameTaken(_))));
        assert!(matches!(history.revoke_token("other"), Err(HistoryError::NoToken(_))));
        let renewed =
            history.renew_token("ci", |old| Token { hash: [8; 32], before: Some((old.hash, 9)), ..old });
        assert_eq!(renewed.unwrap().before, Some(([7; 32], 9)));
        assert_eq!(history.tokens().unwrap().len(), 1);
        assert_eq!(history.find("a").unwrap().unwrap().hash, [8; 32]);
        assert!(matches!(history.renew_token("other", |old| old), Err(HistoryError::NoToken(_))));
    }

    #[test]
    fn what_is_damaged_lets_nobody_in_and_says_so() {
        let place = tempfile::tempdir().unwrap();
        let history = History::at(place.path());
        history.add_token(&a_token("ci", "a")).unwrap();
        history.add_token(&a_token("other", "b")).unwrap();
        drop(history);
        assert!(!place.path().join("history.sqlite-shm").exists(), "nothing is mapped");
        let whole = std::fs::read(place.path().join("history.sqlite")).unwrap();
        let expected = [a_token("ci", "a"), a_token("other", "b")];
        let mut refused = 0;
        for at in (0..whole.len() * 8).step_by(61) {
            let mut bytes = whole.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            std::fs::write(place.path().join("history.sqlite"), bytes).unwrap();
            match History::at(place.path()).tokens() {
                // What nobody uses may change.
                Ok(mut found) => {
                    found.iter_mut().for_each(|token| token.last_used = None);
                    assert_eq!(found, expected, "at {at}");
                }
                Err(
                    HistoryError::Damaged { .. } | HistoryError::Newer { .. } | HistoryError::Sqlite { .. },
                ) => {
                    refused += 1;
                }
                Err(other) => panic!("at {at}: {other}"),
            }
        }
        assert!(refused > 0);
        std::fs::write(place.path().join("history.sqlite"), &whole[..5000]).unwrap();
        let damaged = History::at(place.path()).check().unwrap_err();
        assert!(matches!(damaged, HistoryError::Damaged { .. }), "{damaged}");
        std::fs::write(place.path().join("history.sqlite"), vec![7; 5000]).unwrap();
        let none = History::at(place.path()).check().unwrap_err();
        assert!(none.to_string().contains("no token counts"), "{none}");
        std::fs::write(place.path().join("history.sqlite"), []).unwrap();
        assert!(History::at(place.path()).find("a").unwrap_err().to_string().contains("empty"));
    }

    #[test]
    fn tokens_of_an_older_version_count() {
        let place = tempfile::tempdir().unwrap();
        let history = History::at(place.path());
        history.add_token(&a_token("ci", "a")).unwrap();
        drop(history);
        let db = Connection::open(place.path().join("history.sqlite")).unwrap();
        db.execute_batch(
            "ALTER TABLE token DROP COLUMN sum; PRAGMA user_version = 1; PRAGMA journal_mode = wal;",
        )
        .unwrap();
        drop(db);
        let history = History::at(place.path());
        assert_eq!(history.tokens().unwrap(), [a_token("ci", "a")]);
        history.add_token(&a_token("new", "b")).unwrap();
        drop(history);
        assert_eq!(History::at(place.path()).tokens().unwrap().len(), 2);
    }

    #[test]
    fn the_file_is_nobody_elses() {
        let place = tempfile::tempdir().unwrap();
        let history = History::at(place.path());
        history.add_token(&a_token("ci", "a")).unwrap();
        assert_eq!(history.path().metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_restored_backup_is_seen_and_a_newer_file_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let (other, history) = (tempfile::tempdir().unwrap(), History::at(place.path()));
        history.add_token(&a_token("ci", "a")).unwrap();
        {
            let backup = History::at(other.path());
            backup.add_token(&a_token("old", "b")).unwrap();
        }
        for name in ["history.sqlite-wal", "history.sqlite-shm"] {
            let _ = std::fs::remove_file(place.path().join(name));
        }
        std::fs::rename(other.path().join("history.sqlite"), history.path()).unwrap();
        assert!(history.find("b").unwrap().is_some() && history.find("a").unwrap().is_none());
        let db = Connection::open(history.path()).unwrap();
        db.pragma_update(None, "user_version", 99).unwrap();
        drop(db);
        let newer = History::at(place.path()).tokens().unwrap_err();
        assert!(matches!(newer, HistoryError::Newer { found: 99, .. }), "{newer}");
    }
}
