//! What is wrong with a configuration, and where: all of it at once.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// A line of a file, counted from 1; 0 for the file as a whole.
    File {
        file: Arc<PathBuf>,
        line: usize,
    },
    /// An environment variable.
    Environment(&'static str),
    /// A command line option.
    Argument(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line: 0 } => write!(f, "{}", file.display()),
            Self::File { file, line } => write!(f, "{}:{line}", file.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Argument(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong: where, what, and what was expected instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub origin: Origin,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

/// Everything that is wrong, in the order of files and lines. Never empty when it is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    pub fn add(&mut self, origin: Origin, message: impl Into<String>) {
        self.0.push(Problem { origin, message: message.into() });
    }

    /// `value`, unless something was wrong.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self.sorted()) }
    }

    /// In the order of files and lines.
    pub fn sorted(mut self) -> Self {
        // Stable: files in the order they were read, lines in order, the rest after them.
        let mut files: Vec<Arc<PathBuf>> = Vec::new();
        for problem in &self.0 {
            if let Origin::File { file, .. } = &problem.origin
                && !files.contains(file)
            {
                files.push(file.clone());
            }
        }
        self.0.sort_by_key(|problem| match &problem.origin {
            Origin::File { file, line } => (files.iter().position(|f| f == file), *line),
            Origin::Default | Origin::Environment(_) | Origin::Argument(_) => (Some(usize::MAX), 0),
        });
        self
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => one.fmt(f),
            many => {
                write!(f, "{} errors", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for Problems {}
