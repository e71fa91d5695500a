//! A guard with everybody it can know.

use std::collections::HashMap;

use base64::Engine as _;

use super::*;
use crate::auth::secret::NewSecret;
use crate::config::{GrantConfig, ReadAccess, WriteAccess};
use crate::fetch::roots::trusted;
use crate::rights::{Pattern, Token};

#[derive(Default)]
struct Tokens(Mutex<HashMap<String, Token>>);

impl TokenStore for Tokens {
    fn find(&self, id: &str) -> anyhow::Result<Option<Token>> {
        Ok(self.0.lock().unwrap().get(id).cloned())
    }

    fn used(&self, id: &str, now: u64) -> anyhow::Result<()> {
        // It may have been revoked meanwhile.
        if let Some(token) = self.0.lock().unwrap().get_mut(id) {
            token.last_used = Some(now);
        }
        Ok(())
    }
}

struct World {
    guard: Guard,
    tokens: Arc<Tokens>,
    config: AccessConfig,
    place: tempfile::TempDir,
}

fn grant(scopes: &[Permission], repository: &str) -> Grant {
    let repositories = vec![Pattern::parse(repository).unwrap()];
    Grant { scopes: scopes.iter().copied().collect(), repositories }
}

/// alice:password and bob:test.
const USERS: &str = "alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\nbob:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=\n";

impl World {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let htpasswd = place.path().join("htpasswd");
        std::fs::write(&htpasswd, USERS).unwrap();
        let given = |name: &str, users: &[&str], certificates: &[&str], scopes: &[Permission]| GrantConfig {
            name: name.into(),
            users: users.iter().map(ToString::to_string).collect(),
            certificates: certificates.iter().map(ToString::to_string).collect(),
            grant: grant(scopes, "rpm"),
        };
        let config = AccessConfig {
            htpasswd: Some(htpasswd),
            grants: vec![
                given("all", &["*"], &[], &[Permission::Read]),
                given("some", &["alice"], &["builder"], &[Permission::Write]),
            ],
            ..AccessConfig::default()
        };
        let tokens = Arc::new(Tokens::default());
        let guard = Guard::new(&config, Some(tokens.clone()), trusted).unwrap();
        Self { guard, tokens, config, place }
    }

    fn token(&self, scopes: &[Permission], repository: &str) -> String {
        let secret = NewSecret::make(None).unwrap();
        let token = Token {
            id: secret.id().into(),
            name: "ci".into(),
            hash: secret.hash(),
            before: None,
            grant: grant(scopes, repository),
            made: 0,
            expires: None,
            last_used: None,
        };
        self.tokens.0.lock().unwrap().insert(token.id.clone(), token);
        secret.text().to_owned()
    }

    async fn ask(&self, authorization: &str, permission: Permission) -> String {
        self.ask_from("192.0.2.1", authorization, permission, None).await
    }

    async fn ask_from(
        &self,
        peer: &str,
        authorization: &str,
        permission: Permission,
        certificate: Option<&Certificate>,
    ) -> String {
        let repository = RepositoryConfig {
            read: ReadAccess::Token,
            write: WriteAccess::Token,
            ..RepositoryConfig::new("rpm", "/x")
        };
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        }
        let asking = Asking {
            repository: &repository,
            permission,
            method: "PUT",
            path: &|| "/rpm/x".into(),
            headers: &headers,
            peer: Some(peer.parse().unwrap()),
            certificate,
            not_local: &|| None,
        };
        match self.guard.decide(&asking).await {
            Ok(principal) => format!("yes, {principal}"),
            Err(refusal) => spell(refusal),
        }
    }

    /// What is said where no repository is.
    async fn nowhere(&self, peer: &str, authorization: &str, certificate: Option<&Certificate>) -> String {
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        }
        spell(self.guard.nowhere(&headers, Some(peer.parse().unwrap()), certificate).await)
    }
}

fn spell(refusal: Refusal) -> String {
    match refusal {
        Refusal::Unknown(why) => format!("401 {why}"),
        Refusal::Forbidden(why) => format!("403 {why}"),
        Refusal::Nothing => "404".into(),
        Refusal::TooMany(wait) => format!("429 {}", wait.as_secs() + 1),
        Refusal::Undecided(name) => format!("503 {name}"),
        Refusal::Busy => "503".into(),
        Refusal::Failed(why) => panic!("{why:#}"),
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

#[tokio::test]
async fn a_token_opens_what_it_was_made_for_until_it_is_revoked() {
    let world = World::new();
    let token = world.token(&[Permission::Write], "rpm");
    for way in [format!("Bearer {token}"), basic("whoever", &token)] {
        assert_eq!(world.ask(&way, Permission::Write).await, "yes, the token \"ci\"");
        assert!(world.ask(&way, Permission::Read).await.starts_with("403 "));
    }
    let elsewhere = world.token(&[Permission::Admin], "other");
    assert_eq!(world.ask(&format!("Bearer {elsewhere}"), Permission::Read).await, "404");
    while world.tokens.0.lock().unwrap().values().all(|token| token.last_used.is_none()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.tokens.0.lock().unwrap().clear();
    assert!(world.ask(&format!("Bearer {token}"), Permission::Write).await.starts_with("401 "));
}

#[tokio::test]
async fn users_have_what_the_grants_say() {
    let world = World::new();
    assert_eq!(world.ask(&basic("alice", "password"), Permission::Write).await, "yes, \"alice\"");
    assert_eq!(world.ask(&basic("alice", "password"), Permission::Read).await, "yes, \"alice\"");
    assert_eq!(world.ask(&basic("bob", "test"), Permission::Read).await, "yes, \"bob\"");
    assert!(world.ask(&basic("bob", "test"), Permission::Write).await.starts_with("403 "));
    assert!(world.ask(&basic("alice", "test"), Permission::Read).await.starts_with("401 "));
    assert!(world.ask(&basic("nobody", "test"), Permission::Read).await.starts_with("401 "));
    assert!(world.ask("", Permission::Read).await.starts_with("401 "));
    assert!(world.ask("Digest x", Permission::Read).await.starts_with("401 "));
    assert!(world.ask("Bearer somebody-elses", Permission::Read).await.starts_with("401 "));
}

#[tokio::test]
async fn a_password_that_was_right_counts_only_as_long_as_the_file_says_so() {
    let world = World::new();
    assert!(world.ask(&basic("alice", "password"), Permission::Read).await.starts_with("yes"));
    std::fs::write(world.place.path().join("htpasswd"), USERS.replace("alice", "carol")).unwrap();
    assert!(world.ask(&basic("alice", "password"), Permission::Read).await.starts_with("401 "));
    assert!(world.ask(&basic("carol", "password"), Permission::Read).await.starts_with("yes"));
}

#[tokio::test]
async fn a_certificate_has_what_the_grants_say() {
    let world = World::new();
    let certificate = |name: &str| Certificate::called(name);
    let ask = async |name: &str, permission| {
        world.ask_from("192.0.2.1", "", permission, Some(&certificate(name))).await
    };
    assert_eq!(ask("builder", Permission::Write).await, "yes, the certificate \"builder\"");
    assert!(ask("builder", Permission::Delete).await.starts_with("403 "));
    assert_eq!(ask("stranger", Permission::Write).await, "404", "has no right at all here");
}

#[tokio::test]
async fn who_guesses_waits_and_a_right_token_does_not() {
    let world = World::new();
    for _ in 0..10 {
        assert!(world.ask(&basic("alice", "wrong"), Permission::Read).await.starts_with("401 "));
    }
    assert_eq!(world.ask(&basic("alice", "wrong"), Permission::Read).await, "429 6");
    assert_eq!(world.ask(&basic("alice", "password"), Permission::Read).await, "429 6", "nothing is tried");
    assert_eq!(world.ask(&basic("ci", "crd_wrong"), Permission::Read).await, "429 6");
    assert!(world.ask("", Permission::Read).await.starts_with("401 "), "asking is no guess");
    let token = world.token(&[Permission::Read], "*");
    assert!(world.ask(&format!("Bearer {token}"), Permission::Read).await.starts_with("yes"));
    let elsewhere = world.ask_from("192.0.2.2", &basic("alice", "password"), Permission::Read, None).await;
    assert!(elsewhere.starts_with("yes"), "{elsewhere}");
}

#[tokio::test]
async fn another_configuration_counts_from_the_next_request_on() {
    let world = World::new();
    let before = world.ask(&basic("bob", "test"), Permission::Write).await;
    assert!(before.starts_with("403 "));
    let mut config = world.config.clone();
    config.grants[1].users.push("bob".into());
    world.guard.reconfigure(&config);
    assert!(world.ask(&basic("bob", "test"), Permission::Write).await.starts_with("yes"));
    world.guard.reconfigure(&AccessConfig::default());
    assert!(world.ask(&basic("bob", "test"), Permission::Write).await.starts_with("401 "));
}

#[tokio::test]
async fn whoever_has_no_right_hears_what_is_said_where_nothing_is() {
    let (world, other) = (World::new(), World::new());
    let elsewhere = |world: &World| format!("Bearer {}", world.token(&[Permission::Admin], "other"));
    let (here, there) = (elsewhere(&world), elsewhere(&other));
    let stranger = Certificate::called("stranger");
    // Each from an address of its own, up to being locked out.
    for (number, (here, there, certificate)) in [
        (String::new(), String::new(), None),
        (String::new(), String::new(), Some(&stranger)),
        (here, there, None),
        (basic("carol", "wrong"), basic("carol", "wrong"), None),
        (basic("alice", "wrong"), basic("alice", "wrong"), None),
        (basic("ci", "crd_wrong"), basic("ci", "crd_wrong"), None),
        ("Bearer foreign".into(), "Bearer foreign".into(), None),
        ("Digest x".into(), "Digest x".into(), None),
    ]
    .into_iter()
    .enumerate()
    {
        let peer = format!("192.0.2.{number}");
        for _ in 0..12 {
            let closed = world.ask_from(&peer, &here, Permission::Read, certificate).await;
            assert_eq!(closed, other.nowhere(&peer, &there, certificate).await, "{here}");
        }
    }
    assert_eq!(world.guard.failures().counted(), other.guard.failures().counted());
}

#[tokio::test]
async fn many_closed_repositories_are_one_log_in() {
    let world = World::new();
    let repositories: Vec<_> = (0..50)
        .map(|number| RepositoryConfig {
            read: if number == 7 { ReadAccess::Anyone } else { ReadAccess::Token },
            ..RepositoryConfig::new(if number == 3 { "rpm" } else { "other" }, "/x")
        })
        .collect();
    let ask = async |authorization: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        let asking = Asking {
            repository: &repositories[0],
            permission: Permission::Read,
            method: "GET",
            path: &String::new,
            headers: &headers,
            peer: None,
            certificate: None,
            not_local: &|| None,
        };
        let seen = world.guard.among(&asking, &|_| Permission::Read, repositories.iter()).await;
        seen.iter().enumerate().filter(|(_, seen)| **seen).map(|(number, _)| number).collect::<Vec<_>>()
    };
    assert_eq!(ask(&basic("bob", "test")).await, [3, 7]);
    assert_eq!(ask(&basic("bob", "wrong")).await, [7]);
    assert_eq!(world.guard.failures().counted()[0], ("wrong", 1));
}
