//! How columns cross the border: the canonical ABI of the contract's two exports.
//!
//! Written by hand, because generated code owns every column: it frees each one after the call and allocates
//! each one of the answer anew. Here a batch lies in the [arena](crate::arena) and is borrowed, the columns of
//! an answer are the handler's own and are lent to the host until the next call, and so a call of one record
//! costs the guest half as much.
//!
//! The structs below are laid out as the canonical ABI says for 32-bit pointers: a list is its address and its
//! length, an option is a byte and what it holds, each at its own alignment. The host writes a batch before
//! `handle` is called; it reads the answer when `handle` has returned, and nothing runs in between. There is
//! no `post-return`: what the host has read stays where it is until the next call writes over it.

use std::mem::MaybeUninit;

use crate::raw::{self, FailureKind, HeaderColumns};
use crate::record::{Batch, HeaderView};

/// The contract, as tools read it from a module: the component type of the world in `wit/`. A test of the host
/// holds it against `wit/` and says how to make it anew.
pub const CONTRACT: &[u8; include_bytes!("contract.bin").len()] = include_bytes!("contract.bin");

/// A list: an address and a number of entries. The address of an empty one means nothing.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct List<T> {
    pub(crate) start: *const T,
    pub(crate) len: usize,
}

impl<T> List<T> {
    pub(crate) fn of(slice: &[T]) -> Self {
        List { start: slice.as_ptr(), len: slice.len() }
    }

    /// # Safety
    /// If it is not empty, so many initialized entries lie there, aligned, and nobody writes to them during
    /// `'a`.
    pub unsafe fn get<'a>(self) -> &'a [T] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    /// # Safety
    /// As [`get`](Self::get), and nobody else reads them either.
    unsafe fn get_mut<'a>(self) -> &'a mut [T] {
        if self.len == 0 {
            return &mut [];
        }
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast_mut(), self.len) }
    }
}

/// An option. What it holds is there only if the first byte is 1.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Maybe<T: Copy> {
    is_some: u8,
    value: MaybeUninit<T>,
}

impl<T: Copy> Maybe<T> {
    fn of(value: Option<T>) -> Self {
        match value {
            Some(value) => Maybe { is_some: 1, value: MaybeUninit::new(value) },
            None => Maybe { is_some: 0, value: MaybeUninit::uninit() },
        }
    }

    /// # Safety
    /// If its first byte is 1, its value is there.
    pub unsafe fn get(self) -> Option<T> {
        // SAFETY: the caller's promise.
        (self.is_some == 1).then(|| unsafe { self.value.assume_init() })
    }
}

impl<T: Copy> Maybe<List<T>> {
    /// A column that says nothing is absent.
    fn unless_empty(slice: &[T]) -> Self {
        Maybe::of((!slice.is_empty()).then(|| List::of(slice)))
    }

    /// # Safety
    /// As [`List::get`] and [`Maybe::get`].
    unsafe fn get_or_empty<'a>(self) -> &'a [T] {
        // SAFETY: the caller's promise.
        unsafe { self.get().map_or(&[], |list| list.get()) }
    }
}

/// `header-columns`
#[derive(Clone, Copy)]
#[repr(C)]
struct Headers {
    counts: List<u32>,
    names: List<u8>,
    name_ends: List<u32>,
    values: List<u8>,
    value_ends: List<u32>,
    nulls: Maybe<List<u8>>,
}

impl Headers {
    fn unless_empty(columns: &HeaderColumns) -> Maybe<Self> {
        Maybe::of((!columns.counts.is_empty()).then(|| Headers {
            counts: List::of(&columns.counts),
            names: List::of(&columns.names),
            name_ends: List::of(&columns.name_ends),
            values: List::of(&columns.values),
            value_ends: List::of(&columns.value_ends),
            nulls: Maybe::unless_empty(&columns.nulls),
        }))
    }
}

/// `batch`, as the host writes it.
#[repr(C)]
pub struct Lowered {
    topic: List<u8>,
    partition: i32,
    offsets: List<i64>,
    timestamps: List<i64>,
    keys: List<u8>,
    key_ends: List<u32>,
    values: List<u8>,
    value_ends: List<u32>,
    flags: Maybe<List<u8>>,
    attempts: Maybe<List<u8>>,
    headers: Maybe<Headers>,
}

/// Borrows the batch that the host wrote. The header counts become ends in place.
///
/// # Safety
/// All columns that `lowered` names are there, valid for `'a`, and nobody else reads or writes them; the topic
/// is UTF-8. That is what a host does that keeps the canonical ABI.
pub unsafe fn batch<'a>(lowered: &Lowered) -> Batch<'a> {
    // SAFETY: the caller's promise, for each of them.
    unsafe {
        let headers = lowered.headers.get().map(|headers| HeaderView {
            ends: into_ends(headers.counts.get_mut()),
            names: headers.names.get(),
            name_ends: headers.name_ends.get(),
            values: headers.values.get(),
            value_ends: headers.value_ends.get(),
            nulls: headers.nulls.get_or_empty(),
        });
        Batch {
            topic: str::from_utf8_unchecked(lowered.topic.get()),
            partition: lowered.partition,
            offsets: lowered.offsets.get(),
            timestamps: lowered.timestamps.get(),
            keys: lowered.keys.get(),
            key_ends: lowered.key_ends.get(),
            values: lowered.values.get(),
            value_ends: lowered.value_ends.get(),
            flags: lowered.flags.get_or_empty(),
            attempts: lowered.attempts.get_or_empty(),
            headers: headers.unwrap_or_default(),
        }
    }
}

/// Where the headers of each record end, from how many it has.
pub(crate) fn into_ends(counts: &mut [u32]) -> &[u32] {
    let mut end = 0;
    for count in &mut *counts {
        end += *count;
        *count = end;
    }
    counts
}

/// `outputs`
#[repr(C)]
struct Outputs {
    inputs: List<u32>,
    destinations: Maybe<List<u8>>,
    partitions: Maybe<List<i32>>,
    keys: Maybe<List<u8>>,
    key_ends: Maybe<List<u32>>,
    values: List<u8>,
    value_ends: List<u32>,
    flags: Maybe<List<u8>>,
    timestamps: Maybe<List<i64>>,
    headers: Maybe<Headers>,
}

impl Outputs {
    fn of(columns: &raw::Outputs) -> Self {
        Outputs {
            inputs: List::of(&columns.inputs),
            destinations: Maybe::unless_empty(&columns.destinations),
            partitions: Maybe::unless_empty(&columns.partitions),
            keys: Maybe::unless_empty(&columns.keys),
            key_ends: Maybe::unless_empty(&columns.key_ends),
            values: List::of(&columns.values),
            value_ends: List::of(&columns.value_ends),
            flags: Maybe::unless_empty(&columns.flags),
            timestamps: Maybe::unless_empty(&columns.timestamps),
            headers: Headers::unless_empty(&columns.headers),
        }
    }
}

/// `failure`; its kind is a variant, whose first case holds an option.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Failure {
    input: u32,
    kind: u8,
    retry_after: Maybe<u32>,
    code: List<u8>,
    message: List<u8>,
}

impl Failure {
    fn of(failure: &raw::Failure) -> Self {
        let (kind, retry_after) = match failure.kind {
            FailureKind::Retry(after) => (0, after),
            FailureKind::Reject => (1, None),
        };
        Failure {
            input: failure.input,
            kind,
            retry_after: Maybe::of(retry_after),
            code: List::of(failure.code.as_bytes()),
            message: List::of(failure.message.as_bytes()),
        }
    }
}

/// `answer`, as the host reads it.
#[repr(C)]
pub struct Answer {
    outputs: Outputs,
    failures: List<Failure>,
}

/// Where the answer of the last call stands until the next one.
///
/// It points to columns and texts that whoever made the answer keeps: see [`Lent::answer`].
pub struct Lent {
    answer: MaybeUninit<Answer>,
    failures: Vec<Failure>,
}

impl Lent {
    pub const fn new() -> Self {
        Lent { answer: MaybeUninit::uninit(), failures: Vec::new() }
    }

    /// Writes down where an answer lies. The host may read it as long as neither this nor what it is made of
    /// changes or moves.
    pub fn answer(&mut self, outputs: &raw::Outputs, failures: &[raw::Failure]) -> *const Answer {
        self.failures.clear();
        self.failures.extend(failures.iter().map(Failure::of));
        let answer = Answer { outputs: Outputs::of(outputs), failures: List::of(&self.failures) };
        self.answer.write(answer)
    }
}

impl Default for Lent {
    fn default() -> Self {
        Self::new()
    }
}

/// `result<_, string>`, as `start` returns it.
#[repr(C)]
pub struct Started {
    is_err: u8,
    reason: MaybeUninit<List<u8>>,
}

impl Started {
    /// An instance starts once, so its result may stay for ever.
    pub fn lend(result: Result<(), String>) -> &'static Self {
        Box::leak(Box::new(match result {
            Ok(()) => Started { is_err: 0, reason: MaybeUninit::uninit() },
            Err(reason) => {
                let reason: &'static str = reason.leak();
                Started { is_err: 1, reason: MaybeUninit::new(List::of(reason.as_bytes())) }
            }
        }))
    }
}

#[cfg(target_arch = "wasm32")]
const _: () = {
    // As the canonical ABI computes them for `wit/handler.wit`.
    assert!(size_of::<Lowered>() == 140 && align_of::<Lowered>() == 4);
    assert!(size_of::<Answer>() == 160 && align_of::<Answer>() == 4);
    assert!(size_of::<Failure>() == 32 && size_of::<Headers>() == 52 && size_of::<Started>() == 12);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Input};

    /// Lowers as the host does, into memory of its own.
    fn lowered(columns: &mut raw::Batch) -> Lowered {
        let counts = &mut columns.headers.counts;
        let counts = List { start: counts.as_mut_ptr().cast_const(), len: counts.len() };
        let headers = Headers::unless_empty(&columns.headers);
        Lowered {
            topic: List::of(columns.topic.as_bytes()),
            partition: columns.partition,
            offsets: List::of(&columns.offsets),
            timestamps: List::of(&columns.timestamps),
            keys: List::of(&columns.keys),
            key_ends: List::of(&columns.key_ends),
            values: List::of(&columns.values),
            value_ends: List::of(&columns.value_ends),
            flags: Maybe::unless_empty(&columns.flags),
            attempts: Maybe::unless_empty(&columns.attempts),
            // SAFETY: it was just made.
            headers: Maybe::of(unsafe { headers.get() }.map(|headers| Headers { counts, ..headers })),
        }
    }

    /// Lifts as the host does.
    fn lifted(answer: &Answer) -> raw::Answer {
        let Answer { outputs, failures } = answer;
        // SAFETY: the tests keep what the answer points to.
        unsafe {
            let headers = outputs.headers.get().map(|headers| HeaderColumns {
                counts: headers.counts.get().to_vec(),
                names: headers.names.get().to_vec(),
                name_ends: headers.name_ends.get().to_vec(),
                values: headers.values.get().to_vec(),
                value_ends: headers.value_ends.get().to_vec(),
                nulls: headers.nulls.get_or_empty().to_vec(),
            });
            let text = |list: List<u8>| String::from_utf8(list.get().to_vec()).expect("text");
            let failure = |failure: &Failure| raw::Failure {
                input: failure.input,
                kind: match failure.kind {
                    0 => FailureKind::Retry(failure.retry_after.get()),
                    _ => FailureKind::Reject,
                },
                code: text(failure.code),
                message: text(failure.message),
            };
            raw::Answer {
                outputs: raw::Outputs {
                    inputs: outputs.inputs.get().to_vec(),
                    destinations: outputs.destinations.get_or_empty().to_vec(),
                    partitions: outputs.partitions.get_or_empty().to_vec(),
                    keys: outputs.keys.get_or_empty().to_vec(),
                    key_ends: outputs.key_ends.get_or_empty().to_vec(),
                    values: outputs.values.get().to_vec(),
                    value_ends: outputs.value_ends.get().to_vec(),
                    flags: outputs.flags.get_or_empty().to_vec(),
                    timestamps: outputs.timestamps.get_or_empty().to_vec(),
                    headers: headers.unwrap_or_default(),
                },
                failures: failures.get().iter().map(failure).collect(),
            }
        }
    }

    #[test]
    fn a_batch_is_read_as_it_was_lowered() {
        let full = Input::new("value").key("k").header("a", "1").null_header("b").timestamp(7).attempt(2);
        for inputs in [vec![full, Input::tombstone()], vec![Input::new("plain").key("k")]] {
            let mut columns = testing::batch(inputs);
            let copy = columns.clone();
            let lowered = lowered(&mut columns);
            // SAFETY: the columns live on and are not used meanwhile.
            let batch = unsafe { batch(&lowered) };
            assert_eq!(batch.to_raw(), copy);
            // The counts were turned into ends where they lay.
            let counted = columns.headers.counts.last().copied().unwrap_or(0) as usize;
            assert_eq!(counted, columns.headers.name_ends.len());
        }
    }

    #[test]
    fn an_answer_is_lifted_as_it_was_given() {
        let outputs = raw::Outputs {
            inputs: vec![0, 2],
            destinations: vec![1, 0],
            partitions: vec![3, -1],
            keys: b"ab".to_vec(),
            key_ends: vec![1, 2],
            values: b"xyz".to_vec(),
            value_ends: vec![0, 3],
            flags: vec![raw::output_flag::PARTITION, 0],
            timestamps: vec![5, -1],
            headers: HeaderColumns {
                counts: vec![1, 0],
                names: b"n".to_vec(),
                name_ends: vec![1],
                values: Vec::new(),
                value_ends: vec![0],
                nulls: vec![1],
            },
        };
        let failure = |input, kind| raw::Failure { input, kind, code: "c".into(), message: "why".into() };
        let failures = vec![
            failure(1, FailureKind::Reject),
            failure(3, FailureKind::Retry(None)),
            failure(4, FailureKind::Retry(Some(250))),
        ];
        let mut lent = Lent::new();
        for (outputs, failures) in [(outputs, failures), (raw::Outputs::default(), Vec::new())] {
            // SAFETY: the answer is read before anything of it goes.
            let lifted = lifted(unsafe { &*lent.answer(&outputs, &failures) });
            assert_eq!(lifted, raw::Answer { outputs, failures });
        }
    }

    #[test]
    fn a_start_says_whether_and_why_it_failed() {
        assert_eq!(Started::lend(Ok(())).is_err, 0);
        let failed = Started::lend(Err("no table".into()));
        assert_eq!(failed.is_err, 1);
        // SAFETY: a failed start has a reason.
        assert_eq!(unsafe { failed.reason.assume_init().get() }, b"no table");
    }
}
