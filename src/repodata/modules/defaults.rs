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

/// What another document's defaults brought to these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absorbed {
    /// These say what they said before.
    Nothing,
    /// These say what the other said.
    All,
    /// These say what neither said alone.
    Some,
}

/// What a merge has met.
#[derive(Debug, Clone, Copy)]
struct Told {
    /// Ours say something they did not say.
    changed: bool,
    /// Theirs said something that does not hold.
    lost: bool,
}

impl Told {
    fn take<T>(&mut self, ours: &mut T, theirs: T) {
        self.changed = true;
        *ours = theirs;
    }

    fn merge(&mut self, ours: &mut Profiles, theirs: Profiles, younger: bool) {
        for (stream, names) in theirs {
            match ours.get_mut(&stream) {
                Some(ours) if *ours == names => {}
                Some(ours) if younger => self.take(ours, names),
                Some(_) => self.lost = true,
                None => {
                    self.changed = true;
                    ours.insert(stream, names);
                }
            }
        }
    }
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

    /// Whether both can hold, by libmodulemd's rules: of the same age, they must not disagree but in the default
    /// stream.
    pub fn agrees(&self, other: &Self) -> Result<(), String> {
        if other.modified != self.modified {
            return Ok(());
        }
        let disputed = |what: String| {
            Err(format!(
                "defaults of {} with the same modified: {} differ in {what}; raise modified in the one that holds",
                self.module, self.modified
            ))
        };
        let dispute = |ours: &Profiles, theirs: &Profiles| {
            let differs = |(stream, names): &(&String, &BTreeSet<String>)| {
                ours.get(*stream).is_some_and(|ours| ours != *names)
            };
            theirs.iter().find(differs).map(|(stream, _)| format!("the profiles of stream {stream:?}"))
        };
        if let Some(what) = dispute(&self.profiles, &other.profiles) {
            return disputed(what);
        }
        for (intent, (stream, profiles)) in &other.intents {
            let Some((our_stream, our_profiles)) = self.intents.get(intent) else { continue };
            if let (Some(ours), Some(theirs)) = (our_stream, stream)
                && ours != theirs
            {
                return disputed(format!("the stream of intent {intent:?}"));
            }
            if let Some(what) = dispute(our_profiles, profiles) {
                return disputed(format!("{what} of intent {intent:?}"));
            }
        }
        Ok(())
    }

    /// Makes of this what holds when both are there, by libmodulemd's rules: what only one says holds; where they
    /// disagree, the younger; of the same age, they leave no default stream, and [agree](Self::agrees) otherwise.
    pub fn absorb(&mut self, other: Self) -> Absorbed {
        let younger = other.modified > self.modified;
        let same_age = other.modified == self.modified;
        let mut told = Told { changed: younger, lost: other.modified < self.modified };
        let sizes = other.sizes();
        match (&self.stream, other.stream) {
            (ours, theirs) if *ours == theirs => {}
            (_, Stream::None) => told.lost = true,
            (Stream::None, theirs) => told.take(&mut self.stream, theirs),
            (_, theirs) if younger => told.take(&mut self.stream, theirs),
            _ if same_age => {
                told.lost = true;
                told.take(&mut self.stream, Stream::Disputed);
            }
            _ => told.lost = true,
        }
        told.merge(&mut self.profiles, other.profiles, younger);
        for (intent, (stream, profiles)) in other.intents {
            let (our_stream, our_profiles) = self.intents.entry(intent).or_insert_with(|| {
                told.changed = true;
                Default::default()
            });
            match (&our_stream, stream) {
                (ours, theirs) if **ours == theirs => {}
                (_, None) => told.lost = true,
                (None, theirs) => told.take(our_stream, theirs),
                (Some(_), theirs) if younger => told.take(our_stream, theirs),
                _ => told.lost = true,
            }
            told.merge(our_profiles, profiles, younger);
        }
        self.modified = self.modified.max(other.modified);
        match told {
            Told { changed: false, .. } => Absorbed::Nothing,
            Told { lost: false, .. } if self.sizes() == sizes => Absorbed::All,
            Told { .. } => Absorbed::Some,
        }
    }

    /// How much each part says.
    fn sizes(&self) -> (usize, Vec<usize>) {
        (self.profiles.len(), self.intents.values().map(|(_, profiles)| profiles.len()).collect())
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
