//! A client that uploads over HTTP/1.1, with so little work of its own that it measures the server.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use createrepod_generator::upload;

#[derive(Args)]
pub struct Uploads {
    /// HOST:PORT
    #[arg(long)]
    host: String,
    /// The repository, with a slash at both ends.
    #[arg(long)]
    path: String,
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Stop after this many packages …
    #[arg(long, default_value_t = u64::MAX)]
    count: u64,
    /// … or after this many seconds.
    #[arg(long, default_value_t = 3600.0)]
    seconds: f64,
    /// Ask to be answered when the package is published.
    #[arg(long, conflicts_with = "poll")]
    wait: bool,
    /// After each, ask for repomd.xml until it is another one.
    #[arg(long)]
    poll: bool,
    /// Rest between two packages of one connection.
    #[arg(long, default_value_t = 0)]
    pause_ms: u64,
    /// Another set of names.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Uploads {
    /// Prints for each package the microseconds from its last byte to the answer (with `--poll`: to
    /// the first other repomd.xml), and at last how many seconds all took.
    pub fn run(&self) -> io::Result<()> {
        let next = AtomicU64::new(0);
        let start = Instant::now();
        let times: Vec<io::Result<Vec<u128>>> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..self.connections).map(|_| scope.spawn(|| self.one(&next, start))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("an uploader panicked"))))
                .collect()
        });
        let took = start.elapsed();
        let mut out = io::stdout().lock();
        for list in times {
            for time in list? {
                writeln!(out, "{time}")?;
            }
        }
        writeln!(out, "seconds {}", took.as_secs_f64())
    }

    fn one(&self, next: &AtomicU64, start: Instant) -> io::Result<Vec<u128>> {
        let socket = TcpStream::connect(&self.host)?;
        socket.set_nodelay(true)?;
        let mut connection = BufReader::new(socket);
        let mut times = Vec::new();
        let wait = if self.wait { "Prefer: wait=60\r\n" } else { "" };
        let mut known = if self.poll { self.repomd(&mut connection)? } else { Vec::new() };
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= self.count || start.elapsed().as_secs_f64() >= self.seconds {
                return Ok(times);
            }
            let package = upload(self.seed, number);
            let head = format!(
                "PUT {}uploads/{} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n{wait}\r\n",
                self.path,
                package.file_name,
                self.host,
                package.bytes.len()
            );
            connection.get_mut().write_all(&[head.as_bytes(), &package.bytes].concat())?;
            let sent = Instant::now();
            let (status, body) = answer(&mut connection)?;
            if status != 201 {
                return Err(io::Error::other(format!(
                    "{}: {status}: {}",
                    package.file_name,
                    String::from_utf8_lossy(&body)
                )));
            }
            if self.poll {
                loop {
                    let now = self.repomd(&mut connection)?;
                    if now != known {
                        known = now;
                        break;
                    }
                }
            }
            times.push(sent.elapsed().as_micros());
            if self.pause_ms > 0 {
                std::thread::sleep(Duration::from_millis(self.pause_ms));
            }
        }
    }

    fn repomd(&self, connection: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
        let head = format!("GET {}repodata/repomd.xml HTTP/1.1\r\nHost: {}\r\n\r\n", self.path, self.host);
        connection.get_mut().write_all(head.as_bytes())?;
        match answer(connection)? {
            (200, body) => Ok(body),
            (status, _) => Err(io::Error::other(format!("repomd.xml: {status}"))),
        }
    }
}

/// Status and body of an answer that says its length.
fn answer(connection: &mut BufReader<TcpStream>) -> io::Result<(u16, Vec<u8>)> {
    let mut line = String::new();
    connection.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status: u16 = status.ok_or_else(|| io::Error::other(format!("no HTTP answer: {line:?}")))?;
    let mut len = 0;
    loop {
        line.clear();
        connection.read_line(&mut line)?;
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        if let Some((name, value)) = text.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            len = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; len];
    connection.read_exact(&mut body)?;
    Ok((status, body))
}
