//! Which stream and profiles of a module are installed when nobody says: modulemd-defaults, and how two
//! of them become one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::repodata::yaml::{Node, Value};

/// The profiles of each stream.
type Profiles = BTreeMap<String, BTreeSet<String>>;

/// One module's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    pub module: String,
    /// Counts up; by custom the time, 202012312359.
    pub modified: u64,
    pub stream: Stream,
    profiles: Profiles,
    /// By what the system is for: its own default stream and profiles.
    intents: BTreeMap<String, (Option<String>, Profiles)>,
}

/// A default stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stream {
    None,
    Named(String),
    /// Two documents of the same age disagree: there is none, until a younger one decides.
    Disputed,
}

impl Defaults {
    /// Reads a document's `data` that has the right shape.
    pub fn of(data: &Node) -> Self {
        let text = |node: &Node, key: &str| node.get(key).and_then(Node::text).map(str::to_owned);
        let intents = data.get("intents").into_iter().flat_map(entries).map(|(name, node)| {
            let profiles = node.get("profiles").map(profiles).unwrap_or_default();
            (name.clone(), (text(node, "stream"), profiles))
        });
        Self {
            module: text(data, "module").unwrap_or_default(),
            modified: data.get("modified").and_then(Node::text).and_then(|n| n.parse().ok()).unwrap_or(0),
            stream: text(data, "stream").filter(|s| !s.is_empty()).map_or(Stream::None, Stream::Named),
            profiles: data.get("profiles").map(profiles).unwrap_or_default(),
            intents: intents.collect(),
        }
    }

    /// What holds when both are there, by libmodulemd's rules: what only one says holds; where they
    /// disagree, the younger; of the same age, they leave no default stream, and cannot disagree otherwise.
    pub fn merged(&self, other: &Self) -> Result<Self, String> {
        let mut merged = self.clone();
        let younger = other.modified > self.modified;
        let same_age = other.modified == self.modified;
        match (&self.stream, &other.stream) {
            (_, Stream::None) => {}
            (Stream::None, _) => merged.stream = other.stream.clone(),
            (a, b) if a == b => {}
            _ if younger => merged.stream = other.stream.clone(),
            _ if same_age => merged.stream = Stream::Disputed,
            _ => {}
        }
        let why = |what: String| {
            format!(
                "defaults of {} with the same modified: {} differ in {what}; raise modified in the one that holds",
                self.module, self.modified
            )
        };
        let merge = |ours: &mut Profiles, theirs: &Profiles, of: &str| {
            for (stream, profiles) in theirs {
                match ours.get_mut(stream) {
                    None => _ = ours.insert(stream.clone(), profiles.clone()),
                    Some(ours) if ours == profiles => {}
                    Some(ours) if younger => ours.clone_from(profiles),
                    Some(_) if same_age => {
                        return Err(why(format!("the profiles of stream {stream:?}{of}")));
                    }
                    Some(_) => {}
                }
            }
            Ok(())
        };
        merge(&mut merged.profiles, &other.profiles, "")?;
        for (intent, (stream, profiles)) in &other.intents {
            let (our_stream, our_profiles) = merged.intents.entry(intent.clone()).or_default();
            match (our_stream.as_ref(), stream) {
                (_, None) => {}
                (None, Some(_)) => our_stream.clone_from(stream),
                (Some(a), Some(b)) if a == b => {}
                _ if younger => our_stream.clone_from(stream),
                _ if same_age => return Err(why(format!("the stream of intent {intent:?}"))),
                _ => {}
            }
            merge(our_profiles, profiles, &format!(" of intent {intent:?}"))?;
        }
        merged.modified = self.modified.max(other.modified);
        Ok(merged)
    }

    /// The document, from `---` on, without its end.
    pub fn to_yaml(&self) -> String {
        let mut text = String::from("---\ndocument: modulemd-defaults\nversion: 1\ndata:\n");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  module: {}", quoted(&self.module));
        if self.modified != 0 {
            let _ = writeln!(text, "  modified: {}", self.modified);
        }
        if let Stream::Named(stream) = &self.stream {
            let _ = writeln!(text, "  stream: {}", quoted(stream));
        }
        profiles_to_yaml(&mut text, "  ", &self.profiles);
        if !self.intents.is_empty() {
            text.push_str("  intents:\n");
        }
        for (intent, (stream, profiles)) in &self.intents {
            let _ = writeln!(text, "    {}:", quoted(intent));
            if stream.is_none() && profiles.is_empty() {
                // Or else it would be no table.
                text.push_str("      profiles: {}\n");
            }
            if let Some(stream) = stream {
                let _ = writeln!(text, "      stream: {}", quoted(stream));
            }
            profiles_to_yaml(&mut text, "      ", profiles);
        }
        text
    }
}

fn profiles_to_yaml(text: &mut String, indent: &str, profiles: &Profiles) {
    if !profiles.is_empty() {
        let _ = writeln!(text, "{indent}profiles:");
    }
    for (stream, names) in profiles {
        let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
        let _ = writeln!(text, "{indent}  {}: [{}]", quoted(stream), names.join(", "));
    }
}

/// As a double-quoted scalar: a stream 1.10 must not be read as the number 1.1.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn entries(node: &Node) -> &[(String, Node)] {
    match &node.value {
        Value::Table(entries) => entries,
        Value::Text(_) | Value::List(_) => &[],
    }
}

fn profiles(node: &Node) -> Profiles {
    let names = |node: &Node| match &node.value {
        Value::List(items) => items.iter().filter_map(Node::text).map(str::to_owned).collect(),
        Value::Text(_) | Value::Table(_) => BTreeSet::new(),
    };
    entries(node).iter().map(|(stream, node)| (stream.clone(), names(node))).collect()
}
