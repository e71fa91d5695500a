//! The daemon under test: the real binary, on a port of its own choosing.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use notify::{Event, EventKind, RecursiveMode, Watcher};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::http::{self, Response};
use super::{Metadata, PATIENCE, Tree, eventually, eventually_ok};

/// The program that the tests are about.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_createrepod"));
    // Nothing of the machine's own configuration takes part.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CREATEREPOD_") {
            command.env_remove(name);
        }
    }
    command
}

/// A running daemon. Dropped, it is killed; its log is shown when the test has failed.
pub struct Daemon {
    child: Child,
    address: SocketAddr,
    /// Of the repository that the short methods mean: `/rpm/`.
    url_path: String,
    /// How long what was superseded can be fetched at least.
    grace: Duration,
    files: TempDir,
}

impl Daemon {
    /// `createrepod serve TREE --listen 127.0.0.1:0`: no configuration.
    pub fn serve(tree: &Tree) -> Self {
        Self::start(
            &["serve".as_ref(), tree.root().as_ref(), "--listen".as_ref(), "127.0.0.1:0".as_ref()],
            "/rpm/",
        )
    }

    /// `createrepod serve --config FILE`; `url_path` is the URL of the repository that the short methods mean.
    pub fn serve_config(config: &Path, url_path: &str) -> Self {
        let daemon = Self::start(&["serve".as_ref(), "--config".as_ref(), config.as_ref()], url_path);
        daemon.with_grace_of(&fs::read_to_string(config).unwrap())
    }

    /// Knows the shortest `grace = "Ns"` of its configuration.
    fn with_grace_of(mut self, config: &str) -> Self {
        let graces = config.split("grace = \"").skip(1);
        let seconds = graces.filter_map(|rest| rest.split_once("s\"")?.0.parse().ok());
        // A second counts from its begin.
        let shortest = seconds.min().map(|seconds: u64| Duration::from_secs(seconds.saturating_sub(1)));
        self.grace = shortest.unwrap_or(self.grace);
        self
    }

    /// A configuration with one repository, `/rpm/`, writable by anyone, and further lines for `[server]` and for it.
    pub fn configured(tree: &Tree, server: &str, repository: &str) -> Self {
        Self::serve_config(&configuration(tree, server, repository), "/rpm/")
    }

    fn start(arguments: &[&std::ffi::OsStr], url_path: &str) -> Self {
        let mut command = program();
        command.args(arguments).stdin(Stdio::null());
        Self::start_as(command, url_path)
    }

    /// The same, where a repository is in trouble, so that the daemon does not become healthy.
    pub fn serve_config_unready(config: &Path, url_path: &str) -> Self {
        let mut command = program();
        command.args(["serve".as_ref(), "--config".as_ref(), config.as_os_str()]).stdin(Stdio::null());
        Self::spawn(command, url_path, |status| status == 200 || status == 503)
    }

    /// However it is started: it must print its address, as the program itself does.
    pub fn start_as(command: Command, url_path: &str) -> Self {
        Self::spawn(command, url_path, |status| status == 200)
    }

    /// Likewise; `Err` when it was killed (it has a crash point) before it was healthy.
    pub fn try_start_as(command: Command, url_path: &str) -> Result<Self, ExitStatus> {
        Self::try_spawn(command, url_path, |status| status == 200)
    }

    fn spawn(command: Command, url_path: &str, ready: impl Fn(u16) -> bool) -> Self {
        Self::try_spawn(command, url_path, ready)
            .unwrap_or_else(|status| panic!("createrepod ended: {status}"))
    }

    fn try_spawn(
        mut command: Command,
        url_path: &str,
        ready: impl Fn(u16) -> bool,
    ) -> Result<Self, ExitStatus> {
        let files = TempDir::new().unwrap();
        let mut child = command
            .stdout(File::create(files.path().join("stdout")).unwrap())
            .stderr(File::create(files.path().join("stderr")).unwrap())
            .spawn()
            .expect("createrepod starts");
        let ready = wait_until_ready(&mut child, files.path(), ready);
        let address = match ready {
            Ok(address) => address,
            Err(why) => {
                let ended = child.try_wait().unwrap();
                let _ = child.kill();
                let _ = child.wait();
                if let Some(status) = ended.filter(|status| status.signal() == Some(9)) {
                    return Err(status);
                }
                panic!("createrepod did not become ready: {why}\n{}", read_log(files.path()))
            }
        };
        Ok(Self { child, address, url_path: url_path.to_owned(), grace: Duration::MAX, files })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `http://127.0.0.1:PORT/rpm/`
    pub fn url(&self) -> String {
        format!("http://{}{}", self.address, self.url_path)
    }

    /// The URL's path of a location, percent-encoded.
    pub fn at(&self, location: &str) -> String {
        self.url_path.clone() + &http::encode(location)
    }

    pub fn get(&self, location: &str) -> Response {
        self.request("GET", location, &[], None)
    }

    pub fn put(&self, location: &str, body: &[u8]) -> Response {
        self.request("PUT", location, &[], Some(body))
    }

    /// PUT with `Prefer: wait`: answered when the package is visible.
    pub fn put_and_wait(&self, location: &str, body: &[u8]) -> Response {
        self.request("PUT", location, &[("Prefer", "wait=60")], Some(body))
    }

    pub fn request(
        &self,
        method: &str,
        location: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Response {
        http::send(self.address, method, &self.at(location), headers, body)
    }

    /// What is published now, with everything checked. A look that took longer than the grace was promised nothing: it is
    /// taken again.
    pub fn metadata(&self) -> Metadata {
        eventually_ok(PATIENCE, "the metadata", || {
            let begun = Instant::now();
            match Metadata::fetch(self.address, &self.url_path) {
                Err(why) if begun.elapsed() < self.grace => panic!("{why}"),
                looked => looked,
            }
        })
    }

    /// Waits for metadata that the test is content with.
    pub fn until(&self, what: &str, content: impl FnMut(&Metadata) -> bool) -> Metadata {
        self.until_within(PATIENCE, what, content)
    }

    pub fn until_within(
        &self,
        limit: Duration,
        what: &str,
        mut content: impl FnMut(&Metadata) -> bool,
    ) -> Metadata {
        let start = Instant::now();
        let mut last: Option<Metadata> = None;
        loop {
            let repomd = self.get("repodata/repomd.xml");
            let news = last.as_ref().is_none_or(|last| last.repomd != repomd.body);
            if repomd.status == 200 && news {
                let metadata = self.metadata();
                if content(&metadata) {
                    return metadata;
                }
                last = Some(metadata);
            }
            if start.elapsed() > limit {
                let published = last.map_or("nothing is".into(), |metadata| shorten(metadata.hrefs()));
                panic!("{what}: not within {limit:?}; published: {published}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until exactly these are published.
    pub fn until_exactly(&self, hrefs: &[&str]) -> Metadata {
        let mut hrefs = hrefs.to_vec();
        hrefs.sort_unstable();
        self.until(&format!("exactly {hrefs:?} published"), |metadata| metadata.hrefs() == hrefs)
    }

    /// `/-/status`
    pub fn status(&self) -> serde_json::Value {
        let response = http::send(self.address, "GET", "/-/status", &[("Accept", "application/json")], None);
        assert_eq!(response.status, 200, "/-/status: {}", response.text());
        serde_json::from_slice(&response.body).expect("/-/status is JSON")
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGTERM; the daemon must end by itself and be content.
    pub fn stop(self) {
        self.signal(Signal::TERM);
        self.stop_after_signal();
    }

    /// Waits for the end of a daemon that was told to stop.
    pub fn stop_after_signal(mut self) {
        let status =
            eventually(PATIENCE, "the daemon stops after SIGTERM", || self.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "the daemon stopped by SIGTERM says {status}\n{}", self.log());
    }

    /// SIGKILL: what a power cut leaves of a process.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "the daemon had ended before: {status}\n{}", self.log());
    }

    /// SIGKILL, unless a crash point came first.
    pub fn kill_or_dead(mut self) {
        let _ = self.child.kill();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "the daemon had ended before: {status}\n{}", self.log());
    }

    /// Whether the process is there and no zombie.
    pub fn still_runs(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Standard output, then the log.
    pub fn log(&self) -> String {
        read_log(self.files.path())
    }

    pub fn stdout(&self) -> String {
        fs::read_to_string(self.files.path().join("stdout")).unwrap()
    }

    /// Resident memory now, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Bytes it has read from files so far (what it receives from sockets does not count).
    pub fn bytes_read(&self) -> u64 {
        let io = fs::read_to_string(format!("/proc/{}/io", self.pid())).unwrap();
        let line = io.lines().find_map(|line| line.strip_prefix("rchar:")).expect("rchar");
        line.trim().parse().unwrap()
    }

    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Whether it holds bytes of an upload that has not come to its end, under a name or under none.
    pub fn stages_in(&self, tree: &Tree) -> bool {
        let is_staged = |file: PathBuf| {
            let place = file.strip_prefix(tree.root()).ok().map(Path::to_owned);
            place.is_some_and(|place| {
                place.starts_with(".createrepod/incoming") || place.to_string_lossy().ends_with("(deleted)")
            })
        };
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().flatten();
        open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(is_staged)
    }

    pub fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap().count()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let from = lines.len().saturating_sub(150);
            eprintln!(
                "---- the daemon's output (last {} lines) ----\n{}",
                lines.len() - from,
                lines[from..].join("\n")
            );
        }
    }
}

/// Runs the program to its end.
pub fn run<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(arguments: I) -> Outcome {
    let output = program().args(arguments).stdin(Stdio::null()).output().expect("createrepod starts");
    Outcome {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs the program, which must refuse and end by itself.
pub fn run_refused<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(arguments: I) -> Outcome {
    let mut child = program()
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("createrepod starts");
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > PATIENCE {
            let _ = child.kill();
            let output = child.wait_with_output().unwrap();
            panic!("the daemon was not refused:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    Outcome {
        status: output.status,
        stdout: String::new(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Counts how often `repomd.xml` was switched, by watching the directory from outside.
pub struct Publications {
    count: Arc<AtomicU64>,
    /// A directory that is watched, too: when what was done there is heard of, so is all that was done before.
    marks: TempDir,
    marked: AtomicU64,
    heard: Arc<AtomicU64>,
    _watcher: notify::RecommendedWatcher,
}

impl Publications {
    /// `repodata/` must be there.
    pub fn count_in(tree: &Tree) -> Self {
        let [count, heard] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
        let (counter, hears) = (Arc::clone(&count), Arc::clone(&heard));
        let marks = TempDir::new().unwrap();
        let at = marks.path().to_owned();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let event = event.expect("the watch on repodata/ works");
            assert!(!event.need_rescan(), "too many events in repodata/ to count");
            let mark = event.paths.last().and_then(|path| path.strip_prefix(&at).ok()?.to_str()?.parse().ok());
            if let Some(mark) = mark {
                hears.store(mark, Ordering::SeqCst);
            }
            let named = event.paths.last().is_some_and(|path| path.ends_with("repomd.xml"));
            if named && matches!(event.kind, EventKind::Modify(notify::event::ModifyKind::Name(to)) if to == notify::event::RenameMode::To)
            {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        })
        .unwrap();
        watcher.watch(&tree.path("repodata"), RecursiveMode::NonRecursive).unwrap();
        watcher.watch(marks.path(), RecursiveMode::NonRecursive).unwrap();
        Self { count, marks, marked: AtomicU64::new(0), heard, _watcher: watcher }
    }

    /// All that were made before the call.
    pub fn so_far(&self) -> u64 {
        let mark = 1 + self.marked.fetch_add(1, Ordering::SeqCst);
        File::create(self.marks.path().join(mark.to_string())).unwrap();
        eventually(PATIENCE, "the watch on repodata/ keeps up", || {
            (self.heard.load(Ordering::SeqCst) >= mark).then_some(())
        });
        self.count.load(Ordering::SeqCst)
    }
}

/// The address that the daemon printed, once `/-/health` answers 200.
fn wait_until_ready(
    child: &mut Child,
    files: &Path,
    ready: impl Fn(u16) -> bool,
) -> Result<SocketAddr, String> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Err(format!("it ended with {status}"));
        }
        if let Some(address) = printed_address(files) {
            let health = http::try_send(address, "GET", "/-/health", &[], None);
            if health.is_ok_and(|response| ready(response.status)) {
                return Ok(address);
            }
        }
        if start.elapsed() > 2 * PATIENCE {
            return Err("no URL was printed, or /-/health does not answer 200".into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The first address in the output: zero configuration prints it, a configured daemon logs it.
fn printed_address(files: &Path) -> Option<SocketAddr> {
    ["stdout", "stderr"].iter().find_map(|name| {
        let text = fs::read_to_string(files.join(name)).ok()?;
        let complete = &text[..=text.rfind('\n')?];
        complete.split("http://").skip(1).find_map(|rest| rest[..rest.find(['/', '\n', ' '])?].parse().ok())
    })
}

fn read_log(files: &Path) -> String {
    let part = |name: &str| fs::read(files.join(name)).unwrap_or_default();
    let (stdout, stderr): (Vec<u8>, Vec<u8>) = (part("stdout"), part("stderr"));
    format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
}

fn shorten(hrefs: Vec<&str>) -> String {
    if hrefs.len() <= 40 { format!("{hrefs:?}") } else { format!("{} packages", hrefs.len()) }
}

/// The configuration of [`Daemon::configured`], with its state beside the tree.
pub fn configuration(tree: &Tree, server: &str, repository: &str) -> PathBuf {
    let (state, path) = (tree.beside("state"), tree.root());
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n{server}\n[state]\ndir = \"{}\"\n\n\
         [repository.rpm]\npath = \"{}\"\nwrite = \"anyone\"\n{repository}\n",
        state.display(),
        path.display(),
    );
    write_config(tree, &text)
}

/// Keeps the path of a configuration file together with what it says. In one step: a daemon that runs never reads half of it.
pub fn write_config(tree: &Tree, text: &str) -> PathBuf {
    let (new, path) =
        (tree.write_beside("createrepod.toml.new", text.as_bytes()), tree.beside("createrepod.toml"));
    fs::rename(new, &path).unwrap();
    path
}

/// What cannot be read for now, in what `/-/status` says of its first repository: path and reason.
pub fn unread(status: &serde_json::Value) -> Vec<(String, String)> {
    let places = status["repositories"][0]["unread"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |place: &serde_json::Value, key: &str| place[key].as_str().unwrap_or_default().to_owned();
    places.iter().map(|place| (text(place, "path"), text(place, "reason"))).collect()
}

/// The rejected files in what `/-/status` says: name and reason, wherever they stand in it.
pub fn rejected(status: &serde_json::Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect_rejected(status, &mut found);
    found
}

fn collect_rejected(value: &serde_json::Value, found: &mut Vec<(String, String)>) {
    match value {
        serde_json::Value::Array(list) => list.iter().for_each(|value| collect_rejected(value, found)),
        serde_json::Value::Object(map) => {
            for (name, value) in map {
                if let (true, Some(list)) = (name == "rejected", value.as_array()) {
                    found.extend(list.iter().map(|entry| {
                        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
                        (text("location"), text("reason"))
                    }));
                } else {
                    collect_rejected(value, found);
                }
            }
        }
        _ => {}
    }
}
