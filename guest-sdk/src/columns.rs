//! The columns of an answer, pure: what [`Outputs`](crate::Outputs) appends to and takes back from.
//!
//! Two invariants hold between calls. Every column that is optional is either empty, which says "as the
//! input" or "the default" for all outputs, or has one entry for each; it is filled up with entries of that
//! meaning when the first output differs. And nothing lies behind the last end: what is appended there is
//! the output that is being written, and [`Columns::rollback`] takes it back.
//!
//! The columns are emptied and filled again for each batch, so that in a steady state nothing is allocated.

use crate::copy::append;
use crate::raw::{HeaderColumns, Outputs, output_flag};

/// Bits of `Columns::present`.
mod column {
    pub const DESTINATIONS: u8 = 1;
    pub const PARTITIONS: u8 = 1 << 1;
    pub const KEYS: u8 = 1 << 2;
    pub const FLAGS: u8 = 1 << 3;
    pub const TIMESTAMPS: u8 = 1 << 4;
    pub const HEADERS: u8 = 1 << 5;
    pub const NULLS: u8 = 1 << 6;
}

/// Where an output's key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Input,
    None,
    /// The bytes behind the last end of `keys`.
    Own,
}

/// What one output says; its bytes are already behind the last ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub destination: u8,
    pub partition: Option<i32>,
    pub key: Key,
    pub tombstone: bool,
    pub timestamp: Option<i64>,
    /// How many headers were pushed for it; none: it has those of its input.
    pub headers: Option<u32>,
}

impl Shape {
    /// As the input, to the first destination.
    pub const PLAIN: Self = Self {
        destination: 0,
        partition: None,
        key: Key::Input,
        tombstone: false,
        timestamp: None,
        headers: None,
    };

    #[inline]
    fn is_plain(&self) -> bool {
        self.destination == 0
            && self.partition.is_none()
            && matches!(self.key, Key::Input)
            && !self.tombstone
            && self.timestamp.is_none()
            && self.headers.is_none()
    }
}

/// A state to return to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    outputs: usize,
    present: u8,
}

#[derive(Debug, Default)]
pub(crate) struct Columns {
    raw: Outputs,
    /// Which optional columns have entries.
    present: u8,
}

/// A column that grew beyond so many entries is given back: the guest's memory has a limit, and one large
/// answer says nothing of the next.
const KEPT: usize = 2 << 20;

impl Columns {
    /// Empties the columns and keeps their memory.
    #[inline]
    pub fn clear(&mut self) {
        let raw = &mut self.raw;
        raw.inputs.clear();
        raw.value_ends.clear();
        raw.values.clear();
        if self.present != 0 || raw.values.capacity() > KEPT || raw.inputs.capacity() > KEPT {
            self.clear_all();
        }
    }

    #[cold]
    fn clear_all(&mut self) {
        fn clear<T>(column: &mut Vec<T>) {
            column.clear();
            if column.capacity() > KEPT {
                *column = Vec::new();
            }
        }
        let raw = &mut self.raw;
        clear(&mut raw.inputs);
        clear(&mut raw.destinations);
        clear(&mut raw.partitions);
        clear(&mut raw.keys);
        clear(&mut raw.key_ends);
        clear(&mut raw.values);
        clear(&mut raw.value_ends);
        clear(&mut raw.flags);
        clear(&mut raw.timestamps);
        clear(&mut raw.headers.counts);
        clear(&mut raw.headers.names);
        clear(&mut raw.headers.name_ends);
        clear(&mut raw.headers.values);
        clear(&mut raw.headers.value_ends);
        clear(&mut raw.headers.nulls);
        self.present = 0;
    }

    pub fn as_raw(&self) -> &Outputs {
        &self.raw
    }

    /// The value of the output that is being written is what gets appended here.
    #[inline]
    pub fn values(&mut self) -> &mut Vec<u8> {
        &mut self.raw.values
    }

    /// The key of the output that is being written is what gets appended here.
    pub fn keys(&mut self) -> &mut Vec<u8> {
        &mut self.raw.keys
    }

    /// Takes back the value that is being written.
    pub fn clear_value(&mut self) {
        self.raw.values.truncate(last(&self.raw.value_ends));
    }

    /// Takes back the key that is being written.
    pub fn clear_key(&mut self) {
        self.raw.keys.truncate(last(&self.raw.key_ends));
    }

    pub fn push_header(&mut self, name: &[u8], value: Option<&[u8]>) {
        let headers = &mut self.raw.headers;
        if value.is_none() && self.present & column::NULLS == 0 {
            headers.nulls.resize(headers.name_ends.len(), 0);
            self.present |= column::NULLS;
        }
        append(&mut headers.names, name);
        headers.name_ends.push(end(&headers.names));
        append(&mut headers.values, value.unwrap_or_default());
        headers.value_ends.push(end(&headers.values));
        if self.present & column::NULLS != 0 {
            headers.nulls.push(u8::from(value.is_none()));
        }
    }

    /// Takes back the last `count` headers.
    pub fn pop_headers(&mut self, count: u32) {
        let left = self.raw.headers.name_ends.len() - count as usize;
        truncate_headers(&mut self.raw.headers, left);
    }

    /// Ends an output of `input`.
    #[inline]
    pub fn push(&mut self, input: u32, shape: Shape) {
        if self.present == 0 && shape.is_plain() {
            self.raw.inputs.push(input);
            self.raw.value_ends.push(end(&self.raw.values));
        } else {
            self.push_special(input, shape);
        }
    }

    /// Ends an output that differs from its input, or stands beside one that does.
    fn push_special(&mut self, input: u32, shape: Shape) {
        let before = self.raw.inputs.len();
        let mut flags = 0;

        if shape.destination != 0 {
            self.fill(column::DESTINATIONS, before);
        }
        if self.present & column::DESTINATIONS != 0 {
            self.raw.destinations.push(shape.destination);
        }

        if shape.partition.is_some() {
            self.fill(column::PARTITIONS, before);
            flags |= output_flag::PARTITION;
        }
        if self.present & column::PARTITIONS != 0 {
            self.raw.partitions.push(shape.partition.unwrap_or(0));
        }

        if shape.key != Key::Input {
            self.fill(column::KEYS, before);
        }
        if self.present & column::KEYS != 0 {
            self.raw.key_ends.push(end(&self.raw.keys));
            flags |= match shape.key {
                Key::Input => output_flag::INPUT_KEY,
                Key::None => output_flag::NO_KEY,
                Key::Own => 0,
            };
        }

        if shape.timestamp.is_some() {
            self.fill(column::TIMESTAMPS, before);
        }
        if self.present & column::TIMESTAMPS != 0 {
            self.raw.timestamps.push(shape.timestamp.unwrap_or(0));
            if shape.timestamp.is_none() {
                flags |= output_flag::INPUT_TIMESTAMP;
            }
        }

        if shape.headers.is_some() {
            self.fill(column::HEADERS, before);
        }
        if self.present & column::HEADERS != 0 {
            self.raw.headers.counts.push(shape.headers.unwrap_or(0));
            if shape.headers.is_none() {
                flags |= output_flag::INPUT_HEADERS;
            }
        }

        if shape.tombstone {
            flags |= output_flag::NO_VALUE;
        }
        if flags != 0 {
            self.fill(column::FLAGS, before);
        }
        if self.present & column::FLAGS != 0 {
            self.raw.flags.push(flags);
        }

        self.raw.inputs.push(input);
        self.raw.value_ends.push(end(&self.raw.values));
    }

    /// Gives a column entries for the outputs before the first that differs.
    fn fill(&mut self, which: u8, outputs: usize) {
        if self.present & which != 0 {
            return;
        }
        self.present |= which;
        let raw = &mut self.raw;
        match which {
            column::DESTINATIONS => raw.destinations.resize(outputs, 0),
            column::PARTITIONS => raw.partitions.resize(outputs, 0),
            column::FLAGS => raw.flags.resize(outputs, 0),
            column::KEYS => {
                raw.key_ends.resize(outputs, 0);
                self.flag_all(outputs, output_flag::INPUT_KEY);
            }
            column::TIMESTAMPS => {
                raw.timestamps.resize(outputs, 0);
                self.flag_all(outputs, output_flag::INPUT_TIMESTAMP);
            }
            _ => {
                raw.headers.counts.resize(outputs, 0);
                self.flag_all(outputs, output_flag::INPUT_HEADERS);
            }
        }
    }

    fn flag_all(&mut self, outputs: usize, flag: u8) {
        if outputs == 0 {
            return;
        }
        self.fill(column::FLAGS, outputs);
        for flags in &mut self.raw.flags {
            *flags |= flag;
        }
    }

    #[inline]
    pub fn mark(&self) -> Mark {
        Mark { outputs: self.raw.inputs.len(), present: self.present }
    }

    /// Takes back everything since the mark, also what was appended and not ended, and empties the columns
    /// that were empty then.
    pub fn rollback(&mut self, mark: Mark) {
        let keep = |which: u8| if mark.present & which != 0 { mark.outputs } else { 0 };
        let raw = &mut self.raw;
        raw.inputs.truncate(mark.outputs);
        raw.value_ends.truncate(mark.outputs);
        raw.values.truncate(last(&raw.value_ends));
        raw.destinations.truncate(keep(column::DESTINATIONS));
        raw.partitions.truncate(keep(column::PARTITIONS));
        raw.key_ends.truncate(keep(column::KEYS));
        raw.keys.truncate(last(&raw.key_ends));
        raw.flags.truncate(keep(column::FLAGS));
        raw.timestamps.truncate(keep(column::TIMESTAMPS));
        raw.headers.counts.truncate(keep(column::HEADERS));
        let headers = raw.headers.counts.iter().sum::<u32>() as usize;
        truncate_headers(&mut raw.headers, headers);
        if mark.present & column::NULLS == 0 {
            raw.headers.nulls.clear();
        }
        self.present = mark.present;
    }
}

fn truncate_headers(headers: &mut HeaderColumns, left: usize) {
    headers.name_ends.truncate(left);
    headers.names.truncate(last(&headers.name_ends));
    headers.value_ends.truncate(left);
    headers.values.truncate(last(&headers.value_ends));
    headers.nulls.truncate(left);
}

fn last(ends: &[u32]) -> usize {
    ends.last().map_or(0, |&end| end as usize)
}

#[inline]
fn end(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a guest has 4 GiB of memory at most")
}
