//! What systemd is told and what it hands over, with a notification socket of our own.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::world::daemon::program;
use crate::world::{Daemon, PATIENCE, Rpm, Tree, clients, http};

/// What a daemon says to the socket named in NOTIFY_SOCKET.
struct Ear {
    socket: UnixDatagram,
    /// Every assignment so far, in order: `READY=1`, `STATUS=…`.
    heard: Vec<String>,
}

impl Ear {
    fn open(tree: &Tree) -> Self {
        let socket = UnixDatagram::bind(tree.beside("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        Self { socket, heard: Vec::new() }
    }

    fn listen(&mut self) {
        let mut buffer = [0; 4096];
        match self.socket.recv(&mut buffer) {
            Ok(length) => {
                let text = std::str::from_utf8(&buffer[..length]).unwrap();
                self.heard.extend(text.lines().map(str::to_owned));
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until something is heard that was not heard before `after`; gives its place and the words.
    fn until(&mut self, after: usize, what: &str, fits: impl Fn(&str) -> bool) -> (usize, String) {
        let start = Instant::now();
        loop {
            if let Some(i) = (after..self.heard.len()).find(|&i| fits(&self.heard[i])) {
                return (i, self.heard[i].clone());
            }
            assert!(start.elapsed() < PATIENCE, "{what} was never said; heard: {:?}", self.heard);
            self.listen();
        }
    }
}

fn under_systemd(tree: &Tree, more: &[(&str, &str)]) -> Daemon {
    let mut command = program();
    command.arg("serve").arg(tree.root()).args(["--listen", "127.0.0.1:0"]).stdin(Stdio::null());
    command.env("NOTIFY_SOCKET", tree.beside("notify")).envs(more.iter().copied());
    Daemon::start_as(command, "/rpm/")
}

#[test]
fn systemd_hears_when_it_is_ready_what_it_serves_and_when_it_stops() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    std::fs::write(tree.path("broken.rpm"), b"no package").unwrap();
    let mut ear = Ear::open(&tree);
    let daemon = under_systemd(&tree, &[]);

    let (ready, _) = ear.until(0, "READY=1", |said| said == "READY=1");
    assert!(ear.heard[..ready].iter().all(|said| !said.starts_with("STATUS=Serving")), "{:?}", ear.heard);
    let (_, status) = ear.until(ready, "the packages", |said| said.contains("1 package;"));
    assert!(status.starts_with("STATUS=Serving 1 repository with 1 package; last publication "), "{status}");
    ear.until(ready, "the broken package", |said| said.ends_with("; 1 package rejected"));
    daemon.put_and_wait("b-1.0-1.noarch.rpm", &Rpm::new("b").build());
    ear.until(ready, "one package more", |said| said.contains("with 2 packages"));
    assert!(!ear.heard.iter().any(|said| said == "WATCHDOG=1"), "nobody asked for a watchdog");

    daemon.signal(Signal::TERM);
    let (stopping, _) = ear.until(ready, "STOPPING=1", |said| said == "STOPPING=1");
    daemon.stop_after_signal();
    ear.listen();
    let last = ear.heard[stopping..].iter().rfind(|said| said.starts_with("STATUS="));
    assert_eq!(last.unwrap(), "STATUS=Stopping: finishing what is in flight");
}

#[test]
fn the_watchdog_hears_of_a_living_daemon_and_nothing_of_a_halted_one() {
    let tree = Tree::new();
    let mut ear = Ear::open(&tree);
    let daemon = under_systemd(&tree, &[("WATCHDOG_USEC", "300000")]);
    let watchdog = |said: &str| said == "WATCHDOG=1";
    let (first, _) = ear.until(0, "the first sign of life", watchdog);
    let (second, _) = ear.until(first + 1, "the second one", watchdog);
    ear.until(second + 1, "the third one", watchdog);

    daemon.signal(Signal::STOP);
    let stopped = || {
        let state = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
        state.lines().any(|line| line.starts_with("State:\tT"))
    };
    while !stopped() {}
    // What it said before it was halted.
    loop {
        let before = ear.heard.len();
        ear.listen();
        if ear.heard.len() == before {
            break;
        }
    }
    let halted = ear.heard.len();
    for _ in 0..5 {
        ear.listen();
    }
    assert_eq!(ear.heard.len(), halted, "a halted daemon said {:?}", &ear.heard[halted..]);
    daemon.signal(Signal::CONT);
    ear.until(halted, "a sign of life after the halt", watchdog);
    daemon.stop();
}

#[test]
fn a_watchdog_meant_for_another_process_is_not_fed() {
    let tree = Tree::new();
    let mut ear = Ear::open(&tree);
    let daemon = under_systemd(&tree, &[("WATCHDOG_USEC", "100000"), ("WATCHDOG_PID", "1")]);
    ear.until(0, "the status", |said| said.starts_with("STATUS=Serving"));
    daemon.stop();
    ear.listen();
    assert!(!ear.heard.iter().any(|said| said == "WATCHDOG=1"), "{:?}", ear.heard);
}

/// The daemon with `socket` as its file descriptor 3, as systemd starts it.
fn handed(tree: &Tree, socket: &TcpListener) -> Daemon {
    let mut command = Command::new("/bin/sh");
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve \"$1\"";
    command.arg("-c").arg(script).arg(program().get_program()).arg(tree.root());
    command.stdin(Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
    Daemon::start_as(command, "/rpm/")
}

#[test]
fn nobody_is_refused_during_a_restart_when_systemd_holds_the_socket() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let daemon = handed(&tree, &socket);
    assert_eq!(daemon.address(), address);
    daemon.until_exactly(&["a-1.0-1.noarch.rpm"]);
    assert!(daemon.log().contains("listen = 127.0.0.1:8080 is not used"), "{}", daemon.log());
    daemon.stop();

    // Nobody is there now, and yet somebody can knock.
    let mut early = TcpStream::connect(address).expect("systemd holds the socket");
    early
        .write_all(b"GET /rpm/repodata/repomd.xml HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    early.set_read_timeout(Some(PATIENCE)).unwrap();
    let daemon = handed(&tree, &socket);
    let mut status = String::new();
    BufReader::new(early).read_line(&mut status).unwrap();
    assert_eq!(status.trim_end(), "HTTP/1.1 200 OK");
    daemon.stop();
}

#[test]
fn a_socket_that_is_no_tcp_listener_is_refused_with_what_was_expected() {
    let tree = Tree::new();
    let socket = UnixDatagram::bind(tree.beside("odd")).unwrap();
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve \"$1\"";
    let output = Command::new("/bin/sh")
        .args(["-c", script])
        .arg(program().get_program())
        .arg(tree.root())
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("ListenStream=ADDRESS:PORT"), "{log}");
}

#[test]
fn systemd_socket_activate_starts_it_with_the_first_request() {
    let Some(activate) = clients::find("systemd-socket-activate") else { return };
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    let port = http::Port::reserve();
    let address = port.address();
    let mut command = Command::new(activate);
    command.arg(format!("--listen={address}")).arg(program().get_program()).arg("serve").arg(tree.root());
    command.stdin(Stdio::null());
    let mut knocks = Command::new("/bin/sh");
    // The first request starts the program, which then prints the address that the test waits for.
    let script = format!("until curl -s -o /dev/null http://{address}/-/health; do sleep 0.1; done");
    let mut knocking = knocks.args(["-c", &script]).spawn().unwrap();
    let daemon = Daemon::start_as(command, "/rpm/");
    assert!(knocking.wait().unwrap().success());
    assert_eq!(daemon.address(), address);
    assert_eq!(http::send(address, "GET", "/-/health", &[], None).status, 200);
    daemon.until_exactly(&["a-1.0-1.noarch.rpm"]);
    daemon.stop();
}
