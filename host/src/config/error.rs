//! What was wrong, where, and what to do: one line a mistake.
//!
//! These errors are read by the operator and by nothing else, so they are text with a place, not a tree of
//! causes. No value of a client property is ever part of one, since it may be a password.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a value came from. Ordered by precedence: a flag wins over the environment, that over the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody wrote it, or it concerns the configuration as a whole.
    Nowhere,
    /// A place in the configuration file.
    File {
        /// The file as it was named on the command line.
        name: Arc<Path>,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// An environment variable, by name.
    Environment(String),
    /// A flag or argument of the command line, as it is written there.
    Flag(String),
}

impl Origin {
    /// Where this value stands among others of the same key: the higher wins.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Nowhere => 0,
            Self::File { .. } => 1,
            Self::Environment(_) => 2,
            Self::Flag(_) => 3,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("configuration"),
            Self::File { name, line, column } => write!(f, "{}:{line}:{column}", name.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One mistake in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{at}: {message}")]
pub struct Error {
    at: Origin,
    message: String,
}

impl Error {
    pub(super) fn new(at: Origin, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }

    /// Where the mistake is.
    pub fn at(&self) -> &Origin {
        &self.at
    }

    /// What is wrong and what to do, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Why a configuration could not be loaded: at least one [`Error`], in the order of the file, then the
/// environment, then the flags. Displays as one line for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(Vec<Error>);

impl Errors {
    /// The mistakes, one by one.
    pub fn iter(&self) -> std::slice::Iter<'_, Error> {
        self.0.iter()
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// Gathers mistakes while the configuration is read, so that one run shows all that are independent.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Error>);

impl Findings {
    pub(super) fn add(&mut self, at: Origin, message: impl Into<String>) {
        self.0.push(Error::new(at, message));
    }

    /// Fails if anything was found so far.
    pub(super) fn check(&mut self) -> Result<(), Errors> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut found = std::mem::take(&mut self.0);
        found.sort();
        found.dedup();
        Err(Errors(found))
    }
}

/// The folder that relative paths written in the file start from.
pub(super) fn folder_of(file: &Path) -> PathBuf {
    file.parent().map(Path::to_path_buf).unwrap_or_default()
}
