//! PROPFIND: what is there, and its properties, made while they are sent.

mod listing;
mod writing;

use std::net::IpAddr;

use hyper::StatusCode;

use super::xml::{self, Name, Prefixes};
use super::{Context, Small, Target, XML, stream};
use crate::auth::{Holder, Permission};
use crate::serve::error::ServeError;
use crate::serve::{Answer, Server, authorize, blocking, text};
use listing::{Folder, Front};
use writing::Wording;

/// Properties a client may name, and their bytes in all: they are answered for each resource.
const NAMES: usize = 256;
const NAME_BYTES: usize = 16 << 10;

/// What the client wants to know.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// Everything usual, and these.
    All(Vec<Name>),
    Names,
    These(Vec<Name>),
}

impl Wanted {
    fn named(&self) -> &[Name] {
        match self {
            Self::All(names) | Self::These(names) => names,
            Self::Names => &[],
        }
    }

    fn asks_for_space(&self) -> bool {
        let is_space = |name: &Name| &*name.namespace == "DAV:" && name.local.starts_with("quota-");
        *self == Self::Names || self.named().iter().any(is_space)
    }
}

/// Answers a PROPFIND on `target`.
pub(super) async fn propfind(
    context: &Context<'_>,
    target: &Target,
    body: Small,
) -> Result<Answer, ServeError> {
    let deep = match context.header("depth") {
        Some("0") => false,
        Some("1") => true,
        None => return Ok(not_so_deep()),
        Some(depth) if depth.eq_ignore_ascii_case("infinity") => return Ok(not_so_deep()),
        Some(_) => return Err(ServeError::BadRequest("Depth must be 0 or 1".into())),
    };
    let wanted = wanted(&body.bytes)?;
    drop(body);
    // Tokens of locks are for those who may write; who does is asked only where there are any.
    let writer = match context.share.locks.is_empty() {
        true => None,
        false => writer(context).await,
    };
    let (handle, share) = (context.handle.clone(), context.share.clone());
    let (url, place) = (context.href(""), target.clone());
    let _opening = context.server.shares.places.opening().await?;
    let folder = blocking("list a folder", move || {
        let space = wanted.asks_for_space().then(|| handle.space().ok()).flatten();
        Folder::open(handle, share, url, place, deep, Wording::new(wanted, space, writer))
    })
    .await??;
    stream::answer(context.server, context.address(), folder).await
}

/// The client as somebody who may write, if it may.
async fn writer(context: &Context<'_>) -> Option<Holder> {
    let asked =
        authorize(context.server, context.ends, context.parts, &context.mount.config, Permission::Write);
    asked.await.ok().map(|principal| Holder::of(&principal, context.address()))
}

/// The collections at `/` where no repository is: so that clients that look there first find something.
pub(super) async fn front(
    server: &Server,
    address: Option<IpAddr>,
    hrefs: Vec<String>,
    body: &[u8],
) -> Result<Answer, ServeError> {
    let front = Front::new(hrefs, Wording::new(wanted(body)?, None, None));
    stream::answer(server, address, front).await
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
                    _ if &*name.namespace != "DAV:" => None,
                    "prop" => Some(Wanted::These(Vec::new())),
                    "allprop" => Some(Wanted::All(Vec::new())),
                    "propname" => Some(Wanted::Names),
                    _ => None,
                };
                inside = (&*name.namespace == "DAV:").then(|| name.local.clone());
                if now.is_some() && wanted.is_some() {
                    return bad("it asks for more than one thing");
                }
                *wanted = now.or(wanted.take());
            }
            (2, Some(Wanted::These(names))) if inside.as_deref() == Some("prop") => once(names, name),
            (2, _) if inside.as_deref() == Some("include") => once(&mut include, name),
            _ => {}
        }
    }
    let wanted = match wanted {
        Some(Wanted::All(_)) => Wanted::All(include),
        Some(wanted) => wanted,
        None => return bad("it asks for nothing"),
    };
    let mut prefixes = Prefixes::beside_dav();
    let bytes: usize = wanted.named().iter().map(|name| prefixes.spell(name).len()).sum();
    if wanted.named().len() > NAMES || bytes > NAME_BYTES {
        return bad(&format!("it names more than {NAMES} properties, or {NAME_BYTES} bytes of them"));
    }
    Ok(wanted)
}

/// What is asked for twice is answered once. Beyond what is answered at all, nobody looks.
fn once(names: &mut Vec<Name>, name: Name) {
    if names.len() > NAMES || !names.contains(&name) {
        names.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn name(namespace: &str, local: &str) -> Name {
        Name { namespace: namespace.into(), local: local.into() }
    }

    fn body(inside: &str) -> String {
        format!("<propfind xmlns=\"DAV:\" xmlns:x=\"urn:x\">{inside}</propfind>")
    }

    #[test]
    fn all_forms_of_a_request_are_read() {
        let read = |inside: &str| wanted(body(inside).as_bytes()).unwrap();
        assert_eq!(wanted(b"").unwrap(), Wanted::All(vec![]));
        assert_eq!(read("<allprop/>"), Wanted::All(vec![]));
        assert_eq!(read("<allprop/><include><x:a/></include>"), Wanted::All(vec![name("urn:x", "a")]));
        assert_eq!(read("<propname/>"), Wanted::Names);
        let these = vec![name("DAV:", "getetag"), name("urn:x", "a"), name("", "b")];
        assert_eq!(
            read("<prop><getetag/><x:a><x:deeper/></x:a><b xmlns=\"\"/><x:a/></prop>"),
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
    fn names_are_bounded_in_number_and_in_sum() {
        let these = |names: String| wanted(body(&format!("<prop>{names}</prop>")).as_bytes());
        let many = |count: usize| (0..count).map(|number| format!("<x:a{number}/>")).collect::<String>();
        assert!(these(many(NAMES)).is_ok() && these(many(NAMES + 1)).is_err());
        assert!(these("<x:a/>".repeat(1900)).is_ok(), "one name, however often");
        let long = format!("<x:{}/><x:{}/>", "a".repeat(NAME_BYTES / 2), "b".repeat(NAME_BYTES / 2));
        assert!(these(long).is_err());
    }
}
