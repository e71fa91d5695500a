//! The rules by which rpm 4.18 accepts a header, one by one.

use super::*;
use crate::package::testing::{self, HeaderWriter, MAIN_REGION, SIGNATURE_REGION};

fn parse(section: Section, header: &HeaderWriter, region: Option<u32>) -> Result<Index, BadPackage> {
    Index::parse(section, &header.finish(region))
}

fn main_header(write: impl FnOnce(&mut HeaderWriter) -> &mut HeaderWriter) -> Result<Index, BadPackage> {
    let mut header = HeaderWriter::minimal("n");
    write(&mut header);
    parse(Section::Main, &header, Some(MAIN_REGION))
}

#[test]
fn values_are_read_back() {
    let mut header = HeaderWriter::minimal("n");
    header.int16(1030, &[1, 0xFFFF]).int32(1003, &[7]).raw(5009, 5, 1, &(1u64 << 40).to_be_bytes());
    header.strings(1047, &[b"a", b"", b"c"]).binary(1012, b"\0\x01").raw(1004, 9, 2, b"first\0second\0");
    let bytes = header.finish(Some(MAIN_REGION));
    let index = Index::parse(Section::Main, &bytes).unwrap();
    let header = index.header(&bytes);
    assert!(header.has_region() && header.has(1047) && !header.has(1048));
    assert_eq!(header.string(1000), Some(b"n".as_slice()));
    assert_eq!(header.numbers(1030).get(1), Some(0xFFFF));
    assert_eq!(
        (header.number(1003), header.number(1030), header.number(5009)),
        (Some(7), None, Some(1 << 40))
    );
    assert_eq!(header.strings(1047).collect::<Vec<_>>(), [b"a".as_slice(), b"", b"c"]);
    assert_eq!(header.binary(1012), Some(b"\0\x01".as_slice()));
    // Of translated strings the first, of an array no single one.
    assert_eq!(header.string(1004), Some(b"first".as_slice()));
    assert_eq!((header.strings(1004).count(), header.array(1004).count(), header.string(1047)), (1, 0, None));
    // Absent, or of another type.
    assert_eq!((header.string(1003), header.number(1000), header.binary(1000)), (None, None, None));
    assert_eq!(
        (header.strings(9999).count(), header.numbers(9999).len(), header.numbers(1030).get(2)),
        (0, 0, None)
    );
}

#[test]
fn the_order_of_tags_does_not_matter_and_the_last_of_two_counts() {
    let bytes = HeaderWriter::default()
        .string(1001, b"1")
        .string(1000, b"first")
        .string(1000, b"last")
        .finish(Some(MAIN_REGION));
    let index = Index::parse(Section::Main, &bytes).unwrap();
    assert_eq!(index.header(&bytes).string(1000), Some(b"last".as_slice()));
    assert_eq!(index.header(&bytes).string(1001), Some(b"1".as_slice()));
}

#[test]
fn a_header_without_region_is_accepted_and_its_types_are_not_checked() {
    let mut header = HeaderWriter::minimal("n");
    header.int32(1047, &[1]);
    assert!(!parse(Section::Main, &header, None).unwrap().has_region);
    assert!(parse(Section::Main, &header, Some(MAIN_REGION)).is_err());
}

#[test]
fn text_stands_for_text_but_for_nothing_else() {
    for (kind, accepted) in [(6, true), (8, true), (9, true), (7, false), (4, false), (1, false)] {
        let count = 1;
        assert_eq!(main_header(|h| h.raw(1020, kind, count, b"abc\0")).is_ok(), accepted, "{kind}");
    }
    assert!(main_header(|h| h.raw(9999, 7, 4, b"abc\0")).is_ok(), "an unknown tag may be anything");
}

#[test]
fn entries_that_do_not_fit_are_refused() {
    let cases: [(&str, u32, u32, u32, &[u8]); 9] = [
        ("empty", 9000, 4, 0, b"\0\0\0\0"),
        ("too many numbers", 9000, 4, 1000, b"\0\0\0\0"),
        ("so many that they overflow", 9000, 5, 0x2000_0001, b"\0\0\0\0\0\0\0\0"),
        ("a string without its end", 9000, 6, 1, b""),
        ("an array that ends early", 9000, 8, 200, b"a\0b\0"),
        ("two single strings", 9000, 6, 2, b"a\0b\0"),
        ("type 0", 9000, 0, 1, b"a"),
        ("type 10", 9000, 10, 1, b"a"),
        ("a tag below the first", 99, 4, 1, b"\0\0\0\0"),
    ];
    for (what, tag, kind, count, data) in cases {
        let bad = parse(Section::Main, HeaderWriter::default().raw(tag, kind, count, data), None).err();
        assert!(matches!(bad, Some(BadPackage::Malformed(_))), "{what}: {bad:?}");
    }
    assert!(main_header(|h| h.raw(0x8000_0000, 4, 1, &[0; 4])).is_err(), "a negative tag");
}

#[test]
fn entries_may_not_overlap_and_nothing_may_be_left_over() {
    let bytes = HeaderWriter::default().string(1000, b"abc").string(1001, b"def").finish(None);
    assert!(Index::parse(Section::Main, &bytes).is_ok());
    let with_offset = |offset: u8| {
        let mut bytes = bytes.clone();
        bytes[PREAMBLE + ENTRY + 11] = offset;
        Index::parse(Section::Main, &bytes)
    };
    assert!(with_offset(4).is_ok());
    assert!(with_offset(0).is_err(), "it overlaps the first");
    assert!(with_offset(5).is_err(), "a byte between them is left over");
    assert!(with_offset(8).is_err(), "it lies behind the end");
    let longer = HeaderWriter::default().string(1000, b"abc").binary(1001, b"x").finish(None);
    let mut one_entry_less = [testing::preamble(1, 5), longer[PREAMBLE..PREAMBLE + ENTRY].to_vec()].concat();
    one_entry_less.extend_from_slice(&longer[PREAMBLE + 2 * ENTRY..]);
    assert!(Index::parse(Section::Main, &one_entry_less).is_err(), "data without an entry");
}

#[test]
fn a_region_must_cover_the_main_header_but_only_begin_the_signature() {
    assert!(main_header(|h| h).is_ok());
    // An entry more than the trailer says.
    let mut bytes = HeaderWriter::minimal("n").finish(Some(MAIN_REGION));
    let trailer = bytes.len() - 8;
    let covered = i32::from_be_bytes(bytes[trailer..trailer + 4].try_into().unwrap());
    bytes[trailer..trailer + 4].copy_from_slice(&(covered + 16).to_be_bytes());
    assert!(Index::parse(Section::Main, &bytes).is_err());
    let signature =
        HeaderWriter::default().int32(1000, &[1]).int32(1007, &[1]).finish(Some(SIGNATURE_REGION));
    let mut shorter = signature.clone();
    let trailer = shorter.len() - 8;
    shorter[trailer..trailer + 4].copy_from_slice(&(-32i32).to_be_bytes());
    assert!(Index::parse(Section::Signature, &signature).is_ok());
    assert!(Index::parse(Section::Signature, &shorter).is_ok());
    // Each header knows its own region only; the other's is a tag that is not allowed.
    assert!(parse(Section::Main, &HeaderWriter::minimal("n"), Some(SIGNATURE_REGION)).is_err());
    assert!(parse(Section::Signature, HeaderWriter::default().int32(1000, &[1]), Some(MAIN_REGION)).is_err());
}

#[test]
fn the_main_header_may_not_say_what_only_the_signature_may() {
    let signature = parse(Section::Signature, HeaderWriter::default().int32(1007, &[1]), None).unwrap();
    let silent = parse(Section::Signature, HeaderWriter::default().int32(1000, &[1]), None).unwrap();
    let md5 = main_header(|h| h.binary(261, &[0; 16])).unwrap();
    assert!(md5.check_against(&silent).is_err());
    let size = main_header(|h| h.int32(1046, &[1])).unwrap();
    assert!(size.check_against(&silent).is_ok(), "old packages have it there");
    assert!(size.check_against(&signature).is_err(), "but not in both");
}

#[test]
fn what_rpm_copies_from_the_signature_must_have_its_type() {
    let main = main_header(|h| h).unwrap();
    let check = |write: fn(&mut HeaderWriter) -> &mut HeaderWriter| {
        let mut header = HeaderWriter::default();
        write(&mut header);
        main.check_against(&parse(Section::Signature, &header, None).unwrap())
    };
    assert!(check(|h| h.binary(1004, &[0; 16]).int32(1000, &[1]).string(269, b"x")).is_ok());
    assert!(check(|h| h.binary(1004, &[0; 15])).is_err());
    assert!(check(|h| h.int32(1000, &[1, 2])).is_err());
    assert!(check(|h| h.int16(1000, &[1])).is_err());
    assert!(check(|h| h.strings(269, &[b"x"])).is_err());
    assert!(check(|h| h.string(1001, b"unknown, so it may be anything")).is_ok());
}

#[test]
fn the_length_of_strings_is_found_across_blocks() {
    for (count, gap) in [(1, 0), (3, 1), (300, 0), (300, 7), (2, 600)] {
        let data = [vec![b'x'; gap], vec![0]].concat().repeat(count);
        for more in [&b""[..], b"tail\0"] {
            let data = [&data[..], more].concat();
            assert_eq!(strings_len(&data, count), Some((gap + 1) * count));
        }
        assert_eq!(strings_len(&data, count + 1), None);
    }
    assert_eq!((strings_len(b"", 1), strings_len(b"x", 1)), (None, None));
}
