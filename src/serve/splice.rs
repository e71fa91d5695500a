//! sendfile(2) below hyper: the kernel moves a file's bytes from the page cache to the socket.
//!
//! hyper writes bytes, and knows no files. So a body gives it stand-ins: slices of one static block that
//! nobody else has, each the length of a span of the file that the connection is told of at the same time.
//! When hyper comes to write such a slice, the connection sends the span instead. What hyper does around
//! it (heads, keep-alive, pipelining) stays hyper's; there is no second HTTP here. A stand-in that came
//! without its span is an error of the connection, never bytes of the answer.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rustix::io::Errno;

/// The longest span.
pub(super) const SPAN: u64 = 1 << 20;

/// Never read nor written, so that it takes no memory: only where it lies counts.
static STAND_IN: LazyLock<Bytes> = LazyLock::new(|| vec![0; SPAN as usize].into());

/// Spans of files that a connection is to send, in the order of their stand-ins.
#[derive(Default)]
pub struct Spans {
    queue: Mutex<VecDeque<Span>>,
}

struct Span {
    file: Arc<File>,
    at: u64,
    len: u64,
}

/// Whether these are no bytes but the place of some.
pub(super) fn is_stand_in(slice: &[u8]) -> bool {
    STAND_IN.as_ptr_range().contains(&slice.as_ptr())
}

impl Spans {
    fn queue(&self) -> MutexGuard<'_, VecDeque<Span>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more span of at most [`SPAN`] bytes; what stands in for it.
    pub(super) fn push(&self, file: &Arc<File>, at: u64, len: u64) -> Bytes {
        self.queue().push_back(Span { file: file.clone(), at, len });
        STAND_IN.slice(..len as usize)
    }

    /// Sends what stands next, at most `most` bytes, without blocking on the socket. A file that has become
    /// shorter is an error: its length was promised.
    pub(super) fn send(&self, socket: impl std::os::fd::AsFd, most: usize) -> io::Result<usize> {
        let mut queue = self.queue();
        let span = queue
            .front_mut()
            .ok_or_else(|| io::Error::other("a span of a file is missing; this is a bug"))?;
        let count = most.min(usize::try_from(span.len).unwrap_or(usize::MAX));
        let mut at = span.at;
        let sent = loop {
            match rustix::fs::sendfile(&socket, &span.file, Some(&mut at), count) {
                Err(Errno::INTR) => {}
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                other => break other?,
            }
        };
        span.at += sent as u64;
        span.len -= sent as u64;
        if span.len == 0 {
            queue.pop_front();
        }
        Ok(sent)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn spans_are_sent_in_order_and_to_their_end() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let file = Arc::new(file);
        let spans = Spans::default();
        let first = spans.push(&file, 2, 5);
        let second = spans.push(&file, 9, 1);
        assert!(is_stand_in(&first) && is_stand_in(&first[4..]) && first.len() == 5 && second.len() == 1);
        assert!(!is_stand_in(&[0; 8]) && !is_stand_in(b""));
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        assert_eq!(spans.send(&ours, 3).unwrap(), 3);
        // Never beyond the span: what follows it is another stand-in.
        assert_eq!(spans.send(&ours, 3).unwrap(), 2);
        assert_eq!(spans.send(&ours, 100).unwrap(), 1);
        assert!(spans.send(&ours, 1).is_err(), "a stand-in without its span");
        drop(ours);
        let mut sent = String::new();
        theirs.read_to_string(&mut sent).unwrap();
        assert_eq!(sent, "234569");
    }

    #[test]
    fn a_file_that_became_shorter_ends_the_connection() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let spans = Spans::default();
        let _ = spans.push(&file, 0, 5);
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert_eq!(spans.send(&ours, 5).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
