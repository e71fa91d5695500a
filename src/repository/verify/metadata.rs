//! The files in repodata/: those that repomd.xml names, those that were superseded, and strangers.

use std::collections::BTreeSet;
use std::io::{self, Read as _};

use super::{Finding, Verifying};
use crate::package::{Checksum, ChecksumType, Hasher};
use crate::publish::{self, Place};
use crate::repodata::codec::{Codec, Limits};
use crate::repodata::{Record, Repomd};
use crate::sign::Signer;

/// How often a publication may come between before we say what we saw.
const TRIES: u32 = 20;

impl Verifying<'_> {
    /// Checks until no publication came between.
    pub(super) fn metadata(&mut self) -> anyhow::Result<()> {
        let mut tries = 0;
        loop {
            self.reader.renew()?;
            let before = self.repomd()?;
            let (bytes, count) = (self.report.bytes, self.report.metadata_files);
            let findings = self.metadata_once(before.as_deref())?;
            tries += 1;
            if findings.is_empty() || tries == TRIES || (self.repomd()? == before && tries > 1) {
                self.report.findings.extend(findings);
                return Ok(());
            }
            // Read again: a publication was in the middle, or we look twice at what seems wrong.
            (self.report.bytes, self.report.metadata_files) = (bytes, count);
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    }

    fn place(&self) -> Place {
        Place::new(self.config.written(), self.config.umask)
    }

    fn repomd(&self) -> io::Result<Option<Vec<u8>>> {
        match self.place().read("repomd.xml") {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn metadata_once(&mut self, bytes: Option<&[u8]>) -> anyhow::Result<Vec<Finding>> {
        let wrong = |name: &str, why: &str| Finding::Metadata { name: name.to_owned(), why: why.to_owned() };
        let Some(bytes) = bytes else { return Ok(vec![wrong("repomd.xml", "it is missing")]) };
        let mut findings = Vec::new();
        let repomd = match publish::parse(bytes) {
            Ok(repomd) => repomd,
            Err(error) => return Ok(vec![wrong("repomd.xml", &format!("it cannot be read: {error}"))]),
        };
        let sum = Checksum::of(ChecksumType::Sha256, bytes).to_hex();
        if self.reader.published_sum()?.is_some_and(|published| published != sum) {
            findings.push(wrong("repomd.xml", "it is not the one that was published"));
        }
        findings.extend(self.signature(bytes));
        let mut known: BTreeSet<String> = ["repomd.xml"].map(str::to_owned).into();
        if self.config.sign.is_some() {
            known.extend(["repomd.xml.asc", "repomd.xml.key"].map(str::to_owned));
        }
        for record in &repomd.records {
            let Some(name) = record.href.strip_prefix("repodata/").filter(|name| !name.contains('/')) else {
                findings.push(wrong("repomd.xml", "it names a file outside repodata/"));
                continue;
            };
            if let Some(why) = self.record(name, record) {
                findings.push(wrong(name, &why));
            }
            known.insert(name.to_owned());
            self.report.metadata_files += 1;
        }
        findings.extend(self.others(&repomd, &mut known)?);
        if !self.reader.pieces_are_whole()? {
            findings.push(Finding::Pieces);
        }
        Ok(findings)
    }

    fn signature(&self, repomd: &[u8]) -> Option<Finding> {
        let config = self.config.sign.as_ref()?;
        let wrong = |why: String| Some(Finding::Metadata { name: "repomd.xml.asc".into(), why });
        // Who verifies need not be allowed to sign.
        let Ok(signer) = Signer::load(config) else { return None };
        match self.place().read("repomd.xml.asc") {
            Ok(signature) if signer.made(&signature, repomd) => None,
            Ok(_) => wrong("it is not a signature of repomd.xml by the configured key".into()),
            Err(error) => wrong(format!("it cannot be read: {error}")),
        }
    }

    /// What is wrong with a file that repomd.xml names.
    fn record(&mut self, name: &str, record: &Record) -> Option<String> {
        let place = self.place();
        let mut check = || -> io::Result<Option<String>> {
            let file = place.open_named(name)?;
            let len = file.metadata()?.len();
            if record.size.is_some_and(|size| size != len) {
                return Ok(Some(format!("it has {len} bytes, not those repomd.xml says")));
            }
            if self.digest(&file, Hasher::new(record.checksum.kind), &mut |_| {})? != record.checksum {
                return Ok(Some("its checksum is not the one in repomd.xml".into()));
            }
            let Some(open_checksum) = &record.open_checksum else { return Ok(None) };
            let limits = Limits { open_size: record.open_size.map(|size| size.saturating_add(1)) };
            let mut source = Codec::open(place.open_named(name)?, limits)?;
            let mut hasher = Hasher::new(open_checksum.kind);
            let mut block = vec![0; super::BLOCK];
            loop {
                match source.read(&mut block)? {
                    0 => break,
                    n => hasher.update(&block[..n]),
                }
            }
            Ok((hasher.finish() != *open_checksum)
                .then(|| "its open-checksum is not the one in repomd.xml".to_owned()))
        };
        match check() {
            Ok(why) => why,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some("it is missing".into()),
            Err(error) => Some(format!("it cannot be read: {error}")),
        }
    }

    /// Superseded files, whose names say what is in them, and files that are not ours.
    fn others(&mut self, repomd: &Repomd, known: &mut BTreeSet<String>) -> anyhow::Result<Vec<Finding>> {
        let ours: BTreeSet<String> = self.reader.metadata_files()?.into_iter().collect();
        let kind = repomd.records.first().map_or(self.config.checksum, |record| record.checksum.kind);
        let mut findings = Vec::new();
        let place = self.place();
        for name in place.names()? {
            let name = name.to_string_lossy().into_owned();
            if known.contains(&name) || name.starts_with('.') {
                continue;
            }
            // It may have become ours since the list was made.
            if !ours.contains(&name) && !self.reader.metadata_files()?.contains(&name) {
                findings.push(Finding::Foreign { name });
                continue;
            }
            let digits: String = name.chars().take_while(char::is_ascii_hexdigit).collect();
            let Some(stated) = Checksum::from_hex(kind, &digits) else { continue };
            let found =
                place.open_named(&name).and_then(|file| self.digest(&file, Hasher::new(kind), &mut |_| {}));
            self.report.metadata_files += 1;
            match found {
                Ok(found) if found != stated => {
                    let why = "its checksum is not the one in its name".to_owned();
                    findings.push(Finding::Metadata { name, why });
                }
                // One that has been folded meanwhile is made again when somebody asks.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(findings)
    }
}
