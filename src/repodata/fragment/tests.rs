//! createrepo_c's rules, one by one. That they are its rules is shown by tests/integration/createrepo_c.rs.

use super::*;
use crate::package::testing::HeaderWriter;
use crate::package::{ChecksumType, Intake, Verify};

const PROVIDES: [u32; 3] = [1047, 1112, 1113];
const REQUIRES: [u32; 3] = [1049, 1048, 1050];
const RECOMMENDS: [u32; 3] = [5046, 5048, 5047];

fn header() -> HeaderWriter {
    HeaderWriter::minimal("n")
}

fn render_with(header: &HeaderWriter, changelog_limit: Option<usize>) -> [String; KINDS] {
    render_bytes(&header.package(b"payload"), changelog_limit)
}

fn render_bytes(bytes: &[u8], changelog_limit: Option<usize>) -> [String; KINDS] {
    let mut intake = Intake::new(ChecksumType::Md5, Verify::Digest);
    intake.feed(bytes).unwrap();
    let taken = intake.finish().unwrap();
    let entry = Entry {
        pkgid: &taken.pkgid,
        location: &Location::parse("d/a&é #.rpm").unwrap(),
        file_time: -1,
        size: taken.size,
        header_range: taken.header_range,
    };
    let fragments = Fragments::render(
        &taken.package().unwrap(),
        &entry,
        &RenderOptions { changelog_limit, filelists_ext: false },
    );
    fragments.texts().map(|text| String::from_utf8(text.to_vec()).unwrap())
}

fn primary(header: &HeaderWriter) -> String {
    let [primary, ..] = render_with(header, None);
    primary
}

/// The entries of one list of primary.xml, without their tag.
fn entries<'x>(primary: &'x str, list: &str) -> Vec<&'x str> {
    let Some((_, rest)) = primary.split_once(&format!("<rpm:{list}>\n")) else { return Vec::new() };
    let (inside, _) = rest.split_once(&format!("    </rpm:{list}>")).unwrap();
    inside.lines().map(|line| line.trim_start_matches("      <rpm:entry ").trim_end_matches("/>")).collect()
}

fn requires(list: &[(&[u8], u32, &[u8])]) -> Vec<String> {
    let primary = primary(header().relations(REQUIRES, list));
    entries(&primary, "requires").into_iter().map(str::to_owned).collect()
}

fn plain<'a>(names: &[&'a str]) -> Vec<(&'a [u8], u32, &'a [u8])> {
    names.iter().map(|name| (name.as_bytes(), 0, b"".as_slice())).collect()
}

#[test]
fn a_package_is_written_in_three_parts() {
    let mut header = header();
    header
        .int32(1003, &[2])
        .strings(1004, &["Summary <é>".as_bytes()])
        .strings(1005, &[b"Two\nlines\r & more"]);
    header.string(1020, b"http://e.org/?a&b").int32(1009, &[77]).files(b"/usr/bin/", &[b"x", b"\xc3\xa9"]);
    header.relations(PROVIDES, &[(b"n", 8, b"2:1.0-1"), (b"n(x)", 0, b"")]);
    header.relations(REQUIRES, &[(b"(a if b)", 0, b""), (b"c", 12 | 64, b"1-2")]);
    header.int32(1080, &[86400, 0]).strings(1081, &[b"A <a@b> - 2", "Ž \"q\"".as_bytes()]);
    header.strings(1082, &[b"- newer", "- older, é".as_bytes()]);
    insta::assert_snapshot!(render_with(&header, None).concat());
}

#[test]
fn a_package_that_says_nothing_is_written_with_empty_elements() {
    let bytes = HeaderWriter::default().int32(1000 + 6, &[1]).package(b"");
    insta::assert_snapshot!(render_bytes(&bytes, None).concat());
}

#[test]
fn versions_are_split_at_the_first_colon_and_dash() {
    let cases = [
        ("", r#"name="a" flags="EQ""#),
        ("1", r#"name="a" flags="EQ" epoch="0" ver="1""#),
        ("1-2-3", r#"name="a" flags="EQ" epoch="0" ver="1" rel="2-3""#),
        ("7:1:2-3:4", r#"name="a" flags="EQ" epoch="7" ver="1:2" rel="3:4""#),
        ("7:", r#"name="a" flags="EQ" epoch="7""#),
        (":1", r#"name="a" flags="EQ" epoch="0" ver="1""#),
        ("-5", r#"name="a" flags="EQ" epoch="0" rel="5""#),
        (" +7:1", r#"name="a" flags="EQ" epoch=" +7" ver="1""#),
    ];
    for (evr, expected) in cases {
        assert_eq!(requires(&[(b"a", 8, evr.as_bytes())]), [expected], "{evr:?}");
    }
    for evr in ["x:1", "1x:1", "+:1", " :1"] {
        assert_eq!(requires(&[(b"a", 8, evr.as_bytes()), (b"b", 0, b"")]), [r#"name="b""#], "{evr:?}");
    }
}

#[test]
fn comparisons_that_mean_nothing_are_left_out_with_their_version() {
    let flags = |flags| requires(&[(b"a", flags, b"1")]).remove(0);
    for (bits, name) in [(2, "LT"), (4, "GT"), (8, "EQ"), (10, "LE"), (12, "GE")] {
        assert_eq!(flags(bits), format!(r#"name="a" flags="{name}" epoch="0" ver="1""#));
    }
    for bits in [0, 6, 14] {
        assert_eq!(flags(bits), r#"name="a""#);
    }
}

#[test]
fn what_scripts_need_before_is_marked_in_requirements_only() {
    let before = [5, 6, 7, 9, 10];
    for bit in (0..32).filter(|bit| !matches!(bit, 1..=3 | 19)) {
        let expected = if before.contains(&bit) { r#"name="a" pre="1""# } else { r#"name="a""# };
        assert_eq!(requires(&[(b"a", 1 << bit, b"")]), [expected], "bit {bit}");
    }
    let primary = primary(header().relations(PROVIDES, &[(b"a", 1 << 6, b"")]));
    assert_eq!(entries(&primary, "provides"), [r#"name="a""#]);
}

#[test]
fn requirements_on_rpm_itself_and_on_the_package_itself_are_dropped() {
    let mut header = header();
    header.relations(PROVIDES, &[(b"p", 8 | 1 << 15, b"1")]).files(b"/usr/bin/", &[b"own"]);
    header.relations(
        REQUIRES,
        &[
            (b"rpmlib(Feature)", 10, b"1"),
            (b"p", 8 | 64, b"1"),
            (b"p", 8, b"2"),
            (b"/usr/bin/own", 0, b""),
            (b"/usr/bin/other", 0, b""),
        ],
    );
    let primary = primary(&header);
    let expected = [r#"name="p" flags="EQ" epoch="0" ver="2""#, r#"name="/usr/bin/other""#];
    assert_eq!(entries(&primary, "requires"), expected);
}

#[test]
fn a_requirement_that_repeats_the_last_of_its_name_is_dropped() {
    let list: [(&[u8], u32, &[u8]); 6] = [
        (b"a", 8, b"1"),
        (b"b", 0, b""),
        (b"a", 8 | 1 << 8, b"1"),
        (b"a", 8, b"2"),
        (b"a", 8, b"1"),
        (b"b", 64, b""),
    ];
    let a1 = r#"name="a" flags="EQ" epoch="0" ver="1""#;
    let a2 = r#"name="a" flags="EQ" epoch="0" ver="2""#;
    assert_eq!(requires(&list), [a1, r#"name="b""#, a2, a1, r#"name="b" pre="1""#]);
}

#[test]
fn only_the_highest_c_library_is_required_and_it_comes_last() {
    let highest = |names: &[&str]| requires(&plain(names)).pop().unwrap();
    let cases: [(&[&str], &str); 6] = [
        (
            &["libc.so.6", "libc.so.6(GLIBC_2.4)", "libc.so.6(GLIBC_2.14)", "libc.so.6(GLIBC_2.3)", "z"],
            "(GLIBC_2.14)",
        ),
        (&["libc.so.6()(64bit)", "libc.so.6(GLIBC_2.4)(64bit)", "libc.so.6"], "(GLIBC_2.4)(64bit)"),
        (&["libc.so.6(GLIBC_PRIVATE)", "libc.so.6()(64bit)"], "(GLIBC_PRIVATE)"),
        (&["libc.so.6(GLIBC_2.34)", "libc.so.6(GLIBC_ABI_DT_RELR)"], "(GLIBC_2.34)"),
        (&["libc.so.6(GLIBC_2.4)(64bit)", "libc.so.6(GLIBC_2.4)"], "(GLIBC_2.4)(64bit)"),
        (&["libc.so.6", "libc.so.6()(64bit)"], "()(64bit)"),
    ];
    for (names, expected) in cases {
        assert_eq!(highest(names), format!(r#"name="libc.so.6{expected}""#));
    }
    assert_eq!(requires(&plain(&["libc.so.6", "a"])), [r#"name="a""#, r#"name="libc.so.6""#]);
}

#[test]
fn requirements_that_may_be_missing_are_recommendations() {
    let mut header = header();
    header.relations(REQUIRES, &[(b"a", 0, b""), (b"wished", 1 << 19, b"")]);
    header.relations(RECOMMENDS, &[(b"r", 0, b"")]);
    // SUSE's old tags: suggested, and strongly so.
    header.relations([1156, 1158, 1157], &[(b"weak", 0, b""), (b"strong", 1 << 27, b"")]);
    let primary = primary(&header);
    assert_eq!(entries(&primary, "requires"), [r#"name="a""#]);
    assert_eq!(entries(&primary, "recommends"), [r#"name="wished""#, r#"name="r""#, r#"name="strong""#]);
    assert_eq!(entries(&primary, "suggests"), [r#"name="weak""#]);
}

#[test]
fn relations_without_a_name_leave_an_empty_list() {
    let primary = primary(header().relations(PROVIDES, &[(b"", 0, b"")]));
    assert!(primary.contains("    <rpm:provides/>\n"), "{primary}");
}

#[test]
fn the_shortest_of_the_three_arrays_counts() {
    let primary = primary(header().strings(1049, &[b"a", b"b"]).int32(1048, &[0]).strings(1050, &[b"", b""]));
    assert_eq!(entries(&primary, "requires"), [r#"name="a""#]);
    let named_only = render_with(header().strings(1049, &[b"a"]), None).concat();
    assert!(!named_only.contains("requires"), "names alone are no requirements");
}

#[test]
fn primary_repeats_the_files_that_others_require_by_path() {
    let repeated = |directory: &str, name: &str| {
        let primary = primary(header().files(directory.as_bytes(), &[name.as_bytes()]));
        primary.contains(&format!("    <file>{directory}{name}</file>\n"))
    };
    for (directory, name) in
        [("/usr/bin/", "a"), ("/opt/xbin/", "a"), ("/etc/d/", "a"), ("/usr/lib/", "sendmail")]
    {
        assert!(repeated(directory, name), "{directory}{name}");
    }
    assert!(repeated("/", "etc/a") && repeated("", "/etc/a") && repeated("/x/bi", "n/q"));
    for (directory, name) in
        [("/opt/", "bin"), ("/usr/lib64/", "sendmail"), ("/x/etc/", "a"), ("", "etc/a"), ("/", "etc")]
    {
        assert!(!repeated(directory, name), "{directory}{name}");
    }
}

#[test]
fn ghosts_and_directories_say_so_and_a_ghost_directory_is_a_directory() {
    let mut header = header();
    header.int16(1030, &[0o100_644, 0o100_644, 0o040_755, 0o120_777]).int32(1037, &[0, 64, 64, 1]);
    header.strings(1035, &[b"".as_slice(); 4]).int32(1116, &[0; 4]).strings(1117, &[b"f", b"g", b"d", b"l"]);
    header.strings(1118, &[b"/opt/"]);
    let [_, filelists, ..] = render_with(&header, None);
    for line in
        ["<file>/opt/f<", "<file type=\"ghost\">/opt/g<", "<file type=\"dir\">/opt/d<", "<file>/opt/l<"]
    {
        assert!(filelists.contains(line), "{line} in {filelists}");
    }
}

#[test]
fn file_lists_that_do_not_fit_together_are_left_out() {
    let written = |change: fn(&mut HeaderWriter) -> &mut HeaderWriter| {
        let mut header = header();
        header.int32(1037, &[0, 0]).strings(1035, &[b"", b""]).strings(1117, &[b"a", b"b"]);
        change(&mut header);
        render_with(&header, None)[1].matches("<file").count()
    };
    assert_eq!(written(|h| h.int16(1030, &[0; 2]).int32(1116, &[0, 0]).strings(1118, &[b"/"])), 2);
    assert_eq!(written(|h| h.int16(1030, &[0; 1]).int32(1116, &[0, 0]).strings(1118, &[b"/"])), 1);
    assert_eq!(written(|h| h.int16(1030, &[0; 2]).int32(1116, &[0, 1]).strings(1118, &[b"/"])), 0);
    assert_eq!(written(|h| h.int16(1030, &[0; 2]).int32(1116, &[0]).strings(1118, &[b"/"])), 0);
    assert_eq!(written(|h| h.int16(1030, &[0; 2]).int32(1116, &[0, 0])), 0);
    assert_eq!(written(|h| h.int32(1116, &[0, 0]).strings(1118, &[b"/"])), 0);
}

#[test]
fn whole_file_names_of_old_packages_are_read() {
    let mut header = header();
    header.int16(1030, &[0; 2]).int32(1037, &[0; 2]).strings(1035, &[b"".as_slice(); 2]);
    header.strings(1027, &[b"/usr/bin/old", b"/opt/x"]);
    let [primary, filelists, ..] = render_with(&header, None);
    assert!(primary.contains("<file>/usr/bin/old</file>") && !primary.contains("/opt/x"));
    assert!(filelists.contains("<file>/opt/x</file>"));
}

#[test]
fn old_packages_provide_themselves_and_old_sources_are_told_by_their_files() {
    let without_region = |header: &HeaderWriter| {
        let main = header.finish(None);
        let signature = HeaderWriter::default().int32(1007, &[1]).finish(None);
        let [primary, ..] = render_bytes(&crate::package::testing::package(&signature, &main, b""), None);
        primary
    };
    let primary = without_region(header().strings(1047, &[b"other"]));
    let itself = r#"name="n" flags="EQ" epoch="0" ver="1.0" rel="1""#;
    assert_eq!(entries(&primary, "provides"), [r#"name="other""#, itself]);
    let said = header().relations(PROVIDES, &[(b"n", 8, b"1.0-1")]).clone();
    assert_eq!(entries(&without_region(&said), "provides"), [itself]);
    assert_eq!(entries(&primary_of_source(b""), "provides"), [""; 0]);
    assert!(primary_of_source(b"").contains("<arch>src</arch>"));
    let unknown = primary_of_source(b"/");
    assert!(
        unknown.contains("<arch>noarch</arch>") && unknown.contains("<rpm:sourcerpm>(none)</rpm:sourcerpm>")
    );
}

/// A package that does not say what it was built from, with its one file in `directory`.
fn primary_of_source(directory: &[u8]) -> String {
    let mut header = HeaderWriter::default();
    header.string(1000, b"n").string(1001, b"1.0").string(1002, b"1").string(1022, b"noarch");
    primary(header.files(directory, &[b"n.spec"]))
}

fn dates(newest_first: &[u32], limit: Option<usize>) -> Vec<u64> {
    let mut header = header();
    let texts = vec![b"t".as_slice(); newest_first.len()];
    header.int32(1080, newest_first).strings(1081, &texts).strings(1082, &texts);
    let [_, _, other, ..] = render_with(&header, limit);
    other.split("date=\"").skip(1).map(|rest| rest.split('"').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn the_newest_changes_are_written_oldest_first() {
    assert_eq!(dates(&[50, 40, 30, 20], Some(2)), [40, 50]);
    assert_eq!(dates(&[50, 40, 30, 20], None), [20, 30, 40, 50]);
    assert_eq!(dates(&[50, 40], Some(0)), [0u64; 0]);
}

#[test]
fn changes_of_one_date_get_a_second_more_each() {
    assert_eq!(dates(&[9, 9, 9], None), [9, 10, 11]);
    assert_eq!(dates(&[7, 6, 5, 5, 5], None), [5, 6, 7, 8, 9]);
    assert_eq!(dates(&[100, 5, 5], None), [5, 6, 100]);
    assert_eq!(dates(&[5, 6, 5, 6, 5], None), [5, 6, 5, 6, 5]);
    assert_eq!(dates(&[9, 9, 9, 9], Some(2)), [9, 10], "those left out push nothing");
}

#[test]
fn an_author_loses_the_spaces_behind_the_name() {
    let author = |text: &str| {
        let mut header = header();
        header.int32(1080, &[1]).strings(1081, &[text.as_bytes()]).strings(1082, &[b""]);
        let [_, _, other, ..] = render_with(&header, None);
        other.split("author=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    for (text, expected) in
        [("A  ", "A"), (" A", " A"), ("A\n", "A&#10;"), ("  ", " "), ("", ""), ("é ", "&#xE9;")]
    {
        assert_eq!(author(text), expected, "{text:?}");
    }
}
