//! Writes headers and packages for tests, well-formed ones and others.
//!
//! The integration tests include this file too, so it uses nothing of the crate.

use sha2::Digest;

pub const SIGNATURE_REGION: u32 = 62;
pub const MAIN_REGION: u32 = 63;

/// A header being written: entries in the order of the calls, each aligned as rpm aligns it.
#[derive(Clone, Default)]
pub struct HeaderWriter {
    /// Tag, type, offset, count.
    entries: Vec<(u32, u32, u32, u32)>,
    store: Vec<u8>,
}

impl HeaderWriter {
    /// What every package says, for one called `name`.
    pub fn minimal(name: &str) -> Self {
        let mut header = Self::default();
        header.strings(100, &[b"C"]);
        for (tag, text) in [(1000, name), (1001, "1.0"), (1002, "1")] {
            header.string(tag, text.as_bytes());
        }
        header.int32(1006, &[1_700_000_000]);
        for (tag, text) in [(1014, "MIT"), (1022, "noarch"), (1044, "source-1.0-1.src.rpm")] {
            header.string(tag, text.as_bytes());
        }
        header
    }

    /// An entry of any type, with data that need not fit it.
    pub fn raw(&mut self, tag: u32, kind: u32, count: u32, data: &[u8]) -> &mut Self {
        let align = match kind {
            3 => 2,
            4 => 4,
            5 => 8,
            _ => 1,
        };
        self.store.resize(self.store.len().next_multiple_of(align), 0);
        self.entries.push((tag, kind, self.store.len() as u32, count));
        self.store.extend_from_slice(data);
        self
    }

    pub fn int16(&mut self, tag: u32, numbers: &[u16]) -> &mut Self {
        let data: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        self.raw(tag, 3, numbers.len() as u32, &data)
    }

    pub fn int32(&mut self, tag: u32, numbers: &[u32]) -> &mut Self {
        let data: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        self.raw(tag, 4, numbers.len() as u32, &data)
    }

    pub fn string(&mut self, tag: u32, text: &[u8]) -> &mut Self {
        self.raw(tag, 6, 1, &[text, b"\0"].concat())
    }

    pub fn binary(&mut self, tag: u32, data: &[u8]) -> &mut Self {
        self.raw(tag, 7, data.len() as u32, data)
    }

    pub fn strings(&mut self, tag: u32, texts: &[&[u8]]) -> &mut Self {
        let data: Vec<u8> = texts.iter().flat_map(|text| [text, &b"\0"[..]].concat()).collect();
        self.raw(tag, 8, texts.len() as u32, &data)
    }

    /// Relations by the tags of names, flags and versions.
    pub fn relations(&mut self, tags: [u32; 3], list: &[(&[u8], u32, &[u8])]) -> &mut Self {
        let names: Vec<&[u8]> = list.iter().map(|(name, _, _)| *name).collect();
        let flags: Vec<u32> = list.iter().map(|(_, flags, _)| *flags).collect();
        let versions: Vec<&[u8]> = list.iter().map(|(_, _, version)| *version).collect();
        self.strings(tags[0], &names).int32(tags[1], &flags).strings(tags[2], &versions)
    }

    /// Plain files, all in one directory that ends in a slash.
    pub fn files(&mut self, directory: &[u8], names: &[&[u8]]) -> &mut Self {
        let count = names.len();
        self.int16(1030, &vec![0o100_644; count]).strings(1035, &vec![b"" as &[u8]; count]);
        self.int32(1037, &vec![0; count]).int32(1116, &vec![0; count]);
        self.strings(1117, names).strings(1118, &[directory])
    }

    /// The bytes, magic included; with a region around everything if its tag is given.
    pub fn finish(&self, region: Option<u32>) -> Vec<u8> {
        let mut entries = self.entries.clone();
        let mut store = self.store.clone();
        if let Some(tag) = region {
            entries.insert(0, (tag, 7, store.len() as u32, 16));
            let covered = -16 * i32::try_from(entries.len()).unwrap();
            for number in [tag, 7, covered as u32, 16] {
                store.extend_from_slice(&number.to_be_bytes());
            }
        }
        let mut bytes = preamble(entries.len() as u32, store.len() as u32);
        for (tag, kind, offset, count) in entries {
            for number in [tag, kind, offset, count] {
                bytes.extend_from_slice(&number.to_be_bytes());
            }
        }
        bytes.extend_from_slice(&store);
        bytes
    }

    /// A whole package with this main header, its sizes and digests right.
    pub fn package(&self, payload: &[u8]) -> Vec<u8> {
        let main = self.finish(Some(MAIN_REGION));
        package(&signature(&main, payload).finish(Some(SIGNATURE_REGION)), &main, payload)
    }
}

/// Magic and sizes, as a header begins.
pub fn preamble(entries: u32, store: u32) -> Vec<u8> {
    [&[0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0][..], &entries.to_be_bytes(), &store.to_be_bytes()].concat()
}

/// The signature header that belongs to these bytes.
pub fn signature(main: &[u8], payload: &[u8]) -> HeaderWriter {
    let hex = |digest: &[u8]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut header = HeaderWriter::default();
    header.string(269, hex(&sha1::Sha1::digest(main)).as_bytes());
    header.string(273, hex(&sha2::Sha256::digest(main)).as_bytes());
    header.int32(1000, &[(main.len() + payload.len()) as u32]);
    header.binary(1004, &md5::Md5::new().chain_update(main).chain_update(payload).finalize());
    header.int32(1007, &[4321]);
    header
}

/// Joins lead, signature header (padded), main header and payload.
pub fn package(signature: &[u8], main: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 96];
    bytes[..8].copy_from_slice(&[0xed, 0xab, 0xee, 0xdb, 3, 0, 0, 0]);
    bytes[79] = 5;
    bytes.extend_from_slice(signature);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend_from_slice(main);
    bytes.extend_from_slice(payload);
    bytes
}
