//! Who asked what: Apache's combined format in a file, or events of the daemon's own log.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

use hyper::Version;
use hyper::header::{HeaderMap, HeaderName, REFERER, USER_AGENT};
use hyper::http::request::Parts;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::access::peer;
use super::{Ends, Transport};
use crate::auth::Guard;
use crate::config::AccessLog;

/// Lines that may wait for the disk; beyond it they are counted and lost, for no client waits for them.
const WAITING: usize = 16 * 1024;
/// Lines are written together up to so many bytes.
const BATCH: usize = 64 * 1024;

/// Lines that could not be written.
static LOST: AtomicU64 = AtomicU64::new(0);

/// How many lines of access logs were lost since the start.
pub(super) fn lost_lines() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Notes every request once its answer has ended.
pub struct AccessLogger {
    sink: Sink,
}

enum Sink {
    Off,
    Journal,
    File(FileSink),
}

struct FileSink {
    lines: Option<SyncSender<Told>>,
    lost: Arc<AtomicU64>,
    writer: Option<JoinHandle<()>>,
}

enum Told {
    Line(String),
    Reopen,
}

impl AccessLogger {
    pub fn off() -> Self {
        Self { sink: Sink::Off }
    }

    /// Opens the file, if it is one. Blocking.
    pub fn open(config: &AccessLog) -> io::Result<Self> {
        let sink = match config {
            AccessLog::Off => Sink::Off,
            AccessLog::Journal => Sink::Journal,
            AccessLog::File(path) => {
                let file = open(path)?;
                let (lines, told) = sync_channel(WAITING);
                let lost = Arc::new(AtomicU64::new(0));
                let writer =
                    Writer { path: path.clone(), file: Some(file), lost: lost.clone(), failing: None };
                let thread = std::thread::Builder::new().name("access log".into());
                let writer = thread.spawn(move || writer.run(&told))?;
                Sink::File(FileSink { lines: Some(lines), lost, writer: Some(writer) })
            }
        };
        Ok(Self { sink })
    }

    /// Opens the file anew, after logrotate has moved the old one away. Does not block.
    pub fn reopen(&self) {
        if let Sink::File(sink) = &self.sink {
            sink.tell(Told::Reopen);
        }
    }

    /// What is known when the request has come; `None` when nothing is noted.
    pub(super) fn note(self: &Arc<Self>, guard: &Guard, ends: &Ends, parts: &Parts) -> Option<Box<Note>> {
        if matches!(self.sink, Sink::Off) {
            return None;
        }
        let header = |name: HeaderName| text(&parts.headers, name);
        Some(Box::new(Note {
            logger: self.clone(),
            began: Instant::now(),
            at: SystemTime::now(),
            peer: client(guard, ends, parts),
            user: None,
            method: parts.method.to_string(),
            target: parts.uri.path_and_query().map_or("*", |target| target.as_str()).to_owned(),
            version: parts.version,
            status: 0,
            sent: 0,
            referer: header(REFERER),
            agent: header(USER_AGENT),
            id: String::new(),
        }))
    }

    fn write(&self, note: &Note) {
        match &self.sink {
            Sink::Off => {}
            Sink::Journal => note.tell(),
            Sink::File(sink) => sink.tell(Told::Line(note.combined())),
        }
    }
}

impl FileSink {
    fn tell(&self, told: Told) {
        if let Some(lines) = &self.lines
            && let Err(TrySendError::Full(_)) = lines.try_send(told)
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        // The end of the channel is the writer's; what waits is written first.
        self.lines = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

struct Writer {
    path: PathBuf,
    file: Option<File>,
    lost: Arc<AtomicU64>,
    /// Lines lost since it could last be written; `None` while it can.
    failing: Option<u64>,
}

impl Writer {
    fn run(mut self, told: &Receiver<Told>) {
        let mut batch = String::new();
        while let Ok(first) = told.recv() {
            let mut next = Some(first);
            while let Some(told_now) = next {
                match told_now {
                    Told::Line(line) => batch.push_str(&line),
                    Told::Reopen => {
                        self.flush(&mut batch);
                        self.file = None;
                    }
                }
                next = if batch.len() < BATCH { told.try_recv().ok() } else { None };
            }
            self.flush(&mut batch);
            match self.lost.swap(0, Ordering::Relaxed) {
                0 => {}
                lost => warn!(lost, "the access log cannot keep up: {lost} lines are lost"),
            }
        }
    }

    fn flush(&mut self, batch: &mut String) {
        let written = self.opened().and_then(|mut file| file.write_all(batch.as_bytes()));
        let lines = batch.bytes().filter(|byte| *byte == b'\n').count() as u64;
        batch.clear();
        let path = self.path.display();
        match written {
            Ok(()) => {
                if let Some(lost) = self.failing.take() {
                    warn!(lost, "the access log {path} can be written again; {lost} lines are lost");
                }
            }
            Err(error) => {
                self.file = None;
                LOST.fetch_add(lines, Ordering::Relaxed);
                if self.failing.is_none() {
                    error!(%error, "cannot write the access log {path}: {error}; lines are lost until that is mended");
                }
                self.failing = Some(self.failing.unwrap_or(0) + lines);
            }
        }
    }

    fn opened(&mut self) -> io::Result<&File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => open(&self.path)?,
        };
        Ok(self.file.insert(file))
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// One request and its answer; written when dropped.
pub(super) struct Note {
    logger: Arc<AccessLogger>,
    began: Instant,
    at: SystemTime,
    peer: String,
    user: Option<String>,
    method: String,
    target: String,
    version: Version,
    status: u16,
    /// Bytes of the body.
    sent: u64,
    referer: Option<String>,
    agent: Option<String>,
    id: String,
}

impl Note {
    pub(super) fn answered(&mut self, status: u16, user: Option<&str>, id: &str) {
        self.status = status;
        self.user = user.map(str::to_owned);
        self.id = id.to_owned();
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// `host - user [time] "request" status bytes "referer" "agent"`, as Apache writes it; times are UTC.
    fn combined(&self) -> String {
        use std::fmt::Write as _;
        let mut line = String::with_capacity(256);
        line.push_str(&self.peer);
        line.push_str(" - ");
        match &self.user {
            Some(user) if !user.is_empty() => quote(user, &mut line),
            _ => line.push('-'),
        }
        // Sun, 06 Nov 1994 08:49:37 GMT
        let date = httpdate::fmt_http_date(self.at);
        let part = |range: std::ops::Range<usize>| date.get(range).unwrap_or_default();
        let _ = write!(line, " [{}/{}/{}:{} +0000] \"", part(5..7), part(8..11), part(12..16), part(17..25));
        quote(&self.method, &mut line);
        line.push(' ');
        quote(&self.target, &mut line);
        let _ = write!(line, " {:?}\" {} ", self.version, self.status);
        match self.sent {
            0 => line.push('-'),
            sent => _ = write!(line, "{sent}"),
        }
        for field in [&self.referer, &self.agent] {
            line.push_str(" \"");
            match field {
                Some(text) => quote(text, &mut line),
                None => line.push('-'),
            }
            line.push('"');
        }
        line.push('\n');
        line
    }

    fn tell(&self) {
        let Self { peer, method, target, status, sent, id, .. } = self;
        let escaped = |text: &str| {
            let mut safe = String::new();
            quote(text, &mut safe);
            safe
        };
        let took_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        info!(
            target: "createrepod::access",
            peer, method, path = escaped(target), version = ?self.version, status, bytes = sent, took_us, request_id = id,
            user = self.user.as_deref().map(escaped),
            referer = self.referer.as_deref().map(escaped),
            agent = self.agent.as_deref().map(escaped),
            "{status} {method} {}", escaped(target)
        );
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        let logger = self.logger.clone();
        logger.write(self);
    }
}

/// The client's own address, also where a proxy that is trusted stands between, as log lines have it.
pub(super) fn client(guard: &Guard, ends: &Ends, parts: &Parts) -> String {
    match (ends.transport, guard.client(peer(ends), &parts.headers)) {
        (Transport::Control, _) | (_, None) => ends.spell_peer(),
        (_, Some(client)) => client.to_string(),
    }
}

/// The bytes of a header's first value, each as a character, so that `quote` may show what is no text.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name).map(|value| value.as_bytes().iter().map(|byte| char::from(*byte)).collect())
}

/// As Apache escapes what strangers wrote: nothing of it can end the field, the line, or the reader's sanity.
fn quote(text: &str, onto: &mut String) {
    use std::fmt::Write as _;
    for c in text.chars() {
        match c {
            '"' | '\\' => onto.extend(['\\', c]),
            ' '..='~' => onto.push(c),
            _ => {
                let mut bytes = [0; 4];
                // A header's bytes came one a character; everything else is UTF-8.
                let bytes = match u8::try_from(u32::from(c)) {
                    Ok(byte) => &[byte][..],
                    Err(_) => c.encode_utf8(&mut bytes).as_bytes(),
                };
                for byte in bytes {
                    let _ = write!(onto, "\\x{byte:02x}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(logger: &Arc<AccessLogger>) -> Note {
        Note {
            logger: logger.clone(),
            began: Instant::now(),
            at: SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(784_111_777),
            peer: "192.0.2.1".into(),
            user: None,
            method: "GET".into(),
            target: "/rpm/repodata/repomd.xml?x".into(),
            version: Version::HTTP_11,
            status: 200,
            sent: 4711,
            referer: None,
            agent: Some("libdnf (Fedora 40)".into()),
            id: "1".into(),
        }
    }

    #[test]
    fn a_line_is_in_the_combined_format() {
        let logger = Arc::new(AccessLogger::off());
        let line = note(&logger).combined();
        let expected = "192.0.2.1 - - [06/Nov/1994:08:49:37 +0000] \"GET /rpm/repodata/repomd.xml?x HTTP/1.1\" 200 4711 \
                        \"-\" \"libdnf (Fedora 40)\"\n";
        assert_eq!(line, expected);
    }

    #[test]
    fn nothing_a_stranger_writes_ends_a_field_or_a_line() {
        let logger = Arc::new(AccessLogger::off());
        let evil = "x\" 200 1 \"\n127.0.0.1 \\ \x1b[2J \u{e9}\u{202e}";
        let mut note = note(&logger);
        note.target = format!("/{evil}");
        (note.agent, note.referer, note.user) = (Some(evil.into()), Some(evil.into()), Some(evil.into()));
        let line = note.combined();
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(line.trim_end_matches('\n').bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line}");
        assert!(line.contains(r#"/x\" 200 1 \"\x0a127.0.0.1 \\ \x1b[2J \xe9\xe2\x80\xae"#), "{line}");
    }

    #[test]
    fn a_moved_file_is_followed_by_a_new_one() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("access.log");
        let logger = Arc::new(AccessLogger::open(&AccessLog::File(path.clone())).unwrap());
        drop(note(&logger));
        // Until the line is there, it may be written to either.
        while std::fs::read(&path).unwrap().is_empty() {
            std::thread::yield_now();
        }
        let old = place.path().join("access.log.1");
        std::fs::rename(&path, &old).unwrap();
        logger.reopen();
        drop(note(&logger));
        drop(logger);
        for file in [path, old] {
            assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), 1);
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("full");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let before = lost_lines();
        let logger = Arc::new(AccessLogger::open(&AccessLog::File(path)).unwrap());
        drop(note(&logger));
        drop(note(&logger));
        drop(logger);
        assert!(lost_lines() >= before + 2);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error() {
        assert!(AccessLogger::open(&AccessLog::File("/nonexistent/a.log".into())).is_err());
    }
}
