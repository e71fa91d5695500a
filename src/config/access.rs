//! Who may come in: the rules of a repository, and what the server knows of users, certificates,
//! authorizers and proxies.

pub mod file;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::value::nearest;
use crate::rights::Grant;

/// What the server knows of those who ask. Taken up by a reload, without a restart.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AccessConfig {
    /// Where tokens are remembered; `None`: nowhere (zero configuration).
    pub state_dir: Option<PathBuf>,
    /// Users and the hashes of their passwords.
    pub htpasswd: Option<PathBuf>,
    /// Whose word on the client's address counts.
    pub trusted_proxies: Vec<Proxy>,
    pub grants: Vec<GrantConfig>,
    pub authorizers: Vec<AuthorizerConfig>,
}

/// `[grant.NAME]`: what users of the htpasswd file and holders of certificates may do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GrantConfig {
    pub name: String,
    /// Names in the htpasswd file; `*` is all of them.
    pub users: Vec<String>,
    /// Common names, alternative names or `sha256:` fingerprints; `*` is every certificate TLS found good.
    pub certificates: Vec<String>,
    pub grant: Grant,
}

/// `[authorizer.NAME]`: an HTTP service that is asked who may do what.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthorizerConfig {
    pub name: String,
    /// `http://…`, `https://…`, or `unix:/path.sock` with `:/path` behind it.
    pub url: String,
    /// Certificate authorities that are believed for `https://`, and no others; `None`: this machine's.
    pub ca: Option<PathBuf>,
    /// How long an answer counts.
    pub remember: Duration,
    pub when_down: WhenDown,
    /// For the whole of one question.
    pub timeout: Duration,
    pub ask: AskAbout,
}

impl AuthorizerConfig {
    pub fn new(name: &str, url: &str) -> Self {
        Self {
            name: name.to_owned(),
            url: url.to_owned(),
            ca: None,
            remember: Duration::from_secs(300),
            when_down: WhenDown::Deny,
            timeout: Duration::from_secs(5),
            ask: AskAbout::Path,
        }
    }
}

/// What happens while an authorizer does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenDown {
    Deny,
    /// Its last answer counts, for a day.
    Remembered,
}

/// What a question to an authorizer, and so also an answer that is remembered, is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskAbout {
    Path,
    /// The repository as a whole: the path is not told, and one answer does for all of them.
    Repository,
}

/// Who may read a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadAccess {
    Anyone,
    /// Whoever holds a token, a user's password or a certificate with the right to it.
    Token,
    /// Whom the authorizer of this name lets in; tokens of our own too.
    Authorizer(String),
}

/// Who may change a repository over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteAccess {
    Off,
    /// Zero configuration: only clients that are local by product.md's definition.
    Local,
    Anyone,
    /// As in [`ReadAccess`].
    Token,
    Authorizer(String),
}

/// Words that cannot name an authorizer.
const RULES: [&str; 4] = ["off", "token", "anyone", "local"];

impl ReadAccess {
    /// A name that is not one of the words must be an authorizer's; whether it is, is asked later.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "anyone" => Ok(Self::Anyone),
            "token" => Ok(Self::Token),
            "off" => Err("expected \"anyone\", \"token\" or the name of an [authorizer.NAME]; a repository nobody may \
                          read is one to leave out"
                .into()),
            name => Ok(Self::Authorizer(name.to_owned())),
        }
    }

    pub fn spell(&self) -> &str {
        match self {
            Self::Anyone => "anyone",
            Self::Token => "token",
            Self::Authorizer(name) => name,
        }
    }

    pub fn authorizer(&self) -> Option<&str> {
        match self {
            Self::Authorizer(name) => Some(name),
            Self::Anyone | Self::Token => None,
        }
    }
}

impl WriteAccess {
    /// See [`ReadAccess::parse`].
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "anyone" => Ok(Self::Anyone),
            "token" => Ok(Self::Token),
            name => Ok(Self::Authorizer(name.to_owned())),
        }
    }

    pub fn spell(&self) -> &str {
        match self {
            Self::Off => "off",
            Self::Local => "local clients",
            Self::Anyone => "anyone",
            Self::Token => "token",
            Self::Authorizer(name) => name,
        }
    }

    pub fn authorizer(&self) -> Option<&str> {
        match self {
            Self::Authorizer(name) => Some(name),
            Self::Off | Self::Local | Self::Anyone | Self::Token => None,
        }
    }
}

/// Why `name`, written where a rule is expected, is none: it is neither a word nor an authorizer.
pub fn no_rule(words: &[&str], name: &str, authorizers: &[AuthorizerConfig]) -> String {
    let names = || words.iter().copied().chain(authorizers.iter().map(|authorizer| authorizer.name.as_str()));
    let expected: Vec<_> = names().map(|name| format!("\"{name}\"")).collect();
    let hint = nearest(name, names()).map(|name| format!(" (did you mean \"{name}\"?)")).unwrap_or_default();
    format!(
        "expected one of {}, or the name of an [authorizer.NAME], found {name:?}{hint}",
        expected.join(", ")
    )
}

/// A proxy, or a network of them, whose word on the client's address counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    /// Whoever connects through a unix socket.
    Unix,
    Network {
        address: IpAddr,
        bits: u8,
    },
}

impl Proxy {
    /// `10.0.0.0/8`, `192.0.2.1`, `fd00::/8` or `unix`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "expected an address such as \"192.0.2.1\", a network such as \"10.0.0.0/8\", or \"unix\", found {text:?}"
            )
        };
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().map_err(|_| wrong())?
            }
            Some(_) => return Err(wrong()),
        };
        let network = Self::Network { address, bits };
        match bits <= most && leading(address, bits) == number(address) {
            true => Ok(network),
            false if bits > most => Err(wrong()),
            false => {
                Err(format!("{text:?} has bits set behind the first {bits}; a network's are zero there"))
            }
        }
    }

    /// Whether a peer of this address (`None`: one at a unix socket) is one.
    pub fn covers(self, peer: Option<IpAddr>) -> bool {
        match (self, peer.map(|peer| peer.to_canonical())) {
            (Self::Unix, peer) => peer.is_none(),
            (Self::Network { address, bits }, Some(peer)) => {
                address.is_ipv4() == peer.is_ipv4() && leading(peer, bits) == number(address)
            }
            (Self::Network { .. }, None) => false,
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The first `bits` of an address, and zeroes.
fn leading(address: IpAddr, bits: u8) -> u128 {
    match 128u32.checked_sub(u32::from(bits)) {
        Some(128) | None => 0,
        Some(rest) => number(address) >> rest << rest,
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix => f.write_str("unix"),
            Self::Network { address, bits } => write!(f, "{address}/{bits}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_covers_its_addresses() {
        for (network, inside, outside) in [
            ("127.0.0.1/32", &["127.0.0.1", "::ffff:127.0.0.1"][..], &["127.0.0.2", "::1"][..]),
            ("192.0.2.7", &["192.0.2.7"], &["192.0.2.8"]),
            ("10.0.0.0/8", &["10.255.1.2"], &["11.0.0.0", "::a00:0"]),
            ("0.0.0.0/0", &["1.2.3.4"], &["::1"]),
            ("fd00::/8", &["fd12::1"], &["fe80::1", "10.0.0.1"]),
            ("::/0", &["::1"], &["1.2.3.4"]),
        ] {
            let proxy = Proxy::parse(network).unwrap();
            assert_eq!(Proxy::parse(&proxy.to_string()), Ok(proxy));
            let covers = |address: &&str| proxy.covers(Some(address.parse().unwrap()));
            assert!(inside.iter().all(covers) && !outside.iter().any(covers), "{network}");
            assert!(!proxy.covers(None));
        }
        assert!(Proxy::parse("unix").unwrap().covers(None));
        for bad in
            ["", "10.0.0.0/33", "10.0.0.1/8", "::/129", "localhost", "10.0.0.0/", "10.0.0.0/+8", "1.2.3/8"]
        {
            assert!(Proxy::parse(bad).is_err(), "{bad}");
        }
    }
}
