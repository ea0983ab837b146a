//! The corpus of handlers that misbehave: what each does, and what the host makes of it.
//!
//! It is data. A [`Case`] is one way in which one handler of `examples-wasm/hostile` does harm, with the [`Fate`] that
//! the host has for it. Cases that run are in [`GROUPS`]: those of a group are pipelines of one host, with a well-behaved
//! neighbour beside them ([`beside`]). Cases that no host runs are in [`REFUSED`]. The end-to-end tests run both, and
//! the table of `docs/SECURITY.md` is made of both ([`table`]).
//!
//! Unless its fate says otherwise, a handler misbehaves only on marked records. So all others can be held to coming
//! out untouched, those of its own batch included.

pub mod beside;
pub mod modules;
pub mod refused;
mod running;
pub mod table;

pub use refused::REFUSED;
pub use running::GROUPS;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::guests::{guest, text_guest};
use crate::host::Home;

/// Names and values, as a table of the configuration has them.
pub type Settings = &'static [(&'static str, &'static str)];

/// One way to do harm.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its folder in `examples-wasm/hostile`.
    pub folder: &'static str,
    /// What it does, as a sentence without a subject.
    pub does: &'static str,
    /// What the host makes of it.
    pub fate: Fate,
    /// The module.
    pub module: Module,
    /// What the handler reads. It says which of its ways a handler goes.
    pub config: Settings,
    /// Limits that are not the defaults, their values as TOML has them.
    pub limits: Settings,
    /// Keys of `[host]`. Only for what is refused: those that run share a host.
    pub host: Settings,
    /// What it is granted beyond the log: tables of the pipeline, their keys, and values as TOML has them.
    pub grants: &'static [(&'static str, &'static str, &'static str)],
    /// The value of a marked record.
    pub mark: &'static str,
}

/// Where a module comes from.
#[derive(Debug, Clone, Copy)]
pub enum Module {
    /// The crate in the folder, as a component.
    Crate,
    /// The text in the folder. Such a handler emits nothing: what it does not fail on is done.
    Text,
    /// A function, because the file would be large, or is another one with a fault. What the folder holds says how.
    Made(fn() -> Vec<u8>),
}

/// What the host makes of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Each marked record fails with this outcome. All others are done.
    Marked(&'static str),
    /// Each record with an odd offset fails with this outcome. All others are done.
    Odd(&'static str),
    /// Records fail with this outcome for what was before them. All are done by another instance.
    Again(&'static str),
    /// No record fails: what is too much is cut, and the records are as good as any.
    Nothing,
    /// From some moment on no instance starts: every record fails, until a handler is deployed that does start.
    EveryStart,
    /// It is no handler of this host: `run`, `check` and `inspect` refuse it with these words.
    Refused(&'static [&'static str]),
    /// Compiling takes more than the host allows: `run` and `check` refuse it with these words. Where `inspect`, which has
    /// the default limits, would take a minute to say the same, it is not asked.
    TooDear(&'static [&'static str]),
    /// It does not start: `run` and `check` refuse it with these words, and `inspect` shows why.
    DoesNotStart(&'static [&'static str]),
}

/// Cases that are pipelines of one host.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// What they have in common.
    pub name: &'static str,
    /// `limits.memory` of its pipelines, in MiB.
    pub memory: u64,
    /// `host.guest_memory`, in MiB: as much as the group needs, since it is the larger part of the bound.
    pub guest_memory: u64,
    /// Its pipelines, the neighbour aside.
    pub cases: &'static [Case],
}

/// A case of a crate; everything else at its default.
const fn case(folder: &'static str, does: &'static str, fate: Fate) -> Case {
    Case {
        folder,
        does,
        fate,
        module: Module::Crate,
        config: &[],
        limits: &[],
        host: &[],
        grants: &[],
        mark: "!harm",
    }
}

impl Case {
    const fn config(self, config: Settings) -> Self {
        Self { config, ..self }
    }

    const fn limits(self, limits: Settings) -> Self {
        Self { limits, ..self }
    }

    const fn host(self, host: Settings) -> Self {
        Self { host, ..self }
    }

    const fn grants(self, grants: &'static [(&'static str, &'static str, &'static str)]) -> Self {
        Self { grants, ..self }
    }

    const fn text(self) -> Self {
        Self { module: Module::Text, ..self }
    }

    const fn made(self, module: fn() -> Vec<u8>) -> Self {
        Self { module: Module::Made(module), ..self }
    }

    const fn mark(self, mark: &'static str) -> Self {
        Self { mark, ..self }
    }

    /// Its name for people: the folder, and the way that its config chooses.
    #[must_use]
    pub fn name(&self) -> String {
        let ways: Vec<_> = self.config.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        if ways.is_empty() {
            self.folder.to_owned()
        } else {
            format!("{} ({})", self.folder, ways.join(", "))
        }
    }

    /// Its module as a file.
    ///
    /// # Panics
    /// When the handlers were not built.
    #[must_use]
    pub fn file(&self, home: &Home) -> PathBuf {
        let name = format!("{}.wasm", self.folder);
        match self.module {
            Module::Crate => guest(&format!("hostile_{}", self.folder.replace('-', "_"))),
            Module::Text => home.file(&name, text_guest(self.folder)),
            Module::Made(make) => home.file(&name, make()),
        }
    }

    /// Whether it emits the records that it does not fail on.
    #[must_use]
    pub fn emits(&self) -> bool {
        matches!(self.module, Module::Crate)
    }
}

impl Fate {
    /// The outcome that metrics and dead letters record, if it is one.
    #[must_use]
    pub fn outcome(self) -> Option<&'static str> {
        match self {
            Self::Marked(outcome) | Self::Odd(outcome) | Self::Again(outcome) => Some(outcome),
            Self::EveryStart => Some("initialization_failed"),
            Self::Nothing | Self::Refused(_) | Self::TooDear(_) | Self::DoesNotStart(_) => None,
        }
    }

    /// It as the tables of the documentation say it.
    #[must_use]
    pub fn shown(self) -> String {
        match (self, self.outcome()) {
            (Self::Again(outcome), _) => format!("`{outcome}`, then done"),
            (_, Some(outcome)) => format!("`{outcome}`"),
            (Self::Nothing, _) => "none".to_owned(),
            (Self::DoesNotStart(_), _) => "does not start".to_owned(),
            _ => "refused at load".to_owned(),
        }
    }
}

/// All cases: those that run, then those that no host runs.
pub fn all() -> impl Iterator<Item = &'static Case> {
    GROUPS.iter().flat_map(|group| group.cases).chain(REFUSED)
}

/// The group of this name.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn group(name: &str) -> &'static Group {
    GROUPS.iter().find(|group| group.name == name).unwrap_or_else(|| panic!("there is no group {name:?}"))
}

/// `examples-wasm/hostile`.
fn hostile() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples-wasm/hostile")
}

/// The folders of the corpus.
///
/// # Panics
/// When they cannot be listed.
#[must_use]
pub fn folders() -> BTreeSet<String> {
    let entries = std::fs::read_dir(hostile()).expect("the corpus is there");
    let entries = entries.map(|entry| entry.expect("it can be read").path()).filter(|path| path.is_dir());
    entries.map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_folder_has_a_case_and_every_case_a_folder() {
        let cases: BTreeSet<String> = all().map(|case| case.folder.to_owned()).collect();
        assert_eq!(cases, folders());
        assert!(cases.len() >= 20, "only {}", cases.len());
    }

    #[test]
    fn no_two_cases_have_one_name_and_one_setting() {
        let mut seen = BTreeSet::new();
        for case in all() {
            assert!(seen.insert((case.name(), case.limits, case.host, case.mark, case.does)), "{case:?}");
        }
    }

    #[test]
    fn a_case_runs_or_is_refused_as_its_list_says() {
        let runs = |case: &Case| case.fate.outcome().is_some() || case.fate == Fate::Nothing;
        for case in GROUPS.iter().flat_map(|group| group.cases) {
            assert!(runs(case) && case.host.is_empty(), "{case:?}");
        }
        assert!(REFUSED.iter().all(|case| !runs(case)));
    }

    /// The README has a row for each folder, with the outcomes of its cases and no others.
    #[test]
    fn the_readme_lists_the_folders_with_their_outcomes() {
        let page = std::fs::read_to_string(hostile().join("README.md")).expect("the page is there");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
        let rows: BTreeMap<&str, BTreeSet<String>> = rows
            .map(|row| {
                let (folder, rest) = row.split_once('`').expect("a name ends");
                let outcomes = rest.trim_end_matches(" |").rsplit('|').next().unwrap_or_default();
                (folder, outcomes.split(", ").map(|outcome| outcome.trim().to_owned()).collect())
            })
            .collect();
        let mut expected: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for case in all() {
            let outcome =
                case.fate.outcome().map_or_else(|| case.fate.shown(), |outcome| format!("`{outcome}`"));
            expected.entry(case.folder).or_default().insert(outcome);
        }
        assert_eq!(rows, expected);
    }
}
