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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a broker or the client may say of a commit, for each reason that an operator sees.
    #[test]
    fn each_code_has_the_reason_that_tells_what_to_do() {
        let expected = [
            (
                Reason::Rebalance,
                &[Code::RebalanceInProgress, Code::IllegalGeneration, Code::UnknownMemberId][..],
            ),
            (Reason::Rebalance, &[Code::StaleMemberEpoch]),
            (Reason::Fenced, &[Code::FencedInstanceId, Code::FencedMemberEpoch]),
            (Reason::MetadataTooLarge, &[Code::OffsetMetadataTooLarge]),
            (Reason::Coordinator, &[Code::CoordinatorNotAvailable, Code::CoordinatorLoadInProgress]),
            (Reason::Coordinator, &[Code::NotCoordinator, Code::WaitingForCoordinator]),
            (Reason::Authorization, &[Code::GroupAuthorizationFailed, Code::TopicAuthorizationFailed]),
            (Reason::Timeout, &[Code::RequestTimedOut, Code::OperationTimedOut, Code::MessageTimedOut]),
            (Reason::Other, &[Code::UnknownTopicOrPartition, Code::BrokerTransportFailure, Code::Unknown]),
        ];
        for (wanted, codes) in expected {
            for code in codes {
                assert_eq!(reason(*code), wanted, "{code:?}");
            }
        }
    }
}
