//! Answers against the rules of the contract when a marked record (`!…`) is in the batch. A batch without
//! one is answered rightly: every record comes out unchanged.
//!
//! Built on the bare columns, because through the SDK such answers cannot be given. The config key `kind`
//! chooses the rule to break; `kind.rs` lists them. `start` refuses any other word.

mod kind;

use std::cell::OnceCell;

use sandmill_guest::raw::{Answer, Batch, Guest, Outputs, input_flag, output_flag};

use crate::kind::Kind;

thread_local! {
    static KIND: OnceCell<Kind> = const { OnceCell::new() };
}

struct WrongAnswers;

sandmill_guest::export_raw!(WrongAnswers);

impl Guest for WrongAnswers {
    fn start(config: Vec<(String, String)>) -> Result<(), String> {
        let kind = config.iter().find(|(key, _)| key == "kind").map(|(_, kind)| kind.as_str());
        let kind = Kind::named(kind.unwrap_or("lengths-disagree"))?;
        KIND.with(|slot| slot.set(kind)).map_err(|_| "start was called twice".into())
    }

    fn handle(batch: Batch) -> Answer {
        let mut answer = Answer { outputs: echo(&batch), failures: Vec::new() };
        if has_mark(&batch) {
            KIND.with(|kind| kind.get().expect("start was called").spoil(&mut answer));
        }
        answer
    }
}

/// Every record unchanged: the value column as it came, everything else as the input.
fn echo(batch: &Batch) -> Outputs {
    let records = u32::try_from(batch.offsets.len()).expect("a batch fits into memory");
    let tombstones = batch.flags.iter().map(|flags| flags & input_flag::NO_VALUE != 0);
    Outputs {
        inputs: (0..records).collect(),
        values: batch.values.clone(),
        value_ends: batch.value_ends.clone(),
        flags: tombstones.map(|tombstone| if tombstone { output_flag::NO_VALUE } else { 0 }).collect(),
        ..Outputs::default()
    }
}

fn has_mark(batch: &Batch) -> bool {
    let mut start = 0;
    batch.value_ends.iter().any(|&end| {
        let value = &batch.values[start..end as usize];
        start = end as usize;
        value.starts_with(b"!")
    })
}

#[cfg(test)]
mod tests {
    use sandmill_guest::raw::{Answer, Guest};
    use sandmill_guest::testing::{Input, batch, read_answer};

    use super::{Kind, WrongAnswers, echo};

    #[test]
    fn a_batch_without_a_mark_is_answered_rightly() {
        let input = batch([Input::new("a").key("k"), Input::tombstone(), Input::new("b!")]);
        assert_eq!(WrongAnswers::start(vec![("kind".into(), "fails-twice".into())]), Ok(()));
        let answer = read_answer(&input, &WrongAnswers::handle(input.clone())).expect("no rule is broken");
        assert_eq!(answer.texts(), ["a", "", "b!"]);
        assert!(WrongAnswers::start(Vec::new()).is_err());
    }

    #[test]
    fn a_batch_with_a_mark_is_answered_wrongly() {
        assert_eq!(WrongAnswers::start(Vec::new()), Ok(()));
        let input = batch(["a", "!b"]);
        assert!(read_answer(&input, &WrongAnswers::handle(input.clone())).is_err());
    }

    #[test]
    fn every_kind_breaks_a_rule_that_needs_no_pipeline_to_see() {
        for input in [batch(["!"]), batch(["!", "b", ""])] {
            for (name, kind) in Kind::ALL {
                let mut answer = Answer { outputs: echo(&input), failures: Vec::new() };
                kind.spoil(&mut answer);
                let read = read_answer(&input, &answer);
                assert_eq!(read.is_ok(), kind.is_a_matter_of_limits(), "{name}: {read:?}");
            }
        }
    }

    #[test]
    fn an_unknown_kind_is_refused_with_the_list_of_those_there_are() {
        let error = Kind::named("x").expect_err("x is no kind");
        assert!(error.contains("\"x\"") && error.contains("unknown-flags"));
    }
}
