//! Log-ins that failed: counted, and told in the log with the client's address, so that fail2ban and the like can act.
//!
//! The lines are [few in sum](FewLines).

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing::warn;

use super::few_lines::{FewLines, LeftOut};

/// Characters of a user's name in a line.
const NAME: usize = 100;

/// What happened since the start.
#[derive(Debug, Default)]
pub struct Failures {
    wrong: AtomicU64,
    locked_out: AtomicU64,
    certificates: AtomicU64,
    lines: FewLines,
}

impl Failures {
    /// Counts and tells a password or token that was wrong. `user` may hold what a stranger wrote.
    pub fn wrong(&self, client: Option<IpAddr>, user: Option<&str>, why: &str) {
        self.wrong.fetch_add(1, Ordering::Relaxed);
        let named = user.map(|user| format!(" as {}", quoted(user))).unwrap_or_default();
        self.tell(|| format!("failed log-in from {}{named}: {why}", spelled(client)));
    }

    /// Tells that an address was wrong so often that it is refused for a while.
    pub fn locks_out(&self, client: Option<IpAddr>, wait: Duration) {
        let seconds = wait.as_secs() + 1;
        self.tell(|| {
            format!("too many failed log-ins from {}: refused for {seconds} seconds", spelled(client))
        });
    }

    /// Counts a log-in that was refused unseen, because its address was wrong too often.
    pub fn locked_out(&self) {
        self.locked_out.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts and tells a client's TLS certificate that was refused.
    pub fn certificate(&self, client: IpAddr, why: &str) {
        self.certificates.fetch_add(1, Ordering::Relaxed);
        self.tell(|| {
            format!("refused the TLS certificate of a client from {}: {why}", spelled(Some(client)))
        });
    }

    /// How often each happened, by the reason that the metric has for it.
    pub fn counted(&self) -> [(&'static str, u64); 3] {
        [("wrong", &self.wrong), ("locked_out", &self.locked_out), ("certificate", &self.certificates)]
            .map(|(reason, count)| (reason, count.load(Ordering::Relaxed)))
    }

    fn tell(&self, line: impl FnOnce() -> String) {
        if let Some(LeftOut(left_out)) = self.lines.one() {
            let mut line = line();
            if left_out > 0 {
                // Writing to a String cannot fail.
                let _ = write!(line, " ({left_out} failures before this one are not in the log)");
            }
            warn!("{line}");
        }
    }
}

fn spelled(client: Option<IpAddr>) -> String {
    client.map_or_else(|| "a unix socket".to_owned(), |client| client.to_canonical().to_string())
}

/// In quotes, short, and on one line.
fn quoted(user: &str) -> String {
    format!("{:?}", user.chars().take(NAME).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_neither_its_quotes_nor_its_line() {
        assert_eq!(
            quoted("a\"b\nfailed log-in from 192.0.2.9\u{202e}"),
            r#""a\"b\nfailed log-in from 192.0.2.9\u{202e}""#
        );
        assert_eq!(quoted(&"x".repeat(1000)).len(), NAME + 2);
    }

    #[test]
    fn each_kind_is_counted() {
        let failures = Failures::default();
        failures.wrong(None, Some("alice"), "no");
        failures.locked_out();
        failures.locked_out();
        failures.certificate(IpAddr::from([192, 0, 2, 1]), "expired");
        assert_eq!(failures.counted(), [("wrong", 1), ("locked_out", 2), ("certificate", 1)]);
    }
}
