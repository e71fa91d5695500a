//! `createrepo_c`: a directory's metadata, made in one go.

mod additional;
mod compact;
mod options;
mod reading;

use std::collections::HashMap;
use std::fs;
use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::Context as _;
use rayon::prelude::*;

pub(super) use additional::groups;
pub use options::{CreaterepoOptions, Plan};
pub(super) use options::{checksum_type, codec};

use super::old::{self, Old};
use super::output::{Style, Workshop};
use super::sources::{self, Source, Walk};
use super::spool::Place;
use super::stock::{Intake, Stock};
use super::{Ending, Voice};
use crate::repodata::additional::family;
use crate::repodata::{Codec, Repomd};
use reading::{Made, Reading};

/// Packages in memory at a time.
const BATCH: usize = 256;

/// Does what `createrepo_c` was asked. `now` is in seconds since the epoch.
pub fn run(options: &CreaterepoOptions, source_date_epoch: Option<&str>, now: u64) -> anyhow::Result<Ending> {
    let voice = Voice { quiet: options.quiet };
    let plan = options.plan(voice, source_date_epoch)?;
    let mut workshop = Workshop::open(&plan.output, options.ignore_lock)?;
    workshop.dictionaries.clone_from(&options.zchunk.zck_dict_dir);
    let old_repomd = old::repomd_if_readable(&workshop.repodata, voice);
    let mut problems = Vec::new();
    // The list of packages may come from the old metadata; otherwise the directory is walked first, as its callers see it told.
    let recycled = options.recycle_pkglist.then(|| load_old(options, &plan, &workshop, voice)).transpose()?;
    let sources = find(options, &plan, recycled.as_ref(), &mut problems, voice)?;
    let (sources, modules): (Vec<_>, Vec<_>) = sources.into_iter().partition(Source::is_package);
    voice.say(&format!("Directory walk done - {} packages", sources.len()));
    let old = recycled.map_or_else(|| load_old(options, &plan, &workshop, voice), Ok)?;
    let carries = options.update && !options.discard_additional_metadata;
    let earlier = old_repomd.as_ref().filter(|_| carries);
    let modules = additional::merged_modules(&modules, &workshop.repodata, earlier, &mut problems, voice)?;
    voice.say(&format!("Temporary output repo path: {}/", plan.output.join(".repodata").display()));
    if plan.databases {
        voice.say("Preparing sqlite DBs");
    }
    let mut shelf = Shelf::new(workshop.scratch(), options.filelists_ext)?;
    let reading = Reading::new(options, &plan, &old)?;
    let workers = plan.workers.unwrap_or_else(rayon::current_num_threads);
    voice.say(&format!("Pool started (with {workers} workers)"));
    let earlier_problems = problems.len();
    let read = read_all(&sources, &reading, &mut shelf, &mut problems, &plan, voice)?;
    if problems.len() > earlier_problems {
        voice.say("Pool finished with errors");
        voice.say(
            "Warning: There were some invalid packages: we have to recompress other, filelists and primary xml metadata \
             files in order to have correct package counts",
        );
    } else {
        voice.say("Pool finished");
    }
    for problem in &problems {
        match problem.starts_with(reading::UNREADABLE) {
            true => {
                voice.warn_of_library("read_header: rpmReadPackageFile() error");
                voice.warn_of_library(problem);
            }
            false => voice.warn(problem),
        }
    }
    let mut ending = if problems.is_empty() { Ending::Well } else { Ending::WithBadPackages };
    if options.recycle_pkglist && problems.iter().all(|p| p.starts_with(reading::VANISHED)) {
        // The list was old, not the packages bad.
        ending = Ending::Well;
    }
    if let Some(list) = &options.read_pkgs_list {
        fs::write(list, read.concat()).with_context(|| format!("cannot write {}", list.display()))?;
    }
    shelf.duplicates(plan.keep_last, voice);

    let style = Style {
        checksum: plan.repomd_checksum,
        unique: options.names.unique(),
        time: plan.timestamp.unwrap_or(now),
        stamp: plan.timestamp.is_some(),
    };
    let stock = shelf.close()?;
    let mut files = stock.publish(&workshop, plan.packages_codec, &style)?;
    if plan.databases {
        let codec = plan.databases_codec;
        files.extend(stock.databases(&workshop, options.local_sqlite, codec, &style, &files)?);
    }
    if options.zchunk.zck {
        let plain = stock.kinds();
        files.extend(stock.zchunk(&workshop, &style, &files[..plain])?);
    }
    if let Some(group) = &plan.groupfile {
        let name = group.file_name().and_then(|name| name.to_str()).unwrap_or("comps.xml");
        let base = name.strip_suffix(Codec::of_name(name).suffix()).unwrap_or(name);
        let made = groups(&workshop, group, base, plan.groups_codec, &style)?;
        if options.zchunk.zck {
            files.push(workshop.write_zchunk(&made, base, &style)?);
        }
        files.push(made);
    }
    if let Some(modules) = &modules {
        let base = "modules.yaml";
        let made = workshop
            .write("modules", base, plan.modules_codec, &style, |sink| Ok(modules.write_normal(sink)?))?;
        if options.zchunk.zck {
            files.push(workshop.write_zchunk(&made, base, &style)?);
        }
        files.push(made);
    }
    let mut carried = match &old_repomd {
        Some(old) if carries => additional::carried_over(&workshop.repodata, old, &plan, &style, voice)?,
        _ => Vec::new(),
    };
    if modules.is_some() {
        carried.retain(|record| family(&record.kind) != "modules");
    }
    if options.zchunk.zck {
        files.extend(additional::zchunk_twins(&workshop, &carried, &style)?);
    }
    let repomd = Repomd {
        revision: plan.revision.clone().unwrap_or_else(|| now.to_string()),
        tags: plan.tags.clone(),
        records: files.iter().map(|file| file.record.clone()).chain(carried).collect(),
    };
    if options.update && !plan.retains && is_shown(&workshop.repodata, old_repomd.as_ref(), &repomd, &plan) {
        voice.say("New and old repodata match, not updating.");
        return Ok(ending);
    }
    workshop.publish(files, old_repomd.as_ref(), &repomd, !options.no_pretty, plan.retain)?;
    Ok(ending)
}

fn load_old(
    options: &CreaterepoOptions,
    plan: &Plan,
    workshop: &Workshop,
    voice: Voice,
) -> anyhow::Result<Old> {
    let wanted = options.update || options.recycle_pkglist;
    for path in options.update_md_path.iter().filter(|_| options.update) {
        let missing = !path.is_dir();
        let path = path.display();
        voice.say(&format!("Loading metadata from md-path: {path}"));
        if !missing {
            continue;
        }
        voice.warn_of_library(&format!("cr_get_local_metadata: {path} is not a directory"));
        voice.warn(&format!("Metadata from md-path {path} - loading failed: Metadata not found at {path}."));
    }
    let more: Vec<_> = options
        .update_md_path
        .iter()
        .filter(|_| options.update)
        .map(|path| if path.join("repomd.xml").is_file() { path.clone() } else { path.join("repodata") })
        .collect();
    // What lies in the repository itself comes last, and wins.
    let mut places: Vec<&Path> = more.iter().map(|path| &**path).collect();
    places.push(&workshop.repodata);
    if !wanted {
        places.clear();
    }
    let old =
        Old::load(&places, workshop.scratch(), options.filelists_ext, &mut |problem| voice.warn(&problem))?;
    if wanted {
        voice.say(&format!("Loaded information about {} packages", old.len()));
    }
    if options.update && plan.checksum != plan.repomd_checksum && options.verbose {
        voice.say(&format!("Packages are compared by {}", plan.checksum));
    }
    Ok(old)
}

fn find(
    options: &CreaterepoOptions,
    plan: &Plan,
    recycled: Option<&Old>,
    problems: &mut Vec<String>,
    voice: Voice,
) -> anyhow::Result<Vec<Source>> {
    let mut found = Vec::new();
    let listed = options.pkglist.is_some() || !options.includepkg.is_empty();
    if listed || recycled.is_some() {
        let mut names: Vec<String> = options.includepkg.clone();
        if let Some(list) = &options.pkglist {
            let text = fs::read_to_string(list)
                .with_context(|| format!("cannot read the package list {}", list.display()))?;
            names.extend(text.lines().filter(|line| !line.is_empty()).map(str::to_owned));
        }
        names.extend(recycled.into_iter().flat_map(Old::hrefs).map(str::to_owned));
        let root = &plan.directories[0];
        for name in names {
            if !options.excludes.iter().any(|glob| sources::matches(glob, &name)) {
                // Not join: createrepo_c takes an absolute path for one below the directory, too.
                let path = format!("{}/{name}", root.display()).into();
                found.push(Source { path, relative: name, medium: 0 });
            }
        }
    } else {
        voice.say("Directory walk started");
        let walk = Walk { excludes: &options.excludes, skip_symlinks: options.skip_symlinks };
        for (medium, root) in plan.directories.iter().enumerate() {
            found.extend(walk.collect(root, medium, problems));
        }
    }
    sources::sort(&mut found);
    found.dedup_by(|a, b| a == b);
    Ok(found)
}

/// Reads what there is to read, and returns the lines of `--read-pkgs-list`.
fn read_all(
    sources: &[Source],
    reading: &Reading<'_>,
    shelf: &mut Shelf,
    problems: &mut Vec<String>,
    plan: &Plan,
    voice: Voice,
) -> anyhow::Result<Vec<String>> {
    let mut builder = rayon::ThreadPoolBuilder::new();
    if let Some(workers) = plan.workers {
        builder = builder.num_threads(workers);
    }
    let pool = builder.build().context("cannot start the threads that read packages")?;
    let mut read = Vec::new();
    let (mut done, shows) = (0, plan.progress || std::io::stdout().is_terminal());
    for batch in sources.chunks(BATCH) {
        let made: Vec<_> = pool.install(|| batch.par_iter().map(|source| reading.make(source)).collect());
        for (source, made) in batch.iter().zip(made) {
            match made {
                Ok(made) => {
                    if made.read {
                        read.push(format!("{}\n", source.relative));
                    }
                    shelf.put(made)?;
                }
                Err(problem) => problems.push(problem),
            }
        }
        done += batch.len();
        if shows {
            voice.say(&format!("Read {done} of {} packages", sources.len()));
        }
    }
    Ok(read)
}

/// What was made of the packages, until it is known how many there are and which of them stay.
struct Shelf {
    intake: Intake,
    lots: Vec<Lot>,
    by_nevra: HashMap<String, Vec<usize>>,
}

/// One package on the shelf.
struct Lot {
    places: Vec<Place>,
    href: String,
    build_time: i64,
    dropped: bool,
}

impl Shelf {
    fn new(scratch: &Path, with_digests: bool) -> anyhow::Result<Self> {
        let intake = Intake::new(scratch, with_digests)?;
        Ok(Self { intake, lots: Vec::new(), by_nevra: HashMap::new() })
    }

    fn put(&mut self, made: Made) -> anyhow::Result<()> {
        let places = self.intake.put(&made.texts)?;
        self.by_nevra.entry(made.nevra).or_default().push(self.lots.len());
        self.lots.push(Lot { places, href: made.href, build_time: made.build_time, dropped: false });
        Ok(())
    }

    /// Names packages that share a NEVRA, and drops all but the last of them where that was asked for.
    fn duplicates(&mut self, keep_last: bool, voice: Voice) {
        let mut several: Vec<_> = self.by_nevra.iter_mut().filter(|(_, lots)| lots.len() > 1).collect();
        several.sort();
        for (nevra, lots) in several {
            // The last is the one built last, and of those the one whose location comes last.
            lots.sort_by_key(|lot| (self.lots[*lot].build_time, &self.lots[*lot].href));
            voice.warn(&format!("Package '{nevra}' has duplicate metadata entries, only one should exist"));
            for (i, lot) in lots.iter().enumerate() {
                let lot = &mut self.lots[*lot];
                lot.dropped = keep_last && i + 1 < lots.len();
                let note = if lot.dropped { " (not dumped, 'keep-last')" } else { "" };
                voice.warn(&format!(
                    "    Sourced from location: '{}', build timestamp: {}{note}",
                    lot.href, lot.build_time
                ));
            }
        }
    }

    fn close(self) -> anyhow::Result<Stock> {
        self.intake.close(self.lots.into_iter().filter(|lot| !lot.dropped).map(|lot| lot.places).collect())
    }
}

/// Whether what is published already is what would be published.
fn is_shown(repodata: &Path, old: Option<&Repomd>, new: &Repomd, plan: &Plan) -> bool {
    let Some(old) = old else { return false };
    let is_there = |href: &str| repodata.join(sources::file_name(href)).is_file();
    old.records.len() == new.records.len()
        && old.tags == new.tags
        && plan.revision.as_ref().is_none_or(|revision| *revision == old.revision)
        && new.records.iter().all(|record| {
            is_there(&record.href)
                && old.record(&record.kind).is_some_and(|shown| {
                    shown.same_file(record) && plan.timestamp.is_none_or(|time| time == shown.timestamp)
                })
        })
}
