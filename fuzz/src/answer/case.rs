//! A batch, limits and an answer, read out of bytes.
//!
//! An answer of random columns would be refused for the first of them. So the input describes outputs, which become
//! columns that mostly keep the rules, and then changes numbers in them: each refusal is as near as each acceptance.

use crate::batch::{self, Batch, Record};
use crate::ids::Offset;
use crate::input::Input;
use crate::wasm::answer::{
    Columns, FailureKind, INPUT_HEADERS, INPUT_KEY, NO_KEY, NO_VALUE, OutputLimits, RawAnswer, RawFailure,
};

/// Records of a batch, and outputs that are described; more bring nothing new.
const MOST: u8 = 6;
/// Changes to one answer.
const CHANGES: usize = 8;

/// What is checked against what.
pub struct Case {
    pub batch: Batch,
    pub limits: OutputLimits,
    pub raw: RawAnswer,
}

impl Case {
    pub fn read(input: &mut Input<'_>) -> Self {
        // Mostly enough: what exceeds a limit is refused, whatever else it is.
        let mut few = |enough: usize| match input.byte() % 8 {
            few @ 0..=2 => usize::from(few),
            _ => enough,
        };
        let limits = OutputLimits {
            records: 1 + few(5),
            destinations: few(3),
            bytes: 150 * few(8),
            failure_message: usize::from(input.byte() % 40),
        };
        let batch = batch(input);
        let mut raw = RawAnswer { outputs: columns(input), failures: failures(input) };
        for _ in 0..CHANGES {
            if input.is_empty() {
                break;
            }
            change(&mut raw, input);
        }
        Self { batch, limits, raw }
    }
}

fn batch(input: &mut Input<'_>) -> Batch {
    let mut batch = Batch::new();
    for record in 0..=input.byte() % MOST {
        let what = input.byte();
        let present = |bit: u8| what >> bit & 1 != 0;
        let length = usize::from(what >> 4);
        let (key, value, name) = (input.bytes(length), input.bytes(length), input.bytes(2));
        let list = [(name, present(2).then_some(value)), (b"again", Some(key))];
        let headers = if present(3) { batch::Headers::List(&list) } else { batch::Headers::None };
        batch.push(
            &Record {
                offset: Offset(i64::from(record)),
                timestamp: if present(2) { -1 } else { 1_000 + i64::from(record) },
                key: present(0).then_some(key),
                value: present(1).then_some(value),
                headers,
            },
            0,
            0,
        );
    }
    batch
}

/// Columns as outputs would make them.
fn columns(input: &mut Input<'_>) -> Columns {
    let mut columns = Columns::default();
    let (there, tidy) = (input.byte(), !input.byte().is_multiple_of(8));
    let present = |bit: u8| there >> bit & 1 != 0;
    let end = |bytes: &[u8]| u32::try_from(bytes.len()).expect("an input is small");
    let mut record = 0;
    for _ in 0..input.byte() % MOST {
        record += u32::from(input.byte() % 4) / 2;
        columns.inputs.push(record);
        let known = if present(2) { 0x3f } else { 0x1f };
        let flags = if present(0) { input.byte() & known } else { 0 };
        let flags = if tidy { flags } else { flags ^ 1 << (input.byte() % 8) };
        // What one flag takes away is not there, and another one does not say that it is.
        let flags = if tidy && flags & NO_KEY != 0 { flags & !INPUT_KEY } else { flags };
        let allowed = |bits: u8, length: u8| if tidy && flags & bits != 0 { 0 } else { usize::from(length) };
        if present(0) {
            columns.flags.push(flags);
        }
        if present(1) {
            columns.destinations.push(input.byte() % 3);
        }
        if present(2) {
            columns.partitions.push(i32::from(input.byte() % 16) - 1);
        }
        if present(3) {
            let length = allowed(NO_KEY | INPUT_KEY, input.byte() % 8);
            columns.keys.extend(input.bytes(length));
            columns.key_ends.push(end(&columns.keys));
        }
        let length = allowed(NO_VALUE, input.byte() % 64);
        columns.values.extend(input.bytes(length));
        columns.value_ends.push(end(&columns.values));
        if present(4) {
            columns.timestamps.push(i64::from(input.byte()) - 1);
        }
        if present(5) {
            let headers = &mut columns.headers;
            let count = allowed(INPUT_HEADERS, input.byte() % 3);
            headers.counts.push(count as u32);
            for _ in 0..count {
                let (name, null) = (usize::from(input.byte() % 4), u8::from(input.byte().is_multiple_of(4)));
                headers.names.extend(input.bytes(name));
                headers.name_ends.push(end(&headers.names));
                let length = if null == 1 && tidy { 0 } else { usize::from(input.byte() % 4) };
                headers.values.extend(input.bytes(length));
                headers.value_ends.push(end(&headers.values));
                if present(6) {
                    headers.nulls.push(null);
                }
            }
        }
    }
    columns
}

fn failures(input: &mut Input<'_>) -> Vec<RawFailure> {
    let text = |input: &mut Input<'_>| {
        let length = usize::from(input.byte() % 100);
        String::from_utf8_lossy(input.bytes(length)).into_owned()
    };
    let count = input.byte() % 4;
    let failures = (0..count).map(|_| RawFailure {
        input: u32::from(input.byte() % MOST),
        kind: match input.byte() % 3 {
            0 => FailureKind::Reject,
            1 => FailureKind::Retry(None),
            _ => FailureKind::Retry(Some(input.number() as u32)),
        },
        code: text(input),
        message: text(input),
    });
    failures.collect()
}

/// Changes one entry of one column, or how many it has.
fn change(raw: &mut RawAnswer, input: &mut Input<'_>) {
    let (which, how, at, number) = (input.byte() % 17, input.byte(), input.byte(), input.number());
    let columns = &mut raw.outputs;
    let headers = &mut columns.headers;
    match which {
        0 => edit(&mut columns.inputs, how, at, number as u32),
        1 => edit(&mut columns.destinations, how, at, number as u8),
        2 => edit(&mut columns.partitions, how, at, number as i32),
        3 => edit(&mut columns.keys, how, at, number as u8),
        4 => edit(&mut columns.key_ends, how, at, number as u32),
        5 => edit(&mut columns.values, how, at, number as u8),
        6 => edit(&mut columns.value_ends, how, at, number as u32),
        7 => edit(&mut columns.flags, how, at, number as u8),
        8 => edit(&mut columns.timestamps, how, at, number as i64),
        9 => edit(&mut headers.counts, how, at, number as u32),
        10 => edit(&mut headers.names, how, at, number as u8),
        11 => edit(&mut headers.name_ends, how, at, number as u32),
        12 => edit(&mut headers.values, how, at, number as u8),
        13 => edit(&mut headers.value_ends, how, at, number as u32),
        14 => edit(&mut headers.nulls, how, at, number as u8),
        15 => columns.flags.iter_mut().for_each(|flags| *flags ^= number as u8),
        _ => columns.timestamps.iter_mut().for_each(|timestamp| *timestamp = timestamp.wrapping_neg()),
    }
}

fn edit<T: Copy>(column: &mut Vec<T>, how: u8, at: u8, entry: T) {
    let at = usize::from(at) % column.len().max(1);
    match how % 8 {
        0 => column.clear(),
        1 => drop(column.pop()),
        2 => column.push(entry),
        3 => column.insert(at, entry),
        4 if !column.is_empty() => drop(column.remove(at)),
        5 if column.len() > 1 => column.swap(at, 0),
        _ if !column.is_empty() => column[at] = entry,
        _ => {}
    }
}
