//! What a PROPPATCH sets and removes: read once, for its size and for the values, before dav-server judges and answers it.

use super::xml::{self, Name, Part, Prefixes, escape_exactly};
use crate::repository::properties::{Patch, Property, RESOURCE_LIMIT};
use crate::serve::error::ServeError;

/// Instructions of one request, and bytes of the names in them with their namespaces: so long is its answer.
const MOST: usize = 256;
const NAMES: usize = 32 << 10;

/// The instructions of a body, in their order.
pub(super) fn steps(body: &[u8]) -> Result<Vec<Patch>, ServeError> {
    let mut steps: Vec<Patch> = Vec::new();
    let mut sets = None;
    let mut is_prop = false;
    let mut value: Option<Value> = None;
    let (mut size, mut names) = (0, 0);
    xml::read_for_tree(body, |depth, part| {
        match (depth, part) {
            (0, Part::Open(name, _)) if !name.is_dav("propertyupdate") => {
                return Err("its root is not DAV:propertyupdate".into());
            }
            (1 | 2, Part::Open(name, _))
                if &*name.namespace != "DAV:" && ["set", "remove", "prop"].contains(&name.local.as_str()) =>
            {
                return Err(format!("its {} is not in the namespace DAV:", name.local));
            }
            (1, Part::Open(name, _)) => {
                sets = if name.is_dav("set") { Some(true) } else { name.is_dav("remove").then_some(false) };
            }
            (2, Part::Open(name, _)) => is_prop = name.is_dav("prop"),
            (3, Part::Open(name, attributes)) if is_prop && sets.is_some() => {
                names += 2 * name.local.len() + name.namespace.len();
                if steps.len() >= MOST || names > NAMES {
                    return Err(format!("it names more than {MOST} properties, or {NAMES} bytes of them"));
                }
                if sets == Some(true) {
                    value = Some(Value::begin(name, &attributes));
                } else {
                    let (namespace, name) = (name.namespace.to_string(), name.local);
                    steps.push(Patch::Remove { namespace, name });
                }
            }
            (3, Part::Close) => {
                if let Some(property) = value.take().map(Value::end) {
                    size += property.xml.len();
                    if size > 2 * RESOURCE_LIMIT as usize {
                        return Err("its properties are too long".into());
                    }
                    steps.push(Patch::Set(property));
                }
            }
            (4.., Part::Open(name, attributes)) => {
                if let Some(value) = &mut value {
                    value.open(&name, &attributes);
                }
            }
            (4.., Part::Close) => {
                if let Some(value) = &mut value {
                    value.close();
                }
            }
            (3.., Part::Text(text)) => {
                if let Some(value) = &mut value {
                    escape_exactly(&mut value.inside, &text);
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    if steps.is_empty() {
        return Err(ServeError::BadRequest("the body sets and removes nothing".into()));
    }
    Ok(steps)
}

/// A property's element on its way: written anew, so that it stands for itself wherever it is put, with each of its namespaces
/// declared once.
struct Value {
    name: Name,
    prefixes: Prefixes,
    /// Its own name, and its attributes.
    spelled: String,
    attributes: String,
    inside: String,
    open: Vec<String>,
}

impl Value {
    fn begin(name: Name, attributes: &[(Name, String)]) -> Self {
        let mut prefixes = Prefixes::default();
        let spelled = prefixes.spell(&name);
        let mut value = Self {
            name,
            prefixes,
            spelled,
            attributes: String::new(),
            inside: String::new(),
            open: Vec::new(),
        };
        value.attributes = value.attributes(attributes);
        value
    }

    fn attributes(&mut self, attributes: &[(Name, String)]) -> String {
        let mut out = String::new();
        for (name, value) in attributes {
            out.push(' ');
            out.push_str(&self.prefixes.spell(name));
            out.push_str("=\"");
            escape_exactly(&mut out, value);
            out.push('"');
        }
        out
    }

    fn open(&mut self, name: &Name, attributes: &[(Name, String)]) {
        let (spelled, attributes) = (self.prefixes.spell(name), self.attributes(attributes));
        self.inside.push('<');
        self.inside.push_str(&spelled);
        self.inside.push_str(&attributes);
        self.inside.push('>');
        self.open.push(spelled);
    }

    fn close(&mut self) {
        if let Some(spelled) = self.open.pop() {
            self.inside.push_str("</");
            self.inside.push_str(&spelled);
            self.inside.push('>');
        }
    }

    fn end(self) -> Property {
        let Self { name, prefixes, spelled, attributes, inside, .. } = self;
        let mut xml = format!("<{spelled}");
        prefixes.declare(&mut xml);
        xml.push_str(&attributes);
        xml.push_str(&format!(">{inside}</{spelled}>"));
        Property { namespace: name.namespace.to_string(), name: name.local, xml: xml.into_bytes() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(inside: &str) -> Result<Vec<(String, String)>, ServeError> {
        let body =
            format!("<propertyupdate xmlns='DAV:' xmlns:x='urn:x' xmlns:y='urn:y'>{inside}</propertyupdate>");
        let spelled = |patch| match patch {
            Patch::Set(property) => (property.name, String::from_utf8(property.xml).unwrap()),
            Patch::Remove { name, .. } => (name, "gone".to_owned()),
        };
        Ok(steps(body.as_bytes())?.into_iter().map(spelled).collect())
    }

    #[test]
    fn a_value_stands_for_itself_wherever_it_is_put() {
        let set = |value: &str| {
            let mut found = read(&format!("<set><prop>{value}</prop></set>")).unwrap();
            assert_eq!(found.len(), 1, "{value}");
            let (_, xml) = found.remove(0);
            xml::elements(xml.as_bytes()).unwrap();
            xml
        };
        for (value, kept) in [
            ("<x:a>1 &amp; 2</x:a>", "<n0:a xmlns:n0=\"urn:x\">1 &amp; 2</n0:a>"),
            ("<x:a/>", "<n0:a xmlns:n0=\"urn:x\"></n0:a>"),
            ("<a xmlns=''><b c='&quot;\n'/></a>", "<a><b c=\"&quot; \"></b></a>"),
            (
                "<x:a y:b='1' xml:lang='de'><x:c/><d/></x:a>",
                "<n0:a xmlns:n0=\"urn:x\" xmlns:n1=\"urn:y\" xmlns:n2=\"DAV:\" n1:b=\"1\" xml:lang=\"de\"><n0:c></n0:c><n2:d></n2:d></n0:a>",
            ),
            ("<x:a><![CDATA[<&]]>\n</x:a>", "<n0:a xmlns:n0=\"urn:x\">&lt;&amp;&#10;</n0:a>"),
        ] {
            assert_eq!(set(value), kept, "{value}");
        }
    }

    #[test]
    fn instructions_are_read_in_their_order() {
        let found = read(
            "<remove><prop><x:a/></prop></remove><set><prop><x:a>1</x:a><x:b/></prop></set><x:other><prop><c/></prop></x:other>",
        );
        let names: Vec<String> =
            found.unwrap().into_iter().map(|(name, xml)| format!("{name} {}", &xml[..4])).collect();
        assert_eq!(names, ["a gone", "a <n0:", "b <n0:"]);
        assert!(
            read("").is_err()
                && read("<set/>").is_err()
                && steps(b"<propfind xmlns='DAV:'/>").is_err()
                && read("<x:set><prop><c/></prop></x:set>").is_err()
        );
    }

    #[test]
    fn namespaces_are_not_multiplied_without_bound() {
        let update = |namespace: usize, inside: &str| {
            let namespace = "u".repeat(namespace);
            let body =
                format!("<propertyupdate xmlns='DAV:' xmlns:x='{namespace}'>{inside}</propertyupdate>");
            steps(body.as_bytes())
        };
        let of = |kind: &str, names: &str| format!("<{kind}><prop>{names}</prop></{kind}>");
        for kind in ["set", "remove"] {
            assert!(update(7000, &of(kind, &"<x:a/>".repeat(10))).is_err(), "names of an answer");
            assert!(update(5, &of(kind, &"<x:a/>".repeat(MOST + 1))).is_err(), "number");
            assert_eq!(update(5, &of(kind, &"<x:a/>".repeat(MOST))).unwrap().len(), MOST);
        }
        let deep = |count: usize| of("set", &format!("<x:a>{}</x:a>", "<b/>".repeat(count)));
        assert!(update(5, &deep(500)).is_ok() && update(7000, &deep(500)).is_err(), "copies in a tree");
        assert!(update(7000, &deep(100)).is_ok());
    }
}
