//! How long an authorizer's answer counts by its own words: `Cache-Control` (RFC 9111, RFC 5861).

use std::time::Duration;

use super::STAND_IN;

/// An answer counts no longer than this, whatever the configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// How long nobody asks again.
    pub fresh: Duration,
    /// How long it may stand in for an answer that cannot be had (`when_down = "remembered"`).
    pub stands_in: Duration,
}

impl Lifetime {
    /// What the values of `Cache-Control` say. Without a word on it, the configuration alone decides.
    pub fn said<'v>(values: impl Iterator<Item = &'v str>) -> Self {
        let (mut fresh, mut beyond) = (None::<u64>, 0);
        for directive in values.flat_map(|value| value.split(',')) {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            // A number that cannot be read is no time at all.
            let seconds = || value.trim().trim_matches('"').parse::<u64>().unwrap_or(0);
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" => return Self { fresh: Duration::ZERO, stands_in: Duration::ZERO },
                "max-age" | "s-maxage" => {
                    fresh = Some(fresh.map_or_else(seconds, |other| other.min(seconds())));
                }
                "stale-if-error" => beyond = seconds(),
                _ => {}
            }
        }
        let Some(fresh) = fresh else { return Self { fresh: Duration::MAX, stands_in: STAND_IN } };
        let stands_in = Duration::from_secs(fresh.saturating_add(beyond)).min(STAND_IN);
        Self { fresh: Duration::from_secs(fresh), stands_in }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_no_longer_than_it_says() {
        let said = |values: &[&str]| {
            let Lifetime { fresh, stands_in } = Lifetime::said(values.iter().copied());
            (fresh.as_secs(), stands_in.as_secs())
        };
        let day = STAND_IN.as_secs();
        assert_eq!(said(&[]), (u64::MAX, day));
        assert_eq!(said(&["private"]), (u64::MAX, day));
        assert_eq!(said(&["max-age=60"]), (60, 60));
        assert_eq!(said(&["private, Max-Age = \"60\"", "s-maxage=30"]), (30, 30));
        assert_eq!(said(&["max-age=60, stale-if-error=600"]), (60, 660));
        assert_eq!(said(&["max-age=99999999999999999999"]), (0, 0), "no number");
        assert_eq!(said(&["max-age=1000000"]).1, day);
        assert_eq!(said(&["max-age=60, no-store"]), (0, 0));
        assert_eq!(said(&["no-cache"]), (0, 0));
    }
}
