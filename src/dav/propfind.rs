//! PROPFIND: what is there, and its properties, streamed.
//!
//! Not left to dav-server, whose answers (0.11) do not name the properties a resource lacks, and which
//! walks the whole tree for whoever sends `X-Litmus`.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use dav_server::ls::DavLock;
use hyper::StatusCode;
use hyper::header::CACHE_CONTROL;

use super::xml::{self, Name, escape};
use super::{Context, Target, XML};
use crate::package::Location;
use crate::repository::browse::Listed;
use crate::repository::properties::Property;
use crate::serve::error::ServeError;
use crate::serve::{Answer, Validators, blocking, encode_path, made, media_type, set, text};

/// Bytes of an answer made at a time.
const CHUNK: usize = 32 << 10;

/// What the client wants to know.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// Everything usual, and these.
    All(Vec<Name>),
    Names,
    These(Vec<Name>),
}

/// One resource of the answer.
struct Resource {
    /// Percent-encoded path; a folder's ends in a slash.
    href: String,
    kind: Kind,
    set: Vec<Property>,
    locks: Vec<DavLock>,
}

enum Kind {
    Real(Listed),
    /// An empty thing that is no file.
    Empty(SystemTime),
}

/// Answers a PROPFIND on `target`.
pub(super) async fn propfind(
    context: &Context<'_>,
    target: &Target,
    body: &[u8],
) -> Result<Answer, ServeError> {
    let deep = match context.header("depth") {
        Some("0") => false,
        Some("1") => true,
        None => return Ok(not_so_deep()),
        Some(depth) if depth.eq_ignore_ascii_case("infinity") => return Ok(not_so_deep()),
        Some(_) => return Err(ServeError::BadRequest("Depth must be 0 or 1".into())),
    };
    let wanted = wanted(body)?;
    let gathering =
        (context.handle.clone(), context.share.clone(), context.mount.config.url.clone(), target.clone());
    let space_wanted = wanted.asks_for_space();
    let (resources, space) = blocking("list a folder", move || {
        let (handle, share, url, target) = gathering;
        let resources = gather(&handle, &share, &url, &target, deep)?;
        Ok::<_, ServeError>((resources, space_wanted.then(|| handle.space().ok()).flatten()))
    })
    .await??;
    Ok(multistatus(resources.into_iter(), wanted, space))
}

/// RFC 4918 section 9.1: a server need not walk a whole tree.
fn not_so_deep() -> Answer {
    text(
        StatusCode::FORBIDDEN,
        XML,
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
         <D:error xmlns:D=\"DAV:\"><D:propfind-finite-depth/></D:error>\n\
         <!-- send Depth: 0 or Depth: 1 -->\n",
    )
}

fn gather(
    handle: &crate::repository::Handle,
    share: &super::share::Share,
    url: &str,
    target: &Target,
    deep: bool,
) -> Result<Vec<Resource>, ServeError> {
    let failed = |error| ServeError::internal("look at the tree", error);
    let mut found: Vec<(Option<Location>, Kind)> = Vec::new();
    let place = target.place();
    match handle.stat(target.location.as_ref()).map_err(failed)? {
        Some(listed) => {
            let is_directory = listed.is_directory;
            found.push((target.location.clone(), Kind::Real(listed)));
            if is_directory && deep {
                let member = |name: &str| {
                    Location::parse(&match place {
                        "" => name.to_owned(),
                        place => format!("{place}/{name}"),
                    })
                };
                for listed in handle.list_directory(target.location.as_ref()).map_err(failed)? {
                    if let Ok(location) = member(&listed.name) {
                        found.push((Some(location), Kind::Real(listed)));
                    }
                }
                for (name, made) in share.placeholders_in(place) {
                    let is_new =
                        !found.iter().any(|(_, kind)| matches!(kind, Kind::Real(l) if l.name == name));
                    if let (true, Ok(location)) = (is_new, member(&name)) {
                        found.push((Some(location), Kind::Empty(made)));
                    }
                }
            }
        }
        None => {
            let made = share.placeholder(place).ok_or(ServeError::NotFound)?;
            found.push((target.location.clone(), Kind::Empty(made)));
        }
    }
    let locations: Vec<Option<Location>> = found.iter().map(|(location, _)| location.clone()).collect();
    let set = handle
        .properties_of_all(&locations)
        .map_err(|error| ServeError::internal("read properties", error))?;
    let locked = !share.locks.is_empty();
    let resources = found.into_iter().zip(set).map(|((location, kind), set)| {
        let place = location.as_ref().map_or("", Location::as_str);
        let is_directory = matches!(&kind, Kind::Real(listed) if listed.is_directory);
        let slash = if is_directory && !place.is_empty() { "/" } else { "" };
        Resource {
            href: format!("{}{}{slash}", encode_path(url), encode_path(place)),
            locks: if locked { share.locks.covering(place) } else { Vec::new() },
            kind,
            set,
        }
    });
    Ok(resources.collect())
}

/// The collections at `/` where no repository is: so that clients that look there first find something.
pub(super) fn front(hrefs: Vec<String>, body: &[u8]) -> Result<Answer, ServeError> {
    let wanted = wanted(body)?;
    let resources = hrefs.into_iter().map(|href| {
        let stamp = crate::tree::FileStamp { inode: 0, size: 0, mtime_ns: 0, ctime_ns: 0 };
        let listed = Listed { name: String::new(), is_directory: true, stamp };
        Resource { href, kind: Kind::Real(listed), set: Vec::new(), locks: Vec::new() }
    });
    Ok(multistatus(resources.collect::<Vec<_>>().into_iter(), wanted, None))
}

fn wanted(body: &[u8]) -> Result<Wanted, ServeError> {
    if body.is_empty() {
        return Ok(Wanted::All(Vec::new()));
    }
    let elements = xml::elements(body)?;
    let bad = |why: &str| Err(ServeError::BadRequest(format!("the body is no propfind request: {why}")));
    let mut elements = elements.into_iter();
    if !elements.next().is_some_and(|(_, root)| root.is_dav("propfind")) {
        return bad("its root is not DAV:propfind");
    }
    let mut wanted = None;
    let mut include = Vec::new();
    let mut inside = None;
    for (depth, name) in elements {
        match (depth, &mut wanted) {
            (1, wanted) => {
                let now = match name.local.as_str() {
                    _ if name.namespace != "DAV:" => None,
                    "prop" => Some(Wanted::These(Vec::new())),
                    "allprop" => Some(Wanted::All(Vec::new())),
                    "propname" => Some(Wanted::Names),
                    _ => None,
                };
                inside = (name.namespace == "DAV:").then(|| name.local.clone());
                if now.is_some() && wanted.is_some() {
                    return bad("it asks for more than one thing");
                }
                *wanted = now.or(wanted.take());
            }
            (2, Some(Wanted::These(names))) if inside.as_deref() == Some("prop") => names.push(name),
            (2, _) if inside.as_deref() == Some("include") => include.push(name),
            _ => {}
        }
    }
    match wanted {
        Some(Wanted::All(_)) => Ok(Wanted::All(include)),
        Some(wanted) => Ok(wanted),
        None => bad("it asks for nothing"),
    }
}

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

impl Wanted {
    fn asks_for_space(&self) -> bool {
        let named = match self {
            Self::All(names) | Self::These(names) => names,
            Self::Names => return true,
        };
        named.iter().any(|name| name.namespace == "DAV:" && name.local.starts_with("quota-"))
    }
}

/// Bytes in use, bytes free.
type Space = Option<(u64, u64)>;

fn multistatus(
    mut resources: impl Iterator<Item = Resource> + Send + 'static,
    wanted: Wanted,
    space: Space,
) -> Answer {
    let mut begun = false;
    let mut over = false;
    let chunks = std::iter::from_fn(move || {
        if over {
            return None;
        }
        let mut out = String::with_capacity(CHUNK + 4096);
        if !std::mem::replace(&mut begun, true) {
            out.push_str("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\">\n");
        }
        while out.len() < CHUNK {
            let Some(resource) = resources.next() else {
                out.push_str("</D:multistatus>\n");
                over = true;
                break;
            };
            response(&mut out, &resource, &wanted, space);
        }
        Some(Bytes::from(out))
    });
    let mut answer = made(StatusCode::MULTI_STATUS, XML, chunks);
    set(&mut answer, CACHE_CONTROL, "no-cache");
    answer
}

fn response(out: &mut String, resource: &Resource, wanted: &Wanted, space: Space) {
    out.push_str("<D:response><D:href>");
    escape(out, &resource.href);
    out.push_str("</D:href><D:propstat><D:prop>");
    let mut missing: Vec<&Name> = Vec::new();
    match wanted {
        Wanted::All(include) => {
            for (name, _) in LIVE.iter().filter(|(_, usual)| *usual) {
                live(out, name, resource, space);
            }
            for property in &resource.set {
                out.push_str(&String::from_utf8_lossy(&property.xml));
            }
            let others = include.iter().filter(|name| {
                let usual = name.namespace == "DAV:" && LIVE.contains(&(name.local.as_str(), true));
                !usual && !resource.set.iter().any(|set| is(set, name))
            });
            missing.extend(others.filter(|name| !one(out, name, resource, space)));
        }
        Wanted::These(names) => missing.extend(names.iter().filter(|name| !one(out, name, resource, space))),
        Wanted::Names => {
            for (name, _) in LIVE {
                let mut value = String::new();
                if live(&mut value, name, resource, space) {
                    let _ = write!(out, "<D:{name}/>");
                }
            }
            for property in &resource.set {
                empty(out, &Name { namespace: property.namespace.clone(), local: property.name.clone() });
            }
        }
    }
    out.push_str("</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>");
    if !missing.is_empty() {
        out.push_str("<D:propstat><D:prop>");
        missing.into_iter().for_each(|name| empty(out, name));
        out.push_str("</D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>");
    }
    out.push_str("</D:response>\n");
}

fn is(property: &Property, name: &Name) -> bool {
    property.namespace == name.namespace && property.name == name.local
}

/// Writes one property that was asked for by name. `false`: the resource does not have it.
fn one(out: &mut String, name: &Name, resource: &Resource, space: Space) -> bool {
    if let Some(property) = resource.set.iter().find(|property| is(property, name)) {
        out.push_str(&String::from_utf8_lossy(&property.xml));
        return true;
    }
    name.namespace == "DAV:" && live(out, &name.local, resource, space)
}

/// A property without its value.
fn empty(out: &mut String, name: &Name) {
    // The reader has seen to it that a local name is a name.
    match name.namespace.as_str() {
        "DAV:" => _ = write!(out, "<D:{}/>", name.local),
        namespace => {
            let _ = write!(out, "<{} xmlns=\"", name.local);
            escape(out, namespace);
            out.push_str("\"/>");
        }
    }
}

/// Writes a property the server makes. `false`: the resource does not have it.
fn live(out: &mut String, name: &str, resource: &Resource, space: Space) -> bool {
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
            Kind::Empty(_) => super::EMPTY_TAG.to_owned(),
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
            resource.locks.iter().for_each(|lock| active(out, lock));
            out.push_str("</D:lockdiscovery>");
            return true;
        }
        "quota-available-bytes" | "quota-used-bytes" => match space {
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

/// `<D:activelock>`
fn active(out: &mut String, lock: &DavLock) {
    let scope = if lock.shared { "shared" } else { "exclusive" };
    let depth = if lock.deep { "infinity" } else { "0" };
    let _ = write!(
        out,
        "<D:activelock><D:lockscope><D:{scope}/></D:lockscope><D:locktype><D:write/></D:locktype><D:depth>{depth}</D:depth>"
    );
    if let Some(owner) = &lock.owner {
        let config = xmltree::EmitterConfig::new().write_document_declaration(false);
        let mut written = Vec::new();
        if owner.write_with_config(&mut written, config).is_ok() {
            out.push_str(&String::from_utf8_lossy(&written));
        }
    }
    let left = lock.timeout_at.and_then(|at| at.duration_since(SystemTime::now()).ok()).unwrap_or_default();
    let _ = write!(
        out,
        "<D:timeout>Second-{}</D:timeout><D:locktoken><D:href>{}</D:href></D:locktoken><D:lockroot><D:href>",
        left.as_secs(),
        lock.token
    );
    escape(out, &lock.path.with_prefix().as_url_string());
    out.push_str("</D:href></D:lockroot></D:activelock>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(namespace: &str, local: &str) -> Name {
        Name { namespace: namespace.into(), local: local.into() }
    }

    #[test]
    fn all_forms_of_a_request_are_read() {
        let body = |inside: &str| format!("<propfind xmlns=\"DAV:\" xmlns:x=\"urn:x\">{inside}</propfind>");
        let read = |inside: &str| wanted(body(inside).as_bytes()).unwrap();
        assert_eq!(wanted(b"").unwrap(), Wanted::All(vec![]));
        assert_eq!(read("<allprop/>"), Wanted::All(vec![]));
        assert_eq!(read("<allprop/><include><x:a/></include>"), Wanted::All(vec![name("urn:x", "a")]));
        assert_eq!(read("<propname/>"), Wanted::Names);
        let these = vec![name("DAV:", "getetag"), name("urn:x", "a"), name("", "b")];
        assert_eq!(
            read("<prop><getetag/><x:a><x:deeper/></x:a><b xmlns=\"\"/></prop>"),
            Wanted::These(these)
        );
        assert_eq!(read("<x:unknown/><propname/>"), Wanted::Names);
        for bad in ["", "<nothing/>", "<x:prop/>", "<prop/><allprop/>"] {
            assert!(wanted(body(bad).as_bytes()).is_err(), "{bad}");
        }
        assert!(wanted(b"<propfind><allprop/></propfind>").is_err(), "not in the namespace");
        assert!(wanted(b"<propertyupdate xmlns=\"DAV:\"/>").is_err());
    }

    #[test]
    fn what_a_resource_lacks_is_named() {
        let stamp = crate::tree::FileStamp { inode: 1, size: 5, mtime_ns: 0, ctime_ns: 0 };
        let listed = Listed { name: "a&b".into(), is_directory: false, stamp };
        let property = Property {
            namespace: "urn:x".into(),
            name: "set".into(),
            xml: b"<set xmlns=\"urn:x\">1</set>".to_vec(),
        };
        let resource = Resource {
            href: "/r/a%26b".into(),
            kind: Kind::Real(listed),
            set: vec![property],
            locks: vec![],
        };
        let wanted = Wanted::These(vec![
            name("DAV:", "getcontentlength"),
            name("urn:x", "set"),
            name("urn:\"<&", "gone"),
            name("DAV:", "quota-used-bytes"),
        ]);
        let mut out = String::new();
        response(&mut out, &resource, &wanted, Some((1, 2)));
        let (found, missing) = out.split_once("HTTP/1.1 200 OK").unwrap();
        assert!(found.contains("<D:getcontentlength>5<") && found.contains("<set xmlns=\"urn:x\">1</set>"));
        assert!(
            missing.contains("<gone xmlns=\"urn:&quot;&lt;&amp;\"/>")
                && missing.contains("<D:quota-used-bytes/>")
        );
        xml::elements(out.replace("<D:response>", "<D:response xmlns:D=\"DAV:\">").as_bytes()).unwrap();
    }
}
