//! yum/dnf metadata: rendering, joining, naming. Formats take a sink, not a path.

pub mod filelists;
pub mod fragment;
pub mod other;
pub mod primary;
pub mod xml;

pub use fragment::{Entry, Fragments, RenderOptions};
