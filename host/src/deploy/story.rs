//! What becomes of a deploy, step by step, for whoever asked for it.
//!
//! A deploy is told as a story that grows: its steps with the time that each took, what came of it, and, as long as the
//! new version is watched, how that goes. Whoever deploys tells; the API and the log read. Stories of the newest deploys are
//! kept, of all pipelines together.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;

use super::history::Mode;
use crate::config::Role;
use crate::time::unix_millis;
use crate::wasm::Digest;

/// Stories that are kept.
const KEPT: usize = 64;

/// Who asks for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The name of his token, or what stands for one: `file`, `sandmill`.
    pub name: String,
    /// What his token allows; none: it is the host itself.
    pub role: Option<Role>,
    /// The other end of his connection.
    pub from: Option<SocketAddr>,
}

impl Asker {
    /// The host itself, or a part of it.
    pub fn own(name: &str) -> Self {
        Asker { name: name.to_owned(), role: None, from: None }
    }
}

/// A step of a deploy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It waits for the deploy before it.
    Wait,
    /// The file, or the store, is read.
    Read,
    /// A registry is asked for it.
    Pull,
    /// Its signature is checked.
    Verify,
    /// It is compiled, or taken from the cache.
    Compile,
    /// It is held against contract, grants and limits.
    Check,
    /// An instance is started.
    Start,
    /// It runs a sample of records, for nobody.
    Sample,
    /// It is kept for a restart, and takes its place.
    Switch,
    /// What ran before ends.
    Drain,
}

impl Step {
    /// The word for it everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Step::Wait => "wait",
            Step::Read => "read",
            Step::Pull => "pull",
            Step::Verify => "verify",
            Step::Compile => "compile",
            Step::Check => "check",
            Step::Start => "start",
            Step::Sample => "sample",
            Step::Switch => "switch",
            Step::Drain => "drain",
        }
    }
}

/// A step that is over.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Done {
    /// Which.
    pub step: Step,
    /// How long it took.
    pub ms: f64,
    /// What there is to say of it.
    pub detail: Option<String>,
}

/// What somebody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// To run a module.
    Deploy,
    /// To run an earlier version.
    Rollback,
    /// To run the candidate.
    Promote,
    /// To try again what was tried when the host ended.
    Resume,
}

impl Action {
    /// The word for it everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Action::Deploy => "deploy",
            Action::Rollback => "rollback",
            Action::Promote => "promote",
            Action::Resume => "resume",
        }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// On its way.
    Working,
    /// It was done.
    Done,
    /// What ran before goes on.
    Refused,
}

/// Why it was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Refusal {
    /// What failed.
    pub step: Step,
    /// Why, for people.
    pub reason: String,
}

/// Records, and those of them that failed at their first attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Counts {
    pub records: u64,
    pub failed: u64,
}

/// How long calls waited for instances of a new generation: all that a switch keeps records from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Pause {
    /// Calls that waited for one to start.
    pub calls: u64,
    /// 99 of a hundred of them waited no longer, to within a fifth.
    pub p99_ms: f64,
    /// None waited longer, to within a fifth.
    pub most_ms: f64,
}

/// How the watch over a version goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WatchState {
    /// It is watched.
    Watching,
    /// It stays.
    Kept,
    /// It was taken back.
    RolledBack,
    /// A candidate that runs now.
    Promoted,
    /// Another deploy came.
    Replaced,
    /// It does harm, and runs: nothing may take it back, or there is nothing else to run.
    Harmful,
}

/// The watch over a new version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Watching {
    /// How it goes.
    pub state: WatchState,
    /// Why, or how far it is.
    pub reason: String,
    /// When it ends by itself, in milliseconds since 1970; none: when somebody decides.
    pub until_unix_ms: Option<u64>,
    /// What the new version did.
    pub new: Counts,
    /// What it is held against.
    pub old: Counts,
}

/// One deploy, rollback or promotion.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Story {
    /// Its number: larger than those before, also of those before a restart.
    pub id: u64,
    /// Whose.
    pub pipeline: String,
    /// What was asked for.
    pub action: Action,
    /// By whom.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
    /// How the version begins.
    #[serde(flatten)]
    pub mode: Mode,
    /// Steps that are over.
    pub steps: Vec<Done>,
    /// How far it is.
    pub state: Progress,
    /// The step that is under way.
    pub working_on: Option<Step>,
    /// Why it was not done.
    pub refused: Option<Refusal>,
    /// The version that it is about.
    pub version: Option<u64>,
    /// Where its module comes from, as it was written.
    pub from: Option<String>,
    /// SHA-256 of its module, as `sha256:…`.
    pub digest: Option<String>,
    /// The handler's name.
    pub handler: Option<String>,
    /// The generation that runs it.
    pub generation: Option<u64>,
    /// How long calls waited for its instances until the generation before was gone.
    pub pause: Option<Pause>,
    /// The watch over it.
    pub watch: Option<Watching>,
}

/// Stories of the newest deploys. Any thread.
#[derive(Debug)]
pub struct Stories(Mutex<(u64, VecDeque<Story>)>);

impl Default for Stories {
    /// Numbers go on after those before a restart: who asks for one of those does not get another.
    fn default() -> Self {
        Stories(Mutex::new((unix_millis(), VecDeque::new())))
    }
}

impl Stories {
    /// A story begins.
    pub fn begin(self: &Arc<Self>, pipeline: &str, action: Action, mode: Mode, asker: Asker) -> Teller {
        let mut stories = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stories.0 += 1;
        let id = stories.0;
        stories.1.push_back(Story {
            id,
            pipeline: pipeline.to_owned(),
            action,
            by: asker.name.clone(),
            unix_ms: unix_millis(),
            mode,
            steps: Vec::new(),
            state: Progress::Working,
            working_on: None,
            refused: None,
            version: None,
            from: None,
            digest: None,
            handler: None,
            generation: None,
            pause: None,
            watch: None,
        });
        // Those that go on are told to their end. There are few of them: those that wait, and one that is watched in each
        // pipeline.
        let goes_on = |story: &Story| {
            story.state == Progress::Working
                || story.watch.as_ref().is_some_and(|watch| watch.state == WatchState::Watching)
        };
        while stories.1.len() > KEPT
            && let Some(oldest) = stories.1.iter().position(|story| !goes_on(story))
        {
            stories.1.remove(oldest);
        }
        drop(stories);
        Teller { stories: self.clone(), id, asker: Arc::new(asker), step: None }
    }

    /// A story by its number; none if it is not known, or no longer.
    pub fn get(&self, id: u64) -> Option<Story> {
        let stories = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stories.1.iter().find(|story| story.id == id).cloned()
    }

    /// The newest of a pipeline.
    pub fn newest(&self, pipeline: &str) -> Option<Story> {
        let stories = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stories.1.iter().rev().find(|story| story.pipeline == pipeline).cloned()
    }

    fn with(&self, id: u64, with: impl FnOnce(&mut Story)) {
        let mut stories = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(story) = stories.1.iter_mut().find(|story| story.id == id) {
            with(story);
        }
    }
}

/// Who tells one story.
#[derive(Debug)]
pub struct Teller {
    stories: Arc<Stories>,
    id: u64,
    asker: Arc<Asker>,
    /// Under way, since when, and what there is to say of it.
    step: Option<(Step, Instant, Option<String>)>,
}

impl Teller {
    /// The story's number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Who asked for it.
    pub fn asker(&self) -> &Asker {
        &self.asker
    }

    /// The module that it is about, once it was read.
    pub fn digest(&self) -> Option<Digest> {
        let story = self.stories.get(self.id)?;
        story.digest?.strip_prefix("sha256:")?.parse().ok()
    }

    /// Another who tells the same story: what comes after.
    pub fn again(&self) -> Teller {
        Teller { stories: self.stories.clone(), id: self.id, asker: self.asker.clone(), step: None }
    }

    /// It was no story.
    pub fn forget(self) {
        let mut stories = self.stories.0.lock().unwrap_or_else(PoisonError::into_inner);
        stories.1.retain(|story| story.id != self.id);
    }

    /// A step that another has timed.
    pub fn add(&self, step: Step, took: Duration) {
        let done = Done { step, ms: millis(took), detail: None };
        self.tell(|story| story.steps.push(done));
    }

    /// The step before is over, and this one begins.
    pub fn begin(&mut self, step: Step) {
        self.end_step();
        self.step = Some((step, Instant::now(), None));
        self.stories.with(self.id, |story| story.working_on = Some(step));
    }

    /// Says something of the step that is under way.
    pub fn detail(&mut self, detail: impl Into<String>) {
        if let Some((_, _, said)) = &mut self.step {
            *said = Some(detail.into());
        }
    }

    /// The last step is over.
    pub fn end_step(&mut self) {
        if let Some((step, since, detail)) = self.step.take() {
            let done = Done { step, ms: millis(since.elapsed()), detail };
            self.stories.with(self.id, |story| {
                story.steps.push(done);
                story.working_on = None;
            });
        }
    }

    /// Changes what else is told.
    pub fn tell(&self, with: impl FnOnce(&mut Story)) {
        self.stories.with(self.id, with);
    }

    /// It is not done: this step failed, for this reason.
    pub fn refuse_at(&mut self, step: Step, reason: impl Into<String>) {
        self.end_step();
        let refused = Some(Refusal { step, reason: reason.into() });
        self.tell(|story| (story.state, story.refused) = (Progress::Refused, refused));
    }
}

/// Milliseconds, to a thousandth.
pub fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_has_its_steps_in_order_and_what_came_of_it() {
        let stories = Arc::new(Stories::default());
        let mut teller =
            stories.begin("orders", Action::Deploy, Mode::Canary { percent: 10 }, Asker::own("ci"));
        teller.begin(Step::Read);
        teller.detail("12 KiB");
        teller.begin(Step::Compile);
        let story = stories.get(teller.id()).expect("it is kept");
        assert_eq!((story.state, story.working_on), (Progress::Working, Some(Step::Compile)));
        teller.refuse_at(Step::Compile, "it is no WebAssembly");
        let story = stories.newest("orders").expect("it is kept");
        let steps: Vec<_> = story.steps.iter().map(|done| (done.step, done.detail.as_deref())).collect();
        assert_eq!(steps, [(Step::Read, Some("12 KiB")), (Step::Compile, None)]);
        assert_eq!(story.refused.map(|refused| refused.step), Some(Step::Compile));
        assert_eq!((story.state, story.working_on), (Progress::Refused, None));
    }

    #[test]
    fn the_newest_are_kept_and_numbers_are_not_given_twice() {
        let stories = Arc::new(Stories::default());
        let begin = || stories.begin("orders", Action::Deploy, Mode::Full, Asker::own("ci"));
        let slow = begin().id();
        let ids: Vec<u64> = (0..KEPT + 3)
            .map(|_| {
                let mut teller = begin();
                teller.refuse_at(Step::Read, "not there");
                teller.id()
            })
            .collect();
        assert!(ids.is_sorted_by(|one, next| one < next) && slow < ids[0]);
        let kept = ids.iter().filter(|id| stories.get(**id).is_some()).count();
        assert_eq!((kept, stories.get(ids[2])), (KEPT - 1, None));
        assert!(stories.get(slow).is_some(), "it goes on");
    }
}
