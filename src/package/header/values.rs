//! Values out of a validated header, borrowed where they can be.

use super::{Entry, Index, Kind};
use crate::package::tags::Class;

/// Reads values out of a validated header.
#[derive(Clone, Copy)]
pub struct Header<'h> {
    index: &'h Index,
    store: &'h [u8],
}

impl<'h> Header<'h> {
    /// `store` is the one `index` was checked against.
    pub(super) fn new(index: &'h Index, store: &'h [u8]) -> Self {
        Self { index, store }
    }

    /// Packages of rpm 4 and later wrap their headers in a region; older ones do not.
    pub fn has_region(&self) -> bool {
        self.index.has_region
    }

    pub fn has(&self, tag: u32) -> bool {
        self.index.find(tag).is_some()
    }

    fn data(&self, entry: &Entry) -> &'h [u8] {
        &self.store[entry.offset as usize..(entry.offset + entry.len) as usize]
    }

    /// A single string without its NUL. Of translated strings the first, which is the C locale's;
    /// `None` for an array of several.
    pub fn string(&self, tag: u32) -> Option<&'h [u8]> {
        let entry = self.index.find(tag)?;
        let single = match entry.kind {
            Kind::String | Kind::I18nString => true,
            Kind::StringArray => entry.count == 1,
            _ => false,
        };
        let data = self.data(entry);
        single.then(|| memchr::memchr(0, data).map_or(data, |nul| &data[..nul]))
    }

    /// The strings of an array, and of an array only.
    pub fn array(&self, tag: u32) -> Strings<'h> {
        let array = self.index.find(tag).is_some_and(|entry| entry.kind == Kind::StringArray);
        if array { self.strings(tag) } else { Strings { data: &[], left: 0 } }
    }

    /// All strings of a tag, but of translated ones the first only; empty when it is missing or
    /// holds something else.
    pub fn strings(&self, tag: u32) -> Strings<'h> {
        match self.index.find(tag) {
            Some(entry) if entry.kind.class() == Class::Text => {
                let left = if entry.kind == Kind::I18nString { 1 } else { entry.count as usize };
                Strings { data: self.data(entry), left }
            }
            _ => Strings { data: &[], left: 0 },
        }
    }

    pub fn binary(&self, tag: u32) -> Option<&'h [u8]> {
        self.index.find(tag).filter(|entry| entry.kind == Kind::Bin).map(|entry| self.data(entry))
    }

    /// A number that stands alone; `None` where there are several.
    pub fn number(&self, tag: u32) -> Option<u64> {
        let numbers = self.numbers(tag);
        (numbers.len() == 1).then(|| numbers.get(0)).flatten()
    }

    /// The numbers of an array of any width; empty when the tag is missing or holds something else.
    pub fn numbers(&self, tag: u32) -> Numbers<'h> {
        match self.index.find(tag) {
            Some(entry) if !matches!(entry.kind.class(), Class::Text | Class::Bin) => {
                Numbers { data: self.data(entry), width: entry.kind.width().unwrap_or(1) as usize }
            }
            _ => Numbers { data: &[], width: 1 },
        }
    }
}

/// NUL-terminated strings one after another; yields them without the NUL.
#[derive(Clone)]
pub struct Strings<'h> {
    data: &'h [u8],
    left: usize,
}

impl<'h> Iterator for Strings<'h> {
    type Item = &'h [u8];

    fn next(&mut self) -> Option<&'h [u8]> {
        self.left = self.left.checked_sub(1)?;
        let nul = memchr::memchr(0, self.data)?;
        let string = &self.data[..nul];
        self.data = &self.data[nul + 1..];
        Some(string)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Strings<'_> {}

/// Big-endian numbers one after another.
#[derive(Clone, Copy)]
pub struct Numbers<'h> {
    data: &'h [u8],
    width: usize,
}

impl Numbers<'_> {
    pub fn len(&self) -> usize {
        self.data.len() / self.width
    }

    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    pub fn get(&self, at: usize) -> Option<u64> {
        let bytes = self.data.get(at.checked_mul(self.width)?..)?.get(..self.width)?;
        Some(bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }
}
