//! Lets a command sign: gpg with its agent, or whatever talks to a hardware module.

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::SignError;
use crate::package::openpgp::detached::MOST_BYTES;

/// Bytes kept of what it says on standard error.
const COMPLAINT: u64 = 2048;

/// Gives `bytes` to the command's standard input and returns what it writes. It is ended, with all it
/// has started, when `limit` has passed.
pub fn run(command: &[String], bytes: &[u8], limit: Duration) -> Result<Vec<u8>, SignError> {
    let name = name(command);
    let start = |source| SignError::Start { command: name.clone(), source };
    let (program, arguments) = command.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own, so that what it has started can be ended with it.
        .process_group(0)
        .spawn()
        .map_err(start)?;
    let (Some(mut stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(start(std::io::ErrorKind::BrokenPipe.into()));
    };
    let input = bytes.to_vec();
    // A command that does not read its input says itself what is wrong.
    std::thread::spawn(move || drop(stdin.write_all(&input)));
    let collect = |mut stream: Box<dyn std::io::Read + Send>, most: u64| {
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = stream.by_ref().take(most).read_to_end(&mut bytes);
            // What is too much is read and dropped: a full pipe would hold the command up.
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
            let _ = tell.send(read.map(|_| bytes).unwrap_or_default());
        });
        told
    };
    let output = collect(Box::new(stdout), MOST_BYTES as u64);
    let complaint = collect(Box::new(stderr), COMPLAINT);
    let until = Instant::now() + limit;
    let left = || until.saturating_duration_since(Instant::now());
    // Both ends closed means that it, and whatever it has started, has ended or will say no more.
    let output = output.recv_timeout(left());
    let status = output.is_ok().then(|| wait(&mut child, until)).flatten();
    let (Ok(output), Some(status)) = (output, status) else {
        end(&mut child);
        return Err(SignError::TooSlow { command: name, limit });
    };
    if status.success() {
        return Ok(output);
    }
    let said = complaint.recv_timeout(left()).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let said: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let said = if said.is_empty() { String::new() } else { format!(": {}", said.join("; ")) };
    Err(SignError::Status { command: name, status: status.to_string(), said })
}

/// The program's name: arguments may be nobody's business.
pub fn name(command: &[String]) -> String {
    command.first().cloned().unwrap_or_default()
}

fn wait(child: &mut Child, until: Instant) -> Option<std::process::ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
            _ => return None,
        }
    }
}

fn end(child: &mut Child) {
    let group = rustix::process::Pid::from_child(child);
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    let _ = child.wait();
}
