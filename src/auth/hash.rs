//! Hashes of passwords as Apache's htpasswd writes them.

use base64::Engine as _;
use md5::{Digest as _, Md5};
use sha_crypt::{PasswordVerifier as _, ShaCrypt};
use sha1::Sha1;
use subtle::ConstantTimeEq as _;

/// A hash whose form was checked when the file was read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PasswordHash {
    scheme: Scheme,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Scheme {
    /// `$2y$`, `$2a$`, `$2b$`: htpasswd -B
    Bcrypt,
    /// `$5$` and `$6$`: htpasswd -2 and -5
    ShaCrypt,
    /// `$apr1$`: htpasswd -m; `$1$` is the same with another name in it
    Md5,
    /// `{SHA}`: htpasswd -s
    Sha1,
}

/// Longer passwords are nobody's.
const LONGEST: usize = 1024;
/// What checking one password may cost: some seconds.
const MOST_BCRYPT: u32 = 16;
const MOST_ROUNDS: u32 = 5_000_000;

impl PasswordHash {
    /// Takes what stands behind the colon; the error says why it is of no use.
    pub fn parse(text: &str) -> Result<Self, String> {
        let scheme = scheme(text)?;
        Ok(Self { scheme, text: text.to_owned() })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// About how long a password takes to be held against it, in microseconds of a usual machine.
    pub fn cost(&self) -> u64 {
        let number = |part: Option<&str>| part.and_then(|digits| digits.parse::<u64>().ok());
        let mut parts = self.text.split('$').skip(2);
        match self.scheme {
            Scheme::Bcrypt => 35 << number(parts.next()).unwrap_or(0).min(32),
            Scheme::ShaCrypt => {
                let rounds = parts.next().and_then(|part| part.strip_prefix("rounds="));
                number(rounds).unwrap_or(5000).max(1000) / 2
            }
            Scheme::Md5 => 300,
            Scheme::Sha1 => 1,
        }
    }

    /// Whether it is this password's. Takes long, as it should. Blocking.
    pub fn is_of(&self, password: &[u8]) -> bool {
        if password.len() > LONGEST {
            return false;
        }
        match self.scheme {
            Scheme::Bcrypt => bcrypt::verify(password, &self.text).unwrap_or(false),
            Scheme::ShaCrypt => ShaCrypt::default().verify_password(password, self.text.as_str()).is_ok(),
            Scheme::Md5 => md5_crypt(password, &self.text)
                .is_some_and(|found| found.as_bytes().ct_eq(self.text.as_bytes()).into()),
            Scheme::Sha1 => {
                let found = base64::engine::general_purpose::STANDARD.encode(Sha1::digest(password));
                found.as_bytes().ct_eq(&self.text.as_bytes()["{SHA}".len()..]).into()
            }
        }
    }
}

/// Whether the password is that of `hash`, if there is one. Whatever is wrong takes about as long as the costliest hash
/// does, whether or not there is such a user. Blocking.
pub fn matches(hash: Option<&PasswordHash>, costliest: Option<&PasswordHash>, password: &[u8]) -> bool {
    let matches = hash.is_some_and(|hash| hash.is_of(password));
    let spent = hash.map_or(0, PasswordHash::cost);
    if !matches && let Some(costliest) = costliest.filter(|costliest| costliest.cost() > spent) {
        // Only for the time it takes.
        std::hint::black_box(costliest.is_of(password));
    }
    matches
}

fn scheme(text: &str) -> Result<Scheme, String> {
    let number = |part: Option<&str>| part.and_then(|digits| digits.parse::<u32>().ok());
    if text.starts_with("{SHA}") {
        return Ok(Scheme::Sha1);
    }
    let Some(rest) = text.strip_prefix('$') else {
        return Err(
            "it is a plain password or one of crypt(3)'s old kind; make it anew with htpasswd -B".into()
        );
    };
    let mut parts = rest.split('$');
    match parts.next().unwrap_or_default() {
        "2y" | "2a" | "2b" => match number(parts.next()) {
            Some(4..=MOST_BCRYPT) if text.len() == 60 => Ok(Scheme::Bcrypt),
            Some(cost) if cost > MOST_BCRYPT => Err(format!("a cost of {cost} would take minutes a login")),
            _ => Err("it is not a whole bcrypt hash".into()),
        },
        "5" | "6" => match parts.next().and_then(|part| part.strip_prefix("rounds=")) {
            Some(rounds) if number(Some(rounds)).is_none_or(|rounds| rounds > MOST_ROUNDS) => {
                Err(format!("{rounds} rounds would take too long a login"))
            }
            _ => Ok(Scheme::ShaCrypt),
        },
        "apr1" | "1" => Ok(Scheme::Md5),
        other => Err(format!("its kind (${other}$) is not known here; make it anew with htpasswd -B")),
    }
}

/// What the MD5-based crypt of FreeBSD, and Apache's variant of it, make of a password with the salt of
/// `hash`: `$apr1$salt$digest`. `None` when `hash` has another form.
fn md5_crypt(password: &[u8], hash: &str) -> Option<String> {
    let (name, rest) = hash.strip_prefix('$')?.split_once('$')?;
    let salt = rest.split('$').next()?;
    let salt = salt.get(..salt.len().min(8))?;
    let magic = format!("${name}$");
    let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut context = Md5::new().chain_update(password).chain_update(&magic).chain_update(salt);
    for chunk in password.chunks(16) {
        context.update(&inner[..chunk.len()]);
    }
    let mut length = password.len();
    while length > 0 {
        context.update(if length & 1 == 1 { &[0] } else { &password[..1] });
        length >>= 1;
    }
    let mut digest = context.finalize();
    for round in 0..1000 {
        let mut context = Md5::new();
        let odd = round % 2 == 1;
        context.update(if odd { password } else { digest.as_slice() });
        if round % 3 != 0 {
            context.update(salt);
        }
        if round % 7 != 0 {
            context.update(password);
        }
        context.update(if odd { digest.as_slice() } else { password });
        digest = context.finalize();
    }
    let mut text = format!("{magic}{salt}$");
    for [a, b, c] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        let value = u32::from(digest[a]) << 16 | u32::from(digest[b]) << 8 | u32::from(digest[c]);
        append(&mut text, value, 4);
    }
    append(&mut text, u32::from(digest[11]), 2);
    Some(text)
}

/// `letters` times six bits, the lowest first, in crypt's alphabet.
fn append(text: &mut String, mut value: u32, letters: usize) {
    const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for _ in 0..letters {
        text.push(char::from(ALPHABET[(value & 63) as usize]));
        value >>= 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by Apache's htpasswd 2.4 and OpenSSL 3: all of the password "pässword 1".
    const HASHES: &[&str] = &[
        "$2y$05$8OOcfBSsDvp0MQVs/VLWj./VMEB03TzUtCSGx0599evH5v40xBCt6",
        "$apr1$WwA.cV4e$QhFHw3I3J5Mvwxxz07R1Q1",
        "{SHA}wBFJYYjnh5eS5Eft5JORpd7Gkko=",
        "$5$zOgtPcioKrRdFpfB$JpDqAstm4BhNnh3aWhvVImyE4MJVNH7p2VYLrTpr5S2",
        "$6$qxjx..nXUmlD3IeM$RbTJkOOIuAwEJIgksz2MIl3xbQ6gy5zO2cNrCSwCGC8QQbro8luJCoedY1ji0DFB4LDVmL9qFAtYFJwZRt46l.",
        "$1$7rtXa2oX$qKCUlrKqLjGbC1/mYo0dB.",
        "$apr1$4ti2AlDP$pHJYIjgBAjIslDlZx.Wcg.",
        "$5$CyjXRNm/jke30bg2$4LPd34IqequeI5IweVEm3FG.ZsPP4RvkGcolCfck3M/",
        "$6$f0iNKegcgkPxW5Ah$VXgxI6JTZmgAmdpAYMd2EpWEvkjtD7fOasFYkqfE4l8EO4GtJHNYT/1NIfsTaFCnI2mWwXcK3KXwFAY8Vjcdl0",
        "$apr1$ab$1Lm8B0ATIuwEZ0241oQiT/",
    ];

    #[test]
    fn a_wrong_password_costs_as_much_as_the_costliest_hash() {
        let parse = |text: &str| PasswordHash::parse(text).unwrap();
        let sha1 = parse("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=");
        let bcrypt = |cost: &str| parse(&format!("$2y${cost}${}", "a".repeat(53)));
        let costs = [
            sha1.cost(),
            parse("$apr1$salt$digest").cost(),
            parse("$6$salt$digest").cost(),
            bcrypt("10").cost(),
            bcrypt("12").cost(),
            parse("$5$rounds=5000000$salt$digest").cost(),
        ];
        assert!(costs.is_sorted() && costs.windows(2).all(|pair| pair[0] < pair[1]), "{costs:?}");
        assert!(matches(Some(&sha1), Some(&sha1), b"password"));
        assert!(!matches(Some(&sha1), Some(&sha1), b"wrong") && !matches(None, Some(&sha1), b"password"));
        assert!(!matches(None, None, b""));
    }

    #[test]
    fn what_htpasswd_writes_is_understood() {
        for text in HASHES {
            let hash = PasswordHash::parse(text).unwrap();
            assert!(hash.is_of("pässword 1".as_bytes()), "{text}");
            for wrong in ["", "pässword", "pässword 2", "pässword 1 "] {
                assert!(!hash.is_of(wrong.as_bytes()), "{text} {wrong:?}");
            }
        }
    }

    #[test]
    fn what_is_of_no_use_says_why() {
        for (text, why) in [
            ("secret", "plain password"),
            ("rqXexS6ZhobKA", "crypt(3)"),
            ("$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7", "$y$"),
            ("$argon2id$v=19$m=65536,t=3,p=4$x$y", "$argon2id$"),
            ("$2y$31$L6Bc/AlTQHyd9liGgGEZyOFLPHNgyxeEPfgYfBCVxJ7JIlwxyVU3u", "cost of 31"),
            ("$2y$05$short", "whole"),
            ("$6$rounds=999999999$salt$x", "rounds"),
            ("", "plain"),
        ] {
            let error = PasswordHash::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_broken_hash_is_nobodys() {
        for text in ["$apr1$", "$1$", "$apr1$é$x", "$5$", "$6$rounds=5000$", "$6$a$b", "{SHA}", "{SHA}x"] {
            let hash = PasswordHash::parse(text).unwrap();
            assert!(!hash.is_of(b"") && !hash.is_of(b"x") && !hash.is_of(&[b'a'; 4000]), "{text}");
        }
    }
}
