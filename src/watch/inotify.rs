//! inotify(7), bare.
//!
//! Not through the notify crate: its mask holds `IN_OPEN`, so that every package the daemon reads or
//! serves, and every directory it walks, comes back as an event (measured: with 16 threads reading
//! 50,000 directories the queue overflows, which asks for the next full walk, and so on); and it
//! drops `IN_UNMOUNT`, and keeps one path for a directory that links make reachable by several.

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// What the kernel calls a watched directory. Never used again while the process lives.
pub(super) type Wd = i32;

pub(super) struct Inotify {
    fd: OwnedFd,
    buffer: Box<[MaybeUninit<u8>]>,
}

#[derive(Debug)]
pub(super) struct Event {
    pub wd: Wd,
    pub flags: ReadFlags,
    /// Of the entry in the watched directory; `None` when it concerns the directory itself.
    pub name: Option<Box<[u8]>>,
}

impl Event {
    /// Whether a file was written to, and nothing else.
    pub fn is_write(&self) -> bool {
        self.flags == ReadFlags::MODIFY
    }
}

/// Why a directory is not watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// `fs.inotify.max_user_watches` is reached.
    Full,
    /// No (longer a) directory, or no right to read it, or the system could not for now.
    Other(Errno),
}

impl Refused {
    /// Whether it may be otherwise in a moment, and nobody tells of that.
    pub fn is_passing(self) -> bool {
        match self {
            Self::Full => true,
            Self::Other(errno) => !matches!(
                errno,
                Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS | Errno::NAMETOOLONG
            ),
        }
    }
}

impl Inotify {
    pub fn new() -> io::Result<Self> {
        let fd = rustix::fs::inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let buffer = vec![MaybeUninit::uninit(); 64 * 1024].into_boxed_slice();
        Ok(Self { fd, buffer })
    }

    /// Watches a directory; the same directory under another path has the same [`Wd`].
    pub fn add(&mut self, path: &Path, follow: bool) -> Result<Wd, Refused> {
        let mut flags = WatchFlags::ATTRIB
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MODIFY
            | WatchFlags::MOVE
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR
            | WatchFlags::EXCL_UNLINK;
        if !follow {
            flags |= WatchFlags::DONT_FOLLOW;
        }
        match rustix::fs::inotify::add_watch(&self.fd, path, flags) {
            Ok(wd) => Ok(wd),
            Err(Errno::NOSPC) => Err(Refused::Full),
            Err(errno) => Err(Refused::Other(errno)),
        }
    }

    pub fn remove(&mut self, wd: Wd) {
        // The kernel forgets a directory that vanished by itself, possibly before we do.
        let _ = rustix::fs::inotify::remove_watch(&self.fd, wd);
    }

    /// Takes in what has happened so far, as much as one read gives; does not wait.
    pub fn read(&mut self, into: &mut VecDeque<Event>) -> io::Result<()> {
        let mut reader = Reader::new(self.fd.as_fd(), &mut self.buffer);
        loop {
            match reader.next() {
                Ok(event) => into.push_back(Event {
                    wd: event.wd(),
                    flags: event.events(),
                    name: event.file_name().map(|name| name.to_bytes().into()),
                }),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            if reader.is_buffer_empty() {
                return Ok(());
            }
        }
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
