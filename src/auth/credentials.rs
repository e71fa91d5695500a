//! What a request says of who makes it: the `Authorization` header (RFC 9110, RFC 7617, RFC 6750).

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use super::secret;

/// Holds secrets, so it cannot be printed.
pub enum Credentials {
    None,
    /// A token of ours, as `Bearer` or as the password of any user.
    Token(String),
    Password {
        user: String,
        password: Vec<u8>,
    },
    /// A bearer token of somebody else's.
    Foreign,
    /// Nothing we can read, and why.
    Unreadable(&'static str),
}

/// Longest header that is looked at, in bytes.
const LONGEST: usize = 8 * 1024;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Credentials {
    pub fn of(headers: &HeaderMap) -> Self {
        let mut all = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = all.next() else { return Self::None };
        if all.next().is_some() {
            return Self::Unreadable("the request has more than one Authorization header");
        }
        let (Ok(value), true) = (value.to_str(), value.len() <= LONGEST) else {
            return Self::Unreadable("the Authorization header is not readable");
        };
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        if scheme.eq_ignore_ascii_case("bearer") {
            let token = rest.trim();
            return if secret::id(token).is_some() { Self::Token(token.to_owned()) } else { Self::Foreign };
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Self::Unreadable("this server understands Basic and Bearer in the Authorization header");
        }
        let Ok(decoded) = BASE64.decode(rest.trim()) else {
            return Self::Unreadable("the Authorization header is not base64");
        };
        let Some(colon) = decoded.iter().position(|byte| *byte == b':') else {
            return Self::Unreadable("the Authorization header has no user:password");
        };
        let (user, password) = (&decoded[..colon], &decoded[colon + 1..]);
        match std::str::from_utf8(password) {
            Ok(token) if secret::id(token).is_some() => Self::Token(token.to_owned()),
            _ => Self::Password {
                // What is not UTF-8 was meant as Latin-1: older clients know nothing else.
                user: String::from_utf8(user.to_vec())
                    .unwrap_or_else(|_| user.iter().copied().map(char::from).collect()),
                password: password.to_vec(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        values.iter().for_each(|value| _ = headers.append(AUTHORIZATION, value.parse().unwrap()));
        match Credentials::of(&headers) {
            Credentials::None => "none".into(),
            Credentials::Token(text) => format!("token {text}"),
            Credentials::Password { user, password } => {
                format!("{user} / {}", String::from_utf8_lossy(&password))
            }
            Credentials::Foreign => "foreign".into(),
            Credentials::Unreadable(why) => format!("unreadable: {why}"),
        }
    }

    fn basic(text: &[u8]) -> String {
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
    }

    #[test]
    fn a_token_is_one_however_it_comes() {
        let secret = secret::NewSecret::make(None).unwrap();
        let text = secret.text();
        let expected = format!("token {text}");
        assert_eq!(read(&[&format!("Bearer {text}")]), expected);
        assert_eq!(read(&[&format!("bearer  {text} ")]), expected);
        for user in ["ci", "", "nobody@example.com"] {
            assert_eq!(read(&[&basic(format!("{user}:{text}").as_bytes())]), expected);
        }
        assert_eq!(read(&["Bearer eyJhbGciOi.x.y"]), "foreign");
    }

    #[test]
    fn a_password_may_hold_what_it_likes() {
        assert_eq!(read(&[&basic(b"alice:secret")]), "alice / secret");
        assert_eq!(read(&[&basic(b"alice:a:b c")]), "alice / a:b c");
        assert_eq!(read(&[&basic("älice:pässword".as_bytes())]), "älice / pässword");
        assert_eq!(read(&[&basic(b"\xe4lice:x")]), "älice / x");
        assert_eq!(read(&["basic YTpi"]), "a / b");
        assert_eq!(read(&["Basic YWw6eA"]), "al / x", "without padding");
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        assert_eq!(read(&[]), "none");
        for values in [
            &["Basic"][..],
            &["Basic !!!!"],
            &["Basic YWxpY2U="],
            &["Digest username=\"x\""],
            &["Negotiate YII"],
            &[""],
            &["Bearer a", "Bearer b"],
        ] {
            assert!(read(values).starts_with("unreadable: "), "{values:?}");
        }
        let long = format!("Basic {}", "A".repeat(LONGEST));
        assert!(read(&[&long]).starts_with("unreadable: "));
    }
}
