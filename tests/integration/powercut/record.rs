//! Reads what strace recorded (`-f -y -s 65536`), and does it to a [`Disk`].

use std::collections::{BTreeMap, BTreeSet};

use super::disk::{Disk, Id};

/// What a call did, for whoever looks at the disk after it.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// A request was answered with 2xx.
    Acknowledged,
    /// `repomd.xml` was switched.
    Switched,
    Other,
}

/// One recording on its way onto a disk.
pub struct Player {
    /// Only what is below it matters.
    home: String,
    pub disk: Disk,
    /// What each descriptor was opened on.
    open: BTreeMap<u32, Id>,
    /// Calls that have begun and not ended, by thread: and what each file held when a sync of it began.
    begun: BTreeMap<String, String>,
    pub calls: BTreeSet<String>,
}

impl Player {
    pub fn new(home: &str) -> Self {
        Self {
            home: home.to_owned(),
            disk: Disk::default(),
            open: BTreeMap::new(),
            begun: BTreeMap::new(),
            calls: BTreeSet::new(),
        }
    }

    /// Takes the next line.
    pub fn line(&mut self, line: &str) -> Seen {
        let Some((thread, rest)) = line.split_once(' ') else { return Seen::Other };
        let rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix("<... ") {
            let Some(start) = self.begun.remove(thread) else { return Seen::Other };
            let end = rest.split_once(" resumed>").map_or("", |(_, end)| end);
            return self.call(&format!("{start}{end}"));
        }
        if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            // The number is free as soon as close begins: another thread may be given it before close is seen to end.
            if start.starts_with("close(") {
                return self.call(&format!("{start}) = 0"));
            }
            self.begun.insert(thread.to_owned(), start.to_owned());
            return Seen::Other;
        }
        self.call(rest)
    }

    fn call(&mut self, text: &str) -> Seen {
        let Some((name, rest)) = text.split_once('(') else { return Seen::Other };
        let Some((arguments, outcome)) = rest.rsplit_once(" = ") else { return Seen::Other };
        if outcome.starts_with('-') || outcome.starts_with('?') {
            return Seen::Other;
        }
        let arguments = arguments.trim_end().trim_end_matches(')');
        match name {
            "openat" | "openat2" | "open" | "creat" => self.opened(arguments, outcome),
            "write" | "writev" | "pwrite64" | "sendto" | "sendmsg" => return self.written(arguments),
            "copy_file_range" | "sendfile" | "splice" => {
                let target = if name == "sendfile" { 0 } else { 2 };
                if let Some((fd, _)) = split(arguments).get(target).and_then(|a| descriptor(a))
                    && let Some(id) = self.open.get(&fd)
                {
                    self.disk.write(*id, "");
                }
            }
            "ftruncate" => {
                if let Some(id) = self.file(arguments) {
                    self.disk.write(id, "");
                }
            }
            "fsync" | "fdatasync" => self.synced(arguments),
            "close" => {
                if let Some((fd, _)) = descriptor(arguments) {
                    self.open.remove(&fd);
                }
            }
            "rename" | "renameat" | "renameat2" => return self.renamed(name, arguments),
            "link" | "linkat" => self.linked(arguments),
            "unlink" | "unlinkat" | "rmdir" => {
                if let Some(path) = self.paths(arguments).into_iter().next() {
                    self.disk.name(&path, None);
                }
            }
            "mkdir" | "mkdirat" => {
                if let Some(path) = self.paths(arguments).into_iter().next() {
                    let id = self.disk.unnamed();
                    self.disk.name(&path, Some(id));
                }
            }
            _ => return Seen::Other,
        }
        self.calls.insert(name.to_owned());
        Seen::Other
    }

    fn opened(&mut self, arguments: &str, outcome: &str) {
        let Some((fd, path)) = descriptor(outcome) else { return };
        self.open.remove(&fd);
        if !path.starts_with(&self.home) {
            return;
        }
        let flags = split(arguments).into_iter().find(|a| a.contains("O_")).unwrap_or_default();
        if flags.contains("O_TMPFILE") {
            let id = self.disk.unnamed();
            self.open.insert(fd, id);
            return;
        }
        if flags.contains("O_DIRECTORY") || flags.contains("O_PATH") {
            return;
        }
        let id = match self.disk.find(&path) {
            Some(id) => id,
            None if flags.contains("O_CREAT") => {
                let id = self.disk.unnamed();
                self.disk.name(&path, Some(id));
                id
            }
            None => self.disk.known(&path),
        };
        if flags.contains("O_TRUNC") {
            self.disk.write(id, "");
        }
        self.open.insert(fd, id);
    }

    fn written(&mut self, arguments: &str) -> Seen {
        let Some((_, path)) = descriptor(arguments) else { return Seen::Other };
        if path.starts_with("socket:") || path.starts_with("TCP:") {
            let is_good = ["\"HTTP/1.1 200", "\"HTTP/1.1 201", "\"HTTP/1.1 204"];
            let is_answer = is_good.iter().any(|start| arguments.contains(start));
            return if is_answer { Seen::Acknowledged } else { Seen::Other };
        }
        if let Some(id) = self.file(arguments) {
            self.disk.write(id, arguments);
            self.calls.insert("write".into());
        }
        Seen::Other
    }

    fn synced(&mut self, arguments: &str) {
        let Some((_, path)) = descriptor(arguments) else { return };
        match self.file(arguments) {
            Some(id) => self.disk.sync(id),
            None => self.disk.sync_directory(&path),
        }
        // A directory is opened as a file would be; both are right for it.
        self.disk.sync_directory(&path);
    }

    fn renamed(&mut self, name: &str, arguments: &str) -> Seen {
        let paths = self.paths(arguments);
        let [from, to] = &paths[..] else { return Seen::Other };
        self.disk.rename(from, to);
        self.calls.insert(name.to_owned());
        if to.ends_with("/repodata/repomd.xml") { Seen::Switched } else { Seen::Other }
    }

    fn linked(&mut self, arguments: &str) {
        let parts = split(arguments);
        let unnamed = match arguments.contains("AT_EMPTY_PATH") {
            true => parts.first().and_then(|part| Some(descriptor(part)?.0)),
            false => parts.iter().find_map(|part| {
                let fd = part.trim_matches('"').strip_prefix("/proc/self/fd/")?;
                fd.parse::<u32>().ok()
            }),
        };
        let paths = self.paths(arguments);
        let id = match unnamed {
            Some(fd) => self.open.get(&fd).copied(),
            None => paths.first().and_then(|path| self.disk.find(path)),
        };
        if let (Some(id), Some(to)) = (id, paths.last()) {
            self.disk.name(to, Some(id));
        }
    }

    fn file(&self, arguments: &str) -> Option<Id> {
        let (fd, path) = descriptor(arguments)?;
        if path.starts_with(&self.home) { self.open.get(&fd).copied() } else { None }
    }

    /// The paths among the arguments that are below home; a directory's descriptor goes before a relative one.
    fn paths(&self, arguments: &str) -> Vec<String> {
        let mut paths = Vec::new();
        let mut base = String::new();
        for part in split(arguments) {
            if let Some(text) = part.strip_prefix('"') {
                let text = text.trim_end_matches('"');
                let path = if text.starts_with('/') { text.to_owned() } else { format!("{base}/{text}") };
                if path.starts_with(&self.home) {
                    paths.push(path);
                }
            } else if let Some((_, path)) = descriptor(&part) {
                base = path;
            } else if let Some(rest) = part.strip_prefix("AT_FDCWD<") {
                base = rest.trim_end_matches('>').to_owned();
            }
        }
        paths
    }
}

/// `12</a/path>` at the start of a text.
fn descriptor(text: &str) -> Option<(u32, String)> {
    let (number, rest) = text.split_once('<')?;
    Some((number.trim().parse().ok()?, rest[..rest.find('>')?].to_owned()))
}

/// The arguments of a call, split at commas outside of quotes, brackets and braces.
fn split(arguments: &str) -> Vec<String> {
    let (mut parts, mut depth, mut quoted, mut escaped) = (vec![String::new()], 0_u32, false, false);
    for c in arguments.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(c);
    }
    parts.into_iter().map(|part| part.trim().to_owned()).collect()
}
