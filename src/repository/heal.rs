//! What lies in repodata/ is what is published: whatever others did there, it is put back, byte for byte.
//!
//! Clients need not wait for it. repomd.xml is served from memory, and a file that it names and that is gone is made again
//! from its pieces when somebody asks (`aftermath`). Others who read the directory itself see one whole set or the other.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use tracing::warn;

use super::{Published, Repository, RepositoryError, orphans, press};
use crate::package::Hasher;
use crate::publish::{self, Staged};
use crate::repodata::{Record, Repomd};

/// Within this time it is put back so many times at once; after that whoever writes there has to be quiet first.
const LATELY: Duration = Duration::from_secs(600);
const AT_ONCE: usize = 2;
/// For how long; doubled with each time that it did not last.
const QUIET: Duration = Duration::from_secs(30);
const LONGEST_QUIET: Duration = Duration::from_secs(600);

/// Whether something else replaces repomd.xml again and again, such as createrepo_c in a timer. Two programs that put
/// back what is theirs must not do it in turns for ever.
#[derive(Debug, Default)]
pub struct Contest {
    /// When it was put back, lately.
    restored: Vec<Instant>,
    quiet: Duration,
    /// Until when nobody else may write there; `None` while nobody contests it.
    until: Option<Instant>,
    /// Nobody did, and it was not put back yet.
    is_over: bool,
}

impl Contest {
    /// When it is to be put back, if nobody writes there until then.
    pub fn ends(&self) -> Option<Instant> {
        self.until
    }

    /// Whether that time has come; told once.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.until.take_if(|until| *until <= now).is_some();
        self.is_over |= is_due;
        is_due
    }

    /// What lies there is another's: whether it is put back now.
    fn may_restore(&mut self, now: Instant, is_asked: bool) -> bool {
        self.restored.retain(|at| now.duration_since(*at) < LATELY);
        if is_asked || self.is_over || self.until.is_none() && self.restored.len() < AT_ONCE {
            return true;
        }
        if self.until.is_none() {
            self.quiet = (self.quiet * 2).clamp(QUIET, LONGEST_QUIET);
        }
        self.until = Some(now + self.quiet);
        false
    }

    /// What was another's was replaced.
    fn is_restored(&mut self, now: Instant) {
        self.restored.push(now);
        (self.until, self.is_over) = (None, false);
    }

    /// What lies there is ours.
    fn is_ours(&mut self, now: Instant) {
        self.is_over = false;
        self.restored.retain(|at| now.duration_since(*at) < LATELY);
        if self.restored.is_empty() {
            self.quiet = Duration::ZERO;
        }
    }
}

impl Repository {
    /// Holds what lies in repodata/ against what is published, and puts back what is missing or another's. `is_asked`: also
    /// while somebody contests it.
    pub(super) fn heal_metadata(&mut self, is_asked: bool) -> Result<(), RepositoryError> {
        let Some(published) = self.published.clone() else { return Ok(()) };
        if !self.has_its_root() {
            return Ok(());
        }
        self.catalog()?;
        if self.remembered.is_lost() {
            // What follows compares everything first, and publishes what the tree holds.
            return Ok(self.catalog()?.set_published(None)?);
        }
        let current = self.place.current()?;
        let is_ours = current.as_deref() == Some(&*published.repomd);
        let repomd = publish::parse(&published.repomd).ok();
        if is_ours && repomd.as_ref().is_none_or(|repomd| self.place.is_whole(repomd)) {
            self.contest.is_ours(Instant::now());
            return self.keep_signed();
        }
        // What is missing was deleted, perhaps with the tree: nobody contests it.
        let is_anothers = current.is_some() && !is_ours;
        if is_anothers && !self.contest.may_restore(Instant::now(), is_asked) {
            return Ok(());
        }
        let (name, repodata) = (&self.config.name, self.place.repodata());
        let repodata = repodata.display();
        warn!(repo.name = %name, "{repodata} is not as it was published any more; what is published of {name} is put back");
        let is_back = match repomd {
            Some(repomd) => self.put_back(&published, &repomd)?,
            None => false,
        };
        if !is_back {
            self.catalog()?.set_published(None)?;
            let listing = self.catalog()?.listing()?;
            self.publish(&listing)?;
        }
        if is_anothers {
            self.contest.is_restored(Instant::now());
        }
        self.keep_signed()
    }

    /// What a person should know while somebody else replaces what is ours.
    pub(super) fn contested(&self) -> Option<RepositoryError> {
        let is_contested = self.contest.until.is_some() || self.contest.is_over;
        let path = self.place.repodata().join("repomd.xml");
        is_contested.then(|| RepositoryError::Contested { path, quiet: self.contest.quiet })
    }

    /// Puts back what is missing of a publication, and its repomd.xml: the same bytes. `false`: not all of it can be made
    /// again from what is kept.
    fn put_back(&mut self, published: &Published, repomd: &Repomd) -> Result<bool, RepositoryError> {
        let _in_place = self.place.prepare()?;
        let mut files = Vec::new();
        for record in &repomd.records {
            if self.place.has(record) {
                continue;
            }
            let Some(file) = self.make_again(record)? else { return Ok(false) };
            files.push(file);
        }
        files.extend(self.stage_signature(published.signed.as_ref())?);
        let mut staged = self.place.stage("repomd")?;
        staged.write_all(&published.repomd).map_err(|source| press::failed(&self.config, source))?;
        staged.sync()?;
        self.place.switch(files, staged)?;
        Ok(true)
    }

    /// A file of the publication, made of its pieces and held against its checksum.
    fn make_again(&mut self, record: &Record) -> Result<Option<(Staged, String)>, RepositoryError> {
        let Some(name) = orphans::name(&record.href) else { return Ok(None) };
        let catalog = self.catalog()?;
        let pieces = catalog.pieces();
        let Some(recipe) = catalog.recipe(name)? else { return Ok(None) };
        let mut sink =
            Summed { staged: self.place.stage(&record.kind)?, sum: Hasher::new(record.checksum.kind) };
        // What cannot be read or written here is reported by the publication that takes its place.
        if recipe.write(&*pieces, &mut sink).is_err() || sink.sum.finish() != record.checksum {
            return Ok(None);
        }
        let mut staged = sink.staged;
        staged.sync()?;
        Ok(Some((staged, name.to_owned())))
    }
}

struct Summed {
    staged: Staged,
    sum: Hasher,
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.staged.write_all(bytes)?;
        self.sum.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What lies there is another's; whether it was put back.
    fn meets(contest: &mut Contest, now: Instant) -> bool {
        let may = contest.may_restore(now, false);
        if may {
            contest.is_restored(now);
        }
        may
    }

    #[test]
    fn it_is_put_back_twice_at_once_and_then_when_it_is_quiet() {
        let (mut contest, mut now) = (Contest::default(), Instant::now());
        assert!(
            contest.may_restore(now, false) && contest.may_restore(now, false),
            "an attempt that failed is none"
        );
        assert!(meets(&mut contest, now) && meets(&mut contest, now) && !meets(&mut contest, now));
        assert_eq!(contest.ends(), Some(now + QUIET));
        now += QUIET / 2;
        assert!(!meets(&mut contest, now), "it is not quiet");
        assert_eq!(contest.ends(), Some(now + QUIET));
        contest.is_ours(now);
        assert!(contest.ends().is_some(), "a publication of ours came between");
        now += QUIET;
        assert!(contest.is_due(now) && !contest.is_due(now));
        assert!(contest.may_restore(now, false) && meets(&mut contest, now));
        assert_eq!(contest.ends(), None);
        // It did not last: the other has to be quiet for longer.
        assert!(!meets(&mut contest, now));
        assert_eq!(contest.ends(), Some(now + QUIET * 2));
        assert!(contest.may_restore(now, true), "whoever asks need not wait");
        contest.is_restored(now);
        contest.is_ours(now + LATELY);
        assert!(meets(&mut contest, now + LATELY), "that is long ago");
    }

    #[test]
    fn nobody_has_to_be_quiet_for_ever() {
        let (mut contest, mut now) = (Contest::default(), Instant::now());
        for _ in 0..40 {
            while meets(&mut contest, now) {}
            now = contest.ends().unwrap();
            assert!(contest.is_due(now));
        }
        assert_eq!(contest.quiet, LONGEST_QUIET);
    }
}
