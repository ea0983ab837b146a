//! The host's own life: it is stopped, fails, dies, and starts again.

use super::World;
use super::log::Owner;
use crate::machine::tests::seen::Sight;
use crate::machine::{Machine, Options};

impl World {
    /// Stops the host, or, if that is under way, asks once more.
    pub(super) fn stop(&mut self) {
        if self.stopping.is_some() {
            if self.rng.bool() {
                note!(self, "stop, again");
                self.seen.saw(Sight::StoppedTwice);
                self.machine.stop(self.now);
            }
            return;
        }
        note!(self, "stop");
        if !self.calls.is_empty() {
            self.seen.saw(Sight::StoppedWithCalls);
        }
        if self.revoking.is_some() {
            self.seen.saw(Sight::StoppedWhileRevoking);
        }
        self.stopped_at = self.now;
        self.stopping = Some(self.now + self.longest());
        self.machine.stop(self.now);
    }

    /// The pipeline cannot go on: it has to stop, and say so.
    pub(super) fn has_failed(&mut self) {
        self.failing = true;
        if self.stopping.is_none() {
            self.stopped_at = self.now;
            self.stopping = Some(self.now + self.longest());
        }
        promise!(self.machine.is_stopping(), "the pipeline does not stop though it cannot go on");
    }

    /// The host dies.
    pub(super) fn crash(&mut self) {
        note!(self, "crash");
        if !self.calls.is_empty() {
            self.seen.saw(Sight::CrashedWithCalls);
        }
        self.start_again();
    }

    /// A new host finds what the broker holds, and nothing else.
    pub(super) fn start_again(&mut self) {
        self.land_orphan();
        self.options = Options { seed: self.rng.u64(..), ..self.options.clone() };
        self.machine = Machine::new(self.options.clone());
        self.calls.clear();
        self.reports.clear();
        self.open.clear();
        self.outputs.clear();
        self.letters.clear();
        self.owed_letters.clear();
        self.assigning.clear();
        self.revoking = None;
        self.stopping = None;
        self.stopped = false;
        self.failing = false;
        for log in &mut self.logs {
            if matches!(log.owner, Owner::Host | Owner::Assigning) {
                log.end_assignment();
            }
        }
        note!(self, "a new host starts");
    }
}
