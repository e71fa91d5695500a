//! Checksums as yum metadata names them.

use std::fmt;
use std::str::FromStr;

use sha2::Digest;

use super::sha256::Sha256;

/// A checksum algorithm, spelled as in `<checksum type="…">`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum ChecksumType {
    Md5,
    Sha1,
    Sha224,
    #[default]
    Sha256,
    Sha384,
    Sha512,
}

impl ChecksumType {
    pub const ALL: [Self; 6] =
        [Self::Md5, Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of the digest in bytes; its text has twice as many characters.
    pub fn len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl fmt::Display for ChecksumType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `sha` is what createrepo for EL5 wrote for SHA-1.
impl FromStr for ChecksumType {
    type Err = UnknownChecksumType;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sha" => Ok(Self::Sha1),
            _ => Self::ALL
                .into_iter()
                .find(|t| t.as_str() == text)
                .ok_or_else(|| UnknownChecksumType(text.into())),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("unknown checksum type {0:?}; known are md5, sha1, sha224, sha256, sha384 and sha512")]
pub struct UnknownChecksumType(String);

/// A digest with its algorithm; displays as lower-case hexadecimal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Checksum {
    pub kind: ChecksumType,
    /// Exactly `kind.len()` bytes.
    bytes: Box<[u8]>,
}

/// What yum metadata calls `pkgid`: the checksum of the whole package file.
pub type PkgId = Checksum;

impl Checksum {
    /// `None` when `bytes` has the wrong length for `kind`.
    pub fn new(kind: ChecksumType, bytes: &[u8]) -> Option<Self> {
        (bytes.len() == kind.len()).then(|| Self { kind, bytes: bytes.into() })
    }

    /// Reads hexadecimal digits of either case.
    pub fn from_hex(kind: ChecksumType, hex: &str) -> Option<Self> {
        let hex = hex.as_bytes();
        if hex.len() != kind.len() * 2 {
            return None;
        }
        let digit = |c: u8| char::from(c).to_digit(16);
        let bytes: Option<Box<[u8]>> =
            hex.chunks_exact(2).map(|p| Some((digit(p[0])? * 16 + digit(p[1])?) as u8)).collect();
        bytes.map(|bytes| Self { kind, bytes })
    }

    pub fn of(kind: ChecksumType, data: &[u8]) -> Self {
        let mut hasher = Hasher::new(kind);
        hasher.update(data);
        hasher.finish()
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The last bytes, as many as every algorithm has: uniform, and the same everywhere.
    pub fn end(&self) -> [u8; 16] {
        let mut end = [0; 16];
        end.copy_from_slice(&self.bytes[self.bytes.len() - 16..]);
        end
    }

    pub fn to_hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = String::with_capacity(self.bytes.len() * 2);
        for byte in &self.bytes {
            hex.push(char::from(DIGITS[usize::from(byte >> 4)]));
            hex.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        hex
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.to_hex())
    }
}

/// A checksum being taken. Cloning it keeps the state so far, which is what makes appends cheap.
#[derive(Clone)]
pub enum Hasher {
    Md5(md5::Md5),
    Sha1(sha1::Sha1),
    Sha224(sha2::Sha224),
    Sha256(Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl Hasher {
    pub fn new(kind: ChecksumType) -> Self {
        match kind {
            ChecksumType::Md5 => Self::Md5(md5::Md5::new()),
            ChecksumType::Sha1 => Self::Sha1(sha1::Sha1::new()),
            ChecksumType::Sha224 => Self::Sha224(sha2::Sha224::new()),
            ChecksumType::Sha256 => Self::Sha256(Sha256::new()),
            ChecksumType::Sha384 => Self::Sha384(sha2::Sha384::new()),
            ChecksumType::Sha512 => Self::Sha512(sha2::Sha512::new()),
        }
    }

    pub fn update(&mut self, data: &[u8]) {
        match self {
            Self::Md5(h) => h.update(data),
            Self::Sha1(h) => h.update(data),
            Self::Sha224(h) => h.update(data),
            Self::Sha256(h) => h.update(data),
            Self::Sha384(h) => h.update(data),
            Self::Sha512(h) => h.update(data),
        }
    }

    /// Two sums of two pieces of data, in the time of one where both are SHA-256.
    pub fn update_both(one: (&mut Self, &[u8]), other: (&mut Self, &[u8])) {
        match (one, other) {
            ((Self::Sha256(one), of_one), (Self::Sha256(other), of_other)) => {
                Sha256::update_both((one, of_one), (other, of_other));
            }
            ((one, of_one), (other, of_other)) => {
                one.update(of_one);
                other.update(of_other);
            }
        }
    }

    pub fn finish(self) -> Checksum {
        let (kind, bytes): (_, Box<[u8]>) = match self {
            Self::Md5(h) => (ChecksumType::Md5, h.finalize()[..].into()),
            Self::Sha1(h) => (ChecksumType::Sha1, h.finalize()[..].into()),
            Self::Sha224(h) => (ChecksumType::Sha224, h.finalize()[..].into()),
            Self::Sha256(h) => (ChecksumType::Sha256, h.finish().into()),
            Self::Sha384(h) => (ChecksumType::Sha384, h.finalize()[..].into()),
            Self::Sha512(h) => (ChecksumType::Sha512, h.finalize()[..].into()),
        };
        Checksum { kind, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_reads_back_its_own_text() {
        for kind in ChecksumType::ALL {
            let sum = Checksum::of(kind, b"abc");
            assert_eq!(kind.as_str().parse::<ChecksumType>().unwrap(), kind);
            assert_eq!(Checksum::from_hex(kind, &sum.to_hex()), Some(sum));
        }
        assert!(Checksum::from_hex(ChecksumType::Md5, "zz").is_none());
    }

    #[test]
    fn a_cloned_state_goes_on_where_it_was() {
        let mut first = Hasher::new(ChecksumType::Sha256);
        first.update(b"ab");
        let mut second = first.clone();
        second.update(b"c");
        assert_eq!(second.finish(), Checksum::of(ChecksumType::Sha256, b"abc"));
    }
}
