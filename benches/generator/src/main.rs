//! `packages` writes a set of packages, `uploads` sends some to a running daemon, `floor` is the least of a server.

mod floor;
mod uploads;

use std::fs::{self, File, FileTimes};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use clap::{Parser, Subcommand};
use createrepod_generator::{History, package};

#[derive(Parser)]
#[command(about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write packages below OUT/tree/Packages, by first letter, dated as they were built; and the
    /// last of the history, which come after them, into OUT/extra.
    Packages {
        #[arg(long)]
        count: usize,
        #[arg(long, default_value_t = 0)]
        extra: usize,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[arg(long)]
        out: PathBuf,
    },
    /// Send packages by PUT, each one new, over connections side by side; a line for each on stdout.
    Uploads(uploads::Uploads),
    /// Take files by PUT, unchecked, and sync each: no server that syncs can do with less.
    Floor(floor::Floor),
}

fn main() -> io::Result<()> {
    match Cli::parse().command {
        Command::Packages { count, extra, seed, out } => {
            packages(&History::new(seed, count + extra), count, &out)
        }
        Command::Uploads(uploads) => uploads.run(),
        Command::Floor(floor) => floor.run(),
    }
}

fn packages(history: &History, count: usize, out: &Path) -> io::Result<()> {
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(item) = history.items.get(at) else { return Ok(()) };
                        let package = package(history, item);
                        let folder = if at < count {
                            out.join("tree/Packages").join(package.file_name[..1].to_lowercase())
                        } else {
                            out.join("extra")
                        };
                        write(&folder, &package.file_name, &package.bytes, item.arrived)?;
                    }
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a writer panicked")))
        })
    })
}

fn write(folder: &Path, name: &str, bytes: &[u8], time: u64) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let path = folder.join(name);
    fs::write(&path, bytes)?;
    File::options()
        .write(true)
        .open(&path)?
        .set_times(FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(time)))
}
