//! Who makes a request, by what this server itself knows: tokens, users, certificates; and what follows from not being
//! who one says.

use std::net::IpAddr;
use std::sync::PoisonError;
use std::time::{Instant, SystemTime};

use anyhow::Context as _;
use hyper::HeaderMap;
use tracing::warn;

use super::certificate::Certificate;
use super::credentials::Credentials;
use super::rule::Identity;
use super::{Guard, Known, NOTED, Principal, Refusal, blocking, hash, secret};
use crate::rights::Token;

/// What is said to those who do not say who they are.
pub(super) fn unnamed() -> Refusal {
    Refusal::Unknown("say who you are: this needs a token or a password".into())
}

impl Guard {
    /// Who makes a request, by what this server itself knows.
    pub(super) async fn identity(
        &self,
        known: &Known,
        headers: &HeaderMap,
        certificate: Option<&Certificate>,
        client: Option<IpAddr>,
    ) -> Result<Identity, Refusal> {
        match Credentials::of(headers) {
            Credentials::Token(text) => self.holder(text, client).await,
            Credentials::Unreadable(why) => Err(Refusal::Unknown(why.to_owned())),
            Credentials::None if certificate.is_none() => Err(unnamed()),
            Credentials::None => Ok(known.certificate(certificate)),
            Credentials::Password { user, password } => self.user(known, user, password, client).await,
            Credentials::Foreign => Err(self.wrong(client, None, "this is no token of this server".into())),
        }
    }

    /// Whose token it is. A right one is taken also from an address that was wrong too often: it cannot
    /// be guessed, and its holder may share that address with somebody else.
    async fn holder(&self, text: String, client: Option<IpAddr>) -> Result<Identity, Refusal> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let Some(store) = self.tokens.clone() else {
            return Err(self.wrong(client, None, "this server has no tokens".into()));
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
            Err(why) => Err(self.wrong(client, None, why.to_owned())),
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
        let Some(htpasswd) = known.htpasswd.clone() else {
            return Err(self.wrong(client, Some(&user), wrong.into()));
        };
        let name = user.clone();
        let looked = blocking(move || anyhow::Ok((htpasswd.hash_of(&name), htpasswd.costliest()))).await;
        let (hash, costliest) = looked.map_err(Refusal::Failed)?;
        let key = |hash: &hash::PasswordHash| {
            self.keyed.digest(&[user.as_bytes(), hash.as_str().as_bytes(), &password])
        };
        let remembered =
            |hash: &hash::PasswordHash| self.passwords.find(&key(hash), Instant::now()).is_some();
        if !hash.as_ref().is_some_and(remembered) {
            let turn = self.hashing.turn(client).await.ok_or(Refusal::Busy)?;
            // Asked here, since many guesses may have waited for their turn.
            self.allowed(client)?;
            if !hash.as_ref().is_some_and(remembered) {
                let (held, given) = (hash.clone(), password.clone());
                let matching = move || {
                    // As long as the work goes on, also where nobody waits for it any more.
                    let _turn = turn;
                    hash::matches(held.as_ref(), costliest.as_ref(), &given)
                };
                let matching = tokio::task::spawn_blocking(matching).await;
                let matches = matching.context("this is a bug, please report it").map_err(Refusal::Failed)?;
                match (&hash, matches) {
                    (Some(hash), true) => {
                        self.passwords.insert(key(hash), (), Instant::now());
                        self.hashing.was_right(client);
                    }
                    _ => return Err(self.wrong(client, Some(&user), wrong.into())),
                }
            }
        }
        let grants = known.config.grants.iter();
        let grants = grants.filter(|grant| grant.users.iter().any(|name| name == "*" || *name == user));
        let grants = grants.map(|grant| grant.grant.clone()).collect();
        Ok(Identity { principal: Principal::User(user), grants })
    }

    /// Refuses an address that was wrong too often.
    pub(super) fn allowed(&self, client: Option<IpAddr>) -> Result<(), Refusal> {
        self.limiter.allows(client, Instant::now()).map_err(|wait| {
            self.failures.locked_out();
            Refusal::TooMany(wait)
        })
    }

    /// Counts a failure, and says how to go on from here.
    pub(super) fn wrong(&self, client: Option<IpAddr>, user: Option<&str>, why: String) -> Refusal {
        let now = Instant::now();
        let allowed = self.limiter.allows(client, now);
        self.limiter.failed(client, now);
        if let Err(wait) = allowed {
            self.failures.locked_out();
            return Refusal::TooMany(wait);
        }
        self.failures.wrong(client, user, &why);
        if let Err(wait) = self.limiter.allows(client, now) {
            self.failures.locks_out(client, wait);
        }
        Refusal::Unknown(why)
    }
}
