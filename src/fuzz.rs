//! What must never happen, whatever strangers send: the bodies of the fuzz targets in `fuzz/`.
//!
//! Not part of the program: it is compiled for fuzzing (`--cfg fuzzing`, by `make fuzz`), and for the test
//! that runs every seed and every found case in `fuzz/corpus` through its target.

use std::io::{BufReader, Cursor, Read, copy, sink};
use std::path::{Path, PathBuf};
use std::str;
use std::sync::{Arc, Once};

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use crate::caught::is_caught;
use crate::config::access::Proxy;
use crate::config::resolve::{self, Source, Surroundings};
use crate::config::{tree, value};
use crate::package::header::{Index, PREAMBLE, Section, claimed_len};
use crate::package::openpgp::detached::dearmor;
use crate::package::openpgp::{Certificate, Check, Keyring, Material};
use crate::package::{ChecksumType, Intake, Location, Taken, Verify};
use crate::repodata::codec::{Codec, Limits};
use crate::repodata::element::Facts;
use crate::repodata::fragment::{Entry, Fragments, RenderOptions};
use crate::repodata::modules::Modules;
use crate::repodata::read::{Elements, Packages, pkgid_of};
use crate::repodata::wellformed::{Fault, WellFormed};
use crate::repodata::{MetadataType, Repomd, additional};
use crate::rights::Pattern;
use crate::{auth, dav, serve};

type Target = fn(&[u8]);

/// Every target by its name, which is also that of its folder in `fuzz/corpus`.
pub const TARGETS: [(&str, Target); 9] = [
    ("package", package),
    ("header", header),
    ("openpgp", openpgp),
    ("metadata", metadata),
    ("additional", additional),
    ("compressed", compressed),
    ("url", url),
    ("headers", headers),
    ("config", config),
];

/// A whole package, fed in blocks whose size the first byte says. What is taken must render to XML that
/// our own strict reader takes back, with the package's own words in it.
pub fn package(data: &[u8]) {
    let Some((&block, bytes)) = data.split_first() else { return };
    let block = usize::from(block) * 16 + 1;
    for verify in [Verify::Header, Verify::Digest] {
        let mut intake = Intake::new(ChecksumType::Sha256, verify);
        let fed = bytes.chunks(block).try_for_each(|block| intake.feed(block));
        match intake.finish() {
            Ok(taken) => {
                assert!(fed.is_ok());
                render(&taken);
            }
            Err(why) => assert_eq!(why.to_string().lines().count(), 1, "{why:?}"),
        }
    }
}

/// A main header behind a lead and an empty signature header: no digest stands in the way.
pub fn header(data: &[u8]) {
    if let Some(preamble) = data.first_chunk::<PREAMBLE>() {
        for section in [Section::Signature, Section::Main] {
            let claimed = claimed_len(section, preamble);
            if let Ok(index) = Index::parse(section, data) {
                assert_eq!(claimed.ok(), Some(data.len() - PREAMBLE));
                let _ = index.check_against(&index);
            }
        }
    }
    let mut bytes = vec![0; 96];
    bytes[..5].copy_from_slice(&[0xed, 0xab, 0xee, 0xdb, 3]);
    bytes[79] = 5;
    bytes.extend_from_slice(&[0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0]);
    // One entry (the size of the payload, which may be wrong here) in a store of four bytes.
    bytes.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 4]);
    for number in [1007_u32, 4, 0, 1, 4321] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend_from_slice(data);
    let mut intake = Intake::new(ChecksumType::Sha256, Verify::Header);
    if intake.feed(&bytes).is_ok()
        && let Ok(taken) = intake.finish()
    {
        render(&taken);
    }
}

fn render(taken: &Taken) {
    let Ok(package) = taken.package() else { return };
    let location = Location::parse("a/b.rpm").expect("a location");
    let entry = Entry {
        pkgid: &taken.pkgid,
        location: &location,
        file_time: 1_700_000_000,
        size: taken.size,
        header_range: taken.header_range,
    };
    let options = RenderOptions { changelog_limit: Some(10), filelists_ext: true };
    let fragments = Fragments::render(&package, &entry, &options);
    for (kind, text) in MetadataType::EVERY.into_iter().zip(fragments.texts()) {
        let file = [kind.preamble(1).as_bytes(), text, kind.closing().as_bytes()].concat();
        let mut elements = Elements::new(kind, &file[..]).expect("our own file has our root");
        let element = elements.next_element().expect("our own XML is XML").expect("and a package in it");
        assert_eq!(element.as_bytes(), text.trim_ascii_end(), "nothing in a package ends its element");
        assert!(elements.next_element().expect("our own XML ends well").is_none());
        match kind {
            // A package without a name is published as createrepo_c does, and is nothing to take over.
            MetadataType::Primary if package.name.trim().is_empty() => {}
            MetadataType::Primary => {
                let facts = Facts::of(&element).expect("primary.xml of ours has what it needs");
                assert_eq!((facts.href.as_str(), facts.size), ("a/b.rpm", taken.size));
                assert_eq!(facts.pkgid, taken.pkgid.to_string());
            }
            _ => assert_eq!(pkgid_of(&element).expect("a pkgid"), taken.pkgid.to_string()),
        }
    }
}

/// What the YAML parser says where a tag has a comma behind it. Any other panic of it is to be found.
const KNOWN: &str = "TODO: What is expected here?";

/// Has libFuzzer's hook, which ends the process, not hear of panics that are caught on purpose.
fn expect_caught_panics() {
    static ONCE: Once = Once::new();
    if cfg!(fuzzing) {
        ONCE.call_once(|| {
            let ends_it = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                let is_yaml = panic.location().is_some_and(|place| place.file().contains("libyaml"));
                let is_known = panic.payload().downcast_ref::<&str>().is_some_and(|what| *what == KNOWN);
                if !is_caught() || is_yaml && !is_known {
                    ends_it(panic);
                }
            }));
        });
    }
}

/// Keys, armour and signatures. Panics of the library below are caught on purpose where it is called.
pub fn openpgp(data: &[u8]) {
    expect_caught_panics();
    // Two files of the same bytes say what one says.
    let files = [(), ()].into_iter().filter_map(|file| Some((file, Material::read(data).ok()?))).collect();
    let (keyring, _) = Keyring::gather(files);
    for certificate in keyring.certificates() {
        let _ = (certificate.fingerprint(), certificate.user_id(), certificate.digest());
        for id in certificate.signing_ids() {
            let _ = certificate.may_sign_at(id, 1_700_000_000);
        }
        assert!(Certificate::read_all(&certificate.armored()).is_ok(), "an armored key reads back");
    }
    if let Ok(bytes) = dearmor(data)
        && let Ok(mut check) = Check::begin(&bytes, &keyring)
    {
        check.update(b"something");
        assert!(check.finish(&keyring).is_err(), "nobody has signed this");
    }
}

/// What others have published: repomd.xml, and the three files together and alone.
pub fn metadata(data: &[u8]) {
    if let Ok(repomd) = Repomd::read(data) {
        let mut written = Vec::new();
        repomd.write(&mut written).expect("a vector takes all");
        let again = Repomd::read(&written[..]).expect("what is written reads back");
        assert_eq!(again.records.len(), repomd.records.len());
    }
    for kind in MetadataType::EVERY {
        if let Ok(mut elements) = Elements::new(kind, data) {
            while let Ok(Some(element)) = elements.next_element() {
                assert!(element.starts_with('<') && element.ends_with('>'), "{element:?}");
                if let Ok(facts) = Facts::of(&element) {
                    let _ = (facts.nevra(), facts.checksum());
                    let moved = facts.relocated(&element, None, "a&b/\"c\".rpm");
                    let again = Facts::of(&moved).expect("a relocated package is one");
                    assert_eq!(again.href, "a&b/\"c\".rpm");
                    assert_eq!((again.pkgid, again.name, again.size), (facts.pkgid, facts.name, facts.size));
                }
                let _ = pkgid_of(&element);
            }
        }
    }
    // Three files in one, apart where a line is a NUL.
    let mut parts = data.split(|byte| *byte == 0);
    if let (Some(primary), Some(filelists), Some(other)) = (parts.next(), parts.next(), parts.next())
        && let Ok(mut packages) = Packages::new(primary, filelists, other)
    {
        while let Ok(Some(_)) = packages.next_package() {}
    }
}

/// Groups, advisories, modules; the first byte says what it is to be. A panic of the YAML parser is caught where it
/// is called, and found here all the same, but for one that is known.
pub fn additional(data: &[u8]) {
    expect_caught_panics();
    let Some((&kind, text)) = data.split_first() else { return };
    let verdict = |block| xml_verdict(text, block);
    let whole = verdict(text.len().max(1));
    assert!(
        [1, 7, 64].into_iter().all(|block| verdict(block) == whole),
        "blocks do not matter to the XML checker"
    );
    match kind % 4 {
        0 => _ = additional::check(additional::GROUP, "comps.xml", text),
        1 => {
            _ = additional::check(additional::UPDATEINFO, "updateinfo.xml", text);
            if let Ok(mut advisories) = Elements::advisories(text) {
                while let Ok(Some(_)) = advisories.next_element() {}
            }
        }
        2 => {
            if let Ok(modules) = Modules::read(text) {
                let mut written = Vec::new();
                modules.write(&mut written).expect("a vector takes all");
                let mut again = Modules::read(&written[..]).expect("what is written reads back");
                assert_eq!(again.is_empty(), modules.is_empty());
                let mut twice = Vec::new();
                again.write(&mut twice).expect("a vector takes all");
                assert_eq!(written, twice, "what is written is written the same again");
                let _ = again.merge(modules);
            }
        }
        _ => {
            if let Ok(name) = str::from_utf8(text) {
                let _ = additional::parse_kind(name);
                let _ = Location::parse(name).map(|location| additional::usual_kind(&location));
                let _ = additional::base_name(additional::GROUP, name);
                _ = additional::check("appstream", "appstream.xml", text);
            }
        }
    }
}

/// What the XML checker says of a text that comes in blocks of `block` bytes.
fn xml_verdict(text: &[u8], block: usize) -> Result<(), Option<Fault>> {
    let mut checked = WellFormed::new(BufReader::with_capacity(block, text));
    match copy(&mut checked, &mut sink()) {
        Ok(passed) => {
            assert_eq!(passed, text.len() as u64, "what passes, passes whole");
            Ok(())
        }
        Err(_) => Err(checked.fault().cloned()),
    }
}

/// A file in any compression: it may be refused, and never swells beyond what it may.
pub fn compressed(data: &[u8]) {
    const MOST: u64 = 1 << 20;
    let limits = Limits { open_size: Some(MOST) };
    let Ok(reader) = Codec::open(Cursor::new(data.to_vec()), limits) else { return };
    let mut reader = BufReader::new(reader);
    let (mut block, mut sum) = ([0; 8192], 0);
    loop {
        match reader.read(&mut block) {
            Ok(0) | Err(_) => break,
            Ok(got) => sum += got as u64,
        }
    }
    assert!(sum <= MOST, "{sum} bytes of at most {MOST}");
}

/// A method and the path of a request.
pub fn url(data: &[u8]) {
    serve::fuzz::url(data);
    if let Ok(text) = str::from_utf8(data)
        && let Ok(location) = Location::parse(text)
    {
        assert_eq!(Location::from_path(Path::new(location.as_str())).ok(), Some(location));
    }
}

/// The names that a seed's lines choose from, so that few bytes are spent on spelling.
const NAMES: [&str; 16] = [
    "range",
    "if-range",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "if",
    "prefer",
    "content-digest",
    "repr-digest",
    "oc-checksum",
    "authorization",
    "forwarded",
    "x-forwarded-for",
    "x-request-id",
    "destination",
];

/// Lines of a request's headers: a byte for the name, then the value. The whole is also read as a body of
/// WebDAV, and as a file of users.
pub fn headers(data: &[u8]) {
    let mut map = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(64) {
        let Some((&name, value)) = line.split_first() else { continue };
        let name = HeaderName::from_static(NAMES[usize::from(name) % NAMES.len()]);
        if let Ok(value) = HeaderValue::from_bytes(value) {
            map.append(name, value);
        }
    }
    serve::fuzz::headers(&map);
    dav::fuzz::headers(&map);
    dav::fuzz::body(data);
    auth::fuzz::headers(&map);
    if let Ok(text) = str::from_utf8(data) {
        auth::fuzz::htpasswd(text);
    }
}

/// A configuration, and each of its values alone.
pub fn config(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let source = || Source { file: "/etc/createrepod/c.toml".into(), text: text.to_owned() };
    let surroundings = Surroundings {
        environment: &|_| None,
        canonical: &|path: &Path| -> PathBuf { path.to_owned() },
        listen: &[],
        serves: true,
    };
    for outcome in [
        resolve::resolve(Some(&source()), &[], &surroundings),
        resolve::resolve(None, &[source()], &surroundings),
    ] {
        match outcome {
            Ok(resolved) => {
                for repository in &resolved.config.repositories {
                    assert!(
                        repository.url.starts_with('/') && repository.url.ends_with('/'),
                        "{}",
                        repository.url
                    );
                }
            }
            Err(problems) => assert!(!problems.0.is_empty(), "a refusal says why"),
        }
    }
    if let Ok(duration) = value::parse_duration(text) {
        assert_eq!(value::parse_duration(&value::spell_duration(duration)), Ok(duration));
    }
    if let Ok(size) = value::parse_size(text) {
        assert_eq!(value::parse_size(&value::spell_size(size)), Ok(size));
    }
    let _ = (value::parse_listen(text), value::parse_space(text), value::parse_umask(text));
    let _ = (Proxy::parse(text), Arc::new(tree::Pattern::parse(text)));
    if let Ok(pattern) = Pattern::parse(text) {
        let _ = pattern.matches(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seeds, and the cases that fuzzing has found: they are kept in the same folders.
    #[test]
    fn every_seed_and_every_found_case_passes_its_target() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for (name, target) in TARGETS {
            let mut seeds = 0;
            for entry in std::fs::read_dir(corpus.join(name)).expect("a folder of seeds") {
                let path = entry.expect("an entry").path();
                target(&std::fs::read(&path).expect("a seed is read"));
                seeds += 1;
            }
            assert!(seeds >= 3, "{name} has {seeds} seeds");
        }
    }
}
