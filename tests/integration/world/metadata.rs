//! Published metadata, read as the strictest client would: every checksum and size that repomd.xml
//! states is checked, and the three files must list the same packages in the same order.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use sha2::{Digest, Sha256, Sha512};

use super::http;

#[derive(Debug, Clone)]
pub struct Metadata {
    /// The bytes of repomd.xml.
    pub repomd: Vec<u8>,
    pub revision: u64,
    pub records: BTreeMap<String, Record>,
    /// Decompressed.
    pub primary: Vec<u8>,
    pub filelists: Vec<u8>,
    pub other: Vec<u8>,
    pub packages: Vec<Package>,
}

/// One `<data>` of repomd.xml.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Relative to the repository: `repodata/…-primary.xml.zst`.
    pub href: String,
    pub checksum: (String, String),
    pub open_checksum: (String, String),
    pub size: u64,
    pub open_size: u64,
    pub timestamp: u64,
}

/// One package, with its piece of each of the three files as it stands there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Package {
    pub name: String,
    pub epoch: String,
    pub version: String,
    pub release: String,
    pub arch: String,
    pub pkgid: String,
    /// `<location href>`, XML's escapes undone.
    pub href: String,
    /// `<time file>`, seconds since the epoch.
    pub file_time: u64,
    /// `<size package>`, bytes.
    pub size: u64,
    pub primary: String,
    pub filelists: String,
    pub other: String,
}

impl Package {
    pub fn nevra(&self) -> String {
        format!("{}-{}:{}-{}.{}", self.name, self.epoch, self.version, self.release, self.arch)
    }
}

impl Metadata {
    /// Over HTTP; `url_path` is the repository's, `/rpm/`. `Err` says what is not as it must be.
    pub fn fetch(address: SocketAddr, url_path: &str) -> Result<Self, String> {
        Self::read(|name| get(address, url_path, name))
    }

    /// From `<tree>/repodata`.
    pub fn from_tree(tree: &Path) -> Result<Self, String> {
        Self::read(|name| read_file(tree, name))
    }

    /// repomd.xml over HTTP, and what it names from the disk.
    pub fn fetch_beside(address: SocketAddr, url_path: &str, tree: &Path) -> Result<Self, String> {
        Self::read(|name| match name {
            "repodata/repomd.xml" => get(address, url_path, name),
            _ => read_file(tree, name),
        })
    }

    /// Through `get`, which is asked for repomd.xml first.
    pub fn read(mut get: impl FnMut(&str) -> Result<Vec<u8>, String>) -> Result<Self, String> {
        let repomd = get("repodata/repomd.xml")?;
        let (revision, records) = parse_repomd(&repomd)?;
        let mut content = |kind: &str| {
            let record = records.get(kind).ok_or_else(|| format!("repomd.xml has no {kind}"))?;
            open(record, get(&record.href)?).map_err(|error| format!("{}: {error}", record.href))
        };
        let (primary, filelists, other) = (content("primary")?, content("filelists")?, content("other")?);
        for (kind, record) in &records {
            if !matches!(kind.as_str(), "primary" | "filelists" | "other") {
                open(record, get(&record.href)?).map_err(|error| format!("{}: {error}", record.href))?;
            }
        }
        let packages = join(pieces(&primary)?, pieces(&filelists)?, pieces(&other)?)?;
        Ok(Self { repomd, revision, records, primary, filelists, other, packages })
    }

    pub fn hrefs(&self) -> Vec<&str> {
        let mut hrefs: Vec<_> = self.packages.iter().map(|package| package.href.as_str()).collect();
        hrefs.sort_unstable();
        hrefs
    }

    pub fn has(&self, href: &str) -> bool {
        self.package(href).is_some()
    }

    pub fn package(&self, href: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.href == href)
    }

    pub fn nevras(&self) -> BTreeSet<String> {
        self.packages.iter().map(Package::nevra).collect()
    }

    /// Checks every package against the file in `tree` that its href names: size and pkgid.
    pub fn matches_tree(&self, tree: &Path) -> Result<(), String> {
        for package in &self.packages {
            let path = tree.join(&package.href);
            let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            if bytes.len() as u64 != package.size {
                return Err(format!(
                    "{}: {} bytes, metadata say {}",
                    package.href,
                    bytes.len(),
                    package.size
                ));
            }
            if digest("sha256", &bytes)? != package.pkgid {
                return Err(format!("{}: its pkgid is not the file's digest", package.href));
            }
        }
        Ok(())
    }
}

fn get(address: SocketAddr, url_path: &str, name: &str) -> Result<Vec<u8>, String> {
    // Each look is another client's: one that never asks for signatures is kept at what it was given a while.
    static LOOKS: AtomicU64 = AtomicU64::new(0);
    let agent = format!("look/{}", LOOKS.fetch_add(1, Ordering::Relaxed));
    let response =
        http::try_send(address, "GET", &format!("{url_path}{name}"), &[("User-Agent", &agent)], None)
            .map_err(|error| format!("GET {name}: {error}"))?;
    if response.status == 200 { Ok(response.body) } else { Err(format!("GET {name}: {}", response.status)) }
}

fn read_file(tree: &Path, name: &str) -> Result<Vec<u8>, String> {
    let path = tree.join(name);
    std::fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

pub fn digest(algorithm: &str, bytes: &[u8]) -> Result<String, String> {
    let hex = |digest: &[u8]| digest.iter().map(|byte| format!("{byte:02x}")).collect();
    match algorithm {
        "sha256" => Ok(hex(&Sha256::digest(bytes))),
        "sha512" => Ok(hex(&Sha512::digest(bytes))),
        other => Err(format!("checksum type {other:?} is not known")),
    }
}

/// Checks a metadata file against its record and returns its content.
/// Decompresses a file, and holds it against what repomd.xml says of it.
pub fn open(record: &Record, bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    expect("size", &record.size, &(bytes.len() as u64))?;
    let (algorithm, sum) = &record.checksum;
    expect("checksum", sum, &digest(algorithm, &bytes)?)?;
    if !record.href.contains(sum.as_str()) {
        return Err("its name does not hold its checksum".into());
    }
    let content = decompress(&record.href, bytes)?;
    if record.open_checksum.1.is_empty() {
        // Only of files that are not compressed nothing more is said.
        return expect("open-size", &0, &record.open_size).map(|()| content);
    }
    expect("open-size", &record.open_size, &(content.len() as u64))?;
    let (algorithm, sum) = &record.open_checksum;
    expect("open-checksum", sum, &digest(algorithm, &content)?)?;
    Ok(content)
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, stated: &T, found: &T) -> Result<(), String> {
    if stated == found {
        Ok(())
    } else {
        Err(format!("{what}: repomd.xml says {stated:?}, the file has {found:?}"))
    }
}

fn decompress(name: &str, bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    if name.ends_with(".xz") {
        let mut decoder = liblzma::read::XzDecoder::new(bytes.as_slice());
        decoder.read_to_end(&mut content).map_err(|error| error.to_string())?;
        return Ok(content);
    }
    if name.ends_with(".bz2") {
        let mut decoder = bzip2::read::BzDecoder::new(bytes.as_slice());
        decoder.read_to_end(&mut content).map_err(|error| error.to_string())?;
        return Ok(content);
    }
    if name.ends_with(".gz") {
        // One member only: libxml2's own reader of files stops after the first.
        let mut decoder = flate2::bufread::GzDecoder::new(bytes.as_slice());
        decoder.read_to_end(&mut content).map_err(|error| error.to_string())?;
        let rest = decoder.into_inner();
        if !rest.is_empty() {
            return Err(format!("{} bytes after the first gzip member", rest.len()));
        }
    } else if name.ends_with(".zst") {
        content = zstd::stream::decode_all(bytes.as_slice()).map_err(|error| error.to_string())?;
    } else if name.ends_with(".zck") {
        // What libzck says of it is another test's.
        let limits = createrepod::repodata::codec::Limits { open_size: None };
        let file = createrepod::repodata::Codec::open(bytes.as_slice(), limits);
        file.and_then(|mut file| file.read_to_end(&mut content)).map_err(|error| error.to_string())?;
    } else {
        content = bytes;
    }
    Ok(content)
}

fn parse_repomd(bytes: &[u8]) -> Result<(u64, BTreeMap<String, Record>), String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let mut reader = Reader::from_str(text);
    let mut revision = None;
    let mut records = BTreeMap::new();
    let mut current: Option<(String, Record)> = None;
    let mut element = String::new();
    let mut algorithm = String::new();
    loop {
        match reader.read_event().map_err(|error| format!("repomd.xml: {error}"))? {
            Event::Start(start) => {
                element = start.name().as_ref().to_owned();
                match element.as_str() {
                    "data" => current = Some((attribute(&start, "type")?, Record::default())),
                    "checksum" | "open-checksum" => algorithm = attribute(&start, "type")?,
                    _ => {}
                }
            }
            Event::Empty(empty) if empty.name().as_ref() == "location" => {
                let (_, record) = current.as_mut().ok_or("location outside data")?;
                record.href = attribute(&empty, "href")?;
            }
            Event::Text(text) => {
                let text = text.xml10_content().trim().to_owned();
                let number = || text.parse::<u64>().map_err(|_| format!("repomd.xml: {element} is {text:?}"));
                match (element.as_str(), &mut current) {
                    ("revision", None) => revision = Some(number()?),
                    ("checksum", Some((_, record))) => record.checksum = (algorithm.clone(), text),
                    ("open-checksum", Some((_, record))) => record.open_checksum = (algorithm.clone(), text),
                    ("size", Some((_, record))) => record.size = number()?,
                    ("open-size", Some((_, record))) => record.open_size = number()?,
                    ("timestamp", Some((_, record))) => record.timestamp = number()?,
                    _ => {}
                }
            }
            Event::End(end) => {
                element.clear();
                if end.name().as_ref() == "data" {
                    let (kind, record) = current.take().ok_or("</data> without <data>")?;
                    if records.insert(kind.clone(), record).is_some() {
                        return Err(format!("repomd.xml names {kind} twice"));
                    }
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    Ok((revision.ok_or("repomd.xml has no revision")?, records))
}

/// The `<package>` elements of one of the three files, as they stand there. Checks `packages="N"`.
fn pieces(xml: &[u8]) -> Result<Vec<&str>, String> {
    let text = std::str::from_utf8(xml).map_err(|error| error.to_string())?;
    let mut reader = Reader::from_str(text);
    let mut stated = None;
    let mut found = Vec::new();
    loop {
        let before = position(&reader);
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(start) if start.name().as_ref() == "package" => {
                reader.read_to_end(start.name()).map_err(|error| error.to_string())?;
                found.push(&text[before..position(&reader)]);
            }
            Event::Start(root) => stated = Some(attribute(&root, "packages")?),
            Event::Empty(root) => stated = Some(attribute(&root, "packages")?),
            Event::Eof => break,
            _ => {}
        }
    }
    expect("packages", &stated, &Some(found.len().to_string()))?;
    Ok(found)
}

fn position(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap()
}

fn join(primary: Vec<&str>, filelists: Vec<&str>, other: Vec<&str>) -> Result<Vec<Package>, String> {
    if primary.len() != filelists.len() || primary.len() != other.len() {
        return Err(format!("{}, {} and {} packages", primary.len(), filelists.len(), other.len()));
    }
    let mut packages = Vec::with_capacity(primary.len());
    for ((primary, filelists), other) in primary.into_iter().zip(filelists).zip(other) {
        let package = describe(primary, filelists, other).map_err(|error| format!("{error} in {primary}"))?;
        packages.push(package);
    }
    Ok(packages)
}

fn describe(primary: &str, filelists: &str, other: &str) -> Result<Package, String> {
    let mut package = Package {
        primary: primary.to_owned(),
        filelists: filelists.to_owned(),
        other: other.to_owned(),
        ..Package::default()
    };
    let mut reader = Reader::from_str(primary);
    let mut depth = 0;
    let mut element = String::new();
    loop {
        let event = reader.read_event().map_err(|error| error.to_string())?;
        if let Event::Start(tag) | Event::Empty(tag) = &event {
            match tag.name().as_ref() {
                "version" => {
                    package.epoch = attribute(tag, "epoch")?;
                    package.version = attribute(tag, "ver")?;
                    package.release = attribute(tag, "rel")?;
                }
                "location" => package.href = attribute(tag, "href")?,
                "time" => package.file_time = number(&attribute(tag, "file")?)?,
                "size" => package.size = number(&attribute(tag, "package")?)?,
                _ => {}
            }
        }
        match event {
            Event::Start(tag) => {
                depth += 1;
                element = tag.name().as_ref().to_owned();
            }
            Event::Text(text) if depth == 2 => match element.as_str() {
                "name" => package.name += &text.xml10_content(),
                "arch" => package.arch += &text.xml10_content(),
                "checksum" => package.pkgid += &text.xml10_content(),
                _ => {}
            },
            Event::End(_) => {
                depth -= 1;
                element.clear();
            }
            Event::Eof => break,
            _ => {}
        }
    }
    for (file, piece) in [("filelists", filelists), ("other", other)] {
        let pkgid = first_tag(piece)?;
        if pkgid != package.pkgid {
            return Err(format!("{file} has {pkgid} where primary has {}", package.pkgid));
        }
    }
    Ok(package)
}

/// The pkgid of a package of filelists or other.
fn first_tag(piece: &str) -> Result<String, String> {
    match Reader::from_str(piece).read_event().map_err(|error| error.to_string())? {
        Event::Start(tag) => attribute(&tag, "pkgid"),
        other => Err(format!("{other:?} instead of a package")),
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<String, String> {
    let found = tag.try_get_attribute(name).map_err(|error| error.to_string())?;
    let found = found.ok_or_else(|| format!("no attribute {name} in {tag:?}"))?;
    Ok(found.normalized_value(XmlVersion::Explicit1_0).map_err(|error| error.to_string())?.into_owned())
}
