//! The RPM file format, version 4: lead, signature header, header, payload
//! (<https://rpm-software-management.github.io/rpm/manual/format_v4.html>).

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

const SIGNATURE_REGION: u32 = 62;
const MAIN_REGION: u32 = 63;

/// A header being written. Entries may come in any order; rpm sorts them by tag, and so do we.
#[derive(Default)]
pub struct Header {
    /// Tag, type, count, data.
    entries: Vec<(u32, u32, u32, Vec<u8>)>,
}

impl Header {
    fn entry(&mut self, tag: u32, kind: u32, count: usize, data: Vec<u8>) {
        self.entries.push((tag, kind, count as u32, data));
    }

    pub fn int16(&mut self, tag: u32, numbers: impl Iterator<Item = u16>) {
        let data: Vec<u8> = numbers.flat_map(u16::to_be_bytes).collect();
        self.entry(tag, 3, data.len() / 2, data);
    }

    pub fn int32(&mut self, tag: u32, numbers: impl Iterator<Item = u32>) {
        let data: Vec<u8> = numbers.flat_map(u32::to_be_bytes).collect();
        self.entry(tag, 4, data.len() / 4, data);
    }

    pub fn number(&mut self, tag: u32, number: u32) {
        self.int32(tag, std::iter::once(number));
    }

    pub fn text(&mut self, tag: u32, text: &str) {
        self.entry(tag, 6, 1, terminated([text].into_iter()).1);
    }

    /// A text with translations, of which there is one.
    pub fn translated(&mut self, tag: u32, text: &str) {
        self.entry(tag, 9, 1, terminated([text].into_iter()).1);
    }

    pub fn texts<'a>(&mut self, tag: u32, texts: impl Iterator<Item = &'a str>) {
        let (count, data) = terminated(texts);
        self.entry(tag, 8, count, data);
    }

    pub fn binary(&mut self, tag: u32, data: Vec<u8>) {
        self.entry(tag, 7, data.len(), data);
    }

    fn finish(mut self, region: u32) -> Vec<u8> {
        self.entries.retain(|(_, _, count, _)| *count > 0);
        self.entries.sort_by_key(|(tag, ..)| *tag);
        let mut index = Vec::new();
        let mut store = Vec::with_capacity(self.entries.iter().map(|(.., data)| data.len() + 8).sum());
        for (tag, kind, count, data) in &self.entries {
            let align = match kind {
                3 => 2,
                4 => 4,
                _ => 1,
            };
            store.resize(store.len().next_multiple_of(align), 0);
            push(&mut index, [*tag, *kind, store.len() as u32, *count]);
            store.extend_from_slice(data);
        }
        // The region: an index entry at the front whose data, at the end of the store, points back to it.
        let mut front = Vec::new();
        push(&mut front, [region, 7, store.len() as u32, 16]);
        let entries = self.entries.len() as u32 + 1;
        push(&mut store, [region, 7, (entries * 16).wrapping_neg(), 16]);
        let mut bytes = vec![0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
        bytes.extend_from_slice(&entries.to_be_bytes());
        bytes.extend_from_slice(&(store.len() as u32).to_be_bytes());
        [bytes, front, index, store].concat()
    }
}

/// A whole package, its sizes and digests right. `name` is for the lead alone.
pub fn package(name: &str, mut main: Header, payload: &[u8], archive_size: u32) -> Vec<u8> {
    let digest = hex(&Sha256::digest(payload));
    main.texts(5092, std::iter::once(digest.as_str()));
    main.number(5093, 8);
    main.texts(5097, std::iter::once(digest.as_str()));
    let main = main.finish(MAIN_REGION);
    let mut signature = Header::default();
    signature.text(269, &hex(&Sha1::digest(&main)));
    signature.text(273, &hex(&Sha256::digest(&main)));
    signature.number(1000, (main.len() + payload.len()) as u32);
    signature.binary(1004, Md5::new().chain_update(&main).chain_update(payload).finalize().to_vec());
    signature.number(1007, archive_size);
    // Room for a signature to come, as rpmbuild leaves it.
    signature.binary(1008, vec![0; 4128]);
    let signature = signature.finish(SIGNATURE_REGION);

    let mut bytes = Vec::with_capacity(96 + signature.len() + 8 + main.len() + payload.len());
    bytes.extend_from_slice(&[0xed, 0xab, 0xee, 0xdb, 3, 0, 0, 0, 0, 1]);
    let name = &name.as_bytes()[..name.len().min(65)];
    bytes.extend_from_slice(name);
    bytes.resize(76, 0);
    bytes.extend_from_slice(&[0, 1, 0, 5]);
    bytes.resize(96, 0);
    bytes.extend_from_slice(&signature);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend_from_slice(&main);
    bytes.extend_from_slice(payload);
    bytes
}

fn terminated<'a>(texts: impl Iterator<Item = &'a str>) -> (usize, Vec<u8>) {
    let (mut count, mut data) = (0, Vec::new());
    for text in texts {
        count += 1;
        data.extend_from_slice(text.as_bytes());
        data.push(0);
    }
    (count, data)
}

fn push(bytes: &mut Vec<u8>, numbers: [u32; 4]) {
    for number in numbers {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
