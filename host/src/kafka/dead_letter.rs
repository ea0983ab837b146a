//! What a dead letter looks like: the original record, with headers that say where it comes from and why.

use std::time::SystemTime;

use rdkafka::message::{Header, OwnedHeaders};

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

/// The original headers, unchanged and first, then ours.
pub(super) fn headers(
    record: &Record<'_>,
    at: &TopicPartition,
    failure: &Failure,
    attempts: u32,
    origin: &Origin,
    detail: Detail,
) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new();
    for (name, value) in record.headers.iter() {
        headers = add(headers, name, value);
    }
    let text =
        |headers: OwnedHeaders, key: &str, value: &str| headers.insert(Header { key, value: Some(value) });
    headers = text(headers, "sandmill-origin-topic", &at.topic);
    headers = text(headers, "sandmill-origin-partition", &at.partition.to_string());
    headers = text(headers, "sandmill-origin-offset", &record.offset.0.to_string());
    headers = text(headers, "sandmill-error-type", failure.outcome.as_str());
    if detail == Detail::Place {
        return headers;
    }
    headers = text(headers, "sandmill-group", &origin.group);
    headers = text(headers, "sandmill-attempts", &attempts.to_string());
    headers = text(headers, "sandmill-error-code", &failure.code);
    headers = text(headers, "sandmill-error-message", &failure.message);
    headers = text(headers, "sandmill-handler", &origin.handler);
    headers = text(headers, "sandmill-module-digest", &origin.module_digest);
    let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    text(headers, "sandmill-failed-at", &now)
}

/// Adds one header. The client takes names as text only, so bytes that are not are replaced.
pub(super) fn add(headers: OwnedHeaders, name: &[u8], value: Option<&[u8]>) -> OwnedHeaders {
    headers.insert(Header { key: &String::from_utf8_lossy(name), value })
}
