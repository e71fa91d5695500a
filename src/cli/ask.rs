//! Asks the running daemon, through its control socket.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use super::failure::{Exit, Failure};

/// What the daemon said.
pub struct Answer {
    pub status: StatusCode,
    pub body: Vec<u8>,
}

/// Asks at `socket`; `None` when no daemon listens there. `limit`: the longest it may take.
pub fn ask(
    socket: &Path,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    limit: Duration,
) -> Result<Option<Answer>, Failure> {
    runtime(socket)?.block_on(async {
        let Some(stream) = connect(socket).await? else { return Ok(None) };
        let whole = async {
            let answer = exchange(stream, method, path, headers).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes().to_vec();
            anyhow::Ok(Answer { status, body })
        };
        match tokio::time::timeout(limit, whole).await {
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(error)) => Err(failed(socket, &error.to_string())),
            Err(_) => Err(failed(socket, &format!("no answer within {} s", limit.as_secs()))),
        }
    })
}

/// Asks for what takes long and is told line by line: each is `heard` when it comes. `None` when no daemon listens there;
/// the answer's body is empty unless it is a refusal.
pub fn listen(
    socket: &Path,
    method: Method,
    path: &str,
    heard: &mut dyn FnMut(&str) -> Result<(), Failure>,
) -> Result<Option<Answer>, Failure> {
    let broken = |error: anyhow::Error| failed(socket, &error.to_string());
    runtime(socket)?.block_on(async {
        let Some(stream) = connect(socket).await? else { return Ok(None) };
        let answer = exchange(stream, method, path, &[]).await.map_err(broken)?;
        let status = answer.status();
        let mut body = answer.into_body();
        let mut pending = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broken(error.into()))?;
            pending.extend_from_slice(frame.data_ref().map_or(&[][..], Bytes::as_ref));
            while status.is_success()
                && let Some(end) = pending.iter().position(|byte| *byte == b'\n')
            {
                let line: Vec<u8> = pending.drain(..=end).collect();
                heard(&String::from_utf8_lossy(&line))?;
            }
        }
        Ok(Some(Answer { status, body: pending }))
    })
}

fn failed(socket: &Path, why: &str) -> Failure {
    Failure::new(Exit::Failed, format!("cannot ask the daemon at {}: {why}", socket.display()))
}

fn runtime(socket: &Path) -> Result<Runtime, Failure> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| failed(socket, &error.to_string()))
}

/// `None` when nobody listens there.
async fn connect(socket: &Path) -> Result<Option<UnixStream>, Failure> {
    match UnixStream::connect(socket).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(Failure::new(
            Exit::Refused,
            format!(
                "you may not ask the daemon at {}: do it as root, or as a member of the group createrepod",
                socket.display()
            ),
        )),
        Err(error) => Err(failed(socket, &error.to_string())),
    }
}

async fn exchange(
    stream: UnixStream,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> anyhow::Result<Response<Incoming>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Ok(sender.send_request(request.body(Empty::<Bytes>::new())?).await?)
}

/// The control socket of a daemon that was started with `directory`, and no configuration.
pub fn socket_of(directory: &Path) -> PathBuf {
    directory.join(".createrepod/control.sock")
}

/// A percent-encoded name in a path of the API.
pub fn repository_path(name: &str, what: &str) -> String {
    format!("/-/api/v1/repositories/{}/{what}", crate::serve::encode_part(name))
}
