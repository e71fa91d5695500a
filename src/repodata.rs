//! yum/dnf metadata: rendering, joining, naming. Formats take a sink, not a path.

pub mod additional;
pub mod blocks;
pub mod chunk;
pub mod codec;
pub mod compression;
pub mod element;
pub mod encoding;
pub mod error;
pub mod filelists;
pub mod filelists_ext;
pub mod fragment;
pub mod groups;
pub mod join;
pub mod modules;
pub mod other;
mod outline;
pub mod primary;
pub mod read;
pub mod repomd;
mod requires;
pub mod superseded;
pub mod turn;
pub mod updateinfo;
pub mod wellformed;
pub mod xml;
mod yaml;
pub mod zchunk;

pub use chunk::{Part, Pieces, Span};
pub use codec::Codec;
pub use compression::{Compression, Effort};
pub use error::FormatError;
pub use fragment::{Entry, Fragments, RenderOptions};
pub use modules::Modules;
pub use repomd::{KINDS, MetadataType, Record, Repomd, Tags};
pub use superseded::Superseded;
