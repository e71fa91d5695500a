//! A file on its way to a client: whole, in part, or in several parts.
//!
//! Blocks that are in the page cache are taken from there at once; where the disk must be asked, the
//! blocking pool waits for it, one block ahead of the network. Over a plain connection the kernel itself
//! moves what is in the page cache; see [`super::splice`].

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use rustix::io::{Errno, ReadWriteFlags};
use tokio::sync::SemaphorePermit;
use tokio::task::JoinHandle;

use super::pools::OneFile;
use super::splice::{self, Spans};

/// Bytes that are read at once.
pub(super) const BLOCK: u64 = 128 * 1024;

/// Bytes in a row: our own, or a file's.
pub enum Segment {
    Bytes(Bytes),
    File { start: u64, end: u64 },
}

impl Segment {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { start, end } => end - start,
        }
    }
}

/// What of these segments lies between these places of their whole.
pub fn sliced(segments: &VecDeque<Segment>, range: Range<u64>) -> VecDeque<Segment> {
    let mut at = 0;
    let mut slice = VecDeque::new();
    for segment in segments {
        let len = segment.len();
        let (from, to) = (range.start.clamp(at, at + len) - at, range.end.clamp(at, at + len) - at);
        at += len;
        if from < to {
            slice.push_back(match segment {
                Segment::Bytes(bytes) => Segment::Bytes(bytes.slice(from as usize..to as usize)),
                Segment::File { start, .. } => Segment::File { start: start + from, end: start + to },
            });
        }
    }
    slice
}

/// Segments, one after the other.
pub struct FileBody {
    file: Arc<File>,
    /// The right to have it open, which a read that nobody waits for any more keeps, too.
    right: Arc<OneFile>,
    segments: VecDeque<Segment>,
    /// Bytes not yet delivered.
    left: u64,
    /// The memory of many segments.
    held: Option<SemaphorePermit<'static>>,
    /// A block of the first segment that the blocking pool reads.
    ahead: Option<JoinHandle<io::Result<Bytes>>>,
    /// Where the connection takes spans of the file instead of bytes.
    spans: Option<Arc<Spans>>,
    /// A block given out, whose memory is used again once it is sent.
    spare: Option<Bytes>,
    /// Bytes that are read at once, at most.
    most: u64,
}

impl FileBody {
    /// From byte `start` up to, not including, `end`; both within the file when it was opened.
    pub fn new(file: File, right: OneFile, start: u64, end: u64) -> Self {
        Self::of(file, right, [Segment::File { start, end }].into())
    }

    pub fn of(file: File, right: OneFile, segments: VecDeque<Segment>) -> Self {
        let left = segments.iter().map(Segment::len).sum();
        let (file, right) = (Arc::new(file), Arc::new(right));
        Self { file, right, segments, left, held: None, ahead: None, spans: None, spare: None, most: BLOCK }
    }

    /// Keeps the memory of its segments until it is sent.
    pub fn holding(mut self, held: SemaphorePermit<'static>) -> Self {
        self.held = Some(held);
        self
    }

    /// Reads no more than this at once.
    pub fn at_most(&mut self, most: u64) {
        self.most = most.clamp(1, BLOCK);
    }

    pub fn left(&self) -> u64 {
        self.left
    }

    /// Lets the kernel move the file's bytes, on a connection that knows how.
    pub fn splice_onto(&mut self, spans: &Arc<Spans>) {
        self.spans = Some(spans.clone());
    }

    pub fn poll_block(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            let (at, end) = match self.segments.front_mut() {
                None => return Poll::Ready(None),
                Some(Segment::Bytes(bytes)) => {
                    let bytes = std::mem::take(bytes);
                    self.segments.pop_front();
                    self.left -= bytes.len() as u64;
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Some(Segment::File { start, end }) if start == end => {
                    self.segments.pop_front();
                    continue;
                }
                Some(Segment::File { start, end }) => (*start, *end),
            };
            let block = match &mut self.ahead {
                None => match self.at_once(at, end) {
                    Some(block) => block,
                    None => {
                        self.ahead = Some(self.ask(at, end));
                        continue;
                    }
                },
                Some(reading) => {
                    let Poll::Ready(block) = Pin::new(reading).poll(cx) else { return Poll::Pending };
                    self.ahead = None;
                    block.map_err(io::Error::other).flatten()
                }
            };
            return Poll::Ready(Some(block.inspect(|block| self.took(block.len() as u64))));
        }
    }

    fn took(&mut self, len: u64) {
        self.left -= len;
        if let Some(Segment::File { start, .. }) = self.segments.front_mut() {
            *start += len;
        }
    }

    /// The next block, if nobody has to wait for it; `None` where the disk must be asked.
    fn at_once(&mut self, at: u64, end: u64) -> Option<io::Result<Bytes>> {
        if let Some(spans) = &self.spans {
            let len = (end - at).min(splice::SPAN);
            return is_cached(&self.file, at, len).then(|| Ok(spans.push(&self.file, at, len)));
        }
        let len = (end - at).min(self.most) as usize;
        let spare = self.spare.take().and_then(|spare| spare.try_into_mut().ok());
        let mut block = spare.unwrap_or_default();
        block.resize(len, 0);
        let read = read_cached(&self.file, &mut block, at)?;
        block.truncate(read);
        let block = block.freeze();
        self.spare = Some(block.clone());
        Some(Ok(block))
    }

    fn ask(&self, at: u64, end: u64) -> JoinHandle<io::Result<Bytes>> {
        let (file, right, len) = (self.file.clone(), self.right.clone(), (end - at).min(self.most));
        tokio::task::spawn_blocking(move || {
            let _right = right;
            read_block(&file, at, len as usize)
        })
    }
}

/// What of `block` is in the page cache at `at`; `None`: nothing, or the file system cannot tell.
fn read_cached(file: &File, block: &mut [u8], at: u64) -> Option<usize> {
    let mut slices = [io::IoSliceMut::new(block)];
    match rustix::io::preadv2(file, &mut slices, at, ReadWriteFlags::NOWAIT) {
        // The end, where there was more: the pool's read will say so.
        Ok(0) | Err(_) => None,
        Ok(read) => Some(read),
    }
}

/// Whether the bytes are in the page cache, as far as a look at some of them tells.
fn is_cached(file: &File, at: u64, len: u64) -> bool {
    /// Less than the kernel reads ahead.
    const STEP: usize = 64 * 1024;
    let last = at + len - 1;
    (at..last).step_by(STEP).chain([last]).all(|at| read_cached(file, &mut [0], at).is_some())
}

/// A small file that was just opened, whole; `None` where the disk must be asked.
pub fn read_small(file: &File, len: usize) -> Option<Bytes> {
    let mut block = vec![0; len];
    (len == 0 || read_cached(file, &mut block, 0)? == len).then(|| block.into())
}

/// Reads `len` bytes at `at`. A file that has become shorter is an error: its length was promised.
pub fn read_block(file: &File, at: u64, len: usize) -> io::Result<Bytes> {
    let mut block = Vec::with_capacity(len);
    while block.len() < len {
        let at = at + block.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut block), at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocator may have given more room than asked for, and the file may have grown.
    block.truncate(len);
    Ok(block.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right() -> OneFile {
        let files = super::super::pools::Pools::new().files(std::net::Ipv4Addr::LOCALHOST.into());
        files.try_one().unwrap()
    }

    fn drain(mut body: FileBody) -> io::Result<Vec<u8>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(std::future::poll_fn(|cx| {
            let mut all = Vec::new();
            loop {
                match std::task::ready!(body.poll_block(cx)) {
                    None => return Poll::Ready(Ok(all)),
                    Some(block) => all.extend_from_slice(&block?),
                }
            }
        }))
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10).unwrap();
        assert_eq!(read_block(&file, 2, 8).unwrap().len(), 8);
        assert!(read_block(&file, 2, 9).is_err());
        let body = FileBody::new(file.try_clone().unwrap(), right(), 2, 12);
        file.set_len(5).unwrap();
        assert!(read_cached(&file, &mut [0], 7).is_none());
        drop(body);
    }

    #[test]
    fn a_part_of_segments_is_that_part_of_their_bytes() {
        use std::io::Write as _;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"..cde..fgh").unwrap();
        let whole = VecDeque::from([
            Segment::Bytes(Bytes::from_static(b"ab")),
            Segment::File { start: 2, end: 5 },
            Segment::File { start: 7, end: 10 },
            Segment::Bytes(Bytes::from_static(b"ij")),
        ]);
        for start in 0..10 {
            for end in start..=10 {
                let part = sliced(&whole, start as u64..end as u64);
                let body = FileBody::of(file.try_clone().unwrap(), right(), part);
                assert_eq!(drain(body).unwrap(), b"abcdefghij"[start..end], "{start} to {end}");
            }
        }
    }

    #[test]
    fn segments_follow_one_another() {
        use std::io::Write as _;
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..400_000u32).map(|n| (n % 251) as u8).collect();
        file.write_all(&bytes).unwrap();
        let segments = [
            Segment::Bytes(Bytes::from_static(b"one")),
            Segment::File { start: 5, end: 300_000 },
            Segment::File { start: 7, end: 7 },
            Segment::Bytes(Bytes::from_static(b"two")),
            Segment::File { start: 399_999, end: 400_000 },
        ];
        let body = FileBody::of(file, right(), segments.into());
        assert_eq!(body.left(), 3 + 299_995 + 3 + 1);
        let expected = [b"one", &bytes[5..300_000], b"two", &bytes[399_999..]].concat();
        assert!(drain(body).unwrap() == expected);
    }
}
