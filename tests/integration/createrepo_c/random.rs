//! Random headers, mostly well formed, with few different words so that rules meet: each must be
//! read as createrepo_c reads it.

use std::fs;

use super::{Outcome, compare, difference};
use crate::world::Random;
use crate::world::header::{HeaderWriter, MAIN_REGION, SIGNATURE_REGION, package, signature};

const NAMES: [&[u8]; 14] = [
    b"a",
    b"b",
    b"n",
    b"/usr/bin/x",
    b"/etc/y",
    b"/opt/z",
    b"libc.so.6",
    b"libc.so.6(GLIBC_2.4)",
    b"libc.so.6(GLIBC_2.5)(64bit)",
    b"rpmlib(x)",
    b"",
    b"c d",
    b"\xc3\xa9",
    b"(a and b)",
];
const EVRS: [&[u8]; 8] = [b"", b"1", b"1.0-1", b"0:1", b"x:1", b":", b"1:", b"2:1-1"];
const FLAGS: [u32; 14] = [0, 8, 10, 12, 2, 4, 64, 512, 8 | 64, 1 << 19, 1 << 27, 8 | 1 << 19, 14, 32];
/// Tags of names, flags and versions of each relation, requirements first.
const RELATIONS: [[u32; 3]; 10] = [
    [1049, 1048, 1050],
    [1047, 1112, 1113],
    [1054, 1053, 1055],
    [1090, 1114, 1115],
    [5046, 5048, 5047],
    [5049, 5051, 5050],
    [5052, 5054, 5053],
    [5055, 5057, 5056],
    [1156, 1158, 1157],
    [1159, 1161, 1160],
];
const FILES: [(&[u8], &[u8]); 8] = [
    (b"/usr/bin/", b"x"),
    (b"/etc/", b"y"),
    (b"/opt/", b"z"),
    (b"/usr/lib/", b"sendmail"),
    (b"", b"rel"),
    (b"/a/bin/", b""),
    (b"/", b"usr"),
    (b"/d&<e>/", b"f\"g"),
];
const AUTHORS: [&[u8]; 5] = [b"A <a@b> - 1", b"x ", b"  ", b"", b"\xc3\xa9\n"];
const CHANGES: [&[u8]; 4] = [b"- x", b"", b"a\r\nb<&>", b" "];

fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[random.below(from.len())]
}

fn some<T>(random: &mut Random, most: usize, mut one: impl FnMut(&mut Random) -> T) -> Vec<T> {
    (0..1 + random.below(most)).map(|_| one(random)).collect()
}

fn in_100(random: &mut Random, chance: usize) -> bool {
    random.below(100) < chance
}

fn relations(header: &mut HeaderWriter, random: &mut Random, tags: [u32; 3], most: usize) {
    let list = some(random, most, |random| (pick(random, &NAMES), pick(random, &FLAGS), pick(random, &EVRS)));
    if in_100(random, 93) {
        header.relations(tags, &list);
        return;
    }
    // Arrays of different lengths.
    let names: Vec<&[u8]> = list.iter().map(|(name, _, _)| *name).collect();
    let flags = some(random, most, |random| pick(random, &FLAGS));
    let versions = some(random, most, |random| pick(random, &EVRS));
    header.strings(tags[0], &names).int32(tags[1], &flags).strings(tags[2], &versions);
}

fn files(header: &mut HeaderWriter, random: &mut Random) {
    let list = some(random, 5, |random| pick(random, &FILES));
    let mut directories: Vec<&[u8]> = list.iter().map(|(directory, _)| *directory).collect();
    directories.sort_unstable();
    directories.dedup();
    let place = |directory: &[u8]| directories.iter().position(|known| *known == directory).unwrap() as u32;
    let mut places: Vec<u32> = list.iter().map(|(directory, _)| place(directory)).collect();
    if in_100(random, 5) {
        places[0] = pick(random, &[directories.len() as u32, u32::MAX]);
    }
    let mut lengths = [list.len(); 4];
    if in_100(random, 15) {
        lengths[random.below(4)] = 1;
    }
    let names: Vec<&[u8]> = list.iter().map(|(_, name)| *name).collect();
    if in_100(random, 15) {
        let whole: Vec<Vec<u8>> = list.iter().map(|(directory, name)| [*directory, name].concat()).collect();
        let absolute: Vec<&[u8]> =
            whole.iter().map(Vec::as_slice).filter(|name| name.starts_with(b"/")).collect();
        header.strings(1027, if absolute.is_empty() { &[b"/only"] } else { &absolute });
    } else {
        header.strings(1117, &names).int32(1116, &places[..lengths[3]]).strings(1118, &directories);
    }
    let modes: Vec<u16> = list.iter().map(|_| pick(random, &[0o100_644, 0o040_755, 0o120_777])).collect();
    let flags: Vec<u32> = list.iter().map(|_| pick(random, &[0, 64, 1, 65])).collect();
    header.int16(1030, &modes[..lengths[0]]).int32(1037, &flags[..lengths[1]]);
    header.strings(1035, &vec![b"".as_slice(); lengths[2]]);
}

/// With a region around its header in `regions` of 100 packages; without, it is one from before rpm 4.
fn random_package(random: &mut Random, regions: usize) -> Vec<u8> {
    let mut header = HeaderWriter::default();
    let texts: [(u32, &[u8]); 10] = [
        (1000, b"n"),
        (1001, b"1.0"),
        (1002, b"1"),
        (1004, b"Summary"),
        (1005, b"Two\nlines & <more>"),
        (1007, b"host"),
        (1014, b"MIT"),
        (1016, b"Group"),
        (1022, b"noarch"),
        (1044, b"n-1.0-1.src.rpm"),
    ];
    for (tag, text) in texts {
        if in_100(random, 98) {
            header.string(tag, text);
        }
    }
    header.int32(1006, &[1_700_000_000]).int32(1009, &[random.below(9) as u32]);
    if in_100(random, 20) {
        header.int32(1003, &[random.below(3) as u32]);
    }
    if in_100(random, 5) {
        header.int32(1106, &[random.below(2) as u32]);
    }
    for (number, tags) in RELATIONS.into_iter().enumerate() {
        let (chance, most) = [(90, 8), (90, 4), (15, 4)][number.min(2)];
        if in_100(random, chance) {
            relations(&mut header, random, tags, most);
        }
    }
    if in_100(random, 60) {
        files(&mut header, random);
    }
    if in_100(random, 50) {
        let dates = some(random, 14, |random| 1 + random.below(6) as u32);
        let authors: Vec<_> = dates.iter().map(|_| pick(random, &AUTHORS)).collect();
        let texts: Vec<_> = dates.iter().map(|_| pick(random, &CHANGES)).collect();
        header.int32(1080, &dates).strings(1081, &authors).strings(1082, &texts);
    }
    let main = header.finish(in_100(random, regions).then_some(MAIN_REGION));
    package(&signature(&main, b"").finish(Some(SIGNATURE_REGION)), &main, b"")
}

#[test]
fn random_headers_are_read_as_createrepo_c_reads_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random::new(20_261_120);
    for number in 0..2_000 {
        fs::write(directory.path().join(format!("{number:04}.rpm")), random_package(&mut random, 80))
            .unwrap();
    }
    let Some(outcomes) = compare(directory.path()) else { return };
    for (location, (theirs, ours)) in &outcomes {
        let how = difference(theirs, ours);
        assert!(how.is_none(), "{location}: {}", how.unwrap());
    }
    assert!(outcomes.values().all(|(_, ours)| matches!(ours, Outcome::Listed(_))));
}

#[test]
fn damaged_headers_are_refused_when_createrepo_c_refuses_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random::new(4_180);
    for number in 0..2_000 {
        // With a region, and its tag stays: without, tags may have types they never had, and createrepo_c crashes.
        let mut bytes = random_package(&mut random, 100);
        // Anywhere in the headers but in the main header's texts, where a control character would hide the outcome.
        let main = main_start(&bytes);
        let entries = u32::from_be_bytes(bytes[main + 8..main + 12].try_into().unwrap()) as usize;
        for _ in 0..1 + random.below(3) {
            let at = 96 + random.below(main + 16 + 16 * entries - 96);
            let region_tag = main + 16..main + 20;
            if region_tag.contains(&at) {
                continue;
            }
            bytes[at] = pick(&mut random, &[0, 1, 2, 0xFF, bytes[at] ^ 2]);
        }
        fs::write(directory.path().join(format!("{number:04}.rpm")), bytes).unwrap();
    }
    let Some(outcomes) = compare(directory.path()) else { return };
    let mut counts = [0, 0];
    for (location, (theirs, ours)) in &outcomes {
        let listed = [theirs, ours].map(|outcome| matches!(outcome, Outcome::Listed(_)));
        assert_eq!(listed[0], listed[1], "{location}: {}", difference(theirs, ours).unwrap_or_default());
        counts[usize::from(listed[1])] += 1;
    }
    assert!(counts[0] > 200 && counts[1] > 100, "too few were refused or taken: {counts:?}");
}

fn main_start(bytes: &[u8]) -> usize {
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    (96 + 16 + 16 * number(104) + number(108)).next_multiple_of(8)
}
