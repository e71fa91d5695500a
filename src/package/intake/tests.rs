//! What is taken, and what is refused, at each level of care.

use proptest::prelude::*;

use super::*;
use crate::package::testing::{self, HeaderWriter, MAIN_REGION, SIGNATURE_REGION};
use crate::package::{FileKind, Verify};

const ALL: [Verify; 3] = [Verify::Structure, Verify::Header, Verify::Digest];
const REQUIRES: [u32; 3] = [1049, 1048, 1050];
const PROVIDES: [u32; 3] = [1047, 1112, 1113];

fn take(bytes: &[u8], verify: Verify) -> Result<Taken, BadPackage> {
    let mut intake = Intake::new(ChecksumType::Sha256, verify);
    intake.feed(bytes)?;
    intake.finish()
}

/// A fixed order, in the standard library's absence of one: xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }
}

fn sample() -> HeaderWriter {
    let mut header = HeaderWriter::minimal("sample");
    header.strings(1004, &[b"A summary"]).int32(1009, &[5]);
    header.files(b"/usr/bin/", &[b"a", b"b"]);
    header.relations(PROVIDES, &[(b"sample", 8, b"1.0-1"), (b"s(x)", 0, b"")]);
    header.relations(REQUIRES, &[(b"/bin/sh", 64, b""), (b"libc.so.6", 0, b"")]);
    header.int32(1080, &[20, 10]).strings(1081, &[b"A <a@b>", b"B"]).strings(1082, &[b"- two", b"- one"]);
    header
}

#[test]
fn a_sound_package_is_taken_at_every_level_and_says_what_it_is() {
    let bytes = sample().package(b"payload");
    for verify in ALL {
        let taken = take(&bytes, verify).unwrap();
        assert_eq!(taken.pkgid, PkgId::of(ChecksumType::Sha256, &bytes));
        assert_eq!(taken.size, bytes.len() as u64);
        assert_eq!(taken.header_range.end, bytes.len() as u64 - 7);
        let package = taken.package().unwrap();
        assert_eq!(package.nevra().to_string(), "sample-1.0-1.noarch");
        assert_eq!(
            (package.summary.as_ref(), package.installed_size, package.archive_size),
            ("A summary", 5, 4321)
        );
        assert_eq!(package.files[1].path(), "/usr/bin/b");
        assert_eq!(package.files[1].kind, FileKind::File);
        assert_eq!((package.provides.len(), package.requires.len(), package.changelogs[0].date), (2, 2, 20));
    }
}

#[test]
fn every_checksum_type_can_be_the_pkgid() {
    let bytes = sample().package(b"payload");
    for kind in ChecksumType::ALL {
        let mut intake = Intake::new(kind, Verify::Digest);
        intake.feed(&bytes).unwrap();
        assert_eq!(intake.finish().unwrap().pkgid, PkgId::of(kind, &bytes));
    }
}

#[test]
fn a_truncated_package_is_rejected_wherever_it_ends() {
    let payload = [7; 40];
    let bytes = sample().package(&payload);
    let end = bytes.len() - payload.len();
    for len in 0..bytes.len() {
        let bad = |verify| take(&bytes[..len], verify).err();
        for verify in ALL {
            match bad(verify) {
                Some(BadPackage::NotRpm(_)) => assert!(len < 4),
                Some(BadPackage::Truncated(_)) => {
                    assert!(len >= 4 && (len < end || verify >= Verify::Header));
                }
                Some(other) => panic!("{len}: {other}"),
                // createrepo_c takes packages whose payload is missing, and so does its command here.
                None => {
                    assert!(len >= end && verify == Verify::Structure, "{len} of {} was taken", bytes.len());
                }
            }
        }
    }
}

#[test]
fn bytes_behind_the_end_are_refused_only_where_digests_are_checked() {
    let bytes = [sample().package(b"payload"), b"x".to_vec()].concat();
    assert!(take(&bytes, Verify::Header).is_ok());
    assert!(
        matches!(take(&bytes, Verify::Digest), Err(BadPackage::Damaged(why)) if why.starts_with("1 bytes follow"))
    );
}

#[test]
fn a_changed_header_is_damaged_and_found_before_the_payload_comes() {
    let mut bytes = sample().package(b"payload");
    let at = bytes.windows(9).position(|window| window == b"A summary").unwrap();
    bytes[at] = b'B';
    assert!(take(&bytes, Verify::Structure).is_ok());
    for verify in [Verify::Header, Verify::Digest] {
        let mut intake = Intake::new(ChecksumType::Sha256, verify);
        let fed = intake.feed(&bytes[..bytes.len() - 7]);
        assert!(matches!(&fed, Err(BadPackage::Damaged(why)) if why.contains("header")), "{fed:?}");
        // The error is final.
        assert_eq!(intake.feed(b"payload"), fed);
        assert_eq!(intake.finish().err(), fed.err());
    }
}

#[test]
fn a_changed_payload_is_damaged_by_the_md5_of_old_packages() {
    let mut bytes = sample().package(b"payload");
    *bytes.last_mut().unwrap() ^= 1;
    assert!(take(&bytes, Verify::Header).is_ok());
    assert!(
        matches!(take(&bytes, Verify::Digest), Err(BadPackage::Damaged(why)) if why.contains("md5 of its payload"))
    );
}

#[test]
fn a_changed_payload_is_damaged_by_its_own_digest() {
    let payload = b"payload";
    let digest = PkgId::of(ChecksumType::Sha512, payload).to_hex();
    let mut header = sample();
    header.strings(5092, &[digest.as_bytes()]).int32(5093, &[10]);
    let main = header.finish(Some(MAIN_REGION));
    let mut signature = HeaderWriter::default();
    // A wrong MD5: it must not be looked at.
    signature.int32(1000, &[(main.len() + payload.len()) as u32]).binary(1004, &[0; 16]);
    let mut bytes = testing::package(&signature.finish(Some(SIGNATURE_REGION)), &main, payload);
    assert!(take(&bytes, Verify::Digest).is_ok());
    *bytes.last_mut().unwrap() ^= 1;
    assert!(matches!(take(&bytes, Verify::Digest), Err(BadPackage::Damaged(why)) if why.contains("sha512")));
}

#[test]
fn packages_of_rpm_6_say_their_length_by_the_payloads_size() {
    let mut header = sample();
    header.raw(5112, 5, 1, &7u64.to_be_bytes());
    let main = header.finish(Some(MAIN_REGION));
    let mut signature = HeaderWriter::default();
    signature.string(273, PkgId::of(ChecksumType::Sha256, &main).to_hex().as_bytes());
    let mut bytes = testing::package(&signature.finish(Some(SIGNATURE_REGION)), &main, b"payload");
    bytes[4] = 4;
    assert!(take(&bytes, Verify::Digest).is_ok());
    assert!(matches!(take(&bytes[..bytes.len() - 1], Verify::Header), Err(BadPackage::Truncated(_))));
    bytes.push(0);
    assert!(matches!(take(&bytes, Verify::Digest), Err(BadPackage::Damaged(_))));
}

#[test]
fn the_64_bit_length_is_read_before_the_32_bit_one() {
    let main = sample().finish(Some(MAIN_REGION));
    let mut signature = HeaderWriter::default();
    signature.raw(270, 5, 1, &(main.len() as u64 + 5_000_000_000).to_be_bytes()).int32(1000, &[1]);
    let bytes = testing::package(&signature.finish(Some(SIGNATURE_REGION)), &main, b"");
    let Err(BadPackage::Truncated(why)) = take(&bytes, Verify::Header) else { panic!() };
    assert!(why.contains(&(bytes.len() as u64 + 5_000_000_000).to_string()), "{why}");
}

#[test]
fn what_is_no_package_is_told_apart_from_what_is_a_broken_one() {
    let cases: [(&[u8], &str); 5] = [
        (b"", "empty"),
        (b"ab", "2 bytes"),
        (b"<!DOCTYPE html>", "HTML"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (&[0; 100], "zeros"),
    ];
    for (bytes, words) in cases {
        let Err(BadPackage::NotRpm(why)) = take(bytes, Verify::Structure) else { panic!("{bytes:?}") };
        assert!(why.contains(words), "{why}");
    }
    for (at, byte) in [(4, 1), (4, 255), (79, 0)] {
        let mut bytes = sample().package(b"");
        bytes[at] = byte;
        assert!(matches!(take(&bytes, Verify::Structure), Err(BadPackage::Malformed(_))), "{at} {byte}");
    }
}

#[test]
fn a_claim_of_four_gigabytes_is_refused_or_waited_for_without_memory() {
    let lead = sample().package(b"")[..96].to_vec();
    for (entries, store) in [(u32::MAX, 16), (16, u32::MAX), (33, 16), (1, (64 << 20) + 1), (0, 16)] {
        let bytes = [lead.clone(), testing::preamble(entries, store)].concat();
        assert!(
            matches!(take(&bytes, Verify::Structure), Err(BadPackage::Malformed(_))),
            "{entries} {store}"
        );
    }
    let signature = HeaderWriter::default().int32(1000, &[1]).finish(Some(SIGNATURE_REGION));
    for (entries, store) in [(65536, 16), (1, 256 << 20), (65535, 96 << 20), (0, 16), (u32::MAX, u32::MAX)] {
        let bytes = testing::package(&signature, &testing::preamble(entries, store), b"");
        assert!(
            matches!(take(&bytes, Verify::Structure), Err(BadPackage::Malformed(_))),
            "{entries} {store}"
        );
    }
    // As large as is allowed, but nothing of it comes: the buffer has grown with the bytes only.
    let bytes =
        testing::package(&signature, &testing::preamble(65535, (96 << 20) - 65535 * 16), b"only this");
    let mut intake = Intake::new(ChecksumType::Sha256, Verify::Structure);
    for byte in &bytes {
        intake.feed(std::slice::from_ref(byte)).unwrap();
    }
    assert!(intake.head.capacity() < 64 << 10, "{}", intake.head.capacity());
    assert!(matches!(intake.finish(), Err(BadPackage::Truncated(_))));
}

#[test]
fn twenty_thousand_mutated_packages_neither_panic_nor_take_much_memory() {
    let whole = sample().package(b"payload");
    let mut random = Random(0x5eed);
    let mut taken = 0;
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + random.below(4) {
            let at = 96 + random.below(bytes.len() - 96);
            bytes[at] = match random.below(4) {
                0 => 0,
                1 => 0xFF,
                2 => bytes[at] ^ (1 << random.below(8)),
                _ => random.below(256) as u8,
            };
        }
        if random.below(8) == 0 {
            bytes.truncate(random.below(bytes.len()));
        }
        let verify = ALL[random.below(3)];
        if let Ok(sound) = take(&bytes, verify) {
            taken += usize::from(sound.package().is_ok());
        }
    }
    assert!(taken > 1_000, "only {taken} were read to the end: the mutations are too coarse");
}

#[test]
fn half_a_million_dependencies_are_read() {
    let name = b"dependency-number-".as_slice();
    let names: Vec<Vec<u8>> = (0..500_000).map(|n: u32| [name, n.to_string().as_bytes()].concat()).collect();
    let list: Vec<(&[u8], u32, &[u8])> =
        names.iter().map(|name| (name.as_slice(), 8, b"1".as_slice())).collect();
    let bytes = HeaderWriter::minimal("many").relations(REQUIRES, &list).package(b"");
    let taken = take(&bytes, Verify::Structure).unwrap();
    assert_eq!(taken.package().unwrap().requires.len(), 500_000);
}

#[test]
fn a_small_header_that_asks_for_much_memory_is_refused() {
    // 200,000 files in one directory with a name of 100,000 bytes: 20 GB of paths.
    let directory = [b"/".as_slice(), &vec![b'd'; 100_000], b"/"].concat();
    let names = vec![b"f".as_slice(); 200_000];
    let bytes = HeaderWriter::minimal("large").files(&directory, &names).package(b"");
    assert!(bytes.len() < 4_000_000);
    let taken = take(&bytes, Verify::Structure).unwrap();
    let Err(BadPackage::Malformed(why)) = taken.package() else { panic!() };
    assert!(why.contains("192 MiB"), "{why}");
}

#[test]
fn text_that_grows_when_it_is_written_is_counted_as_it_will_be() {
    // Each control character becomes a reference of eight bytes.
    let text = vec![1; 60 << 20];
    let bytes = HeaderWriter::minimal("grows").string(1005, &text).package(b"");
    assert!(take(&bytes, Verify::Structure).unwrap().package().is_err());
    let text = vec![b'x'; 60 << 20];
    let bytes = HeaderWriter::minimal("stays").string(1005, &text).package(b"");
    assert!(take(&bytes, Verify::Structure).unwrap().package().is_ok());
}

proptest! {
    #[test]
    fn the_size_of_the_blocks_makes_no_difference(
        cuts in proptest::collection::vec(0usize..1200, 0..12),
        damage in proptest::option::of(96usize..1000),
    ) {
        let mut bytes = sample().package(b"a payload of some bytes");
        if let Some(at) = damage {
            let len = bytes.len();
            bytes[at % len] ^= 0x10;
        }
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % bytes.len()).collect();
        cuts.sort_unstable();
        for verify in ALL {
            let whole = take(&bytes, verify);
            let mut intake = Intake::new(ChecksumType::Sha256, verify);
            let mut from = 0;
            let mut outcome = Ok(());
            for &to in cuts.iter().chain([&bytes.len()]) {
                outcome = outcome.and_then(|()| intake.feed(&bytes[from..to]));
                from = to;
            }
            let parts = outcome.and_then(|()| intake.finish());
            match (&whole, &parts) {
                (Ok(whole), Ok(parts)) => {
                    prop_assert_eq!(&whole.pkgid, &parts.pkgid);
                    prop_assert_eq!(whole.header_range, parts.header_range);
                    prop_assert_eq!(whole.package().unwrap(), parts.package().unwrap());
                }
                (Err(whole), Err(parts)) => prop_assert_eq!(whole, parts),
                _ => prop_assert!(false, "one was taken, the other not"),
            }
        }
    }
}
