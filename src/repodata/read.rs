//! Reads other people's primary.xml, filelists.xml and other.xml as streams: one package in memory at a time.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, Read};

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::FormatError;
use super::element::{Facts, attribute};
use super::repomd::MetadataType;

/// Bytes: the longest entry of one package. The kernel's debuginfo has some 10 MiB.
const LONGEST_ENTRY: usize = 64 << 20;
/// Bytes of entries that wait for their package, when the three files do not agree in their order.
const WAITING: usize = 256 << 20;

const COMMON: &str = "http://linux.duke.edu/metadata/common";
const RPM: &str = "http://linux.duke.edu/metadata/rpm";

/// The packages (or advisories) of one file, one after the other, each as the text of its element.
///
/// The text is as it stands in the file, so that it can stand in another file of that kind; only
/// where a file has other namespace prefixes than everybody else, the names are written anew.
pub struct Elements<R> {
    shape: Shape,
    reader: Reader<Recording<R>>,
    buffer: Vec<u8>,
    stated: Option<u64>,
    prefixes: Prefixes,
    state: State,
}

/// What a file consists of.
#[derive(Clone, Copy)]
struct Shape {
    /// For messages.
    file: &'static str,
    root: &'static str,
    element: &'static str,
}

impl Shape {
    const fn of(kind: MetadataType) -> Self {
        let (file, root) = match kind {
            MetadataType::Primary => ("primary.xml", "metadata"),
            MetadataType::Filelists => ("filelists.xml", "filelists"),
            MetadataType::Other => ("other.xml", "otherdata"),
            MetadataType::FilelistsExt => ("filelists-ext.xml", "filelists-ext"),
        };
        Self { file, root, element: "package" }
    }
}

#[derive(PartialEq, Eq)]
enum State {
    Before,
    Inside,
    After,
}

impl<R: BufRead> Elements<R> {
    /// Reads up to the first package.
    pub fn new(kind: MetadataType, source: R) -> Result<Self, FormatError> {
        Self::shaped(Shape::of(kind), source)
    }

    /// The advisories of an updateinfo.xml: its `<update>` elements.
    pub fn advisories(source: R) -> Result<Self, FormatError> {
        Self::shaped(Shape { file: "updateinfo.xml", root: "updates", element: "update" }, source)
    }

    fn shaped(shape: Shape, source: R) -> Result<Self, FormatError> {
        let mut elements = Self {
            shape,
            reader: Reader::from_reader(Recording::new(source)),
            buffer: Vec::new(),
            stated: None,
            prefixes: Prefixes::default(),
            state: State::Before,
        };
        elements.read_root()?;
        Ok(elements)
    }

    /// How many packages the file says it has.
    pub fn stated(&self) -> Option<u64> {
        self.stated
    }

    fn read_root(&mut self) -> Result<(), FormatError> {
        while self.state == State::Before {
            self.buffer.clear();
            let event = self.reader.read_event_into(&mut self.buffer);
            let (root, empty) = match event {
                Ok(Event::Start(tag)) => (tag.into_owned(), false),
                Ok(Event::Empty(tag)) => (tag.into_owned(), true),
                Ok(Event::Eof) => return Err(self.bad("it has no element at all")),
                Ok(Event::Text(text))
                    if !text.trim_matches(['\u{feff}', ' ', '\t', '\r', '\n']).is_empty() =>
                {
                    return Err(self.bad("it is not XML"));
                }
                Ok(_) => continue,
                Err(error) => return Err(self.bad(error)),
            };
            let wanted = self.shape.root;
            let found = root.local_name();
            if found.as_ref() != wanted {
                let why = format!("its root element is <{}> where <{wanted}> was expected", found.as_ref());
                return Err(self.bad(why));
            }
            self.stated = attribute(&root, "packages").map_err(|e| self.bad(e))?.and_then(|n| n.parse().ok());
            self.prefixes = Prefixes::of(&root).map_err(|e| self.bad(e))?;
            self.state = if empty { State::After } else { State::Inside };
        }
        self.reader.get_mut().forget();
        Ok(())
    }

    /// The next package's element, or `None` at the end of the file.
    pub fn next_element(&mut self) -> Result<Option<String>, FormatError> {
        if self.state == State::After {
            return Ok(None);
        }
        let mut depth = 0;
        let mut start = 0;
        let mut is_package = false;
        loop {
            if depth == 0 {
                self.reader.get_mut().forget();
                start = self.reader.get_ref().recorded.len();
            }
            self.buffer.clear();
            let event = self.reader.read_event_into(&mut self.buffer);
            let ended = match event {
                Ok(Event::Start(tag)) => {
                    if depth == 0 {
                        // What others add between the packages is passed over, as createrepo_c does.
                        is_package = tag.local_name().as_ref() == self.shape.element;
                    }
                    depth += 1;
                    false
                }
                Ok(Event::Empty(tag)) if depth == 0 => {
                    is_package = tag.local_name().as_ref() == self.shape.element;
                    true
                }
                Ok(Event::Empty(_)) => false,
                Ok(Event::End(_)) if depth == 0 => {
                    self.state = State::After;
                    return Ok(None);
                }
                Ok(Event::End(_)) => {
                    depth -= 1;
                    depth == 0
                }
                Ok(Event::Eof) => return Err(self.bad("it ends in the middle")),
                Ok(_) => false,
                Err(error) => return Err(self.bad(error)),
            };
            if ended && is_package {
                let text = self.reader.get_ref().recorded[start..].to_vec();
                let text = String::from_utf8(text).map_err(|_| self.bad("it is not UTF-8"))?;
                let text = self.prefixes.normalise(text).map_err(|e| self.bad(e))?;
                return Ok(Some(text));
            }
        }
    }

    /// What is wrong, with the line it was found in.
    fn bad(&self, why: impl ToString) -> FormatError {
        let line = self.reader.get_ref().line();
        FormatError { file: self.shape.file, why: format!("line {line}: {}", why.to_string()) }
    }
}

/// The source, with what was read of it since the last package.
struct Recording<R> {
    inner: R,
    recorded: Vec<u8>,
    /// Lines that ended before what is recorded.
    lines: u64,
}

impl<R> Recording<R> {
    fn new(inner: R) -> Self {
        Self { inner, recorded: Vec::new(), lines: 0 }
    }

    fn forget(&mut self) {
        self.lines += memchr::memchr_iter(b'\n', &self.recorded).count() as u64;
        self.recorded.clear();
        // One package of unusual length must not cost its memory for ever.
        self.recorded.shrink_to(1 << 20);
    }

    fn line(&self) -> u64 {
        1 + self.lines + memchr::memchr_iter(b'\n', &self.recorded).count() as u64
    }
}

impl<R: BufRead> Read for Recording<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Recording<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.recorded.len() > LONGEST_ENTRY {
            return Err(io::Error::other("one package's entry is longer than 64 MiB"));
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // What is consumed was filled in before, so this asks the source for nothing.
        if let Ok(available) = self.inner.fill_buf() {
            self.recorded.extend_from_slice(&available[..amount.min(available.len())]);
        }
        self.inner.consume(amount);
    }
}

/// Which prefixes a file uses, where they are not the usual ones: none for the file's own elements,
/// `rpm` for rpm's.
#[derive(Default)]
struct Prefixes {
    /// Prefix as written, and what is usual: `""` or `rpm`.
    unusual: Vec<(String, &'static str)>,
}

impl Prefixes {
    fn of(root: &BytesStart<'_>) -> Result<Self, String> {
        let mut unusual = Vec::new();
        for attribute in root.attributes() {
            let attribute = attribute.map_err(|e| e.to_string())?;
            let prefix = match attribute.key.as_ref() {
                "xmlns" => "",
                key => match key.strip_prefix("xmlns:") {
                    Some(prefix) => prefix,
                    None => continue,
                },
            };
            let usual = if &*attribute.value == RPM { "rpm" } else { "" };
            let ours = &*attribute.value == RPM
                || &*attribute.value == COMMON
                || attribute.value.starts_with("http://linux.duke.edu/metadata/");
            if ours && prefix != usual {
                unusual.push((prefix.to_owned(), usual));
            }
        }
        Ok(Self { unusual })
    }

    fn usual(&self, name: &str) -> String {
        let (prefix, local) = name.split_once(':').unwrap_or(("", name));
        match self.unusual.iter().find(|(unusual, _)| unusual == prefix) {
            Some((_, "")) => local.to_owned(),
            Some((_, usual)) => format!("{usual}:{local}"),
            None => name.to_owned(),
        }
    }

    fn normalise(&self, text: String) -> Result<String, String> {
        if self.unusual.is_empty() {
            return Ok(text);
        }
        let mut reader = Reader::from_str(&text);
        let mut writer = quick_xml::Writer::new(Vec::with_capacity(text.len()));
        loop {
            let event = match reader.read_event().map_err(|e| e.to_string())? {
                Event::Start(mut tag) => {
                    let name = self.usual(tag.name().as_ref());
                    tag.set_name(&name);
                    Event::Start(tag)
                }
                Event::Empty(mut tag) => {
                    let name = self.usual(tag.name().as_ref());
                    tag.set_name(&name);
                    Event::Empty(tag)
                }
                Event::End(tag) => {
                    Event::End(quick_xml::events::BytesEnd::new(self.usual(tag.name().as_ref())))
                }
                Event::Eof => break,
                other => other,
            };
            writer.write_event(event).map_err(|e| e.to_string())?;
        }
        String::from_utf8(writer.into_inner()).map_err(|e| e.to_string())
    }
}

/// One package of somebody's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    pub facts: Facts,
    /// Its elements, `<package` to `</package>`, without a newline.
    pub primary: String,
    /// `None` when filelists.xml does not list it.
    pub filelists: Option<String>,
    pub other: Option<String>,
}

/// The packages of a repository: primary.xml's, in its order, with what the other two files say of them.
pub struct Packages<P, F, O> {
    primary: Elements<P>,
    filelists: Partner<F>,
    other: Partner<O>,
}

impl<P: BufRead, F: BufRead, O: BufRead> Packages<P, F, O> {
    pub fn new(primary: P, filelists: F, other: O) -> Result<Self, FormatError> {
        Ok(Self {
            primary: Elements::new(MetadataType::Primary, primary)?,
            filelists: Partner::new(Elements::new(MetadataType::Filelists, filelists)?),
            other: Partner::new(Elements::new(MetadataType::Other, other)?),
        })
    }

    /// The next package, or `None` at the end.
    pub fn next_package(&mut self) -> Result<Option<Foreign>, FormatError> {
        let Some(primary) = self.primary.next_element()? else { return Ok(None) };
        let facts = Facts::of(&primary).map_err(|e| self.primary.bad(e))?;
        let filelists = self.filelists.find(&facts.pkgid)?;
        let other = self.other.find(&facts.pkgid)?;
        Ok(Some(Foreign { facts, primary, filelists, other }))
    }
}

/// A file whose entries are looked for by pkgid. Nearly always the next one is wanted.
pub struct Partner<R> {
    elements: Elements<R>,
    waiting: HashMap<String, Vec<String>>,
    waiting_bytes: usize,
    /// A package listed twice in primary.xml may be listed once here: it must not be searched to the end.
    found: HashSet<String>,
    ended: bool,
}

impl<R: BufRead> Partner<R> {
    pub fn new(elements: Elements<R>) -> Self {
        Self { elements, waiting: HashMap::new(), waiting_bytes: 0, found: HashSet::new(), ended: false }
    }

    /// The entry of this package, or `None` where the file has none.
    pub fn find(&mut self, pkgid: &str) -> Result<Option<String>, FormatError> {
        if let Some(texts) = self.waiting.get_mut(pkgid)
            && let Some(text) = texts.pop()
        {
            self.waiting_bytes -= text.len();
            return Ok(Some(text));
        }
        let again = self.found.contains(pkgid);
        while !self.ended {
            let Some(text) = self.elements.next_element()? else {
                self.ended = true;
                break;
            };
            let found = pkgid_of(&text).map_err(|e| self.elements.bad(e))?;
            if found == pkgid {
                self.found.insert(found);
                return Ok(Some(text));
            }
            self.waiting_bytes += text.len();
            if self.waiting_bytes > WAITING {
                return Err(self
                    .elements
                    .bad("its packages stand in quite another order than primary.xml's"));
            }
            self.waiting.entry(found).or_default().push(text);
            if again {
                break;
            }
        }
        Ok(None)
    }
}

/// The pkgid of an entry of filelists.xml or other.xml.
pub fn pkgid_of(element: &str) -> Result<String, String> {
    match Reader::from_str(element).read_event().map_err(|e| e.to_string())? {
        Event::Start(tag) | Event::Empty(tag) => attribute(&tag, "pkgid")?
            .filter(|p| !p.is_empty())
            .ok_or_else(|| "a <package> has no pkgid".into()),
        _ => Err("a <package> has no pkgid".into()),
    }
}

#[cfg(test)]
mod tests;
