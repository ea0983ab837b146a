//! The circuit: a pipeline whose failures explode pauses itself.
//!
//! A service that the handler needs is down, or a new version of the handler refuses everything: then retries do
//! not help, and what follows the last of them would move the whole topic into the dead letters. So the circuit
//! counts how many of the last records failed. It *opens* when too many did: nothing is called for a while,
//! records wait where they are, and the pipeline says so. Then it lets through one call of one record, a *probe*,
//! at a time: one that succeeds closes the circuit, one that fails opens it again.
//!
//! Each attempt counts, also one that will be tried again, because an outage shows in attempts long before the
//! last retry is over. Nygard, *Release It!*, 2007, named the pattern.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Time;

/// When a circuit opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// It opens when so many of a hundred of the last records failed; 1 to 100.
    pub percent: u32,
    /// How many are the last records; at least 1. Before so many were seen it does not open.
    pub of: u32,
    /// How long it stays open before the first probe and after each that failed.
    pub pause: Duration,
}

/// What may be called now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admits {
    /// Everything.
    All,
    /// One call of one record.
    Probe,
    /// Nothing.
    Nothing,
}

/// Where a circuit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open {
        /// When the next probe may go.
        until: Time,
    },
    /// A probe is on its way.
    Probing,
}

/// How an open circuit looks from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// When it opened first.
    pub since: Time,
    /// Failed records of the last ones, when it opened first.
    pub failed: u32,
    /// The last ones.
    pub of: u32,
    /// Probes that failed since.
    pub probes: u32,
    /// When the next probe goes; none: one is on its way.
    pub next_probe: Option<Time>,
}

/// The circuit of one pipeline; without settings it never opens.
#[derive(Debug)]
pub struct Circuit {
    settings: Option<Settings>,
    state: State,
    opened: Option<Opened>,
    /// The last records as runs of one outcome: true for failed, and how many; oldest first.
    last: VecDeque<(bool, u32)>,
    /// Records in `last`, and how many of them failed.
    seen: u32,
    failed: u32,
    times_opened: u64,
}

impl Circuit {
    /// A closed circuit.
    pub fn new(settings: Option<Settings>) -> Self {
        Circuit {
            settings,
            state: State::Closed,
            opened: None,
            last: VecDeque::new(),
            seen: 0,
            failed: 0,
            times_opened: 0,
        }
    }

    /// What may be called at this moment.
    pub fn admits(&self, now: Time) -> Admits {
        match self.state {
            State::Closed => Admits::All,
            State::Open { until } if now >= until => Admits::Probe,
            State::Open { .. } | State::Probing => Admits::Nothing,
        }
    }

    /// The probe went out: nothing else may until it is back.
    pub fn probe_sent(&mut self) {
        self.state = State::Probing;
        if let Some(opened) = &mut self.opened {
            opened.next_probe = None;
        }
    }

    /// The probe came back without having run: the next one may go at once.
    pub fn probe_returned(&mut self, now: Time) {
        if self.state == State::Probing {
            self.wait_until(now);
        }
    }

    /// So many records of a call succeeded and so many failed. Calls that were out when the circuit opened count
    /// neither for nor against it; the probe's result closes it or opens it again.
    pub fn observe(&mut self, succeeded: u32, failed: u32, now: Time) {
        let Some(settings) = self.settings else { return };
        match self.state {
            State::Closed => {
                self.count(false, succeeded, settings.of);
                self.count(true, failed, settings.of);
                let limit = u64::from(settings.percent) * u64::from(settings.of);
                if self.seen >= settings.of && u64::from(self.failed) * 100 >= limit {
                    self.open(settings, now);
                }
            }
            State::Open { .. } => {}
            State::Probing if failed > 0 => {
                if let Some(opened) = &mut self.opened {
                    opened.probes += 1;
                }
                self.wait_until(now + settings.pause);
            }
            State::Probing if succeeded > 0 => self.close(),
            State::Probing => self.probe_returned(now),
        }
    }

    /// True while the probe is out.
    pub fn is_probing(&self) -> bool {
        self.state == State::Probing
    }

    /// When the next probe is due.
    pub fn due_at(&self) -> Option<Time> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed | State::Probing => None,
        }
    }

    /// Why and since when nothing is called, if so.
    pub fn opened(&self) -> Option<Opened> {
        self.opened
    }

    /// How often it opened, probes not counted.
    pub fn times_opened(&self) -> u64 {
        self.times_opened
    }

    fn open(&mut self, settings: Settings, now: Time) {
        self.times_opened += 1;
        self.opened =
            Some(Opened { since: now, failed: self.failed, of: self.seen, probes: 0, next_probe: None });
        self.wait_until(now + settings.pause);
    }

    fn wait_until(&mut self, until: Time) {
        self.state = State::Open { until };
        if let Some(opened) = &mut self.opened {
            opened.next_probe = Some(until);
        }
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.opened = None;
        self.last.clear();
        (self.seen, self.failed) = (0, 0);
    }

    /// Enters `count` records and forgets as many as are more than `of`.
    fn count(&mut self, failed: bool, count: u32, of: u32) {
        let count = count.min(of);
        if count == 0 {
            return;
        }
        match self.last.back_mut() {
            Some((outcome, run)) if *outcome == failed => *run += count,
            _ => self.last.push_back((failed, count)),
        }
        self.seen += count;
        self.failed += if failed { count } else { 0 };
        while self.seen > of {
            let (outcome, run) = self.last.front_mut().expect("what was seen stands in runs");
            let forgotten = (self.seen - of).min(*run);
            *run -= forgotten;
            self.seen -= forgotten;
            self.failed -= if *outcome { forgotten } else { 0 };
            if *run == 0 {
                self.last.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    fn circuit(percent: u32, of: u32) -> Circuit {
        Circuit::new(Some(Settings { percent, of, pause: PAUSE }))
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn it_opens_when_too_many_of_the_last_records_failed() {
        let mut circuit = circuit(50, 10);
        circuit.observe(0, 9, at(0));
        assert_eq!(circuit.admits(at(0)), Admits::All, "nine records say too little");
        circuit.observe(6, 0, at(0));
        assert_eq!(circuit.admits(at(0)), Admits::All, "four of the last ten");
        circuit.observe(0, 1, at(1));
        assert_eq!(circuit.admits(at(1)), Admits::All, "still four: the oldest was forgotten");
        circuit.observe(0, 4, at(2));
        assert_eq!(circuit.admits(at(2)), Admits::Nothing);
        let opened = circuit.opened().expect("it is open");
        assert_eq!((opened.since, opened.failed, opened.of, opened.next_probe), (at(2), 5, 10, Some(at(12))));
        assert_eq!((circuit.due_at(), circuit.times_opened()), (Some(at(12)), 1));
    }

    #[test]
    fn one_probe_at_a_time_closes_it_or_opens_it_again() {
        let mut circuit = circuit(100, 1);
        circuit.observe(0, 1, at(0));
        circuit.observe(5, 0, at(1));
        assert_eq!(circuit.admits(at(9)), Admits::Nothing, "calls that were out before say nothing");
        assert_eq!(circuit.admits(at(10)), Admits::Probe);
        circuit.probe_sent();
        assert_eq!((circuit.admits(at(11)), circuit.due_at()), (Admits::Nothing, None));
        circuit.observe(0, 1, at(12));
        assert_eq!((circuit.admits(at(21)), circuit.admits(at(22))), (Admits::Nothing, Admits::Probe));
        assert_eq!(circuit.opened().map(|opened| (opened.since, opened.probes)), Some((at(0), 1)));
        circuit.probe_sent();
        circuit.observe(1, 0, at(23));
        assert_eq!((circuit.admits(at(23)), circuit.opened()), (Admits::All, None));
        circuit.observe(3, 0, at(24));
        assert_eq!(circuit.times_opened(), 1);
    }

    #[test]
    fn a_probe_that_did_not_run_is_sent_again() {
        let mut circuit = circuit(100, 1);
        circuit.observe(0, 1, at(0));
        circuit.probe_sent();
        circuit.observe(0, 0, at(11));
        assert_eq!(circuit.admits(at(11)), Admits::Probe);
        circuit.probe_sent();
        circuit.probe_returned(at(12));
        assert_eq!(circuit.admits(at(12)), Admits::Probe);
    }

    #[test]
    fn without_settings_it_stays_closed() {
        let mut circuit = Circuit::new(None);
        circuit.observe(0, u32::MAX, at(0));
        assert_eq!((circuit.admits(at(0)), circuit.due_at()), (Admits::All, None));
    }

    proptest! {
        /// Against a list of single records.
        #[test]
        fn it_counts_the_last_records(
            of in 1_u32..30,
            calls in prop::collection::vec((0_u32..40, 0_u32..40), 0..40),
        ) {
            let mut circuit = circuit(100, of);
            let mut all: Vec<bool> = Vec::new();
            for (succeeded, failed) in calls {
                circuit.count(false, succeeded, of);
                circuit.count(true, failed, of);
                all.extend((0..succeeded).map(|_| false));
                all.extend((0..failed).map(|_| true));
                let last = &all[all.len().saturating_sub(of as usize)..];
                let expected = last.iter().filter(|failed| **failed).count();
                prop_assert_eq!((circuit.seen as usize, circuit.failed as usize), (last.len(), expected));
                prop_assert!(circuit.last.len() <= of as usize);
            }
        }
    }
}
