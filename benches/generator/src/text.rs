//! What people write: summaries, descriptions, changelogs.

use crate::history::{Class, capital};
use crate::random::Random;
use crate::words::{ADJECTIVES, FIRST, JOINS, LAST, NOUNS, TOPICS, VERBS};

pub struct Entry {
    pub time: u32,
    pub author: String,
    pub text: String,
}

pub fn summary(random: &mut Random, class: Class, package: &str, base: &str) -> String {
    let topic = random.usual(TOPICS);
    let about = format!("{} {topic} {}", capital(random.usual(ADJECTIVES)), random.usual(NOUNS));
    match () {
        () if package.ends_with("-devel") => format!("Development files for {base}"),
        () if package.ends_with("-doc") => format!("Documentation for {base}"),
        () if package.ends_with("-javadoc") => format!("Javadoc for {base}"),
        () if package.ends_with("-libs") => format!("Libraries for {base}"),
        () if package.ends_with("-tests") => format!("Tests for {base}"),
        () if class == Class::Tex => format!("The LaTeX {topic} package {}", random.usual(ADJECTIVES)),
        () if class == Class::Python => format!("A Python {topic} library for {}", random.usual(NOUNS)),
        () if class == Class::Perl => {
            format!("Perl module to {} {topic} {}", random.usual(VERBS), random.usual(NOUNS))
        }
        () => about,
    }
}

/// Median 120 letters, some with thousands.
pub fn description(random: &mut Random, package: &str, base: &str) -> String {
    if package.ends_with("-devel") {
        return format!(
            "The {package} package contains libraries and header files for\ndeveloping applications that use {base}."
        );
    }
    if package.ends_with("-javadoc") {
        return format!("This package contains the API documentation for {base}.");
    }
    prose(random, base, |random| random.log_normal(110.0, 0.9) as usize)
}

pub fn prose(random: &mut Random, base: &str, len: impl Fn(&mut Random) -> usize) -> String {
    let len = len(random).clamp(24, 3000);
    let mut text = String::new();
    while text.len() < len {
        if !text.is_empty() {
            text.push_str(". ");
        }
        let start = match random.below(6) {
            0 => format!("{} is a", capital(base)),
            1 => "This package provides".to_owned(),
            2 => "This package contains".to_owned(),
            3 => "It can be used to".to_owned() + " " + random.usual(VERBS),
            4 => format!("The {} {}", random.usual(ADJECTIVES), random.usual(TOPICS)),
            _ => capital(random.usual(VERBS)),
        };
        text.push_str(&start);
        for _ in 0..random.between(1, 4) {
            let next = match random.below(4) {
                0 => format!(" {} {}", random.usual(JOINS), random.usual(NOUNS)),
                1 => format!(" {} {}", random.usual(ADJECTIVES), random.usual(NOUNS)),
                2 => format!(" to {} {}", random.usual(VERBS), random.usual(NOUNS)),
                _ => {
                    format!(" {} {} {}", random.usual(JOINS), random.usual(ADJECTIVES), random.usual(TOPICS))
                }
            };
            text.push_str(&next);
        }
    }
    text.push('.');
    wrap(&text)
}

/// The changelog of a source, newest first; the entries of its builds so far come on top.
pub fn changelog(seed: u64, source: &str, builds: &[(u64, String)]) -> Vec<Entry> {
    let mut random = Random::of(seed, source, 77);
    let people: Vec<String> = (0..random.between(1, 3)).map(|_| person(&mut random)).collect();
    let entry = |time: u64, version: &str, random: &mut Random| {
        let author =
            if random.chance(25.0) { RELEASE.to_owned() } else { people[random.below(people.len())].clone() };
        let text = if author == RELEASE {
            format!("- Rebuilt for https://example.org/wiki/Release_{}_Mass_Rebuild", random.between(30, 38))
        } else {
            change(random, source, version)
        };
        // rpm dates entries by day, at noon.
        Entry {
            time: (time / 86_400 * 86_400 + 43_200) as u32,
            author: format!("{author} - {version}"),
            text,
        }
    };
    let old = (random.log_normal(11.0, 0.9) as usize).clamp(1, 97);
    let first = builds.first().map_or(1_654_041_600, |(time, _)| *time);
    let mut time = first - old as u64 * 86_400 * 60;
    let mut list = Vec::with_capacity(old + builds.len());
    for at in 0..old {
        let version = format!("{}.{}.{}-{}", random.between(0, 3), at / 12, at % 12, random.between(1, 3));
        list.push(entry(time, &version, &mut random));
        time += 86_400 * random.between(5, 60) as u64;
    }
    for (time, version) in builds {
        list.push(entry(*time, version, &mut random));
    }
    list.reverse();
    list
}

const RELEASE: &str = "Release Engineering <releng@example.org>";

pub fn person(random: &mut Random) -> String {
    let (first, last) = (random.pick(FIRST), random.pick(LAST));
    format!("{first} {last} <{}{}@example.com>", first[..1].to_lowercase(), last.to_lowercase())
}

fn change(random: &mut Random, source: &str, version: &str) -> String {
    let upstream = version.split('-').next().unwrap_or(version);
    let mut lines = Vec::new();
    for _ in 0..(random.log_normal(1.7, 0.8) as usize).clamp(1, 12) {
        lines.push(match random.below(9) {
            0 | 1 => format!("- Update to {upstream}"),
            2 => format!("- New upstream release {upstream} (#{})", random.between(1_000_000, 2_200_000)),
            3 => format!("- Resolves: rhbz#{}", random.between(1_400_000, 2_200_000)),
            4 => format!("- Rebuild for updated {}", random.usual(TOPICS)),
            5 => format!(
                "- Fix {} of {} {}",
                random.usual(TOPICS),
                random.usual(ADJECTIVES),
                random.usual(NOUNS)
            ),
            6 => format!(
                "- CVE-20{}-{}: {} {} in {source}",
                random.between(10, 24),
                random.between(1000, 49_999),
                random.usual(ADJECTIVES),
                random.usual(TOPICS)
            ),
            7 => format!(
                "- {} {} {}",
                capital(random.usual(VERBS)),
                random.usual(ADJECTIVES),
                random.usual(NOUNS)
            ),
            _ => format!(
                "- {} the {} {} {} {}",
                capital(random.usual(VERBS)),
                random.usual(TOPICS),
                random.usual(NOUNS),
                random.usual(JOINS),
                random.usual(NOUNS)
            ),
        });
    }
    lines.join("\n")
}

fn wrap(text: &str) -> String {
    let mut wrapped = String::with_capacity(text.len());
    let mut column = 0;
    for word in text.split(' ') {
        if column + word.len() > 74 {
            wrapped.push('\n');
            column = 0;
        } else if column > 0 {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += word.len();
    }
    wrapped
}
