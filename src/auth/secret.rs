//! The text of a token: made, taken apart, and compared.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::rights::Token;

/// Says whose it is: for people, and for programs that look for secrets where none should be.
const PREFIX: &str = "crd_";
/// No letter that must be escaped anywhere, no two that look alike in lower case.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const ID: usize = 8;
/// 160 bits.
const SECRET: usize = 32;

/// Different letters that a random secret has at least.
const LEAST_DIFFERENT: usize = 10;

/// A new token's text: `crd_<id>_<secret>`. It is shown once and kept nowhere.
pub struct NewSecret {
    text: String,
}

impl NewSecret {
    /// With an id of its own, or the one it replaces the secret of. Asks the operating system for randomness.
    pub fn make(id: Option<&str>) -> Result<Self, getrandom::Error> {
        let id = match id {
            Some(id) => id.to_owned(),
            None => random(ID)?,
        };
        Ok(Self { text: format!("{PREFIX}{id}_{}", random(SECRET)?) })
    }

    /// One that was made before, here or elsewhere, in the same form. What is easily guessed is refused.
    pub fn given(text: &str) -> Result<Self, String> {
        const FORM: &str = "a token's secret is \"crd_\", 8 letters, \"_\" and 32 letters, of a-z and 2-7, as createrepod \
                            token add prints it";
        if id(text).is_none() {
            return Err(format!("{FORM}; what was given is another thing"));
        }
        let mut letters: Vec<u8> = text.bytes().skip(PREFIX.len() + ID + 1).collect();
        letters.sort_unstable();
        letters.dedup();
        // Of 32 random letters a third are different ones, and more, but once in many millions of years.
        if letters.len() < LEAST_DIFFERENT {
            return Err(format!("this secret is too easily guessed: its 32 letters must be random; {FORM}"));
        }
        Ok(Self { text: text.to_owned() })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn id(&self) -> &str {
        &self.text[PREFIX.len()..PREFIX.len() + ID]
    }

    pub fn hash(&self) -> [u8; 32] {
        hash(&self.text)
    }
}

/// Letters from the operating system's generator, five bits each.
fn random(letters: usize) -> Result<String, getrandom::Error> {
    let mut bytes = vec![0; letters];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// The id in a text that has the form of a token; `None` for other secrets.
pub fn id(text: &str) -> Option<&str> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let right = |part: &str, len| part.len() == len && part.bytes().all(|byte| ALPHABET.contains(&byte));
    (right(id, ID) && right(secret, SECRET)).then_some(id)
}

/// Whether `text` is this token's, at `now` (seconds since the epoch).
pub fn is_of(text: &str, token: &Token, now: u64) -> Result<(), &'static str> {
    let hash = hash(text);
    // Both are compared in any case, each in constant time: a fast hash is enough for 160 random bits.
    let current = hash.ct_eq(&token.hash);
    let before = token.before.unwrap_or(([0; 32], 0));
    let rotated = hash.ct_eq(&before.0);
    let is_it = bool::from(current) || (bool::from(rotated) && now < before.1);
    if !is_it {
        return Err("this token is not known here; it may have been rotated or revoked");
    }
    match token.expires {
        Some(expires) if expires <= now => Err("this token has expired"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rights::Grant;

    fn token(secret: &NewSecret) -> Token {
        Token {
            id: secret.id().into(),
            name: "ci".into(),
            hash: secret.hash(),
            before: None,
            grant: Grant::default(),
            made: 0,
            expires: None,
            last_used: None,
        }
    }

    #[test]
    fn a_token_can_be_told_from_every_other_secret() {
        let secret = NewSecret::make(None).unwrap();
        assert_eq!(id(secret.text()), Some(secret.id()));
        assert_eq!(secret.text().len(), 45);
        let text = secret.text();
        for other in
            [&text[1..], &text[..44], &format!("{text}a"), &text.to_uppercase(), "crd_", "password", ""]
        {
            assert_eq!(id(other), None, "{other:?}");
        }
        assert_ne!(NewSecret::make(None).unwrap().text(), text);
    }

    #[test]
    fn a_secret_that_is_brought_along_must_be_a_strong_one() {
        for _ in 0..1000 {
            let made = NewSecret::make(None).unwrap();
            let given = NewSecret::given(made.text()).unwrap();
            assert_eq!((given.text(), given.id(), given.hash()), (made.text(), made.id(), made.hash()));
        }
        let same = format!("crd_abcdefgh_{}", "a".repeat(32));
        let few = format!("crd_abcdefgh_{}", "abcdefgh".repeat(4));
        for weak in ["", "password", "crd_abcdefgh_short", &same, &few, &same.to_uppercase()] {
            let why = NewSecret::given(weak).err().unwrap();
            assert!(why.contains("32 letters") && (weak.is_empty() || !why.contains(weak)), "{why}");
        }
    }

    #[test]
    fn only_the_whole_secret_counts_and_only_until_it_expires() {
        let secret = NewSecret::make(None).unwrap();
        let mut token = token(&secret);
        assert!(is_of(secret.text(), &token, 5).is_ok());
        let other = NewSecret::make(Some(secret.id())).unwrap();
        assert_eq!(other.id(), secret.id());
        assert!(is_of(other.text(), &token, 5).is_err());
        token.expires = Some(10);
        assert!(is_of(secret.text(), &token, 9).is_ok());
        assert_eq!(is_of(secret.text(), &token, 10), Err("this token has expired"));
    }

    #[test]
    fn after_a_rotation_the_old_text_counts_as_long_as_was_said() {
        let (old, new) = (NewSecret::make(None).unwrap(), NewSecret::make(None).unwrap());
        let token = Token { before: Some((old.hash(), 10)), ..token(&new) };
        assert!(is_of(new.text(), &token, 99).is_ok() && is_of(old.text(), &token, 9).is_ok());
        assert!(is_of(old.text(), &token, 10).is_err());
    }
}
