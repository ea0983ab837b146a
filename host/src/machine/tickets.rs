//! Work that is out: at a worker, or waiting for the acknowledgements of its outputs.

use slab::Slab;

use super::partition::Slot;
use crate::batch::Batch;
use crate::dispatch::Source;
use crate::ids::{Epoch, Offset};
use crate::outcome::Failure;
use crate::time::Time;
use crate::work::Ticket;

/// One piece of work that is out.
#[derive(Debug)]
pub(super) struct Outstanding {
    serial: u32,
    pub slot: Slot,
    pub epoch: Epoch,
    pub shard: u32,
    pub source: Source,
    pub first_dispatch: Time,
    pub attempts: u32,
    /// Its records; while it waits for acknowledgements, only those that they complete. Ascending.
    pub offsets: Vec<Offset>,
    pub stage: Stage,
    /// It is out for so long that it does not keep a worker busy, but waits.
    pub late: bool,
    /// Acknowledgements that arrived. They may come before the report.
    pub acknowledged: u32,
    /// Records one of whose outputs the broker refused before the report was there.
    pub refused: Vec<(u32, Failure)>,
    /// Records that are given up already, by their worker or because an output was refused: no refused output
    /// sends them to the dead letters again.
    pub dead_lettered: Vec<u32>,
}

impl Outstanding {
    /// True until its report is there.
    pub fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running)
    }
}

/// Where a piece of work is.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "boxing the batch would allocate for each call")]
pub(super) enum Stage {
    /// At a worker.
    Running,
    /// It answered then; so many acknowledgements are due in all. The batch is kept for a record whose output the
    /// broker refuses.
    Answered { since: Time, published: u32, given_up: u32, batch: Batch },
}

/// All work of a pipeline that is out.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    slab: Slab<Outstanding>,
    next_serial: u32,
    /// Vectors for offsets, kept for their memory.
    spare: Vec<Vec<Offset>>,
}

/// Vectors kept, at most.
const SPARE: usize = 4_096;
/// Offsets for which a kept vector has room, at most: so many vectors of the largest batches would hold
/// gigabytes.
const SPARE_ROOM: usize = 1_024;

impl Tickets {
    /// Enters work that is about to be dispatched.
    pub fn issue(
        &mut self,
        (slot, epoch, shard, source): (Slot, Epoch, u32, Source),
        (first_dispatch, attempts): (Time, u32),
        batch: &Batch,
    ) -> Ticket {
        let serial = self.next_serial;
        self.next_serial = (serial + 1) & ((1 << Ticket::SERIAL_BITS) - 1);
        let mut offsets = self.spare.pop().unwrap_or_default();
        offsets.extend(batch.offsets().iter().map(|&offset| Offset(offset)));
        let index = self.slab.insert(Outstanding {
            serial,
            slot,
            epoch,
            shard,
            source,
            first_dispatch,
            attempts,
            offsets,
            stage: Stage::Running,
            late: false,
            acknowledged: 0,
            refused: Vec::new(),
            dead_lettered: Vec::new(),
        });
        let index = u32::try_from(index).ok().filter(|index| index >> Ticket::INDEX_BITS == 0);
        Ticket { index: index.expect("the configuration bounds the records in flight below 2^20"), serial }
    }

    /// The work of this ticket, unless it is over.
    pub fn get(&mut self, ticket: Ticket) -> Option<&mut Outstanding> {
        self.slab.get_mut(ticket.index as usize).filter(|known| known.serial == ticket.serial)
    }

    /// Ends a ticket.
    pub fn remove(&mut self, ticket: Ticket) -> Option<Outstanding> {
        self.get(ticket)?;
        self.slab.try_remove(ticket.index as usize)
    }

    /// Takes back the memory of an ended ticket.
    pub fn recycle(&mut self, mut offsets: Vec<Offset>) {
        if self.spare.len() < SPARE && offsets.capacity() <= SPARE_ROOM {
            offsets.clear();
            self.spare.push(offsets);
        }
    }

    /// The work that holds `offset`.
    pub fn find(&self, slot: Slot, epoch: Epoch, offset: Offset) -> Option<&Outstanding> {
        self.slab
            .iter()
            .map(|(_, out)| out)
            .find(|out| out.slot == slot && out.epoch == epoch && out.offsets.binary_search(&offset).is_ok())
    }

    /// How many tickets are open.
    pub fn len(&self) -> usize {
        self.slab.len()
    }
}
