//! The signature that stands beside repomd.xml: made with it, checked when we start, renewed when the key changes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::info;

use super::recover::sha256;
use super::{Published, Repository, RepositoryError, Signed};
use crate::publish::{PublishError, Staged};
use crate::sign::{SignError, Signer};

pub(super) const SIGNATURE: &str = "repomd.xml.asc";
pub(super) const PUBLIC_KEY: &str = "repomd.xml.key";

impl Repository {
    /// The signature of these bytes, where somebody signs.
    pub(super) fn sign(&mut self, repomd: &[u8]) -> Result<Option<Signed>, RepositoryError> {
        if let Some(signed) = self.signed_on_disk(repomd) {
            return Ok(Some(signed));
        }
        let Some(signer) = self.signer()? else { return Ok(None) };
        let signature = signer.sign(repomd)?;
        let public_key = signer.public_key().to_vec();
        Ok(Some(Signed { signature: signature.into(), public_key: public_key.into() }))
    }

    /// Who signs; the key is read once, and again after [`Repository::check_keys`].
    fn signer(&mut self) -> Result<Option<&Signer>, SignError> {
        let Some(config) = &self.config.sign else { return Ok(None) };
        if self.signer.is_none() {
            self.signer = Some(Signer::load(config)?);
        }
        Ok(self.signer.as_ref())
    }

    /// What lies in repodata/, if it is by our key and for these bytes.
    pub(super) fn signed_on_disk(&mut self, repomd: &[u8]) -> Option<Signed> {
        let signature = self.place.read(SIGNATURE).ok()?;
        let public_key = self.place.read(PUBLIC_KEY).ok()?;
        // A key that cannot be read is reported by the next publication; until then nothing is signed.
        let signer = self.signer().ok()??;
        let ours = signer.public_key() == public_key && signer.made(&signature, repomd);
        ours.then(|| Signed { signature: signature.into(), public_key: public_key.into() })
    }

    /// Both files, ready to be renamed. The key goes first: a client that knows it not yet fetches it last.
    pub(super) fn stage_signature(
        &mut self,
        signed: Option<&Signed>,
    ) -> Result<Vec<(Staged, String)>, PublishError> {
        use std::io::Write as _;
        let Some(signed) = signed else { return Ok(Vec::new()) };
        let mut files = Vec::new();
        for (name, bytes) in [(PUBLIC_KEY, &signed.public_key), (SIGNATURE, &signed.signature)] {
            let mut staged = self.place.stage(name)?;
            let path = self.place.repodata().join(name);
            staged.write_all(bytes).map_err(|source| PublishError::Write { path, source })?;
            staged.sync()?;
            files.push((staged, name.to_owned()));
        }
        Ok(files)
    }

    /// Puts the signature beside the repomd.xml that lies there already.
    pub(super) fn put_signature(&mut self, signed: Option<&Signed>) -> Result<(), RepositoryError> {
        let files = self.stage_signature(signed)?;
        if !files.is_empty() {
            self.place.put(files)?;
        }
        self.note_signature(signed)
    }

    /// Remembers what is ours; where nobody signs any more, removes what we once put there: beside another
    /// repomd.xml it would make clients refuse the repository.
    pub(super) fn note_signature(&mut self, signed: Option<&Signed>) -> Result<(), RepositoryError> {
        if let Some(signed) = signed {
            let sums = format!("{} {}", sha256(&signed.signature), sha256(&signed.public_key));
            return Ok(self.catalog()?.set_signed(Some(&sums))?);
        }
        let Some(ours) = self.catalog()?.signed()? else { return Ok(()) };
        for (name, sum) in [SIGNATURE, PUBLIC_KEY].iter().zip(ours.split(' ')) {
            if self.place.read(name).is_ok_and(|bytes| sha256(&bytes) == sum) {
                let path = self.place.repodata().join(name);
                self.place.remove(name).map_err(|source| PublishError::Write { path, source })?;
            }
        }
        Ok(self.catalog()?.set_signed(None)?)
    }

    /// Sees to it that what is published is signed, by the key of today.
    pub(super) fn keep_signed(&mut self) -> Result<(), RepositoryError> {
        let Some(published) = self.published.clone() else { return Ok(()) };
        if self.config.sign.is_none() && published.signed.is_none() {
            return self.note_signature(None);
        }
        let key = self.signer()?.map(|signer| signer.public_key().to_vec());
        let signed_by = published.signed.as_ref().map(|signed| &signed.public_key[..]);
        let on_disk = || {
            let read = |name| self.place.read(name).ok();
            let signed = published.signed.as_ref();
            read(SIGNATURE).as_deref() == signed.map(|s| &s.signature[..])
                && read(PUBLIC_KEY).as_deref() == signed.map(|s| &s.public_key[..])
        };
        if signed_by == key.as_deref() && (key.is_none() || on_disk()) {
            return Ok(());
        }
        let signed = self.sign(&published.repomd)?;
        self.put_signature(signed.as_ref())?;
        let number = self.number_of(&published.repomd, signed.as_ref(), published.revision)?;
        let name = &self.config.name;
        match &signed {
            Some(_) => info!(repo.name = %name, "signed what is published of {name}"),
            None => info!(repo.name = %name, "what is published of {name} is not signed any more"),
        }
        self.published = Some(Arc::new(Published { number, signed, ..(*published).clone() }));
        Ok(())
    }

    /// Notes a publication in the catalog, and returns its number.
    pub(super) fn number_of(
        &mut self,
        repomd: &[u8],
        signed: Option<&Signed>,
        revision: u64,
    ) -> Result<u64, RepositoryError> {
        let now = self.now();
        let signed = signed.map(|signed| (&signed.signature[..], &signed.public_key[..]));
        let number = self.catalog()?.note_publication(repomd, signed, revision, now)?;
        // A door may be about to give the one that was superseded just now; the one before it is out of hand.
        if let Some((before, given)) = self.superseded.take()
            && !given.load(Ordering::Acquire)
        {
            self.catalog()?.forget_publication(before)?;
        }
        let before = self.published.as_ref().filter(|published| published.number != number);
        self.superseded = before.map(|published| (published.number, Arc::clone(&published.given)));
        Ok(number)
    }

    /// Takes up keys that may have changed: the signature is made again where they have.
    pub(super) fn check_keys(&mut self) -> Result<(), RepositoryError> {
        self.signer = None;
        self.forget_keyring();
        self.keep_signed()
    }
}
