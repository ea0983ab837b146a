//! Writing: [`Outputs`] takes what a record emits, [`Answer`] collects what a batch comes to.

use std::fmt;
use std::io;
use std::mem::ManuallyDrop;

use crate::columns::{Columns, Key, Mark, Shape};
use crate::copy::append;
use crate::failure::Failure;
use crate::json;
use crate::raw;
use crate::record::{Header, Record};

/// Where the outputs of one record go.
///
/// Outputs are published in the order in which they were emitted. If the record fails in the end, they are
/// taken back.
#[derive(Debug)]
pub struct Outputs {
    columns: Columns,
    /// Index in its batch of the record that is handled.
    input: u32,
}

impl Outputs {
    /// Emits a record with this value to the first declared output; key, headers and timestamp are those of
    /// the input. This is the fast path: one copy of the value, nothing else.
    #[inline]
    pub fn emit(&mut self, value: impl AsRef<[u8]>) {
        append(self.columns.values(), value.as_ref());
        self.columns.push(self.input, Shape::PLAIN);
    }

    /// Emits the record that is handled, unchanged, tombstones included, to the first declared output.
    ///
    /// # Panics
    /// If `record` is another one: its key would not come along.
    pub fn forward(&mut self, record: Record<'_>) {
        assert_eq!(record.index(), self.input as usize, "a record is forwarded while it is handled");
        match record.value() {
            Some(value) => self.emit(value),
            None => self.record().tombstone().emit(),
        }
    }

    /// Begins an output that says more than its value. It is discarded unless [`OutputRecord::emit`] ends it.
    #[inline]
    pub fn record(&mut self) -> OutputRecord<'_> {
        let mark = self.columns.mark();
        OutputRecord { input: self.input, columns: &mut self.columns, mark, shape: Shape::PLAIN }
    }
}

/// One output that is being written, straight into the columns of the answer.
///
/// What is not said is as the input: key, headers, timestamp. It goes to the first declared output, and the
/// host's partitioner chooses the partition.
///
/// ```
/// # use sandmill_guest::{Failure, Outputs, Record};
/// fn route(record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
///     out.record().to(1).key("eu").headers(record.headers()).header("seen", "yes").value("…").emit();
///
///     let mut output = out.record();
///     write!(output, "{{\"offset\":{}}}", record.offset());
///     output.emit();
///     Ok(())
/// }
/// # let answer = sandmill_guest::testing::run(route, ["a"]);
/// # assert_eq!(answer.outputs().count(), 2);
/// ```
#[derive(Debug)]
#[must_use = "an output is discarded unless `emit` ends it"]
pub struct OutputRecord<'o> {
    columns: &'o mut Columns,
    input: u32,
    mark: Mark,
    shape: Shape,
}

impl OutputRecord<'_> {
    /// Sends it to the declared output of this index. An index that the pipeline does not declare makes the
    /// answer invalid.
    pub fn to(mut self, destination: u8) -> Self {
        self.shape.destination = destination;
        self
    }

    /// Sends it to this partition instead of the partitioner's choice.
    pub fn partition(mut self, partition: i32) -> Self {
        self.shape.partition = Some(partition);
        self
    }

    /// Gives it this key.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.columns.clear_key();
        append(self.columns.keys(), key.as_ref());
        self.shape.key = Key::Own;
        self
    }

    /// Gives it no key.
    pub fn no_key(mut self) -> Self {
        self.columns.clear_key();
        self.shape.key = Key::None;
        self
    }

    /// Gives it this value, in place of what was written to it before.
    pub fn value(mut self, value: impl AsRef<[u8]>) -> Self {
        self.columns.clear_value();
        append(self.columns.values(), value.as_ref());
        self.shape.tombstone = false;
        self
    }

    /// Gives it no value, in place of what was written to it before.
    pub fn tombstone(mut self) -> Self {
        self.columns.clear_value();
        self.shape.tombstone = true;
        self
    }

    /// Gives it the value of `record`, or none if that is a tombstone.
    pub fn copy_of(self, record: Record<'_>) -> Self {
        match record.value() {
            Some(value) => self.value(value),
            None => self.tombstone(),
        }
    }

    /// Adds a header. The first one replaces the headers of the input; [`headers`](Self::headers) keeps them.
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.push_header(name.as_ref(), Some(value.as_ref()));
        self
    }

    /// Adds a header whose value is null.
    pub fn null_header(mut self, name: impl AsRef<[u8]>) -> Self {
        self.push_header(name.as_ref(), None);
        self
    }

    /// Adds all of these headers, for example those of the input before some more.
    pub fn headers<'h>(mut self, headers: impl IntoIterator<Item = Header<'h>>) -> Self {
        self.shape.headers.get_or_insert(0);
        for header in headers {
            self.push_header(header.name, header.value);
        }
        self
    }

    /// Gives it no headers, in place of those that were added before.
    pub fn no_headers(mut self) -> Self {
        self.columns.pop_headers(self.shape.headers.unwrap_or(0));
        self.shape.headers = Some(0);
        self
    }

    /// Gives it this timestamp, in milliseconds since 1970.
    pub fn timestamp(mut self, timestamp: i64) -> Self {
        self.shape.timestamp = Some(timestamp);
        self
    }

    /// Appends one byte to the value.
    #[inline]
    pub fn push(&mut self, byte: u8) {
        self.shape.tombstone = false;
        self.columns.values().push(byte);
    }

    /// Appends bytes to the value.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.shape.tombstone = false;
        append(self.columns.values(), bytes);
    }

    /// Appends text to the value as a JSON string, quotes included: escaped, and with U+FFFD for what is no
    /// UTF-8.
    #[inline]
    pub fn push_json(&mut self, text: impl AsRef<[u8]>) {
        self.shape.tombstone = false;
        json::string(self.columns.values(), text.as_ref());
    }

    /// Appends text to the value: `write!(output, "{n}")`, which cannot fail here and so returns nothing.
    pub fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) {
        self.shape.tombstone = false;
        io::Write::write_fmt(self.columns.values(), arguments)
            .expect("a vector takes all bytes, so only a `Display` that lies about an error can fail");
    }

    /// Ends it: it is published if the record succeeds.
    #[inline]
    pub fn emit(self) {
        // Dropping would take it back.
        let this = &mut *ManuallyDrop::new(self);
        this.columns.push(this.input, this.shape);
    }

    fn push_header(&mut self, name: &[u8], value: Option<&[u8]>) {
        self.columns.push_header(name, value);
        *self.shape.headers.get_or_insert(0) += 1;
    }
}

impl Drop for OutputRecord<'_> {
    fn drop(&mut self) {
        self.columns.rollback(self.mark);
    }
}

/// Appends to the value, so that serializers can write to it.
impl io::Write for OutputRecord<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a batch comes to: the outputs of its records, and which of them failed.
///
/// [`Handler::handle_batch`](crate::Handler::handle_batch) fills it. A record that is never responded to is
/// done, without outputs.
#[derive(Debug)]
pub struct Answer {
    outputs: Outputs,
    failures: Vec<raw::Failure>,
    /// Index of the first record that may still be responded to.
    next: usize,
}

impl Answer {
    pub(crate) fn new() -> Self {
        Self { outputs: Outputs { columns: Columns::default(), input: 0 }, failures: Vec::new(), next: 0 }
    }

    /// Empties it for another batch and keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.outputs.columns.clear();
        self.failures.clear();
        self.next = 0;
    }

    /// Runs `respond` for one record. If it fails, what it emitted is taken back.
    ///
    /// # Panics
    /// If a record comes twice or before one that was responded to already: outputs are published in the
    /// order of their inputs.
    #[inline]
    pub fn respond(&mut self, record: Record<'_>, respond: impl FnOnce(&mut Outputs) -> Result<(), Failure>) {
        let index = record.index();
        assert!(index >= self.next, "records are responded to once, in the order of the batch");
        self.next = index + 1;
        let input = u32::try_from(index).expect("a batch has fewer records than bytes, and those fit");
        self.outputs.input = input;
        let mark = self.outputs.columns.mark();
        if let Err(failure) = respond(&mut self.outputs) {
            self.outputs.columns.rollback(mark);
            self.failures.push(failure.into_raw(input));
        }
    }

    /// The columns of the contract.
    pub(crate) fn as_raw(&self) -> (&raw::Outputs, &[raw::Failure]) {
        (self.outputs.columns.as_raw(), &self.failures)
    }
}
