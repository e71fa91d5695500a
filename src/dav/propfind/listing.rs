//! Which resources a PROPFIND is about, one after the other: nothing holds all of them.

use std::sync::Arc;
use std::time::SystemTime;

use super::writing::{Wording, Writing};
use crate::dav::Target;
use crate::dav::locks::Active;
use crate::dav::share::Share;
use crate::dav::stream::Source;
use crate::package::Location;
use crate::repository::Handle;
use crate::repository::browse::{Entries, Listed};
use crate::repository::properties::{Properties, Property};
use crate::serve::encode_path;
use crate::serve::error::ServeError;

/// One resource of the answer.
pub(super) struct Resource {
    /// Percent-encoded path; a folder's ends in a slash.
    pub(super) href: String,
    pub(super) kind: Kind,
    pub(super) set: Vec<Property>,
    /// Each with the path of what it is on.
    pub(super) locks: Vec<(Active, String)>,
}

pub(super) enum Kind {
    Real(Listed),
    /// An empty thing that is no file.
    Empty(SystemTime),
}

const BEGIN: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\"";
const END: &str = "</D:multistatus>\n";

/// Writes one resource after the other.
struct Pen {
    wording: Wording,
    now: Option<Writing>,
    begun: bool,
}

impl Pen {
    fn new(wording: Wording) -> Self {
        Self { wording, now: None, begun: false }
    }

    /// See [`Source::fill`]. `next`: the next resource, as long as there is one.
    fn fill(
        &mut self,
        out: &mut String,
        enough: usize,
        mut next: impl FnMut() -> Result<Option<Resource>, ServeError>,
    ) -> Result<bool, ServeError> {
        if !std::mem::replace(&mut self.begun, true) {
            out.push_str(BEGIN);
            self.wording.declare(out);
            out.push_str(">\n");
        }
        while out.len() < enough {
            let writing = match &mut self.now {
                Some(writing) => writing,
                None => {
                    let Some(resource) = next()? else {
                        out.push_str(END);
                        return Ok(true);
                    };
                    self.now.insert(Writing::new(resource))
                }
            };
            if writing.write(out, &self.wording, enough) {
                self.now = None;
            }
        }
        Ok(false)
    }
}

/// A folder with, or without, what is in it; or a file.
pub(super) struct Folder {
    members: Members,
    pen: Pen,
}

/// What is there, read while it is asked for.
struct Members {
    handle: Handle,
    share: Arc<Share>,
    /// The repository's, as clients know it.
    url: String,
    target: Target,
    /// What the request points at.
    first: Option<Kind>,
    entries: Option<Entries>,
    /// Names that are not files yet.
    empty: std::vec::IntoIter<(String, SystemTime)>,
}

impl Folder {
    /// Blocking.
    pub(super) fn open(
        handle: Handle,
        share: Arc<Share>,
        url: String,
        target: Target,
        deep: bool,
        wording: Wording,
    ) -> Result<Self, ServeError> {
        let place = target.place();
        let first = match handle.stat(target.location.as_ref()).map_err(looking)? {
            Some(listed) => Kind::Real(listed),
            None => Kind::Empty(share.placeholder(place).ok_or(ServeError::NotFound)?),
        };
        let lists = deep && matches!(&first, Kind::Real(listed) if listed.is_directory);
        let (entries, empty) = match lists {
            true => (
                Some(handle.entries_of(target.location.as_ref()).map_err(looking)?),
                share.placeholders_in(place),
            ),
            false => (None, Vec::new()),
        };
        let (first, empty) = (Some(first), empty.into_iter());
        let members = Members { handle, share, url, target, first, entries, empty };
        Ok(Self { members, pen: Pen::new(wording) })
    }
}

impl Members {
    fn member(&self, name: &str) -> Option<Location> {
        let place = self.target.place();
        let text = if place.is_empty() { name.to_owned() } else { format!("{place}/{name}") };
        Location::parse(&text).ok()
    }

    /// The next resource that is there.
    fn next(&mut self) -> Result<Option<(Option<Location>, Kind)>, ServeError> {
        if let Some(first) = self.first.take() {
            return Ok(Some((self.target.location.clone(), first)));
        }
        while let Some(entry) = self.entries.as_mut().and_then(Iterator::next) {
            let listed = entry.map_err(looking)?;
            if let Some(location) = self.member(&listed.name) {
                return Ok(Some((Some(location), Kind::Real(listed))));
            }
        }
        self.entries = None;
        while let Some((name, made)) = self.empty.next() {
            if let Some(location) = self.member(&name)
                && self.handle.stat(Some(&location)).map_err(looking)?.is_none()
            {
                return Ok(Some((Some(location), Kind::Empty(made))));
            }
        }
        Ok(None)
    }

    fn resource(
        &self,
        location: Option<&Location>,
        kind: Kind,
        properties: Option<&Properties>,
        locks: &[Active],
    ) -> Result<Resource, ServeError> {
        let place = location.map_or("", Location::as_str);
        let is_directory = matches!(&kind, Kind::Real(listed) if listed.is_directory);
        let slash = if is_directory && !place.is_empty() { "/" } else { "" };
        let href = |place: &str| format!("{}{}", self.url, encode_path(place));
        let covering = locks.iter().filter(|active| active.lock.covers(place));
        Ok(Resource {
            href: href(place) + slash,
            locks: covering.map(|active| (active.clone(), href(&active.lock.place))).collect(),
            kind,
            set: match properties {
                Some(properties) => properties.of(location).map_err(reading)?,
                None => Vec::new(),
            },
        })
    }
}

impl Source for Folder {
    fn fill(&mut self, out: &mut String, enough: usize) -> Result<bool, ServeError> {
        let Self { members, pen } = self;
        // Opened for one piece: whoever is slow to take it holds nothing.
        let properties = members.handle.properties().map_err(reading)?;
        let locks = members.share.locks.around(members.target.place());
        pen.fill(out, enough, || {
            let Some((location, kind)) = members.next()? else { return Ok(None) };
            members.resource(location.as_ref(), kind, properties.as_ref(), &locks).map(Some)
        })
    }
}

/// The collections at `/` where no repository is.
pub(super) struct Front {
    hrefs: std::vec::IntoIter<String>,
    pen: Pen,
}

impl Front {
    pub(super) fn new(hrefs: Vec<String>, wording: Wording) -> Self {
        Self { hrefs: hrefs.into_iter(), pen: Pen::new(wording) }
    }
}

impl Source for Front {
    fn fill(&mut self, out: &mut String, enough: usize) -> Result<bool, ServeError> {
        let Self { hrefs, pen } = self;
        pen.fill(out, enough, || {
            let stamp = crate::tree::FileStamp { inode: 0, size: 0, mtime_ns: 0, ctime_ns: 0 };
            let kind = || Kind::Real(Listed { name: String::new(), is_directory: true, stamp });
            let resource = |href| Resource { href, kind: kind(), set: Vec::new(), locks: Vec::new() };
            Ok(hrefs.next().map(resource))
        })
    }
}

fn looking(error: std::io::Error) -> ServeError {
    ServeError::internal("look at the tree", error)
}

fn reading(error: crate::repository::properties::PropertiesError) -> ServeError {
    ServeError::internal("read properties", error)
}
