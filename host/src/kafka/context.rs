//! What the Kafka client calls back on the consumer thread.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::batch::TopicPartition;

/// What the group asks for.
#[derive(Debug)]
pub(super) enum Rebalance {
    /// Take these partitions on.
    Assign(Vec<TopicPartition>),
    /// Give these back. Lost: they are somebody else's already.
    Revoke { partitions: Vec<TopicPartition>, lost: bool },
}

/// Stores rebalances for the loop, which answers them in its own time: the client waits, and polling and
/// heartbeats go on meanwhile.
#[derive(Debug, Default)]
pub(super) struct Context {
    asked: Mutex<Vec<Rebalance>>,
    closing: AtomicBool,
    denied: Mutex<Option<RDKafkaErrorCode>>,
    complaints: Complaints,
}

impl Context {
    /// What was asked since the last call.
    pub fn take_asked(&self) -> Vec<Rebalance> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A permission that the broker denied, if it did.
    pub fn denied(&self) -> Option<RDKafkaErrorCode> {
        *self.denied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on partitions are given back at once: all is committed, and the consumer is being dropped.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_client(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code()
            && is_denial(code)
        {
            *self.denied.lock().unwrap_or_else(PoisonError::into_inner) = Some(code);
        }
        self.complaints.log(&error, reason);
    }
}

/// Logs the client's errors, each kind at most once a second: an unreachable broker is told about a hundred
/// times within a millisecond.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<Option<(String, Instant)>>);

impl Complaints {
    pub fn log(&self, error: &KafkaError, reason: &str) {
        let text = error.to_string();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let said = |(known, at): &(String, Instant)| *known == text && at.elapsed() < Duration::from_secs(1);
        if !last.as_ref().is_some_and(said) {
            tracing::warn!(target: "sandmill::kafka", %error, reason, "kafka client");
            *last = Some((text, Instant::now()));
        }
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: Code, list: &mut TopicPartitionList) {
        if self.closing.load(Ordering::Relaxed) {
            let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
            let result = match (cooperative, code == Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
                // Taken, to be given back with the revocation that follows.
                (true, true) => consumer.incremental_assign(list),
                (true, false) => consumer.incremental_unassign(list),
                (false, _) => consumer.unassign(),
            };
            if let Err(error) = result {
                tracing::debug!(%error, "the client did not take its assignment back while closing");
            }
            return;
        }
        let partitions = names(list);
        let asked = if code == Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            Rebalance::Assign(partitions)
        } else {
            Rebalance::Revoke { partitions, lost: consumer.assignment_lost() }
        };
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    }
}

/// True if the broker says no: for want of a permission, or because it does not let the user in at all.
pub(super) fn is_denial(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::GroupAuthorizationFailed
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::SSL
    )
}

/// The code of an error; `Unknown` where it has none.
pub(super) fn code(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)
}

/// The client's own log lines, at the levels of ours.
pub(super) fn log_client(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => {
            tracing::error!(target: "sandmill::kafka", facility, "{message}");
        }
        RDKafkaLogLevel::Warning => tracing::warn!(target: "sandmill::kafka", facility, "{message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "sandmill::kafka", facility, "{message}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "sandmill::kafka", facility, "{message}"),
    }
}

fn names(list: &TopicPartitionList) -> Vec<TopicPartition> {
    list.elements()
        .iter()
        .map(|element| TopicPartition { topic: element.topic().into(), partition: element.partition() })
        .collect()
}
