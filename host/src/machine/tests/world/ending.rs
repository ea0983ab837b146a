//! How a run comes to its end: nothing is disturbed any more, everything completes, the host is stopped.

use super::log::Log;
use super::{World, broken};

impl World {
    /// Everybody answers, nothing is taken away: everything has to complete.
    pub(super) fn settle_down(&mut self) {
        note!(self, "from here on nothing is disturbed");
        self.calm = true;
        self.silence = 0;
        self.machine.outputs_wait(false);
        for log in &mut self.logs {
            log.written = log.records.len();
        }
        self.members_leave();
        let mut idle = 0;
        while !self.is_all_done() {
            self.pass_time();
            let before = self.events;
            self.everybody_answers();
            self.advance();
            if self.events != before {
                idle = 0;
                continue;
            }
            // Nothing is out that could come in, so the machine alone has to go on, at a time that it names.
            idle += 1;
            match self.machine.next_due() {
                Some(due) if idle < 1_000 => self.now = self.now.max(due),
                due => {
                    broken(format!("stalled: nothing is out, the next is due at {due:?}\n{}", self.stuck()))
                }
            }
        }
    }

    fn everybody_answers(&mut self) {
        self.assign();
        self.answer_assignment();
        self.move_commit();
        for _ in 0..self.reports.len() {
            self.deliver_report();
        }
        for _ in 0..self.outputs.len() {
            self.settle_output();
        }
        for _ in 0..self.calls.len() {
            self.end_call();
        }
        while !self.letters.is_empty() {
            self.send_letter();
        }
        for index in 0..self.logs.len() {
            self.poll(index);
        }
    }

    fn is_all_done(&self) -> bool {
        let nothing_out = self.calls.is_empty() && self.reports.is_empty() && self.outputs.is_empty();
        let nothing_out = nothing_out && self.letters.is_empty();
        let committed = self.request.is_none() && self.logs.iter().all(Log::is_finished);
        // A commit of an older epoch may have told it all; the present one has to know it as well.
        let known =
            |log: &Log| self.machine.position_of(&log.name).is_some_and(|position| position.0 >= log.end());
        let nothing_new = self.machine.partitions.iter().all(|(_, p)| !p.dirty);
        nothing_out && committed && nothing_new && self.logs.iter().all(known)
    }

    /// The last stop.
    pub(super) fn close(&mut self) {
        self.closing = true;
        self.stop();
        while !self.stopped {
            self.pass_time();
            self.everybody_answers();
            self.advance();
        }
        self.check_all_is_done_and_given_back();
    }
}
