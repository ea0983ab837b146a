//! What a dead letter looks like: the original record, with headers that say where it comes from and why.

use std::borrow::Cow;
use std::time::SystemTime;

use crate::batch::{Record, TopicPartition};
use crate::outcome::Failure;

/// What all dead letters of a pipeline have in common.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The consumer group.
    pub group: String,
    /// The handler's name.
    pub handler: String,
    /// SHA-256 of its module, as `sha256:…`.
    pub module_digest: String,
}

/// How much of itself a dead letter may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// All headers.
    Full,
    /// Only those that say where the record is: the topic's size limit refused the rest.
    Place,
}

/// Name and value of each header of a dead letter.
pub(super) type Headers<'a> = Vec<(&'a [u8], Option<Cow<'a, [u8]>>)>;

/// The original headers, unchanged and first, then ours.
pub(super) fn headers<'a>(
    record: &Record<'a>,
    at: &'a TopicPartition,
    failure: &'a Failure,
    attempts: u32,
    origin: &'a Origin,
    detail: Detail,
) -> Headers<'a> {
    let mut headers: Headers<'a> =
        record.headers.iter().map(|(name, value)| (name, value.map(Cow::Borrowed))).collect();
    let mut text = |name: &'static str, value: Cow<'a, str>| {
        let value = match value {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        headers.push((name.as_bytes(), Some(value)));
    };
    text("sandmill-origin-topic", (&*at.topic).into());
    text("sandmill-origin-partition", at.partition.to_string().into());
    text("sandmill-origin-offset", record.offset.0.to_string().into());
    text("sandmill-error-type", failure.outcome.as_str().into());
    if detail == Detail::Full {
        text("sandmill-group", origin.group.as_str().into());
        text("sandmill-attempts", attempts.to_string().into());
        text("sandmill-error-code", (&*failure.code).into());
        text("sandmill-error-message", (&*failure.message).into());
        text("sandmill-handler", origin.handler.as_str().into());
        text("sandmill-module-digest", origin.module_digest.as_str().into());
        let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        text("sandmill-failed-at", now.into());
    }
    headers
}
