//! The rules for answers.

use std::time::Duration;

use super::{
    Answer, Columns, FailureKind, HeaderColumns, INPUT_HEADERS, INPUT_KEY, INPUT_TIMESTAMP, NO_KEY, NO_VALUE,
    Output, PARTITION, RawAnswer, RawFailure,
};
use crate::batch::{Batch, ENTRY_BYTES};
use crate::outcome::{Again, Failure, Outcome};
use crate::wasm::text;

/// Longest failure code, in bytes; the contract names it.
const CODE_BYTES: usize = 64;

const KNOWN_FLAGS: u8 = NO_KEY | NO_VALUE | INPUT_KEY | INPUT_HEADERS | INPUT_TIMESTAMP | PARTITION;

/// How much a guest may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimits {
    /// Output records for each input record.
    pub records: usize,
    /// Bytes of output for each input record: keys, values and headers, also those taken from the input,
    /// and [`ENTRY_BYTES`] for each output record.
    pub bytes: usize,
    /// Output topics that the pipeline declares.
    pub destinations: usize,
    /// Bytes of a failure's message; what is longer is cut.
    pub failure_message: usize,
}

/// The rule that an answer broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Wrong {
    #[error("the column `{column}` has {found} entries where {wanted} are needed")]
    Length { column: &'static str, found: usize, wanted: usize },
    #[error("entry {index} of `{column}` ends before the entry that precedes it")]
    EndsShrink { column: &'static str, index: usize },
    #[error("the entries of `{column}` end at byte {end}, but there are {bytes} bytes")]
    EndsMismatch { column: &'static str, end: usize, bytes: usize },
    #[error("output {output} answers record {input} of a batch of {records}")]
    NoSuchInput { output: usize, input: u32, records: usize },
    #[error("output {output} answers record {input} after a later one: `inputs` has to ascend")]
    InputsDescend { output: usize, input: u32 },
    #[error(
        "output {output} goes to output topic {destination}, but the pipeline declares {declared}: name more with `outputs` or `--output`"
    )]
    NoSuchDestination { output: usize, destination: u8, declared: usize },
    #[error("output {output} has the flag bits {flags:#010b}, of which some are unknown")]
    UnknownFlags { output: usize, flags: u8 },
    #[error("the flags of output {output} say that it has {what} and that it has not")]
    Contradiction { output: usize, what: &'static str },
    #[error("output {output} has partition {partition}, which is no partition")]
    NoSuchPartition { output: usize, partition: i32 },
    #[error("the flags of output {output} say that it has a partition, but `partitions` is empty")]
    NoPartitions { output: usize },
    #[error("output {output} has the timestamp {timestamp}: smallest is -1, for none")]
    Timestamp { output: usize, timestamp: i64 },
    #[error("headers have bytes or entries although `counts` is empty")]
    UncountedHeaders,
    #[error("header {header} has the null mark {mark}: only 0 and 1 exist")]
    NullMark { header: usize, mark: u8 },
    #[error("header {header} is null and has a value")]
    NullWithValue { header: usize },
    #[error("record {input} has more than {limit} outputs")]
    TooManyOutputs { input: u32, limit: usize },
    #[error("the outputs of record {input} have {bytes} bytes, more than {limit}")]
    TooManyBytes { input: u32, bytes: usize, limit: usize },
    #[error("record {input} of a batch of {records} is said to have failed")]
    NoSuchFailedInput { input: u32, records: usize },
    #[error("record {input} is said to have failed twice")]
    FailsTwice { input: u32 },
    #[error("record {input} is said to have failed and has outputs")]
    FailsWithOutputs { input: u32 },
}

impl From<Wrong> for Failure {
    fn from(wrong: Wrong) -> Failure {
        Failure::of(Outcome::InvalidOutput, format!("the answer is wrong: {wrong}"))
    }
}

/// Checks what a guest returned for `batch` against all rules.
///
/// # Errors
/// The first rule that is broken; nothing of such an answer may be used.
pub fn check(batch: &Batch, raw: RawAnswer, limits: &OutputLimits) -> Result<Answer, Wrong> {
    let RawAnswer { outputs: columns, failures } = raw;
    let outputs = columns.inputs.len();
    inputs(&columns.inputs, batch.len(), limits.records)?;
    destinations(&columns, limits.destinations)?;
    column("partitions", columns.partitions.len(), outputs)?;
    column("key-ends", columns.key_ends.len(), outputs)?;
    ends("keys", &columns.keys, &columns.key_ends)?;
    if columns.value_ends.len() != outputs {
        return Err(Wrong::Length { column: "value-ends", found: columns.value_ends.len(), wanted: outputs });
    }
    ends("values", &columns.values, &columns.value_ends)?;
    headers(&columns.headers, outputs)?;
    flags(&columns)?;
    timestamps(&columns)?;
    let failures = failed(failures, batch.len(), &columns.inputs, limits.failure_message)?;
    let mut answer = Answer { columns, failures, bytes: 0 };
    answer.bytes = weigh(&answer, batch, limits.bytes)?;
    Ok(answer)
}

/// A column may be empty, or has an entry for each output.
fn column(column: &'static str, found: usize, wanted: usize) -> Result<(), Wrong> {
    if found == 0 || found == wanted { Ok(()) } else { Err(Wrong::Length { column, found, wanted }) }
}

/// Entries lie end to end and fill the bytes.
fn ends(column: &'static str, bytes: &[u8], ends: &[u32]) -> Result<(), Wrong> {
    if let Some(index) = ends.windows(2).position(|pair| pair[1] < pair[0]) {
        return Err(Wrong::EndsShrink { column, index: index + 1 });
    }
    let end = ends.last().map_or(0, |&end| end as usize);
    if end == bytes.len() { Ok(()) } else { Err(Wrong::EndsMismatch { column, end, bytes: bytes.len() }) }
}

fn inputs(inputs: &[u32], records: usize, limit: usize) -> Result<(), Wrong> {
    let (mut previous, mut run) = (0, 0);
    for (output, &input) in inputs.iter().enumerate() {
        if input as usize >= records {
            return Err(Wrong::NoSuchInput { output, input, records });
        }
        if input < previous {
            return Err(Wrong::InputsDescend { output, input });
        }
        run = if input == previous { run + 1 } else { 1 };
        if run > limit {
            return Err(Wrong::TooManyOutputs { input, limit });
        }
        previous = input;
    }
    Ok(())
}

fn destinations(columns: &Columns, declared: usize) -> Result<(), Wrong> {
    column("destinations", columns.destinations.len(), columns.inputs.len())?;
    if columns.destinations.is_empty() && declared == 0 && !columns.inputs.is_empty() {
        return Err(Wrong::NoSuchDestination { output: 0, destination: 0, declared });
    }
    match columns.destinations.iter().position(|&destination| usize::from(destination) >= declared) {
        None => Ok(()),
        Some(output) => {
            Err(Wrong::NoSuchDestination { output, destination: columns.destinations[output], declared })
        }
    }
}

fn headers(headers: &HeaderColumns, outputs: usize) -> Result<(), Wrong> {
    if headers.counts.is_empty() {
        return if *headers == HeaderColumns::default() { Ok(()) } else { Err(Wrong::UncountedHeaders) };
    }
    column("headers.counts", headers.counts.len(), outputs)?;
    let counted: u64 = headers.counts.iter().map(|&count| u64::from(count)).sum();
    let wanted = usize::try_from(counted).unwrap_or(usize::MAX);
    for (column, found) in
        [("headers.name-ends", headers.name_ends.len()), ("headers.value-ends", headers.value_ends.len())]
    {
        if found != wanted {
            return Err(Wrong::Length { column, found, wanted });
        }
    }
    ends("headers.names", &headers.names, &headers.name_ends)?;
    ends("headers.values", &headers.values, &headers.value_ends)?;
    column("headers.nulls", headers.nulls.len(), wanted)?;
    for (header, &mark) in headers.nulls.iter().enumerate() {
        match mark {
            0 => {}
            1 if entry_len(&headers.value_ends, header) == 0 => {}
            1 => return Err(Wrong::NullWithValue { header }),
            _ => return Err(Wrong::NullMark { header, mark }),
        }
    }
    Ok(())
}

/// Flags say one thing only, and nothing that the columns contradict.
fn flags(columns: &Columns) -> Result<(), Wrong> {
    column("flags", columns.flags.len(), columns.inputs.len())?;
    for (output, &flags) in columns.flags.iter().enumerate() {
        if flags == 0 {
            continue;
        }
        if flags & !KNOWN_FLAGS != 0 {
            return Err(Wrong::UnknownFlags { output, flags });
        }
        let key_bytes = if columns.key_ends.is_empty() { 0 } else { entry_len(&columns.key_ends, output) };
        if flags & (NO_KEY | INPUT_KEY) == NO_KEY | INPUT_KEY
            || (flags & (NO_KEY | INPUT_KEY) != 0 && key_bytes > 0)
        {
            return Err(Wrong::Contradiction { output, what: "a key of its own" });
        }
        if flags & NO_VALUE != 0 && entry_len(&columns.value_ends, output) > 0 {
            return Err(Wrong::Contradiction { output, what: "a value" });
        }
        if flags & INPUT_HEADERS != 0 && columns.headers.counts.get(output).is_some_and(|&count| count > 0) {
            return Err(Wrong::Contradiction { output, what: "headers of its own" });
        }
        if flags & PARTITION != 0 {
            match columns.partitions.get(output) {
                None => return Err(Wrong::NoPartitions { output }),
                Some(&partition) if partition < 0 => {
                    return Err(Wrong::NoSuchPartition { output, partition });
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}

/// Timestamps that are read are moments, or none.
fn timestamps(columns: &Columns) -> Result<(), Wrong> {
    column("timestamps", columns.timestamps.len(), columns.inputs.len())?;
    for (output, &timestamp) in columns.timestamps.iter().enumerate() {
        let is_read = columns.flags.get(output).is_none_or(|flags| flags & INPUT_TIMESTAMP == 0);
        if is_read && timestamp < -1 {
            return Err(Wrong::Timestamp { output, timestamp });
        }
    }
    Ok(())
}

/// Failures in ascending order, each of a record that exists, failed once and has no outputs.
fn failed(
    mut failures: Vec<RawFailure>,
    records: usize,
    inputs: &[u32],
    message_bytes: usize,
) -> Result<Vec<(u32, Failure)>, Wrong> {
    failures.sort_by_key(|failure| failure.input);
    let mut checked = Vec::with_capacity(failures.len().min(records));
    let mut previous = None;
    for RawFailure { input, kind, code, message } in failures {
        if input as usize >= records {
            return Err(Wrong::NoSuchFailedInput { input, records });
        }
        if previous == Some(input) {
            return Err(Wrong::FailsTwice { input });
        }
        if inputs.binary_search(&input).is_ok() {
            return Err(Wrong::FailsWithOutputs { input });
        }
        previous = Some(input);
        let again = match kind {
            FailureKind::Reject => Again::Never,
            FailureKind::Retry(None) => Again::Backoff,
            FailureKind::Retry(Some(millis)) => Again::After(Duration::from_millis(u64::from(millis))),
        };
        let code = text::clean(text::head(&code, CODE_BYTES), CODE_BYTES);
        let message = text::clean(&message, message_bytes);
        checked.push((input, Failure { outcome: Outcome::Rejected, again, code, message }));
    }
    Ok(checked)
}

/// Bytes of all outputs. What an output takes from its input weighs as much as if the guest had copied it:
/// else an answer of a few bytes could publish a large key a thousand times.
fn weigh(answer: &Answer, batch: &Batch, limit: usize) -> Result<usize, Wrong> {
    let (mut total, mut input, mut bytes) = (0_usize, 0, 0_usize);
    for output in answer.outputs(batch) {
        if output.input != input {
            (input, bytes) = (output.input, 0);
        }
        let weight = weight(&output);
        bytes = bytes.saturating_add(weight);
        total = total.saturating_add(weight);
        if bytes > limit {
            let input = u32::try_from(input).unwrap_or(u32::MAX);
            return Err(Wrong::TooManyBytes { input, bytes, limit });
        }
    }
    Ok(total)
}

fn weight(output: &Output<'_>) -> usize {
    let (key, value) = (output.key.map_or(0, <[u8]>::len), output.value.map_or(0, <[u8]>::len));
    ENTRY_BYTES + key + value + output.headers.weight()
}

fn entry_len(ends: &[u32], index: usize) -> usize {
    let start = if index == 0 { 0 } else { ends[index - 1] };
    (ends[index] - start) as usize
}
