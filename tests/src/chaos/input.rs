//! The load of a chaotic run: Zipf keys, some records that fail, a few that are slow by seconds.

use fastrand::Rng;

use crate::producer::Outgoing;

/// How many keys there are. The r-th is 1/r as frequent as the first, so the first has 13 of 100 records.
const KEYS: usize = 1_000;

/// Of so many records, on average …
const OF: u32 = 10_000;
/// … these fail twice and then succeed,
const RETRIED: u32 = 50;
/// these are rejected,
const REJECTED: u32 = 30;
/// these trap: together 1 %,
const TRAPPED: u32 = 20;
/// and these take two seconds: 0.1 %.
const SLOW: u32 = 10;

/// Records without end, the same for the same seed.
#[derive(Debug, Clone)]
pub struct Input {
    random: Rng,
    /// Up to each key: the sum of the frequencies.
    sums: Vec<f64>,
}

impl Input {
    /// The input of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let frequencies = (1..=KEYS).map(|rank| 1.0 / rank as f64);
        let sums = frequencies.scan(0.0, |sum, frequency| {
            *sum += frequency;
            Some(*sum)
        });
        // Another stream than that of the faults.
        Self { random: Rng::with_seed(!seed), sums: sums.collect() }
    }

    fn key(&mut self) -> usize {
        let all = self.sums.last().copied().unwrap_or_default();
        let drawn = self.random.f64() * all;
        self.sums.partition_point(|sum| *sum < drawn)
    }

    fn value(&mut self) -> &'static str {
        const FAILING: u32 = RETRIED + REJECTED + TRAPPED;
        match self.random.u32(0..OF) {
            0..RETRIED => "retry:2",
            drawn if drawn < RETRIED + REJECTED => "reject",
            drawn if drawn < FAILING => "trap",
            drawn if drawn < FAILING + SLOW => "wait:2000",
            _ => "ok",
        }
    }
}

impl Iterator for Input {
    type Item = Outgoing;

    fn next(&mut self) -> Option<Outgoing> {
        let key = self.key();
        Some(Outgoing::keyed(format!("key-{key}"), self.value()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_and_the_shares_are_as_said() {
        let records: Vec<Outgoing> = Input::new(1).take(100_000).collect();
        assert_eq!(records[..100], Input::new(1).take(100).collect::<Vec<_>>());
        assert_ne!(records[..100], Input::new(2).take(100).collect::<Vec<_>>());
        let count = |value: &str| {
            records.iter().filter(|record| record.value.as_deref() == Some(value.as_bytes())).count()
        };
        for (value, least, most) in
            [("retry:2", 400, 600), ("reject", 220, 380), ("trap", 140, 260), ("wait:2000", 60, 140)]
        {
            assert!((least..most).contains(&count(value)), "{value}: {}", count(value));
        }
        let first = records.iter().filter(|record| record.key.as_deref() == Some(b"key-0")).count();
        assert!((12_000..15_000).contains(&first), "{first} of 100,000 have the first key");
    }
}
