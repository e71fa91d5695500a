//! Asks an HTTP service who may do what, and remembers its answers.
//!
//! The question is a GET with the client's own `Authorization` header, as nginx's `auth_request` and
//! Traefik's forward-auth ask; what it is about stands in headers of its own (docs/operations.md). 2xx
//! is yes, 401 is "who is that?", 403 is no; anything else, and silence, is no answer.

mod lifetime;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tracing::warn;

use super::Trusted;
use super::few_lines::FewLines;
use super::remembered::{Digest, Keyed, Remembered};
use crate::config::access::{AskAbout, AuthorizerConfig, WhenDown};
use lifetime::Lifetime;

/// An authorizer that answers now and then says so with every other request.
static NO_ANSWER: FewLines = FewLines::new();

/// Answers that are remembered of all authorizers together. Each is a name of at most [`NAME`] bytes and its key.
const MOST: usize = 10_000;
/// Bytes that are kept of a name in an answer.
const NAME: usize = 100;
/// How long an answer may stand in for one that cannot be had, unless it says otherwise itself.
const STAND_IN: Duration = Duration::from_secs(24 * 3600);
/// A refusal is asked about again this soon: it may just have been mended.
const REFUSAL: Duration = Duration::from_secs(10);
/// Questions at a time; further ones wait.
const AT_ONCE: usize = 64;

/// One service, with what it said.
pub struct Authorizer {
    config: AuthorizerConfig,
    target: Target,
    answers: Remembered<(Answer, Lifetime)>,
    /// Questions under way: who has the same waits for the answer.
    asking: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    turns: Semaphore,
    trusted: Trusted,
    /// Made when it is first needed, and again after a handshake that failed: the authorities may have changed.
    tls: Mutex<Option<Arc<ClientConfig>>>,
    /// Whether it did not answer last time, so that it is said once.
    down: Mutex<bool>,
}

/// Where it is, taken apart.
enum Target {
    Tcp { tls: bool, host: String, port: u16, path: String },
    Unix { socket: String, path: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// With the name it gave, if any.
    Yes(Option<String>),
    /// It does not know them: 401.
    WhoIsThat,
    No,
}

/// What is asked.
pub struct Question<'q> {
    /// As the client sent it.
    pub authorization: Option<&'q HeaderValue>,
    /// Subject and fingerprint of the client's certificate.
    pub certificate: Option<(&'q str, &'q str)>,
    pub method: &'q str,
    pub repository: &'q str,
    pub permission: &'q str,
    /// Percent-encoded, without empty parts.
    pub path: &'q str,
    pub client: &'q str,
}

impl Authorizer {
    /// One of `count`.
    pub fn new(config: &AuthorizerConfig, count: usize, trusted: Trusted) -> Self {
        Self {
            target: target(&config.url),
            answers: Remembered::new((MOST / count.max(1)).max(1), STAND_IN.max(config.remember)),
            asking: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
            trusted,
            tls: Mutex::default(),
            down: Mutex::new(false),
            config: config.clone(),
        }
    }

    pub fn config(&self) -> &AuthorizerConfig {
        &self.config
    }

    /// Whether its last question was left without an answer.
    pub fn gave_no_answer(&self) -> bool {
        *self.down.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer remembered, without asking.
    pub fn remembered(&self, keyed: &Keyed, question: &Question<'_>) -> Option<Answer> {
        self.fresh(&self.key(keyed, question))
    }

    /// Its answer, remembered or asked for; `None` when it gives none.
    pub async fn ask(&self, keyed: &Keyed, question: &Question<'_>) -> Option<Answer> {
        let key = self.key(keyed, question);
        if let Some(answer) = self.fresh(&key) {
            return Some(answer);
        }
        let asking = {
            let mut all = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, asking| Arc::strong_count(asking) > 1);
            Arc::clone(all.entry(key).or_default())
        };
        // If whoever asks goes away, the next one in this queue asks.
        let _mine = asking.lock().await;
        if let Some(answer) = self.fresh(&key) {
            return Some(answer);
        }
        match tokio::time::timeout(self.config.timeout, self.put(question)).await {
            Ok(Ok((answer, lifetime))) => {
                self.is_down(None);
                self.answers.insert(key, (answer.clone(), lifetime), Instant::now());
                Some(answer)
            }
            Ok(Err(why)) => self.stand_in(&key, &why.to_string()),
            Err(_) => {
                let why = format!("no answer within {}", humantime::format_duration(self.config.timeout));
                self.stand_in(&key, &why)
            }
        }
    }

    /// Of everything that is asked: an answer counts for no other question. Secrets are in it only as a keyed hash.
    fn key(&self, keyed: &Keyed, question: &Question<'_>) -> Digest {
        let headers = self.headers(question);
        let parts: Vec<&[u8]> =
            headers.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]).collect();
        keyed.digest(&parts)
    }

    fn fresh(&self, key: &Digest) -> Option<Answer> {
        let (age, (answer, lifetime)) = self.answers.find(key, Instant::now())?;
        let counts = match answer {
            Answer::Yes(_) => self.config.remember,
            Answer::WhoIsThat | Answer::No => self.config.remember.min(REFUSAL),
        };
        (age < counts.min(lifetime.fresh)).then_some(answer)
    }

    fn stand_in(&self, key: &Digest, why: &str) -> Option<Answer> {
        self.is_down(Some(why));
        match self.config.when_down {
            WhenDown::Deny => None,
            WhenDown::Remembered => {
                let (age, (answer, lifetime)) = self.answers.find(key, Instant::now())?;
                (age < lifetime.stands_in).then_some(answer)
            }
        }
    }

    fn is_down(&self, why: Option<&str>) {
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        if let (false, Some(why)) = (*down, why) {
            let name = &self.config.name;
            if let Some(left_out) = NO_ANSWER.one() {
                warn!(authorizer = %name, "the authorizer {name} gives no answer: {why}{left_out}");
            }
        }
        *down = why.is_some();
    }

    async fn put(&self, question: &Question<'_>) -> anyhow::Result<(Answer, Lifetime)> {
        let _turn = self.turns.acquire().await?;
        match &self.target {
            Target::Tcp { tls, host, port, path } => {
                let bare = host.trim_matches(['[', ']']);
                let stream = TcpStream::connect((bare, *port)).await?;
                let is_usual = *port == usual_port(*tls);
                let authority = if is_usual { host.clone() } else { format!("{host}:{port}") };
                match tls {
                    true => self.exchange(self.secure(stream, bare).await?, &authority, path, question).await,
                    false => self.exchange(stream, &authority, path, question).await,
                }
            }
            Target::Unix { socket, path } => {
                self.exchange(UnixStream::connect(socket).await?, "localhost", path, question).await
            }
        }
    }

    /// Speaks TLS with `host`, if its certificate is by an authority that is believed.
    async fn secure(&self, stream: TcpStream, host: &str) -> anyhow::Result<TlsStream<TcpStream>> {
        let known = self.tls.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let config = match known {
            Some(config) => config,
            None => {
                let (trusted, file) = (self.trusted, self.config.ca.clone());
                let roots = tokio::task::spawn_blocking(move || trusted(file.as_deref())).await??;
                Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
            }
        };
        let name = ServerName::try_from(host.to_owned())?;
        let secured = TlsConnector::from(Arc::clone(&config)).connect(name, stream).await;
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = secured.is_ok().then_some(config);
        Ok(secured?)
    }

    async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
        authority: &str,
        path: &str,
        question: &Question<'_>,
    ) -> anyhow::Result<(Answer, Lifetime)> {
        let mut request = Request::get(path).header(HOST, authority);
        request = request.header(USER_AGENT, concat!("createrepod/", env!("CARGO_PKG_VERSION")));
        for (name, value) in self.headers(question) {
            request = request.header(name, value);
        }
        let request = request.body(Empty::<Bytes>::new())?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the sender; aborted when nobody waits for the answer any more.
        let mut driving = tokio::task::JoinSet::new();
        driving.spawn(connection);
        let response = sender.send_request(request).await?;
        let text = |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
        let answer = match response.status() {
            status if status.is_success() => {
                let name = text(HeaderName::from_static("remote-user"));
                // Text in a header is ASCII.
                Answer::Yes(name.map(|name| name.chars().take(NAME).collect()))
            }
            StatusCode::UNAUTHORIZED => Answer::WhoIsThat,
            StatusCode::FORBIDDEN => Answer::No,
            status => anyhow::bail!("it answered {status}"),
        };
        let said = response.headers().get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
        Ok((answer, Lifetime::said(said)))
    }

    fn headers(&self, question: &Question<'_>) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::new();
        let mut add = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.push((HeaderName::from_static(name), value));
            }
        };
        add("createrepod-repository", question.repository);
        add("createrepod-permission", question.permission);
        add("x-forwarded-for", question.client);
        if let Some((subject, fingerprint)) = question.certificate {
            add("createrepod-certificate", subject);
            add("createrepod-certificate-sha256", fingerprint);
        }
        if self.config.ask == AskAbout::Path {
            add("x-original-method", question.method);
            add("x-original-uri", question.path);
        }
        if let Some(authorization) = question.authorization {
            headers.push((AUTHORIZATION, authorization.clone()));
        }
        headers
    }
}

/// The configuration has checked the form.
fn target(url: &str) -> Target {
    if let Some(rest) = url.strip_prefix("unix:") {
        let (socket, path) = rest.split_once(":/").unwrap_or((rest, ""));
        return Target::Unix { socket: socket.to_owned(), path: format!("/{path}") };
    }
    let (tls, rest) = match url.strip_prefix("https://") {
        Some(rest) => (true, rest),
        None => (false, url.strip_prefix("http://").unwrap_or(url)),
    };
    let usual = usual_port(tls);
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let port = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
    let (host, port) = match port {
        Some(at) => (&authority[..at], authority[at + 1..].parse().unwrap_or(usual)),
        None => (authority, usual),
    };
    Target::Tcp { tls, host: host.to_owned(), port, path }
}

fn usual_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

#[cfg(test)]
mod tests;
