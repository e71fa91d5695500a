//! Where the lines go: standard error, which may be a pipe whose reader has gone away or does not read, or a file on a
//! full disk.
//!
//! A line that cannot be written is lost and counted, and nothing else happens: whoever logs goes on. Once lines can
//! be written again, a line says how many were lost. A line for which there is no room now waits, with few others, for
//! a thread that writes it; so a server does not stop for its log.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use super::Style;

/// Bytes of lines that wait.
const WAITING: usize = 1 << 20;
/// A pipe or socket that takes anything takes so much without waiting.
const AT_ONCE: usize = 4096;
/// How long a process that ends waits for its last lines to be taken.
const LAST: Duration = Duration::from_secs(1);

/// Lines that this process could not write.
static LOST: AtomicU64 = AtomicU64::new(0);
/// The outlet of this process, if it has one.
static FLUSH: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// How many lines of the log were lost since the start, because nobody could take them.
pub fn lost_lines() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Waits a moment for lines that wait to be taken: before the process ends.
pub fn flush() {
    if let Some(flush) = FLUSH.get() {
        flush();
    }
}

/// Writes to standard error, for people; that nobody can be told is no failure.
pub fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// A place for bytes.
pub(super) trait To: Write + Send + 'static {
    /// Waits until it takes [`AT_ONCE`] bytes without waiting, `limit` at most (`None`: as long as it takes).
    fn is_open(&self, limit: Option<Duration>) -> bool;
}

impl To for io::Stderr {
    fn is_open(&self, limit: Option<Duration>) -> bool {
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let mut asked = [PollFd::from_borrowed_fd(self.as_fd(), PollFlags::OUT)];
        // What cannot be asked is written to, and says itself what is wrong.
        poll(&mut asked, limit.as_ref()).map_or(true, |ready| ready > 0)
    }
}

/// Takes whole lines, and never fails. Clones write to the same place.
pub(super) struct Outlet<W> {
    way: Arc<Way<W>>,
}

struct Way<W> {
    style: Style,
    lines: Mutex<Lines>,
    /// What was waiting is written, or lost.
    written: Condvar,
    to: Mutex<Pen<W>>,
}

struct Pen<W> {
    to: W,
    /// Whether the last thing that was written is half a line.
    is_torn: bool,
}

#[derive(Default)]
struct Lines {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Whether a thread writes them.
    is_behind: bool,
    /// Lines lost since the last that was written.
    lost: u64,
}

impl<W> Clone for Outlet<W> {
    fn clone(&self) -> Self {
        Self { way: Arc::clone(&self.way) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<W: To> Outlet<W> {
    pub(super) fn new(to: W, style: Style) -> Self {
        let to = Mutex::new(Pen { to, is_torn: false });
        Self { way: Arc::new(Way { style, lines: Mutex::default(), written: Condvar::new(), to }) }
    }

    /// Makes it the one that [`flush`] waits for.
    pub(super) fn flushed_at_the_end(self) -> Self {
        let way = Arc::clone(&self.way);
        let _ = FLUSH.set(Box::new(move || way.flush()));
        self
    }
}

impl<W: To> Write for Outlet<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.way.line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: To> Way<W> {
    fn line(self: &Arc<Self>, line: &[u8]) {
        let mut lines = lock(&self.lines);
        if lines.is_behind || !lock(&self.to).to.is_open(Some(Duration::ZERO)) {
            lines.wait(line);
            if !lines.is_behind {
                let way = Arc::clone(self);
                let writing = std::thread::Builder::new().name("log".into()).spawn(move || way.catch_up());
                lines.is_behind = writing.is_ok();
            }
            return;
        }
        // What waits for a thread that there was none of.
        while let Some(waiting) = lines.next() {
            self.write(&mut lines.lost, &waiting, Some(Duration::ZERO));
        }
        self.write(&mut lines.lost, line, Some(Duration::ZERO));
    }

    /// Writes what waits, for as long as it takes.
    fn catch_up(&self) {
        loop {
            let mut lines = lock(&self.lines);
            let Some(line) = lines.next() else {
                lines.is_behind = false;
                self.written.notify_all();
                return;
            };
            // What was lost came after what waits, so that is told last; but half a line has to end.
            let mut lost = if lock(&self.to).is_torn { std::mem::take(&mut lines.lost) } else { 0 };
            drop(lines);
            self.write(&mut lost, &line, None);
            lock(&self.lines).lost += lost;
        }
    }

    fn flush(&self) {
        let until = Instant::now() + LAST;
        let mut lines = lock(&self.lines);
        while lines.is_behind {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            lines = self.written.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes a line, and before it that some were lost.
    fn write(&self, lost: &mut u64, line: &[u8], limit: Option<Duration>) {
        let mut pen = lock(&self.to);
        let is_open = *lost == 0 || {
            let mut first = String::from(if pen.is_torn { "\n" } else { "" });
            first.push_str(&missing(self.style, *lost));
            pen.write(first.as_bytes(), limit)
        };
        if is_open {
            *lost = 0;
        }
        if !is_open || !pen.write(line, limit) {
            *lost += 1;
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Lines {
    fn wait(&mut self, line: &[u8]) {
        if self.bytes + line.len() > WAITING {
            self.lost += 1;
            LOST.fetch_add(1, Ordering::Relaxed);
        } else {
            self.bytes += line.len();
            self.waiting.push_back(line.to_vec());
        }
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let line = self.waiting.pop_front()?;
        self.bytes -= line.len();
        Some(line)
    }
}

impl<W: To> Pen<W> {
    /// Whether all of it was written.
    fn write(&mut self, mut bytes: &[u8], limit: Option<Duration>) -> bool {
        while !bytes.is_empty() {
            if !self.to.is_open(limit) {
                return false;
            }
            match self.to.write(&bytes[..bytes.len().min(AT_ONCE)]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) | Ok(0) => return false,
                Ok(written) => {
                    bytes = &bytes[written..];
                    self.is_torn = !bytes.is_empty();
                }
            }
        }
        true
    }
}

/// The line that says so, like all the others.
fn missing(style: Style, lost: u64) -> String {
    let lines = if lost == 1 { "line" } else { "lines" };
    let text = format!("{lost} {lines} of this log could not be written and are lost");
    let mut now = String::new();
    // Writing to a String cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut now));
    match style {
        Style::Journal => format!("<4>{text}\n"),
        Style::Plain { .. } => format!("{now}  WARN {text}\n"),
        Style::Json => format!(
            "{}\n",
            serde_json::json!({ "timestamp": now, "level": "WARN", "message": text, "lost": lost, "target": module_path!() })
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place with room for so many bytes.
    struct Room {
        bytes: Arc<Mutex<Vec<u8>>>,
        left: Arc<Mutex<usize>>,
    }

    impl Write for Room {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut left = self.left.lock().unwrap();
            let written = bytes.len().min(*left);
            if written == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            *left -= written;
            self.bytes.lock().unwrap().extend_from_slice(&bytes[..written]);
            Ok(written)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl To for Room {
        fn is_open(&self, _limit: Option<Duration>) -> bool {
            true
        }
    }

    /// A pipe that nobody reads yet.
    struct Full {
        taken: Arc<Mutex<Vec<u8>>>,
        opens: Arc<(Mutex<bool>, Condvar)>,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.taken.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl To for Full {
        fn is_open(&self, limit: Option<Duration>) -> bool {
            let mut open = self.opens.0.lock().unwrap();
            while !*open && limit.is_none() {
                open = self.opens.1.wait(open).unwrap();
            }
            *open
        }
    }

    #[test]
    fn nobody_waits_for_a_pipe_that_is_full_and_what_waits_is_written_in_order() {
        let taken = Arc::<Mutex<Vec<u8>>>::default();
        let opens = Arc::<(Mutex<bool>, Condvar)>::default();
        let full = Full { taken: Arc::clone(&taken), opens: Arc::clone(&opens) };
        let mut outlet = Outlet::new(full, Style::Journal);
        let before = lost_lines();
        let line = |n: usize| format!("{n:>999}\n");
        // More than may wait; each of these comes back.
        let most = WAITING / 1000;
        for n in 0..most + 10 {
            outlet.write_all(line(n).as_bytes()).unwrap();
        }
        // One may be in the thread's hands.
        assert!((9..=10).contains(&(lost_lines() - before)));
        *opens.0.lock().unwrap() = true;
        opens.1.notify_all();
        outlet.way.flush();
        outlet.write_all(b"last\n").unwrap();
        let text = String::from_utf8(taken.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with(&(line(0) + &line(1))));
        assert!(text.contains("lines of this log could not be written") && text.ends_with("last\n"));
        assert!(text.lines().count() >= most + 2);
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted_and_told_of_later() {
        for style in [Style::Journal, Style::Plain { colour: false }, Style::Json] {
            let (bytes, left) = (Arc::default(), Arc::new(Mutex::new(9)));
            let room = Room { bytes: Arc::clone(&bytes), left: Arc::clone(&left) };
            let mut outlet = Outlet::new(room, style);
            let before = lost_lines();
            for line in ["first\n", "second\n", "third\n"] {
                outlet.write_all(line.as_bytes()).unwrap();
            }
            assert!(lost_lines() >= before + 2);
            *left.lock().unwrap() = 1000;
            outlet.write_all(b"fourth\n").unwrap();
            outlet.write_all(b"fifth\n").unwrap();
            let text = String::from_utf8(bytes.lock().unwrap().clone()).unwrap();
            let lines: Vec<_> = text.lines().collect();
            assert_eq!(
                [lines[0], lines[1], lines[3], lines[4]],
                ["first", "sec", "fourth", "fifth"],
                "{text}"
            );
            assert!(lines[2].contains("2 lines of this log could not be written"), "{text}");
            assert_eq!(lines.len(), 5, "{text}");
            if style == Style::Json {
                assert!(serde_json::from_str::<serde_json::Value>(lines[2]).is_ok(), "{text}");
            }
        }
    }
}
