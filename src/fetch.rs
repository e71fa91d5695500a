//! Gets files from web servers, for commands that were given a URL, and sends notices to them: http and https.

mod post;
pub mod roots;

use std::convert::Infallible;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body, Bytes};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{HOST, LOCATION, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

pub use post::post;

const AGENT: &str = concat!("createrepod/", env!("CARGO_PKG_VERSION"));
const REDIRECTIONS: usize = 10;
const CONNECT: Duration = Duration::from_secs(30);
/// Between two things that the server says.
const SILENCE: Duration = Duration::from_secs(120);

/// Why a file did not come.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("{url} is no http:// or https:// URL")]
    Url { url: String },
    #[error("cannot reach {host}")]
    Connect { host: String, source: io::Error },
    #[error("cannot fetch {url}: {why}")]
    Exchange { url: String, why: String },
    #[error("cannot fetch {url}: the server answers {status}")]
    Status { url: String, status: StatusCode },
    #[error("cannot fetch {url}: it is longer than {limit} bytes")]
    TooLong { url: String, limit: u64 },
    #[error("cannot keep what comes from {url}")]
    Write { url: String, source: io::Error },
}

/// Writes what is at `url` to `sink`: at most `limit` bytes. Blocking.
pub fn get(url: &str, limit: u64, sink: &mut dyn Write) -> Result<(), FetchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let cannot = |source| FetchError::Connect { host: url.to_owned(), source };
    runtime.map_err(cannot)?.block_on(follow(url, limit, sink))
}

async fn follow(url: &str, limit: u64, sink: &mut dyn Write) -> Result<(), FetchError> {
    let mut at = Target::parse(url)?;
    for _ in 0..REDIRECTIONS {
        match at.ask(limit, sink).await? {
            None => return Ok(()),
            Some(next) => at = next,
        }
    }
    Err(FetchError::Exchange { url: url.to_owned(), why: format!("more than {REDIRECTIONS} redirections") })
}

/// A connection on which a request can be sent; closed when it is dropped.
struct Connection<B> {
    sender: SendRequest<B>,
    _driven: JoinSet<hyper::Result<()>>,
}

impl<B: Body<Data = Bytes, Error = Infallible> + Send + 'static> Connection<B> {
    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> io::Result<Self> {
        let spoken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = spoken.map_err(io::Error::other)?;
        let mut driven = JoinSet::new();
        driven.spawn(connection);
        Ok(Self { sender, _driven: driven })
    }
}

/// Where a file is.
struct Target {
    url: String,
    tls: bool,
    host: String,
    port: u16,
    /// Path and query.
    path: String,
}

impl Target {
    fn parse(url: &str) -> Result<Self, FetchError> {
        let bad = || FetchError::Url { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(bad()),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(bad)?.to_owned();
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { url: url.to_owned(), tls, host, port, path })
    }

    /// Opens a connection. `ca`: the certificate authorities believed for `https://`; `None`: this machine's.
    async fn connect<B>(&self, ca: Option<&Path>) -> Result<Connection<B>, FetchError>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let cannot = |source| FetchError::Connect { host: format!("{}:{}", self.host, self.port), source };
        // IPv6 addresses stand in brackets in a URL only.
        let host = self.host.trim_matches(['[', ']']);
        let late = || io::Error::new(io::ErrorKind::TimedOut, "it does not answer");
        let stream = timeout(CONNECT, TcpStream::connect((host, self.port))).await;
        let stream = stream.map_err(|_| late()).flatten().map_err(cannot)?;
        if !self.tls {
            return Connection::over(stream).await.map_err(cannot);
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|e| cannot(io::Error::other(e)))?;
        let ca = ca.map(Path::to_owned);
        let roots = tokio::task::spawn_blocking(move || roots::trusted(ca.as_deref())).await;
        let roots = roots.map_err(io::Error::other).flatten().map_err(cannot)?;
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let stream = timeout(CONNECT, TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
        Connection::over(stream.map_err(|_| late()).flatten().map_err(cannot)?).await.map_err(cannot)
    }

    /// What the `Host` field says.
    fn authority(&self) -> String {
        match self.port {
            80 if !self.tls => self.host.clone(),
            443 if self.tls => self.host.clone(),
            port => format!("{}:{port}", self.host),
        }
    }

    /// Asks for the file; says where it is instead, if it is elsewhere.
    async fn ask(&self, limit: u64, sink: &mut dyn Write) -> Result<Option<Self>, FetchError> {
        let failed = |why: String| FetchError::Exchange { url: self.url.clone(), why };
        let silent = || failed(format!("the server says nothing for {} seconds", SILENCE.as_secs()));
        let mut connection = self.connect(None).await?;
        let request = Request::get(&self.path)
            .header(HOST, self.authority())
            .header(USER_AGENT, AGENT)
            .body(Empty::<Bytes>::new())
            .map_err(|error| failed(error.to_string()))?;
        let answer = timeout(SILENCE, connection.sender.send_request(request)).await.map_err(|_| silent())?;
        let mut answer = answer.map_err(|error| failed(error.to_string()))?;
        let status = answer.status();
        if status.is_redirection() {
            let there = answer.headers().get(LOCATION).and_then(|there| there.to_str().ok());
            let there = there.ok_or(FetchError::Status { url: self.url.clone(), status })?;
            return self.resolve(there).map(Some);
        }
        if status != StatusCode::OK {
            return Err(FetchError::Status { url: self.url.clone(), status });
        }
        let mut taken = 0;
        while let Some(frame) = timeout(SILENCE, answer.frame()).await.map_err(|_| silent())? {
            let frame = frame.map_err(|error| failed(error.to_string()))?;
            let Some(bytes) = frame.data_ref() else { continue };
            taken += bytes.len() as u64;
            if taken > limit {
                return Err(FetchError::TooLong { url: self.url.clone(), limit });
            }
            sink.write_all(bytes).map_err(|source| FetchError::Write { url: self.url.clone(), source })?;
        }
        Ok(None)
    }

    /// Where a redirection leads, which may leave out what stays.
    fn resolve(&self, there: &str) -> Result<Self, FetchError> {
        let scheme = if self.tls { "https" } else { "http" };
        let authority = format!("{scheme}://{}:{}", self.host, self.port);
        if there.contains("://") {
            Self::parse(there)
        } else if let Some(rest) = there.strip_prefix("//") {
            Self::parse(&format!("{scheme}://{rest}"))
        } else if there.starts_with('/') {
            Self::parse(&format!("{authority}{there}"))
        } else {
            let path = self.path.split('?').next().unwrap_or_default();
            let above = path.rsplit_once('/').map_or("", |(above, _)| above);
            Self::parse(&format!("{authority}{above}/{there}"))
        }
    }
}

#[cfg(test)]
mod tests;
