//! What a disk may hold after a power cut, given the system calls that were made.
//!
//! A pessimist's file system: bytes that were not synced may be missing; a name that was made, changed or
//! removed since its directory was last synced may be as before or as after, each name by itself.

use std::collections::{BTreeMap, BTreeSet};

/// A file's bytes, as far as they matter.
#[derive(Debug, Clone, Default)]
pub struct Inode {
    /// How often it was written to, and how much of that is on the disk.
    written: u64,
    synced: u64,
    /// The last bytes written to it: repomd.xml is written in one piece.
    text: String,
}

impl Inode {
    fn is_whole(&self) -> bool {
        self.written == self.synced
    }
}

pub type Id = usize;

/// A name, and what it may lead to after a cut; `None`: nothing. The first is what is on the disk.
type Name = (String, String);

/// All of it.
#[derive(Debug, Default)]
pub struct Disk {
    inodes: Vec<Inode>,
    /// By directory and name.
    names: BTreeMap<Name, Vec<Option<Id>>>,
}

fn split(path: &str) -> Name {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    (directory.to_owned(), name.to_owned())
}

impl Disk {
    pub fn unnamed(&mut self) -> Id {
        self.inodes.push(Inode::default());
        self.inodes.len() - 1
    }

    /// What a path leads to now, for those who are up.
    pub fn find(&self, path: &str) -> Option<Id> {
        *self.names.get(&split(path))?.last()?
    }

    /// A file that was there before anything was recorded: whole.
    pub fn known(&mut self, path: &str) -> Id {
        match self.find(path) {
            Some(id) => id,
            None => {
                let id = self.unnamed();
                self.names.insert(split(path), vec![Some(id)]);
                id
            }
        }
    }

    pub fn name(&mut self, path: &str, id: Option<Id>) {
        self.names.entry(split(path)).or_insert_with(|| vec![None]).push(id);
    }

    pub fn rename(&mut self, from: &str, to: &str) {
        let id = self.known(from);
        self.name(from, None);
        self.name(to, Some(id));
        // A directory takes along what is in it.
        let inside = format!("{from}/");
        let moved: Vec<Name> = self
            .names
            .keys()
            .filter(|(directory, _)| directory == from || directory.starts_with(&inside))
            .cloned()
            .collect();
        for (directory, name) in moved {
            let values = self.names.remove(&(directory.clone(), name.clone())).unwrap_or_default();
            self.names.insert((directory.replacen(from, to, 1), name), values);
        }
    }

    pub fn write(&mut self, id: Id, text: &str) {
        self.inodes[id].written += 1;
        text.clone_into(&mut self.inodes[id].text);
    }

    pub fn sync(&mut self, id: Id) {
        self.inodes[id].synced = self.inodes[id].written;
    }

    pub fn sync_directory(&mut self, directory: &str) {
        for ((_, _), values) in self.names.iter_mut().filter(|((parent, _), _)| parent == directory) {
            let last = values.last().copied().flatten();
            *values = vec![last];
        }
    }

    /// Why what has this name may be missing or cut short after a power cut now, if it may.
    pub fn is_durable(&self, path: &str) -> Result<(), String> {
        let Some(values) = self.names.get(&split(path)) else { return Err(format!("{path} was never made")) };
        for value in values {
            match value {
                None => return Err(format!("{path} may be missing")),
                Some(id) if !self.inodes[*id].is_whole() => {
                    return Err(format!("{path} may lack bytes"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The same, and that the directories lead there which were made since.
    pub fn is_reachable(&self, path: &str) -> Result<(), String> {
        self.is_durable(path)?;
        let mut above = path;
        while let Some((directory, _)) = above.rsplit_once('/') {
            if self.names.contains_key(&split(directory)) {
                self.is_durable(directory).map_err(|why| format!("{path}: {why}"))?;
            }
            above = directory;
        }
        Ok(())
    }

    /// What this repomd.xml names.
    pub fn hrefs(&self, id: Id) -> BTreeSet<String> {
        hrefs(&self.inodes[id].text)
    }

    /// Holds every repomd.xml that may be there after a cut against the files it names.
    pub fn is_consistent(&self, tree: &str) -> Result<(), String> {
        let repomd = (format!("{tree}/repodata"), "repomd.xml".to_owned());
        for id in self.names.get(&repomd).into_iter().flatten().flatten() {
            let inode = &self.inodes[*id];
            if !inode.is_whole() {
                return Err("repomd.xml may lack bytes".into());
            }
            for href in hrefs(&inode.text) {
                self.is_durable(&format!("{tree}/{href}"))
                    .map_err(|why| format!("a repomd.xml that may be there names {href}: {why}"))?;
            }
        }
        Ok(())
    }
}

/// What a repomd.xml names, quoted by strace or not.
pub fn hrefs(text: &str) -> BTreeSet<String> {
    text.split("href=")
        .skip(1)
        .filter_map(|rest| {
            let rest = rest.trim_start_matches('\\').strip_prefix('"')?;
            Some(rest[..rest.find(['"', '\\'])?].to_owned())
        })
        .collect()
}
