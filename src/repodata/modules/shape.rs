//! What a modulemd document must look like, as far as libmodulemd insists on it: a file that passes here
//! is one that dnf takes.
//!
//! The formats: <https://github.com/fedora-modularity/libmodulemd/tree/main/yaml_specs>. Keys that are
//! not known are passed over, as every reader does but a strict one.

use std::collections::HashSet;

use crate::repodata::yaml::{Node, Value, YamlError};

/// What stands at a place.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    Any,
    Text,
    /// Letters, digits and `_`: of these alone a context consists.
    Word,
    /// Decimal digits.
    Number,
    /// The same, but not 0.
    Positive,
    /// The same, with a sign if need be.
    Integer,
    /// `true` or `false`.
    Truth,
    /// `2020-12-31`
    Day,
    /// `2020-12-31T23:59Z`
    Minute,
    /// `bash-0:5.2-1.fc39.x86_64`, as every artifact is named.
    Artifact,
    List(&'static Shape),
    /// A list with something in it.
    Filled(&'static Shape),
    /// Names of streams that are wanted, or of those that are not (`-f28`): never both.
    Streams,
    /// Any keys, with values of one shape.
    Table(&'static Shape),
    Fields(&'static [Field]),
}

/// A key of a table, and whether it must be there.
#[derive(Debug, Clone, Copy)]
pub struct Field(&'static str, Need, Shape);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// With something in it.
    Must,
    /// A text that may be empty.
    There,
    May,
}

use Need::{May, Must, There};
use Shape::{
    Any, Artifact, Day, Fields, Filled, Integer, List, Minute, Number, Positive, Streams, Table, Text, Truth,
    Word,
};

const TEXTS: Shape = List(&Text);
const RPMS: Shape = Fields(&[Field("rpms", May, TEXTS)]);
const LICENSE: Shape = Fields(&[Field("module", There, Filled(&Text)), Field("content", May, TEXTS)]);
const LEVELS: Shape = Table(&Fields(&[Field("eol", May, Day)]));
const REFERENCES: Shape =
    Fields(&[Field("community", May, Text), Field("documentation", May, Text), Field("tracker", May, Text)]);
const PROFILES: Shape = Table(&Fields(&[
    Field("default", May, Truth),
    Field("description", May, Text),
    Field("rpms", May, TEXTS),
]));
const COMPONENT: Shape = Fields(&[Field("buildorder", May, Integer), Field("arches", May, TEXTS)]);
const COMPONENTS: Shape =
    Fields(&[Field("rpms", May, Table(&COMPONENT)), Field("modules", May, Table(&COMPONENT))]);
const ARTIFACTS: Shape =
    Fields(&[Field("rpms", May, List(&Artifact)), Field("rpm-map", May, Table(&Table(&ENTRY)))]);
const ENTRY: Shape = Fields(&[
    Field("name", Must, Text),
    Field("epoch", Must, Number),
    Field("version", Must, Text),
    Field("release", Must, Text),
    Field("arch", Must, Text),
    Field("nevra", Must, Artifact),
]);
const BUILDOPTS: Shape = Fields(&[
    Field("rpms", May, Fields(&[Field("macros", May, Text), Field("whitelist", May, TEXTS)])),
    Field("arches", May, TEXTS),
]);
const REQUIRES: Shape = Table(&Streams);

macro_rules! stream {
    ($($own:expr),*) => {
        &[
            Field("name", Must, Text),
            Field("stream", Must, Text),
            Field("version", May, Number),
            Field("context", May, Word),
            Field("arch", May, Text),
            Field("summary", There, Text),
            Field("description", There, Text),
            Field("license", Must, LICENSE),
            Field("servicelevels", May, LEVELS),
            Field("references", May, REFERENCES),
            Field("profiles", May, PROFILES),
            Field("api", May, RPMS),
            Field("filter", May, RPMS),
            Field("components", May, COMPONENTS),
            Field("artifacts", May, ARTIFACTS),
            Field("xmd", May, Table(&Any)),
            Field("buildopts", May, BUILDOPTS),
            $($own),*
        ]
    };
}

/// `data` of `document: modulemd`, version 1.
pub const STREAM_V1: &[Field] = stream!(
    Field("eol", May, Day),
    Field(
        "dependencies",
        May,
        Fields(&[Field("buildrequires", May, Table(&Text)), Field("requires", May, Table(&Text))])
    )
);

/// `data` of `document: modulemd`, version 2.
pub const STREAM_V2: &[Field] = stream!(
    Field("static_context", May, Truth),
    Field("demodularized", May, RPMS),
    Field(
        "dependencies",
        May,
        List(&Fields(&[Field("buildrequires", May, REQUIRES), Field("requires", May, REQUIRES)]))
    )
);

const DEFAULT_PROFILES: Shape = Table(&TEXTS);

/// `data` of `document: modulemd-defaults`.
pub const DEFAULTS: &[Field] = &[
    Field("module", Must, Text),
    Field("modified", May, Number),
    Field("stream", May, Text),
    Field("profiles", May, DEFAULT_PROFILES),
    Field(
        "intents",
        May,
        Table(&Fields(&[Field("stream", May, Text), Field("profiles", May, DEFAULT_PROFILES)])),
    ),
];

/// `data` of `document: modulemd-obsoletes`.
pub const OBSOLETES: &[Field] = &[
    Field("modified", Must, Minute),
    Field("module", Must, Text),
    Field("stream", Must, Text),
    Field("message", Must, Text),
    Field("context", May, Text),
    Field("reset", May, Truth),
    Field("eol_date", May, Minute),
    Field("obsoleted_by", May, Fields(&[Field("module", There, Text), Field("stream", There, Text)])),
];

/// `data` of `document: modulemd-translations`.
pub const TRANSLATIONS: &[Field] = &[
    Field("module", Must, Text),
    Field("stream", Must, Text),
    Field("modified", Must, Positive),
    Field(
        "translations",
        May,
        Table(&Fields(&[
            Field("summary", May, Text),
            Field("description", May, Text),
            Field("profiles", May, Table(&Text)),
        ])),
    ),
];

/// Holds the table `node`, which messages call `place`, against its fields.
pub fn check_fields(node: &Node, place: &str, fields: &[Field]) -> Result<(), YamlError> {
    let Value::Table(entries) = &node.value else {
        return wrong(node, place, "a table");
    };
    let below = |key: &str| if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
    for (key, value) in entries {
        if let Some(Field(_, need, shape)) = fields.iter().find(|field| field.0 == key) {
            if *need == Must && matches!(&value.value, Value::Text(text) if text.is_empty()) {
                return wrong(value, &below(key), "a value");
            }
            check(value, &below(key), *shape)?;
        }
    }
    match fields.iter().find(|field| field.1 != May && node.get(field.0).is_none()) {
        Some(field) => Err(YamlError { line: node.line, why: format!("{} is missing", below(field.0)) }),
        None => Ok(()),
    }
}

/// Whether obsoletes say one thing: a reset takes back what others say.
pub fn check_reset(data: &Node) -> Result<(), YamlError> {
    let is_reset = data.get("reset").is_some_and(|reset| reset.text() == Some("true"));
    match ["eol_date", "obsoleted_by"].into_iter().find(|key| is_reset && data.get(key).is_some()) {
        Some(key) => {
            let why = format!("data: with reset: true there is no {key}");
            Err(YamlError { line: data.line, why })
        }
        None => Ok(()),
    }
}

/// Whether all that is built is built for what the whole module is built for.
pub fn check_arches(data: &Node) -> Result<(), YamlError> {
    let list = |node: &Node| match node.get("arches").map(|node| &node.value) {
        Some(Value::List(items)) => {
            items.iter().filter_map(|item| Some((item.line, item.text()?.to_owned()))).collect()
        }
        Some(Value::Text(text)) => vec![(node.line, text.clone())],
        Some(Value::Table(_)) | None => Vec::new(),
    };
    let all: HashSet<String> =
        data.get("buildopts").map(list).unwrap_or_default().into_iter().map(|(_, arch)| arch).collect();
    let rpms = data.get("components").and_then(|components| components.get("rpms"));
    let Some(Value::Table(rpms)) = rpms.map(|rpms| &rpms.value).filter(|_| !all.is_empty()) else {
        return Ok(());
    };
    for (name, component) in rpms {
        if let Some((line, arch)) = list(component).into_iter().find(|(_, arch)| !all.contains(arch)) {
            let why = format!(
                "data.components.rpms.{name}: the architecture {arch:?} is none of data.buildopts.arches"
            );
            return Err(YamlError { line, why });
        }
    }
    Ok(())
}

fn check(node: &Node, place: &str, shape: Shape) -> Result<(), YamlError> {
    let text = |is_right: fn(&str) -> bool, expected: &str| match node.text() {
        Some(text) if is_right(text) => Ok(()),
        _ => wrong(node, place, expected),
    };
    match shape {
        Any => Ok(()),
        Text => text(|_| true, "a text"),
        Word => text(is_word, "letters, digits and _ only"),
        Number => text(|text| text.parse::<u64>().is_ok(), "a whole number"),
        Positive => text(|text| text.parse().is_ok_and(|number: u64| number > 0), "a whole number above 0"),
        Integer => text(|text| text.parse::<i64>().is_ok(), "a whole number"),
        Truth => text(|text| matches!(text, "true" | "false"), "true or false"),
        Day => text(is_day, "a day as in 2020-12-31"),
        Minute => text(is_minute, "a time as in 2020-12-31T23:59Z"),
        Artifact => text(is_nevra, "a package as in bash-0:5.2-1.fc39.x86_64"),
        List(item) => match &node.value {
            Value::List(items) => items.iter().try_for_each(|node| check(node, place, *item)),
            // `rpms:` with nothing behind it.
            Value::Text(text) if text.is_empty() => check(node, place, *item),
            Value::Text(_) | Value::Table(_) => wrong(node, place, "a list"),
        },
        Filled(item) => match &node.value {
            Value::List(items) if items.is_empty() => wrong(node, place, "something in it"),
            _ => check(node, place, List(item)),
        },
        Streams => {
            check(node, place, TEXTS)?;
            let Value::List(items) = &node.value else { return Ok(()) };
            let is_unwanted = |item: &Node| item.text().is_some_and(|text| text.starts_with('-'));
            match items.iter().any(is_unwanted) && !items.iter().all(is_unwanted) {
                true => wrong(node, place, "either streams that are wanted or streams that are not (-NAME)"),
                false => Ok(()),
            }
        }
        Table(value) => match &node.value {
            Value::Table(entries) => {
                entries.iter().try_for_each(|(key, node)| check(node, &format!("{place}.{key}"), *value))
            }
            Value::Text(_) | Value::List(_) => wrong(node, place, "a table"),
        },
        Fields(fields) => check_fields(node, place, fields),
    }
}

fn wrong(node: &Node, place: &str, expected: &str) -> Result<(), YamlError> {
    let found = match node.text() {
        Some(text) if !text.is_empty() => format!("{:?}", text.chars().take(80).collect::<String>()),
        _ => node.kind().to_owned(),
    };
    let place = if place.is_empty() { "the document" } else { place };
    Err(YamlError { line: node.line, why: format!("{place}: expected {expected}, found {found}") })
}

/// Whether `text` has digits where `pattern` has `0`, and is the pattern elsewhere.
fn fits(text: &str, pattern: &str) -> bool {
    text.len() == pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(t, p)| if p == b'0' { t.is_ascii_digit() } else { t == p })
}

fn is_word(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_day(text: &str) -> bool {
    fits(text, "0000-00-00")
}

fn is_minute(text: &str) -> bool {
    fits(text, "0000-00-00T00:00Z") || fits(text, "0000-00-00 00:00Z")
}

/// `name-epoch:version-release.arch`
fn is_nevra(text: &str) -> bool {
    let parts = || {
        let (rest, arch) = text.rsplit_once('.')?;
        let (rest, release) = rest.rsplit_once('-')?;
        let (name, epoch_version) = rest.rsplit_once('-')?;
        let (epoch, version) = epoch_version.split_once(':')?;
        let digits = !epoch.is_empty() && epoch.bytes().all(|b| b.is_ascii_digit());
        Some(digits && [arch, release, name, version].iter().all(|part| !part.is_empty()))
    };
    parts().unwrap_or(false)
}
