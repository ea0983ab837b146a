//! What a handler emits is what the host reads, whatever else was emitted, abandoned and taken back.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{OwnedHeader, bytes, headers};
use crate::outputs::{Answer, OutputRecord, Outputs};
use crate::raw;
use crate::record::{Batch, Record};
use crate::testing::{Input, Outcome, Output, batch, header_ends, read_answer};
use crate::{Failure, Header};

#[derive(Clone, Debug)]
enum Key {
    Input,
    None,
    Own(Vec<u8>),
}

#[derive(Clone, Debug)]
enum Headers {
    Input,
    Own(Vec<OwnedHeader>),
    InputAnd(Vec<OwnedHeader>),
}

#[derive(Clone, Debug)]
enum Step {
    Emit(Vec<u8>),
    Forward,
    Build {
        destination: u8,
        partition: Option<i32>,
        key: Key,
        value: Option<Vec<u8>>,
        headers: Headers,
        timestamp: Option<i64>,
        emitted: bool,
    },
}

/// What the handler does with one record.
#[derive(Clone, Debug)]
struct Script {
    steps: Vec<Step>,
    fails: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let key = prop_oneof![Just(Key::Input), Just(Key::None), bytes().prop_map(Key::Own)];
    let headers = prop_oneof![
        Just(Headers::Input),
        headers().prop_map(Headers::Own),
        headers().prop_map(Headers::InputAnd)
    ];
    let build = (
        prop_oneof![2 => Just(0), 1 => any::<u8>()],
        option::of(any::<i32>()),
        key,
        option::of(bytes()),
        headers,
        option::of(any::<i64>()),
        prop::bool::weighted(0.8),
    );
    prop_oneof![
        bytes().prop_map(Step::Emit),
        Just(Step::Forward),
        build.prop_map(|(destination, partition, key, value, headers, timestamp, emitted)| Step::Build {
            destination,
            partition,
            key,
            value,
            headers,
            timestamp,
            emitted,
        }),
    ]
}

fn scripts() -> impl Strategy<Value = Vec<Script>> {
    let script = (vec(step(), 0..4), prop::bool::weighted(0.25));
    vec(script.prop_map(|(steps, fails)| Script { steps, fails }), 1..10)
}

impl Step {
    fn play(&self, record: Record<'_>, out: &mut Outputs) {
        match self {
            Self::Emit(value) => out.emit(value),
            Self::Forward => out.forward(record),
            Self::Build { destination, partition, key, value, headers, timestamp, emitted } => {
                let mut output = out.record().to(*destination);
                if let Some(partition) = partition {
                    output = output.partition(*partition);
                }
                if let Some(timestamp) = timestamp {
                    output = output.timestamp(*timestamp);
                }
                output = match key {
                    Key::Input => output,
                    Key::None => output.no_key(),
                    Key::Own(key) => output.key(key),
                };
                output = match headers {
                    Headers::Input => output,
                    Headers::Own(own) => add(output.no_headers(), own),
                    Headers::InputAnd(own) => add(output.headers(record.headers()), own),
                };
                output = match value {
                    Some(value) => output.value(value),
                    None => output.tombstone(),
                };
                if *emitted {
                    output.emit();
                }
            }
        }
    }

    /// The output as it should be read back; none if it was abandoned.
    fn expected(&self, record: Record<'_>) -> Option<Output> {
        let own = |bytes: &[u8]| bytes.to_vec();
        let input_headers = || -> Vec<OwnedHeader> {
            record.headers().map(|Header { name, value }| (own(name), value.map(own))).collect()
        };
        let mut expected = Output {
            key: record.key().map(own),
            value: record.value().map(own),
            headers: input_headers(),
            timestamp: record.timestamp(),
            ..Output::default()
        };
        match self {
            Self::Emit(value) => expected.value = Some(value.clone()),
            Self::Forward => {}
            Self::Build { emitted: false, .. } => return None,
            Self::Build { destination, partition, key, value, headers, timestamp, emitted: true } => {
                expected.destination = *destination;
                expected.partition = *partition;
                expected.value.clone_from(value);
                expected.timestamp = timestamp.or(expected.timestamp);
                match key {
                    Key::Input => {}
                    Key::None => expected.key = None,
                    Key::Own(key) => expected.key = Some(key.clone()),
                }
                match headers {
                    Headers::Input => {}
                    Headers::Own(own) => expected.headers.clone_from(own),
                    Headers::InputAnd(own) => expected.headers.extend_from_slice(own),
                }
            }
        }
        Some(expected)
    }
}

fn add<'o>(output: OutputRecord<'o>, headers: &[OwnedHeader]) -> OutputRecord<'o> {
    headers.iter().fold(output, |output, (name, value)| match value {
        Some(value) => output.header(name, value),
        None => output.null_header(name),
    })
}

fn inputs(count: usize) -> raw::Batch {
    let tombstone = Input::tombstone().header("trace", "t").null_header("n").timestamp(7);
    let kinds = [Input::new("value").key("key"), Input::new("").key(""), tombstone];
    batch(kinds.iter().cycle().take(count))
}

/// Plays all scripts twice into one answer: what the first time leaves must not show.
fn play(columns: &raw::Batch, scripts: &[Script]) -> raw::Answer {
    let header_ends = header_ends(columns);
    let batch = Batch::of(columns, &header_ends);
    let mut answer = Answer::new();
    play_once(&batch, scripts, &mut answer);
    answer.clear();
    play_once(&batch, scripts, &mut answer);
    let (outputs, failures) = answer.as_raw();
    raw::Answer { outputs: outputs.clone(), failures: failures.to_vec() }
}

fn play_once(batch: &Batch<'_>, scripts: &[Script], answer: &mut Answer) {
    for (record, script) in batch.iter().zip(scripts) {
        answer.respond(record, |out| {
            script.steps.iter().for_each(|step| step.play(record, out));
            if script.fails { Err(Failure::retry("again", "as the script says")) } else { Ok(()) }
        });
    }
}

proptest! {
    #[test]
    fn outputs_read_back_as_they_were_emitted(scripts in scripts()) {
        let columns = inputs(scripts.len());
        let read = read_answer(&columns, &play(&columns, &scripts));
        let header_ends = header_ends(&columns);
        let batch = Batch::of(&columns, &header_ends);
        let expected: Vec<_> = batch
            .iter()
            .zip(&scripts)
            .map(|(record, script)| match script.fails {
                true => Outcome::Failed(Failure::retry("again", "as the script says")),
                false => Outcome::Done(script.steps.iter().filter_map(|step| step.expected(record)).collect()),
            })
            .collect();
        prop_assert_eq!(read.map(|read| read.outcomes), Ok(expected));
    }

    #[test]
    fn a_column_in_which_nothing_differs_stays_empty(scripts in scripts()) {
        let columns = inputs(scripts.len());
        let outputs = play(&columns, &scripts).outputs;
        let emitted: Vec<_> = scripts
            .iter()
            .filter(|script| !script.fails)
            .flat_map(|script| &script.steps)
            .filter(|step| !matches!(step, Step::Build { emitted: false, .. }))
            .collect();
        let any = |differs: fn(&Step) -> bool| emitted.iter().any(|&step| differs(step));

        prop_assert_eq!(outputs.inputs.len(), emitted.len());
        let destinations = any(|step| matches!(step, Step::Build { destination: 1.., .. }));
        prop_assert_eq!(!outputs.destinations.is_empty(), destinations);
        let partitions = any(|step| matches!(step, Step::Build { partition: Some(_), .. }));
        prop_assert_eq!(!outputs.partitions.is_empty(), partitions);
        let keys = any(|step| matches!(step, Step::Build { key: Key::None | Key::Own(_), .. }));
        prop_assert_eq!(!outputs.key_ends.is_empty(), keys);
        let timestamps = any(|step| matches!(step, Step::Build { timestamp: Some(_), .. }));
        prop_assert_eq!(!outputs.timestamps.is_empty(), timestamps);
        let headers = any(|step| matches!(step, Step::Build { headers: Headers::Own(_) | Headers::InputAnd(_), .. }));
        prop_assert_eq!(!outputs.headers.counts.is_empty(), headers);

        let end = |ends: &[u32]| ends.last().map_or(0, |&end| end as usize);
        prop_assert_eq!(outputs.keys.len(), end(&outputs.key_ends));
        prop_assert_eq!(outputs.values.len(), end(&outputs.value_ends));
        prop_assert_eq!(outputs.headers.names.len(), end(&outputs.headers.name_ends));
        prop_assert_eq!(outputs.headers.values.len(), end(&outputs.headers.value_ends));
    }
}

#[test]
fn a_plain_output_writes_three_columns_and_no_other() {
    let columns = inputs(2);
    let step = Script { steps: vec![Step::Emit(b"out".to_vec())], fails: false };
    let answer = play(&columns, &[step.clone(), step]);
    let expected = raw::Outputs {
        inputs: vec![0, 1],
        values: b"outout".to_vec(),
        value_ends: vec![3, 6],
        ..raw::Outputs::default()
    };
    assert_eq!(answer.outputs, expected);
}
