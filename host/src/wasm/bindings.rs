//! The contract, generated from `wit/`.
//!
//! Parameters borrow, so that lowering a batch copies each column once, straight from where the batch keeps
//! it. Results own what was lifted out of the guest; [`RawAnswer`] takes it over without copying.
//!
//! Only the types are used. The generated way to call `handle` passes the seventeen slices of a batch by value
//! through five futures, which cost as much as the guest's own part of a call of one record.

// The macro documents nothing it generates.
#![allow(missing_docs)]

use sandmill_compiled::told::{Told, Weigh};
use wasmtime::component::TypedFunc;

use super::answer::{Columns, FailureKind, HeaderColumns, RawAnswer, RawFailure};
use crate::batch::{self, TopicPartition};

wasmtime::component::bindgen!({
    path: "../wit",
    world: "handler",
    ownership: Borrowing { duplicate_if_necessary: true },
    imports: { default: trappable },
    exports: { default: async },
});

pub(crate) use self::sandmill::handler::{log, types};

/// What `start` takes: the keys and values of the config.
pub(crate) type StartParams<'a> = (&'a [(&'a str, &'a str)],);
/// What `start` returns.
pub(crate) type StartResult = (Result<(), String>,);
/// `start` of one instance.
pub(crate) type Start = TypedFunc<StartParams<'static>, StartResult>;

/// What `handle` takes.
pub(crate) type HandleParams<'a> = (&'a types::Batch<'a>,);
/// What `handle` returns.
pub(crate) type HandleResult = (Told<types::Answer>,);
/// `handle` of one instance.
pub(crate) type Handle = TypedFunc<HandleParams<'static>, HandleResult>;

/// The columns of `batch`, to be lowered.
pub(crate) fn lower<'a>(origin: &'a TopicPartition, batch: &'a batch::Batch) -> types::Batch<'a> {
    let ((keys, key_ends), (values, value_ends)) = (batch.keys(), batch.values());
    let headers = batch.headers();
    let ((names, name_ends), (header_values, header_value_ends)) = (headers.names(), headers.values());
    types::Batch {
        topic: &origin.topic,
        partition: origin.partition,
        offsets: batch.offsets(),
        timestamps: batch.timestamps(),
        keys,
        key_ends,
        values,
        value_ends,
        flags: unless_empty(batch.flags()),
        attempts: unless_empty(batch.attempts()),
        headers: (!headers.counts().is_empty()).then(|| types::HeaderColumnsParam {
            counts: headers.counts(),
            names,
            name_ends,
            values: header_values,
            value_ends: header_value_ends,
            nulls: unless_empty(headers.nulls()),
        }),
    }
}

/// A column that says nothing is absent: an empty list would cost a call of the guest's allocator.
fn unless_empty<T>(column: &[T]) -> Option<&[T]> {
    (!column.is_empty()).then_some(column)
}

impl From<types::Answer> for RawAnswer {
    fn from(answer: types::Answer) -> RawAnswer {
        let types::Answer { outputs, failures } = answer;
        let headers = outputs.headers.map(|headers| HeaderColumns {
            counts: headers.counts,
            names: headers.names,
            name_ends: headers.name_ends,
            values: headers.values,
            value_ends: headers.value_ends,
            nulls: headers.nulls.unwrap_or_default(),
        });
        RawAnswer {
            outputs: Columns {
                inputs: outputs.inputs,
                destinations: outputs.destinations.unwrap_or_default(),
                partitions: outputs.partitions.unwrap_or_default(),
                keys: outputs.keys.unwrap_or_default(),
                key_ends: outputs.key_ends.unwrap_or_default(),
                values: outputs.values,
                value_ends: outputs.value_ends,
                flags: outputs.flags.unwrap_or_default(),
                timestamps: outputs.timestamps.unwrap_or_default(),
                headers: headers.unwrap_or_default(),
            },
            failures: failures.into_iter().map(RawFailure::from).collect(),
        }
    }
}

impl Weigh for types::Answer {
    /// As the guest laid it out: an honest guest holds as many bytes.
    fn bytes(&self) -> usize {
        /// A failure beside its texts: index, kind and two pairs of pointer and length.
        const FAILURE: usize = 32;
        fn len<T>(column: Option<&Vec<T>>) -> usize {
            column.map_or(0, |column| size_of_val(&column[..]))
        }
        let types::Outputs {
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
        } = &self.outputs;
        let columns = len(Some(inputs))
            + len(destinations.as_ref())
            + len(partitions.as_ref())
            + len(keys.as_ref())
            + len(key_ends.as_ref())
            + len(Some(values))
            + len(Some(value_ends))
            + len(flags.as_ref())
            + len(timestamps.as_ref());
        let headers = headers.as_ref().map_or(0, |headers| {
            let types::HeaderColumnsResult { counts, names, name_ends, values, value_ends, nulls } = headers;
            len(Some(counts))
                + len(Some(names))
                + len(Some(name_ends))
                + len(Some(values))
                + len(Some(value_ends))
                + len(nulls.as_ref())
        });
        let failures =
            self.failures.iter().map(|failure| FAILURE + failure.code.len() + failure.message.len());
        columns + headers + failures.sum::<usize>()
    }
}

impl From<types::Failure> for RawFailure {
    fn from(failure: types::Failure) -> RawFailure {
        let kind = match failure.kind {
            types::FailureKind::Retry(after) => FailureKind::Retry(after),
            types::FailureKind::Reject => FailureKind::Reject,
        };
        RawFailure { input: failure.input, kind, code: failure.code, message: failure.message }
    }
}
