//! A client's TLS certificate as an identity: the names in it (X.509, RFC 5280), and its fingerprint.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// A certificate whose chain and validity TLS has checked already; what remains is whom it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The last common name of its subject, then the DNS names it is for.
    names: Vec<String>,
    /// `sha256:` and 64 hexadecimal digits.
    fingerprint: String,
}

impl Certificate {
    /// Takes the client's own certificate (the first of its chain), DER, verified.
    pub fn from_der(der: &[u8]) -> Self {
        let mut fingerprint = String::from("sha256:");
        for byte in Sha256::digest(der) {
            // Writing to a String cannot fail.
            let _ = write!(fingerprint, "{byte:02x}");
        }
        let mut names = Vec::new();
        if let Ok(certificate) = webpki::EndEntityCert::try_from(&der.into()) {
            names.extend(common_name(certificate.subject()));
            names.extend(certificate.valid_dns_names().map(str::to_owned));
        }
        Self { names, fingerprint }
    }

    #[cfg(test)]
    pub fn called(name: &str) -> Self {
        Self { names: vec![name.to_owned()], fingerprint: "sha256:00".into() }
    }

    /// For people: its first name, or else its fingerprint.
    pub fn name(&self) -> &str {
        self.names.first().unwrap_or(&self.fingerprint)
    }

    /// `sha256:…`
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether a configuration that says `wanted` means this one.
    pub fn is_called(&self, wanted: &str) -> bool {
        // A name that looks like a fingerprint is none.
        if wanted.starts_with("sha256:") {
            return wanted == self.fingerprint;
        }
        self.names.iter().any(|name| name == wanted)
    }
}

/// When a certificate (DER) ends, in seconds since 1970; `None` where it cannot be read.
pub fn not_after(mut der: &[u8]) -> Option<i64> {
    let mut certificate = inside(SEQUENCE, &mut der)?;
    let mut signed = inside(SEQUENCE, &mut certificate)?;
    // The version stands first, unless it is 1.
    if signed.first() == Some(&VERSION) {
        take(&mut signed)?;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        take(&mut signed)?;
    }
    let mut validity = inside(SEQUENCE, &mut signed)?;
    take(&mut validity)?;
    match take(&mut validity)? {
        (UTC_TIME, text) => {
            let year = two_digits(text)?;
            seconds(if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        (GENERALIZED_TIME, text) => {
            seconds(two_digits(text)? * 100 + two_digits(text.get(2..)?)?, text.get(4..)?)
        }
        _ => None,
    }
}

/// Takes one value off the front of `der`, which must have this tag.
fn inside<'d>(tag: u8, der: &mut &'d [u8]) -> Option<&'d [u8]> {
    take(der).and_then(|(found, value)| (found == tag).then_some(value))
}

/// Seconds since 1970 of a year and `MMDDHHMMSSZ` (RFC 5280, 4.1.2.5).
fn seconds(year: i64, rest: &[u8]) -> Option<i64> {
    let number = |at: usize| two_digits(rest.get(at..)?);
    let (month, day, hour, minute, second) = (number(0)?, number(2)?, number(4)?, number(6)?, number(8)?);
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day) && rest.get(10..) == Some(b"Z");
    if !is_date {
        return None;
    }
    // Years that begin in March have their odd day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

fn two_digits(text: &[u8]) -> Option<i64> {
    let digit =
        |at: usize| text.get(at).filter(|digit| digit.is_ascii_digit()).map(|digit| i64::from(digit - b'0'));
    Some(digit(0)? * 10 + digit(1)?)
}

/// The tag that begins the version of a certificate.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
/// id-at-commonName, 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// The last common name of a subject: a sequence of sets of pairs, without the outer sequence's own tag.
fn common_name(mut subject: &[u8]) -> Option<String> {
    let mut name = None;
    while let Some((SET, mut set)) = take(&mut subject) {
        while let Some((SEQUENCE, mut pair)) = take(&mut set) {
            let (Some((OID, oid)), Some((kind, value))) = (take(&mut pair), take(&mut pair)) else {
                continue;
            };
            let is_text = matches!(kind, UTF8_STRING | PRINTABLE_STRING | IA5_STRING);
            if oid == COMMON_NAME && is_text {
                name = std::str::from_utf8(value).ok().filter(|name| !name.is_empty()).map(str::to_owned);
            }
        }
    }
    name
}

/// Takes one value off the front of `der`: its tag and what it holds.
fn take<'d>(der: &mut &'d [u8]) -> Option<(u8, &'d [u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 | 0x82 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    *der = rest;
    Some((tag, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_goes_by_its_names_and_its_fingerprint() {
        let names = vec!["builder".into(), "b.example.com".into(), "sha256:11".into()];
        let certificate = Certificate { names, fingerprint: "sha256:00ff".into() };
        assert!(["builder", "b.example.com", "sha256:00ff"].iter().all(|name| certificate.is_called(name)));
        assert!(!["build", "*", "00ff", "sha256:11", ""].iter().any(|name| certificate.is_called(name)));
        assert_eq!(certificate.name(), "builder");
        let nothing = Certificate::from_der(b"");
        assert_eq!(nothing.name(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    fn pair(oid: &[u8], kind: u8, text: &str) -> Vec<u8> {
        let der = |tag: u8, value: &[u8]| [&[tag, u8::try_from(value.len()).unwrap()], value].concat();
        der(SET, &der(SEQUENCE, &[der(OID, oid), der(kind, text.as_bytes())].concat()))
    }

    #[test]
    fn the_common_name_is_found_in_a_subject() {
        let country = pair(&[0x55, 0x04, 0x06], PRINTABLE_STRING, "DE");
        let subject = [country.clone(), pair(COMMON_NAME, UTF8_STRING, "ci-größe")].concat();
        assert_eq!(common_name(&subject).as_deref(), Some("ci-größe"));
        let two = [subject, pair(COMMON_NAME, PRINTABLE_STRING, "last")].concat();
        assert_eq!(common_name(&two).as_deref(), Some("last"));
        assert_eq!(common_name(&country), None);
        assert_eq!(common_name(&pair(COMMON_NAME, UTF8_STRING, "")), None);
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        let der = |tag: u8, value: &[u8]| [&[tag, u8::try_from(value.len()).unwrap()], value].concat();
        let certificate = |version: bool, tag: u8, end: &[u8]| {
            let validity = der(SEQUENCE, &[der(UTC_TIME, b"700101000000Z"), der(tag, end)].concat());
            let version = if version { der(VERSION, &der(0x02, &[2])) } else { Vec::new() };
            let [serial, algorithm, issuer] = [der(0x02, &[1]), der(SEQUENCE, b""), der(SEQUENCE, b"")];
            let signed = der(SEQUENCE, &[version, serial, algorithm, issuer, validity].concat());
            not_after(&der(SEQUENCE, &[signed, der(SEQUENCE, b""), der(0x03, b"")].concat()))
        };
        for version in [true, false] {
            assert_eq!(certificate(version, UTC_TIME, b"700101000000Z"), Some(0));
            assert_eq!(certificate(version, UTC_TIME, b"240229235959Z"), Some(1_709_251_199));
            assert_eq!(certificate(version, UTC_TIME, b"491231000000Z"), Some(2_524_521_600));
            assert_eq!(certificate(version, UTC_TIME, b"691231235959Z"), Some(-1));
            assert_eq!(certificate(version, GENERALIZED_TIME, b"99991231235959Z"), Some(253_402_300_799));
            for nonsense in
                [&b""[..], b"70", b"701301000000Z", b"700101000000", b"7001010000001", b"70\xff101000000Z"]
            {
                assert_eq!(certificate(version, UTC_TIME, nonsense), None);
            }
        }
        assert_eq!(not_after(b""), None);
    }

    proptest::proptest! {
        #[test]
        fn no_subject_makes_the_reader_panic(bytes: Vec<u8>) {
            let _ = common_name(&bytes);
            let _ = (Certificate::from_der(&bytes), not_after(&bytes));
        }
    }
}
