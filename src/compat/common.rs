//! Options that several of the commands have, with one meaning.

use std::path::PathBuf;

use clap::Args;

/// The names of metadata files.
#[derive(Debug, Clone, Default, Args)]
pub struct Names {
    /// Put the checksum into the names of metadata files (default).
    #[arg(long)]
    pub unique_md_filenames: bool,
    /// Do not put the checksum into the names of metadata files.
    #[arg(long)]
    pub simple_md_filenames: bool,
}

impl Names {
    pub fn unique(&self) -> bool {
        !self.simple_md_filenames
    }
}

/// zchunk files beside the others.
#[derive(Debug, Clone, Default, Args)]
pub struct Zchunk {
    /// Make zchunk files too, for clients that fetch only what has changed.
    #[arg(long)]
    pub zck: bool,
    /// A directory with dictionaries for zchunk files: primary.xml.zdict and so on; only with --zck.
    #[arg(long, value_name = "DIR")]
    pub zck_dict_dir: Option<PathBuf>,
}

impl Zchunk {
    /// Says what does not go together.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.zck_dict_dir.is_some() && !self.zck {
            anyhow::bail!("Cannot use --zck-dict-dir without setting --zck");
        }
        Ok(())
    }
}

/// SQLite databases.
#[derive(Debug, Clone, Default, Args)]
pub struct Databases {
    /// Make SQLite databases too, for yum.
    #[arg(short, long, overrides_with = "no_database")]
    pub database: bool,
    /// Make no SQLite databases (default).
    #[arg(long)]
    pub no_database: bool,
}
