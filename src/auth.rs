//! Who asks, and what they may do where.
//!
//! [`Guard::decide`] holds a request against a repository's rules. What it needs to know it finds out in
//! the order of cost: the rule, the credentials, what was found out before, and only then a file, a
//! slow hash or another service. A secret is compared in constant time and never printed or kept.

mod address;
mod authorizer;
mod certificate;
mod closed;
mod credentials;
mod failures;
mod few_lines;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod hash;
mod holder;
mod htpasswd;
mod identity;
mod limiter;
mod queue;
mod remembered;
mod rule;
pub mod secret;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use tokio::sync::Semaphore;
use tokio_rustls::rustls::RootCertStore;

use crate::config::{AccessConfig, ReadAccess, RepositoryConfig};
use crate::rights::{Grant, TokenStore};
pub use crate::rights::{Permission, Scopes};
use authorizer::{Answer, Authorizer, Question};
pub use certificate::{Certificate, not_after};
use closed::Hidden;
use credentials::Credentials;
use failures::Failures;
pub use few_lines::FewLines;
pub use holder::Holder;
use htpasswd::Htpasswd;
use identity::unnamed;
use limiter::Limiter;
use queue::Queue;
use remembered::{Keyed, Remembered};
use rule::{Identity, Rule, judge, rule};

/// How long a password that was right is not hashed again.
const PASSWORD: Duration = Duration::from_secs(60);
const PASSWORDS: usize = 10_000;
/// How often the last use of a token is written down.
const NOTED: u64 = 60;

/// Who makes a request, as far as it had to be known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Principal {
    /// Nobody asked: the repository is open for what was wanted.
    Anyone,
    /// Somebody on this machine, where nothing is configured.
    Local,
    /// The token of this name.
    Token(String),
    /// A user of the htpasswd file.
    User(String),
    /// The holder of the certificate with this name.
    Certificate(String),
    /// Whom an authorizer let in, under the name it gave or the client did.
    Authorized(String),
}

impl Principal {
    /// For the log, never a secret; `None` for those without a name. May hold what a stranger wrote.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Anyone | Self::Local => None,
            Self::Token(name) | Self::User(name) | Self::Certificate(name) | Self::Authorized(name) => {
                Some(name)
            }
        }
    }

    /// ` by NAME`, or nothing.
    pub fn in_a_sentence(&self) -> String {
        self.name().map(|_| format!(" by {self}")).unwrap_or_default()
    }
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anyone => f.write_str("somebody"),
            Self::Local => f.write_str("somebody on this machine"),
            Self::Token(name) => write!(f, "the token {name:?}"),
            Self::User(name) | Self::Authorized(name) => write!(f, "{name:?}"),
            Self::Certificate(name) => write!(f, "the certificate {name:?}"),
        }
    }
}

/// Why a request is turned away.
#[derive(Debug)]
pub enum Refusal {
    /// It does not say who makes it, or not truly.
    Unknown(String),
    /// It is known who makes it, and that is not enough.
    Forbidden(String),
    /// This address was wrong too often; it may try again after this time.
    TooMany(Duration),
    /// So many passwords are checked that this one would wait too long.
    Busy,
    /// The authorizer of this name gives no answer.
    Undecided(String),
    /// Nothing is to be told, as where there is nothing.
    Nothing,
    Failed(anyhow::Error),
}

/// A request, as far as it matters here.
#[derive(Clone, Copy)]
pub struct Asking<'r> {
    pub repository: &'r RepositoryConfig,
    pub permission: Permission,
    pub method: &'r str,
    /// The path asked for, percent-encoded and without empty parts: only an authorizer needs it.
    pub path: &'r (dyn Fn() -> String + Sync),
    pub headers: &'r HeaderMap,
    /// `None` for whoever is at a unix socket.
    pub peer: Option<IpAddr>,
    pub certificate: Option<&'r Certificate>,
    /// Why this client is not on this machine, for the rule of zero configuration; `None` if it is.
    pub not_local: &'r (dyn Fn() -> Option<&'static str> + Sync),
}

/// Finds the certificate authorities to believe: those in the file, or this machine's. Blocking.
pub type Trusted = fn(Option<&Path>) -> io::Result<RootCertStore>;

/// Decides about requests. One for the whole server.
pub struct Guard {
    known: RwLock<Arc<Known>>,
    tokens: Option<Arc<dyn TokenStore>>,
    trusted: Trusted,
    limiter: Limiter,
    failures: Failures,
    keyed: Keyed,
    /// Passwords that were right, with the hash they were held against.
    passwords: Remembered<()>,
    /// Who may have a slow hash made.
    hashing: Queue,
    /// When a token's use was last written down, in units of [`NOTED`].
    noted: Arc<Mutex<HashMap<String, u64>>>,
}

/// What the configuration says of those who ask.
struct Known {
    config: AccessConfig,
    htpasswd: Option<Arc<Htpasswd>>,
    authorizers: Vec<Arc<Authorizer>>,
}

impl Guard {
    /// `tokens`: `None` where none can be made. `trusted`: for authorizers behind `https://`.
    pub fn new(
        config: &AccessConfig,
        tokens: Option<Arc<dyn TokenStore>>,
        trusted: Trusted,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            known: RwLock::new(Arc::new(Known::new(config, None, trusted))),
            tokens,
            trusted,
            limiter: Limiter::default(),
            failures: Failures::default(),
            keyed: Keyed::new().context("cannot get randomness from the operating system")?,
            passwords: Remembered::new(PASSWORDS, PASSWORD),
            hashing: Queue::default(),
            noted: Arc::default(),
        })
    }

    /// Takes up another configuration, from the next request on.
    pub fn reconfigure(&self, config: &AccessConfig) {
        let old = self.known();
        if old.config != *config {
            let new = Arc::new(Known::new(config, Some(&old), self.trusted));
            *self.known.write().unwrap_or_else(PoisonError::into_inner) = new;
        }
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The client's address: the peer's, or what a trusted proxy says of it.
    pub fn client(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        address::client(peer, headers, &self.known().config.trusted_proxies)
    }

    /// Log-ins that were refused.
    pub fn failures(&self) -> &Failures {
        &self.failures
    }

    /// Whether a request may do what it wants, and who makes it. Of a repository that not everybody may read, those
    /// who have no right to it hear what [`Guard::nowhere`] says.
    pub async fn decide(&self, asking: &Asking<'_>) -> Result<Principal, Refusal> {
        match self.judged(asking).await {
            Ok(principal) => Ok(principal),
            Err(refusal) if asking.repository.read == ReadAccess::Anyone => Err(refusal),
            Err(refusal) => Err(match self.hidden(asking, refusal).await {
                Hidden::No(refusal) | Hidden::Yes(refusal) => refusal,
            }),
        }
    }

    /// Whether each of these repositories gives the client a right, which may be another for each. Who it is, is found
    /// out once for all of them.
    pub async fn among<'c>(
        &self,
        asking: &Asking<'_>,
        right: &(dyn Fn(&RepositoryConfig) -> Permission + Sync),
        repositories: impl Iterator<Item = &'c RepositoryConfig>,
    ) -> Vec<bool> {
        let known = self.known();
        let client = self.client(asking.peer, asking.headers);
        let says_who = asking.headers.contains_key(AUTHORIZATION) || asking.certificate.is_some();
        let mut identity = None;
        let mut allowed = Vec::new();
        for repository in repositories {
            let (path, permission) = (|| repository.url.clone(), right(repository));
            let asking = Asking { repository, permission, path: &path, ..*asking };
            let decided = match rule(repository, permission) {
                Rule::Anyone => Some(true),
                Rule::Nobody => Some(false),
                Rule::Local => Some((asking.not_local)().is_none()),
                Rule::Granted | Rule::Authorizer(_) if !says_who => Some(false),
                Rule::Authorizer(name) if !holds_token(asking.headers) => {
                    Some(self.authorized(&known, name, &asking, client).await.is_ok())
                }
                Rule::Granted | Rule::Authorizer(_) => None,
            };
            allowed.push(match decided {
                Some(decided) => decided,
                None => {
                    if identity.is_none() {
                        let found = self.identity(&known, asking.headers, asking.certificate, client).await;
                        identity = Some(found.ok());
                    }
                    let found = identity.as_ref().and_then(Option::as_ref);
                    found.is_some_and(|identity| judge(identity, &repository.name, permission).is_ok())
                }
            });
        }
        allowed
    }

    async fn judged(&self, asking: &Asking<'_>) -> Result<Principal, Refusal> {
        let Asking { repository, permission, .. } = *asking;
        let authorizer = match rule(repository, permission) {
            Rule::Anyone => return Ok(Principal::Anyone),
            Rule::Nobody => {
                return Err(Refusal::Forbidden(
                    "this repository takes no uploads: write = \"off\" in its configuration".into(),
                ));
            }
            Rule::Local => {
                return match (asking.not_local)() {
                    None => Ok(Principal::Local),
                    Some(why) => Err(Refusal::Forbidden(format!(
                        "without a configuration only local clients may write, and {why}; see `write` in the configuration"
                    ))),
                };
            }
            Rule::Granted => None,
            Rule::Authorizer(name) => Some(name),
        };
        let known = self.known();
        let client = self.client(asking.peer, asking.headers);
        if let Some(name) = authorizer
            && !holds_token(asking.headers)
        {
            return self.authorized(&known, name, asking, client).await;
        }
        let identity = self.identity(&known, asking.headers, asking.certificate, client).await?;
        judge(&identity, &repository.name, permission)
    }

    /// Whether an authorizer lets in who makes a request, and who that is.
    async fn authorized(
        &self,
        known: &Known,
        name: &str,
        asking: &Asking<'_>,
        client: Option<IpAddr>,
    ) -> Result<Principal, Refusal> {
        let authorizer = known.authorizer(name)?;
        let credentials = Credentials::of(asking.headers);
        match credentials {
            Credentials::Unreadable(why) => return Err(Refusal::Unknown(why.to_owned())),
            Credentials::None if asking.certificate.is_none() => return Err(unnamed()),
            _ => {}
        }
        let path = (asking.path)();
        let certificate =
            asking.certificate.map(|certificate| (certificate.name(), certificate.fingerprint()));
        let question = Question {
            authorization: asking.headers.get(AUTHORIZATION),
            certificate,
            method: asking.method,
            repository: &asking.repository.name,
            permission: asking.permission.name(),
            path: &path,
            client: &client.map_or_else(|| "unix".to_owned(), |client| client.to_string()),
        };
        if authorizer.remembered(&self.keyed, &question).is_none() {
            self.allowed(client)?;
        }
        let user = match &credentials {
            Credentials::Password { user, .. } => Some(user.as_str()),
            _ => None,
        };
        match authorizer.ask(&self.keyed, &question).await {
            Some(Answer::Yes(name)) => {
                Ok(Principal::Authorized(name.unwrap_or_else(|| match (user, certificate) {
                    (Some(user), _) => user.chars().take(100).collect(),
                    (None, Some((name, _))) => name.to_owned(),
                    (None, None) => "the holder of a bearer token".to_owned(),
                })))
            }
            Some(Answer::WhoIsThat) => {
                let why = "user and password are not known here".to_owned();
                // Where the repository itself is not to be told of, what follows counts this.
                Err(match asking.repository.read {
                    ReadAccess::Anyone => self.wrong(client, user, why),
                    ReadAccess::Token | ReadAccess::Authorizer(_) => Refusal::Unknown(why),
                })
            }
            Some(Answer::No) => {
                Err(Refusal::Forbidden(format!("there is no right to {} here", asking.permission)))
            }
            None => Err(Refusal::Undecided(authorizer.config().name.clone())),
        }
    }
}

/// Whether the request carries a token of ours, about which no authorizer is asked.
fn holds_token(headers: &HeaderMap) -> bool {
    matches!(Credentials::of(headers), Credentials::Token(_))
}

impl Known {
    fn new(config: &AccessConfig, old: Option<&Self>, trusted: Trusted) -> Self {
        let kept = |wanted: &Path| {
            let old = old.and_then(|old| old.htpasswd.clone());
            old.filter(|old| old.path() == wanted)
        };
        let htpasswd = config.htpasswd.as_deref();
        let htpasswd = htpasswd.map(|path| kept(path).unwrap_or_else(|| Arc::new(Htpasswd::new(path))));
        let count = config.authorizers.len();
        let authorizers = config.authorizers.iter().map(|wanted| {
            let old = old.into_iter().flat_map(|old| &old.authorizers).find(|old| old.config() == wanted);
            old.cloned().unwrap_or_else(|| Arc::new(Authorizer::new(wanted, count, trusted)))
        });
        Self { config: config.clone(), htpasswd, authorizers: authorizers.collect() }
    }

    fn authorizer(&self, name: &str) -> Result<&Authorizer, Refusal> {
        let found = self.authorizers.iter().find(|authorizer| authorizer.config().name == name);
        found.map(|authorizer| &**authorizer).ok_or_else(|| Refusal::Undecided(name.to_owned()))
    }

    /// The holder of a certificate that TLS has found good.
    fn certificate(&self, certificate: Option<&Certificate>) -> Identity {
        let names = |wanted: &String| wanted == "*" || certificate.is_some_and(|c| c.is_called(wanted));
        let grants = self.config.grants.iter().filter(|grant| grant.certificates.iter().any(names));
        Identity {
            principal: Principal::Certificate(certificate.map_or("", Certificate::name).to_owned()),
            grants: grants
                .map(|grant: &crate::config::GrantConfig| -> Grant { grant.grant.clone() })
                .collect(),
        }
    }
}

/// Looks at files and the store of tokens at a time; further ones wait unqueued, so that those that are given up leave
/// nothing behind.
static LOOKING: Semaphore = Semaphore::const_new(32);

/// Waits for a look at a file or the store of tokens.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let place = LOOKING.acquire().await?;
    let work = move || {
        let _place = place;
        work()
    };
    tokio::task::spawn_blocking(work).await.context("this is a bug, please report it")?
}

#[cfg(test)]
mod tests;
