//! defaults < file < environment < argv, remembering where each value came from.

mod access;
mod webhook;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::clash::{refuse_clashes, refuse_tree_clashes};
use super::covered;
use super::file::{self, ConfigFile, Kind, LimitsSection, Part, RepositorySection, ServerSection, Set};
use super::problem::{Origin, Problems};
use super::tree::TreeConfig;
use super::value::{self, Choice};
use super::{
    AccessLog, AdditionalMetadata, Config, LimitsConfig, Listen, RepositoryConfig, ServerConfig, SignConfig,
    TlsConfig, WriteAccess,
};
use crate::package::Verify;

/// Where state lies unless told otherwise.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/createrepod";

const LISTEN: &str = "CREATEREPOD_LISTEN";
const BASE_URL: &str = "CREATEREPOD_BASE_URL";
const MAX_UPLOAD: &str = "CREATEREPOD_MAX_UPLOAD";
const ACCESS_LOG: &str = "CREATEREPOD_ACCESS_LOG";
pub const CONTROL: &str = "CREATEREPOD_CONTROL";
/// Where systemd puts what LoadCredential= names.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// Where that is for the daemon, as others see it.
pub const CREDENTIALS_OF_UNIT: &str = "/run/credentials/createrepod.service";
const STATE_DIR: &str = "CREATEREPOD_STATE_DIR";

/// What surrounds the files: asked through functions, so that tests need no process and no disk.
pub struct Surroundings<'a> {
    /// An environment variable's value.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// A path with its symbolic links resolved as far as it exists: two names of one directory clash.
    pub canonical: &'a dyn Fn(&Path) -> PathBuf,
    /// `--listen`; empty when not given.
    pub listen: &'a [Listen],
    /// Whether this process serves, and so is given what LoadCredential= names. Others, such as `config check`, are not.
    pub serves: bool,
}

/// A file's name and text.
pub struct Source {
    pub file: PathBuf,
    pub text: String,
}

/// The configuration, and how each of its values came to be.
#[derive(Debug)]
pub struct Resolved {
    pub config: Config,
    pub settings: Vec<Setting>,
}

/// One value as `config show` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// `server`, `state`, `repository.NAME`
    pub table: String,
    pub key: &'static str,
    /// As TOML.
    pub value: String,
    pub origin: Origin,
}

/// Reads the files, lays the environment and the arguments over them, and checks the whole.
pub fn resolve(
    main: Option<&Source>,
    repositories: &[Source],
    surroundings: &Surroundings<'_>,
) -> Result<Resolved, Problems> {
    let mut problems = Problems::default();
    let mut written = ConfigFile::default();
    let mut all_read = true;
    if let Some(Source { file, text }) = main {
        all_read &= written.read(Part::Main, file, text, &mut problems);
    }
    for Source { file, text } in repositories {
        all_read &= written.read(Part::Repositories, file, text, &mut problems);
    }
    if !all_read {
        // What one file says of another's names would be wrong.
        return Err(problems.sorted());
    }
    let mut layers = Layers { settings: Vec::new(), surroundings, problems };
    let mut access = layers.access(&mut written.server);
    let server = layers.server(&mut written.server, written.limits);
    let state_dir = layers.state_dir(written.state_dir, Path::new(DEFAULT_STATE_DIR));
    access.state_dir = Some(state_dir.clone());
    access.grants = written.grants.into_iter().map(|section| layers.grant(section)).collect();
    access.authorizers = written.authorizers.into_iter().map(|section| layers.authorizer(section)).collect();
    let webhooks = written.webhooks.into_iter().filter_map(|section| layers.webhook(section)).collect();
    let mut repositories: Vec<_> = written
        .repositories
        .into_iter()
        .map(|section| (section.name.origin.clone(), layers.repository(section, &state_dir)))
        .collect();
    let mut trees: Vec<_> = written
        .trees
        .into_iter()
        .filter_map(|section| Some((section.name.origin.clone(), layers.tree(section, &state_dir)?)))
        .collect();
    let rules = repositories.iter().map(|(_, repository)| ("repository", repository));
    let rules = rules.chain(trees.iter().map(|(_, tree)| ("tree", &tree.template)));
    layers.refuse_unknown_authorizers(rules, &access.authorizers);
    let Layers { settings, mut problems, .. } = layers;
    let state_origin = settings.iter().find(|s| s.table == "state").map_or(&Origin::Default, |s| &s.origin);
    refuse_clashes(&repositories, (state_origin, &state_dir), surroundings.canonical, &mut problems);
    refuse_tree_clashes(
        &trees,
        &repositories,
        (state_origin, &state_dir),
        surroundings.canonical,
        &mut problems,
    );
    repositories.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
    let mut repositories: Vec<_> = repositories.into_iter().map(|(_, repository)| repository).collect();
    covered::mark(&mut repositories);
    trees.sort_by(|(_, a), (_, b)| a.template.name.cmp(&b.template.name));
    let trees = trees.into_iter().map(|(_, tree)| tree).collect();
    problems.or(Resolved { config: Config { server, access, webhooks, repositories, trees }, settings })
}

/// Zero configuration: `directory` (absolute) under its own name, written to by local clients only.
pub fn directory(directory: &Path, surroundings: &Surroundings<'_>) -> Result<Config, Problems> {
    let mut layers = Layers { settings: Vec::new(), surroundings, problems: Problems::default() };
    let mut server = layers.server(&mut ServerSection::default(), LimitsSection::default());
    let mut repository = RepositoryConfig::new(&name_of(directory), directory);
    repository.write = WriteAccess::Local;
    if (surroundings.environment)(CONTROL).is_none() {
        let socket = repository.private_dir().join("control.sock");
        // A longer one is no address; then nobody can ask.
        server.control = Some(socket).filter(|path| path.as_os_str().len() < 108);
    }
    if (surroundings.environment)(STATE_DIR).is_some() {
        let state = layers.state_dir(None, Path::new(DEFAULT_STATE_DIR));
        repository.state_dir = state.join("repositories").join(&repository.name);
    }
    layers.problems.or(Config { server, repositories: vec![repository], ..Config::default() })
}

/// A repository's name made of its directory's: what the alphabet of names lacks becomes `-`.
fn name_of(directory: &Path) -> String {
    let name = directory.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let name: String = name.chars().map(|c| if file::is_name_char(c) { c } else { '-' }).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    if file::name(name).is_err() { "rpm".into() } else { name.into() }
}

struct Layers<'a> {
    settings: Vec<Setting>,
    surroundings: &'a Surroundings<'a>,
    problems: Problems,
}

impl Layers<'_> {
    fn server(&mut self, section: &mut ServerSection, limits: LimitsSection) -> ServerConfig {
        let default = ServerConfig::default();
        let arguments = self.surroundings.listen;
        let argument = || Set { value: arguments.to_vec(), origin: Origin::Argument("--listen") };
        let listen = (!arguments.is_empty())
            .then(argument)
            .or_else(|| self.environment(LISTEN, listen_list))
            .or(section.listen.take());
        let listen = self.settle("server", "listen", listen, default.listen, |addresses| {
            let quoted: Vec<_> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
            format!("[{}]", quoted.join(", "))
        });
        if listen.is_empty() {
            self.complain("server", "listen", "listen: expected at least one ADDRESS:PORT");
        }
        // Port 0 is a new port each time, so it may stand there twice.
        let twice = listen.iter().enumerate().find(|(i, a)| listen[..*i].iter().any(|b| a.clashes(b)));
        if let Some((_, twice)) = twice {
            self.complain("server", "listen", format!("listen: {twice} stands there twice"));
        }
        let base_url = self.environment(BASE_URL, file::base_url).or(section.base_url.take());
        let base_url = self.settle("server", "base_url", base_url, String::new(), |url| quoted(url));
        let max_upload = self.environment(MAX_UPLOAD, value::parse_size).or(section.max_upload.take());
        let max_upload = self.settle("server", "max_upload", max_upload, default.max_upload, |bytes| {
            quoted(&value::spell_size(*bytes))
        });
        let tls = self.settle("server", "tls", section.tls.take(), None, |tls| {
            tls.as_ref().map_or("{}".into(), spell_tls)
        });
        let is_https = listen.iter().any(|listen| matches!(listen, Listen::Https(_)));
        if is_https && tls.is_none() {
            let what = "listen: https:// needs tls = { certificate = \"/…\", key = \"/…\" } in [server]";
            self.complain("server", "listen", what);
        }
        // Argument and environment may choose another door for this once, without undoing the file.
        let chosen = self.settings.iter().any(|setting| {
            setting.key == "listen" && matches!(setting.origin, Origin::Argument(_) | Origin::Environment(_))
        });
        if tls.is_some() && !is_https && !chosen {
            let what = "tls: no address of listen speaks it; write \"https://ADDRESS:PORT\" there";
            self.complain("server", "tls", what);
        }
        let access_log = self.environment(ACCESS_LOG, AccessLog::parse).or(section.access_log.take());
        let access_log = self
            .settle("server", "access_log", access_log, default.access_log, |log| quoted(&log.to_string()));
        let base_url = Some(base_url).filter(|url| !url.is_empty());
        let control = self.environment(CONTROL, file::socket_or_none).or(section.control.take());
        let usual = default.control.unwrap_or_default();
        let control =
            self.settle("server", "control", control, usual, |path| quoted(&path.to_string_lossy()));
        let control = Some(control).filter(|path| !path.as_os_str().is_empty());
        let limits = self.limits(limits);
        ServerConfig { listen, base_url, max_upload, tls, access_log, control, limits }
    }

    fn limits(&mut self, section: LimitsSection) -> LimitsConfig {
        let default = LimitsConfig::default();
        let number = ToString::to_string;
        let duration = |d: &Duration| quoted(&value::spell_duration(*d));
        let size = |bytes: &u64| quoted(&value::spell_size(*bytes));
        let header_size = default.header_size as u64;
        let limits = LimitsConfig {
            connections: self.settle(
                "limits",
                "connections",
                section.connections,
                default.connections,
                number,
            ),
            connections_per_address: self.settle(
                "limits",
                "connections_per_address",
                section.connections_per_address,
                default.connections_per_address,
                number,
            ),
            header_time: self.settle(
                "limits",
                "header_time",
                section.header_time,
                default.header_time,
                duration,
            ),
            header_size: self.settle("limits", "header_size", section.header_size, header_size, size)
                as usize,
            header_count: self.settle(
                "limits",
                "header_count",
                section.header_count,
                default.header_count,
                number,
            ),
            stall: self.settle("limits", "stall", section.stall, default.stall, duration),
            least_rate: self.settle("limits", "least_rate", section.least_rate, default.least_rate, size),
            idle: self.settle("limits", "idle", section.idle, default.idle, duration),
            stop: self.settle("limits", "stop", section.stop, default.stop, duration),
        };
        // The default is no promise; what was written is.
        if limits.connections_per_address > limits.connections
            && section_spoke(&self.settings, "connections_per_address")
        {
            self.complain(
                "limits",
                "connections_per_address",
                "connections_per_address must not be larger than connections (0: no bound of its own)",
            );
        }
        limits
    }

    fn state_dir(&mut self, written: Option<Set<PathBuf>>, default: &Path) -> PathBuf {
        let set = self.environment(STATE_DIR, file::absolute).or(written);
        self.settle("state", "dir", set, default.to_owned(), |dir| quoted(&dir.to_string_lossy()))
    }

    /// A tree without a usable pattern is reported already.
    fn tree(&mut self, mut section: RepositorySection, state_dir: &Path) -> Option<TreeConfig> {
        let Set { value: pattern, origin } = section.pattern.take()?;
        let name = section.name.value.clone();
        let table = title(Kind::Tree, &name);
        self.settle(&table, "pattern", Some(Set { value: pattern.clone(), origin }), pattern.clone(), |p| {
            quoted(p.text())
        });
        section.url.get_or_insert_with(|| Set {
            value: format!("/{name}/{}/", pattern.text()),
            origin: Origin::Default,
        });
        let template = self.repository(section, state_dir);
        if let Some(word) = pattern.words().find(|word| !template.url.contains(&format!("{{{word}}}"))) {
            self.complain(&table, "url", format!("url: {{{word}}} of the pattern is missing in it"));
        }
        Some(TreeConfig { pattern, template })
    }

    fn repository(&mut self, section: RepositorySection, state_dir: &Path) -> RepositoryConfig {
        let name = section.name.value;
        // Without a path its problem is already reported; an empty one clashes with nothing.
        let default = RepositoryConfig::new(&name, "");
        let table = title(section.kind, &name);
        let table = table.as_str();
        let choice = |name: &'static str| format!("\"{name}\"");
        let duration = |d: &Duration| quoted(&value::spell_duration(*d));
        let path = self.settle(table, "path", section.path, default.path, |p| quoted(&p.to_string_lossy()));
        let repository = RepositoryConfig {
            path: path.clone(),
            covered: Vec::new(),
            metadata_dir: Some(self.settle(
                table,
                "metadata_dir",
                section.metadata_dir,
                PathBuf::new(),
                |p| quoted(&p.to_string_lossy()),
            ))
            .filter(|dir| !dir.as_os_str().is_empty()),
            url: self.settle(table, "url", section.url, default.url, |url| quoted(url)),
            state_dir: state_dir.join("repositories").join(&name),
            read: self.settle(table, "read", section.read, default.read, |v| quoted(v.spell())),
            write: self.settle(table, "write", section.write, default.write, |v| quoted(v.spell())),
            batch_life: self.settle(table, "batch_life", section.batch_life, default.batch_life, duration),
            accept: self.settle(table, "accept", section.accept, default.accept, |v| choice(v.spell())),
            overwrite: self
                .settle(table, "overwrite", section.overwrite, default.overwrite, |v| choice(v.spell())),
            verify: self.settle(table, "verify", section.verify, default.verify, |v| choice(v.spell())),
            keyring: Some(self.settle(table, "keyring", section.keyring, PathBuf::new(), |path| {
                quoted(&path.to_string_lossy())
            }))
            .filter(|path| !path.as_os_str().is_empty()),
            metadata: self
                .settle(table, "metadata", section.metadata, default.metadata, |v| choice(v.spell())),
            checksum: self
                .settle(table, "checksum", section.checksum, default.checksum, |v| choice(v.spell())),
            filelists_ext: self.settle(
                table,
                "filelists_ext",
                section.filelists_ext,
                default.filelists_ext,
                ToString::to_string,
            ),
            zchunk: self.settle(table, "zchunk", section.zchunk, default.zchunk, ToString::to_string),
            adopt: self.settle(table, "adopt", section.adopt, default.adopt, ToString::to_string),
            additional_metadata: self
                .settle(
                    table,
                    "additional_metadata",
                    section.additional_metadata,
                    default.additional_metadata,
                    AdditionalMetadata::spell,
                )
                .in_repository(&path),
            changelog_limit: self.settle(
                table,
                "changelog_limit",
                section.changelog_limit,
                default.changelog_limit,
                |limit| limit.map_or("-1".into(), |limit| limit.to_string()),
            ),
            symlinks: self
                .settle(table, "symlinks", section.symlinks, default.symlinks, |v| choice(v.spell())),
            rescan: self.settle(table, "rescan", section.rescan, default.rescan, duration),
            verify_every: self.settle(
                table,
                "verify_every",
                section.verify_every,
                default.verify_every,
                |every| every.as_ref().map_or_else(|| quoted("never"), duration),
            ),
            settle: self.settle(table, "settle", section.settle, default.settle, duration),
            settle_max: self.settle(table, "settle_max", section.settle_max, default.settle_max, duration),
            grace: self.settle(table, "grace", section.grace, default.grace, duration),
            grace_space: self.settle(
                table,
                "grace_space",
                section.grace_space,
                default.grace_space,
                |space| quoted(&value::spell_space(*space)),
            ),
            umask: self.settle(table, "umask", section.umask, default.umask, |mask| {
                quoted(&value::spell_umask(*mask))
            }),
            sign: self.sign(table, section.sign),
            name,
        };
        if repository.settle > repository.settle_max {
            let spoken = |key| {
                self.settings.iter().any(|s| s.table == table && s.key == key && s.origin != Origin::Default)
            };
            let key = if spoken("settle") { "settle" } else { "settle_max" };
            self.complain(table, key, "settle must not be longer than settle_max");
        }
        if repository.zchunk && repository.metadata != super::MetadataProfile::Zstd {
            let why = "zchunk files are made of zstd frames: zchunk = true needs metadata = \"zstd\"";
            self.complain(table, "zchunk", why);
        }
        if repository.metadata_dir.is_some() && repository.write != WriteAccess::Off {
            self.complain(
                table,
                "metadata_dir",
                "metadata_dir is for a tree that is not written to; it needs write = \"off\"",
            );
        }
        if (repository.verify == Verify::Signature) != repository.keyring.is_some() {
            let (key, why) = match repository.keyring {
                None => ("verify", "verify = \"signature\" needs keyring = \"/directory/of/public/keys\""),
                Some(_) => ("keyring", "keyring is of no use without verify = \"signature\""),
            };
            self.complain(table, key, why);
        }
        if repository.rescan < Duration::from_secs(1) {
            self.complain(table, "rescan", "rescan: expected at least \"1s\"; an hour is usual");
        }
        repository
    }

    fn sign(&mut self, table: &str, set: Option<Set<SignConfig>>) -> Option<SignConfig> {
        let Set { value, origin } = set?;
        self.settings.push(Setting {
            table: table.to_owned(),
            key: "sign",
            value: spell_sign(&value),
            origin,
        });
        match value {
            SignConfig::Key { key, passphrase: Some(file) } if file.is_relative() => {
                let given = (self.surroundings.environment)(CREDENTIALS);
                let others = (!self.surroundings.serves).then(|| CREDENTIALS_OF_UNIT.to_owned());
                let Some(directory) = given.or(others) else {
                    let file = file.display();
                    self.complain(
                        table,
                        "sign",
                        format!(
                            "passphrase: {file:?} names a systemd credential, but there are none \
                         (LoadCredential={file}:/path in the service); a file is named by its whole path"
                        ),
                    );
                    return Some(SignConfig::Key { key, passphrase: None });
                };
                Some(SignConfig::Key { key, passphrase: Some(Path::new(&directory).join(file)) })
            }
            other => Some(other),
        }
    }

    fn environment<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Set<T>> {
        let text = (self.surroundings.environment)(name)?;
        let origin = Origin::Environment(name);
        match parse(&text) {
            Ok(value) => Some(Set { value, origin }),
            Err(message) => {
                self.problems.add(origin, message);
                None
            }
        }
    }

    /// What was set, or else the default; written down for `config show`.
    fn settle<T>(
        &mut self,
        table: &str,
        key: &'static str,
        set: Option<Set<T>>,
        default: T,
        spell: impl FnOnce(&T) -> String,
    ) -> T {
        let Set { value, origin } = set.unwrap_or(Set { value: default, origin: Origin::Default });
        self.settings.push(Setting { table: table.to_owned(), key, value: spell(&value), origin });
        value
    }

    /// Reports what is wrong with a value that was read well, where it came from.
    fn complain(&mut self, table: &str, key: &str, message: impl Into<String>) {
        let setting = self.settings.iter().rfind(|s| s.table == table && s.key == key);
        let origin = setting.map_or(Origin::Default, |setting| setting.origin.clone());
        self.problems.add(origin, message);
    }
}

/// `repository.NAME`, as TOML spells it.
fn title(kind: Kind, name: &str) -> String {
    access::table(kind.spell(), name)
}

fn section_spoke(settings: &[Setting], key: &str) -> bool {
    settings.iter().any(|s| s.table == "limits" && s.key == key && s.origin != Origin::Default)
}

fn spell_tls(tls: &TlsConfig) -> String {
    let path = |path: &Path| quoted(&path.to_string_lossy());
    let client = tls.client_ca.as_ref().map(|ca| format!(", client_ca = {}", path(ca))).unwrap_or_default();
    format!("{{ certificate = {}, key = {}{client} }}", path(&tls.certificate), path(&tls.key))
}

fn listen_list(text: &str) -> Result<Vec<Listen>, String> {
    text.split([',', ' ']).filter(|part| !part.is_empty()).map(value::parse_listen).collect()
}

fn spell_sign(sign: &SignConfig) -> String {
    let path = |path: &Path| quoted(&path.to_string_lossy());
    match sign {
        SignConfig::Key { key, passphrase: None } => format!("{{ key = {} }}", path(key)),
        SignConfig::Key { key, passphrase: Some(file) } => {
            format!("{{ key = {}, passphrase = {} }}", path(key), path(file))
        }
        SignConfig::Command { command, public_key, timeout } => {
            let words: Vec<_> = command.iter().map(|word| quoted(word)).collect();
            let timeout = quoted(&value::spell_duration(*timeout));
            format!(
                "{{ command = [{}], public_key = {}, timeout = {timeout} }}",
                words.join(", "),
                path(public_key)
            )
        }
    }
}

/// As a TOML basic string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
