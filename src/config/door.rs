//! How the server is reached, and what it grants strangers: `[server]`'s `listen`, `tls` and `access_log`, and `[limits]`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// One place to listen at: `ADDRESS:PORT`, `https://ADDRESS:PORT` or `unix:/PATH`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Listen {
    Http(SocketAddr),
    /// Needs [`TlsConfig`].
    Https(SocketAddr),
    /// A socket for a proxy on this machine; absolute.
    Unix(PathBuf),
}

impl Listen {
    /// The address of a TCP listener.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Http(address) | Self::Https(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Whether the system chooses the port, anew each time.
    pub fn is_any_port(&self) -> bool {
        self.address().is_some_and(|address| address.port() == 0)
    }

    /// Whether two of them can never be bound at once.
    pub fn clashes(&self, other: &Self) -> bool {
        match (self.address(), other.address()) {
            (Some(one), Some(two)) => one.port() != 0 && one == two,
            _ => self == other,
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            // The kernel's sockaddr_un has room for 107 bytes and a NUL.
            return match path.starts_with('/') && path.len() < 108 && !path.contains('\0') {
                true => Ok(Self::Unix(path.into())),
                false => Err(format!(
                    "expected \"unix:\" and a path of at most 107 bytes that begins with /, found {text:?}"
                )),
            };
        }
        let (secure, address) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            (None, None) => (false, text),
        };
        let scheme = if secure { "https://" } else { "" };
        let address = address.strip_suffix('/').unwrap_or(address);
        let address = address.parse().map_err(|_| no_address(text, scheme, address))?;
        Ok(if secure { Self::Https(address) } else { Self::Http(address) })
    }
}

/// What to write instead of `address`, which is none.
fn no_address(text: &str, scheme: &str, address: &str) -> String {
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) => (host, port),
        None => ("", address),
    };
    let here_or_everywhere = |port: &str| {
        format!(
            "write \"{scheme}127.0.0.1:{port}\" for this machine alone, \"{scheme}0.0.0.0:{port}\" for all its addresses"
        )
    };
    let is_port = port.parse::<u16>().is_ok();
    let is_name = host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
    match host {
        "" | "*" if is_port => {
            format!("{text:?} does not say at which address: {}", here_or_everywhere(port))
        }
        "localhost" if is_port => format!("host names are not taken: write \"{scheme}127.0.0.1:{port}\""),
        _ if is_port && is_name && host.contains(|c: char| c.is_ascii_alphabetic()) => {
            format!("host names are not taken, found {text:?}: {}", here_or_everywhere(port))
        }
        _ if address.parse::<std::net::IpAddr>().is_ok() => {
            let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
            format!("the port is missing: write \"{scheme}{host}:8080\"")
        }
        _ => format!(
            "expected ADDRESS:PORT such as \"127.0.0.1:8080\", \"0.0.0.0:80\", \"[::]:80\" or \
             \"https://0.0.0.0:443\", or \"unix:/run/createrepod/http.sock\", found {text:?}"
        ),
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(address) => address.fmt(f),
            Self::Https(address) => write!(f, "https://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// PEM files for `https://` listeners; read again whenever they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The server's certificate, followed by those that lead to a root.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Authorities whose certificates clients may show; `None`: none is asked for.
    pub client_ca: Option<PathBuf>,
}

/// Where requests are noted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AccessLog {
    #[default]
    Off,
    /// As events of the daemon's own log.
    Journal,
    /// A file in Apache's combined format; absolute.
    File(PathBuf),
}

impl AccessLog {
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "journal" => Ok(Self::Journal),
            path if path.starts_with('/') && !path.contains('\0') => Ok(Self::File(path.into())),
            _ => Err(format!(
                "expected \"off\", \"journal\" or a file such as \"/var/log/createrepod/access.log\", found {text:?}"
            )),
        }
    }
}

impl fmt::Display for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Journal => f.write_str("journal"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// `[limits]`: bounds on strangers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Connections at a time; further ones wait.
    pub connections: usize,
    /// Of these, from one address (IPv6: from one /64); 0: as many as there are. This machine is not counted.
    pub connections_per_address: usize,
    /// For the whole of a request's header, and for a TLS handshake.
    pub header_time: Duration,
    /// Bytes of request line and header.
    pub header_size: usize,
    /// Header fields of a request.
    pub header_count: usize,
    /// Pause within a request's body, and within taking an answer.
    pub stall: Duration,
    /// Bytes a second that a body or an answer must make on the whole, once `stall` is used up.
    pub least_rate: u64,
    /// How long a connection without a request stays open.
    pub idle: Duration,
    /// How long requests in flight may take to end once we were told to stop.
    pub stop: Duration,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: 1_000,
            header_time: Duration::from_secs(30),
            header_size: 64 * 1024,
            header_count: 100,
            stall: Duration::from_secs(60),
            least_rate: 500,
            idle: Duration::from_secs(75),
            stop: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_listen_are_spelled_as_they_are_read() {
        for text in
            ["127.0.0.1:8080", "[::]:80", "https://0.0.0.0:443", "https://[::1]:0", "unix:/run/x.sock"]
        {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        assert_eq!("http://127.0.0.1:80/".parse::<Listen>().unwrap().to_string(), "127.0.0.1:80");
        let long = format!("unix:/{}", "x".repeat(107));
        for bad in [
            "",
            "8080",
            "localhost:80",
            "https://",
            "https://host:443",
            "unix:",
            "unix:run/x",
            "unix:/a\0",
            &long,
        ] {
            assert!(bad.parse::<Listen>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_no_address_says_what_to_write() {
        for (text, told) in [
            ("localhost:8080", "write \"127.0.0.1:8080\""),
            (":8080", "\"0.0.0.0:8080\" for all"),
            ("*:80", "\"127.0.0.1:80\" for this machine alone"),
            ("8080", "\"127.0.0.1:8080\""),
            ("https://repo.example.com:443", "host names are not taken"),
            ("127.0.0.1", "write \"127.0.0.1:8080\""),
            ("::1", "write \"[::1]:8080\""),
            ("x:y", "expected ADDRESS:PORT"),
        ] {
            let why = text.parse::<Listen>().unwrap_err();
            assert!(why.contains(told), "{text}: {why}");
        }
    }

    #[test]
    fn one_port_cannot_speak_both() {
        let clash = |one: &str, two: &str| one.parse::<Listen>().unwrap().clashes(&two.parse().unwrap());
        assert!(clash("127.0.0.1:80", "https://127.0.0.1:80"));
        assert!(clash("unix:/x", "unix:/x"));
        assert!(!clash("127.0.0.1:0", "127.0.0.1:0"));
        assert!(!clash("127.0.0.1:80", "unix:/x"));
    }

    #[test]
    fn an_access_log_is_off_or_somewhere() {
        for text in ["off", "journal", "/var/log/a"] {
            assert_eq!(AccessLog::parse(text).unwrap().to_string(), text);
        }
        assert!(AccessLog::parse("on").is_err() && AccessLog::parse("a.log").is_err());
    }
}
