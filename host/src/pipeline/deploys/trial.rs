//! A module runs a sample of records before it runs any for somebody.
//!
//! Its answers go nowhere. It is refused if it ends without an answer (a trap, a limit, a broken rule) on a record that
//! the running version answers; or if it fails on all of them, where the running version does not. Fewer failures than
//! that may be what the new version is for; they are told, and the watch over it sees to the rest.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::line::Refused;
use crate::batch::{Batch, TopicPartition};
use crate::cancel::Cancel;
use crate::config;
use crate::deploy::story::Step;
use crate::ids::Fuel;
use crate::outcome::{Failure, Outcome};
use crate::pipeline::load::{LoadedHandler, Loader};
use crate::wasm::{Budget, Instance, InstanceSettings, Module};
use crate::worker::{Callee, Code, Sample};

/// How long it is waited for records that flow.
const WAIT: Duration = Duration::from_millis(300);
/// All records together; then what was seen is all that is judged.
const TIME: Duration = Duration::from_secs(10);
/// Fewer records that all fail say little.
const SOME: usize = 3;

/// What a module is tried on.
pub(super) struct Trial {
    pub callee: Weak<Callee>,
    /// In place of records that flow.
    pub given: Option<Arc<Sample>>,
    /// Running a record would be felt.
    pub has_effects: bool,
}

/// What a module made of a record.
enum Made {
    Done,
    /// It said that the record fails.
    Failed(Failure),
    /// It gave no answer.
    Ended(Failure),
}

impl Trial {
    /// Runs the sample; says in a few words how it went.
    pub fn run(self, pipeline: &config::Pipeline, new: &LoadedHandler) -> Result<String, Refused> {
        if self.has_effects {
            return Ok("left out: the handler may ask servers, and is not `idempotent`".to_owned());
        }
        let Some(callee) = self.callee.upgrade() else { return Ok("left out: the pipeline ends".to_owned()) };
        let Code::Module(module) = &new.code else { return Ok("left out".to_owned()) };
        let given = self.given.is_some();
        let records = self.records(&callee);
        if records.is_empty() {
            return Ok("left out: no record has come yet".to_owned());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let Ok(runtime) = runtime else { return Ok("left out: no runtime".to_owned()) };
        let settings = Loader::trial_settings(pipeline, &new.settings);
        let mut subject = Subject { module: module.clone(), settings, instance: None };
        let current = callee.handler.current();
        let mut old = match &current.code {
            Code::Module(module) => Some(Subject {
                module: module.clone(),
                settings: Loader::trial_settings(pipeline, &current.settings),
                instance: None,
            }),
            Code::Native(_) => None,
        };
        drop(current);
        let refused = |reason| Refused { step: Step::Sample, reason, may_pass: false };
        let (since, mut tried, mut failed, mut failed_before) = (Instant::now(), 0, 0, 0);
        let mut last = None;
        for (origin, one) in &records {
            if since.elapsed() > TIME {
                break;
            }
            tried += 1;
            let made = runtime.block_on(subject.call(pipeline, origin, one));
            let (failure, without_answer) = match made {
                Made::Done => continue,
                Made::Failed(failure) => (failure, false),
                Made::Ended(failure) => (failure, true),
            };
            failed += 1;
            // The running version has to say what is to be expected of it.
            let before = old.as_mut().map(|old| runtime.block_on(old.call(pipeline, origin, one)));
            let is_new = matches!(before, Some(Made::Done));
            failed_before += usize::from(!is_new);
            if without_answer && is_new {
                return Err(refused(format!(
                    "it fails on the record at offset {} of {origin}, which the running version handles: {failure}",
                    one.offsets()[0]
                )));
            }
            last = Some(failure);
        }
        if let Some(failure) = last.filter(|_| failed == tried && failed_before < tried && tried >= SOME) {
            return Err(refused(format!(
                "it fails on all {tried} records of the sample, and the running version on {failed_before}: {failure}"
            )));
        }
        let whose = if given { "given " } else { "" };
        Ok(match failed {
            0 => format!("{tried} {whose}records"),
            _ => format!(
                "{tried} {whose}records, {failed} fail, {failed_before} of them with the running version"
            ),
        })
    }

    /// Those that were given, or that flow, or that flowed last: each alone.
    fn records(&self, callee: &Callee) -> Vec<(TopicPartition, Batch)> {
        let each = |samples: &[Sample]| {
            let mut records = Vec::new();
            for Sample { origin, batch } in samples {
                for index in 0..batch.len() {
                    let mut one = Batch::new();
                    batch.copy_to([index], &mut one);
                    records.push((origin.clone(), one));
                }
            }
            records
        };
        match &self.given {
            Some(given) => each(std::slice::from_ref(given)),
            None => callee.sample.take(WAIT, each),
        }
    }
}

/// A module that is tried, and its instance, as long as nothing has gone wrong in it.
struct Subject {
    module: Module,
    settings: Arc<InstanceSettings>,
    instance: Option<Instance>,
}

impl Subject {
    async fn call(&mut self, pipeline: &config::Pipeline, origin: &TopicPartition, record: &Batch) -> Made {
        let cancel = Arc::new(Cancel::new());
        let instance = match self.instance.take() {
            Some(instance) => instance,
            None => match Instance::start(&self.module, &self.settings, &cancel).await {
                Ok(instance) => instance,
                Err(failure) => return Made::Ended(failure),
            },
        };
        let limits = &pipeline.limits;
        let budget = Budget { fuel: Fuel(limits.fuel), deadline: limits.deadline, cancel: &cancel };
        match instance.call(origin, record, budget).await.result {
            Ok((instance, answer)) => {
                self.instance = Some(instance);
                answer.failures().first().map_or(Made::Done, |(_, failure)| Made::Failed(failure.clone()))
            }
            Err(failure) if failure.outcome == Outcome::Rejected => Made::Failed(failure),
            Err(failure) => Made::Ended(failure),
        }
    }
}
