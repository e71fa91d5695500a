//! A file on its way to a client: whole, in part, or in several parts.
//!
//! Blocks that are in the page cache are taken from there at once; where the disk must be asked, the
//! blocking pool waits for it, one block ahead of the network. Over a plain connection the kernel itself
//! moves what is in the page cache; see [`super::splice`].

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use rustix::io::{Errno, ReadWriteFlags};
use tokio::task::JoinHandle;

use super::splice::{self, Spans};

/// Bytes that are read at once.
const BLOCK: u64 = 128 * 1024;

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

/// Segments, one after the other.
pub struct FileBody {
    file: Arc<File>,
    segments: VecDeque<Segment>,
    /// Bytes not yet delivered.
    left: u64,
    /// A block of the first segment that the blocking pool reads.
    ahead: Option<JoinHandle<io::Result<Bytes>>>,
    /// Where the connection takes spans of the file instead of bytes.
    spans: Option<Arc<Spans>>,
    /// A block given out, whose memory is used again once it is sent.
    spare: Option<Bytes>,
}

impl FileBody {
    /// From byte `start` up to, not including, `end`; both within the file when it was opened.
    pub fn new(file: File, start: u64, end: u64) -> Self {
        Self::of(file, [Segment::File { start, end }].into())
    }

    pub fn of(file: File, segments: VecDeque<Segment>) -> Self {
        let left = segments.iter().map(Segment::len).sum();
        Self { file: Arc::new(file), segments, left, ahead: None, spans: None, spare: None }
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
        let len = (end - at).min(BLOCK) as usize;
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
        let (file, len) = (self.file.clone(), (end - at).min(BLOCK));
        tokio::task::spawn_blocking(move || read_block(&file, at, len as usize))
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
        let body = FileBody::new(file.try_clone().unwrap(), 2, 12);
        file.set_len(5).unwrap();
        assert!(read_cached(&file, &mut [0], 7).is_none());
        drop(body);
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
        let body = FileBody::of(file, segments.into());
        assert_eq!(body.left(), 3 + 299_995 + 3 + 1);
        let expected = [b"one", &bytes[5..300_000], b"two", &bytes[399_999..]].concat();
        assert!(drain(body).unwrap() == expected);
    }
}
