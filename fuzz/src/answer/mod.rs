//! Any answer of a guest is accepted or refused, exactly as a slow reader of the contract accepts or refuses it, and
//! what is accepted reads back as the columns say.
//!
//! A hostile guest chooses every number in its answer, so the input does (`case`). The slow reader (`rules`) knows
//! `docs/CONTRACT.md` and nothing of the host's checker.

mod case;
mod rules;

use std::time::Duration;

use crate::batch::Batch;
use crate::input::Input;
use crate::outcome::{Again, Outcome};
use crate::wasm::answer::{self, Answer, FailureKind, OutputLimits, RawAnswer, RawFailure};

use case::Case;
use rules::Plain;

/// Bytes of a failure's code.
const CODE: usize = 64;

/// See the module.
///
/// # Panics
/// Where the promise breaks.
pub fn check(data: &[u8]) {
    said(data);
}

/// The same; gives which rule of the slow reader was broken, or how many outputs were accepted.
///
/// # Panics
/// Where the promise breaks.
pub fn said(data: &[u8]) -> String {
    let Case { batch, limits, raw } = Case::read(&mut Input(data));
    match (answer::check(&batch, raw.clone(), &limits), rules::read(&batch, &raw, &limits)) {
        (Ok(answer), Ok(plain)) => {
            outputs(&answer, &batch, &plain);
            failures(&answer, raw, &limits);
            format!("accepted: {}", plain.len())
        }
        (Err(wrong), Err(rule)) => {
            let said = wrong.to_string();
            assert!(!said.is_empty() && said.len() < 300, "a sentence: {said}");
            rule.to_owned()
        }
        (checked, plain) => {
            panic!("checked as {checked:?}, but the contract says {plain:?}\n{raw:?}\n{limits:?}")
        }
    }
}

fn outputs(answer: &Answer, batch: &Batch, plain: &[Plain]) {
    let found = answer.outputs(batch).map(|output| Plain {
        input: output.input,
        destination: output.destination,
        partition: output.partition,
        key: output.key.map(<[u8]>::to_vec),
        value: output.value.map(<[u8]>::to_vec),
        timestamp: output.timestamp,
        headers: rules::headers(output.headers.iter()),
    });
    assert_eq!(found.collect::<Vec<_>>(), plain);
    assert_eq!((answer.output_count(), answer.outputs(batch).len()), (plain.len(), plain.len()));
    assert_eq!(answer.bytes(), plain.iter().map(Plain::weight).sum::<usize>());
}

fn failures(answer: &Answer, raw: RawAnswer, limits: &OutputLimits) {
    let mut raw = raw.failures;
    raw.sort_by_key(|failure| failure.input);
    assert_eq!(answer.failures().len(), raw.len());
    for ((input, failure), RawFailure { input: named, kind, code, message }) in
        answer.failures().iter().zip(raw)
    {
        let again = match kind {
            FailureKind::Reject => Again::Never,
            FailureKind::Retry(None) => Again::Backoff,
            FailureKind::Retry(Some(millis)) => Again::After(Duration::from_millis(millis.into())),
        };
        assert_eq!((*input, failure.outcome, failure.again), (named, Outcome::Rejected, again));
        for (found, said, most) in
            [(&failure.code, code, CODE), (&failure.message, message, limits.failure_message)]
        {
            assert!(found.len() <= most, "{found:?} has more than {most} bytes");
            assert!(!found.chars().any(char::is_control), "{found:?} is not escaped");
            let harmless = said.chars().all(|c| c == ' ' || c.is_ascii_graphic());
            assert!(!harmless || said.len() > most || *found == said, "{said:?} became {found:?}");
        }
    }
}
