//! A server in this process, a repository in a temporary directory, and a client that sends exactly
//! what a test says.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::auth::Guard;
use crate::config::{AccessConfig, RepositoryConfig, ServerConfig, WriteAccess};
use crate::repository::Handle;
use crate::serve::limits::Limits;
use crate::serve::{AccessLogger, Listener, Mount, Settings, Site, run};
use crate::tree::Dirty;

pub struct World {
    /// First, so that the tree outlives nobody who works in it.
    runtime: Runtime,
    running: Option<JoinHandle<()>>,
    stop: Option<oneshot::Sender<()>>,
    pub handle: Handle,
    pub site: Arc<Site>,
    pub settings: Arc<Settings>,
    pub address: SocketAddr,
    directory: tempfile::TempDir,
}

impl World {
    /// `/rpm/`, writable by anyone.
    pub fn new() -> Self {
        Self::with(|_, _, _| {})
    }

    /// The same with other settings.
    pub fn with(change: impl FnOnce(&mut RepositoryConfig, &mut ServerConfig, &mut Limits)) -> Self {
        Self::behind(Listener::Http, change)
    }

    /// The same behind another kind of door.
    pub fn behind(
        door: impl FnOnce(TcpListener) -> Listener,
        change: impl FnOnce(&mut RepositoryConfig, &mut ServerConfig, &mut Limits),
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("rpm");
        std::fs::create_dir(&tree).unwrap();
        let mut repository = RepositoryConfig {
            write: WriteAccess::Anyone,
            state_dir: directory.path().join("state"),
            ..RepositoryConfig::new("rpm", tree)
        };
        let mut server = ServerConfig::default();
        let mut limits = Limits::default();
        change(&mut repository, &mut server, &mut limits);
        let handle = Handle::open(repository.clone()).unwrap();
        let site = Arc::new(Site::default());
        site.replace(vec![Mount { config: Arc::new(repository), door: Ok(handle.clone()) }]);
        let guard = Arc::new(
            Guard::new(&AccessConfig::default(), None, |_| Err(io::ErrorKind::NotFound.into())).unwrap(),
        );
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let access_log = Arc::new(AccessLogger::open(&server.access_log).unwrap());
        let settings = Arc::new(Settings::within(server, access_log, limits));
        let serving = run(vec![door(listener)], settings.clone(), site.clone(), guard, async {
            let _ = stopped.await;
        });
        let running = Some(runtime.spawn(serving));
        Self { runtime, running, stop: Some(stop), handle, site, settings, address, directory }
    }

    /// Publishes for the first time.
    pub fn published(self) -> Self {
        let ticket = self.handle.submit(Dirty::everything());
        self.runtime.block_on(self.handle.wait(ticket, Duration::from_secs(60))).unwrap();
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("rpm").join(name)
    }

    pub fn outside(&self) -> &Path {
        self.directory.path()
    }

    /// What uploads have left in the daemon's own places; publication stages there as well.
    pub fn leftovers(&self) -> Vec<String> {
        let incoming = std::fs::read_dir(self.path(".createrepod/incoming"));
        let names = incoming.into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| !name.starts_with("metadata-")).collect()
    }

    pub fn signal_stop(&mut self) {
        self.stop.take();
    }

    /// Waits until the server has ended.
    pub fn ended(&mut self) {
        let running = self.running.take().unwrap();
        self.runtime.block_on(running).unwrap();
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request on a connection of its own.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut client = self.connect();
        client.send(method, path, headers, body);
        client.response(method)
    }

    pub fn get(&self, path: &str) -> Response {
        self.ask("GET", path, &[], b"")
    }

    pub fn put(&self, path: &str, body: &[u8]) -> Response {
        self.ask("PUT", path, &[], body)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
        self.handle.close();
    }
}

pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { reader: BufReader::new(stream) }
    }

    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Sends what it can; the server may have hung up, and its answer is what counts.
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if method == "PUT"
            && !headers.iter().any(|(name, _)| *name == "Transfer-Encoding" || *name == "Content-Length")
        {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        let sent = self.raw(format!("{head}\r\n").as_bytes()).and_then(|()| self.raw(body));
        drop(sent);
    }

    /// The next answer; `None` when the server hangs up instead.
    pub fn try_response(&mut self, method: &str) -> Option<Response> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        let status: u16 = line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = Vec::new();
        loop {
            line.clear();
            self.reader.read_line(&mut line).unwrap();
            match line.trim_end().split_once(": ") {
                Some((name, value)) => headers.push((name.to_lowercase(), value.to_owned())),
                None => break,
            }
        }
        let mut response = Response { status, headers, body: Vec::new() };
        let none = method == "HEAD" || matches!(status, 100..200 | 204 | 304);
        if let (false, Some(length)) = (none, response.header("content-length")) {
            response.body = vec![0; length.parse().unwrap()];
            self.reader.read_exact(&mut response.body).unwrap();
        }
        Some(response)
    }

    pub fn response(&mut self, method: &str) -> Response {
        self.try_response(method).expect("an answer")
    }

    /// Whether an answer, or the end, has come.
    pub fn has_something(&mut self) -> bool {
        let stream = self.reader.get_ref();
        stream.set_nonblocking(true).unwrap();
        let came = !matches!(stream.peek(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        stream.set_nonblocking(false).unwrap();
        came
    }

    /// How many bytes come until the connection ends, in order or not.
    pub fn rest(&mut self) -> usize {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("it does not end"),
            Ok(_) | Err(_) => rest.len(),
        }
    }

    /// Whether the server has closed the connection, in order and without anything more.
    pub fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).is_ok_and(|_| rest.is_empty())
    }
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// `name-1.0-1.noarch`, other bytes for another salt, and so many bytes of payload.
pub fn rpm(name: &str, salt: u64, payload: usize) -> Vec<u8> {
    use rpm::{BuildConfig, CompressionType, FileOptions, PackageBuilder};
    let config = BuildConfig::v4().source_date(1_600_000_000_u32).compression(CompressionType::None);
    let mut builder = PackageBuilder::new(name, "1.0", "MIT", "noarch", "A test package");
    let mut bytes = salt.to_le_bytes().to_vec();
    bytes.resize(bytes.len() + payload, 0x5a);
    builder
        .using_config(config)
        .release("1")
        .with_file_contents(bytes, FileOptions::new("/usr/share/x"))
        .unwrap();
    let mut written = Vec::new();
    builder.build().unwrap().write(&mut written).unwrap();
    written
}
