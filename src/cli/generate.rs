//! `generate`: man pages and completions, made from the command line itself, for those who package it.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _, Subcommand};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::failure::{Exit, Failure};
use super::{Cli, compat, load};

/// The file that explains every setting is also its manual page.
const SETTINGS: &str = include_str!("../../etc/createrepod.toml");

#[derive(Debug, Subcommand)]
pub enum Generate {
    /// createrepod(1), one page for each command, createrepod.toml(5), and createrepo_c(8) and its sisters.
    Man {
        /// Where they are written; made if it is missing.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// For bash, zsh and fish, under the names these look for.
    Completions {
        /// Where they are written; made if it is missing.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

impl Generate {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (directory, outcome) = match &self {
            Self::Man { directory } => (directory, man(directory)),
            Self::Completions { directory } => (directory, completions(directory)),
        };
        outcome.map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot write into {}: {error}", directory.display()))
        })
    }
}

fn man(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut root = Cli::command();
    root.build();
    pages(&root, "createrepod", "1", &mut |name, page| {
        std::fs::write(directory.join(format!("{name}.1")), page)
    })?;
    // Under their own names, in the section where createrepo_c has them.
    for mut command in compat::commands() {
        command.build();
        let name = command.get_name().to_owned();
        let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let command = command.after_help(format!("{examples}\n\n{EXIT_CODES}"));
        pages(&command, &name, "8", &mut |name, page| {
            std::fs::write(directory.join(format!("{name}.8")), page)
        })?;
    }
    for (older, command) in compat::older_names() {
        std::fs::write(directory.join(format!("{older}.8")), format!(".so man8/{command}.8\n"))?;
    }
    std::fs::write(directory.join("createrepod.toml.5"), settings()?)
}

const EXIT_CODES: &str = "\
Exit codes:
  0   all went well
  1   wrong usage, or nothing could be written
  2   the metadata were written, but some packages could not be read";

/// The page of a command and, below it, of its commands; `git-log`, not `git log`.
fn pages(
    command: &Command,
    name: &str,
    manual_section: &str,
    write: &mut dyn FnMut(&str, Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    let page = Man::new(command.clone())
        .title(name.to_uppercase())
        .section(manual_section)
        .source(concat!("createrepod ", env!("CARGO_PKG_VERSION")))
        .manual("createrepod");
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if command.get_subcommands().any(|below| !below.is_hide_set()) {
        page.render_subcommands_section(&mut text)?;
    }
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut more = Roff::new();
    after.split("\n\n").filter(|part| !part.is_empty()).for_each(|part| section(part, &mut more));
    more.control("SH", ["SEE ALSO"]);
    more.text([bold("createrepod"), roman("(1), "), bold("createrepod.toml"), roman("(5)")]);
    more.to_writer(&mut text)?;
    write(name, text)?;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        pages(below, &format!("{name}-{}", below.get_name()), manual_section, write)?;
    }
    Ok(())
}

/// What --help shows below the options, such as `Examples:` with its lines: as it stands, under a heading.
fn section(part: &str, page: &mut Roff) {
    let (title, rest) = part.split_once(':').unwrap_or(("Notes", part));
    let title = title.split(',').next().unwrap_or(title);
    page.control("SH", [title.to_uppercase().as_str()]);
    page.control("nf", []);
    for line in rest.lines().filter(|line| !line.trim().is_empty()) {
        page.text([roman(line.strip_prefix("  ").unwrap_or(line.trim_start()))]);
    }
    page.control("fi", []);
}

/// createrepod.toml(5).
fn settings() -> io::Result<Vec<u8>> {
    let mut page = Roff::new();
    let source = concat!("createrepod ", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["CREATEREPOD.TOML", "5", "", source, "createrepod"]);
    page.control("SH", ["NAME"]);
    page.text([roman("createrepod.toml - which directories of RPMs are served, and how")]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([bold(load::DEFAULT_FILE), roman(", "), bold("/etc/createrepod/repos.d/*.toml")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "TOML. Every setting follows with its default, commented out: a line that begins with \"#\" and no space.",
    )]);
    page.control("PP", []);
    page.control("nf", []);
    for line in SETTINGS.lines() {
        page.text([roman(line)]);
    }
    page.control("fi", []);
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("createrepod"), roman("(1), "), bold("createrepod-config-check"), roman("(1)")]);
    let mut text = Vec::new();
    page.to_writer(&mut text)?;
    Ok(text)
}

fn completions(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for (shell, name) in
        [(Shell::Bash, "createrepod"), (Shell::Zsh, "_createrepod"), (Shell::Fish, "createrepod.fish")]
    {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "createrepod", &mut script);
        std::fs::write(directory.join(name), script)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;

    /// Every command that people see, by the name of its page, with its options.
    fn options(command: &Command, name: &str, all: &mut BTreeMap<String, Vec<String>>) {
        let long = command.get_arguments().filter(|argument| !argument.is_hide_set());
        let long = long.filter_map(|argument| Some(format!("--{}", argument.get_long()?)));
        all.insert(name.to_owned(), long.collect());
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            options(below, &format!("{name}-{}", below.get_name()), all);
        }
    }

    fn visible() -> BTreeMap<String, Vec<String>> {
        let mut root = Cli::command();
        root.build();
        let mut all = BTreeMap::new();
        options(&root, "createrepod", &mut all);
        assert!(all["createrepod-serve"].iter().any(|option| option == "--listen"), "{all:?}");
        assert!(!all.keys().any(|name| name.starts_with("createrepod-generate")), "that one is hidden");
        all
    }

    #[test]
    fn every_command_has_a_page_and_every_option_stands_on_it() {
        let place = tempfile::tempdir().unwrap();
        man(place.path()).unwrap();
        for (name, options) in visible() {
            let page = fs::read_to_string(place.path().join(format!("{name}.1"))).unwrap();
            let plain = page.replace('\\', "");
            for option in options {
                assert!(plain.contains(&option), "{name}(1) lacks {option}:\n{page}");
            }
            assert!(!plain.contains(".SH EXTRA"), "{name}(1)");
        }
        let page = fs::read_to_string(place.path().join("createrepod-serve.1")).unwrap().replace("\\-", "-");
        assert!(page.contains(".SH EXAMPLES\n.nf\ncreaterepod serve ./rpm\n"), "{page}");
        assert!(page.contains(".SH ENVIRONMENT\n"), "{page}");
        let count = fs::read_dir(place.path()).unwrap().count();
        assert_eq!(
            count,
            visible().len() + 1 + compat::commands().len() + compat::older_names().count(),
            "one page for each command, createrepod.toml(5), and createrepo_c's"
        );
    }

    #[test]
    fn createrepo_c_s_commands_have_pages_of_their_own() {
        let place = tempfile::tempdir().unwrap();
        man(place.path()).unwrap();
        for command in compat::commands() {
            let name = command.get_name();
            let page = fs::read_to_string(place.path().join(format!("{name}.8"))).unwrap().replace('\\', "");
            let mut all = BTreeMap::new();
            options(&command, name, &mut all);
            assert!(all[name].len() > 6, "{all:?}");
            for option in &all[name] {
                assert!(page.contains(option), "{name}(8) lacks {option}:\n{page}");
            }
            assert!(
                page.contains(".SH \"EXIT CODES\"\n")
                    && page.contains(&format!(".TH {} 8 ", name.to_uppercase())),
                "{page}"
            );
        }
    }

    #[test]
    fn every_setting_stands_in_its_page() {
        let page = String::from_utf8(settings().unwrap()).unwrap().replace("\\-", "-");
        for line in SETTINGS.lines().filter_map(|line| line.strip_prefix('#')) {
            if let Some((key, _)) = line.split_once(" = ") {
                assert!(page.contains(&format!("#{key} = ")), "{key}");
            }
        }
    }

    #[test]
    fn every_shell_completes_every_command_and_option() {
        let place = tempfile::tempdir().unwrap();
        completions(place.path()).unwrap();
        for (file, dashes) in [("createrepod", "--"), ("_createrepod", "--"), ("createrepod.fish", "-l ")] {
            let script = fs::read_to_string(place.path().join(file)).unwrap();
            for (name, options) in visible() {
                let last = name.rsplit('-').next().unwrap();
                assert!(script.contains(last), "{file} lacks {name}");
                for option in options {
                    let option = option.replace("--", dashes);
                    assert!(script.contains(&option), "{file} lacks {option} of {name}");
                }
            }
            // Where there are a few words to choose from, they are offered, and not the files of the directory.
            for words in ["read write delete admin", "zstd gzip el7 el6", "never inside anywhere"] {
                assert!(words.split(' ').all(|word| script.contains(word)), "{file} lacks {words}");
            }
        }
    }
}
