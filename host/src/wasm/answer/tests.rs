use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::*;
use crate::batch::{Batch, ENTRY_BYTES, Headers, Record};
use crate::ids::Offset;
use crate::outcome::{Again, Outcome};

const LIMITS: OutputLimits = OutputLimits { records: 3, bytes: 1000, destinations: 2, failure_message: 20 };

/// Records 0 to 3: plain; without key; with a header; without a timestamp and a value.
fn batch() -> Batch {
    let mut batch = Batch::new();
    let header: &[(&[u8], Option<&[u8]>)] = &[(b"trace", Some(b"1")), (b"none", None)];
    for (offset, key, value, headers, timestamp) in [
        (10, Some(&b"k0"[..]), Some(&b"v0"[..]), Headers::None, 1000),
        (11, None, Some(b"v1"), Headers::None, 1001),
        (12, Some(b"k2"), Some(b"v2"), Headers::List(header), 1002),
        (14, Some(b"k3"), None, Headers::None, -1),
    ] {
        batch.push(&Record { offset: Offset(offset), timestamp, key, value, headers }, 0, 0);
    }
    batch
}

/// Two outputs, of records 1 and 2, with the values `a` and `bc`.
fn two() -> RawAnswer {
    let outputs =
        Columns { inputs: vec![1, 2], values: b"abc".to_vec(), value_ends: vec![1, 3], ..Columns::default() };
    RawAnswer { outputs, failures: Vec::new() }
}

fn headers() -> HeaderColumns {
    HeaderColumns {
        counts: vec![2, 0],
        names: b"xyy".to_vec(),
        name_ends: vec![1, 3],
        values: b"v".to_vec(),
        value_ends: vec![1, 1],
        nulls: vec![0, 1],
    }
}

fn failure(input: u32) -> RawFailure {
    RawFailure { input, kind: FailureKind::Reject, code: "bad".to_owned(), message: "very bad".to_owned() }
}

fn checked(raw: RawAnswer) -> Result<Answer, Wrong> {
    check(&batch(), raw, &LIMITS)
}

/// What is wrong with two outputs after `change`.
fn wrong(change: impl FnOnce(&mut RawAnswer)) -> Wrong {
    let mut raw = two();
    change(&mut raw);
    checked(raw).expect_err("the answer is refused")
}

#[test]
fn an_empty_answer_is_right() {
    assert_eq!(checked(RawAnswer::default()), Ok(Answer::default()));
    let none = OutputLimits { destinations: 0, ..LIMITS };
    assert!(check(&batch(), RawAnswer::default(), &none).is_ok());
}

#[test]
fn what_is_left_empty_is_as_the_input() {
    let batch = batch();
    let answer = check(&batch, two(), &LIMITS).expect("the answer is right");
    let outputs: Vec<_> = answer.outputs(&batch).collect();
    assert_eq!(answer.outputs(&batch).len(), 2);
    assert_eq!((outputs[0].input, outputs[0].destination, outputs[0].partition), (1, 0, None));
    assert_eq!((outputs[0].key, outputs[0].value, outputs[0].timestamp), (None, Some(&b"a"[..]), 1001));
    assert_eq!(
        (outputs[1].key, outputs[1].value, outputs[1].timestamp),
        (Some(&b"k2"[..]), Some(&b"bc"[..]), 1002)
    );
    assert!(outputs[0].headers.is_empty());
    let headers: Vec<_> = outputs[1].headers.iter().collect();
    assert_eq!(headers, [(&b"trace"[..], Some(&b"1"[..])), (b"none", None)]);
}

#[test]
fn columns_and_flags_say_the_rest() {
    let batch = batch();
    let mut raw = two();
    raw.outputs.inputs = vec![0, 3];
    raw.outputs.destinations = vec![1, 0];
    raw.outputs.partitions = vec![7, 8];
    raw.outputs.keys = b"own".to_vec();
    raw.outputs.key_ends = vec![3, 3];
    raw.outputs.flags = vec![PARTITION, INPUT_KEY | INPUT_TIMESTAMP];
    raw.outputs.timestamps = vec![-1, 55];
    raw.outputs.headers = headers();
    let answer = check(&batch, raw, &LIMITS).expect("the answer is right");
    let outputs: Vec<_> = answer.outputs(&batch).collect();
    assert_eq!((outputs[0].destination, outputs[0].partition, outputs[0].timestamp), (1, Some(7), -1));
    assert_eq!(outputs[0].key, Some(&b"own"[..]));
    assert_eq!(outputs[0].headers.iter().collect::<Vec<_>>(), [(&b"x"[..], Some(&b"v"[..])), (b"yy", None)]);
    assert_eq!((outputs[1].destination, outputs[1].partition, outputs[1].timestamp), (0, None, -1));
    assert_eq!(outputs[1].key, Some(&b"k3"[..]));
    assert!(outputs[1].headers.is_empty());
}

#[test]
fn flags_take_key_and_value_away() {
    let batch = batch();
    let mut raw = two();
    raw.outputs.values = b"a".to_vec();
    raw.outputs.value_ends = vec![1, 1];
    raw.outputs.flags = vec![0, NO_KEY | NO_VALUE];
    let answer = check(&batch, raw, &LIMITS).expect("the answer is right");
    let output = answer.outputs(&batch).nth(1).expect("there are two");
    assert_eq!((output.key, output.value), (None, None));
}

#[test]
fn columns_agree_in_length() {
    let length = |column, found| Wrong::Length { column, found, wanted: 2 };
    assert_eq!(wrong(|raw| raw.outputs.destinations = vec![0]), length("destinations", 1));
    assert_eq!(wrong(|raw| raw.outputs.partitions = vec![0; 3]), length("partitions", 3));
    assert_eq!(wrong(|raw| raw.outputs.key_ends = vec![0]), length("key-ends", 1));
    assert_eq!(wrong(|raw| raw.outputs.value_ends = vec![]), length("value-ends", 0));
    assert_eq!(wrong(|raw| raw.outputs.value_ends.push(3)), length("value-ends", 3));
    assert_eq!(wrong(|raw| raw.outputs.flags = vec![0]), length("flags", 1));
    assert_eq!(wrong(|raw| raw.outputs.timestamps = vec![0]), length("timestamps", 1));
    assert_eq!(wrong(|raw| raw.outputs.headers.counts = vec![0]), length("headers.counts", 1));
    assert_eq!(
        wrong(|raw| raw.outputs.inputs.clear()),
        Wrong::Length { column: "value-ends", found: 2, wanted: 0 }
    );
}

#[test]
fn ends_grow_and_fill_the_bytes() {
    assert_eq!(
        wrong(|raw| raw.outputs.value_ends = vec![3, 1]),
        Wrong::EndsShrink { column: "values", index: 1 }
    );
    let mismatch = |column, end, bytes| Wrong::EndsMismatch { column, end, bytes };
    assert_eq!(wrong(|raw| raw.outputs.value_ends = vec![1, 4]), mismatch("values", 4, 3));
    assert_eq!(
        wrong(|raw| raw.outputs.value_ends = vec![1, u32::MAX]),
        mismatch("values", u32::MAX as usize, 3)
    );
    assert_eq!(wrong(|raw| raw.outputs.value_ends = vec![1, 2]), mismatch("values", 2, 3));
    assert_eq!(wrong(|raw| raw.outputs.keys = b"k".to_vec()), mismatch("keys", 0, 1));
    assert_eq!(wrong(|raw| raw.outputs.key_ends = vec![1, 2]), mismatch("keys", 2, 0));
}

#[test]
fn inputs_exist_and_ascend() {
    assert_eq!(
        wrong(|raw| raw.outputs.inputs = vec![1, 4]),
        Wrong::NoSuchInput { output: 1, input: 4, records: 4 }
    );
    assert_eq!(wrong(|raw| raw.outputs.inputs = vec![2, 1]), Wrong::InputsDescend { output: 1, input: 1 });
    let mut same = two();
    same.outputs.inputs = vec![1, 1];
    assert!(checked(same).is_ok());
}

#[test]
fn destinations_are_declared() {
    let wanted = Wrong::NoSuchDestination { output: 1, destination: 2, declared: 2 };
    assert_eq!(wrong(|raw| raw.outputs.destinations = vec![1, 2]), wanted);
    let none = OutputLimits { destinations: 0, ..LIMITS };
    let wanted = Wrong::NoSuchDestination { output: 0, destination: 0, declared: 0 };
    assert_eq!(check(&batch(), two(), &none), Err(wanted));
}

#[test]
fn flags_are_known_and_say_one_thing() {
    let flagged = |flags| wrong(|raw| raw.outputs.flags = vec![0, flags]);
    assert_eq!(flagged(1 << 6), Wrong::UnknownFlags { output: 1, flags: 1 << 6 });
    assert_eq!(flagged(1 << 7 | NO_KEY), Wrong::UnknownFlags { output: 1, flags: 1 << 7 | NO_KEY });
    assert_eq!(flagged(NO_KEY | INPUT_KEY), Wrong::Contradiction { output: 1, what: "a key of its own" });
    assert_eq!(flagged(NO_VALUE), Wrong::Contradiction { output: 1, what: "a value" });
    assert_eq!(flagged(PARTITION), Wrong::NoPartitions { output: 1 });
    let keyed = |flags| {
        wrong(|raw| {
            raw.outputs.keys = b"k".to_vec();
            raw.outputs.key_ends = vec![0, 1];
            raw.outputs.flags = vec![0, flags];
        })
    };
    assert_eq!(keyed(NO_KEY), Wrong::Contradiction { output: 1, what: "a key of its own" });
    assert_eq!(keyed(INPUT_KEY), Wrong::Contradiction { output: 1, what: "a key of its own" });
    let with_headers = wrong(|raw| {
        raw.outputs.headers = headers();
        raw.outputs.flags = vec![INPUT_HEADERS, 0];
    });
    assert_eq!(with_headers, Wrong::Contradiction { output: 0, what: "headers of its own" });
}

#[test]
fn partitions_are_read_only_where_a_flag_says_so() {
    let negative = wrong(|raw| {
        raw.outputs.partitions = vec![-1, -5];
        raw.outputs.flags = vec![0, PARTITION];
    });
    assert_eq!(negative, Wrong::NoSuchPartition { output: 1, partition: -5 });
    let mut unread = two();
    unread.outputs.partitions = vec![-1, -5];
    assert!(checked(unread).is_ok());
}

#[test]
fn timestamps_are_moments_or_none() {
    assert_eq!(
        wrong(|raw| raw.outputs.timestamps = vec![-1, -2]),
        Wrong::Timestamp { output: 1, timestamp: -2 }
    );
    let mut latest = two();
    latest.outputs.timestamps = vec![0, i64::MAX];
    assert!(checked(latest).is_ok());
    let mut unread = two();
    unread.outputs.timestamps = vec![0, -2];
    unread.outputs.flags = vec![0, INPUT_TIMESTAMP];
    assert!(checked(unread).is_ok());
}

#[test]
fn headers_are_counted_and_consistent() {
    let with = |change: fn(&mut HeaderColumns)| {
        wrong(|raw| {
            raw.outputs.headers = headers();
            change(&mut raw.outputs.headers);
        })
    };
    let length = |column, found, wanted| Wrong::Length { column, found, wanted };
    assert_eq!(with(|headers| headers.counts.clear()), Wrong::UncountedHeaders);
    assert_eq!(with(|headers| headers.counts = vec![2, 1]), length("headers.name-ends", 2, 3));
    assert_eq!(
        with(|headers| headers.counts = vec![u32::MAX, u32::MAX]),
        length("headers.name-ends", 2, 2 * u32::MAX as usize)
    );
    assert_eq!(with(|headers| headers.value_ends = vec![1]), length("headers.value-ends", 1, 2));
    assert_eq!(with(|headers| headers.nulls = vec![0]), length("headers.nulls", 1, 2));
    assert_eq!(with(|headers| headers.nulls = vec![0, 2]), Wrong::NullMark { header: 1, mark: 2 });
    assert_eq!(with(|headers| headers.nulls = vec![1, 0]), Wrong::NullWithValue { header: 0 });
    assert_eq!(
        with(|headers| headers.name_ends = vec![2, 1]),
        Wrong::EndsShrink { column: "headers.names", index: 1 }
    );
    assert_eq!(
        with(|headers| headers.value_ends = vec![1, 2]),
        Wrong::EndsMismatch { column: "headers.values", end: 2, bytes: 1 }
    );
}

#[test]
fn outputs_of_a_record_are_bounded_by_number() {
    let mut raw = RawAnswer::default();
    raw.outputs.inputs = vec![0, 1, 1, 1, 2, 2, 2];
    raw.outputs.value_ends = vec![0; 7];
    assert!(checked(raw.clone()).is_ok());
    raw.outputs.inputs[0] = 1;
    assert_eq!(checked(raw), Err(Wrong::TooManyOutputs { input: 1, limit: 3 }));
}

#[test]
fn outputs_of_a_record_are_bounded_by_bytes() {
    let fits = LIMITS.bytes - ENTRY_BYTES;
    let answer = |first: usize, second: usize| RawAnswer {
        outputs: Columns {
            inputs: vec![1, 1],
            values: vec![0; first + second],
            value_ends: vec![first as u32, (first + second) as u32],
            ..Columns::default()
        },
        failures: Vec::new(),
    };
    let half = fits / 2 - ENTRY_BYTES / 2;
    assert_eq!(checked(answer(half, half)).expect("the answer is right").bytes(), LIMITS.bytes);
    let bytes = LIMITS.bytes + 1;
    assert_eq!(
        checked(answer(half, half + 1)),
        Err(Wrong::TooManyBytes { input: 1, bytes, limit: LIMITS.bytes })
    );
}

#[test]
fn what_is_taken_from_the_input_weighs_as_much() {
    let mut batch = Batch::new();
    let (key, value) = (vec![b'k'; 400], vec![b'v'; 400]);
    let header: &[(&[u8], Option<&[u8]>)] = &[(&value, Some(&value))];
    for headers in [Headers::None, Headers::List(header)] {
        let record = Record { offset: Offset(0), timestamp: 0, key: Some(&key), value: Some(b""), headers };
        batch.push(&record, 0, 0);
    }
    let answer = |inputs: Vec<u32>| RawAnswer {
        outputs: Columns { value_ends: vec![0; inputs.len()], inputs, ..Columns::default() },
        failures: Vec::new(),
    };
    assert!(check(&batch, answer(vec![0, 0]), &LIMITS).is_ok());
    let too_many = |raw| matches!(check(&batch, raw, &LIMITS), Err(Wrong::TooManyBytes { .. }));
    assert!(too_many(answer(vec![0, 0, 0])), "keys are counted");
    assert!(too_many(answer(vec![1])), "headers are counted");
}

#[test]
fn failures_exist_once_and_have_no_outputs() {
    assert_eq!(
        wrong(|raw| raw.failures = vec![failure(4)]),
        Wrong::NoSuchFailedInput { input: 4, records: 4 }
    );
    assert_eq!(
        wrong(|raw| raw.failures = vec![failure(0), failure(3), failure(0)]),
        Wrong::FailsTwice { input: 0 }
    );
    assert_eq!(
        wrong(|raw| raw.failures = vec![failure(3), failure(2)]),
        Wrong::FailsWithOutputs { input: 2 }
    );
}

#[test]
fn failures_come_in_order_cut_and_escaped() {
    let mut raw = two();
    raw.failures = vec![
        RawFailure { kind: FailureKind::Retry(None), code: "c".repeat(100), ..failure(3) },
        RawFailure {
            kind: FailureKind::Retry(Some(1500)),
            message: "\x1b[31mred and far too long".to_owned(),
            ..failure(0)
        },
    ];
    let answer = checked(raw).expect("the answer is right");
    let [(0, first), (3, second)] = answer.failures() else { panic!("two: {:?}", answer.failures()) };
    assert_eq!(
        (first.outcome, first.again),
        (Outcome::Rejected, Again::After(std::time::Duration::from_millis(1500)))
    );
    assert_eq!(first.message, "\\u{1b}[31mred and…");
    assert_eq!((second.again, second.code.len()), (Again::Backoff, 64));
}

/// Answers that are often nearly right.
fn answers() -> impl Strategy<Value = RawAnswer> {
    let few_ends = || proptest::collection::vec(0_u32..6, 0..5);
    let bytes = || proptest::collection::vec(any::<u8>(), 0..6);
    let headers = (
        proptest::collection::vec(prop_oneof![4 => 0_u32..3, 1 => any::<u32>()], 0..4),
        bytes(),
        few_ends(),
        bytes(),
        few_ends(),
        proptest::collection::vec(0_u8..3, 0..4),
    )
        .prop_map(|(counts, names, name_ends, values, value_ends, nulls)| HeaderColumns {
            counts,
            names,
            name_ends,
            values,
            value_ends,
            nulls,
        });
    let headers = prop_oneof![Just(HeaderColumns::default()), headers];
    let first = (
        proptest::collection::vec(0_u32..5, 0..4),
        proptest::collection::vec(0_u8..3, 0..4),
        proptest::collection::vec(-1_i32..3, 0..4),
        bytes(),
        few_ends(),
    );
    let second = (
        bytes(),
        few_ends(),
        proptest::collection::vec(0_u8..70, 0..4),
        proptest::collection::vec(-3_i64..3, 0..4),
        headers,
    );
    let failures = proptest::collection::vec((0_u32..5).prop_map(failure), 0..3);
    // Sorting makes most ends grow, and cutting them to the number of outputs makes most lengths agree.
    (first, second, failures, any::<[bool; 4]>()).prop_map(
        |(first, second, failures, [sort, fit, fill, plain])| {
            let (mut inputs, mut destinations, mut partitions, mut keys, mut key_ends) = first;
            let (mut values, mut value_ends, mut flags, mut timestamps, mut headers) = second;
            if sort {
                inputs.sort_unstable();
                key_ends.sort_unstable();
                value_ends.sort_unstable();
                headers.name_ends.sort_unstable();
                headers.value_ends.sort_unstable();
            }
            if fit {
                let outputs = inputs.len();
                destinations.truncate(if destinations.len() < outputs { 0 } else { outputs });
                partitions.truncate(if partitions.len() < outputs { 0 } else { outputs });
                key_ends.truncate(if key_ends.len() < outputs { 0 } else { outputs });
                value_ends.resize(outputs, 5);
                flags.truncate(if flags.len() < outputs { 0 } else { outputs });
                timestamps.truncate(if timestamps.len() < outputs { 0 } else { outputs });
                headers.counts.resize(if headers.counts.is_empty() { 0 } else { outputs }, 0);
                let count = headers
                    .counts
                    .iter()
                    .fold(0_usize, |sum, &count| sum.saturating_add(count as usize))
                    .min(9);
                headers.name_ends.resize(count, 5);
                headers.value_ends.resize(count, 5);
                headers.nulls.truncate(if headers.nulls.len() < count { 0 } else { count });
            }
            if fill {
                keys.resize(key_ends.last().map_or(0, |&end| end as usize), 1);
                values.resize(value_ends.last().map_or(0, |&end| end as usize), 2);
                headers.names.resize(headers.name_ends.last().map_or(0, |&end| end as usize), 3);
                headers.values.resize(headers.value_ends.last().map_or(0, |&end| end as usize), 4);
            }
            if plain {
                flags.clear();
                headers = HeaderColumns::default();
            }
            let outputs = Columns {
                inputs,
                destinations,
                partitions,
                keys,
                key_ends,
                values,
                value_ends,
                flags,
                timestamps,
                headers,
            };
            RawAnswer { outputs, failures }
        },
    )
}

/// The bytes between the ends before and of `index`, found without trusting anything.
fn naive<'a>(bytes: &'a [u8], ends: &[u32], index: usize) -> &'a [u8] {
    let start = if index == 0 { 0 } else { ends[index - 1] as usize };
    bytes.get(start..ends[index] as usize).expect("ends grow and stay inside the bytes")
}

/// Checks an accepted answer against the contract, output by output, from the raw columns alone.
fn assert_right(batch: &Batch, raw: &RawAnswer, answer: &Answer) {
    let columns = &raw.outputs;
    let outputs: Vec<_> = answer.outputs(batch).collect();
    assert_eq!(outputs.len(), columns.inputs.len());
    let mut header = 0;
    for (index, output) in outputs.iter().enumerate() {
        let flags = columns.flags.get(index).copied().unwrap_or(0);
        let input = batch.record(columns.inputs[index] as usize);
        assert_eq!(output.input, columns.inputs[index] as usize);
        assert!(index == 0 || outputs[index - 1].input <= output.input);
        assert!(output.destination < LIMITS.destinations);
        assert_eq!(output.partition.is_some(), flags & PARTITION != 0);
        assert!(
            output.partition.is_none_or(|partition| partition == columns.partitions[index] && partition >= 0)
        );
        let key = match flags & (NO_KEY | INPUT_KEY) {
            NO_KEY => None,
            INPUT_KEY => input.key,
            _ if columns.key_ends.is_empty() => input.key,
            _ => Some(naive(&columns.keys, &columns.key_ends, index)),
        };
        assert_eq!(output.key, key);
        let value = (flags & NO_VALUE == 0).then(|| naive(&columns.values, &columns.value_ends, index));
        assert_eq!(output.value, value);
        assert!(output.timestamp >= -1);
        let own = columns.headers.counts.get(index).copied();
        let seen: Vec<_> = output.headers.iter().collect();
        match own {
            Some(count) if flags & INPUT_HEADERS == 0 => {
                assert_eq!(seen.len(), count as usize);
                for (name, value) in seen {
                    assert_eq!(name, naive(&columns.headers.names, &columns.headers.name_ends, header));
                    let null = columns.headers.nulls.get(header) == Some(&1);
                    let bytes = naive(&columns.headers.values, &columns.headers.value_ends, header);
                    assert_eq!(value, (!null).then_some(bytes));
                    header += 1;
                }
            }
            _ => assert_eq!(seen, input.headers.iter().collect::<Vec<_>>()),
        }
    }
    assert_eq!(header, columns.headers.name_ends.len(), "every header belongs to an output");
    for input in 0..batch.len() {
        let of_input = outputs.iter().filter(|output| output.input == input);
        assert!(of_input.clone().count() <= LIMITS.records);
        let failed = answer.failures().iter().filter(|(failed, _)| *failed as usize == input).count();
        assert!(failed <= 1 && (failed == 0 || of_input.count() == 0));
    }
    assert_eq!(answer.failures().len(), raw.failures.len());
    assert!(answer.failures().windows(2).all(|pair| pair[0].0 < pair[1].0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn no_answer_panics_and_what_is_accepted_is_right(raw in answers()) {
        let batch = batch();
        if let Ok(answer) = check(&batch, raw.clone(), &LIMITS) {
            assert_right(&batch, &raw, &answer);
        }
    }
}

#[test]
fn the_random_answers_are_not_all_wrong() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let batch = batch();
    let (mut accepted, mut with_outputs) = (0, 0);
    for _ in 0..5_000 {
        let raw = answers().new_tree(&mut runner).expect("an answer is made").current();
        if let Ok(answer) = check(&batch, raw, &LIMITS) {
            accepted += 1;
            with_outputs += usize::from(answer.output_count() > 1);
        }
    }
    assert!(accepted > 250 && with_outputs > 25, "{accepted} accepted, {with_outputs} of them with outputs");
}
