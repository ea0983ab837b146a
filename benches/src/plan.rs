//! What a run will do, and about how long that takes: looked at before anything starts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Result, ensure};

use crate::parts::{Kind, PARTS, Part};
use crate::rung::{Contender, Filling, Rung};
use crate::sizes::Sizes;

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    /// Names of parts; empty: all.
    pub only: Vec<String>,
    /// Levels that are not to run.
    pub skip: BTreeSet<String>,
    /// Levels that cannot run, and why.
    pub unavailable: BTreeMap<String, String>,
    /// Parts that an earlier session finished.
    pub finished: BTreeSet<String>,
}

/// One part with what remains of it.
#[derive(Debug)]
pub(crate) struct Step {
    pub part: &'static Part,
    /// Of a part that consists of them.
    pub rungs: Vec<Rung>,
    /// About how long it takes.
    pub seconds: f64,
    /// About how much it writes to disk before it deletes anything.
    pub bytes: u64,
}

/// All that is to be done, and what is not.
#[derive(Debug)]
pub(crate) struct Plan {
    pub steps: Vec<Step>,
    /// Levels, and why they do not run.
    pub left_out: BTreeMap<String, String>,
}

impl Plan {
    /// # Errors
    /// If a name is not known, or nothing remains to be done.
    pub(crate) fn of(sizes: &Sizes, wish: &Wish) -> Result<Self> {
        for name in &wish.only {
            ensure!(
                crate::parts::named(name).is_some(),
                "there is no part {name:?}; parts are {}",
                PARTS.iter().map(|part| part.name).collect::<Vec<_>>().join(", ")
            );
        }
        for level in &wish.skip {
            ensure!(
                Contender::LEVELS.contains(&level.as_str()),
                "there is no level {level:?}; levels are {}",
                Contender::LEVELS.join(", ")
            );
        }
        let mut left_out = wish.unavailable.clone();
        left_out.extend(wish.skip.iter().map(|level| (level.clone(), "skipped as asked for".to_owned())));
        let asked = |part: &&Part| wish.only.is_empty() || wish.only.iter().any(|name| name == part.name);
        let steps: Vec<Step> = PARTS
            .iter()
            .filter(asked)
            .filter(|part| !wish.finished.contains(part.name))
            .map(|part| Step::of(part, sizes, &left_out))
            .filter(|step| matches!(step.part.kind, Kind::Own { .. }) || !step.rungs.is_empty())
            .collect();
        ensure!(!steps.is_empty(), "nothing remains to be measured");
        Ok(Self { steps, left_out })
    }

    /// About how long all of it takes.
    pub(crate) fn minutes(&self) -> f64 {
        self.steps.iter().map(|step| step.seconds).sum::<f64>() / 60.0
    }

    /// About how much disk it needs: the largest part, since each deletes what it wrote.
    pub(crate) fn bytes(&self) -> u64 {
        self.steps.iter().map(|step| step.bytes).max().unwrap_or_default()
    }
}

impl Step {
    fn of(part: &'static Part, sizes: &Sizes, left_out: &BTreeMap<String, String>) -> Self {
        let passes = (part.passes)(sizes);
        match part.kind {
            Kind::Own { seconds, bytes, .. } => {
                Self { part, rungs: Vec::new(), seconds: seconds(sizes), bytes: bytes(sizes) }
            }
            Kind::Rungs(rungs) => {
                let mut rungs = rungs(sizes);
                rungs.retain(|rung| !left_out.contains_key(rung.contender.level()));
                let topics = topics(&rungs);
                let filling: f64 = topics.iter().map(|topic| topic.seconds()).sum();
                let inputs: u64 = topics.iter().map(|topic| topic.bytes()).sum();
                // The output of the run before is still being deleted; JSON is half as long again as its line.
                let output = rungs.iter().filter(|rung| rung.output).map(|rung| rung.topic.bytes() * 3).max();
                Self {
                    part,
                    seconds: filling + rungs.iter().map(|rung| rung.seconds_of(passes)).sum::<f64>(),
                    bytes: inputs + output.unwrap_or_default(),
                    rungs,
                }
            }
        }
    }
}

/// What will be done, one part a line.
pub(crate) fn described(plan: &Plan) -> String {
    let mut text = String::new();
    for step in &plan.steps {
        let _ = writeln!(
            text,
            "{:<13} {:>5.1} min {:>6} MB  {}",
            step.part.name,
            step.seconds / 60.0,
            step.bytes >> 20,
            step.part.tells
        );
    }
    let _ = writeln!(
        text,
        "about {:.0} minutes, and {:.1} GB of disk at most",
        plan.minutes(),
        plan.bytes() as f64 / 1e9
    );
    for (level, reason) in &plan.left_out {
        let _ = writeln!(text, "left out: {level} ({reason})");
    }
    text
}

/// The topics that these rungs read, each once.
pub(crate) fn topics(rungs: &[Rung]) -> Vec<&Filling> {
    let mut topics: Vec<&Filling> = Vec::new();
    for rung in rungs {
        let reads = !matches!(rung.contender, Contender::Tasks { .. });
        if reads && !topics.contains(&&rung.topic) {
            topics.push(&rung.topic);
        }
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sizes::Scale;

    fn plan(scale: Scale, wish: &Wish) -> Plan {
        Plan::of(&Sizes::of(scale), wish).expect("something remains")
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_whole_ladder_takes_at_most_an_hour_and_bounded_disk() {
        let plan = plan(Scale::Full, &Wish::default());
        println!("{}", described(&plan));
        assert_eq!(plan.steps.len(), PARTS.len());
        assert!(plan.minutes() <= 60.0, "{:.1} minutes are more than an hour", plan.minutes());
        assert!(plan.bytes() < 8 << 30, "{} MB", plan.bytes() >> 20);
    }

    #[test]
    fn a_smoke_run_without_peers_takes_minutes() {
        let wish = Wish { skip: set(&Contender::PEERS), ..Wish::default() };
        let plan = plan(Scale::Smoke, &wish);
        let seconds: f64 = plan.steps.iter().map(|step| step.seconds).sum();
        assert!(seconds < 240.0, "{seconds:.0} s");
    }

    #[test]
    fn rows_have_names_of_their_own() {
        for step in plan(Scale::Full, &Wish::default()).steps {
            let names: BTreeSet<&str> = step.rungs.iter().map(|rung| rung.name.as_str()).collect();
            assert_eq!(names.len(), step.rungs.len(), "{}: {names:?}", step.part.name);
        }
    }

    #[test]
    fn levels_can_be_skipped_and_those_that_cannot_run_are_named() {
        let unavailable = BTreeMap::from([("java".to_owned(), "no mvn".to_owned())]);
        let wish = Wish { skip: set(&["raw", "bento"]), unavailable, ..Wish::default() };
        let plan = plan(Scale::Full, &wish);
        let levels = |step: &Step| -> BTreeSet<&str> {
            step.rungs.iter().map(|rung| rung.contender.level()).collect()
        };
        assert_eq!(levels(&plan.steps[0]), BTreeSet::from(["confluent", "franz", "native", "wasm"]));
        assert_eq!(plan.left_out["java"], "no mvn");
        assert_eq!(plan.left_out["raw"], "skipped as asked for");
        assert!(topics(&plan.steps[0].rungs).len() < plan.steps[0].rungs.len());
    }

    #[test]
    fn only_what_was_asked_for_and_is_not_finished_runs() {
        let wish = Wish {
            only: vec!["parse".to_owned(), "noop".to_owned()],
            finished: set(&["noop", "sweep"]),
            ..Wish::default()
        };
        let names: Vec<_> = plan(Scale::Quick, &wish).steps.iter().map(|step| step.part.name).collect();
        assert_eq!(names, ["parse"]);
        let sizes = Sizes::of(Scale::Quick);
        let all_done = Wish { finished: set(&["noop", "parse"]), ..wish.clone() };
        for wrong in [
            Wish { only: vec!["nop".to_owned()], ..Wish::default() },
            Wish { skip: set(&["rust"]), ..Wish::default() },
            all_done,
        ] {
            assert!(Plan::of(&sizes, &wrong).is_err(), "{wrong:?}");
        }
    }
}
