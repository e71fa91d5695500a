//! What is said of one resource, property by property, so that no piece of an answer is much longer than it is to be.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use super::Wanted;
use super::listing::{Kind, Resource};
use crate::auth::Holder;
use crate::dav::xml::{Name, Prefixes, escape};
use crate::dav::{EMPTY_TAG, lock};
use crate::repository::properties::Property;
use crate::serve::{Validators, media_type};

/// Properties the server makes, and whether a request for everything gets them.
const LIVE: [(&str, bool); 10] = [
    ("creationdate", true),
    ("getcontentlength", true),
    ("getcontenttype", true),
    ("getetag", true),
    ("getlastmodified", true),
    ("resourcetype", true),
    ("supportedlock", true),
    ("lockdiscovery", true),
    // RFC 4331 section 3: only for those who ask.
    ("quota-available-bytes", false),
    ("quota-used-bytes", false),
];

/// Bytes in use, bytes free.
pub(super) type Space = Option<(u64, u64)>;

/// What is said of every resource alike.
pub(super) struct Wording {
    wanted: Wanted,
    /// How the names in `wanted` are spelled.
    spelled: Vec<String>,
    prefixes: Prefixes,
    space: Space,
    /// The client, if it may write.
    writer: Option<Holder>,
}

impl Wording {
    pub(super) fn new(wanted: Wanted, space: Space, writer: Option<Holder>) -> Self {
        let mut prefixes = Prefixes::beside_dav();
        let spelled = wanted.named().iter().map(|name| prefixes.spell(name)).collect();
        Self { wanted, spelled, prefixes, space, writer }
    }

    /// Writes what the root of the answer declares.
    pub(super) fn declare(&self, out: &mut String) {
        self.prefixes.declare(out);
    }
}

/// One resource on its way out.
pub(super) struct Writing {
    resource: Resource,
    begun: bool,
    /// How many of its parts are written.
    at: usize,
    /// Which of the names asked for it does not have, and how many of these are written; `None` while they are looked for.
    missing: Vec<usize>,
    told: Option<usize>,
}

impl Writing {
    pub(super) fn new(resource: Resource) -> Self {
        Self { resource, begun: false, at: 0, missing: Vec::new(), told: None }
    }

    /// Goes on until `out` has about `enough` bytes; whether that was all.
    pub(super) fn write(&mut self, out: &mut String, wording: &Wording, enough: usize) -> bool {
        if !std::mem::replace(&mut self.begun, true) {
            out.push_str("<D:response><D:href>");
            escape(out, &self.resource.href);
            out.push_str("</D:href><D:propstat><D:prop>");
        }
        while self.told.is_none() {
            if out.len() >= enough {
                return false;
            }
            if !self.part(out, wording) {
                out.push_str("</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>");
                if !self.missing.is_empty() {
                    out.push_str("<D:propstat><D:prop>");
                }
                self.told = Some(0);
            }
        }
        let told = self.told.get_or_insert(0);
        while let Some(name) = self.missing.get(*told) {
            if out.len() >= enough {
                return false;
            }
            let _ = write!(out, "<{}/>", wording.spelled[*name]);
            *told += 1;
        }
        if !self.missing.is_empty() {
            out.push_str("</D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>");
        }
        out.push_str("</D:response>\n");
        true
    }

    /// Writes the next of what it has. `false`: that was all.
    fn part(&mut self, out: &mut String, wording: &Wording) -> bool {
        let (at, resource) = (self.at, &self.resource);
        self.at += 1;
        match &wording.wanted {
            Wanted::These(names) => {
                let Some(name) = names.get(at) else { return false };
                if !one(out, name, resource, wording) {
                    self.missing.push(at);
                }
            }
            Wanted::All(include) => {
                if let Some((name, usual)) = LIVE.get(at) {
                    if *usual {
                        live(out, name, resource, wording);
                    }
                } else if let Some(property) = resource.set.get(at - LIVE.len()) {
                    out.push_str(&String::from_utf8_lossy(&property.xml));
                } else {
                    let at = at - LIVE.len() - resource.set.len();
                    let Some(name) = include.get(at) else { return false };
                    let usual = &*name.namespace == "DAV:" && LIVE.contains(&(name.local.as_str(), true));
                    let told = usual || resource.set.iter().any(|set| is(set, name));
                    if !told && !one(out, name, resource, wording) {
                        self.missing.push(at);
                    }
                }
            }
            Wanted::Names => {
                if let Some((name, _)) = LIVE.get(at) {
                    if live(&mut String::new(), name, resource, wording) {
                        let _ = write!(out, "<D:{name}/>");
                    }
                } else {
                    let Some(property) = resource.set.get(at - LIVE.len()) else { return false };
                    let name =
                        Name { namespace: property.namespace.as_str().into(), local: property.name.clone() };
                    let mut prefixes = Prefixes::beside_dav();
                    let spelled = prefixes.spell(&name);
                    let _ = write!(out, "<{spelled}");
                    prefixes.declare(out);
                    out.push_str("/>");
                }
            }
        }
        true
    }
}

fn is(property: &Property, name: &Name) -> bool {
    property.namespace == *name.namespace && property.name == name.local
}

/// Writes one property that was asked for by name. `false`: the resource does not have it.
fn one(out: &mut String, name: &Name, resource: &Resource, wording: &Wording) -> bool {
    if let Some(property) = resource.set.iter().find(|property| is(property, name)) {
        out.push_str(&String::from_utf8_lossy(&property.xml));
        return true;
    }
    &*name.namespace == "DAV:" && live(out, &name.local, resource, wording)
}

/// Writes a property the server makes. `false`: the resource does not have it.
fn live(out: &mut String, name: &str, resource: &Resource, wording: &Wording) -> bool {
    let (is_directory, modified) = match &resource.kind {
        Kind::Real(listed) => {
            (listed.is_directory, SystemTime::UNIX_EPOCH + Duration::from_secs(listed.modified()))
        }
        Kind::Empty(made) => (false, *made),
    };
    let value = match name {
        "creationdate" => humantime::format_rfc3339_seconds(modified).to_string(),
        "getlastmodified" => httpdate::fmt_http_date(modified),
        "getcontentlength" | "getcontenttype" | "getetag" if is_directory => {
            if name != "getcontenttype" {
                return false;
            }
            "httpd/unix-directory".to_owned()
        }
        "getcontentlength" => match &resource.kind {
            Kind::Real(listed) => listed.size().to_string(),
            Kind::Empty(_) => "0".to_owned(),
        },
        "getcontenttype" => media_type(&resource.href).to_owned(),
        "getetag" => match &resource.kind {
            Kind::Real(listed) => Validators::of(&listed.stamp).etag,
            Kind::Empty(_) => EMPTY_TAG.to_owned(),
        },
        "resourcetype" => {
            out.push_str(match is_directory {
                true => "<D:resourcetype><D:collection/></D:resourcetype>",
                false => "<D:resourcetype/>",
            });
            return true;
        }
        "supportedlock" => {
            out.push_str("<D:supportedlock>");
            for scope in ["exclusive", "shared"] {
                let _ = write!(
                    out,
                    "<D:lockentry><D:lockscope><D:{scope}/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>"
                );
            }
            out.push_str("</D:supportedlock>");
            return true;
        }
        "lockdiscovery" => {
            out.push_str("<D:lockdiscovery>");
            for (active, root) in &resource.locks {
                let may_know = wording.writer.as_ref().is_some_and(|writer| active.lock.is_shown_to(writer));
                lock::write(out, active, root, may_know);
            }
            out.push_str("</D:lockdiscovery>");
            return true;
        }
        "quota-available-bytes" | "quota-used-bytes" => match wording.space {
            Some((used, free)) if is_directory => {
                if name == "quota-used-bytes" { used } else { free }.to_string()
            }
            _ => return false,
        },
        _ => return false,
    };
    let _ = write!(out, "<D:{name}>");
    escape(out, &value);
    let _ = write!(out, "</D:{name}>");
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dav::propfind::tests::name;
    use crate::dav::xml;
    use crate::repository::browse::Listed;

    fn resource(set: Vec<Property>) -> Resource {
        let stamp = crate::tree::FileStamp { inode: 1, size: 5, mtime_ns: 0, ctime_ns: 0 };
        let listed = Listed { name: "a&b".into(), is_directory: false, stamp };
        Resource { href: "/r/a%26b".into(), kind: Kind::Real(listed), set, locks: Vec::new() }
    }

    fn property(name: &str, value: &str) -> Property {
        let xml = format!("<{name} xmlns=\"urn:x\">{value}</{name}>").into_bytes();
        Property { namespace: "urn:x".into(), name: name.into(), xml }
    }

    /// All that is written, in pieces of about so many bytes, with the length of the longest.
    fn written(wanted: Wanted, set: Vec<Property>, enough: usize) -> (String, usize) {
        let wording = Wording::new(wanted, Some((1, 2)), None);
        let mut all = "<D:multistatus xmlns:D=\"DAV:\"".to_owned();
        wording.declare(&mut all);
        all.push('>');
        let mut writing = Writing::new(resource(set));
        let mut longest = 0;
        loop {
            let mut piece = String::new();
            let is_all = writing.write(&mut piece, &wording, enough);
            longest = longest.max(piece.len());
            all.push_str(&piece);
            if is_all {
                break;
            }
        }
        all.push_str("</D:multistatus>");
        (all, longest)
    }

    #[test]
    fn what_a_resource_lacks_is_named() {
        let wanted = Wanted::These(vec![
            name("DAV:", "getcontentlength"),
            name("urn:x", "set"),
            name("urn:\"<&", "gone"),
            name("DAV:", "quota-used-bytes"),
            name("", "bare"),
        ]);
        let (out, _) = written(wanted, vec![property("set", "1")], usize::MAX);
        let (found, missing) = out.split_once("HTTP/1.1 200 OK").unwrap();
        assert!(found.contains("<D:getcontentlength>5<") && found.contains("<set xmlns=\"urn:x\">1</set>"));
        assert!(found.contains("xmlns:n1=\"urn:&quot;&lt;&amp;\""), "{found}");
        assert!(["<n1:gone/>", "<D:quota-used-bytes/>", "<bare/>"].iter().all(|name| missing.contains(name)));
        let names = xml::elements(out.as_bytes()).unwrap();
        assert!(names.iter().any(|(_, found)| *found == name("urn:\"<&", "gone")));
    }

    #[test]
    fn one_resource_is_written_in_pieces_and_its_namespaces_once() {
        let long = "u".repeat(4000);
        let wanted = || Wanted::These((0..250).map(|number| name(&long, &format!("a{number}"))).collect());
        let (whole, _) = written(wanted(), Vec::new(), usize::MAX);
        assert!(whole.len() < 4000 + 250 * 20, "{}", whole.len());
        let (pieces, longest) = written(wanted(), Vec::new(), 300);
        assert!(pieces == whole && longest < 500, "{longest}");
        let set: Vec<Property> =
            (0..20).map(|number| property(&format!("p{number}"), &"v".repeat(200))).collect();
        for wanted in [|| Wanted::All(vec![name("urn:x", "p1"), name("urn:x", "none")]), || Wanted::Names] {
            let (whole, _) = written(wanted(), set.clone(), usize::MAX);
            let (pieces, longest) = written(wanted(), set.clone(), 200);
            assert!(pieces == whole && longest < 1000, "{longest}");
            xml::elements(whole.as_bytes()).unwrap();
        }
    }
}
