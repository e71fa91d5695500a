//! Sends a short text to a web server.

use std::path::Path;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use hyper::{Request, StatusCode};
use tokio::time::timeout;

use super::{AGENT, FetchError, Target};

/// For all of it: whoever is told something has no long work with it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends JSON to `url`: what was answered. Redirections are not followed. `ca`: the certificate authorities believed
/// for `https://`, and no others; `None`: this machine's.
pub async fn post(url: &str, body: String, ca: Option<&Path>) -> Result<StatusCode, FetchError> {
    // What is wrong is logged, and the URL may hold a secret.
    let target = Target::parse(url).map_err(|_| FetchError::Url { url: "what is given".to_owned() })?;
    let host = target.host.clone();
    let late =
        || FetchError::Exchange { url: host, why: format!("no answer within {} s", PATIENCE.as_secs()) };
    timeout(PATIENCE, send(&target, body, ca)).await.map_err(|_| late())?
}

async fn send(target: &Target, body: String, ca: Option<&Path>) -> Result<StatusCode, FetchError> {
    let failed =
        |why: &dyn std::fmt::Display| FetchError::Exchange { url: target.host.clone(), why: why.to_string() };
    let mut connection = target.connect(ca).await?;
    let request = Request::post(&target.path)
        .header(hyper::header::HOST, target.authority())
        .header(USER_AGENT, AGENT)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| failed(&error))?;
    let answer = connection.sender.send_request(request).await.map_err(|error| failed(&error))?;
    Ok(answer.status())
}
