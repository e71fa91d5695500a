//! The least a server does that takes files by PUT and syncs them before it answers: what is measured beside it cannot be
//! faster and keep that promise on the same disk.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use clap::Args;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

#[derive(Args)]
pub struct Floor {
    /// HOST:PORT
    #[arg(long)]
    listen: String,
    /// The directory that holds what is put; its folders must be there.
    #[arg(long)]
    tree: PathBuf,
}

impl Floor {
    /// Serves until it is killed, with a thread for each connection.
    pub fn run(&self) -> io::Result<()> {
        for connection in TcpListener::bind(&self.listen)?.incoming() {
            let (connection, tree) = (connection?, self.tree.clone());
            std::thread::spawn(move || {
                if let Err(error) = serve(connection, &tree) {
                    eprintln!("a connection ended: {error}");
                }
            });
        }
        Ok(())
    }
}

fn serve(connection: TcpStream, tree: &Path) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut connection = BufReader::with_capacity(64 << 10, connection);
    let mut body = Vec::new();
    loop {
        let (mut line, mut length) = (String::new(), 0);
        if connection.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        while line != "\r\n" {
            line.clear();
            if connection.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        // Whoever asks for anything else wants to know whether we are there.
        if method != "PUT" {
            return connection.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
        body.resize(length, 0);
        connection.read_exact(&mut body)?;
        put(&tree.join(path.trim_start_matches('/')), &body)?;
        connection.get_mut().write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")?;
    }
}

/// A file without a name, written, named, synced once: on ext4 and XFS that makes the name survive, too.
fn put(path: &Path, body: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(folder, flags, Mode::from_raw_mode(0o644))?);
    file.write_all(body)?;
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(CWD, unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
    file.sync_all()
}
