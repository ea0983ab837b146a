//! Records, and errors in their place, from the client into the machine.

use std::time::{Duration, SystemTime};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Headers as _, Message};
use rdkafka::topic_partition_list::Offset as ClientOffset;
use sandmill_kafka_ffi::{Polled, RawRecord};

use super::consumer::{Consumer, OnOffsetLost};
use super::context::code;
use crate::batch::{Headers, Record, TopicPartition};
use crate::ids::Offset;
use crate::machine::{Machine, Slot};
use crate::time::{Time, unix_us};

/// Records taken at once, at most.
const CHUNK_RECORDS: usize = 1024;
/// Bytes taken at once, about: a chunk may overshoot every bound on memory.
const CHUNK_BYTES: usize = 4 << 20;
impl Consumer {
    /// Takes one chunk of records from the client.
    pub(super) fn consume(&mut self) -> bool {
        let most = (CHUNK_BYTES / self.mean_weight.max(1)).min(self.machine.room()).clamp(1, CHUNK_RECORDS);
        let mut errors = Vec::new();
        let (mut records, mut weight, mut bytes) = (0, 0, 0);
        let first = self.taken.first_unix_us.is_none().then(SystemTime::now);
        {
            let Consumer { queue, machine, .. } = self;
            let chunk = queue.consume(most);
            // Records of one partition come in runs, so the slot is looked up once a run.
            let mut last = None;
            for polled in chunk.iter() {
                match polled {
                    Polled::Record(raw) => {
                        let place = (raw.topic_handle(), raw.partition());
                        let slot = match last {
                            Some((known, slot)) if known == place => slot,
                            _ => slot(machine, raw.topic(), raw.partition()),
                        };
                        last = Some((place, slot));
                        let Some(slot) = slot else { continue };
                        records += 1;
                        let size = admit_raw(machine, slot, &raw);
                        (weight, bytes) = (weight + size.weight, bytes + size.bytes);
                    }
                    Polled::Error { topic, partition, code, text, .. } => {
                        errors.push((topic.map(str::to_owned), partition, code, text.into_owned()));
                    }
                }
            }
            if chunk.is_empty() {
                return false;
            }
        }
        if let Some(mean) = usize::checked_div(weight, records) {
            self.trouble = None;
            self.mean_weight = (self.mean_weight * 7 + mean) / 8;
            self.count(records, bytes, first);
        }
        for (topic, partition, code, text) in errors {
            self.partition_error(topic, partition, code, &text);
        }
        true
    }

    /// Counts what came. `first`: nothing came before, and this at that moment.
    fn count(&mut self, records: usize, bytes: usize, first: Option<SystemTime>) {
        self.taken.records += records as u64;
        self.taken.bytes += bytes as u64;
        if let Some(first) = first {
            self.taken.first_unix_us = Some(unix_us(first));
            // Told at once: whoever measures reads other clocks at this moment.
            self.last_snapshot = Time::ZERO;
        }
    }

    pub(super) fn admit_message(&mut self, message: &rdkafka::message::BorrowedMessage<'_>) {
        let Some(slot) = slot(&self.machine, message.topic(), message.partition()) else { return };
        let headers: Vec<_> = message
            .headers()
            .map(|headers| headers.iter().map(|h| (h.key.as_bytes(), h.value)).collect())
            .unwrap_or_default();
        let record = Record {
            offset: Offset(message.offset()),
            timestamp: message.timestamp().to_millis().unwrap_or(-1),
            key: message.key(),
            value: message.payload(),
            headers: Headers::List(&headers),
        };
        self.machine.admit(slot, &record);
        let first = self.taken.first_unix_us.is_none().then(SystemTime::now);
        self.count(1, Size::of(&record).bytes, first);
    }

    /// An error of one partition, or of the fetching as a whole.
    fn partition_error(&mut self, topic: Option<String>, partition: i32, code: Code, text: &str) {
        let now = self.now();
        let place = topic.map(|topic| TopicPartition { topic: topic.into(), partition });
        match (code, place) {
            (Code::AutoOffsetReset | Code::OffsetOutOfRange, Some(place)) => self.position_lost(&place, text),
            (Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed, place) => {
                let place = place.map(|place| place.to_string()).unwrap_or_default();
                self.machine.fail(format!("no permission to read {place}: {text}"), now);
            }
            (code, place) => {
                let shown = place.as_ref().map(ToString::to_string).unwrap_or_default();
                tracing::warn!(place = shown, %code, text, "cannot fetch at the moment; the client tries again");
                self.trouble = Some(format!("cannot fetch {shown}: {text}"));
                if let Some(place) = place {
                    self.seek_to_position(&place);
                }
            }
        }
    }

    /// The log does not have this position any more, or has other records there: what the configuration says.
    pub(super) fn position_lost(&mut self, place: &TopicPartition, why: &str) {
        let now = self.now();
        match self.settings.on_offset_lost {
            OnOffsetLost::Halt => self.machine.fail(
                format!(
                    "the position in {place} is lost: {why}; records may be gone; to go on, reset the group's \
                     offsets, or set `on_offset_lost` to \"earliest\" or \"latest\""
                ),
                now,
            ),
            OnOffsetLost::Resume(start) => {
                if let Some(epoch) = self.machine.active_epoch(place) {
                    self.lookups.reset(place.clone(), start, epoch);
                }
            }
        }
    }

    /// The client counts an error as a record: tells it where we really are.
    fn seek_to_position(&mut self, place: &TopicPartition) {
        let Some(position) = self.machine.position_of(place) else { return };
        let offset = ClientOffset::Offset(position.0);
        if let Err(error) = self.consumer.seek(&place.topic, place.partition, offset, Duration::ZERO) {
            tracing::warn!(%error, %place, "the client did not seek");
        }
    }

    /// An error of the client as a whole.
    pub(super) fn client_error(&mut self, error: &KafkaError) {
        let now = self.now();
        if let Some((code, reason)) = self.consumer.client().fatal_error() {
            self.machine.fail(format!("the consumer cannot go on: {code}: {reason}"), now);
            return;
        }
        match code(error) {
            Code::GroupAuthorizationFailed | Code::TopicAuthorizationFailed => {
                self.machine.fail(format!("no permission: {error}"), now);
            }
            // The client tries again, and its callback has logged it.
            _ => self.trouble = Some(error.to_string()),
        }
    }
}

fn slot(machine: &Machine, topic: &str, partition: i32) -> Option<Slot> {
    machine.slot_named(topic, partition)
}

/// How large a record is.
struct Size {
    /// As it counts against limits.
    weight: usize,
    /// Key and value alone.
    bytes: usize,
}

impl Size {
    fn of(record: &Record<'_>) -> Self {
        let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        Size { weight: record.weight(), bytes }
    }
}

/// Admits one record straight from the client's memory.
fn admit_raw(machine: &mut Machine, slot: Slot, raw: &RawRecord<'_>) -> Size {
    let mut record = Record {
        offset: Offset(raw.offset()),
        timestamp: raw.timestamp_ms(),
        key: raw.key(),
        value: raw.payload(),
        headers: Headers::None,
    };
    let admit = |record: &Record<'_>, machine: &mut Machine| {
        machine.admit(slot, record);
        Size::of(record)
    };
    match raw.headers() {
        Ok(headers) if headers.len() > 0 => {
            // Few headers, the usual case, cost no allocation.
            let mut few = [(&[][..], None); 16];
            let many: Vec<_>;
            let list = if headers.len() <= few.len() {
                let count = headers.len();
                for (place, header) in few.iter_mut().zip(headers) {
                    *place = header;
                }
                &few[..count]
            } else {
                many = headers.collect();
                &many[..]
            };
            record.headers = Headers::List(list);
            admit(&record, machine)
        }
        Ok(_) => admit(&record, machine),
        Err(error) => {
            tracing::warn!(%error, offset = record.offset.0, "headers cannot be read; the record goes on without");
            admit(&record, machine)
        }
    }
}
