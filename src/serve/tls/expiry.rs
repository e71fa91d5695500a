//! When certificates end, and who is to be told how long before.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::auth::not_after;

const DAY: i64 = 24 * 3600;
/// How long before its end a certificate is told of, in seconds.
const EARLY: i64 = 21 * DAY;

/// The end of that certificate of a file which ends first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    pub file: PathBuf,
    /// `server`, or `client_ca`.
    pub role: &'static str,
    /// Seconds since 1970.
    pub ends: i64,
}

impl Expiry {
    /// Of the certificates in `pem`, which is what `file` holds. Those that cannot be read are passed over: TLS has
    /// judged them.
    pub(super) fn first(file: &Path, role: &'static str, pem: &[u8]) -> Option<Self> {
        let all = CertificateDer::pem_slice_iter(pem).flatten();
        let ends = all.filter_map(|certificate| not_after(&certificate)).min()?;
        Some(Self { file: file.to_owned(), role, ends })
    }

    /// What there is to say, from three weeks before the end on.
    pub fn warning(&self, now: SystemTime) -> Option<String> {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let left = self.ends.saturating_sub(i64::try_from(now).unwrap_or(i64::MAX));
        let (file, date) = (self.file.display(), self.date());
        let (what, then) = match self.role {
            "server" => (format!("the TLS certificate {file}"), "clients refuse to connect"),
            _ => (format!("an authority in {file}"), "the certificates that it made for clients are refused"),
        };
        match left {
            ..=0 => Some(format!(
                "{what} has expired on {date}: {then}; replace the file, it is taken up at once"
            )),
            1..=EARLY => {
                let days = left / DAY;
                let unit = if days == 1 { "day" } else { "days" };
                Some(format!(
                    "{what} expires in {days} {unit}, on {date}; replace the file before, or {then}"
                ))
            }
            _ => None,
        }
    }

    /// `2026-11-30`
    pub fn date(&self) -> String {
        // No calendar reaches further.
        let seconds = u64::try_from(self.ends).unwrap_or(0).min(253_402_300_799);
        let time = UNIX_EPOCH + Duration::from_secs(seconds);
        humantime::format_rfc3339_seconds(time).to_string()[..10].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_three_weeks_before_and_ever_after() {
        let expiry = |role| Expiry { file: "/etc/tls.crt".into(), role, ends: 100 * DAY };
        let at = |days: u64| UNIX_EPOCH + Duration::from_secs(days * DAY.unsigned_abs());
        let server = expiry("server");
        assert_eq!(server.warning(at(78)), None);
        assert_eq!(
            server.warning(at(79)).as_deref(),
            Some(
                "the TLS certificate /etc/tls.crt expires in 21 days, on 1970-04-11; replace the file before, or \
                 clients refuse to connect"
            )
        );
        assert!(server.warning(at(99)).is_some_and(|text| text.contains("in 1 day,")));
        for days in [100, 500] {
            assert!(server.warning(at(days)).is_some_and(|text| text.contains("has expired on 1970-04-11")));
        }
        let authority = expiry("client_ca").warning(at(100)).unwrap();
        assert!(authority.starts_with("an authority in /etc/tls.crt has expired"), "{authority}");
    }
}
