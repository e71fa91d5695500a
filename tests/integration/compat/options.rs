//! Every option of every command has a case in the tables, and every option of createrepo_c's is one of ours.

use std::collections::BTreeSet;
use std::process::Command;

use createrepod::cli::compat::commands;

use super::cases::{self, Step};
use super::{merge, zchunk};
use crate::world::clients;

/// Options that no table can hold; their tests are named.
const ELSEWHERE: &[(&str, &str)] = &[
    // mergerepo_c 1.2.5 loses a file: `filelists_ext_is_merged_from_those_that_have_it`.
    ("mergerepo_c", "filelists-ext"),
];

/// The long names of the options in `arguments`.
fn used(command: &clap::Command, arguments: &[&str]) -> BTreeSet<String> {
    let long = |short: char| {
        let found = command.get_arguments().find(|argument| argument.get_short() == Some(short));
        found.and_then(|argument| argument.get_long()).map(str::to_owned)
    };
    let mut used = BTreeSet::new();
    for argument in arguments {
        if let Some(name) = argument.strip_prefix("--") {
            used.insert(name.split('=').next().unwrap().to_owned());
        } else if let Some(short) = argument.strip_prefix('-').and_then(|rest| rest.chars().next()) {
            used.extend(long(short));
        }
    }
    used
}

#[test]
fn every_option_has_a_case() {
    let mut lacking = Vec::new();
    for command in commands() {
        let name = command.get_name().to_owned();
        let steps = cases::CASES.iter().chain(merge::CASES).flat_map(|(_, steps)| *steps);
        let zchunk = zchunk::CASES.iter().copied().flatten().filter(|step| step[0] == name);
        let used: BTreeSet<String> = steps
            .filter_map(|step| match step {
                Step::Run(arguments) => Some(("createrepo_c", arguments)),
                Step::Merge(arguments) => Some(("mergerepo_c", arguments)),
                Step::Modify(arguments) => Some(("modifyrepo_c", arguments)),
                Step::Databases(arguments) => Some(("sqliterepo_c", arguments)),
                _ => None,
            })
            .filter(|(of, _)| *of == name)
            .flat_map(|(_, arguments)| used(&command, arguments))
            .chain(zchunk.clone().flat_map(|step| used(&command, step)))
            .collect();
        for option in command.get_arguments().filter_map(|argument| argument.get_long()) {
            if !used.contains(option) && !ELSEWHERE.contains(&(&*name, option)) && option != "help" {
                lacking.push(format!("{name} --{option}"));
            }
        }
    }
    assert!(lacking.is_empty(), "no case has {lacking:?}");
}

/// What `--help-all` of a command shows.
fn help(command: &mut Command) -> BTreeSet<String> {
    let text = clients::output(command.arg("--help-all"));
    let options = text.lines().filter_map(|line| {
        let at = line.trim_start();
        let (_, name) = at.starts_with('-').then(|| at.split_once("--")).flatten()?;
        Some(name.split(|c: char| !(c.is_alphanumeric() || c == '-')).next()?.to_owned())
    });
    options.filter(|name| !name.starts_with("help")).collect()
}

#[test]
fn every_option_of_createrepo_cs_is_one_of_ours() {
    for command in commands() {
        let name = command.get_name().to_owned();
        let ours: BTreeSet<String> =
            command.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned).collect();
        let found = [clients::createrepo_c(&name), clients::find(&name)];
        for theirs in found.into_iter().flatten() {
            let known = help(&mut Command::new(&theirs));
            assert!(known.len() > 5, "{}: {known:?}", theirs.display());
            let lacking: Vec<_> = known.difference(&ours).collect();
            assert!(lacking.is_empty(), "{} knows {lacking:?}", theirs.display());
        }
    }
}
