//! The promises about a call: which records it has, and in which order.

use super::World;
use super::log::{KEYS, Log, State};
use crate::dispatch::Ordering;
use crate::work::Work;

impl World {
    /// Finds the records of a batch, and checks that they may run now.
    pub(super) fn check_dispatch(&self, log: usize, work: &Work) -> Vec<usize> {
        let name = &work.origin;
        promise!(self.takes_records(log), "{name}: a call starts though nothing may be started there");
        let log = &self.logs[log];
        promise!(work.epoch == log.epoch, "{name}: a call starts for an epoch that is over");
        promise!(!work.batch.is_empty(), "{name}: a call has no records");
        let most = self.options.pacing.records;
        promise!(work.batch.len() <= most, "{name}: a call has more than {most} records");
        let mut records = Vec::with_capacity(work.batch.len());
        for (at, record) in work.batch.records().enumerate() {
            let offset = record.offset;
            let Some(index) = log.index_of(offset.0) else {
                super::broken(format!("{name}: there is no record at {offset}"))
            };
            promise!(record == log.records[index].record(), "{name}: {offset} is not what was polled");
            let life = &log.lives[index];
            promise!(life.state == State::Waits, "{name}: {offset} runs though it is {:?}", life.state);
            promise!(life.due <= self.now, "{name}: {offset} runs before its wait is over");
            let attempts = u32::from(work.batch.attempts().get(at).copied().unwrap_or(0));
            promise!(attempts == life.attempts, "{name}: {offset} has {} attempts", life.attempts);
            let apart = life.alone || life.attempts > 0;
            promise!(!apart || work.batch.len() == 1, "{name}: {offset} has to run alone");
            promise!(records.last().is_none_or(|last| *last < index), "{name}: a call is out of order");
            records.push(index);
        }
        promise!(
            work.batch.len() > 1 || work.attempts == log.lives[records[0]].attempts,
            "{name}: a call of {} says that it is attempt {}",
            work.batch.offsets()[0],
            work.attempts
        );
        self.check_order(log, &records);
        records
    }

    /// No record of the same key is in another call, and none waits that is older.
    fn check_order(&self, log: &Log, records: &[usize]) {
        let ordering = self.options.ordering;
        if ordering == Ordering::Unordered {
            return;
        }
        let mut newest = [None; KEYS.len()];
        for &index in records {
            if let Some(order) = log.order(index, ordering) {
                newest[order] = Some(index);
            }
        }
        for index in log.low()..log.handed {
            let Some(order) = log.order(index, ordering) else { continue };
            let Some(newest) = newest[order] else { continue };
            let offset = log.records[index].offset;
            match log.lives[index].state {
                State::Out => super::broken(format!("{}: the key of {offset} is in two calls", log.name)),
                State::Waits if index < newest && records.binary_search(&index).is_err() => {
                    super::broken(format!("{}: {offset} is overtaken by a record of its key", log.name))
                }
                _ => {}
            }
        }
    }
}
