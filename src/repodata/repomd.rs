//! repomd.xml: the list of a repository's metadata files, with their checksums.

use std::io::{self, BufRead, Write};

use quick_xml::Reader;
use quick_xml::escape::{escape, unescape};
use quick_xml::events::{BytesStart, Event};

use super::error::FormatError;
use super::filelists_ext;
use crate::package::{Checksum, ChecksumType};

/// A file that says something of every package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetadataType {
    Primary,
    Filelists,
    Other,
    /// filelists.xml with the files' own digests; only where it is wanted.
    FilelistsExt,
}

/// How many kinds of [`MetadataType`] there are.
pub const KINDS: usize = 4;

impl MetadataType {
    /// The three that every repository has.
    pub const ALL: [Self; 3] = [Self::Primary, Self::Filelists, Self::Other];
    /// These and the one that a repository may have, in the order of a package's fragments.
    pub const EVERY: [Self; KINDS] = [Self::Primary, Self::Filelists, Self::Other, Self::FilelistsExt];

    /// As in `<data type="…">`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Filelists => "filelists",
            Self::Other => "other",
            Self::FilelistsExt => "filelists-ext",
        }
    }

    /// Everything before the first package.
    pub fn preamble(self, packages: u64) -> String {
        let open = match self {
            Self::Primary => {
                "metadata xmlns=\"http://linux.duke.edu/metadata/common\" \
                 xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\""
            }
            Self::Filelists => "filelists xmlns=\"http://linux.duke.edu/metadata/filelists\"",
            Self::Other => "otherdata xmlns=\"http://linux.duke.edu/metadata/other\"",
            Self::FilelistsExt => return filelists_ext::preamble(packages),
        };
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{open} packages=\"{packages}\">\n")
    }

    /// Everything after the last package.
    pub fn closing(self) -> &'static str {
        match self {
            Self::Primary => "</metadata>\n",
            Self::Filelists => "</filelists>\n",
            Self::Other => "</otherdata>\n",
            Self::FilelistsExt => filelists_ext::CLOSING,
        }
    }
}

/// A repository's table of contents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Repomd {
    /// Seconds since the epoch in ours; any text in others'.
    pub revision: String,
    pub tags: Tags,
    pub records: Vec<Record>,
}

/// `<tags>`: what a repository says of itself, beyond its files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags {
    pub content: Vec<String>,
    pub repo: Vec<String>,
    /// CPE identifier, if any, and text.
    pub distro: Vec<(Option<String>, String)>,
}

impl Tags {
    pub fn is_empty(&self) -> bool {
        self.content.is_empty() && self.repo.is_empty() && self.distro.is_empty()
    }

    fn write(&self, sink: &mut dyn Write) -> io::Result<()> {
        writeln!(sink, "  <tags>")?;
        for content in &self.content {
            writeln!(sink, "    <content>{}</content>", escape(content))?;
        }
        for repo in &self.repo {
            writeln!(sink, "    <repo>{}</repo>", escape(repo))?;
        }
        for (cpeid, text) in &self.distro {
            match cpeid {
                Some(id) => writeln!(sink, "    <distro cpeid=\"{}\">{}</distro>", escape(id), escape(text))?,
                None => writeln!(sink, "    <distro>{}</distro>", escape(text))?,
            }
        }
        writeln!(sink, "  </tags>")
    }
}

/// One metadata file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `primary`, `filelists`, `group` …
    pub kind: String,
    pub checksum: Checksum,
    pub open_checksum: Option<Checksum>,
    /// Relative to the repository: `repodata/….xml.zst`. Verbatim from others' files: not to be joined to a path unchecked.
    pub href: String,
    /// `xml:base` of the location: a URL that `href` is relative to instead of the repository's. Ours have none.
    pub base: Option<String>,
    /// Seconds since the epoch.
    pub timestamp: u64,
    pub size: Option<u64>,
    pub open_size: Option<u64>,
    /// Checksum and length of a zchunk file's header.
    pub header: Option<(Checksum, u64)>,
    /// Of an SQLite database: 10.
    pub database_version: Option<u32>,
}

impl Record {
    /// Whether both name the same bytes of the same file.
    pub fn same_file(&self, other: &Self) -> bool {
        let key = |r: &Self| {
            (r.kind.clone(), r.checksum.clone(), r.open_checksum.clone(), r.href.clone(), r.size, r.open_size)
        };
        key(self) == key(other)
    }
}

impl Repomd {
    pub fn record(&self, kind: &str) -> Option<&Record> {
        self.records.iter().find(|r| r.kind == kind)
    }

    /// The revision as a number; 0 where it is none.
    pub fn revision_number(&self) -> u64 {
        self.revision.trim().parse().unwrap_or(0)
    }

    /// Writes the XML as createrepo_c lays it out.
    pub fn write(&self, sink: &mut dyn Write) -> io::Result<()> {
        sink.write_all(
            b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
              <repomd xmlns=\"http://linux.duke.edu/metadata/repo\" xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\">\n",
        )?;
        writeln!(sink, "  <revision>{}</revision>", escape(&self.revision))?;
        if !self.tags.is_empty() {
            self.tags.write(sink)?;
        }
        for record in &self.records {
            writeln!(sink, "  <data type=\"{}\">", escape(&record.kind))?;
            let sum = &record.checksum;
            writeln!(sink, "    <checksum type=\"{}\">{sum}</checksum>", sum.kind)?;
            if let Some(sum) = &record.open_checksum {
                writeln!(sink, "    <open-checksum type=\"{}\">{sum}</open-checksum>", sum.kind)?;
            }
            if let Some((sum, _)) = &record.header {
                writeln!(sink, "    <header-checksum type=\"{}\">{sum}</header-checksum>", sum.kind)?;
            }
            let base = record.base.as_ref().map(|base| format!("xml:base=\"{}\" ", escape(base)));
            writeln!(sink, "    <location {}href=\"{}\"/>", base.unwrap_or_default(), escape(&record.href))?;
            writeln!(sink, "    <timestamp>{}</timestamp>", record.timestamp)?;
            if let Some(size) = record.size {
                writeln!(sink, "    <size>{size}</size>")?;
            }
            if let Some(size) = record.open_size {
                writeln!(sink, "    <open-size>{size}</open-size>")?;
            }
            if let Some((_, size)) = &record.header {
                writeln!(sink, "    <header-size>{size}</header-size>")?;
            }
            if let Some(version) = record.database_version {
                writeln!(sink, "    <database_version>{version}</database_version>")?;
            }
            sink.write_all(b"  </data>\n")?;
        }
        sink.write_all(b"</repomd>\n")
    }

    /// Reads anybody's repomd.xml. Elements it does not know are passed over.
    pub fn read(source: impl BufRead) -> Result<Self, FormatError> {
        let mut reader = Reader::from_reader(source);
        let mut repomd = Self::default();
        let mut draft: Option<Draft> = None;
        let mut text = String::new();
        let mut sum_kind = None;
        let mut cpeid = None;
        let mut seen_root = false;
        let mut buffer = Vec::new();
        let bad = |why: String| FormatError { file: "repomd.xml", why };
        loop {
            buffer.clear();
            let event = reader.read_event_into(&mut buffer);
            match event.map_err(|e| bad(e.to_string()))? {
                Event::Start(tag) => {
                    text.clear();
                    match tag.local_name().as_ref() {
                        "repomd" => seen_root = true,
                        "data" => draft = Some(Draft { kind: attribute(&tag, "type")?, ..Draft::default() }),
                        "checksum" | "open-checksum" | "header-checksum" => {
                            sum_kind = attribute(&tag, "type")?;
                        }
                        "distro" => cpeid = attribute(&tag, "cpeid")?,
                        "location" => take_href(&tag, &mut draft)?,
                        _ => {}
                    }
                }
                Event::Empty(tag) if tag.local_name().as_ref() == "location" => take_href(&tag, &mut draft)?,
                Event::Text(piece) => text.push_str(&piece),
                Event::GeneralRef(reference) => {
                    text.push_str(&unescape(&format!("&{};", &*reference)).map_err(|e| bad(e.to_string()))?);
                }
                Event::End(tag) => {
                    let word = text.trim();
                    match (tag.local_name().as_ref(), &mut draft) {
                        ("revision", None) => repomd.revision = word.to_owned(),
                        ("content", None) => repomd.tags.content.push(word.to_owned()),
                        ("repo", None) => repomd.tags.repo.push(word.to_owned()),
                        ("distro", None) => repomd.tags.distro.push((cpeid.take(), word.to_owned())),
                        ("checksum", Some(d)) => d.checksum = checksum(sum_kind.take(), word)?,
                        ("open-checksum", Some(d)) => d.open_checksum = checksum(sum_kind.take(), word)?,
                        // createrepo for EL5 wrote fractions of seconds.
                        ("timestamp", Some(d)) => {
                            d.timestamp = word.split('.').next().and_then(|t| t.parse().ok());
                        }
                        ("size", Some(d)) => d.size = word.parse().ok(),
                        ("open-size", Some(d)) => d.open_size = word.parse().ok(),
                        ("header-checksum", Some(d)) => d.header_checksum = checksum(sum_kind.take(), word)?,
                        ("header-size", Some(d)) => d.header_size = word.parse().ok(),
                        ("database_version", Some(d)) => d.database_version = word.parse().ok(),
                        ("data", Some(_)) => {
                            repomd.records.extend(draft.take().map(Draft::finish).transpose()?);
                        }
                        _ => {}
                    }
                    text.clear();
                }
                Event::Eof if seen_root => return Ok(repomd),
                Event::Eof => return Err(bad("it has no <repomd> element".into())),
                _ => {}
            }
        }
    }
}

#[derive(Default)]
struct Draft {
    kind: Option<String>,
    checksum: Option<Checksum>,
    open_checksum: Option<Checksum>,
    href: Option<String>,
    base: Option<String>,
    timestamp: Option<u64>,
    size: Option<u64>,
    open_size: Option<u64>,
    header_checksum: Option<Checksum>,
    header_size: Option<u64>,
    database_version: Option<u32>,
}

impl Draft {
    fn finish(self) -> Result<Record, FormatError> {
        let missing = |what: &str, kind: &str| FormatError {
            file: "repomd.xml",
            why: format!("a <data> element of type {kind:?} has no {what}"),
        };
        let kind = self.kind.ok_or_else(|| missing("type", ""))?;
        Ok(Record {
            checksum: self.checksum.ok_or_else(|| missing("checksum", &kind))?,
            href: self.href.ok_or_else(|| missing("location", &kind))?,
            base: self.base,
            open_checksum: self.open_checksum,
            timestamp: self.timestamp.unwrap_or(0),
            size: self.size,
            open_size: self.open_size,
            header: self.header_checksum.zip(self.header_size),
            database_version: self.database_version,
            kind,
        })
    }
}

fn take_href(tag: &BytesStart<'_>, draft: &mut Option<Draft>) -> Result<(), FormatError> {
    if let Some(draft) = draft {
        draft.href = attribute(tag, "href")?;
        draft.base = attribute(tag, "xml:base")?;
    }
    Ok(())
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>, FormatError> {
    let bad = |e: &dyn std::fmt::Display| FormatError { file: "repomd.xml", why: e.to_string() };
    let Some(attribute) = tag.try_get_attribute(name).map_err(|e| bad(&e))? else { return Ok(None) };
    let value = attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0).map_err(|e| bad(&e))?;
    Ok(Some(value.into_owned()))
}

fn checksum(kind: Option<String>, hex: &str) -> Result<Option<Checksum>, FormatError> {
    let bad = |why: String| FormatError { file: "repomd.xml", why };
    let kind: ChecksumType = kind
        .unwrap_or_default()
        .parse()
        .map_err(|e: crate::package::checksum::UnknownChecksumType| bad(e.to_string()))?;
    match Checksum::from_hex(kind, hex) {
        Some(sum) => Ok(Some(sum)),
        None => Err(bad(format!("{hex:?} is no {kind} checksum"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Repomd {
        let sum = |text: &[u8]| Checksum::of(ChecksumType::Sha256, text);
        Repomd {
            revision: "1700000000".into(),
            tags: Tags {
                content: vec!["a & b".into()],
                repo: vec!["r".into()],
                distro: vec![(Some("cpe:/o:x".into()), "X <1>".into()), (None, "plain".into())],
            },
            records: vec![
                Record {
                    kind: "primary".into(),
                    checksum: sum(b"a"),
                    open_checksum: Some(sum(b"b")),
                    href: "repodata/a&b-primary.xml.zst".into(),
                    base: None,
                    timestamp: 1_700_000_000,
                    size: Some(5),
                    open_size: Some(50),
                    header: Some((sum(b"d"), 7)),
                    database_version: None,
                },
                Record {
                    kind: "group".into(),
                    checksum: Checksum::of(ChecksumType::Sha1, b"c"),
                    open_checksum: None,
                    href: "repodata/comps.xml".into(),
                    base: None,
                    timestamp: 1,
                    size: None,
                    open_size: None,
                    header: None,
                    database_version: Some(10),
                },
            ],
        }
    }

    #[test]
    fn what_is_written_reads_back_equal() {
        let mut xml = Vec::new();
        sample().write(&mut xml).unwrap();
        assert_eq!(Repomd::read(&xml[..]).unwrap(), sample());
    }

    #[test]
    fn an_empty_repository_still_names_its_revision() {
        let mut xml = Vec::new();
        Repomd { revision: "1700000000".into(), ..Repomd::default() }.write(&mut xml).unwrap();
        insta::assert_snapshot!(String::from_utf8(xml).unwrap(), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">
          <revision>1700000000</revision>
        </repomd>
        "#);
    }

    #[test]
    fn broken_files_are_refused_with_a_reason() {
        for (xml, why) in [
            ("", "no <repomd>"),
            ("<html><body>404</body></html>", "no <repomd>"),
            ("<repomd><data type='primary'><location href='x'/></data></repomd>", "no checksum"),
            ("<repomd><data type='p'><checksum type='sha256'>zz</checksum></data></repomd>", "is no sha256"),
            ("<repomd><data type='p'><checksum type='crc'>00</checksum></data></repomd>", "unknown checksum"),
            ("<repomd><data", ""),
        ] {
            let error = Repomd::read(xml.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{xml}: {error}");
        }
    }
}
