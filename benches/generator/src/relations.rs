//! Provides, requires, obsoletes, conflicts, recommends. Libraries are wanted by name and symbol
//! version, a few of them by almost everybody.

use crate::history::{Class, History, Item, Source, capital};
use crate::random::Random;
use crate::words::{SYLLABLES, SYMBOLS, TOPICS};

pub struct Relation {
    pub name: String,
    pub flags: u32,
    pub version: String,
}

const LESS: u32 = 2;
const GREATER: u32 = 4;
const EQUAL: u32 = 8;
const RPMLIB: u32 = 1 << 24;
const SCRIPT_POST: u32 = 1 << 10;
const FIND_REQUIRES: u32 = 1 << 14;

#[derive(Default)]
pub struct Relations {
    pub provides: Vec<Relation>,
    pub requires: Vec<Relation>,
    pub obsoletes: Vec<Relation>,
    pub conflicts: Vec<Relation>,
    pub recommends: Vec<Relation>,
}

fn relation(name: impl Into<String>, flags: u32, version: impl Into<String>) -> Relation {
    Relation { name: name.into(), flags, version: version.into() }
}

pub fn relations(history: &History, source: &Source, item: &Item, evr: &str) -> Relations {
    let (package, arch) = &source.packages[item.package];
    let mut random = Random::of(history.seed, package, if *arch == "i686" { 91 } else { 90 });
    let mut all = Relations::default();
    let bits = if *arch == "x86_64" { "()(64bit)" } else { "" };
    let isa = match *arch {
        "x86_64" => "(x86-64)",
        "i686" => "(x86-32)",
        _ => "",
    };
    all.provides.push(relation(package, EQUAL, evr));
    if *arch != "noarch" {
        all.provides.push(relation(format!("{package}{isa}"), EQUAL, evr));
    }
    let version = evr.split('-').next().unwrap_or(evr);
    own(&mut all, &mut random, source, package, version, bits, item);
    if *arch != "noarch" && !package.ends_with("-devel") {
        linked(&mut all, &mut random, history, *arch == "x86_64");
    }
    scripts(&mut all, &mut random, source.class, package);
    if package.ends_with("-devel") {
        for _ in 0..random.below(4) {
            let at = random.favour(history.sources.len());
            all.requires.push(relation(
                format!("pkgconfig({})", history.sources[at].name),
                FIND_REQUIRES,
                "",
            ));
        }
        all.requires.push(relation("/usr/bin/pkg-config", FIND_REQUIRES, ""));
        all.provides.push(relation(format!("pkgconfig({})", source.name), EQUAL, version));
    }
    if item.package > 0 && random.chance(80.0) {
        all.requires.push(relation(format!("{}{isa}", source.packages[0].0), EQUAL, evr));
    }
    for _ in 0..(random.small(6) * 9.0) as usize {
        let at = random.favour(history.sources.len());
        all.requires.push(relation(
            &*history.sources[at].name,
            GREATER | EQUAL,
            format!("{}.{}", random.below(5), random.below(20)),
        ));
    }
    if random.chance(20.0) {
        all.obsoletes.push(relation(format!("{package}-{}", random.pick(SYLLABLES)), LESS, version));
    }
    if random.chance(7.0) {
        all.conflicts.push(relation(
            history.sources[random.favour(history.sources.len())].name.as_str(),
            LESS,
            "2.0",
        ));
    }
    if random.chance(7.0) {
        all.recommends.push(relation(
            history.sources[random.favour(history.sources.len())].name.as_str(),
            0,
            "",
        ));
    }
    for (name, version) in [
        ("CompressedFileNames", "3.0.4-1"),
        ("FileDigests", "4.6.0-1"),
        ("PayloadFilesHavePrefix", "4.0-1"),
        ("PayloadIsZstd", "5.4.18-1"),
    ] {
        all.requires.push(relation(format!("rpmlib({name})"), RPMLIB | LESS | EQUAL, version));
    }
    for list in [&mut all.provides, &mut all.requires] {
        list.sort_by(|a, b| (&a.name, a.flags, &a.version).cmp(&(&b.name, b.flags, &b.version)));
        list.dedup_by(|a, b| a.name == b.name && a.flags == b.flags && a.version == b.version);
    }
    all
}

/// What a package provides of its own kind; the long tail is here.
fn own(
    all: &mut Relations,
    random: &mut Random,
    source: &Source,
    package: &str,
    version: &str,
    bits: &str,
    item: &Item,
) {
    let short =
        source.name.trim_start_matches("lib").trim_start_matches("python-").trim_start_matches("perl-");
    if package.ends_with("-devel") || package.ends_with("-doc") {
        return;
    }
    match source.class {
        Class::Library | Class::Program if source.class == Class::Library || package.ends_with("-libs") => {
            all.provides.push(relation(format!("lib{short}.so.1{bits}"), FIND_REQUIRES, ""));
            for minor in 0..random.below(4) {
                let symbol = format!(
                    "lib{short}.so.1({}_1.{minor}){}",
                    short.to_uppercase(),
                    if bits.is_empty() { "" } else { "(64bit)" }
                );
                all.provides.push(relation(symbol, FIND_REQUIRES, ""));
            }
        }
        Class::Python => {
            let name = short.to_owned();
            all.provides.push(relation(format!("python3.9dist({name})"), EQUAL, version));
            all.provides.push(relation(format!("python3dist({name})"), EQUAL, version));
            all.provides.push(relation(format!("python3.9-{name}"), EQUAL, version));
            all.requires.push(relation("python(abi)", EQUAL | FIND_REQUIRES, "3.9"));
            for _ in 0..random.below(4) {
                all.requires.push(relation(
                    format!("python3.9dist({})", random.pick(TOPICS)),
                    GREATER | EQUAL,
                    format!("{}.{}", random.below(4), random.below(20)),
                ));
            }
        }
        Class::Perl => {
            let module = short.replace('-', "::");
            all.provides.push(relation(format!("perl({module})"), EQUAL, version));
            for _ in 0..(random.small(4) * 60.0) as usize {
                all.provides.push(relation(
                    format!("perl({module}::{})", capital(random.pick(TOPICS))),
                    EQUAL,
                    version,
                ));
            }
            for wanted in [
                "strict",
                "warnings",
                "Exporter",
                "Carp",
                "vars",
                "Scalar::Util",
                "POSIX",
                "constant",
                "overload",
                "base",
            ]
            .iter()
            .take(random.between(2, 10))
            {
                all.requires.push(relation(format!("perl({wanted})"), FIND_REQUIRES, ""));
            }
            all.requires.push(relation("perl(:MODULE_COMPAT_5.32.1)", 0, ""));
        }
        Class::Tex => {
            for _ in 0..(random.log_normal(12.0, 1.4) as usize).min(21_000) {
                all.provides.push(relation(
                    format!("tex({}-{}.sty)", random.pick(TOPICS), random.pick(SYLLABLES)),
                    EQUAL,
                    format!("svn{version}"),
                ));
            }
            all.requires.push(relation("texlive-base", 0, ""));
            all.requires.push(relation("tex-kpathsea", 0, ""));
        }
        Class::Java => {
            for _ in 0..random.between(1, 8) {
                all.provides.push(relation(
                    format!("mvn(org.{short}:{short}-{})", random.pick(TOPICS)),
                    EQUAL,
                    version,
                ));
                all.requires.push(relation(
                    format!("mvn(org.{}:{})", random.pick(TOPICS), random.pick(TOPICS)),
                    FIND_REQUIRES,
                    "",
                ));
            }
        }
        Class::Kernel if item.package < 2 => {
            // Symbols keep their name from build to build; half of them keep their version too.
            let mut fresh = Random::of(u64::from(item.build), package, 3);
            for _ in 0..random.between(800, 9000) {
                let name = format!(
                    "kernel({}_{}_{})",
                    random.pick(TOPICS),
                    random.pick(TOPICS),
                    random.pick(SYMBOLS)
                );
                let (old, new) = (random.next() as u32, fresh.next() as u32);
                all.provides.push(relation(
                    name,
                    EQUAL,
                    format!("0x{:08x}", if new % 2 == 0 { old } else { new }),
                ));
            }
        }
        Class::Program if random.chance(5.0) => {
            for _ in 0..random.between(20, 400) {
                let name = format!("bundled(crate({}-{}))", random.pick(TOPICS), random.pick(SYLLABLES));
                all.provides.push(relation(
                    name,
                    EQUAL,
                    format!("{}.{}.{}", random.below(4), random.below(20), random.below(10)),
                ));
            }
        }
        _ => {}
    }
}

/// What the linker adds to everything compiled.
fn linked(all: &mut Relations, random: &mut Random, history: &History, wide: bool) {
    let mut add = |name: &str| {
        let name = if !wide {
            name.to_owned()
        } else if name.ends_with(')') {
            format!("{name}(64bit)")
        } else {
            format!("{name}()(64bit)")
        };
        all.requires.push(relation(name, FIND_REQUIRES, ""));
    };
    const GLIBC: &[&str] =
        &["2.2.5", "2.3", "2.3.4", "2.4", "2.7", "2.14", "2.15", "2.17", "2.28", "2.33", "2.34"];
    for version in GLIBC {
        if random.chance(60.0) {
            add(&format!("libc.so.6(GLIBC_{version})"));
        }
    }
    add("libc.so.6(GLIBC_2.34)");
    for (name, share) in [
        ("libm.so.6", 35.0),
        ("libm.so.6(GLIBC_2.2.5)", 25.0),
        ("libm.so.6(GLIBC_2.29)", 18.0),
        ("libgcc_s.so.1", 30.0),
        ("libgcc_s.so.1(GCC_3.0)", 28.0),
        ("libgcc_s.so.1(GCC_3.3.1)", 22.0),
        ("libstdc++.so.6", 20.0),
        ("libstdc++.so.6(CXXABI_1.3)", 19.0),
        ("libstdc++.so.6(GLIBCXX_3.4)", 19.0),
        ("libstdc++.so.6(CXXABI_1.3.9)", 13.0),
        ("libz.so.1", 15.0),
        ("libcrypto.so.3", 13.0),
        ("libcrypto.so.3(OPENSSL_3.0.0)", 12.0),
        ("libssl.so.3", 8.0),
        ("libglib-2.0.so.0", 19.0),
        ("libgobject-2.0.so.0", 15.0),
        ("libgio-2.0.so.0", 13.0),
        ("ld-linux-x86-64.so.2", 13.0),
    ] {
        if random.chance(share) {
            add(name);
        }
    }
    for _ in 0..(random.log_normal(3.0, 1.1) as usize).min(90) {
        let other = &history.sources[random.favour(history.sources.len())];
        if other.class == Class::Library {
            let short = other.name.trim_start_matches("lib");
            add(&format!("lib{short}.so.1"));
            if random.chance(30.0) {
                add(&format!("lib{short}.so.1({}_1.0)", short.to_uppercase()));
            }
        }
    }
    all.requires.push(relation("rtld(GNU_HASH)", FIND_REQUIRES, ""));
}

fn scripts(all: &mut Relations, random: &mut Random, class: Class, package: &str) {
    if random.chance(22.0) {
        all.requires.push(relation("/bin/sh", SCRIPT_POST, ""));
    }
    if class == Class::Program && random.chance(12.0) {
        all.requires.push(relation("systemd", SCRIPT_POST, ""));
        all.requires.push(relation("/usr/bin/sh", SCRIPT_POST, ""));
        all.provides.push(relation(format!("config({package})"), EQUAL, "1.0"));
    }
    if class == Class::Python && random.chance(10.0) {
        all.requires.push(relation("/usr/bin/python3", FIND_REQUIRES, ""));
    }
}
