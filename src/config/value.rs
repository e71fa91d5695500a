//! How single values are spelled: choices, durations, sizes, listen addresses. Parsing and
//! spelling stand side by side, so that what `config show` prints can be pasted back.

use std::time::Duration;

use super::{Accept, Listen, MetadataProfile, Overwrite, Space, Symlinks};
use crate::package::{ChecksumType, Verify};

/// A setting with a few named values.
pub trait Choice: Copy + PartialEq + 'static {
    /// What may be written, with its meaning.
    const CHOICES: &'static [(&'static str, Self)];
    /// What the documentation names and this version does not have yet.
    const LATER: &'static [&'static str] = &[];
    /// What nobody is told to write: old and broken.
    const NOT_MEANT: &'static [&'static str] = &[];

    fn parse(text: &str) -> Result<Self, String> {
        if let Some((_, value)) = Self::CHOICES.iter().find(|(name, _)| *name == text) {
            return Ok(*value);
        }
        let names: Vec<_> = Self::CHOICES.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let expected = match names.as_slice() {
            [only] => format!("expected {only}"),
            _ => format!("expected one of {}", names.join(", ")),
        };
        if Self::LATER.contains(&text) {
            return Err(format!("{text:?} is not there yet in this version; {expected}"));
        }
        let meant =
            Self::CHOICES.iter().map(|(name, _)| *name).filter(|name| !Self::NOT_MEANT.contains(name));
        let nearest = nearest(text, meant);
        let hint = nearest.map(|name| format!(" (did you mean \"{name}\"?)")).unwrap_or_default();
        Err(format!("{expected}, found {text:?}{hint}"))
    }

    fn spell(self) -> &'static str {
        Self::CHOICES.iter().find(|(_, value)| *value == self).map_or("local clients", |(name, _)| name)
    }
}

impl Choice for Accept {
    const CHOICES: &'static [(&'static str, Self)] = &[("packages", Self::Packages), ("any", Self::Any)];
}

impl Choice for Overwrite {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("deny", Self::Deny), ("same", Self::Same), ("allow", Self::Allow)];
}

impl Choice for Verify {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("header", Self::Header), ("digest", Self::Digest), ("signature", Self::Signature)];
}

impl Choice for MetadataProfile {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("zstd", Self::Zstd), ("gzip", Self::Gzip), ("el7", Self::El7), ("el6", Self::El6)];
}

impl Choice for ChecksumType {
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("md5", Self::Md5),
        ("sha1", Self::Sha1),
        ("sha224", Self::Sha224),
        ("sha256", Self::Sha256),
        ("sha384", Self::Sha384),
        ("sha512", Self::Sha512),
    ];
    const NOT_MEANT: &'static [&'static str] = &["md5", "sha1"];
}

impl Choice for Symlinks {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("never", Self::Never), ("inside", Self::Inside), ("anywhere", Self::Anywhere)];
}

/// The name most like `text`, if any is near enough to be a slip of the finger.
pub fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (strsim::damerau_levenshtein(&text.to_lowercase(), name), name))
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 3) && *distance < name.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Durations add up: `1h10m`, `2s`, `500ms`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("expected a duration such as \"2s\", \"10m\" or \"1h10m\", found {text:?}"))
}

/// The shortest text that [`parse_duration`] reads back, in hours at most: `48h`, `1h10m`, `500ms`.
pub fn spell_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let nanos = u64::from(duration.subsec_nanos());
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (nanos / 1_000_000, "ms"),
        (nanos / 1000 % 1000, "us"),
        (nanos % 1000, "ns"),
    ];
    let spelled: String =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if spelled.is_empty() { "0s".into() } else { spelled }
}

/// Bytes, or with `k`, `m`, `g` in steps of 1024.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" => Some(0),
        "k" | "K" => Some(10),
        "m" | "M" => Some(20),
        "g" | "G" => Some(30),
        _ => None,
    };
    // u64's own parser would also take a sign.
    let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().ok()).flatten();
    number.zip(shift).and_then(|(number, shift)| number.checked_mul(1 << shift)).ok_or_else(|| {
        format!("expected a size such as \"512k\", \"100m\" or \"2g\" (steps of 1024), found {text:?}")
    })
}

pub fn spell_size(bytes: u64) -> String {
    for (shift, unit) in [(30, "g"), (20, "m"), (10, "k")] {
        if bytes > 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// A share of the file system (`10%`) or a size (`5g`).
pub fn parse_space(text: &str) -> Result<Space, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.parse::<u8>().ok());
    match percent {
        Some(percent @ 0..=100) => Ok(Space::Percent(percent)),
        _ => parse_size(text).map(Space::Bytes).map_err(|_| {
            format!("expected a share such as \"10%\" or a size such as \"5g\", found {text:?}")
        }),
    }
}

pub fn spell_space(space: Space) -> String {
    match space {
        Space::Percent(percent) => format!("{percent}%"),
        Space::Bytes(bytes) => spell_size(bytes),
    }
}

/// `ADDRESS:PORT`, `https://ADDRESS:PORT` or `unix:/PATH`; port 0 lets the system choose.
pub fn parse_listen(text: &str) -> Result<Listen, String> {
    text.parse()
}

/// Octal digits, as umask(1) takes them.
pub fn parse_umask(text: &str) -> Result<u32, String> {
    let octal = text.len() <= 4 && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    match u32::from_str_radix(text, 8) {
        Ok(mask) if octal && mask & 0o700 != 0 => {
            Err(format!("{text:?} would take the daemon's own rights to the files it makes"))
        }
        Ok(mask) if octal && mask <= 0o777 => Ok(mask),
        _ => Err(format!("expected octal digits in quotes, such as \"022\", found {text:?}")),
    }
}

pub fn spell_umask(mask: u32) -> String {
    format!("{mask:03o}")
}

/// A URL without what may be secret in it: user and password, and the query.
pub fn without_secrets(url: &str) -> String {
    let (plain, query) = url.split_once('?').map_or((url, ""), |(plain, _)| (plain, "?…"));
    let after_scheme = plain.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = plain.split_at(after_scheme);
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}…{}{query}", &rest[at..]),
        None => format!("{plain}{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        for (url, shown) in [
            ("https://auth.example.com/may", "https://auth.example.com/may"),
            ("https://auth.example.com/may?key=secret", "https://auth.example.com/may?…"),
            ("https://user:secret@auth.example.com:8443/@may", "https://…@auth.example.com:8443/@may"),
            ("http://h?x@y", "http://h?…"),
            ("unix:/run/may.sock:/may?secret", "unix:/run/may.sock:/may?…"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }

    #[test]
    fn durations_add_up() {
        assert_eq!(parse_duration("1h10m").unwrap(), Duration::from_secs(4200));
        assert_eq!(parse_duration("500ms").unwrap(), Duration::from_millis(500));
        for bad in ["", "1", "h", "-1s", "1parsec", "99999999999999999999h"] {
            assert!(parse_duration(bad).is_err(), "{bad:?} was accepted");
        }
        for text in ["1h", "48h", "1h10m", "1h1s", "2s", "500ms", "1s1us", "5ns", "0s"] {
            assert_eq!(spell_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes_step_by_1024() {
        assert_eq!(parse_size("2g").unwrap(), 2 << 30);
        assert_eq!(parse_size("512K").unwrap(), 512 << 10);
        assert_eq!(parse_size("0").unwrap(), 0);
        for bad in ["", "g", "2gb", "-1", "+1", "1.5g", "99999999999g", "2 g", "1t", "²"] {
            assert!(parse_size(bad).is_err(), "{bad:?} was accepted");
        }
        for text in ["0", "1", "1k", "1023k", "2g"] {
            assert_eq!(spell_size(parse_size(text).unwrap()), text);
        }
    }

    #[test]
    fn space_is_a_share_or_a_size() {
        assert_eq!(parse_space("10%").unwrap(), Space::Percent(10));
        assert_eq!(parse_space("5g").unwrap(), Space::Bytes(5 << 30));
        for bad in ["101%", "-1%", "%", "ten", "256%"] {
            assert!(parse_space(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_umask_is_octal_and_leaves_the_owner_his_rights() {
        assert_eq!(parse_umask("022").unwrap(), 0o022);
        assert_eq!(parse_umask("0002").unwrap(), 0o002);
        for bad in ["", "8", "18", "0x12", "+22", "777", "700", "00022"] {
            assert!(parse_umask(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_choice_names_what_there_is_and_what_is_meant() {
        assert_eq!(Overwrite::parse("same"), Ok(Overwrite::Same));
        assert_eq!(
            MetadataProfile::parse("zst").unwrap_err(),
            r#"expected one of "zstd", "gzip", "el7", "el6", found "zst" (did you mean "zstd"?)"#
        );
        for slip in ["sha3", "sha", "sha11", "md4", "md55"] {
            let why = ChecksumType::parse(slip).unwrap_err();
            let hint = why.split("found").last().unwrap_or_default();
            assert!(!hint.contains("\"sha1\"") && !hint.contains("\"md5\""), "{slip}: {why}");
        }
    }

    #[test]
    fn every_choice_is_spelled_as_it_is_read() {
        fn check<C: Choice + std::fmt::Debug>() {
            for (name, value) in C::CHOICES {
                assert_eq!(C::parse(name).unwrap(), *value);
                assert_eq!(value.spell(), *name);
            }
        }
        check::<Accept>();
        check::<Overwrite>();
        check::<Verify>();
        check::<MetadataProfile>();
        check::<ChecksumType>();
        check::<Symlinks>();
    }

    #[test]
    fn the_nearest_name_is_a_slip_of_the_finger_not_a_guess() {
        let names = ["listen", "base_url", "max_upload"];
        assert_eq!(nearest("lisen", names.into_iter()), Some("listen"));
        assert_eq!(nearest("BASE_URL", names.into_iter()), Some("base_url"));
        assert_eq!(nearest("maxupload", names.into_iter()), Some("max_upload"));
        assert_eq!(nearest("certificate", names.into_iter()), None);
        assert_eq!(nearest("", ["x"].into_iter()), None);
    }
}
