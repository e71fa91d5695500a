//! The header structure of RPM files: an index of typed entries over a store of bytes.
//!
//! Format: <https://rpm.org/docs/latest/manual/format_header.html> and `format_v3.html` … `format_v6.html`
//! beside it. What is accepted follows rpm 4.18, found by trying: a header it refuses cannot be
//! installed, so publishing it would only move the error to the client.

mod values;

use rpm::IndexTag;

pub use values::{Header, Numbers, Strings};

use super::BadPackage;
use super::tags::{self, Class};

/// Length of magic, number of entries and length of the store, which come before the index.
pub const PREAMBLE: usize = 16;
const MAGIC: [u8; 8] = [0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
const ENTRY: usize = 16;
/// A region's trailer looks like an index entry and lies in the store.
const TRAILER: usize = 16;

/// Which of the two headers of a package this is; rpm's rules differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Signature,
    Main,
}

impl Section {
    fn name(self) -> &'static str {
        match self {
            Self::Signature => "signature header",
            Self::Main => "main header",
        }
    }

    /// Largest number of entries, and bytes of store.
    fn limits(self) -> (u32, u32) {
        match self {
            Self::Signature => (32, 64 << 20),
            Self::Main => (0xFFFF, (256 << 20) - 1),
        }
    }

    fn region_tag(self) -> u32 {
        match self {
            Self::Signature => IndexTag::RPMTAG_HEADERSIGNATURES as u32,
            Self::Main => IndexTag::RPMTAG_HEADERIMMUTABLE as u32,
        }
    }

    pub(super) fn bad(self, why: impl std::fmt::Display) -> BadPackage {
        BadPackage::Malformed(format!("{}: {why}", self.name()))
    }
}

/// Length of index and store as the preamble claims them, checked against the limits. Nothing may
/// be allocated by it: the bytes may never come.
pub fn claimed_len(section: Section, preamble: &[u8; PREAMBLE]) -> Result<usize, BadPackage> {
    if preamble[..8] != MAGIC {
        return Err(section.bad("it does not begin with the header magic 8eade801"));
    }
    let (entries, store) = (be32(preamble, 8), be32(preamble, 12));
    let (most_entries, most_store) = section.limits();
    if entries == 0 {
        return Err(section.bad("it has no entries"));
    }
    if entries > most_entries {
        return Err(section.bad(format!("it claims {entries} entries; {most_entries} are allowed")));
    }
    if store > most_store {
        return Err(section.bad(format!("it claims {store} bytes of data; {most_store} are allowed")));
    }
    Ok(entries as usize * ENTRY + store as usize)
}

/// One entry of an index. Once it is in an [`Index`], its data lies inside the store and is well formed.
#[derive(Debug, Clone, Copy)]
struct Entry {
    tag: u32,
    kind: Kind,
    offset: u32,
    count: u32,
    /// Bytes of data.
    len: u32,
}

/// Data types of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Char,
    Int8,
    Int16,
    Int32,
    Int64,
    String,
    Bin,
    StringArray,
    I18nString,
}

impl Kind {
    fn read(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Char,
            2 => Self::Int8,
            3 => Self::Int16,
            4 => Self::Int32,
            5 => Self::Int64,
            6 => Self::String,
            7 => Self::Bin,
            8 => Self::StringArray,
            9 => Self::I18nString,
            _ => return None,
        })
    }

    /// Bytes of one element and its alignment; `None` for strings, which have neither.
    fn width(self) -> Option<u32> {
        match self {
            Self::Char | Self::Int8 | Self::Bin => Some(1),
            Self::Int16 => Some(2),
            Self::Int32 => Some(4),
            Self::Int64 => Some(8),
            Self::String | Self::StringArray | Self::I18nString => None,
        }
    }

    fn class(self) -> Class {
        match self {
            Self::Char => Class::Char,
            Self::Int8 => Class::Int8,
            Self::Int16 => Class::Int16,
            Self::Int32 => Class::Int32,
            Self::Int64 => Class::Int64,
            Self::Bin => Class::Bin,
            Self::String | Self::StringArray | Self::I18nString => Class::Text,
        }
    }
}

/// The validated index of one header: every entry's data lies inside the store, apart from the
/// others', and every string ends there. Holds no reference to the bytes it was read from.
#[derive(Debug)]
pub struct Index {
    section: Section,
    /// By tag; where a tag came more than once, in the order of the file.
    entries: Vec<Entry>,
    /// Where the store begins in the bytes of the header, preamble included.
    store_at: usize,
    has_region: bool,
}

impl Index {
    /// Reads and checks a header, `bytes` being preamble, index and store and nothing else.
    pub fn parse(section: Section, bytes: &[u8]) -> Result<Self, BadPackage> {
        let preamble = bytes.first_chunk().ok_or_else(|| section.bad("it is cut short"))?;
        if claimed_len(section, preamble)? != bytes.len() - PREAMBLE {
            return Err(section.bad("its length is not what it claims"));
        }
        let store_at = PREAMBLE + be32(bytes, 8) as usize * ENTRY;
        let (index, store) = (&bytes[PREAMBLE..store_at], &bytes[store_at..]);
        let has_region = check_region(section, index, store)?;

        let first = usize::from(has_region);
        let mut entries = Vec::with_capacity(index.len() / ENTRY - first);
        // rpm lays the data out again and insists that nothing is left over.
        let mut laid_out: u64 = if has_region { TRAILER as u64 } else { 0 };
        let mut end = 0;
        let mut sorted = true;
        let mut last_tag = 0;
        for (number, raw) in index.chunks_exact(ENTRY).enumerate().skip(first) {
            let typed = has_region && section == Section::Main;
            let entry = check_entry(raw, store, end, typed).map_err(|why| {
                section.bad(format!(
                    "entry {number} (tag {}, type {}, offset {}, count {}) {why}",
                    be32(raw, 0),
                    be32(raw, 4),
                    be32(raw, 8) as i32,
                    be32(raw, 12) as i32,
                ))
            })?;
            laid_out =
                laid_out.next_multiple_of(u64::from(entry.kind.width().unwrap_or(1))) + u64::from(entry.len);
            end = entry.offset + entry.len;
            sorted &= last_tag <= entry.tag;
            last_tag = entry.tag;
            entries.push(entry);
        }
        if laid_out != store.len() as u64 {
            return Err(
                section.bad(format!("its entries need {laid_out} bytes of data, but it has {}", store.len()))
            );
        }
        if !sorted {
            entries.sort_by_key(|entry| entry.tag);
        }
        Ok(Self { section, entries, store_at, has_region })
    }

    /// The header itself; `bytes` are those it was parsed from.
    pub fn header<'h>(&'h self, bytes: &'h [u8]) -> Header<'h> {
        Header::new(self, &bytes[self.store_at..])
    }

    /// Refuses a main header that holds what only the signature header may say: rpm copies such tags
    /// over, and a package that has both could be verified as one and installed as the other.
    pub fn check_against(&self, signature: &Self) -> Result<(), BadPackage> {
        let foreign = tags::ONLY_IN_SIGNATURE.iter().find(|&&tag| self.find(tag).is_some());
        let doubled = tags::MERGED
            .iter()
            .find(|(from, to)| signature.find(*from).is_some() && self.find(*to).is_some())
            .map(|(_, to)| to);
        if let Some(tag) = foreign.or(doubled) {
            return Err(self.section.bad(format!("tag {tag} belongs into the signature header")));
        }
        for &(tag, class, count) in tags::SIGNATURE_TYPES {
            let Some(entry) = signature.find(tag) else { continue };
            let right_count = match count {
                0 => true,
                _ => entry.count == count,
            };
            let right_type = match class {
                tags::SignatureType::Is(class) => entry.kind.class() == class,
                tags::SignatureType::OneString => entry.kind == Kind::String,
                tags::SignatureType::Strings => entry.kind == Kind::StringArray,
            };
            if !right_type || !right_count {
                return Err(signature.section.bad(format!("tag {tag} has the wrong type or count")));
            }
        }
        Ok(())
    }

    /// The last entry of this tag.
    fn find(&self, tag: u32) -> Option<&Entry> {
        let after = self.entries.partition_point(|entry| entry.tag <= tag);
        self.entries[..after].last().filter(|entry| entry.tag == tag)
    }
}

/// Whether the header begins with its region, which must then end where the store ends.
fn check_region(section: Section, index: &[u8], store: &[u8]) -> Result<bool, BadPackage> {
    let tag = section.region_tag();
    if be32(index, 0) != tag {
        return Ok(false);
    }
    let offset = be32(index, 8) as usize;
    if be32(index, 4) != 7 || be32(index, 12) != TRAILER as u32 {
        return Err(section.bad("its region tag is malformed"));
    }
    let end = offset.saturating_add(TRAILER);
    let trailer = store.get(offset..end).ok_or_else(|| section.bad("its region lies outside of its data"))?;
    // Some old packages have the tag of another region in the signature's trailer.
    let trailer_tag = be32(trailer, 0);
    let tag_fits = trailer_tag == tag
        || (section == Section::Signature && trailer_tag == IndexTag::RPMTAG_HEADERIMAGE as u32);
    if !tag_fits || be32(trailer, 4) != 7 || be32(trailer, 12) != TRAILER as u32 {
        return Err(section.bad("its region's trailer is malformed"));
    }
    // The trailer says how far back the region's index begins, as a negative number.
    let covered = 0i64 - i64::from(be32(trailer, 8) as i32);
    let fits = covered >= 0 && covered % ENTRY as i64 == 0 && covered as usize <= index.len();
    let exact = covered == index.len() as i64 && end == store.len();
    if !fits || (section == Section::Main && !exact) {
        return Err(section.bad("its region does not cover it"));
    }
    Ok(true)
}

/// Reads one entry and checks that its data lies behind `end` and inside the store.
fn check_entry(raw: &[u8], store: &[u8], end: u32, typed: bool) -> Result<Entry, &'static str> {
    let (tag, offset, count) = (be32(raw, 0), be32(raw, 8), be32(raw, 12));
    if !(IndexTag::RPMTAG_HEADERI18NTABLE as u32..=i32::MAX as u32).contains(&tag) {
        return Err("has a tag that is not allowed here");
    }
    let kind = Kind::read(be32(raw, 4)).ok_or("has a type that does not exist")?;
    if typed && tags::class(tag).is_some_and(|class| class != kind.class()) {
        return Err("has a type that this tag never has");
    }
    if count == 0 {
        return Err("is empty");
    }
    if offset < end {
        return Err("overlaps the one before");
    }
    if offset % kind.width().unwrap_or(1) != 0 {
        return Err("is not aligned");
    }
    let data = store.get(offset as usize..).ok_or("lies outside of the data")?;
    let len = match kind {
        Kind::String if count != 1 => return Err("is a single string, but there are several"),
        Kind::String => memchr::memchr(0, data).map(|nul| nul + 1),
        Kind::StringArray | Kind::I18nString => strings_len(data, count as usize),
        _ => {
            (count as usize).checked_mul(kind.width().unwrap_or(1) as usize).filter(|len| *len <= data.len())
        }
    };
    let len = len.ok_or("does not end inside the data")?;
    Ok(Entry { tag, kind, offset, count, len: len as u32 })
}

/// Length of the first `count` strings in `data`, NULs included; `None` when it holds fewer.
fn strings_len(data: &[u8], count: usize) -> Option<usize> {
    // Counting in blocks is many times faster than finding each where strings are short, and a
    // header may hold millions of them.
    const BLOCK: usize = 256;
    let mut missing = count;
    for (number, block) in data.chunks(BLOCK).enumerate() {
        let here = block.iter().filter(|byte| **byte == 0).count();
        if here >= missing {
            let last = memchr::memchr_iter(0, block).nth(missing.checked_sub(1)?)?;
            return Some(number * BLOCK + last + 1);
        }
        missing -= here;
    }
    None
}

/// The four bytes at `at`, which must be there.
fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests;
