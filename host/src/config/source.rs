//! What a configuration is loaded from: a file, the environment, flags.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::host::Listen;
use super::pipeline::{Ordering, Start};

/// The file, the environment and the flags of one start. Nothing is read from the process itself: who calls
/// hands in the environment, so that a test owns it.
pub struct Source {
    pub(super) file: Option<SourceFile>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) overrides: Overrides,
}

pub(super) enum SourceFile {
    Path(PathBuf),
    Text { name: PathBuf, text: String },
}

impl Source {
    /// A source with no file and no flags. `environment` is all variables, as from [`std::env::vars`]; a
    /// variable that is no Unicode cannot be one of ours and is best left out (`vars` panics on it).
    pub fn new(environment: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { file: None, environment: environment.into_iter().collect(), overrides: Overrides::default() }
    }

    /// With a configuration file, which is read when the configuration is loaded.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(SourceFile::Path(path.into()));
        self
    }

    /// With the text of a configuration file. `name` is what errors call it, and its folder is where relative
    /// paths in it start.
    #[must_use]
    pub fn text(mut self, name: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        self.file = Some(SourceFile::Text { name: name.into(), text: text.into() });
        self
    }

    /// With flags.
    #[must_use]
    pub fn overrides(mut self, overrides: Overrides) -> Self {
        self.overrides = overrides;
        self
    }

    pub(super) fn file_name(&self) -> Option<&Path> {
        match self.file.as_ref()? {
            SourceFile::Path(name) | SourceFile::Text { name, .. } => Some(name),
        }
    }
}

/// What the command line says. Wins over the environment and the file. Holds no `Debug`: `set` may carry a
/// password.
#[derive(Clone, Default)]
pub struct Overrides {
    /// `--brokers`: the clients' `bootstrap.servers`.
    pub brokers: Option<String>,
    /// `--embedded-broker`: no address is needed, and what file and environment say about it does not count;
    /// the caller gives it with [`Config::set_brokers`](super::Config::set_brokers) once the broker stands.
    pub embedded_broker: bool,
    /// `--listen`: where the HTTP server listens, if at all.
    pub listen: Option<Listen>,
    /// `--set key=value`, in order: any key of the file with its path, such as `host.workers`,
    /// `kafka.client.id`, `pipeline.access-log.limits.fuel`. With one pipeline its name may be left out.
    pub set: Vec<(String, String)>,

    /// The argument `HANDLER`: describes one pipeline without a file. The keys below complete it, and are
    /// refused together with a file.
    pub handler: Option<PathBuf>,
    /// `--name`. Without it: the handler's file name without its ending.
    pub name: Option<String>,
    /// `--input`.
    pub input: Vec<String>,
    /// `--output`.
    pub outputs: Vec<String>,
    /// `--group`.
    pub group: Option<String>,
    /// `--ordering`.
    pub ordering: Option<Ordering>,
    /// `--start`.
    pub start: Option<Start>,
    /// `--dead-letter-topic`.
    pub dead_letter_topic: Option<String>,
}
