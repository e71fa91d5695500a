//! File lists: half of the packages have fewer than 17 files, one in twenty more than 300, the
//! longest thousands.

use crate::history::{Class, capital};
use crate::random::Random;
use crate::words::{DOCUMENTS, EXTENSIONS, LANGUAGES, NOUNS, SYLLABLES, TOPICS, VERBS};

pub struct File {
    /// Ends in a slash.
    pub directory: String,
    pub name: String,
    pub mode: u16,
    pub flags: u32,
    pub link: String,
}

const DIRECTORY: u16 = 0o040_755;
const PLAIN: u16 = 0o100_644;
const EXECUTABLE: u16 = 0o100_755;
const LINK: u16 = 0o120_777;
const CONFIG: u32 = 1 | 16;
const DOC: u32 = 2;
const GHOST: u32 = 64;
const LICENSE: u32 = 128;
const ARTIFACT: u32 = 1 << 12;

#[derive(Default)]
struct List {
    files: Vec<File>,
}

impl List {
    fn add(&mut self, path: String, mode: u16, flags: u32) {
        let cut = path.rfind('/').map_or(0, |at| at + 1);
        let (directory, name) = path.split_at(cut);
        self.files.push(File {
            directory: directory.to_owned(),
            name: name.to_owned(),
            mode,
            flags,
            link: String::new(),
        });
    }

    fn plain(&mut self, path: String) {
        self.add(path, PLAIN, 0);
    }

    fn link(&mut self, path: String, target: String) {
        self.add(path, LINK, 0);
        if let Some(last) = self.files.last_mut() {
            last.link = target;
        }
    }

    /// What every program or library leaves below .build-id.
    fn build_id(&mut self, random: &mut Random, target: &str) {
        let id = random.hex(40);
        let directory = format!("/usr/lib/.build-id/{}", &id[..2]);
        self.add(directory.clone(), DIRECTORY, ARTIFACT);
        self.link(format!("{directory}/{}", &id[2..]), format!("../../../..{target}"));
        if let Some(last) = self.files.last_mut() {
            last.flags = ARTIFACT;
        }
    }
}

/// The files of a package: the same from build to build, but for versions and build ids.
pub fn files(
    seed: u64,
    class: Class,
    package: &str,
    arch: &str,
    base: &str,
    version: &str,
    build: u32,
) -> Vec<File> {
    let mut random = Random::of(seed, package, 5);
    let mut ids = Random::of(seed, package, 1000 + u64::from(build) * 2 + u64::from(arch == "i686"));
    let wanted = (random.log_normal(17.0, 1.85) as usize).clamp(0, 17_264);
    if wanted == 0 {
        return Vec::new();
    }
    let lib = if arch == "x86_64" { "/usr/lib64" } else { "/usr/lib" };
    let short = base
        .trim_start_matches("lib")
        .trim_start_matches("python-")
        .trim_start_matches("perl-")
        .trim_start_matches("texlive-");
    let mut list = List::default();
    let doc = format!("/usr/share/doc/{package}");
    let parts = Parts { package, short, lib, version, wanted };
    if package.ends_with("-devel") {
        parts.headers(&mut list, &mut random);
    } else if package.ends_with("-doc") || package.ends_with("-javadoc") {
        parts.pages(&mut list, &mut random);
    } else {
        match class {
            Class::Library | Class::Program => parts.program(
                &mut list,
                &mut random,
                &mut ids,
                class == Class::Library || package.ends_with("-libs"),
            ),
            Class::Python => parts.python(&mut list, &mut random),
            Class::Perl => parts.perl(&mut list, &mut random),
            Class::Tex => parts.tree(
                &mut list,
                &mut random,
                &format!("/usr/share/texlive/texmf-dist/tex/latex/{short}"),
                &["sty", "tex", "fd", "def"],
            ),
            Class::Java => {
                list.plain(format!("/usr/share/java/{short}.jar"));
                list.plain(format!("/usr/share/maven-poms/{short}.pom"));
                list.plain(format!("/usr/share/maven-metadata/{package}.xml"));
            }
            Class::Kernel => parts.tree(
                &mut list,
                &mut random,
                &format!("/usr/lib/modules/{version}.x86_64/kernel/drivers"),
                &["ko.xz"],
            ),
            Class::Data => parts.tree(&mut list, &mut random, &format!("/usr/share/{short}"), EXTENSIONS),
        }
    }
    if list.files.len() < wanted || random.chance(50.0) {
        list.add(doc.clone(), DIRECTORY, 0);
        for _ in 0..random.between(1, 4) {
            list.add(format!("{doc}/{}", random.pick(DOCUMENTS)), PLAIN, DOC);
        }
        list.add(format!("/usr/share/licenses/{package}"), DIRECTORY, 0);
        list.add(
            format!(
                "/usr/share/licenses/{package}/{}",
                random.pick(&["COPYING", "LICENSE", "LICENSE.txt", "COPYING.LIB"])
            ),
            PLAIN,
            LICENSE,
        );
    }
    let mut files = list.files;
    files.sort_by(|a, b| (&a.directory, &a.name).cmp(&(&b.directory, &b.name)));
    files.dedup_by(|a, b| a.directory == b.directory && a.name == b.name);
    files
}

struct Parts<'a> {
    package: &'a str,
    short: &'a str,
    lib: &'a str,
    version: &'a str,
    wanted: usize,
}

impl Parts<'_> {
    fn program(&self, list: &mut List, random: &mut Random, ids: &mut Random, library: bool) {
        let Self { package, short, lib, version, wanted } = *self;
        if library {
            let number = random.between(0, 9);
            let file = format!("{lib}/lib{short}.so.{number}.{version}");
            list.link(format!("{lib}/lib{short}.so.{number}"), format!("lib{short}.so.{number}.{version}"));
            list.build_id(ids, &file);
            list.add(file, EXECUTABLE, 0);
        }
        let programs = if library { 0 } else { (wanted / 12).clamp(1, 25) };
        for at in 0..programs {
            let name = if at == 0 { package.to_owned() } else { format!("{short}-{}", random.pick(VERBS)) };
            list.build_id(ids, &format!("/usr/bin/{name}"));
            list.add(format!("/usr/bin/{name}"), EXECUTABLE, 0);
            list.add(format!("/usr/share/man/man{}/{name}.{}.gz", 1, 1), PLAIN, DOC);
        }
        if wanted > 30 && random.chance(40.0) {
            list.add(format!("/etc/{short}"), DIRECTORY, 0);
            list.add(format!("/etc/{short}/{short}.conf"), PLAIN, CONFIG);
            list.plain(format!("/usr/lib/systemd/system/{short}.service"));
            list.add(format!("/var/log/{short}.log"), PLAIN, GHOST);
        }
        if wanted > 40 {
            for language in LANGUAGES.iter().take(random.between(10, LANGUAGES.len())) {
                list.plain(format!("/usr/share/locale/{language}/LC_MESSAGES/{short}.mo"));
            }
        }
        if wanted > 150 && random.chance(50.0) {
            for language in LANGUAGES.iter().take(random.between(3, 20)) {
                for section in 1..=8 {
                    list.add(
                        format!("/usr/share/man/{language}/man{section}/{short}.{section}.gz"),
                        PLAIN,
                        DOC,
                    );
                }
            }
        }
        let plugins = (wanted / 20).min(40);
        for _ in 0..plugins {
            let file = format!("{lib}/{short}/plugins/lib{}.so", random.pick(TOPICS));
            list.build_id(ids, &file);
            list.add(file, EXECUTABLE, 0);
        }
        if list.files.len() < wanted {
            self.tree(list, random, &format!("/usr/share/{short}"), EXTENSIONS);
        }
    }

    fn headers(&self, list: &mut List, random: &mut Random) {
        let Self { short, lib, wanted, .. } = *self;
        list.link(format!("{lib}/lib{short}.so"), format!("lib{short}.so.1"));
        list.plain(format!("{lib}/pkgconfig/{short}.pc"));
        list.add(format!("/usr/include/{short}"), DIRECTORY, 0);
        while list.files.len() < wanted {
            match random.below(4) {
                0 => list.add(
                    format!(
                        "/usr/share/man/man3/{short}_{}_{}.3.gz",
                        random.pick(VERBS),
                        random.pick(TOPICS)
                    ),
                    PLAIN,
                    DOC,
                ),
                1 if wanted > 60 => list.plain(format!(
                    "/usr/include/{short}/{}/{}_{}.h",
                    random.pick(TOPICS),
                    random.pick(TOPICS),
                    random.pick(VERBS)
                )),
                _ => list.plain(format!(
                    "/usr/include/{short}/{}-{}.h",
                    random.pick(TOPICS),
                    random.pick(NOUNS).replace(' ', "-")
                )),
            }
        }
    }

    fn pages(&self, list: &mut List, random: &mut Random) {
        let Self { package, short, wanted, .. } = *self;
        let java = package.ends_with("-javadoc");
        let root = if java {
            format!("/usr/share/javadoc/{short}")
        } else {
            format!("/usr/share/doc/{package}/html")
        };
        list.add(root.clone(), DIRECTORY, 0);
        list.plain(format!("{root}/index.html"));
        while list.files.len() < wanted * 2 {
            let class = format!("{}{}", capital(random.pick(VERBS)), capital(random.pick(TOPICS)));
            if java {
                let part = random.pick(TOPICS);
                list.plain(format!("{root}/org/{short}/{part}/{class}.html"));
                list.plain(format!("{root}/org/{short}/{part}/class-use/{class}.html"));
            } else {
                list.plain(format!("{root}/class{}_1_1{class}.html", capital(short)));
                list.plain(format!("{root}/class{}_1_1{class}-members.html", capital(short)));
            }
        }
    }

    fn python(&self, list: &mut List, random: &mut Random) {
        let Self { short, lib, version, wanted, .. } = *self;
        let root = format!("{}/python3.9/site-packages", if lib.ends_with("64") { lib } else { "/usr/lib" });
        let module = short.replace('-', "_");
        for info in ["PKG-INFO", "SOURCES.txt", "dependency_links.txt", "top_level.txt"] {
            list.plain(format!("{root}/{module}-{version}-py3.9.egg-info/{info}"));
        }
        let mut directory = format!("{root}/{module}");
        let module = |list: &mut List, directory: &str, name: &str| {
            list.add(format!("{directory}/__pycache__"), DIRECTORY, 0);
            list.plain(format!("{directory}/{name}.py"));
            list.plain(format!("{directory}/__pycache__/{name}.cpython-39.pyc"));
            list.plain(format!("{directory}/__pycache__/{name}.cpython-39.opt-1.pyc"));
        };
        module(list, &directory, "__init__");
        while list.files.len() < wanted * 2 {
            if random.chance(8.0) {
                directory = format!("{root}/{}/{}", short.replace('-', "_"), random.pick(TOPICS));
                module(list, &directory, "__init__");
            }
            let name = format!("{}{}", if random.chance(50.0) { "" } else { "_" }, random.pick(TOPICS));
            module(
                list,
                &directory,
                &if wanted > 60 { format!("{name}_{}", random.pick(VERBS)) } else { name },
            );
        }
    }

    fn perl(&self, list: &mut List, random: &mut Random) {
        let Self { short, wanted, .. } = *self;
        let path = short.replace('-', "/");
        let root = "/usr/share/perl5/vendor_perl";
        list.plain(format!("{root}/{path}.pm"));
        list.add(format!("/usr/share/man/man3/{}.3pm.gz", path.replace('/', "::")), PLAIN, DOC);
        while list.files.len() < wanted {
            let module = format!(
                "{}{}",
                capital(random.pick(TOPICS)),
                if wanted > 50 { capital(random.pick(VERBS)) } else { String::new() }
            );
            list.plain(format!("{root}/{path}/{module}.pm"));
            list.add(format!("/usr/share/man/man3/{}::{module}.3pm.gz", path.replace('/', "::")), PLAIN, DOC);
        }
    }

    /// Any number of files below `root`, a few dozen in a directory.
    fn tree(&self, list: &mut List, random: &mut Random, root: &str, extensions: &[&str]) {
        list.add(root.to_owned(), DIRECTORY, 0);
        let extension = random.pick(extensions);
        let mut directory = root.to_owned();
        while list.files.len() < self.wanted {
            if random.chance(4.0) {
                directory = format!("{root}/{}", random.pick(TOPICS));
                if random.chance(40.0) {
                    directory = format!("{directory}/{}", random.pick(NOUNS).replace(' ', "-"));
                }
                list.add(directory.clone(), DIRECTORY, 0);
            }
            let name = match random.below(3) {
                0 => format!("{}-{}", random.pick(TOPICS), random.between(1, 99)),
                1 => format!("{}_{}{}", random.pick(TOPICS), random.pick(SYLLABLES), random.pick(SYLLABLES)),
                _ => format!("{}-{}", random.pick(SYLLABLES).repeat(2), random.pick(TOPICS)),
            };
            list.plain(format!("{directory}/{name}.{extension}"));
        }
    }
}
