//! Every row of docs/differences.md: what we write instead, and that createrepo_c does not.

use std::fs;
use std::path::Path;

use super::{Outcome, compare, ours};
use crate::world::header::{HeaderWriter, MAIN_REGION, SIGNATURE_REGION, package, signature};
use createrepod::package::Verify;

/// Both outcomes for one package. Ours is there without createrepo_c, too.
fn both(bytes: &[u8]) -> (Option<Outcome>, Outcome) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("p.rpm"), bytes).unwrap();
    let theirs = compare(directory.path()).map(|mut outcomes| outcomes.remove("p.rpm").unwrap().0);
    (theirs, ours(directory.path(), "p.rpm", Verify::Structure))
}

fn text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Listed(texts) => String::from_utf8(texts.concat()).expect("what we write is UTF-8"),
        Outcome::Refused(why) => panic!("it is not listed: {why}"),
    }
}

/// We write `wanted`; createrepo_c does not, or loses the package.
fn we_write(header: &HeaderWriter, wanted: &str) {
    let (theirs, ours) = both(&header.package(b""));
    assert!(text(&ours).contains(wanted), "{wanted} in {}", text(&ours));
    match theirs {
        Some(Outcome::Listed(texts)) => {
            assert!(!String::from_utf8_lossy(&texts.concat()).contains(wanted), "createrepo_c does it too");
        }
        Some(Outcome::Refused(_)) | None => {}
    }
}

#[test]
fn control_characters_are_replaced_and_the_package_stays_in() {
    let header = HeaderWriter::minimal("n").string(1005, b"bell \x07, escape \x1b[0m").clone();
    we_write(&header, "<description>bell \u{fffd}, escape \u{fffd}[0m</description>");
    let header = HeaderWriter::minimal("n").relations([1047, 1112, 1113], &[(b"a\x01b", 8, b"1")]).clone();
    we_write(&header, "name=\"a&#xFFFD;b\"");
}

#[test]
fn what_is_no_character_is_replaced() {
    for (bytes, wanted) in [
        ("x\u{fffe}\u{ffff}y".as_bytes(), "x\u{fffd}\u{fffd}y"),
        (b"x\xed\xa0\x80y", "x\u{fffd}y"),
        (b"x\xc0\xafy", "x\u{fffd}y"),
    ] {
        let header = HeaderWriter::minimal("n").string(1004, bytes).clone();
        we_write(&header, &format!("<summary>{wanted}</summary>"));
    }
}

#[test]
fn latin_1_keeps_every_byte() {
    let header = HeaderWriter::minimal("n").string(1004, b"caf\xe9 \xa9 2020 \x80").clone();
    we_write(&header, "<summary>café © 2020 \u{80}</summary>");
    // In other.xml, createrepo_c does not recode the version at all.
    let mut header = HeaderWriter::default();
    header.string(1000, b"n").string(1001, b"1\xc8.0").string(1002, b"1").string(1044, b"s");
    let (theirs, ours) = both(&header.package(b""));
    let recoded = |outcome: &Outcome, file: usize| match outcome {
        Outcome::Listed(texts) => String::from_utf8_lossy(&texts[file]).contains("ver=\"1&#xC8;.0\""),
        Outcome::Refused(_) => false,
    };
    assert!((0..3).all(|file| recoded(&ours, file)));
    assert!(theirs.is_none_or(|theirs| recoded(&theirs, 1) && !recoded(&theirs, 2)));
}

#[test]
fn texts_that_are_written_alike_are_alike() {
    let provided: (&[u8], u32, &[u8]) = (b"caf\xe9", 8, b"1");
    let mut header = HeaderWriter::minimal("n");
    header.relations([1047, 1112, 1113], &[provided]);
    header.relations([1049, 1048, 1050], &[("café".as_bytes(), 8, b"1")]);
    let (theirs, ours) = both(&header.package(b""));
    assert!(!text(&ours).contains("rpm:requires"), "the package provides it itself");
    assert!(theirs.is_none_or(|theirs| text(&theirs).contains("rpm:requires")));
}

#[test]
fn changes_of_one_date_keep_their_order_after_2038_too() {
    let mut header = HeaderWriter::minimal("n");
    header.int32(1080, &[1 << 31; 2]).strings(1081, &[b"b", b"a"]).strings(1082, &[b"", b""]);
    we_write(&header, "author=\"b\" date=\"2147483649\"");
}

#[test]
fn of_two_entries_with_one_tag_the_last_counts() {
    // In createrepo_c it is a matter of how many entries there are.
    for more in 0..8 {
        let mut header = HeaderWriter::minimal("first");
        header.string(1000, b"last");
        (0..more).for_each(|number| drop(header.int32(9000 + number, &[1]).finish(None)));
        let (_, ours) = both(&header.package(b""));
        assert!(text(&ours).contains("<name>last</name>"), "with {more} entries more");
    }
}

#[test]
fn half_of_a_new_file_list_beside_an_old_one_is_not_read() {
    let mut header = HeaderWriter::minimal("n");
    header
        .strings(1027, &[b"/usr/bin/old"])
        .int16(1030, &[0o100_644])
        .strings(1035, &[b""])
        .int32(1037, &[0]);
    header.int32(1116, &[0]).strings(1117, &[b"new"]);
    we_write(&header, "<file>/usr/bin/old</file>");
}

#[test]
fn tags_of_the_signature_are_refused_in_the_main_header() {
    // As rpm 4.18 does; createrepo_c 1.2 comes with rpm 4.14.
    let (theirs, ours) = both(&HeaderWriter::minimal("n").strings(276, &[b"x"]).package(b""));
    assert!(matches!(ours, Outcome::Refused(why) if why.contains("tag 276")));
    assert!(matches!(theirs, None | Some(Outcome::Listed(_))));
}

#[test]
fn directories_that_are_translated_strings_end_in_no_files() {
    let mut header = HeaderWriter::minimal("n");
    header.int16(1030, &[0o100_644]).strings(1035, &[b""]).int32(1037, &[0]).int32(1116, &[1]);
    header.strings(1117, &[b"name"]).raw(1118, 9, 2, b"/a/\0/b/\0");
    // createrepo_c is not asked: it would crash.
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("p.rpm"), header.package(b"")).unwrap();
    let ours = text(&ours(place.path(), "p.rpm", Verify::Structure));
    assert!(ours.contains("<name>n</name>") && !ours.contains("<file"));
}

#[test]
fn a_package_that_takes_too_much_memory_is_refused() {
    // 30,000 files in a directory with a name of 20,000 bytes are 600 MB of paths. createrepo_c would write them.
    let directory = [b"/".as_slice(), &[b'd'; 20_000], b"/"].concat();
    let bytes = HeaderWriter::minimal("n").files(&directory, &vec![b"f".as_slice(); 30_000]).package(b"");
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("p.rpm"), bytes).unwrap();
    let ours = ours(place.path(), "p.rpm", Verify::Structure);
    assert!(matches!(ours, Outcome::Refused(why) if why.contains("192 MiB")));
}

#[test]
fn damage_is_found_where_verify_asks_for_it() {
    let header = HeaderWriter::minimal("n");
    let main = header.finish(Some(MAIN_REGION));
    let sound = header.package(b"payload");
    let mut flipped = sound.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut wrong = signature(b"another header", b"");
    wrong.int32(1007, &[1]);
    let foreign = package(&wrong.finish(Some(SIGNATURE_REGION)), &main, b"payload");
    let place = tempfile::tempdir().unwrap();
    for (bytes, header, digest) in [
        (&sound[..], true, true),
        (&sound[..sound.len() - 1], false, false),
        (&[&sound[..], b"x"].concat(), true, false),
        (&flipped, true, false),
        (&foreign, false, false),
    ] {
        let (theirs, ours) = both(bytes);
        assert!(matches!(ours, Outcome::Listed(_)) && matches!(theirs, None | Some(Outcome::Listed(_))));
        fs::write(place.path().join("p.rpm"), bytes).unwrap();
        let taken = |verify| matches!(super::ours(place.path(), "p.rpm", verify), Outcome::Listed(_));
        assert_eq!((taken(Verify::Header), taken(Verify::Digest)), (header, digest));
    }
}

#[test]
fn the_table_of_differences_names_these_tests_and_no_others() {
    let here = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file!())).unwrap();
    let table =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/differences.md")).unwrap();
    let tests = here.split("#[test]\nfn ").skip(1).map(|rest| rest.split('(').next().unwrap());
    let tests: Vec<&str> = tests.filter(|name| !name.starts_with("the_table_")).collect();
    let named =
        table.lines().filter(|line| line.starts_with('|')).filter_map(|line| line.split('`').rev().nth(1));
    let named: Vec<&str> = named.filter(|name| name.contains('_')).collect();
    assert_eq!(named, tests);
}
