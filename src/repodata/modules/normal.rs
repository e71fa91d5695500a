//! Documents in libmodulemd's normal form: what is known, in its order, lists and tables sorted, each text in its
//! style. So createrepo_c and mergerepo_c write modules, and what compares their output as text goes on working.

pub mod folded;

use std::collections::BTreeSet;
use std::io;

use libyaml_safer::{Emitter, Encoding, Event, MappingStyle, ScalarStyle, SequenceStyle};

use crate::repodata::yaml::{Node, Value};
use folded::{MARK, Unmarked};

/// How a value is written. What says nothing is left out of [`Fields`].
#[derive(Clone, Copy)]
enum Form {
    Plain,
    Quoted,
    /// `>`: lines are filled.
    Folded,
    /// A number. 0 says nothing.
    Count,
    /// `true`. `false` says nothing.
    Flag,
    /// A text or a list of texts, sorted: one a line, or all in one line.
    Set,
    FlowSet,
    List(&'static Form),
    /// By any keys, sorted.
    Table(&'static Form),
    /// By these keys, in this order.
    Fields(&'static [(&'static str, Form)]),
    /// The components of a module, whose `name` is left out where it is the key.
    Components(&'static [(&'static str, Form)]),
    /// Whatever it is, tables sorted. Always written.
    Any,
    /// Written even where it says nothing.
    Always(&'static Form),
}

use Form::{Always, Any, Components, Count, Fields, Flag, FlowSet, Folded, List, Plain, Quoted, Set, Table};

const REQUIRES: Form = Table(&FlowSet);
const DEPENDENCIES: Form = Fields(&[("buildrequires", REQUIRES), ("requires", REQUIRES)]);
const DEPENDENCIES_V1: Form = Fields(&[("buildrequires", Table(&Plain)), ("requires", Table(&Plain))]);
const RPMS: Form = Fields(&[("rpms", Set)]);
const LEVELS: Form = Table(&Fields(&[("eol", Plain)]));
const ENTRY: Form = Fields(&[
    ("name", Plain),
    ("epoch", Always(&Count)),
    ("version", Plain),
    ("release", Plain),
    ("arch", Plain),
    ("nevra", Plain),
]);

const STREAM: &[(&str, Form)] = &[
    ("name", Plain),
    ("stream", Quoted),
    ("version", Count),
    ("context", Plain),
    ("static_context", Flag),
    ("arch", Plain),
    ("summary", Plain),
    ("description", Folded),
    ("servicelevels", LEVELS),
    ("license", Fields(&[("module", Set), ("content", Set)])),
    ("xmd", Any),
    ("dependencies", List(&DEPENDENCIES)),
    ("references", Fields(&[("community", Plain), ("documentation", Plain), ("tracker", Plain)])),
    ("profiles", Table(&Fields(&[("description", Plain), ("rpms", Set), ("default", Flag)]))),
    ("api", RPMS),
    ("filter", RPMS),
    ("demodularized", RPMS),
    (
        "buildopts",
        Fields(&[("rpms", Always(&Fields(&[("macros", Folded), ("whitelist", Set)]))), ("arches", FlowSet)]),
    ),
    (
        "components",
        Fields(&[
            (
                "rpms",
                Components(&[
                    ("rationale", Plain),
                    ("name", Plain),
                    ("repository", Plain),
                    ("cache", Plain),
                    ("ref", Plain),
                    ("buildroot", Flag),
                    ("srpm-buildroot", Flag),
                    ("buildorder", Count),
                    ("buildonly", Flag),
                    ("buildafter", Set),
                    ("arches", FlowSet),
                    ("multilib", FlowSet),
                ]),
            ),
            (
                "modules",
                Components(&[
                    ("rationale", Plain),
                    ("repository", Plain),
                    ("ref", Plain),
                    ("buildorder", Count),
                    ("buildonly", Flag),
                ]),
            ),
        ]),
    ),
    ("artifacts", Fields(&[("rpms", Set), ("rpm-map", Table(&Table(&ENTRY)))])),
];

const DEFAULTS: &[(&str, Form)] = &[
    ("module", Plain),
    ("modified", Count),
    ("stream", Quoted),
    ("profiles", Table(&FlowSet)),
    ("intents", Table(&Fields(&[("stream", Quoted), ("profiles", Table(&FlowSet))]))),
];

const OBSOLETES: &[(&str, Form)] = &[
    ("modified", Plain),
    ("reset", Flag),
    ("module", Plain),
    ("stream", Quoted),
    ("context", Plain),
    ("eol_date", Plain),
    ("message", Plain),
    ("obsoleted_by", Fields(&[("module", Plain), ("stream", Quoted)])),
];

const TRANSLATIONS: &[(&str, Form)] = &[
    ("module", Plain),
    ("stream", Quoted),
    ("modified", Count),
    (
        "translations",
        Table(&Fields(&[("summary", Plain), ("description", Plain), ("profiles", Table(&Plain))])),
    ),
];

/// A value as it is written.
enum Written {
    Nothing,
    Text(String, ScalarStyle),
    List(Vec<Written>, SequenceStyle),
    Table(Vec<(String, Written)>),
}

impl Written {
    fn plain(text: &str) -> Self {
        Self::Text(text.to_owned(), ScalarStyle::Plain)
    }

    fn says_nothing(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Text(..) => false,
            Self::List(items, _) => items.is_empty(),
            Self::Table(entries) => entries.is_empty(),
        }
    }
}

/// A YAML file that is being written, document by document.
pub struct Normal<'w> {
    emitter: Emitter<'w>,
}

impl<'w> Normal<'w> {
    pub fn begin(sink: &'w mut Unmarked<'_>) -> io::Result<Self> {
        let mut emitter = Emitter::new();
        emitter.set_output(sink);
        emitter.set_unicode(true);
        let mut this = Self { emitter };
        this.emit(Event::stream_start(Encoding::Utf8))?;
        Ok(this)
    }

    /// Writes a document that has the right shape. With `upgraded`, a stream of version 1 becomes one of version 2:
    /// a file has streams of one version only.
    pub fn document(&mut self, root: &Node, upgraded: bool) -> io::Result<()> {
        let text = |key: &str| root.get(key).and_then(Node::text).unwrap_or_default();
        let (kind, version) = (text("document"), text("version"));
        let fields = Fields(fields_of(kind));
        let mut data = root.get("data").map_or(Written::Table(Vec::new()), |data| written(data, fields));
        let is_first = kind == "modulemd" && number(version) == 1;
        if let (true, Written::Table(entries), Some(node)) = (is_first, &mut data, root.get("data")) {
            as_first_version(node, entries, upgraded);
        }
        let version = if is_first && upgraded { 2 } else { number(version) };
        let document = Written::Table(vec![
            ("document".to_owned(), Written::plain(kind)),
            ("version".to_owned(), Written::plain(&version.to_string())),
            ("data".to_owned(), data),
        ]);
        self.emit(Event::document_start(None, &[], false))?;
        self.value(&document)?;
        self.emit(Event::document_end(false))
    }

    pub fn end(mut self) -> io::Result<()> {
        self.emit(Event::stream_end())?;
        self.emitter.flush().map_err(io::Error::other)
    }

    fn value(&mut self, value: &Written) -> io::Result<()> {
        match value {
            Written::Nothing => self.value(&Written::Table(Vec::new())),
            Written::Text(text, _) if text.contains(MARK) => self.scalar(text, ScalarStyle::DoubleQuoted),
            Written::Text(text, ScalarStyle::Folded) if folded::may_be_folded(text) => {
                self.scalar(&folded::prepared(text), ScalarStyle::Folded)
            }
            Written::Text(text, ScalarStyle::Folded) => self.scalar(text, ScalarStyle::DoubleQuoted),
            Written::Text(text, style) => self.scalar(text, *style),
            Written::List(items, style) => {
                self.emit(Event::sequence_start(None, None, true, *style))?;
                items.iter().try_for_each(|item| self.value(item))?;
                self.emit(Event::sequence_end())
            }
            Written::Table(entries) => {
                self.emit(Event::mapping_start(None, None, true, MappingStyle::Block))?;
                for (key, value) in entries {
                    let is_marked = key.contains(MARK);
                    self.scalar(key, if is_marked { ScalarStyle::DoubleQuoted } else { ScalarStyle::Plain })?;
                    self.value(value)?;
                }
                self.emit(Event::mapping_end())
            }
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle) -> io::Result<()> {
        self.emit(Event::scalar(None, None, text, true, true, style))
    }

    fn emit(&mut self, event: Event) -> io::Result<()> {
        self.emitter.emit(event).map_err(io::Error::other)
    }
}

/// What differs in streams of version 1: requirements name one stream each, and `eol` is a service level.
fn as_first_version(data: &Node, entries: &mut Vec<(String, Written)>, upgraded: bool) {
    let mut put = |key: &str, value: Written| {
        let order = |key: &str| STREAM.iter().position(|(name, _)| *name == key);
        match entries.binary_search_by_key(&order(key), |(name, _)| order(name)) {
            Ok(place) => entries[place].1 = value,
            Err(place) => entries.insert(place, (key.to_owned(), value)),
        }
    };
    if let Some(eol) = data.get("eol") {
        let mut levels =
            vec![("rawhide".to_owned(), Written::Table(vec![("eol".to_owned(), written(eol, Plain))]))];
        if let Some(Written::Table(others)) = data.get("servicelevels").map(|node| written(node, LEVELS)) {
            levels.extend(others.into_iter().filter(|(name, _)| name != "rawhide"));
            levels.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        }
        put("servicelevels", Written::Table(levels));
    }
    if let Some(node) = data.get("dependencies") {
        let form = if upgraded { DEPENDENCIES } else { DEPENDENCIES_V1 };
        let value = written(node, form);
        if value.says_nothing() {
            entries.retain(|(name, _)| name != "dependencies");
        } else if upgraded {
            put("dependencies", Written::List(vec![value], SequenceStyle::Block));
        } else {
            put("dependencies", value);
        }
    }
}

/// A key in `data` that is none of the format's, and its line: libmodulemd, where it reads strictly, refuses it. It
/// does not look at what stands beside `data`.
pub fn unknown_key(root: &Node) -> Option<(usize, String)> {
    let text = |key: &str| root.get(key).and_then(Node::text).unwrap_or_default();
    let (kind, data) = (text("document"), root.get("data")?);
    let fields = fields_of(kind);
    let is_listed = |key: &str| fields.iter().any(|(known, _)| *known == key);
    match (kind, number(text("version"))) {
        ("modulemd", 1) => {
            let is_known = |key: &str| match key {
                "static_context" | "demodularized" => false,
                "eol" => true,
                key => is_listed(key),
            };
            strange_key(data, is_known).or_else(|| {
                fields.iter().find_map(|(key, form)| {
                    let form = match *key {
                        "dependencies" => DEPENDENCIES_V1,
                        "artifacts" => RPMS,
                        _ => *form,
                    };
                    unknown_below(data.get(key)?, form)
                })
            })
        }
        // Nor below `obsoleted_by`.
        ("modulemd-obsoletes", _) => strange_key(data, is_listed),
        _ => unknown_below(data, Fields(fields)),
    }
}

fn strange_key(node: &Node, is_known: impl Fn(&str) -> bool) -> Option<(usize, String)> {
    let Value::Table(entries) = &node.value else { return None };
    entries.iter().find(|(key, _)| !is_known(key)).map(|(key, node)| (node.line, key.clone()))
}

fn unknown_below(node: &Node, form: Form) -> Option<(usize, String)> {
    let each = |form: Form| {
        let Value::Table(entries) = &node.value else { return None };
        entries.iter().find_map(|(_, node)| unknown_below(node, form))
    };
    match form {
        Fields(fields) => strange_key(node, |key| fields.iter().any(|(known, _)| *known == key))
            .or_else(|| fields.iter().find_map(|(key, form)| unknown_below(node.get(key)?, *form))),
        Components(fields) => each(Fields(fields)),
        Table(form) => each(*form),
        List(form) => items(node).iter().find_map(|node| unknown_below(node, *form)),
        Always(form) => unknown_below(node, *form),
        Plain | Quoted | Folded | Count | Flag | Set | FlowSet | Any => None,
    }
}

fn fields_of(kind: &str) -> &'static [(&'static str, Form)] {
    match kind {
        "modulemd" => STREAM,
        "modulemd-defaults" => DEFAULTS,
        "modulemd-obsoletes" => OBSOLETES,
        _ => TRANSLATIONS,
    }
}

fn written(node: &Node, form: Form) -> Written {
    let text = |style| Written::Text(node.text().unwrap_or_default().to_owned(), style);
    match form {
        Plain => text(ScalarStyle::Plain),
        Quoted => text(ScalarStyle::DoubleQuoted),
        Folded => text(ScalarStyle::Folded),
        Count => match number(node.text().unwrap_or_default()) {
            0 => Written::Nothing,
            number => Written::plain(&number.to_string()),
        },
        Flag if node.text() == Some("true") => Written::plain("true"),
        Flag => Written::Nothing,
        Set => set(node, SequenceStyle::Block),
        FlowSet => set(node, SequenceStyle::Flow),
        List(form) => {
            let items = items(node).iter().map(|item| written(item, *form)).collect();
            Written::List(items, SequenceStyle::Block)
        }
        Table(form) => table(node, *form),
        Fields(fields) => {
            let present = fields.iter().filter_map(|(key, form)| {
                let value = match (node.get(key), form) {
                    (Some(value), Always(Count)) => Written::plain(&number(value.text()?).to_string()),
                    (Some(value), Always(form)) => written(value, **form),
                    (None, Always(_)) => Written::Nothing,
                    (Some(value), form) => Some(written(value, *form))
                        .filter(|value| matches!(form, Any) || !value.says_nothing())?,
                    (None, _) => return None,
                };
                Some(((*key).to_owned(), value))
            });
            Written::Table(present.collect())
        }
        Components(fields) => {
            let mut components = entries(node, Fields(fields));
            for (key, component) in &mut components {
                if let Written::Table(fields) = component {
                    let is_key = |value: &Written| matches!(value, Written::Text(name, _) if name == key);
                    fields.retain(|(field, value)| field != "name" || !is_key(value));
                }
            }
            Written::Table(components)
        }
        Always(form) => written(node, *form),
        Any => match &node.value {
            Value::Text(_) => text(ScalarStyle::Plain),
            Value::List(items) => {
                Written::List(items.iter().map(|item| written(item, Any)).collect(), SequenceStyle::Block)
            }
            Value::Table(_) => table(node, Any),
        },
    }
}

fn table(node: &Node, form: Form) -> Written {
    Written::Table(entries(node, form))
}

fn entries(node: &Node, form: Form) -> Vec<(String, Written)> {
    let Value::Table(entries) = &node.value else { return Vec::new() };
    let mut entries: Vec<_> = entries.iter().map(|(key, node)| (key.clone(), written(node, form))).collect();
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    entries
}

fn set(node: &Node, style: SequenceStyle) -> Written {
    let texts: BTreeSet<&str> = match &node.value {
        Value::Text(text) => BTreeSet::from([text.as_str()]),
        Value::List(items) => items.iter().filter_map(Node::text).collect(),
        Value::Table(_) => BTreeSet::new(),
    };
    Written::List(texts.into_iter().map(Written::plain).collect(), style)
}

fn items(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        Value::Text(_) | Value::Table(_) => &[],
    }
}

fn number(text: &str) -> i128 {
    text.parse().unwrap_or(0)
}
