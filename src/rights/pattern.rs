//! A repository's name, or many: `*` stands for any characters, `?` for one.

use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Takes the alphabet of repositories' names, `*` and `?`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '*' | '?');
        if text.is_empty() || text.len() > 200 || !text.chars().all(known) {
            return Err(format!(
                "expected a repository's name, or a pattern such as \"el-*\", found {text:?}"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether it means one name only.
    pub fn is_literal(&self) -> bool {
        !self.0.contains(['*', '?'])
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut p, mut n) = (0, 0);
        // Where the last star stands, and what it was last tried against: more stars never look back further.
        let mut star = None;
        while n < name.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    star = Some((p, n));
                    p += 1;
                }
                Some(b'?') => (p, n) = (p + 1, n + 1),
                Some(byte) if *byte == name[n] => (p, n) = (p + 1, n + 1),
                _ => match star {
                    Some((at, tried)) => {
                        star = Some((at, tried + 1));
                        (p, n) = (at + 1, tried + 1);
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|byte| *byte == b'*')
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters_and_a_question_mark_for_one() {
        for (pattern, yes, no) in [
            ("rpm", &["rpm"][..], &["rpm2", "rp", "", "RPM"][..]),
            ("*", &["", "a", "a.b"], &[]),
            ("el-*", &["el-", "el-9", "el-9-x86_64"], &["el", "xel-9"]),
            ("*-x86_64", &["el-9-x86_64", "-x86_64", "a-x86_64-x86_64"], &["x86_64", "el-9-x86_64-debug"]),
            ("el?-*-*", &["el9-a-b", "el9--", "el9-a-b-c"], &["el-a-b", "el9-a"]),
            ("a*b*c", &["abc", "aXbYc", "abbc", "abcbc"], &["ab", "acb"]),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            yes.iter().for_each(|name| assert!(parsed.matches(name), "{pattern} {name}"));
            no.iter().for_each(|name| assert!(!parsed.matches(name), "{pattern} {name}"));
        }
    }

    #[test]
    fn many_stars_take_no_longer_than_a_few() {
        let pattern = Pattern::parse(&"*a".repeat(90)).unwrap();
        assert!(!pattern.matches(&"b".repeat(200)));
    }

    #[test]
    fn what_names_no_repository_is_no_pattern() {
        for bad in ["", "a b", "a/b", "[a]", "é", "a,b"] {
            assert!(Pattern::parse(bad).is_err(), "{bad:?}");
        }
    }
}
