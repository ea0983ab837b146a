//! The versions of a pipeline: what was deployed, what runs, what is tried beside it, and what an operator may go back to.
//!
//! PURE: it knows no file and no clock. Whoever deploys owns it, and keeps it where a restart finds it (`journal.rs`).
//!
//! A version is one deploy: a module, and who brought it. It stays in the list when another takes its place, so that it
//! can run again. Versions are numbered from 1, and a number is never given twice.
//!
//! **File or deploy.** A pipeline has a handler's file, and may be deployed to besides. The newest word counts: a deployed
//! version runs, also after a restart, until the file's content changes; then that is the newest. So the history remembers
//! the file's content as it was last seen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wasm::Digest;

/// Versions that are remembered.
const MOST: usize = 32;

/// Where a version's module came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The handler's file, as configured.
    File,
    /// The body of a request.
    Upload,
    /// A registry.
    Registry,
    /// This program: a demonstration.
    BuiltIn,
}

/// What a version does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It runs.
    Running,
    /// It is tried beside the one that runs.
    Candidate,
    /// It ran, and another took its place.
    Before,
    /// It was tried, and never ran alone.
    Dropped,
    /// It was taken back.
    RolledBack,
}

/// How a new version begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub enum Mode {
    /// In the place of what runs.
    Full,
    /// Beside it, for the records of some keys.
    Canary {
        /// Of 100 keys, so many: 1 to 99.
        percent: u8,
    },
    /// Beside it, for nobody but who compares.
    Shadow,
}

/// One deploy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// Its number.
    pub version: u64,
    /// SHA-256 of its module, in hexadecimal digits.
    #[schemars(with = "String")]
    pub digest: Digest,
    /// The handler's name.
    pub handler: String,
    /// Where it came from.
    pub source: Source,
    /// A path or a reference, for people.
    pub from: Option<String>,
    /// Who deployed it: the name of a token, or `file`.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
    /// What it does.
    pub state: State,
    /// Why it was taken back.
    pub reason: Option<String>,
}

/// What a deploy brings.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Brought {
    pub digest: Digest,
    pub handler: String,
    pub source: Source,
    pub from: Option<String>,
    pub by: String,
    pub unix_ms: u64,
}

/// The handler's file as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSeen {
    /// Where it lies.
    pub path: String,
    /// What was in it.
    pub digest: Digest,
}

/// What a host starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtStart {
    /// The file: nothing was deployed, or its content is newer.
    File,
    /// This version, which was deployed.
    Version(u64),
}

/// Why there is nothing to go back to, or to promote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum NoVersion {
    #[error(
        "there is no version before {running}: it is the first, or those before it were taken back; `versions` lists them"
    )]
    Before { running: u64 },
    #[error("there is no version {version}; `versions` lists those that are kept")]
    Unknown { version: u64 },
    #[error("version {version} runs already")]
    Runs { version: u64 },
    #[error("there is no canary and no shadow to promote: version {running} runs alone")]
    NoCandidate { running: u64 },
}

/// The versions of one pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    next: u64,
    file: Option<FileSeen>,
    /// What was in it when it was refused.
    #[serde(default)]
    refused: Option<FileSeen>,
    candidate: Option<Mode>,
    /// Oldest first. One runs, once the first was added.
    versions: Vec<Version>,
}

impl History {
    /// All versions, oldest first.
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// A version by its number.
    pub fn version(&self, number: u64) -> Option<&Version> {
        self.versions.iter().find(|known| known.version == number)
    }

    /// The version that runs; none before the first.
    pub fn running(&self) -> Option<&Version> {
        self.versions.iter().find(|known| known.state == State::Running)
    }

    /// The version that is tried, and how.
    pub fn candidate(&self) -> Option<(&Version, Mode)> {
        let version = self.versions.iter().find(|known| known.state == State::Candidate)?;
        Some((version, self.candidate?))
    }

    /// The file as it was last seen.
    pub fn file(&self) -> Option<&FileSeen> {
        self.file.as_ref()
    }

    /// What to start with, where the file is like `file` now.
    pub fn at_start(&self, file: &FileSeen) -> AtStart {
        match self.running() {
            Some(running) if self.refused.as_ref() == Some(file) => AtStart::Version(running.version),
            Some(running) if self.file.as_ref() == Some(file) && running.digest != file.digest => {
                AtStart::Version(running.version)
            }
            _ => AtStart::File,
        }
    }

    /// The file's content was deployed.
    pub fn saw_file(&mut self, file: FileSeen) {
        (self.file, self.refused) = (Some(file), None);
    }

    /// The file's content was refused: what runs goes on, after a restart as well.
    pub fn refused_file(&mut self, file: FileSeen) {
        self.refused = Some(file);
    }

    /// Adds a version that runs from now on, alone. The module that runs already keeps its version.
    pub fn run(&mut self, brought: Brought) -> u64 {
        self.drop_candidate(None);
        if let Some(running) = self.running()
            && (running.digest, &running.handler) == (brought.digest, &brought.handler)
        {
            return running.version;
        }
        self.set(State::Running, State::Before, None);
        self.add(brought, State::Running)
    }

    /// Adds a version that is tried beside the one that runs. Another that was tried is dropped.
    pub fn try_out(&mut self, brought: Brought, mode: Mode) -> u64 {
        self.drop_candidate(None);
        self.candidate = Some(mode);
        self.add(brought, State::Candidate)
    }

    /// The candidate runs from now on.
    ///
    /// # Errors
    /// If there is none.
    pub fn promote(&mut self) -> Result<u64, NoVersion> {
        let running = self.running().map_or(0, |running| running.version);
        let Some((candidate, _)) = self.candidate() else { return Err(NoVersion::NoCandidate { running }) };
        let number = candidate.version;
        self.set(State::Running, State::Before, None);
        self.set(State::Candidate, State::Running, None);
        self.candidate = None;
        Ok(number)
    }

    /// The candidate is tried no longer: with a reason, it was taken back.
    pub fn drop_candidate(&mut self, reason: Option<&str>) {
        let state = if reason.is_some() { State::RolledBack } else { State::Dropped };
        self.set(State::Candidate, state, reason);
        self.candidate = None;
    }

    /// Which version a rollback would run: `to`, or the newest one before the one that runs which ran, was not taken back,
    /// and is another module.
    ///
    /// # Errors
    /// If there is none.
    pub fn before(&self, to: Option<u64>) -> Result<&Version, NoVersion> {
        let module = self.running().map(|running| (running.digest, &running.handler));
        let running = self.running().map_or(0, |running| running.version);
        match to {
            Some(version) if version == running => Err(NoVersion::Runs { version }),
            Some(version) => self.version(version).ok_or(NoVersion::Unknown { version }),
            None => {
                let earlier = |known: &&Version| {
                    known.version < running
                        && known.state == State::Before
                        && Some((known.digest, &known.handler)) != module
                };
                self.versions.iter().rev().find(earlier).ok_or(NoVersion::Before { running })
            }
        }
    }

    /// The version that runs is taken back for `reason`, and version `to` runs again.
    ///
    /// # Errors
    /// If there is no such version, or it runs.
    pub fn roll_back(&mut self, to: u64, reason: &str) -> Result<(), NoVersion> {
        self.before(Some(to))?;
        self.drop_candidate(None);
        self.set(State::Running, State::RolledBack, Some(reason));
        if let Some(version) = self.versions.iter_mut().find(|known| known.version == to) {
            (version.state, version.reason) = (State::Running, None);
        }
        Ok(())
    }

    /// Digests of all modules that may run again.
    pub fn digests(&self) -> impl Iterator<Item = &Digest> {
        self.versions.iter().map(|version| &version.digest)
    }

    fn set(&mut self, from: State, to: State, reason: Option<&str>) {
        for version in self.versions.iter_mut().filter(|known| known.state == from) {
            (version.state, version.reason) = (to, reason.map(str::to_owned));
        }
    }

    fn add(&mut self, brought: Brought, state: State) -> u64 {
        self.next += 1;
        let Brought { digest, handler, source, from, by, unix_ms } = brought;
        let version = self.next;
        self.versions.push(Version {
            version,
            digest,
            handler,
            source,
            from,
            by,
            unix_ms,
            state,
            reason: None,
        });
        while self.versions.len() > MOST {
            let oldest =
                |states: &[State]| self.versions.iter().position(|known| states.contains(&known.state));
            // What nobody would go back to goes first. Two at most run or are tried.
            let oldest = oldest(&[State::RolledBack, State::Dropped]).or_else(|| oldest(&[State::Before]));
            self.versions.remove(oldest.unwrap_or(0));
        }
        version
    }

    /// True if every rule of a history holds: for one that was read from a disk.
    pub fn is_sound(&self) -> bool {
        let count = |state| self.versions.iter().filter(|known| known.state == state).count();
        let candidates = count(State::Candidate);
        self.versions.len() <= MOST
            && self.versions.is_sorted_by(|one, next| one.version < next.version)
            && self.versions.last().is_none_or(|last| last.version <= self.next)
            && count(State::Running) == usize::from(!self.versions.is_empty())
            && candidates <= 1
            && (candidates == 1) == self.candidate.is_some()
            && !matches!(self.candidate, Some(Mode::Full))
            && !matches!(self.candidate, Some(Mode::Canary { percent }) if !(1..=99).contains(&percent))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn brought(module: u8) -> Brought {
        Brought {
            digest: Digest::of(&[module]),
            handler: "stamp".to_owned(),
            source: Source::Upload,
            from: None,
            by: "ci".to_owned(),
            unix_ms: 0,
        }
    }

    fn file(content: u8) -> FileSeen {
        FileSeen { path: "stamp.wasm".to_owned(), digest: Digest::of(&[content]) }
    }

    fn states(history: &History) -> Vec<State> {
        history.versions().iter().map(|version| version.state).collect()
    }

    #[test]
    fn a_rollback_goes_to_the_newest_that_was_not_taken_back() {
        let mut history = History::default();
        (1..=3).for_each(|module| assert_eq!(history.run(brought(module)), u64::from(module)));
        assert_eq!(history.before(None).map(|version| version.version), Ok(2));
        history.roll_back(2, "slow").expect("it is there");
        assert_eq!(states(&history), [State::Before, State::Running, State::RolledBack]);
        assert_eq!(history.before(None).map(|version| version.version), Ok(1));
        history.roll_back(1, "wrong").expect("it is there");
        assert_eq!(history.before(None), Err(NoVersion::Before { running: 1 }));
        // By its number any of them runs again, and is no longer one that was taken back.
        history.roll_back(3, "after all").expect("it is there");
        assert_eq!(states(&history), [State::RolledBack, State::RolledBack, State::Running]);
        assert_eq!(history.version(3).and_then(|version| version.reason.clone()), None);
        assert_eq!(history.before(Some(3)), Err(NoVersion::Runs { version: 3 }));
        assert_eq!(history.before(Some(9)), Err(NoVersion::Unknown { version: 9 }));
    }

    #[test]
    fn a_candidate_is_promoted_or_dropped_and_the_next_deploy_takes_its_place() {
        let mut history = History::default();
        history.run(brought(1));
        assert_eq!(history.promote(), Err(NoVersion::NoCandidate { running: 1 }));
        history.try_out(brought(2), Mode::Canary { percent: 10 });
        assert_eq!(history.candidate().map(|(version, _)| version.version), Some(2));
        assert_eq!(history.promote(), Ok(2));
        assert_eq!(states(&history), [State::Before, State::Running]);
        history.try_out(brought(3), Mode::Shadow);
        history.drop_candidate(Some("it fails"));
        assert_eq!(states(&history)[2], State::RolledBack);
        history.try_out(brought(4), Mode::Shadow);
        history.run(brought(5));
        assert_eq!(states(&history)[2..], [State::RolledBack, State::Dropped, State::Running]);
        assert_eq!(history.candidate(), None);
        // What was only tried is nothing to go back to.
        assert_eq!(history.before(None).map(|version| version.version), Ok(2));
    }

    #[test]
    fn what_was_deployed_runs_after_a_restart_until_the_file_changes() {
        let mut history = History::default();
        assert_eq!(history.at_start(&file(1)), AtStart::File);
        history.saw_file(file(1));
        history.run(brought(1));
        assert_eq!(history.at_start(&file(1)), AtStart::File);
        history.run(brought(2));
        assert_eq!(history.at_start(&file(1)), AtStart::Version(2));
        assert_eq!(history.at_start(&file(3)), AtStart::File, "its content is newer");
        let elsewhere = FileSeen { path: "other.wasm".to_owned(), ..file(1) };
        assert_eq!(history.at_start(&elsewhere), AtStart::File, "it is another file");
        // A file that was taken back stays so.
        history.saw_file(file(3));
        history.run(brought(3));
        history.roll_back(2, "slow").expect("it is there");
        assert_eq!(history.at_start(&file(3)), AtStart::Version(2));
        // So does one that was refused, until it is another or its signature comes.
        history.refused_file(file(4));
        assert_eq!(history.at_start(&file(4)), AtStart::Version(2));
        assert_eq!(history.at_start(&file(5)), AtStart::File);
        history.saw_file(file(4));
        history.run(brought(4));
        assert_eq!(history.at_start(&file(4)), AtStart::File);
    }

    #[test]
    fn a_rollback_does_not_go_to_the_same_module_and_what_ran_outlives_what_was_taken_back() {
        let mut history = History::default();
        history.run(brought(1));
        history.run(brought(2));
        history.run(Brought { handler: "other".to_owned(), ..brought(2) });
        history.run(brought(2));
        assert_eq!(history.before(None).map(|version| version.version), Ok(3));
        for module in 0..100 {
            history.try_out(brought(module), Mode::Shadow);
            history.drop_candidate(Some("it fails"));
        }
        assert_eq!(history.versions().len(), MOST);
        assert_eq!(states(&history)[..4], [State::Before, State::Before, State::Before, State::Running]);
    }

    #[test]
    fn the_module_that_runs_is_no_new_version() {
        let mut history = History::default();
        assert_eq!((history.run(brought(1)), history.run(brought(1))), (1, 1));
        assert_eq!((history.run(brought(2)), history.run(brought(1))), (2, 3));
    }

    proptest! {
        #[test]
        fn whatever_is_done_the_rules_hold_and_numbers_are_never_given_twice(
            steps in prop::collection::vec((0_u8..6, 0_u8..8, 1_u64..60), 0..120)
        ) {
            let mut history = History::default();
            history.run(brought(0));
            let mut last = 1;
            for (step, module, to) in steps {
                match step {
                    0 => drop(history.run(brought(module))),
                    1 => drop(history.try_out(brought(module), Mode::Canary { percent: 1 + module })),
                    2 => drop(history.try_out(brought(module), Mode::Shadow)),
                    3 => drop(history.promote()),
                    4 => history.drop_candidate(module.is_multiple_of(2).then_some("why")),
                    _ => drop(history.roll_back(to, "why")),
                }
                prop_assert!(history.is_sound(), "{history:?}");
                let newest = history.versions().last().map_or(0, |version| version.version);
                prop_assert!(newest <= history.next && history.next >= last);
                last = history.next;
            }
            let text = serde_json::to_string(&history).unwrap();
            prop_assert_eq!(serde_json::from_str::<History>(&text).unwrap(), history);
        }
    }
}
