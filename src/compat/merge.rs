//! `mergerepo_c`: one repository's metadata out of several repositories'.

mod arches;
mod choose;
mod extras;
mod options;
mod places;
mod remote;

use std::collections::HashMap;
use std::fs;

use anyhow::Context as _;

pub use options::{MergerepoOptions, Plan};

use super::old;
use super::output::{Retain, Style, Workshop};
use super::stock::Intake;
use super::{Ending, Voice};
use crate::package::ChecksumType;
use crate::repodata::element::Facts;
use crate::repodata::read::{Elements, Foreign, Partner};
use crate::repodata::{MetadataType, Repomd, Tags, xml};
use choose::{Candidate, Rule, choose};
use extras::Extra;
use places::Merged;

/// Does what `mergerepo_c` was asked. `now` is in seconds since the epoch.
pub fn run(options: &MergerepoOptions, now: u64) -> anyhow::Result<Ending> {
    let voice = Voice { quiet: !options.verbose };
    let plan = options.plan(voice)?;
    fs::create_dir_all(&plan.output).with_context(|| format!("cannot make {}", plan.output.display()))?;
    let mut workshop = Workshop::open(&plan.output, false)?;
    workshop.dictionaries.clone_from(&options.zchunk.zck_dict_dir);
    let old_repomd = old::repomd_if_readable(&workshop.repodata, voice);
    let find = |url: &String| Merged::find(url, plan.prefix.as_ref(), workshop.scratch());
    let repositories: Vec<Merged> = options.repo.iter().map(find).collect::<Result<_, _>>()?;
    let noarch = options.noarch_repo.as_ref().map(find).transpose()?;

    let mut hall = Hall {
        plan: &plan,
        with_ext: options.filelists_ext,
        intake: Intake::new(workshop.scratch(), options.filelists_ext)?,
        substitutes: HashMap::new(),
        candidates: Vec::new(),
    };
    if let Some(noarch) = &noarch {
        hall.load_substitutes(noarch)?;
    }
    for (number, repository) in repositories.iter().enumerate() {
        voice.say(&format!("Processing: {}", repository.origin));
        // What lies in the first of koji's repositories needs no base.
        let omit = options.omit_baseurl || (plan.origins && number == 0);
        hall.load(repository, number, (!omit).then_some(&*repository.base), voice)?;
    }
    let chosen = choose(&hall.candidates, plan.rule, &plan.blocked);
    voice.say(&format!("{} of {} packages are merged", chosen.len(), hall.candidates.len()));
    let Hall { intake, candidates, .. } = hall;
    let stock = intake.close(chosen.iter().map(|&at| candidates[at].places.clone()).collect())?;

    let style =
        Style { checksum: ChecksumType::default(), unique: options.names.unique(), time: now, stamp: false };
    let mut files = stock.publish(&workshop, plan.codec, &style)?;
    if options.sqlite.database {
        files.extend(stock.databases(&workshop, false, plan.databases_codec, &style, &files)?);
    }
    let mut extras = Vec::new();
    if let Some(path) = &options.groupfile {
        extras.push(extras::named_groups(&workshop, path, plan.codec, &style)?);
    } else if !options.nogroups {
        extras.extend(extras::first_groups(&workshop, &repositories, plan.codec, &style)?);
    }
    if !options.noupdateinfo {
        extras.push(extras::advisories(&workshop, &repositories, plan.codec, &style)?);
    }
    extras.extend(extras::modules(&workshop, &repositories, plan.codec, &style, voice)?);
    if options.zchunk.zck {
        let plain = stock.kinds();
        files.extend(stock.zchunk(&workshop, &style, &files[..plain])?);
        for Extra { file, base } in &extras {
            files.push(workshop.write_zchunk(file, base, &style)?);
        }
    }
    files.extend(extras.into_iter().map(|extra| extra.file));
    if plan.origins {
        // In the order of the repositories, as koji's own were.
        let mut sorted = chosen.clone();
        sorted.sort_unstable();
        let packages = sorted.iter().map(|&at| &candidates[at]);
        files.push(extras::origins(&workshop, &repositories, packages, &style)?);
    }
    let repomd = Repomd {
        revision: now.to_string(),
        tags: Tags::default(),
        records: files.iter().map(|file| file.record.clone()).collect(),
    };
    workshop.publish(files, old_repomd.as_ref(), &repomd, true, Retain::Unlisted)?;
    Ok(Ending::Well)
}

/// Where all packages of all repositories wait for the decision; their texts on disk.
struct Hall<'p> {
    plan: &'p Plan,
    with_ext: bool,
    intake: Intake,
    /// The noarch repository's packages, by name, version and release.
    substitutes: HashMap<String, Candidate>,
    candidates: Vec<Candidate>,
}

impl Hall<'_> {
    fn load_substitutes(&mut self, noarch: &Merged) -> anyhow::Result<()> {
        self.each(noarch, |hall, package, ext| {
            if package.facts.arch == "noarch" {
                let key = version_key(&package.facts);
                let candidate = hall.keep(package, ext, Some(&noarch.base), 0)?;
                hall.substitutes.entry(key).or_insert(candidate);
            }
            Ok(())
        })
    }

    fn load(
        &mut self,
        repository: &Merged,
        number: usize,
        base: Option<&str>,
        voice: Voice,
    ) -> anyhow::Result<()> {
        self.each(repository, |hall, package, ext| {
            if hall.plan.rule == Rule::Koji && package.facts.source_rpm.is_empty() {
                let href = &package.facts.href;
                voice.warn(&format!(
                    "Package '{href}' from '{}' doesn't have specified source srpm",
                    repository.origin
                ));
            }
            let substitute = hall.substitutes.get(&version_key(&package.facts));
            let candidate = match substitute.filter(|_| package.facts.arch == "noarch") {
                Some(there) => Candidate {
                    facts: there.facts.clone(),
                    places: there.places.clone(),
                    repository: number,
                    wanted: true,
                },
                None => hall.keep(package, ext, base, number)?,
            };
            hall.candidates.push(candidate);
            Ok(())
        })
    }

    /// Reads a repository, one package in memory at a time. The last argument of `take` is the package's entry in filelists-ext.xml.
    fn each(
        &mut self,
        repository: &Merged,
        mut take: impl FnMut(&mut Self, Foreign, Option<String>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let cannot = || format!("cannot merge {}", repository.origin);
        let mut packages = old::packages(&repository.repodata, &repository.repomd).with_context(cannot)?;
        let mut ext = match repository.repomd.record("filelists-ext") {
            Some(record) if self.with_ext => {
                let file = old::open(&repository.repodata, record)?;
                Some(Partner::new(Elements::new(MetadataType::FilelistsExt, file).with_context(cannot)?))
            }
            _ => None,
        };
        while let Some(package) = packages.next_package().with_context(cannot)? {
            let ext = match &mut ext {
                Some(ext) => ext.find(&package.facts.pkgid).with_context(cannot)?,
                None => None,
            };
            take(self, package, ext)?;
        }
        Ok(())
    }

    fn keep(
        &mut self,
        package: Foreign,
        ext: Option<String>,
        base: Option<&str>,
        repository: usize,
    ) -> anyhow::Result<Candidate> {
        let Foreign { facts, primary, filelists, other } = package;
        let wanted = self.plan.arches.as_ref().is_none_or(|arches| arches.contains(&facts.arch));
        let mut places = Vec::new();
        // Of the others only what they were built from counts.
        if wanted {
            let primary = match &facts.base {
                None => facts.relocated(&primary, base, &facts.href),
                Some(_) => primary,
            };
            let filelists = filelists.unwrap_or_else(|| bare(&facts));
            let mut texts = vec![primary, filelists, other.unwrap_or_else(|| bare(&facts))];
            if self.with_ext {
                texts.push(ext.unwrap_or_else(|| texts[1].clone()));
            }
            let texts: Vec<Vec<u8>> = texts.into_iter().map(|text| (text + "\n").into_bytes()).collect();
            places = self.intake.put(&texts)?;
        }
        Ok(Candidate { facts, places, repository, wanted })
    }
}

/// What packages of the noarch repository are known by.
fn version_key(facts: &Facts) -> String {
    format!("{}-{}-{}", facts.name, facts.version, facts.release)
}

/// The entry of a package that a repository's filelists.xml or other.xml says nothing of.
fn bare(facts: &Facts) -> String {
    let mut out = b"<package pkgid=\"".to_vec();
    for (value, next) in [
        (&facts.pkgid, "\" name=\""),
        (&facts.name, "\" arch=\""),
        (&facts.arch, "\">\n  <version epoch=\""),
        (&facts.epoch, "\" ver=\""),
        (&facts.version, "\" rel=\""),
        (&facts.release, "\"/>\n</package>"),
    ] {
        xml::attribute(&mut out, value);
        out.extend_from_slice(next.as_bytes());
    }
    String::from_utf8_lossy(&out).into_owned()
}
