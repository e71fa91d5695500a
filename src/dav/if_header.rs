//! The `If` header (RFC 4918 section 10.4): conditions on locks and entity tags. Pure.

/// One parenthesised list; the header holds when one of its lists does.
#[derive(Debug, PartialEq, Eq)]
pub struct List {
    /// The URL the list is about; `None`: that of the request.
    pub resource: Option<String>,
    pub conditions: Vec<Condition>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Condition {
    pub not: bool,
    pub what: What,
}

#[derive(Debug, PartialEq, Eq)]
pub enum What {
    /// A lock token, without its angle brackets.
    Token(String),
    /// An entity tag as written, with its quotes.
    Tag(String),
}

/// Reads a header; `None` when it is malformed.
pub fn parse(text: &str) -> Option<Vec<List>> {
    let mut rest = text.trim();
    let mut lists = Vec::new();
    let mut resource = None;
    while !rest.is_empty() {
        if let Some(tagged) = rest.strip_prefix('<') {
            let (url, after) = tagged.split_once('>')?;
            resource = Some(url.to_owned());
            rest = after.trim_start();
            // A tag without a list says nothing.
            rest.starts_with('(').then_some(())?;
        }
        let (conditions, after) = list(rest.strip_prefix('(')?)?;
        lists.push(List { resource: resource.clone(), conditions });
        rest = after.trim_start();
    }
    (!lists.is_empty()).then_some(lists)
}

fn list(mut rest: &str) -> Option<(Vec<Condition>, &str)> {
    let mut conditions = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix(')') {
            return (!conditions.is_empty()).then_some((conditions, after));
        }
        let negated = rest.get(..3).is_some_and(|word| word.eq_ignore_ascii_case("not"));
        if negated {
            rest = rest[3..].trim_start();
        }
        let what = if let Some(token) = rest.strip_prefix('<') {
            let (token, after) = token.split_once('>')?;
            rest = after;
            What::Token(token.to_owned())
        } else {
            let (tag, after) = rest.strip_prefix('[')?.split_once(']')?;
            rest = after;
            let tag = tag.trim();
            let quoted = tag.strip_prefix("W/").unwrap_or(tag);
            (quoted.len() >= 2 && quoted.starts_with('"') && quoted.ends_with('"')).then_some(())?;
            What::Tag(tag.to_owned())
        };
        conditions.push(Condition { not: negated, what });
    }
}

impl List {
    /// Whether the list holds; `is_true` answers for its conditions without regard to `Not`.
    pub fn holds(&self, is_true: impl Fn(&What) -> bool) -> bool {
        self.conditions.iter().all(|condition| is_true(&condition.what) != condition.not)
    }
}

/// All lock tokens that the header submits, wherever they stand in it.
pub fn tokens(lists: &[List]) -> Vec<String> {
    let conditions = lists.iter().flat_map(|list| &list.conditions);
    conditions
        .filter_map(|condition| match &condition.what {
            What::Token(token) => Some(token.clone()),
            What::Tag(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let lists = parse(r#"(<urn:uuid:181d4fae> ["I am an ETag"]) (["I am another ETag"])"#).unwrap();
        assert_eq!(lists.len(), 2);
        assert_eq!(tokens(&lists), ["urn:uuid:181d4fae"]);
        assert!(lists[1].holds(|what| *what == What::Tag("\"I am another ETag\"".into())));

        let lists = parse("(Not <urn:uuid:181d> <urn:uuid:58f2>)").unwrap();
        assert!(lists[0].holds(|what| *what == What::Token("urn:uuid:58f2".into())));
        assert!(!lists[0].holds(|_| true));

        let lists = parse("</resource1> (<urn:uuid:181d> [W/\"A weak ETag\"]) ([\"strong ETag\"])").unwrap();
        assert!(lists.iter().all(|list| list.resource.as_deref() == Some("/resource1")));
        assert!(parse("(<urn:uuid:58f2>) (Not <DAV:no-lock>)").is_some());
        assert!(parse("<http://h/a> (<t:1>) <http://h/b> (<t:2>) ([\"x\"])").is_some());
    }

    #[test]
    fn nonsense_is_no_header() {
        for bad in [
            "",
            "()",
            "(",
            "<t>",
            "(<t)",
            "(<t>",
            "([x])",
            "([\"x\")",
            "x",
            "(x)",
            "(Not)",
            "<a>(<t>)x",
            "(<t>))",
            "(Not Not <t>)",
            "([\"])",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_the_reader_panic(text in "[()<>\\[\\]\"W/ Notaé:]{0,80}") {
            let _ = parse(&text);
        }
    }
}
