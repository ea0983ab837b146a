//! Records for a test, and the columns of the contract made from them.

use crate::raw::{self, input_flag};

/// A record to hand to a handler. Its offset is its place in the batch unless it is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    timestamp: Option<i64>,
    offset: Option<i64>,
    attempt: u8,
}

impl Input {
    /// A record with this value, without key, headers and timestamp.
    pub fn new(value: impl AsRef<[u8]>) -> Self {
        Self { value: Some(value.as_ref().to_vec()), ..Self::default() }
    }

    /// A record without a value.
    pub fn tombstone() -> Self {
        Self::default()
    }

    /// Gives it a key.
    #[must_use]
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.key = Some(key.as_ref().to_vec());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.as_ref().to_vec(), Some(value.as_ref().to_vec())));
        self
    }

    /// Adds a header whose value is null.
    #[must_use]
    pub fn null_header(mut self, name: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.as_ref().to_vec(), None));
        self
    }

    /// Gives it a timestamp, in milliseconds since 1970.
    #[must_use]
    pub fn timestamp(mut self, timestamp: i64) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// Gives it an offset.
    #[must_use]
    pub fn offset(mut self, offset: i64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// Says how often it was tried before.
    #[must_use]
    pub fn attempt(mut self, attempt: u8) -> Self {
        self.attempt = attempt;
        self
    }
}

impl From<&str> for Input {
    fn from(value: &str) -> Self {
        Self::new(value)
    }
}

impl From<&[u8]> for Input {
    fn from(value: &[u8]) -> Self {
        Self::new(value)
    }
}

impl From<&Input> for Input {
    fn from(input: &Input) -> Self {
        input.clone()
    }
}

/// The columns of these records, as the host writes them: of partition 0 of the topic `test`.
pub fn batch<I: Into<Input>>(inputs: impl IntoIterator<Item = I>) -> raw::Batch {
    let mut batch = raw::Batch { topic: "test".into(), ..raw::Batch::default() };
    for input in inputs {
        push(&mut batch, &input.into());
    }
    empty_if(&mut batch.flags, |&flags| flags == 0);
    empty_if(&mut batch.attempts, |&attempt| attempt == 0);
    empty_if(&mut batch.headers.counts, |&count| count == 0);
    empty_if(&mut batch.headers.nulls, |&null| null == 0);
    batch
}

fn push(batch: &mut raw::Batch, input: &Input) {
    let place = i64::try_from(batch.offsets.len()).expect("a test has fewer records");
    batch.offsets.push(input.offset.unwrap_or(place));
    batch.timestamps.push(input.timestamp.unwrap_or(-1));
    append(&mut batch.keys, &mut batch.key_ends, input.key.as_deref());
    append(&mut batch.values, &mut batch.value_ends, input.value.as_deref());
    let no_key = if input.key.is_none() { input_flag::NO_KEY } else { 0 };
    let no_value = if input.value.is_none() { input_flag::NO_VALUE } else { 0 };
    batch.flags.push(no_key | no_value);
    batch.attempts.push(input.attempt);
    let headers = &mut batch.headers;
    headers.counts.push(u32::try_from(input.headers.len()).expect("a test has fewer headers"));
    for (name, value) in &input.headers {
        append(&mut headers.names, &mut headers.name_ends, Some(name));
        append(&mut headers.values, &mut headers.value_ends, value.as_deref());
        headers.nulls.push(u8::from(value.is_none()));
    }
}

fn append(bytes: &mut Vec<u8>, ends: &mut Vec<u32>, entry: Option<&[u8]>) {
    bytes.extend_from_slice(entry.unwrap_or_default());
    ends.push(u32::try_from(bytes.len()).expect("a test has fewer bytes"));
}

/// A column that has nothing to say is empty.
fn empty_if<T>(column: &mut Vec<T>, says_nothing: impl Fn(&T) -> bool) {
    if column.iter().all(says_nothing) {
        column.clear();
    }
}
