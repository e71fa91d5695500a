use super::*;

fn primary(packages: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata xmlns=\"{COMMON}\" xmlns:rpm=\"{RPM}\" packages=\"2\">\n{packages}</metadata>"
    )
}

fn entry(name: &str, pkgid: &str) -> String {
    format!(
        "<package type=\"rpm\">\n<name>{name}</name><checksum type=\"sha256\">{pkgid}</checksum><location href=\"{name}.rpm\"/></package>"
    )
}

fn partner(root: &str, pkgids: &[&str]) -> String {
    let packages: String = pkgids
        .iter()
        .map(|p| format!("<package pkgid=\"{p}\" name=\"x\"><file>{p}</file></package>\n"))
        .collect();
    format!("<{root}>{packages}</{root}>")
}

fn read(primary: &str, filelists: &str, other: &str) -> Result<Vec<Foreign>, FormatError> {
    let mut packages = Packages::new(primary.as_bytes(), filelists.as_bytes(), other.as_bytes())?;
    let mut all = Vec::new();
    while let Some(package) = packages.next_package()? {
        all.push(package);
    }
    Ok(all)
}

#[test]
fn the_three_files_meet_whatever_their_order() {
    let primary = primary(&[entry("a", "1"), entry("b", "2"), entry("c", "3"), entry("a2", "1")].concat());
    let all =
        read(&primary, &partner("filelists", &["3", "1", "1", "2"]), &partner("otherdata", &["2", "1"]))
            .unwrap();
    let has: Vec<_> =
        all.iter().map(|p| (&*p.facts.name, p.filelists.is_some(), p.other.is_some())).collect();
    assert_eq!(has, [("a", true, true), ("b", true, true), ("c", true, false), ("a2", true, false)]);
    for package in &all {
        assert_eq!(pkgid_of(package.filelists.as_ref().unwrap()).unwrap(), package.facts.pkgid);
        assert!(package.primary.starts_with("<package") && package.primary.ends_with("</package>"));
    }
}

#[test]
fn the_text_of_an_entry_is_the_files_own() {
    let entry = "<package type='rpm'><!-- x --><name>a</name >\n\t<checksum  type=\"sha256\">1</checksum><description>&#65; <![CDATA[<b>]]></description><location href='a'/></package>";
    let mut elements = Elements::new(MetadataType::Primary, primary(entry).leak().as_bytes()).unwrap();
    assert_eq!(elements.stated(), Some(2));
    assert_eq!(elements.next_element().unwrap().unwrap(), entry);
    assert_eq!(elements.next_element().unwrap(), None);
    assert_eq!(elements.next_element().unwrap(), None);
}

#[test]
fn unusual_prefixes_become_usual_ones() {
    let file = format!(
        "<c:metadata xmlns:c='{COMMON}' xmlns:r='{RPM}'><c:package type='rpm'><c:name>a</c:name><c:format><r:license>M&amp;T</r:license></c:format></c:package></c:metadata>"
    );
    let mut elements = Elements::new(MetadataType::Primary, file.as_bytes()).unwrap();
    assert_eq!(
        elements.next_element().unwrap().unwrap(),
        "<package type='rpm'><name>a</name><format><rpm:license>M&amp;T</rpm:license></format></package>"
    );
}

#[test]
fn elements_between_packages_are_passed_over() {
    let file = primary(&["<x><package/>y</x><z/>", &entry("a", "1"), "<!-- <package> --><x/>"].concat());
    assert_eq!(read(&file, "<filelists/>", "<otherdata/>").unwrap().len(), 1);
}

#[test]
fn what_is_malformed_is_refused_with_its_line() {
    let good = primary(&entry("a", "1"));
    for (file, why) in [
        (String::new(), "line 1: it has no element"),
        ("<html>\n404</html>".into(), "root element is <html>"),
        ("404 not found".into(), "not XML"),
        (good.replace("</metadata>", ""), "line 4: it ends in the middle"),
        (good.replace("</name>", "</nam>"), "line 4"),
        (good.replace("<name>a</name>", ""), "line 4: a <package> has no <name>"),
        (good.replace("1</checksum>", "</checksum>"), "no <checksum>"),
    ] {
        let error = read(&file, "<filelists/>", "<otherdata/>").unwrap_err().to_string();
        assert!(error.starts_with("malformed primary.xml") && error.contains(why), "{error}");
    }
    let error = read(&good, "<filelists><package/></filelists>", "<otherdata/>").unwrap_err().to_string();
    assert!(error.starts_with("malformed filelists.xml: line 1: a <package> has no pkgid"), "{error}");
    let latin = [good.as_bytes(), b"<x>\xe9</x>"].concat();
    assert!(Packages::new(&latin[..], &b"<filelists/>"[..], &b"<otherdata/>"[..]).is_ok());
    let latin = good
        .replace("<name>a", "<name>\u{7f}")
        .into_bytes()
        .into_iter()
        .map(|b| if b == 0x7f { 0xe9 } else { b });
    let latin: Vec<u8> = latin.collect();
    let mut packages = Packages::new(&latin[..], &b"<filelists/>"[..], &b"<otherdata/>"[..]).unwrap();
    assert!(packages.next_package().unwrap_err().to_string().contains("line 4"));
}

#[test]
fn cut_anywhere_nothing_panics_and_nothing_passes_for_whole() {
    let file = primary(&[entry("a", "1"), entry("b", "2")].concat());
    for end in 0..file.len() {
        assert!(read(&file[..end], "<filelists/>", "<otherdata/>").is_err(), "cut at {end}");
    }
    assert_eq!(read(&file, "<filelists/>", "<otherdata/>").unwrap().len(), 2);
}
