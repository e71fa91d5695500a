//! Packages shaped like those of a real distribution, from a seed.
//!
//! Names, file lists, dependencies and changelogs are drawn from small word lists and from
//! distributions measured on CentOS Stream 9; no package of it is copied. The packages are valid
//! (sizes and every digest are right) but their payload is noise instead of an archive: nothing that
//! makes metadata looks into it. The same seed and count give the same bytes everywhere.

mod files;
mod header;
pub mod history;
mod random;
mod relations;
mod text;
mod words;

pub use history::{History, Item};

use header::Header;
use random::Random;
use relations::Relation;

/// A file for a repository.
#[derive(Debug)]
pub struct Package {
    pub file_name: String,
    pub bytes: Vec<u8>,
}

/// Median of the payload in bytes; one in four hundred has some megabytes.
const PAYLOAD: f64 = 16_384.0;

/// Makes one package of the history.
pub fn package(history: &History, item: &Item) -> Package {
    let source = &history.sources[item.source];
    let (name, arch) = &source.packages[item.package];
    let seed = history.seed;
    let mut shared = Random::of(seed, &source.name, 1);
    let mut random = Random::of(seed, name, 100 + u64::from(item.build) * 2 + u64::from(*arch == "i686"));
    let (version, release) = version(&mut shared.clone(), item.build);
    let evr = format!("{version}-{release}");

    let mut header = Header::default();
    header.texts(100, std::iter::once("C"));
    header.text(1000, name);
    header.text(1001, &version);
    header.text(1002, &release);
    if shared.chance(8.0) {
        header.number(1003, 1);
    }
    let mut words = Random::of(seed, name, 2);
    let base = &source.name;
    header.translated(1004, &text::summary(&mut words, source.class, name, base));
    header.translated(1005, &text::description(&mut words, name, base));
    header.number(1006, item.built as u32);
    header.text(1007, &format!("x86-{:02}.build.example.org", random.between(1, 12)));
    header.text(1011, "Example");
    header.text(1014, words::LICENSES[shared.favour(words::LICENSES.len())]);
    header.text(1015, "builder@example.org");
    header.translated(1016, "Unspecified");
    header.text(
        1020,
        &format!(
            "https://{}/{base}",
            shared.pick(&[
                "github.com/example",
                "www.example.org",
                "sourceforge.example/projects",
                "metacpan.example/release"
            ])
        ),
    );
    header.text(1021, "linux");
    header.text(1022, arch);
    header.text(1044, &format!("{base}-{evr}.src.rpm"));
    header.text(1064, "4.16.1.3");
    header.text(1124, "cpio");
    header.text(1125, "zstd");
    header.text(1126, "19");
    header.text(1132, &format!("{arch}-redhat-linux-gnu"));
    header.text(5062, "utf-8");

    let related = relations::relations(history, source, item, &evr);
    for (tags, list) in [
        ([1047, 1112, 1113], &related.provides),
        ([1049, 1048, 1050], &related.requires),
        ([1054, 1053, 1055], &related.conflicts),
        ([1090, 1114, 1115], &related.obsoletes),
        ([5046, 5048, 5047], &related.recommends),
    ] {
        relation_tags(&mut header, tags, list);
    }

    let builds: Vec<(u64, String)> = (0..=item.build)
        .map(|build| {
            let (version, release) = self::version(&mut Random::of(seed, base, 1), build);
            // A day for each build is near enough: rpm keeps no more of it.
            (item.built - u64::from(item.build - build) * 86_400 * 30, format!("{version}-{release}"))
        })
        .collect();
    let changes = text::changelog(seed, base, &builds);
    header.int32(1080, changes.iter().map(|change| change.time));
    header.texts(1081, changes.iter().map(|change| change.author.as_str()));
    header.texts(1082, changes.iter().map(|change| change.text.as_str()));

    let files = files::files(seed, source.class, name, arch, base, &version, item.build);
    let installed = file_tags(&mut header, &files, item.built as u32, &mut random);
    header.number(1009, installed);

    let len = if random.below(400) == 0 {
        random.between(2 << 20, 6 << 20)
    } else {
        random.log_normal(PAYLOAD, 1.2) as usize
    };
    let mut payload = vec![0; len.clamp(124, 6 << 20)];
    random.fill(&mut payload);
    let name = format!("{name}-{evr}");
    let bytes = header::package(&name, header, &payload, installed.saturating_add(124));
    Package { file_name: format!("{name}.{arch}.rpm"), bytes }
}

/// A package of about 20 KB that nobody else makes: `number` is in its name.
pub fn upload(seed: u64, number: u64) -> Package {
    let name = format!("upload-{seed:x}-{number}");
    let mut random = Random::of(seed, "upload", number);
    let mut header = Header::default();
    header.texts(100, std::iter::once("C"));
    for (tag, text) in [
        (1000, name.as_str()),
        (1001, "1.0"),
        (1002, "1"),
        (1014, "MIT"),
        (1021, "linux"),
        (1022, "noarch"),
        (1124, "cpio"),
        (1125, "zstd"),
        (1126, "19"),
    ] {
        header.text(tag, text);
    }
    header.translated(1004, "A package that comes by the thousand");
    header.translated(1005, &text::prose(&mut random, &name, |_| 200));
    header.translated(1016, "Unspecified");
    header.number(1006, 1_700_000_000);
    header.text(1044, &format!("{name}-1.0-1.src.rpm"));
    relation_tags(
        &mut header,
        [1047, 1112, 1113],
        &[Relation { name: name.clone(), flags: 8, version: "1.0-1".into() }],
    );
    let files = files::files(
        seed,
        history::Class::Data,
        &format!("upload-{}", number % 50),
        "noarch",
        &name,
        "1.0",
        0,
    );
    let files: Vec<_> = files.into_iter().take(60).collect();
    let installed = file_tags(&mut header, &files, 1_700_000_000, &mut random);
    header.number(1009, installed);
    let mut payload = vec![0; 12_000];
    random.fill(&mut payload);
    Package {
        file_name: format!("{name}-1.0-1.noarch.rpm"),
        bytes: header::package(&name, header, &payload, 20_000),
    }
}

/// Every fourth build brings a new version, the others a new release.
fn version(random: &mut Random, build: u32) -> (String, String) {
    let version = [random.below(9), random.below(30), random.below(10)];
    let release = random.between(1, 20) as u32;
    let minor = version[1] as u32 + build / 4;
    (
        format!("{}.{minor}.{}", version[0], version[2]),
        format!("{}.el9", if build < 4 { release + build } else { 1 + build % 4 }),
    )
}

/// Tags of names, flags and versions.
fn relation_tags(header: &mut Header, tags: [u32; 3], list: &[Relation]) {
    header.texts(tags[0], list.iter().map(|relation| relation.name.as_str()));
    header.int32(tags[1], list.iter().map(|relation| relation.flags));
    header.texts(tags[2], list.iter().map(|relation| relation.version.as_str()));
}

/// Returns the sum of the sizes.
fn file_tags(header: &mut Header, files: &[files::File], built: u32, random: &mut Random) -> u32 {
    if files.is_empty() {
        return 0;
    }
    let count = files.len();
    let mut directories: Vec<&str> = files.iter().map(|file| file.directory.as_str()).collect();
    directories.dedup();
    let mut at = 0;
    let indexes: Vec<u32> = files
        .iter()
        .map(|file| {
            while directories[at] != file.directory {
                at += 1;
            }
            at as u32
        })
        .collect();
    let plain = |file: &files::File| file.mode >> 12 == 8;
    let sizes: Vec<u32> = files
        .iter()
        .map(|file| if plain(file) { random.log_normal(2000.0, 1.5) as u32 } else { 0 })
        .collect();
    let digests: Vec<String> =
        files.iter().map(|file| if plain(file) { random.hex(64) } else { String::new() }).collect();
    let same = |number: u32| std::iter::repeat_n(number, count);
    header.int32(1028, sizes.iter().copied());
    header.int16(1030, files.iter().map(|file| file.mode));
    header.int16(1033, std::iter::repeat_n(0, count));
    header.int32(1034, same(built));
    header.texts(1035, digests.iter().map(String::as_str));
    header.texts(1036, files.iter().map(|file| file.link.as_str()));
    header.int32(1037, files.iter().map(|file| file.flags));
    header.texts(1039, std::iter::repeat_n("root", count));
    header.texts(1040, std::iter::repeat_n("root", count));
    header.int32(1045, same(u32::MAX));
    header.int32(1095, same(1));
    header.int32(1096, 1..=count as u32);
    header.texts(1097, std::iter::repeat_n("", count));
    header.int32(1116, indexes.into_iter());
    header.texts(1117, files.iter().map(|file| file.name.as_str()));
    header.texts(1118, directories.into_iter());
    header.number(5011, 8);
    sizes.iter().fold(0, |sum: u32, size| sum.saturating_add(*size))
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    /// When it changes, raise GENERATION in scripts/bench/sets.py: figures of other packages are other figures.
    #[test]
    fn a_seed_gives_the_same_bytes_everywhere() {
        let history = History::new(1, 300);
        let mut digest = Sha256::new();
        for item in &history.items {
            let package = package(&history, item);
            digest.update(format!("{} {}\n", package.file_name, item.arrived));
            digest.update(&package.bytes);
        }
        let digest: String = digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, "1114b9ef663ecc85");
    }

    #[test]
    fn no_two_packages_have_the_same_file_name() {
        let history = History::new(2, 3000);
        let mut names: Vec<String> =
            history.items.iter().map(|item| package(&history, item).file_name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 3000);
    }
}
