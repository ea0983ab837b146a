//! The broker's answer to a commit, in the machine's words.

use rdkafka::error::RDKafkaErrorCode as Code;
use sandmill_kafka_ffi::CommitReply;

use crate::batch::TopicPartition;
use crate::machine::commit::{Reason, Reply};

/// What became of each partition of a request.
pub(super) fn of(reply: CommitReply) -> Vec<Reply> {
    let partitions = reply.partitions.into_iter().map(|part| {
        let name = TopicPartition { topic: part.topic.into(), partition: part.partition };
        (name, part.result.map_err(reason))
    });
    partitions.collect()
}

fn reason(code: Code) -> Reason {
    match code {
        Code::RebalanceInProgress
        | Code::IllegalGeneration
        | Code::UnknownMemberId
        | Code::StaleMemberEpoch => Reason::Rebalance,
        Code::FencedInstanceId | Code::FencedMemberEpoch => Reason::Fenced,
        Code::OffsetMetadataTooLarge => Reason::MetadataTooLarge,
        Code::CoordinatorNotAvailable
        | Code::CoordinatorLoadInProgress
        | Code::NotCoordinator
        | Code::WaitingForCoordinator => Reason::Coordinator,
        Code::GroupAuthorizationFailed | Code::TopicAuthorizationFailed => Reason::Authorization,
        Code::RequestTimedOut | Code::OperationTimedOut | Code::MessageTimedOut => Reason::Timeout,
        _ => Reason::Other,
    }
}
