//! The keys that packages were held against.

use super::{Catalog, CatalogError, meta};

/// A keyring as it was when packages were held against it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldAgainst {
    /// Digests of its keys, sorted.
    pub keys: Vec<String>,
    /// Names of its files that could be used as a whole, sorted.
    pub files: Vec<String>,
}

/// What a line begins with that names a file. Digests have no colon.
const FILE: &str = "file:";

impl Catalog {
    /// What the packages were held against.
    pub fn keyring(&self) -> Result<HeldAgainst, CatalogError> {
        let text = meta::get::<String>(&self.db, meta::KEYRING)?.unwrap_or_default();
        let mut held = HeldAgainst::default();
        for line in text.lines() {
            match line.strip_prefix(FILE) {
                Some(file) => held.files.push(file.to_owned()),
                None => held.keys.push(line.to_owned()),
            }
        }
        Ok(held)
    }

    /// Remembers what packages are held against from now on.
    pub fn set_keyring(&self, held: &HeldAgainst) -> Result<(), CatalogError> {
        let files = held.files.iter().map(|file| format!("{FILE}{file}"));
        let lines: Vec<_> = held.keys.iter().cloned().chain(files).collect();
        Ok(meta::set(&self.db, meta::KEYRING, lines.join("\n"))?)
    }

    /// Makes the next look find a difference in everything that was rejected, and with `packages` in every package too.
    pub fn distrust_all(&self, packages: bool) -> Result<(), CatalogError> {
        let tx = self.db.unchecked_transaction()?;
        tx.execute("UPDATE rejected SET size = -1", [])?;
        if packages {
            tx.execute("UPDATE package SET size = -1", [])?;
        }
        Ok(tx.commit()?)
    }
}
