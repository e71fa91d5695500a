//! The configuration: validated, every value in its real type. Each room is given its own part.

pub mod access;
mod additional;
mod clash;
pub mod covered;
mod door;
pub mod file;
pub mod problem;
pub mod resolve;
mod section;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod value;
pub mod webhook;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use access::{AccessConfig, AuthorizerConfig, GrantConfig, ReadAccess, WhenDown, WriteAccess};
pub use additional::AdditionalMetadata;
pub use covered::Covered;

use crate::package::{ChecksumType, Verify};
use crate::repodata::{Codec, Compression, MetadataType, RenderOptions};
pub use door::{AccessLog, LimitsConfig, Listen, TlsConfig};
pub use webhook::{WebhookConfig, WebhookEvent, WebhookFormat, WebhookUrl};

/// Everything the daemon was told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    pub server: ServerConfig,
    pub access: AccessConfig,
    /// Who is told when something needs a person.
    pub webhooks: Vec<WebhookConfig>,
    /// Sorted by name; names and URL prefixes are unique, and no path lies inside another's.
    pub repositories: Vec<RepositoryConfig>,
    /// Trees whose directories become repositories, by name.
    pub trees: Vec<tree::TreeConfig>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    pub listen: Vec<Listen>,
    /// For generated .repo files; ends in `/`. `None`: the listening address.
    pub base_url: Option<String>,
    /// Largest upload in bytes.
    pub max_upload: u64,
    /// For the `https://` ones of `listen`.
    pub tls: Option<TlsConfig>,
    pub access_log: AccessLog,
    /// The socket for the commands of this program; `None`: none.
    pub control: Option<PathBuf>,
    pub limits: LimitsConfig,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: vec![Listen::Http(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)))],
            base_url: None,
            max_upload: 2 << 30,
            tls: None,
            access_log: AccessLog::Off,
            control: Some(PathBuf::from("/run/createrepod/control.sock")),
            limits: LimitsConfig::default(),
        }
    }
}

/// One repository: a directory of RPMs with its own settings.
#[derive(Debug, Clone, PartialEq)]
pub struct RepositoryConfig {
    /// `[A-Za-z0-9][A-Za-z0-9._-]*`
    pub name: String,
    /// Absolute.
    pub path: PathBuf,
    /// Where `repodata/` and `.createrepod/` lie instead of in the tree, which is then never written to.
    pub metadata_dir: Option<PathBuf>,
    /// Decoded, begins and ends with `/`: `/el/9/x86_64/`.
    pub url: String,
    /// Its directories at whose URLs other repositories are served; see [`covered::mark`].
    pub covered: Vec<Covered>,
    /// Where its catalog and pieces lie.
    pub state_dir: PathBuf,
    pub read: ReadAccess,
    pub write: WriteAccess,
    /// How long a batch that nothing is added to waits for its commit.
    pub batch_life: Duration,
    pub accept: Accept,
    pub overwrite: Overwrite,
    pub verify: Verify,
    /// The directory of public keys that `verify = "signature"` holds signatures against.
    pub keyring: Option<PathBuf>,
    pub metadata: MetadataProfile,
    pub checksum: ChecksumType,
    /// Whether metadata that others have made are taken over at the first start.
    pub adopt: bool,
    /// Whether filelists-ext.xml is published too.
    pub filelists_ext: bool,
    /// Whether zchunk files are published too; only where the others are zstd.
    pub zchunk: bool,
    pub additional_metadata: AdditionalMetadata,
    /// `None`: all entries (`-1` in the file).
    pub changelog_limit: Option<usize>,
    pub symlinks: Symlinks,
    pub rescan: Duration,
    /// How often every package is read again; `None`: never.
    pub verify_every: Option<Duration>,
    pub settle: Duration,
    pub settle_max: Duration,
    pub grace: Duration,
    pub grace_space: Space,
    /// Who signs repomd.xml; `None`: nobody.
    pub sign: Option<SignConfig>,
    /// Applied to 0666 for files and 0777 for directories that uploads create.
    pub umask: u32,
}

impl RepositoryConfig {
    /// The repository `name` at `path` (absolute), every setting at its default, its state inside the tree.
    pub fn new(name: &str, path: impl Into<PathBuf>) -> Self {
        const HOUR: u64 = 3600;
        let path = path.into();
        Self {
            name: name.to_owned(),
            url: format!("/{name}/"),
            state_dir: path.join(".createrepod/state"),
            path,
            metadata_dir: None,
            covered: Vec::new(),
            read: ReadAccess::Anyone,
            write: WriteAccess::Off,
            batch_life: Duration::from_secs(HOUR),
            accept: Accept::Packages,
            overwrite: Overwrite::Same,
            verify: Verify::Digest,
            keyring: None,
            metadata: MetadataProfile::Zstd,
            checksum: ChecksumType::Sha256,
            adopt: true,
            filelists_ext: false,
            zchunk: false,
            additional_metadata: AdditionalMetadata::default(),
            changelog_limit: Some(10),
            symlinks: Symlinks::Inside,
            rescan: Duration::from_secs(HOUR),
            verify_every: Some(Duration::from_secs(7 * 24 * HOUR)),
            settle: Duration::from_secs(2),
            settle_max: Duration::from_secs(600),
            grace: Duration::from_secs(48 * HOUR),
            grace_space: Space::Percent(10),
            sign: None,
            umask: 0o022,
        }
    }

    pub fn render_options(&self) -> RenderOptions {
        RenderOptions { changelog_limit: self.changelog_limit, filelists_ext: self.filelists_ext }
    }

    /// The metadata files that say something of every package.
    pub fn kinds(&self) -> &'static [MetadataType] {
        if self.filelists_ext { &MetadataType::EVERY } else { &MetadataType::ALL }
    }

    /// `<path>/repodata`, unless the tree is read-only.
    pub fn repodata_dir(&self) -> PathBuf {
        self.written().join("repodata")
    }

    /// `<path>/.createrepod`, holding `lock`, `incoming` and `kept`, unless the tree is read-only.
    pub fn private_dir(&self) -> PathBuf {
        self.written().join(".createrepod")
    }

    /// The directory that holds `repodata/` and `.createrepod/`.
    pub fn written(&self) -> &std::path::Path {
        self.metadata_dir.as_ref().unwrap_or(&self.path)
    }
}

/// Who makes the signature of repomd.xml.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignConfig {
    /// A secret key in a file, and the file that holds its passphrase if it has one.
    Key { key: PathBuf, passphrase: Option<PathBuf> },
    /// A command that is given the bytes on standard input and writes an armored detached signature;
    /// it is held against the public key in this file.
    Command { command: Vec<String>, public_key: PathBuf, timeout: Duration },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accept {
    /// `*.rpm`, and the files that hold additional metadata.
    Packages,
    Any,
}

/// What happens to an upload whose name is taken. Concerns `.rpm` names only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    Deny,
    /// Identical bytes are fine, others are refused.
    Same,
    Allow,
}

/// What the clients of a repository can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataProfile {
    Zstd,
    Gzip,
    /// Gzip, SQLite databases, groups in plain text.
    El7,
    /// The same, and nothing in it is compressed with xz, whoever made it.
    El6,
}

impl MetadataProfile {
    pub fn compression(self) -> Compression {
        match self {
            Self::Zstd => Compression::Zstd,
            Self::Gzip | Self::El7 | Self::El6 => Compression::Gzip,
        }
    }

    /// Whether yum's SQLite databases are made too.
    pub fn has_databases(self) -> bool {
        matches!(self, Self::El7 | Self::El6)
    }

    /// Whether all its clients read files of this compression. yum on EL6 knows no xz; zstd came with EL 8.4
    /// and SUSE 15, and zchunk is zstd inside.
    pub fn reads(self, codec: Codec) -> bool {
        match codec {
            Codec::None | Codec::Gzip | Codec::Bzip2 => true,
            Codec::Xz => self != Self::El6,
            Codec::Zstd | Codec::Zchunk => self == Self::Zstd,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symlinks {
    Never,
    /// Followed when the target lies inside the repository.
    Inside,
    Anywhere,
}

/// What becomes of a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leads {
    Followed,
    /// Left out without a word: links are not followed, or it leads to what is reserved.
    Nowhere,
    /// It leads out of the repository, which the administrator may not have meant.
    Outside,
}

impl Symlinks {
    /// The links that a client who reads is led through. `never` is about what is listed and written: a link to another file of the
    /// repository, such as `hello-latest.rpm`, can be fetched.
    pub fn for_readers(self) -> Self {
        match self {
            Self::Never | Self::Inside => Self::Inside,
            Self::Anywhere => Self::Anywhere,
        }
    }

    /// What the rule says of a link to `target` in the repository at `root`, both free of links.
    pub fn leads(self, root: &std::path::Path, target: &std::path::Path) -> Leads {
        match (self, target.strip_prefix(root)) {
            (Self::Never, _) => Leads::Nowhere,
            // Through a link, too, nobody sees staged uploads, kept packages or metadata as packages.
            (_, Ok(inside)) if is_reserved(inside) => Leads::Nowhere,
            (_, Ok(_)) | (Self::Anywhere, Err(_)) => Leads::Followed,
            (Self::Inside, Err(_)) => Leads::Outside,
        }
    }
}

/// Whether a path inside a repository is the daemon's own. Other hidden directories may be meant: a pool of packages to which
/// links lead, a release that a link is switched to.
fn is_reserved(inside: &std::path::Path) -> bool {
    let is_ours = |part: &std::ffi::OsStr| part.as_encoded_bytes().starts_with(b".createrepod");
    inside.starts_with("repodata") || inside.iter().any(is_ours)
}

/// An amount of disk: of the file system's size, or absolute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    Percent(u8),
    Bytes(u64),
}
