//! `parse` and `parse-output`: the usual transformation, without and with its output.
//!
//! The franz-go program and the plain Java loop keep the order of a partition, the host that of a key by
//! default; it is measured in both.

use sandmill::bench::Work;
use sandmill::config::Ordering;

use crate::rung::{Confluent, Contender, Filling, Rung, Settings};
use crate::sizes::Sizes;

/// The JSON is made and thrown away.
pub(super) fn without_output(sizes: &Sizes) -> Vec<Rung> {
    let rung = |contender, records, expected| {
        Rung::new(contender, Filling::access_log(sizes.records(records)), Work::Parse, expected)
    };
    let settings = Settings::default;
    vec![
        rung(Contender::RawPoll, 4_000_000, 1.8e6),
        rung(Contender::Native(settings()), 4_000_000, 1.4e6),
        rung(Contender::Wasm(settings()), 4_000_000, 1.2e6),
        rung(Contender::Wasm(settings()), 4_000_000, 1.2e6)
            .ordering(Ordering::Partition)
            .named("wasm, partition"),
        rung(Contender::FranzGo, 4_000_000, 1.1e6).ordering(Ordering::Partition),
        rung(Contender::JavaPlain, 4_000_000, 0.55e6).ordering(Ordering::Partition),
        rung(Contender::Bento { batch: 1 }, 400_000, 80e3),
        rung(Contender::Bento { batch: 500 }, 1_000_000, 150e3),
    ]
}

/// The JSON goes to a topic; a record counts when its output is acknowledged.
pub(super) fn with_output(sizes: &Sizes) -> Vec<Rung> {
    let rung = |contender, records, expected| {
        Rung::new(contender, Filling::access_log(sizes.records(records)), Work::Parse, expected).with_output()
    };
    let settings = Settings::default;
    let confluent = |batch, linger_ms, ordering, records, expected| {
        let settings = Confluent { batch, buffer: Some(20_000), linger_ms, ..Confluent::default() };
        let contender = Contender::Confluent(settings);
        let name = format!("{}, {}", contender.name(), crate::rung::ordering_name(ordering));
        rung(contender, records, expected).ordering(ordering).named(name)
    };
    vec![
        rung(Contender::Copy, 2_000_000, 500e3).ordering(Ordering::Partition),
        rung(Contender::Native(settings()), 2_000_000, 450e3),
        rung(Contender::Wasm(settings()), 2_000_000, 440e3),
        rung(Contender::Wasm(settings()), 2_000_000, 440e3)
            .ordering(Ordering::Partition)
            .named("wasm, partition"),
        rung(Contender::FranzGo, 2_000_000, 355e3).ordering(Ordering::Partition),
        rung(Contender::JavaPlain, 1_000_000, 150e3).ordering(Ordering::Partition),
        rung(Contender::Bento { batch: 1 }, 200_000, 60e3),
        rung(Contender::Bento { batch: 500 }, 500_000, 110e3),
        // It waits for an acknowledgement in the call: in key order the linger is in every record of a key.
        confluent(1, None, Ordering::Key, 8_000, 1.3e3),
        confluent(1, Some(0), Ordering::Key, 15_000, 2.5e3),
        confluent(100, Some(0), Ordering::Key, 30_000, 4.6e3),
        confluent(1, None, Ordering::Unordered, 15_000, 2.1e3),
        confluent(100, None, Ordering::Unordered, 200_000, 40e3),
    ]
}
