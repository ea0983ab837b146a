//! The rules that can be broken, and how.

use sandmill_guest::raw::{Answer, Failure, FailureKind, output_flag};

/// A way to answer wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One value end fewer than outputs.
    LengthsDisagree,
    /// A value ends before the one before it does.
    EndsDecrease,
    /// A value ends behind the bytes.
    EndsPastBytes,
    /// An output answers a record that is not in the batch.
    IndexOutOfRange,
    /// An output answers a record before the one that the output before it answers.
    InputsNotAscending,
    /// A flag that has no meaning.
    UnknownFlags,
    /// A flag says that there is a partition, and there is no column of partitions.
    PartitionMissing,
    /// An output for the declared output 255.
    UnknownDestination,
    /// Header counts that no headers stand behind.
    HeadersMissing,
    /// A record fails and has outputs.
    FailedWithOutputs,
    /// A record fails twice.
    FailsTwice,
    /// A failure of a record that is not in the batch.
    FailureOutOfRange,
    /// A failure whose code has 65 bytes.
    CodeTooLong,
    /// 100,000 outputs of one record.
    TooMany,
    /// One output of 32 MiB.
    TooLarge,
}

impl Kind {
    /// Every kind with its name in the config.
    pub const ALL: [(&str, Self); 15] = [
        ("lengths-disagree", Self::LengthsDisagree),
        ("ends-decrease", Self::EndsDecrease),
        ("ends-past-bytes", Self::EndsPastBytes),
        ("index-out-of-range", Self::IndexOutOfRange),
        ("inputs-not-ascending", Self::InputsNotAscending),
        ("unknown-flags", Self::UnknownFlags),
        ("partition-missing", Self::PartitionMissing),
        ("unknown-destination", Self::UnknownDestination),
        ("headers-missing", Self::HeadersMissing),
        ("failed-with-outputs", Self::FailedWithOutputs),
        ("fails-twice", Self::FailsTwice),
        ("failure-out-of-range", Self::FailureOutOfRange),
        ("code-too-long", Self::CodeTooLong),
        ("too-many", Self::TooMany),
        ("too-large", Self::TooLarge),
    ];

    pub fn named(name: &str) -> Result<Self, String> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|&(_, kind)| kind).ok_or_else(|| {
            let names = Self::ALL.map(|(name, _)| name).join(", ");
            format!("config key `kind` is {name:?}: expected one of {names}")
        })
    }

    /// Whether the answer keeps the contract by itself, and only what the pipeline declares or allows is
    /// exceeded.
    #[cfg(test)]
    pub fn is_a_matter_of_limits(self) -> bool {
        matches!(self, Self::UnknownDestination | Self::TooMany | Self::TooLarge)
    }

    /// Breaks the rule in an answer that is right and has an output for each record.
    pub fn spoil(self, answer: &mut Answer) {
        let outputs = &mut answer.outputs;
        let records = u32::try_from(outputs.inputs.len()).expect("a batch fits into memory");
        let bytes = outputs.values.len();
        match self {
            Self::LengthsDisagree => drop(outputs.value_ends.pop()),
            Self::EndsDecrease => {
                outputs.values.extend_from_slice(b"ab");
                push(answer, records - 1, bytes + 2);
                push(answer, records - 1, bytes + 1);
            }
            Self::EndsPastBytes => push(answer, records - 1, bytes + 1),
            Self::IndexOutOfRange => push(answer, records, bytes),
            Self::InputsNotAscending => {
                outputs.inputs.reverse();
                // A batch of one has no second record to go back from.
                push(answer, records, bytes);
                push(answer, 0, bytes);
            }
            Self::UnknownFlags => outputs.flags = vec![!output_flag::ALL; records as usize],
            Self::PartitionMissing => outputs.flags = vec![output_flag::PARTITION; records as usize],
            Self::UnknownDestination => outputs.destinations = vec![u8::MAX; records as usize],
            Self::HeadersMissing => outputs.headers.counts = vec![1; records as usize],
            Self::FailedWithOutputs => fail(answer, 0, "wrong"),
            Self::FailsTwice => {
                *outputs = Default::default();
                fail(answer, 0, "wrong");
                fail(answer, 0, "wrong");
            }
            Self::FailureOutOfRange => fail(answer, records, "wrong"),
            Self::CodeTooLong => {
                *outputs = Default::default();
                fail(answer, 0, &"x".repeat(65));
            }
            Self::TooMany => (0..100_000).for_each(|_| push(answer, records - 1, bytes)),
            Self::TooLarge => {
                let large = bytes + 32 * 1024 * 1024;
                outputs.values.resize(large, b'x');
                push(answer, records - 1, large);
            }
        }
    }
}

fn push(answer: &mut Answer, input: u32, end: usize) {
    let outputs = &mut answer.outputs;
    outputs.inputs.push(input);
    outputs.value_ends.push(u32::try_from(end).expect("an answer fits into memory"));
    if !outputs.flags.is_empty() {
        outputs.flags.push(0);
    }
}

fn fail(answer: &mut Answer, input: u32, code: &str) {
    let message = "an answer against the rules".into();
    answer.failures.push(Failure { input, kind: FailureKind::Reject, code: code.into(), message });
}
