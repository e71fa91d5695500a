//! Two years of a distribution: which source packages there are, when each was built, and what
//! packages a build gave.

use std::collections::HashSet;

use crate::random::Random;
use crate::words::{SYLLABLES, TOPICS};

/// The first build: 2022-06-01. All is over before the clock of any machine that runs this.
const BEGIN: u64 = 1_654_041_600;
const SPAN: u64 = 730 * 86_400;

/// What a source package is about; file lists and dependencies follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Library,
    Program,
    Python,
    Perl,
    Tex,
    Java,
    Data,
    Kernel,
}

/// One source package.
#[derive(Debug)]
pub struct Source {
    pub number: u64,
    pub name: String,
    pub class: Class,
    /// Names and architectures of what a build gives.
    pub packages: Vec<(String, &'static str)>,
}

/// One package of one build.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    /// Which source, in the order in which they first appeared.
    pub source: usize,
    /// How often that source was built before.
    pub build: u32,
    /// Which of its packages.
    pub package: usize,
    /// Seconds since the epoch.
    pub built: u64,
    /// The time its file arrived in the repository.
    pub arrived: u64,
}

#[derive(Debug)]
pub struct History {
    pub seed: u64,
    pub sources: Vec<Source>,
    /// In the order of their arrival.
    pub items: Vec<Item>,
}

impl History {
    /// `count` packages. A source is built 2.2 times and gives 4 packages, on average.
    pub fn new(seed: u64, count: usize) -> Self {
        let mut random = Random::of(seed, "history", 0);
        let mut sources: Vec<Source> = Vec::new();
        let mut builds: Vec<(usize, u32)> = Vec::new();
        let mut times_built: Vec<u32> = Vec::new();
        let mut packages = 0;
        let mut names = HashSet::new();
        while packages < count {
            let source = if sources.is_empty() || random.chance(45.0) {
                let mut source = Source::new(seed, sources.len() as u64);
                source.packages.retain(|package| names.insert(package.clone()));
                sources.push(source);
                times_built.push(0);
                sources.len() - 1
            } else {
                // Some are built again and again.
                random.favour(sources.len())
            };
            builds.push((source, times_built[source]));
            times_built[source] += 1;
            packages += sources[source].packages.len();
        }
        let mut items = Vec::with_capacity(packages);
        for (at, &(source, build)) in builds.iter().enumerate() {
            let share = (at as f64 + random.unit()) / builds.len() as f64;
            let built = BEGIN + (share * SPAN as f64) as u64;
            let mut arrived = built + random.between(120, 1800) as u64;
            for package in 0..sources[source].packages.len() {
                items.push(Item { source, build, package, built, arrived });
                arrived += random.below(15) as u64;
            }
        }
        items.truncate(count);
        items.sort_by_key(|item| (item.arrived, item.source, item.package));
        Self { seed, sources, items }
    }
}

impl Source {
    fn new(seed: u64, number: u64) -> Self {
        let mut random = Random::of(seed, "source", number);
        let class = match random.unit() * 1000.0 {
            roll if roll < 270.0 => Class::Library,
            roll if roll < 530.0 => Class::Program,
            roll if roll < 680.0 => Class::Python,
            roll if roll < 830.0 => Class::Perl,
            roll if roll < 870.0 => Class::Tex,
            roll if roll < 920.0 => Class::Java,
            roll if roll < 998.0 => Class::Data,
            _ => Class::Kernel,
        };
        let stem = stem(&mut random);
        // The number makes it unique where the syllables alone do not.
        let stem = if random.chance(50.0) { format!("{stem}-{}", random.pick(TOPICS)) } else { stem };
        let stem = format!("{stem}{}", suffix(number));
        let name = match class {
            Class::Library if random.chance(60.0) => format!("lib{stem}"),
            Class::Python => format!("python-{stem}"),
            Class::Perl => format!("perl-{}", stem.split('-').map(capital).collect::<Vec<_>>().join("-")),
            Class::Tex => format!("texlive-{stem}"),
            Class::Kernel => format!("kernel-{stem}"),
            Class::Data if random.chance(40.0) => format!("{stem}-fonts"),
            _ => stem,
        };
        let packages = packages(class, &name, &mut random);
        Self { number, name, class, packages }
    }
}

fn stem(random: &mut Random) -> String {
    (0..random.between(2, 3)).map(|_| random.pick(SYLLABLES)).collect()
}

/// Letters for the source's number, short for the first ones.
fn suffix(mut number: u64) -> String {
    let mut letters = String::new();
    while number > 0 {
        letters.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    letters
}

pub fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}

fn packages(class: Class, name: &str, random: &mut Random) -> Vec<(String, &'static str)> {
    const MORE: &[&str] = &[
        "-utils",
        "-common",
        "-tools",
        "-server",
        "-client",
        "-selinux",
        "-core",
        "-gui",
        "-ldap",
        "-mysql",
        "-pgsql",
        "-glib",
        "-gtk",
        "-cli",
        "-daemon",
        "-data",
        "-examples",
        "-tests",
        "-plugins",
        "-x11",
        "-filesystem",
        "-headless",
        "-bash-completion",
    ];
    let mut list: Vec<(String, &'static str)> = Vec::new();
    let mut add = |ending: &str, arch| list.push((format!("{name}{ending}"), arch));
    match class {
        Class::Library => {
            add("", "x86_64");
            add("", "i686");
            add("-devel", "x86_64");
            if random.chance(70.0) {
                add("-devel", "i686");
            }
            if random.chance(25.0) {
                add("-utils", "x86_64");
            }
            if random.chance(25.0) {
                add("-doc", "noarch");
            }
        }
        Class::Program | Class::Kernel => {
            add("", "x86_64");
            if random.chance(35.0) {
                add("-libs", "x86_64");
                add("-libs", "i686");
                add("-devel", "x86_64");
            }
            // One source in fifty gives dozens.
            let more = if random.chance(2.0) { MORE.len() } else { (random.small(3) * 7.0) as usize };
            let from = random.below(MORE.len());
            for at in 0..more {
                let ending = MORE[(from + at) % MORE.len()];
                add(ending, if random.chance(25.0) { "noarch" } else { "x86_64" });
            }
        }
        Class::Python => {
            let arch = if random.chance(20.0) { "x86_64" } else { "noarch" };
            list.push((format!("python3{}", name.trim_start_matches("python")), arch));
            if random.chance(20.0) {
                list.push((format!("{name}-doc"), "noarch"));
            }
        }
        Class::Perl => {
            add("", if random.chance(20.0) { "x86_64" } else { "noarch" });
            if random.chance(12.0) {
                add("-tests", "noarch");
            }
        }
        Class::Tex => (0..random.between(1, 40)).for_each(|at| {
            add(&if at == 0 { String::new() } else { format!("-{}", stem(random)) }, "noarch")
        }),
        Class::Java => {
            add("", "noarch");
            if random.chance(60.0) {
                add("-javadoc", "noarch");
            }
        }
        Class::Data => {
            add("", "noarch");
            if random.chance(30.0) {
                (0..random.between(1, 5)).for_each(|_| add(&format!("-{}", stem(random)), "noarch"));
            }
        }
    }
    list
}
