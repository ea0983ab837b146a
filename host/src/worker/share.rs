//! Whose turn it is on a worker: deficit round robin over pipelines, by time.
//!
//! A worker polls calls of all pipelines. First come, first served would let whoever has most calls out take most of the
//! core: a hundred spinners turned 6.5 ms of a neighbour's computing into 652 ms. So each pipeline has a queue of its own
//! and an account of time. When its turn comes it is credited a quantum, in proportion to its weight, and runs until the
//! account is empty; what the last poll took too much stays a debt. So of pipelines that always have something to run,
//! each gets its part of the core, but for one quantum and one poll; one that comes back waits for one round, and has
//! nothing saved up; and debts are paid by the time that others had meanwhile.
//!
//! See Shreedhar and Varghese, "Efficient Fair Queuing using Deficit Round Robin", 1995. Pure: the time that a poll took
//! is told.

use std::collections::VecDeque;
use std::time::Duration;

/// What the heaviest pipeline is credited in its turn, in nanoseconds: as long as the longest poll of a guest, which a
/// tick of the epoch ends. So a round lasts no longer than a few of these, whatever the weights.
const QUANTUM: i64 = 1_000_000;
/// Debts beyond this are forgotten, in nanoseconds: a machine that stood still during a poll is nobody's fault.
const DEBT: i64 = 1_000_000_000;

/// The queues and accounts of one worker, by the number of the pipeline.
#[derive(Debug, Default)]
pub(super) struct Shares {
    accounts: Vec<Account>,
    /// Pipelines that have something to run or run something, the one whose turn it is first.
    round: VecDeque<usize>,
    /// Of all pipelines that there ever were.
    heaviest: u32,
    /// All time that was charged, in nanoseconds.
    charged: i64,
}

#[derive(Debug, Default)]
struct Account {
    weight: u32,
    /// Nanoseconds that it may run; negative: a debt.
    credit: i64,
    /// All time that had been charged when it last had nothing to run.
    left_at: i64,
    ready: VecDeque<usize>,
    in_round: bool,
    /// Its turn has begun, and it was credited for it.
    in_turn: bool,
}

impl Shares {
    /// A task of this pipeline can run. `weight` is its part in relation to others, at least 1.
    pub fn ready(&mut self, pipeline: usize, weight: u32, task: usize) {
        if self.accounts.len() <= pipeline {
            self.accounts.resize_with(pipeline + 1, Account::default);
        }
        let account = &mut self.accounts[pipeline];
        account.weight = weight.max(1);
        self.heaviest = self.heaviest.max(account.weight);
        if !account.in_round {
            account.in_round = true;
            // Others had the core meanwhile: that pays its debts.
            account.credit = account.credit.saturating_add(self.charged - account.left_at).min(0);
            self.round.push_back(pipeline);
        }
        account.ready.push_back(task);
    }

    /// The task that runs next, and its pipeline, which is to be [charged](Shares::charge) for it before the next one.
    pub fn next(&mut self) -> Option<(usize, usize)> {
        loop {
            let pipeline = *self.round.front()?;
            let account = &mut self.accounts[pipeline];
            if !account.in_turn {
                account.in_turn = true;
                let quantum = QUANTUM * i64::from(account.weight) / i64::from(self.heaviest);
                account.credit = account.credit.saturating_add(quantum.max(1));
            }
            if account.credit <= 0 && self.round.len() > 1 {
                // Still in debt.
                account.in_turn = false;
                self.round.rotate_left(1);
                continue;
            }
            let task = account
                .ready
                .pop_front()
                .expect("who was charged and has nothing to run is not in the round");
            return Some((pipeline, task));
        }
    }

    /// The task that was [next](Shares::next) is of this pipeline and has run for so long. If the pipeline can go on, it
    /// keeps its turn while its account has something left.
    pub fn charge(&mut self, pipeline: usize, spent: Duration) {
        let spent = i64::try_from(spent.as_nanos()).unwrap_or(i64::MAX).min(DEBT);
        self.charged = self.charged.saturating_add(spent);
        let account = &mut self.accounts[pipeline];
        account.credit = (account.credit - spent).max(-DEBT);
        if account.ready.is_empty() {
            // It would come back with what it did not need.
            account.credit = account.credit.min(0);
            account.left_at = self.charged;
            (account.in_round, account.in_turn) = (false, false);
            self.round.pop_front();
        } else if account.credit <= 0 {
            account.in_turn = false;
            self.round.rotate_left(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// Runs pipelines that always have `tasks` to run, each poll as long as `poll` says, and tells what each got.
    fn run(pipelines: &[(u32, usize, Duration)], total: Duration) -> Vec<Duration> {
        let mut shares = Shares::default();
        for (pipeline, &(weight, tasks, _)) in pipelines.iter().enumerate() {
            (0..tasks).for_each(|task| shares.ready(pipeline, weight, task));
        }
        let mut got = vec![Duration::ZERO; pipelines.len()];
        while got.iter().sum::<Duration>() < total {
            let (pipeline, task) = shares.next().expect("all have something to run");
            let (weight, _, poll) = pipelines[pipeline];
            got[pipeline] += poll;
            // It wakes itself while it is polled, as a call does that a tick interrupts.
            shares.ready(pipeline, weight, task);
            shares.charge(pipeline, poll);
        }
        got
    }

    #[test]
    fn a_hundred_spinners_get_no_more_than_one_neighbour() {
        let quick = Duration::from_micros(20);
        let got = run(&[(1, 100, MILLI), (1, 1, quick)], Duration::from_secs(2));
        assert!(got[1] >= Duration::from_millis(995), "{got:?}");
    }

    #[test]
    fn a_pipeline_of_three_times_the_weight_gets_three_times_as_much() {
        let got = run(&[(1, 3, MILLI), (3, 1, MILLI)], Duration::from_secs(4));
        assert!(got[1] >= Duration::from_millis(2_990) && got[1] <= Duration::from_millis(3_010), "{got:?}");
    }

    #[test]
    fn who_was_away_comes_back_with_nothing_saved_up() {
        let mut shares = Shares::default();
        shares.ready(0, 1, 0);
        for _ in 0..1_000 {
            shares.next().expect("it can run");
            shares.ready(0, 1, 0);
            shares.charge(0, MILLI);
        }
        shares.ready(1, 1, 0);
        let mut in_a_row = 0;
        let mut longest = 0;
        for _ in 0..1_000 {
            let (pipeline, task) = shares.next().expect("both can run");
            in_a_row = if pipeline == 1 { in_a_row + 1 } else { 0 };
            longest = longest.max(in_a_row);
            shares.ready(pipeline, 1, task);
            shares.charge(pipeline, MILLI / 10);
        }
        assert!(longest <= 20, "{longest} polls of a tenth of a quantum in a row");
    }

    #[test]
    fn a_poll_that_stood_still_for_an_hour_is_forgiven() {
        let mut shares = Shares::default();
        for pipeline in [0, 1] {
            shares.ready(pipeline, 1, pipeline);
        }
        let (first, task) = shares.next().expect("both can run");
        shares.ready(first, 1, task);
        shares.charge(first, Duration::from_secs(3_600));
        let mut waited = 0;
        while let Some((pipeline, task)) = shares.next()
            && pipeline != first
        {
            shares.ready(pipeline, 1, task);
            shares.charge(pipeline, MILLI);
            waited += 1;
        }
        assert!(waited <= DEBT / QUANTUM + 2, "{waited}");
    }

    #[test]
    fn a_pipeline_alone_is_never_kept_waiting_and_none_is_idle() {
        let mut shares = Shares::default();
        assert_eq!(shares.next(), None);
        shares.ready(7, 1, 3);
        assert_eq!(shares.next(), Some((7, 3)));
        shares.charge(7, Duration::from_secs(1));
        assert_eq!(shares.next(), None);
        shares.ready(7, 1, 4);
        assert_eq!(shares.next(), Some((7, 4)), "in debt, but nobody else is there");
    }

    #[test]
    fn who_comes_back_waits_for_one_round_whatever_the_weights() {
        for weight in [1, 100] {
            let mut shares = Shares::default();
            (0..100).for_each(|task| shares.ready(0, weight, task));
            for _ in 0..1_000 {
                // It has one short call, and is away until that is done.
                shares.ready(1, 1, 0);
                let mut waited = Duration::ZERO;
                loop {
                    let (pipeline, task) = shares.next().expect("both can run");
                    let spent = if pipeline == 0 { MILLI } else { MILLI / 100 };
                    if pipeline == 0 {
                        shares.ready(0, weight, task);
                        waited += spent;
                    }
                    shares.charge(pipeline, spent);
                    if pipeline == 1 {
                        break;
                    }
                }
                assert!(waited <= 2 * MILLI, "{waited:?} with weight {weight}");
            }
        }
    }

    #[test]
    fn a_debt_is_paid_by_the_time_that_others_had() {
        let mut shares = Shares::default();
        shares.ready(0, 1, 0);
        shares.next().expect("it can run");
        shares.charge(0, 50 * MILLI);
        // Another one has the core for as long.
        shares.ready(1, 1, 1);
        for _ in 0..50 {
            shares.next().expect("it can run");
            shares.ready(1, 1, 1);
            shares.charge(1, MILLI);
        }
        shares.ready(0, 1, 0);
        let order: Vec<_> = (0..2)
            .map(|_| {
                let (pipeline, task) = shares.next().expect("both can run");
                shares.ready(pipeline, 1, task);
                shares.charge(pipeline, MILLI);
                pipeline
            })
            .collect();
        assert!(order.contains(&0), "{order:?}: it waits for no more than its turn");
    }

    proptest! {
        /// The bound of deficit round robin: over any stretch in which all have something to run, none lags behind its
        /// part by more than its quantum and the longest poll of each.
        #[test]
        fn each_gets_its_part_but_for_a_quantum_and_a_poll(
            pipelines in prop::collection::vec((1u32..5, 1usize..50, 1u64..1_000), 1..6),
        ) {
            let pipelines: Vec<_> =
                pipelines.into_iter().map(|(weight, tasks, poll)| (weight, tasks, Duration::from_micros(poll))).collect();
            let total = Duration::from_millis(500);
            let got = run(&pipelines, total);
            let weights: u32 = pipelines.iter().map(|(weight, ..)| weight).sum();
            for (got, (weight, ..)) in got.iter().zip(&pipelines) {
                let part = total * *weight / weights;
                let slack = MILLI * weights + MILLI * 6;
                prop_assert!(*got + slack >= part, "{got:?} of {part:?}");
            }
        }
    }
}
