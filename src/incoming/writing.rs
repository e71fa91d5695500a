//! How blocks get to the disk while their sums are taken.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::sync::OnceLock;

use rayon::{ThreadPool, ThreadPoolBuilder};

/// The threads that take the sums of large uploads while they are written; the first of them starts the threads.
pub(super) fn lanes() -> Option<&'static ThreadPool> {
    static LANES: OnceLock<Option<ThreadPool>> = OnceLock::new();
    let start = || ThreadPoolBuilder::new().thread_name(|_| "upload".into()).build().ok();
    LANES.get_or_init(start).as_ref()
}

pub(super) fn write_vectored<B: AsRef<[u8]>>(mut file: &File, blocks: &[B]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = blocks.iter().map(|block| IoSlice::new(block.as_ref())).collect();
    let mut left = &mut slices[..];
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut left, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
