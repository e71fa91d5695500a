//! Who asks, and what they may do where.
//!
//! [`Guard::decide`] holds a request against a repository's rules. What it needs to know it finds out in
//! the order of cost: the rule, the credentials, what was found out before, and only then a file, a
//! slow hash or another service. A secret is compared in constant time and never printed or kept.

mod address;
mod authorizer;
mod certificate;
mod credentials;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod hash;
mod htpasswd;
mod limiter;
mod remembered;
mod rule;
pub mod secret;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use tokio::sync::Semaphore;
use tokio_rustls::rustls::RootCertStore;
use tracing::warn;

use crate::config::{AccessConfig, RepositoryConfig};
use crate::rights::{Grant, Token, TokenStore};
pub use crate::rights::{Permission, Scopes};
use authorizer::{Answer, Authorizer, Question};
pub use certificate::Certificate;
use credentials::Credentials;
use htpasswd::Htpasswd;
use limiter::Limiter;
use remembered::{Keyed, Remembered};
use rule::{Identity, Rule, judge, rule};

/// How long a password that was right is not hashed again.
const PASSWORD: Duration = Duration::from_secs(60);
const PASSWORDS: usize = 10_000;
/// How often the last use of a token is written down.
const NOTED: u64 = 60;

/// Who makes a request, as far as it had to be known.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// The authorizer of this name gives no answer.
    Undecided(String),
    Failed(anyhow::Error),
}

/// A request, as far as it matters here.
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
    keyed: Keyed,
    /// Passwords that were right, with the hash they were held against.
    passwords: Remembered<()>,
    /// Slow hashes at a time.
    hashing: Semaphore,
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
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            known: RwLock::new(Arc::new(Known::new(config, None, trusted))),
            tokens,
            trusted,
            limiter: Limiter::default(),
            keyed: Keyed::new().context("cannot get randomness from the operating system")?,
            passwords: Remembered::new(PASSWORDS, PASSWORD),
            hashing: Semaphore::new(cores),
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

    /// Whether a request may do what it wants, and who makes it.
    pub async fn decide(&self, asking: &Asking<'_>) -> Result<Principal, Refusal> {
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
        let authorizer = match authorizer {
            Some(name) => Some(known.authorizer(name)?),
            None => None,
        };
        let identity = match (Credentials::of(asking.headers), authorizer) {
            (Credentials::Token(text), _) => self.holder(text, client).await?,
            (Credentials::Unreadable(why), _) => return Err(Refusal::Unknown(why.to_owned())),
            (Credentials::None, _) if asking.certificate.is_none() => {
                return Err(Refusal::Unknown("say who you are: this needs a token or a password".into()));
            }
            (credentials, Some(authorizer)) => {
                return self.ask(authorizer, asking, &credentials, client).await;
            }
            (Credentials::Password { user, password }, None) => {
                self.user(&known, user, password, client).await?
            }
            (Credentials::Foreign, None) => {
                return Err(self.wrong(client, "this is no token of this server".into()));
            }
            (Credentials::None, None) => known.certificate(asking.certificate),
        };
        judge(identity, &repository.name, permission)
    }

    /// Whose token it is. A right one is taken also from an address that was wrong too often: it cannot
    /// be guessed, and its holder may share that address with somebody else.
    async fn holder(&self, text: String, client: Option<IpAddr>) -> Result<Identity, Refusal> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let Some(store) = self.tokens.clone() else {
            return Err(self.wrong(client, "this server has no tokens".into()));
        };
        let looking = move || {
            let found = secret::id(&text).map(|id| store.find(id)).transpose()?.flatten();
            anyhow::Ok(match found {
                Some(token) => secret::is_of(&text, &token, now).map(|()| token),
                None => Err("this token is not known here; it may have been rotated or revoked"),
            })
        };
        let found = blocking(looking).await.context("cannot look a token up").map_err(Refusal::Failed)?;
        match found {
            Ok(token) => {
                self.note(&token, now);
                Ok(Identity { principal: Principal::Token(token.name), grants: vec![token.grant] })
            }
            Err(why) => Err(self.wrong(client, why.to_owned())),
        }
    }

    /// Writes down that a token was used, now and then; nobody waits for it.
    fn note(&self, token: &Token, now: u64) {
        let Some(store) = self.tokens.clone() else { return };
        let period = now / NOTED;
        let last = self.noted.lock().unwrap_or_else(PoisonError::into_inner).insert(token.id.clone(), period);
        if last != Some(period) {
            let id = token.id.clone();
            tokio::task::spawn_blocking(move || {
                if let Err(error) = store.used(&id, now) {
                    warn!("cannot write down when a token was used: {error:#}");
                }
            });
        }
    }

    /// A user of the htpasswd file.
    async fn user(
        &self,
        known: &Known,
        user: String,
        password: Vec<u8>,
        client: Option<IpAddr>,
    ) -> Result<Identity, Refusal> {
        let wrong = "user and password are not known here";
        let Some(htpasswd) = known.htpasswd.clone() else { return Err(self.wrong(client, wrong.into())) };
        let name = user.clone();
        let looked = blocking(move || anyhow::Ok((htpasswd.hash_of(&name), htpasswd.any_hash()))).await;
        let (hash, any) = looked.map_err(Refusal::Failed)?;
        let key = |hash: &hash::PasswordHash| {
            self.keyed.digest(&[user.as_bytes(), hash.as_str().as_bytes(), &password])
        };
        let remembered =
            |hash: &hash::PasswordHash| self.passwords.find(&key(hash), Instant::now()).is_some();
        if !hash.as_ref().is_some_and(remembered) {
            let _turn = self.hashing.acquire().await.context("stopping").map_err(Refusal::Failed)?;
            // Asked here, since many guesses may have waited for their turn.
            self.limiter.allows(client, Instant::now()).map_err(Refusal::TooMany)?;
            if !hash.as_ref().is_some_and(remembered) {
                // A user who is not there takes as long as one who is.
                let (Some(held), given) = (hash.clone().or(any), password.clone()) else {
                    return Err(self.wrong(client, wrong.into()));
                };
                let matches =
                    blocking(move || anyhow::Ok(held.is_of(&given))).await.map_err(Refusal::Failed)?;
                match &hash {
                    Some(hash) if matches => self.passwords.insert(key(hash), (), Instant::now()),
                    _ => return Err(self.wrong(client, wrong.into())),
                }
            }
        }
        let grants = known.config.grants.iter();
        let grants = grants.filter(|grant| grant.users.iter().any(|name| name == "*" || *name == user));
        let grants = grants.map(|grant| grant.grant.clone()).collect();
        Ok(Identity { principal: Principal::User(user), grants })
    }

    async fn ask(
        &self,
        authorizer: &Authorizer,
        asking: &Asking<'_>,
        credentials: &Credentials,
        client: Option<IpAddr>,
    ) -> Result<Principal, Refusal> {
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
            self.limiter.allows(client, Instant::now()).map_err(Refusal::TooMany)?;
        }
        match authorizer.ask(&self.keyed, &question).await {
            Some(Answer::Yes(name)) => {
                Ok(Principal::Authorized(name.unwrap_or_else(|| match (credentials, certificate) {
                    (Credentials::Password { user, .. }, _) => user.chars().take(100).collect(),
                    (_, Some((name, _))) => name.to_owned(),
                    _ => "the holder of a bearer token".to_owned(),
                })))
            }
            Some(Answer::WhoIsThat) => Err(self.wrong(client, "user and password are not known here".into())),
            Some(Answer::No) => {
                Err(Refusal::Forbidden(format!("there is no right to {} here", asking.permission)))
            }
            None => Err(Refusal::Undecided(authorizer.config().name.clone())),
        }
    }

    /// Counts a failure, and says how to go on from here.
    fn wrong(&self, client: Option<IpAddr>, why: String) -> Refusal {
        let now = Instant::now();
        let allowed = self.limiter.allows(client, now);
        self.limiter.failed(client, now);
        match allowed {
            Ok(()) => Refusal::Unknown(why),
            Err(wait) => Refusal::TooMany(wait),
        }
    }
}

impl Known {
    fn new(config: &AccessConfig, old: Option<&Self>, trusted: Trusted) -> Self {
        let kept = |wanted: &Path| {
            let old = old.and_then(|old| old.htpasswd.clone());
            old.filter(|old| old.path() == wanted)
        };
        let htpasswd = config.htpasswd.as_deref();
        let htpasswd = htpasswd.map(|path| kept(path).unwrap_or_else(|| Arc::new(Htpasswd::new(path))));
        let authorizers = config.authorizers.iter().map(|wanted| {
            let old = old.into_iter().flat_map(|old| &old.authorizers).find(|old| old.config() == wanted);
            old.cloned().unwrap_or_else(|| Arc::new(Authorizer::new(wanted, trusted)))
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

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context("this is a bug, please report it")?
}

#[cfg(test)]
mod tests;
