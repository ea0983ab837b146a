//! The rules of `docs/CONTRACT.md` for answers, one after the other, without a thought for speed: what the host's
//! checker is held against.

use crate::batch::{Batch, Record};
use crate::wasm::answer::{HeaderColumns, OutputLimits, RawAnswer};

/// Name and value of each header; none is null.
pub type Headers = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// One output as the contract means it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plain {
    pub input: usize,
    pub destination: usize,
    pub partition: Option<i32>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub timestamp: i64,
    pub headers: Headers,
}

impl Plain {
    /// Bytes that count against the limit: 48 for the output, 9 for each header, and all its bytes.
    pub fn weight(&self) -> usize {
        let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = self.headers.iter().map(|(name, value)| 9 + name.len() + bytes(value));
        48 + bytes(&self.key) + bytes(&self.value) + headers.sum::<usize>()
    }
}

/// The headers that an iterator walks over.
pub fn headers<'a>(headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Headers {
    headers.map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect()
}

/// The outputs of an answer, or the rule that it breaks.
pub fn read(batch: &Batch, raw: &RawAnswer, limits: &OutputLimits) -> Result<Vec<Plain>, &'static str> {
    let columns = &raw.outputs;
    let count = columns.inputs.len();
    let none_or_one_each = [
        columns.destinations.len(),
        columns.partitions.len(),
        columns.key_ends.len(),
        columns.flags.len(),
        columns.timestamps.len(),
        columns.headers.counts.len(),
    ];
    must(
        none_or_one_each.iter().all(|&entries| entries == 0 || entries == count),
        "an entry for each output",
    )?;
    let (keys, values) =
        (entries(&columns.keys, &columns.key_ends)?, entries(&columns.values, &columns.value_ends)?);
    must(values.len() == count, "values are never left out")?;
    let mut own_headers = own_headers(&columns.headers)?.into_iter();

    let mut outputs: Vec<Plain> = Vec::new();
    for (at, own_value) in values.into_iter().enumerate() {
        let flags = columns.flags.get(at).copied().unwrap_or(0);
        let bit = |number: u8| flags & 1 << number != 0;
        must(flags < 1 << 6, "no unknown flag")?;
        let input = columns.inputs[at] as usize;
        must(input < batch.len(), "the record exists")?;
        must(outputs.last().is_none_or(|before| before.input <= input), "inputs ascend")?;
        let record: Record<'_> = batch.record(input);

        let destination = columns.destinations.get(at).map_or(0, |&index| usize::from(index));
        must(destination < limits.destinations, "the output topic is declared")?;
        let partition = columns.partitions.get(at).copied().filter(|_| bit(5));
        must(!bit(5) || partition.is_some_and(|partition| partition >= 0), "the partition is one")?;

        let own_key = keys.get(at).filter(|key| !key.is_empty() || !(bit(0) || bit(2)));
        must(!(bit(0) && bit(2)), "a key, or none")?;
        must(!(bit(0) || bit(2)) || own_key.is_none(), "one key")?;
        let key = match own_key {
            _ if bit(0) => None,
            Some(own) => Some(own.clone()),
            None => record.key.map(<[u8]>::to_vec),
        };
        must(!bit(1) || own_value.is_empty(), "a value, or none")?;
        let value = (!bit(1)).then_some(own_value);

        let own_timestamp = columns.timestamps.get(at).copied().filter(|_| !bit(4));
        must(own_timestamp.is_none_or(|timestamp| timestamp >= -1), "the timestamp is one")?;

        let own_headers = own_headers.next();
        must(!bit(3) || own_headers.as_ref().is_none_or(Vec::is_empty), "headers of one side")?;
        outputs.push(Plain {
            input,
            destination,
            partition,
            key,
            value,
            timestamp: own_timestamp.unwrap_or(record.timestamp),
            headers: own_headers.filter(|_| !bit(3)).unwrap_or_else(|| headers(record.headers.iter())),
        });
    }

    for record in 0..batch.len() {
        let own: Vec<&Plain> = outputs.iter().filter(|output| output.input == record).collect();
        must(own.len() <= limits.records, "not too many outputs of a record")?;
        let bytes: usize = own.iter().map(|output| output.weight()).sum();
        must(bytes <= limits.bytes, "not too many bytes of a record")?;
        let failed = raw.failures.iter().filter(|failure| failure.input as usize == record).count();
        must(failed <= 1, "it fails once")?;
        must(failed == 0 || own.is_empty(), "what failed has no outputs")?;
    }
    let exist = raw.failures.iter().all(|failure| (failure.input as usize) < batch.len());
    must(exist, "what failed exists")?;
    Ok(outputs)
}

fn must(holds: bool, rule: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(rule) }
}

/// Byte strings that lie end to end.
fn entries(bytes: &[u8], ends: &[u32]) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut entries = Vec::new();
    let mut start = 0;
    for &end in ends {
        entries.push(bytes.get(start..end as usize).ok_or("ends grow, and stay inside")?.to_vec());
        start = end as usize;
    }
    must(start == bytes.len(), "the last end is that of the bytes")?;
    Ok(entries)
}

/// The headers of each output; of none, if all outputs take those of their inputs.
fn own_headers(columns: &HeaderColumns) -> Result<Vec<Headers>, &'static str> {
    let names = entries(&columns.names, &columns.name_ends)?;
    let values = entries(&columns.values, &columns.value_ends)?;
    must(names.len() == values.len(), "a value for each name")?;
    must(columns.nulls.is_empty() || columns.nulls.len() == names.len(), "a mark for each header, or none")?;
    must(
        columns.counts.iter().map(|&count| u64::from(count)).sum::<u64>() == names.len() as u64,
        "all are counted",
    )?;
    let mut all = Vec::new();
    for (at, (name, value)) in names.into_iter().zip(values).enumerate() {
        let mark = columns.nulls.get(at).copied().unwrap_or(0);
        must(mark <= 1, "null, or not")?;
        must(mark == 0 || value.is_empty(), "null has no bytes")?;
        all.push((name, (mark == 0).then_some(value)));
    }
    let mut all = all.into_iter();
    Ok(columns.counts.iter().map(|&count| all.by_ref().take(count as usize).collect()).collect())
}
