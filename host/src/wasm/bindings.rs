//! The contract, generated from `wit/`.
//!
//! Parameters borrow, so that lowering a batch copies each column once, straight from where the batch keeps
//! it. Results own what was lifted out of the guest; [`RawAnswer`] takes it over without copying.
//!
//! Only the types are used. The generated way to call `handle` passes the seventeen slices of a batch by value
//! through five futures, which cost as much as the guest's own part of a call of one record.

// The macro documents nothing it generates.
#![allow(missing_docs)]

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
pub(crate) type HandleResult = (types::Answer,);
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
        flags: batch.flags(),
        attempts: batch.attempts(),
        headers: types::HeaderColumnsParam {
            counts: headers.counts(),
            names,
            name_ends,
            values: header_values,
            value_ends: header_value_ends,
            nulls: headers.nulls(),
        },
    }
}

impl From<types::Answer> for RawAnswer {
    fn from(answer: types::Answer) -> RawAnswer {
        let types::Answer { outputs, failures } = answer;
        RawAnswer {
            outputs: Columns {
                inputs: outputs.inputs,
                destinations: outputs.destinations,
                partitions: outputs.partitions,
                keys: outputs.keys,
                key_ends: outputs.key_ends,
                values: outputs.values,
                value_ends: outputs.value_ends,
                flags: outputs.flags,
                timestamps: outputs.timestamps,
                headers: HeaderColumns {
                    counts: outputs.headers.counts,
                    names: outputs.headers.names,
                    name_ends: outputs.headers.name_ends,
                    values: outputs.headers.values,
                    value_ends: outputs.headers.value_ends,
                    nulls: outputs.headers.nulls,
                },
            },
            failures: failures.into_iter().map(RawFailure::from).collect(),
        }
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
