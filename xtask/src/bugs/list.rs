//! Bugs to put in on purpose, each a small change of the host's source.
//!
//! At least one for each promise that the simulation checks. What a bug replaces has to occur exactly once in
//! its file, so a change of the source that makes a bug meaningless is noticed.

/// One bug.
pub struct Bug {
    /// A short name.
    pub name: &'static str,
    /// What goes wrong with it, as a sentence.
    pub what: &'static str,
    /// Relative to `host/src`.
    pub file: &'static str,
    /// Text that occurs exactly once in the file.
    pub old: &'static str,
    /// What stands there instead.
    pub new: &'static str,
}

/// All of them.
pub const BUGS: &[Bug] = &[
    Bug {
        name: "commit past a gap",
        what: "The safe offset is the highest completed record, not the oldest unfinished one.",
        file: "progress/mod.rs",
        old: "self.window.oldest_unfinished().unwrap_or(self.position)",
        new: "self.window.oldest_unfinished().map_or(self.position, |oldest| oldest.max(self.window.completed_end()))",
    },
    Bug {
        name: "dropped completion",
        what: "The last record of a retried call is never completed.",
        file: "machine/finish.rs",
        old: "for &offset in &out.offsets {",
        new: "for &offset in out.offsets.iter().skip(usize::from(out.attempts > 1)) {",
    },
    Bug {
        name: "stale epoch accepted",
        what: "A report of an older assignment counts for the present one.",
        file: "machine/mod.rs",
        old: "partitions.get_mut(slot.0 as usize).filter(|p| p.epoch == epoch)",
        new: "partitions.get_mut(slot.0 as usize).filter(|p| p.epoch >= epoch)",
    },
    Bug {
        name: "order lost on retry",
        what: "Records that wait in the lane overtake a record of their key that is tried again.",
        file: "dispatch/shard.rs",
        old: "if !special.is_empty() {",
        new: "if special.len() > 1 {",
    },
    Bug {
        name: "metadata newer than the offset",
        what: "A commit names the offset that the broker acknowledged last, with the metadata of now.",
        file: "machine/commit.rs",
        old: "                offset: snapshot.offset,",
        new: "                offset: partition.committed.unwrap_or(snapshot.offset),",
    },
    Bug {
        name: "acknowledgement counted twice",
        what: "A record is complete before all its outputs are acknowledged.",
        file: "machine/finish.rs",
        old: "out.acknowledged += count;",
        new: "out.acknowledged += 2 * count;",
    },
    Bug {
        name: "key released at dispatch",
        what: "A lane may have two batches out, so that a key is in two calls.",
        file: "dispatch/shard.rs",
        old: "        self.lane_out = true;\n",
        new: "",
    },
    Bug {
        name: "waiting record forgotten",
        what: "Of several records of a key that were not run only one goes back to the queue.",
        file: "dispatch/shard.rs",
        old: "for (record, _) in again.into_iter().rev() {",
        new: "for (record, _) in again.into_iter().rev().take(1) {",
    },
    Bug {
        name: "in-flight count leaked on revoke",
        what: "A call whose assignment is over frees no place among the calls that may be out.",
        file: "machine/finish.rs",
        old: "            Source::Key(_) => self.keys_out -= 1,",
        new: "            Source::Key(_) if live(&mut self.partitions, slot, epoch).is_none() => {}
            Source::Key(_) => self.keys_out -= 1,",
    },
    Bug {
        name: "two commits outstanding",
        what: "A commit is sent before the last one is answered.",
        file: "machine/commit.rs",
        old: "        if !self.commits.outstanding.is_empty() {\n            return;\n        }\n",
        new: "",
    },
    Bug {
        name: "partition never resumed",
        what: "A paused partition that came down to half of its share stays paused.",
        file: "machine/flow.rs",
        old: "if std::mem::take(&mut partition.paused) {",
        new: "if std::mem::take(&mut partition.paused) && records == 0 && bytes > 0 {",
    },
    Bug {
        name: "given back before the commit",
        what: "A revoke does not wait for the reply to its commit.",
        file: "machine/rebalance.rs",
        old: "let done = now >= until ||",
        new: "let done = true ||",
    },
    Bug {
        name: "revoke waits for ever",
        what: "Calls that do not end when they are interrupted hold a revoke beyond its bound.",
        file: "machine/rebalance.rs",
        old: "                if now >= until\n                    || parts",
        new: "                if parts",
    },
    Bug {
        name: "failed commit forgotten",
        what: "What a failed commit held is not committed again.",
        file: "machine/commit.rs",
        old: "                    partition.dirty = true;\n                    self.commits.urgent",
        new: "                    self.commits.urgent",
    },
    Bug {
        name: "restored records forgotten",
        what: "A commit does not go on naming records that an earlier one named and that were not polled since.",
        file: "progress/mod.rs",
        old: "let told = self.restored.as_ref().map_or(offset, Restored::horizon);",
        new: "let told = offset;",
    },
    Bug {
        name: "metadata of another log trusted",
        what: "Metadata that names records past the log's end counts for records that nobody has seen.",
        file: "machine/rebalance.rs",
        old: "Some(end) => restored.within_log(end),",
        new: "Some(_) => Ok(restored),",
    },
    Bug {
        name: "metadata overflows",
        what: "Records are admitted whether or not the commit's metadata has room for them.",
        file: "progress/budget.rs",
        old: "span <= MAX_SPAN && (self.truncate || self.holds(unfinished, span as usize))",
        new: "span <= MAX_SPAN && (self.truncate || unfinished > 0)",
    },
    Bug {
        name: "dead letter not waited for",
        what: "A record whose output was refused is complete before its dead letter is acknowledged.",
        file: "machine/finish.rs",
        old: "                *published += 1;\n",
        new: "",
    },
    Bug {
        name: "position passes held records",
        what: "The client's position moves past records that wait for room in the metadata.",
        file: "machine/mod.rs",
        old: "            && partition.held.is_empty()\n        {\n            partition.dirty |= partition.progress.eof(offset);",
        new: "        {\n            partition.dirty |= partition.progress.eof(offset);",
    },
    Bug {
        name: "bound in flight ignored",
        what: "Records are taken from the client however many are in flight.",
        file: "machine/flow.rs",
        old: "self.partitions.iter().all(|(_, p)| p.paused || p.over_since.is_none())",
        new: "self.partitions.iter().all(|(_, p)| p.paused || p.over_since != Some(Time::NEVER))",
    },
    Bug {
        name: "retry before its time",
        what: "A retried record does not wait.",
        file: "dispatch/shard.rs",
        old: "            if due > now {\n                key.state = State::Backoff(due);\n                ready(Admitted::KeyWaits(hash, due));\n            } else {\n                ready(Admitted::KeyReady(hash));\n            }",
        new: "            let _ = (due > now, &key.state);\n            ready(Admitted::KeyReady(hash));",
    },
    Bug {
        name: "another's revoke answered",
        what: "A stop gives back nothing, at once, while a revoke drains: the client takes that for its answer.",
        file: "machine/rebalance.rs",
        old: "                    0 if done => return Step::Done,\n",
        new: "                    _ if done => return Step::Done,\n",
    },
    Bug {
        name: "lost revoke answered",
        what: "A revoke whose partitions were all lost is answered once there is a newer one.",
        file: "machine/rebalance.rs",
        old: "        self.giving_back.retain(|giving| giving.parts.iter().any(live));\n",
        new: "        let _ = live;\n",
    },
    Bug {
        name: "held record waits for nothing",
        what: "A record that has room in the metadata again is not handed out before something else comes in.",
        file: "machine/mod.rs",
        old: "        self.regulate(now);\n        self.dispatch(now);\n",
        new: "        self.dispatch(now);\n        self.regulate(now);\n",
    },
    Bug {
        name: "two dead letters of a record",
        what: "A record that its worker gave up goes to the dead letters once more if an output of it is refused.",
        file: "machine/finish.rs",
        old: "        out.dead_lettered.extend(report.given_up.iter().map(|(index, _)| *index));\n",
        new: "",
    },
    Bug {
        name: "late commit stays",
        what: "A commit of an older epoch lands on a newer one, and nobody commits again.",
        file: "machine/commit.rs",
        old: "                if let Some((_, partition)) = again {\n                    partition.dirty = true;\n                }\n",
        new: "                let _ = again;\n",
    },
    Bug {
        name: "partition never committed",
        what: "Where a request has no room for all partitions, the same ones are left out each time.",
        file: "machine/commit.rs",
        old: "self.commits.left_out = index;",
        new: "self.commits.left_out = 0;",
    },
];
