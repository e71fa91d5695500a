//! Asks the running daemon, through its control socket.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

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
    let failed = |why: String| {
        Failure::new(Exit::Failed, format!("cannot ask the daemon at {}: {why}", socket.display()))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(error.to_string()))?;
    runtime.block_on(async {
        let stream = match UnixStream::connect(socket).await {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(Failure::new(
                    Exit::Refused,
                    format!(
                        "you may not ask the daemon at {}: do it as root, or as a member of the group createrepod",
                        socket.display()
                    ),
                ));
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        let answer = tokio::time::timeout(limit, exchange(stream, method, path, headers)).await;
        match answer {
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("no answer within {} s", limit.as_secs()))),
        }
    })
}

async fn exchange(
    stream: UnixStream,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> anyhow::Result<Answer> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let talking = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes().to_vec();
    talking.abort();
    Ok(Answer { status, body })
}

/// The control socket of a daemon that was started with `directory`, and no configuration.
pub fn socket_of(directory: &Path) -> PathBuf {
    directory.join(".createrepod/control.sock")
}

/// A percent-encoded name in a path of the API.
pub fn repository_path(name: &str, what: &str) -> String {
    format!("/-/api/v1/repositories/{}/{what}", crate::serve::encode_part(name))
}
