//! `Range`: which parts of a file are asked for (RFC 9110, section 14). Pure.

use std::ops::Range;

/// More ranges than this are no way to ask for parts of a file; so many a zchunk client sends.
const MOST: usize = 256;

/// What a `Range` comes to for a body of some length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ranged {
    Whole,
    /// In the order asked for, none of them empty, and no two of them touching: to be sent as one part,
    /// or as `multipart/byteranges`.
    Parts(Vec<Range<u64>>),
    Unsatisfiable,
}

/// Reads a `Range`. Other units, what is no range at all, and ranges that add up to more than the file
/// mean the whole, as section 14.2 allows.
pub fn parse(range: &str, len: u64) -> Ranged {
    let Some((unit, specs)) = range.split_once('=') else { return Ranged::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Ranged::Whole;
    }
    let mut asked = Vec::new();
    let mut count = 0;
    // Empty elements of a list are to be passed over (section 5.6.1.2).
    for spec in specs.split(',').map(|spec| spec.trim_matches([' ', '\t'])).filter(|spec| !spec.is_empty()) {
        count += 1;
        match one(spec, len) {
            Some(range) if count <= MOST => asked.extend(range),
            _ => return Ranged::Whole,
        }
    }
    if count == 0 {
        return Ranged::Whole;
    }
    if asked.is_empty() {
        return Ranged::Unsatisfiable;
    }
    let sum: u128 = asked.iter().map(|range| u128::from(range.end - range.start)).sum();
    if asked.len() > 1 && sum > u128::from(len) {
        return Ranged::Whole;
    }
    Ranged::Parts(merged(&asked))
}

/// One element of the list; `None`: it is no range. `Some(None)`: it lies outside the file.
#[allow(clippy::option_option)] // two different kinds of nothing
fn one(spec: &str, len: u64) -> Option<Option<Range<u64>>> {
    let (first, last) = spec.split_once('-')?;
    // More digits than a u64 holds still mean a number: one beyond every end.
    let number = |text: &str| -> Option<u64> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let range = match (first, last) {
        ("", suffix) => len - number(suffix)?.min(len)..len,
        (first, "") => number(first)?..len,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return None;
            }
            first..last.saturating_add(1).min(len)
        }
    };
    Some((range.start < range.end).then_some(range))
}

/// Ranges that overlap or touch become one, which stands where the first of them stood.
fn merged(asked: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut by_start: Vec<(usize, Range<u64>)> = asked.iter().cloned().enumerate().collect();
    by_start.sort_by_key(|(_, range)| range.start);
    let mut parts: Vec<(usize, Range<u64>)> = Vec::with_capacity(by_start.len());
    for (place, range) in by_start {
        match parts.last_mut() {
            Some((first, before)) if range.start <= before.end => {
                before.end = before.end.max(range.end);
                *first = place.min(*first);
            }
            _ => parts.push((place, range)),
        }
    }
    parts.sort_by_key(|(place, _)| *place);
    parts.into_iter().map(|(_, range)| range).collect()
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)] // a list of one range is meant
mod tests {
    use super::*;

    fn parts(ranges: impl IntoIterator<Item = Range<u64>>) -> Ranged {
        Ranged::Parts(ranges.into_iter().collect())
    }

    #[test]
    fn ranges_are_read_as_the_standard_has_them() {
        for (text, expected) in [
            ("bytes=0-0", parts([0..1])),
            ("bytes=0-", parts([0..100])),
            ("bytes=10-19", parts([10..20])),
            ("bytes=90-200", parts([90..100])),
            ("bytes=-1", parts([99..100])),
            ("bytes=-1000", parts([0..100])),
            ("BYTES = 5-6", parts([5..7])),
            ("bytes=0-99999999999999999999999", parts([0..100])),
            ("bytes=100-", Ranged::Unsatisfiable),
            ("bytes=100-200", Ranged::Unsatisfiable),
            ("bytes=100-200,300-", Ranged::Unsatisfiable),
            ("bytes=99999999999999999999999-", Ranged::Unsatisfiable),
            ("bytes=-0", Ranged::Unsatisfiable),
            ("bytes=5-4", Ranged::Whole),
            ("bytes=-", Ranged::Whole),
            ("bytes=", Ranged::Whole),
            ("bytes=,", Ranged::Whole),
            ("bytes=a-b", Ranged::Whole),
            ("bytes=+1-2", Ranged::Whole),
            ("bytes=100-x", Ranged::Whole),
            ("bytes=1-2,x", Ranged::Whole),
            ("bytes=1-2-3", Ranged::Whole),
            ("lines=1-2", Ranged::Whole),
            ("nonsense", Ranged::Whole),
        ] {
            assert_eq!(parse(text, 100), expected, "{text}");
        }
        assert_eq!(parse("bytes=0-", 0), Ranged::Unsatisfiable);
        assert_eq!(parse("bytes=-5", 0), Ranged::Unsatisfiable);
    }

    #[test]
    fn many_ranges_are_many_parts() {
        assert_eq!(parse("bytes=1-2,4-5", 100), parts([1..3, 4..6]));
        assert_eq!(parse("bytes=0-0, ,-1,,", 100), parts([0..1, 99..100]));
        assert_eq!(parse("bytes=50-59,0-9", 100), parts([50..60, 0..10]), "in the order asked for");
        assert_eq!(parse("bytes=1-2,200-", 100), parts([1..3]), "what lies outside is left out");
        let every_other =
            |n: u64| (0..n).map(|i| format!("{}-{}", i * 2, i * 2)).collect::<Vec<_>>().join(",");
        let many = parse(&format!("bytes={}", every_other(256)), 1000);
        assert_eq!(many, parts((0..256).map(|i| i * 2..i * 2 + 1)));
        assert_eq!(parse(&format!("bytes={}", every_other(257)), 10_000), Ranged::Whole);
    }

    #[test]
    fn ranges_that_touch_are_one() {
        assert_eq!(parse("bytes=1-2,3-5", 100), parts([1..6]));
        assert_eq!(parse("bytes=40-49,0-5,3-20,50-59", 100), parts([40..60, 0..21]));
        assert_eq!(parse("bytes=0-9,20-29,10-19", 100), parts([0..30]));
    }

    #[test]
    fn who_asks_for_more_than_there_is_gets_it_once() {
        assert_eq!(parse("bytes=0-,0-", 100), Ranged::Whole);
        assert_eq!(parse("bytes=0-59,40-99", 100), Ranged::Whole);
        assert_eq!(parse(&format!("bytes={}", "0-,".repeat(1000)), 100), Ranged::Whole);
    }

    proptest::proptest! {
        #[test]
        fn parts_lie_in_the_file_and_apart_and_hold_all_that_was_asked_for(
            asked in proptest::collection::vec((0u64..120, 0u64..120), 1..12),
            len in 0u64..110,
        ) {
            let list: Vec<_> = asked.iter().map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))).collect();
            let wanted: std::collections::BTreeSet<u64> =
                asked.iter().flat_map(|(a, b)| *a.min(b)..=*a.max(b)).filter(|at| *at < len).collect();
            match parse(&format!("bytes={}", list.join(",")), len) {
                Ranged::Unsatisfiable => proptest::prop_assert!(wanted.is_empty()),
                Ranged::Whole => proptest::prop_assert!(asked.len() > 1),
                Ranged::Parts(parts) => {
                    let got: Vec<u64> = parts.iter().cloned().flatten().collect();
                    let set: std::collections::BTreeSet<u64> = got.iter().copied().collect();
                    proptest::prop_assert_eq!(got.len(), set.len());
                    proptest::prop_assert_eq!(set, wanted);
                    let mut sorted = parts.clone();
                    sorted.sort_by_key(|part| part.start);
                    proptest::prop_assert!(sorted.windows(2).all(|pair| pair[0].end < pair[1].start));
                }
            }
        }
    }
}
