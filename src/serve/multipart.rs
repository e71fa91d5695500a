//! `multipart/byteranges`: several parts of a file in one answer (RFC 9110, section 14.6).

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::body::Segment;

/// `bytes 0-99/1234`; `part` is not empty.
pub(super) fn content_range(part: &Range<u64>, len: u64) -> String {
    format!("bytes {}-{}/{len}", part.start, part.end - 1)
}

/// A line that no file holds but by unforeseeable chance.
pub(super) fn boundary() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    // Each of these is keyed anew.
    format!("{:016x}{:016x}", RandomState::new().hash_one(count), RandomState::new().hash_one(count))
}

/// The whole body: the parts, what stands around them, and how many bytes that is.
pub(super) fn segments(
    parts: &[Range<u64>],
    len: u64,
    media_type: &str,
    boundary: &str,
) -> (VecDeque<Segment>, u64) {
    let mut segments = VecDeque::with_capacity(parts.len() * 2 + 1);
    let mut sum = 0;
    for part in parts {
        let range = content_range(part, len);
        let head =
            format!("\r\n--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: {range}\r\n\r\n");
        sum += head.len() as u64 + (part.end - part.start);
        segments.push_back(Segment::Bytes(head.into()));
        segments.push_back(Segment::File { start: part.start, end: part.end });
    }
    let end = format!("\r\n--{boundary}--\r\n");
    sum += end.len() as u64;
    segments.push_back(Segment::Bytes(end.into()));
    (segments, sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_between_boundaries_and_are_counted() {
        let (segments, sum) = segments(&[0..3, 10..12], 20, "text/plain", "B");
        let mut text = String::new();
        for segment in segments {
            match segment {
                Segment::Bytes(bytes) => text += std::str::from_utf8(&bytes).unwrap(),
                Segment::File { start, end } => text += &"x".repeat((end - start) as usize),
            }
        }
        assert_eq!(text.len() as u64, sum);
        assert_eq!(
            text,
            "\r\n--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-2/20\r\n\r\nxxx\
             \r\n--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 10-11/20\r\n\r\nxx\r\n--B--\r\n"
        );
        assert_ne!(boundary(), boundary());
    }
}
