//! `createrepo_c`: a directory's metadata, made in one go.

mod additional;
mod compact;
mod options;
mod reading;

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use rayon::prelude::*;

pub use options::{CreaterepoOptions, Plan};
pub(super) use options::{checksum_type, codec};

use super::databases;
use super::old::{self, Old};
use super::output::{Finished, Style, Workshop};
use super::sources::{self, Source, Walk};
use super::spool::{Place, Spool, SpoolReader};
use super::{Ending, Voice};
use crate::repodata::{Codec, MetadataType, Repomd, filelists_ext};
use reading::{Made, Reading};

/// Packages in memory at a time.
const BATCH: usize = 256;

/// Does what `createrepo_c` was asked. `now` is in seconds since the epoch.
pub fn run(options: &CreaterepoOptions, source_date_epoch: Option<&str>, now: u64) -> anyhow::Result<Ending> {
    let voice = Voice { quiet: options.quiet };
    let plan = options.plan(voice, source_date_epoch)?;
    let workshop = Workshop::open(&plan.output, options.ignore_lock)?;
    let old_repomd = old_repomd(&workshop.repodata, voice);
    let old = load_old(options, &plan, &workshop, voice)?;

    let mut problems = Vec::new();
    let sources = find(options, &plan, &old, &mut problems)?;
    voice.say(&format!("Directory walk done - {} packages", sources.len()));
    let mut shelf = Shelf::new(workshop.scratch(), options.filelists_ext)?;
    let reading = Reading::new(options, &plan, &old)?;
    let read = read_all(&sources, &reading, &mut shelf, &mut problems, &plan)?;
    for problem in &problems {
        voice.warn(problem);
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
        unique: !options.simple_md_filenames,
        time: plan.timestamp.unwrap_or(now),
        stamp: plan.timestamp.is_some(),
    };
    let stock = shelf.close()?;
    let mut files = write_packages(&workshop, &stock, &plan, &style)?;
    if plan.databases {
        voice.say("Preparing sqlite DBs");
        let place = databases::place(&workshop, options.local_sqlite)?;
        let made: Vec<_> = files.iter().map(|file| file.record.clone()).collect();
        for (file, record) in made.iter().enumerate() {
            let mut texts = stock.texts(file);
            files.push(databases::make(&workshop, &place, record, plan.databases_codec, &style, &mut texts)?);
        }
    }
    if let Some(group) = &plan.groupfile {
        files.push(additional::groups(&workshop, group, plan.groups_codec, &style)?);
    }
    let carried = match &old_repomd {
        Some(old) if options.update && !options.discard_additional_metadata => {
            additional::carried_over(&workshop.repodata, old, &plan, &style, voice)?
        }
        _ => Vec::new(),
    };
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

fn old_repomd(repodata: &Path, voice: Voice) -> Option<Repomd> {
    old::repomd(repodata).unwrap_or_else(|error| {
        voice.warn(&format!("The old metadata are replaced unread: {error:#}"));
        None
    })
}

fn load_old(
    options: &CreaterepoOptions,
    plan: &Plan,
    workshop: &Workshop,
    voice: Voice,
) -> anyhow::Result<Old> {
    // What was read without the files' digests cannot tell them.
    let wanted = (options.update && !options.filelists_ext) || options.recycle_pkglist;
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
    let old = Old::load(&places, workshop.scratch(), &mut |problem| voice.warn(&problem))?;
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
    old: &Old,
    problems: &mut Vec<String>,
) -> anyhow::Result<Vec<Source>> {
    let mut found = Vec::new();
    let listed = options.pkglist.is_some() || !options.includepkg.is_empty();
    if listed || options.recycle_pkglist {
        let mut names: Vec<String> = options.includepkg.clone();
        if let Some(list) = &options.pkglist {
            let text = fs::read_to_string(list)
                .with_context(|| format!("cannot read the package list {}", list.display()))?;
            names.extend(text.lines().filter(|line| !line.is_empty()).map(str::to_owned));
        }
        if options.recycle_pkglist {
            names.extend(old.hrefs().map(str::to_owned));
        }
        let root = &plan.directories[0];
        for name in names {
            if !options.excludes.iter().any(|glob| sources::matches(glob, &name)) {
                // Not join: createrepo_c takes an absolute path for one below the directory, too.
                let path = format!("{}/{name}", root.display()).into();
                found.push(Source { path, relative: name, medium: 0 });
            }
        }
    } else {
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
) -> anyhow::Result<Vec<String>> {
    let mut builder = rayon::ThreadPoolBuilder::new();
    if let Some(workers) = plan.workers {
        builder = builder.num_threads(workers);
    }
    let pool = builder.build().context("cannot start the threads that read packages")?;
    let mut read = Vec::new();
    for batch in sources.chunks(BATCH) {
        let made: Vec<_> = pool.install(|| batch.par_iter().map(|source| reading.make(source)).collect());
        for (source, made) in batch.iter().zip(made) {
            match made {
                Ok(made) => {
                    if made.read {
                        read.push(format!("{}\n", source.relative));
                    }
                    shelf.put(made).context("cannot keep what the packages say")?;
                }
                Err(problem) => problems.push(problem),
            }
        }
    }
    Ok(read)
}

/// What was made of the packages, until it is known how many there are and which of them stay.
struct Shelf {
    spools: Vec<Spool>,
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
        let spools: Result<_, _> = (0..3 + usize::from(with_digests)).map(|_| Spool::new(scratch)).collect();
        let spools = spools.with_context(|| format!("cannot write to {}", scratch.display()))?;
        Ok(Self { spools, lots: Vec::new(), by_nevra: HashMap::new() })
    }

    fn put(&mut self, made: Made) -> std::io::Result<()> {
        let places: Result<_, _> =
            self.spools.iter_mut().zip(&made.texts).map(|(spool, text)| spool.append(text)).collect();
        self.by_nevra.entry(made.nevra).or_default().push(self.lots.len());
        self.lots.push(Lot { places: places?, href: made.href, build_time: made.build_time, dropped: false });
        Ok(())
    }

    /// Names packages that share a NEVRA, and drops all but the last of them where that was asked for.
    fn duplicates(&mut self, keep_last: bool, voice: Voice) {
        let mut several: Vec<_> = self.by_nevra.iter_mut().filter(|(_, lots)| lots.len() > 1).collect();
        several.sort();
        for (nevra, lots) in several {
            // The last is the one built last, and of those the one whose location comes last.
            lots.sort_by_key(|lot| (self.lots[*lot].build_time, &self.lots[*lot].href));
            voice.say(&format!(
                "Warning: Package '{nevra}' has duplicate metadata entries, only one should exist"
            ));
            for (i, lot) in lots.iter().enumerate() {
                let lot = &mut self.lots[*lot];
                lot.dropped = keep_last && i + 1 < lots.len();
                let note = if lot.dropped { " (not dumped, 'keep-last')" } else { "" };
                voice.say(&format!(
                    "Warning:     Sourced from location: '{}', build timestamp: {}{note}",
                    lot.href, lot.build_time
                ));
            }
        }
    }

    fn close(self) -> anyhow::Result<Stock> {
        let readers: Result<_, _> = self.spools.into_iter().map(Spool::into_reader).collect();
        let lots = self.lots.into_iter().filter(|lot| !lot.dropped).map(|lot| lot.places).collect();
        Ok(Stock { readers: readers.context("cannot keep what the packages say")?, lots })
    }
}

/// The texts of the packages that are published, in their order.
struct Stock {
    readers: Vec<SpoolReader>,
    lots: Vec<Vec<Place>>,
}

impl Stock {
    /// The packages' texts in one of the files.
    fn texts(&self, file: usize) -> impl Iterator<Item = anyhow::Result<String>> {
        self.lots.iter().map(move |places| Ok(String::from_utf8(self.readers[file].read(places[file])?)?))
    }

    fn write(&self, file: usize, sink: &mut dyn Write) -> anyhow::Result<()> {
        for places in &self.lots {
            sink.write_all(&self.readers[file].read(places[file])?)?;
        }
        Ok(())
    }
}

/// The files of the packages: each compressed by a thread of its own.
fn write_packages(
    workshop: &Workshop,
    stock: &Stock,
    plan: &Plan,
    style: &Style,
) -> anyhow::Result<Vec<Finished>> {
    let count = stock.lots.len() as u64;
    let mut parts: Vec<(&str, String, &str)> =
        MetadataType::ALL.map(|kind| (kind.as_str(), kind.preamble(count), kind.closing())).into();
    if stock.readers.len() > 3 {
        parts.push(("filelists-ext", filelists_ext::preamble(count), filelists_ext::CLOSING));
    }
    let codec: Codec = plan.packages_codec;
    std::thread::scope(|scope| {
        let threads: Vec<_> = parts
            .iter()
            .enumerate()
            .map(|(file, (kind, preamble, closing))| {
                scope.spawn(move || {
                    workshop.write(kind, &format!("{kind}.xml"), codec, style, |sink| {
                        sink.write_all(preamble.as_bytes())?;
                        stock.write(file, sink)?;
                        Ok(sink.write_all(closing.as_bytes())?)
                    })
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread that compresses has failed")))
            })
            .collect()
    })
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
