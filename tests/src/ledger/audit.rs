//! Judges a run with faults: every arrival against every commit that the broker ever took.
//!
//! At-least-once allows repeats, but not any: a record may run again only if the broker did not have it as
//! committed, in offset or metadata, when something went wrong. So a test notes what it did and when
//! ([`Faults`]); the output topics carry the time at which the broker appended a record, and the broker's own
//! log of commits says when it took each. All clocks are this machine's. From these follow the numbers that
//! have to be 0:
//!
//! | number | what it counts |
//! |---|---|
//! | lost | records that are committed and reached neither outputs nor dead letters |
//! | unfinished | records that are neither committed nor in outputs or dead letters |
//! | out of order | first arrivals behind a later record of their key |
//! | past unfinished | records in a commit that was taken before their output was there |
//! | taken back | records that a commit left out though one before it had them: a member wrote that owns nothing |
//! | unexplained | repeats that no fault explains |
//!
//! The commit metadata is read with the host's own code. That it says the truth shows here all the same: a record
//! that it names and that has not arrived is past unfinished. Another program's metadata is not read
//! ([`Metadata::Foreign`]), which is in its favour: what only metadata named counts as not committed, so it may run
//! again after a fault, and may have been committed before it was done.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use sandmill::ids::Offset;
use sandmill::progress;

use super::{EXAMPLES, Input, Ledger, Order, number_of};
use crate::job::Job;
use crate::kafka::Commit;
use crate::producer::Place;
use crate::reader::Record;

/// Outputs of a host that was killed may still lie in the sockets between it and the broker: they arrive at most
/// so many milliseconds later.
const IN_SOCKETS: i64 = 250;

/// Something that was done to hosts or brokers, and may make records run again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    what: String,
    /// Milliseconds since 1970.
    from: i64,
    until: i64,
}

impl Fault {
    /// Whether a record may have run again for it: it first arrived before the fault was over, was not committed
    /// when the fault began, and arrived again since.
    fn explains(&self, first: i64, committed: Option<i64>, again: i64) -> bool {
        first <= self.until && committed.is_none_or(|at| at >= self.from) && again >= self.from
    }
}

/// What a test did, and when.
#[derive(Debug, Clone, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// A host was killed; `from` is the time just before that, see [`now`].
    pub fn killed(&mut self, what: &str, from: i64) {
        self.span(what, from, now() + IN_SOCKETS);
    }

    /// Something was wrong from one time to another, in milliseconds since 1970. `until` includes what follows
    /// from it, such as sessions that end.
    pub fn span(&mut self, what: &str, from: i64, until: i64) {
        self.0.push(Fault { what: what.to_owned(), from, until });
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|Fault { what, from, until }| writeln!(f, "{what}: {from} to {until}"))
    }
}

/// Milliseconds since 1970, as brokers on this machine see them.
#[must_use]
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    i64::try_from(since.as_millis()).expect("the clock is before the end of time")
}

/// Whose metadata stands beside the commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metadata {
    /// The host's.
    Own,
    /// Another program's: not read.
    Foreign,
}

/// What an audit found. The promise is kept if all lists are empty; `repeated` may be more than 0, and is what
/// faults explain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Inputs that reached neither outputs nor dead letters, and that a commit contains: they never will.
    pub lost: Vec<(usize, Place)>,
    /// Inputs that reached neither, and that no commit contains: whoever goes on from the last one will run them.
    pub unfinished: Vec<(usize, Place)>,
    /// First arrivals that came after the first arrival of a later record of the same order.
    pub out_of_order: Vec<(usize, Place)>,
    /// Inputs that a commit contained before they had arrived.
    pub past_unfinished: Vec<(usize, Place)>,
    /// Inputs that a commit did not contain though an earlier one did.
    pub taken_back: Vec<(usize, Place)>,
    /// Inputs that arrived again without a fault that explains it.
    pub unexplained: Vec<(usize, Place)>,
    /// Arrivals that belong to no input or changed its key, and metadata that cannot be read.
    pub strange: Vec<String>,
    /// All arrivals after the first of each input.
    pub repeated: usize,
    /// How many of them each fault explains, in the order in which faults were noted; the shortest that does counts.
    pub explained: Vec<(String, usize)>,
    /// How many commits of partitions were looked at.
    pub commits: usize,
}

impl Ledger {
    /// Judges what the job's topics and its group's commits say now. The job is one made by [`Job::judged`].
    ///
    /// # Panics
    /// When the broker stops answering.
    #[must_use]
    pub fn judge(&self, job: &Job<'_>, order: Order, faults: &Faults) -> Verdict {
        self.judge_with(job, order, faults, Metadata::Own)
    }

    /// The same for a program whose metadata may not be the host's.
    ///
    /// # Panics
    /// As [`Ledger::judge`].
    #[must_use]
    pub fn judge_with(&self, job: &Job<'_>, order: Order, faults: &Faults, metadata: Metadata) -> Verdict {
        let (outputs, dead) = (job.outputs(), job.dead());
        let commits = job.kafka.commits_of(&job.group, &job.input);
        self.weigh(&[&outputs, &dead], &commits, order, faults, metadata)
    }

    /// All that is known of the records that a verdict names, and every commit of their partitions: for people who
    /// look for the reason. Times are milliseconds since 1970.
    ///
    /// # Panics
    /// When the broker stops answering.
    #[must_use]
    pub fn evidence(&self, job: &Job<'_>, verdict: &Verdict) -> String {
        let (outputs, dead) = (job.outputs(), job.dead());
        let times = self.arrival_times(&[&outputs, &dead]);
        let (mut text, mut partitions) = (String::new(), BTreeSet::new());
        for (name, list) in verdict.lists() {
            for (number, place) in list {
                partitions.insert(place.partition);
                let (Place { partition, offset }, times) = (place, &times[*number]);
                let _ = writeln!(text, "{name}: record {number} at {partition}/{offset}, arrived {times:?}");
            }
        }
        let commits = job.kafka.commits_of(&job.group, &job.input);
        for Commit { partition, offset, metadata, at } in commits {
            if partitions.contains(&partition) {
                let _ = writeln!(text, "commit {at}: {partition}/{offset} {metadata:?}");
            }
        }
        text
    }

    fn weigh(
        &self,
        arrived: &[&[Record]],
        commits: &[Commit],
        order: Order,
        faults: &Faults,
        metadata: Metadata,
    ) -> Verdict {
        let report = self.compare(arrived, order);
        let times = self.arrival_times(arrived);
        let history = History::of(&self.inputs, commits, metadata);
        let is_committed = |(number, _): &(usize, Place)| history.since[*number].is_some();
        let (lost, unfinished) = report.lost.into_iter().partition(is_committed);
        let mut verdict = Verdict {
            lost,
            unfinished,
            out_of_order: report.out_of_order,
            strange: [report.strange, history.unreadable].concat(),
            repeated: report.repeated.len(),
            explained: faults.0.iter().map(|fault| (fault.what.clone(), 0)).collect(),
            commits: commits.len(),
            ..Verdict::default()
        };
        let named = |number: usize| (number, self.inputs[number].place);
        verdict.taken_back = history.taken_back.into_iter().map(named).collect();
        for (number, (times, committed)) in times.iter().zip(&history.since).enumerate() {
            let first = times.first();
            if committed.is_some_and(|at| first.is_none_or(|first| *first > at)) {
                verdict.past_unfinished.push(named(number));
            }
            let Some((first, repeats)) = times.split_first() else { continue };
            for again in repeats {
                let reasons = faults.0.iter().enumerate();
                let reasons = reasons.filter(|(_, fault)| fault.explains(*first, *committed, *again));
                match reasons.min_by_key(|(_, fault)| fault.until - fault.from) {
                    Some((fault, _)) => verdict.explained[fault].1 += 1,
                    None => verdict.unexplained.push(named(number)),
                }
            }
        }
        verdict
    }

    /// When each input arrived, earliest first.
    fn arrival_times(&self, arrived: &[&[Record]]) -> Vec<Vec<i64>> {
        let mut times = vec![Vec::new(); self.inputs.len()];
        for record in arrived.iter().copied().flatten() {
            if let Some(number) = number_of(record).filter(|number| *number < times.len()) {
                times[number].push(record.timestamp.unwrap_or_default());
            }
        }
        times.iter_mut().for_each(|times| times.sort_unstable());
        times
    }
}

/// What the broker's log of commits says about each input.
struct History<'a> {
    inputs: &'a [Input],
    metadata: Metadata,
    /// Since when it is in a commit, by number.
    since: Vec<Option<i64>>,
    taken_back: BTreeSet<usize>,
    unreadable: Vec<String>,
}

impl<'a> History<'a> {
    fn of(inputs: &'a [Input], commits: &[Commit], metadata: Metadata) -> Self {
        let mut numbers: BTreeMap<i32, BTreeMap<i64, usize>> = BTreeMap::new();
        for (number, input) in inputs.iter().enumerate() {
            numbers.entry(input.place.partition).or_default().insert(input.place.offset, number);
        }
        let mut history = Self {
            inputs,
            metadata,
            since: vec![None; inputs.len()],
            taken_back: BTreeSet::new(),
            unreadable: Vec::new(),
        };
        let mut by_partition: BTreeMap<i32, Vec<&Commit>> = BTreeMap::new();
        for commit in commits {
            by_partition.entry(commit.partition).or_default().push(commit);
        }
        for (partition, commits) in by_partition {
            history.follow(numbers.get(&partition).unwrap_or(&BTreeMap::new()), &commits);
        }
        history
    }

    /// Follows the commits of one partition, whose inputs are known by offset.
    fn follow(&mut self, numbers: &BTreeMap<i64, usize>, commits: &[&Commit]) {
        // What the commit before contained: all below its offset, and some above.
        let (mut base, mut above) = (i64::MIN, BTreeSet::new());
        for commit in commits {
            let named = self.above(numbers, commit);
            if commit.offset < base {
                let back = numbers.range(commit.offset..base).map(|(_, number)| *number);
                self.taken_back.extend(back.filter(|number| !named.contains(number)));
            } else {
                let reached = numbers.range(base..commit.offset).map(|(_, number)| *number);
                reached.for_each(|number| self.contained(number, commit.at));
            }
            let offset_of = |number: &usize| self.inputs[*number].place.offset;
            let left_out = above.difference(&named).filter(|number| offset_of(number) >= commit.offset);
            self.taken_back.extend(left_out);
            named.iter().for_each(|number| self.contained(*number, commit.at));
            (base, above) = (commit.offset, named);
        }
    }

    fn contained(&mut self, number: usize, at: i64) {
        self.since[number].get_or_insert(at);
    }

    /// The inputs above a commit's offset that its metadata names as complete.
    fn above(&mut self, numbers: &BTreeMap<i64, usize>, commit: &Commit) -> BTreeSet<usize> {
        if self.metadata == Metadata::Foreign {
            return BTreeSet::new();
        }
        // Tag 0: the topic is not created again while an audit goes on.
        match progress::decode(commit.metadata.as_bytes(), Offset(commit.offset), 0) {
            Ok(restored) => numbers
                .range(commit.offset..restored.horizon().0.max(commit.offset))
                .filter(|(offset, _)| restored.is_completed(Offset(**offset)))
                .map(|(_, number)| *number)
                .collect(),
            Err(reject) => {
                self.unreadable.push(format!("commit {}/{}: {reject}", commit.partition, commit.offset));
                BTreeSet::new()
            }
        }
    }
}

impl Verdict {
    /// Fails the test unless every promise was kept. Repeats that faults explain are allowed.
    ///
    /// # Panics
    /// With all numbers and a few examples of each.
    #[track_caller]
    pub fn assert_kept(&self) {
        assert!(self.commits > 0, "the broker's log has no commit of this group: nothing was judged");
        assert!(self.is_kept(), "{self}");
    }

    /// Whether every promise was kept, as far as commits show it.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        let lists = self.lists().iter().all(|(_, list)| list.is_empty());
        lists && self.strange.is_empty() && self.commits > 0
    }

    fn lists(&self) -> [(&'static str, &[(usize, Place)]); 6] {
        [
            ("lost", &self.lost),
            ("unfinished", &self.unfinished),
            ("order violations", &self.out_of_order),
            ("commits past unfinished records", &self.past_unfinished),
            ("taken back by a commit", &self.taken_back),
            ("unexplained duplicates", &self.unexplained),
        ]
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, list) in self.lists() {
            writeln!(f, "{name}: {} {:?}", list.len(), &list[..list.len().min(EXAMPLES)])?;
        }
        let examples = &self.strange[..self.strange.len().min(EXAMPLES)];
        writeln!(f, "strange: {} {examples:?}", self.strange.len())?;
        let explained: Vec<String> = self
            .explained
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(what, count)| format!("{count} by {what}"))
            .collect();
        writeln!(f, "repeated: {} (explained: {})", self.repeated, explained.join(", "))?;
        write!(f, "commits: {}", self.commits)
    }
}

#[cfg(test)]
mod tests {
    use sandmill::progress::{Admission, Budget, Progress};

    use super::*;
    use crate::ledger::HEADER;

    /// Numbers are offsets, all of one key and one partition.
    fn ledger(count: usize) -> Ledger {
        let place = |offset| Place { partition: 0, offset };
        let inputs = (0..count).zip(0..).map(|(_, offset)| Input { key: None, place: place(offset) });
        Ledger { inputs: inputs.collect() }
    }

    /// Outputs of these numbers at these times.
    fn outputs(arrivals: &[(usize, i64)]) -> Vec<Record> {
        let records = arrivals.iter().zip(0..).map(|((number, at), offset)| Record {
            partition: 0,
            offset,
            timestamp: Some(*at),
            key: None,
            value: None,
            headers: vec![(HEADER.to_owned(), Some(number.to_string().into_bytes()))],
        });
        records.collect()
    }

    /// What a host commits that has completed these of the first `polled` records.
    fn commit(at: i64, polled: i64, completed: &[i64]) -> Commit {
        let mut progress = Progress::new(Offset(0), None, 7);
        for offset in 0..polled {
            assert_eq!(progress.admit(Offset(offset)), Admission::Run);
        }
        assert!(completed.iter().all(|offset| progress.complete(Offset(*offset))));
        let snapshot = progress.snapshot(&Budget::new(4096, false));
        Commit { partition: 0, offset: snapshot.offset.0, metadata: snapshot.metadata, at }
    }

    fn weigh(count: usize, arrivals: &[(usize, i64)], commits: &[Commit], faults: &Faults) -> Verdict {
        ledger(count).weigh(&[&outputs(arrivals)], commits, Order::Partition, faults, Metadata::Own)
    }

    fn numbers(list: &[(usize, Place)]) -> Vec<usize> {
        list.iter().map(|(number, _)| *number).collect()
    }

    const ALL: &[(usize, i64)] = &[(0, 10), (1, 11), (2, 12), (3, 13)];

    #[test]
    fn commits_behind_their_outputs_are_right() {
        let commits = [commit(11, 4, &[0, 1]), commit(12, 4, &[0, 2]), commit(15, 4, &[0, 1, 2, 3])];
        let verdict = weigh(4, ALL, &commits[..1], &Faults::default());
        verdict.assert_kept();
        let verdict = weigh(4, ALL, &[commits[1].clone(), commits[2].clone()], &Faults::default());
        verdict.assert_kept();
        assert_eq!((verdict.repeated, verdict.commits), (0, 2));
    }

    #[test]
    fn a_commit_before_its_output_is_found_also_in_the_metadata_and_though_the_output_came_later() {
        let verdict = weigh(4, ALL, &[commit(11, 4, &[0, 1, 2])], &Faults::default());
        assert_eq!(numbers(&verdict.past_unfinished), [2]);
        let verdict = weigh(4, ALL, &[commit(12, 4, &[0, 2, 3])], &Faults::default());
        assert_eq!(numbers(&verdict.past_unfinished), [3]);
        let verdict = weigh(4, &ALL[..3], &[commit(20, 4, &[0, 1, 2, 3])], &Faults::default());
        assert_eq!((numbers(&verdict.past_unfinished), numbers(&verdict.lost)), (vec![3], vec![3]));
    }

    #[test]
    fn a_commit_that_takes_back_is_found() {
        let (more, less) = (commit(20, 4, &[0, 1, 3]), commit(21, 4, &[0]));
        let verdict = weigh(4, ALL, &[more.clone(), less], &Faults::default());
        assert_eq!(numbers(&verdict.taken_back), [1, 3]);
        let verdict = weigh(4, ALL, &[more, commit(21, 4, &[0, 1, 2, 3])], &Faults::default());
        assert!(verdict.taken_back.is_empty(), "{verdict}");
    }

    #[test]
    fn only_what_was_not_committed_at_a_fault_may_run_again() {
        let commits = [commit(14, 4, &[0, 3]), commit(40, 4, &[0, 1, 2, 3])];
        let again = [ALL, &[(1, 30), (3, 31)]].concat();
        let mut faults = Faults::default();
        assert_eq!(numbers(&weigh(4, &again, &commits, &faults).unexplained), [1, 3], "nothing was wrong");
        faults.span("a kill", 20, 22);
        let verdict = weigh(4, &again, &commits, &faults);
        assert_eq!(numbers(&verdict.unexplained), [3], "the metadata had it");
        assert_eq!((verdict.repeated, verdict.explained), (2, vec![("a kill".to_owned(), 1)]));
        let mut later = Faults::default();
        later.span("a kill after all was committed", 41, 42);
        assert_eq!(numbers(&weigh(4, &again, &commits, &later).unexplained), [1, 3]);
    }

    #[test]
    fn what_never_arrived_is_lost_only_where_a_commit_has_it() {
        let verdict = weigh(4, &ALL[..1], &[commit(20, 4, &[0, 1, 3])], &Faults::default());
        assert_eq!((numbers(&verdict.lost), numbers(&verdict.unfinished)), (vec![1, 3], vec![2]));
    }

    #[test]
    fn another_programs_commits_count_by_their_offsets_alone() {
        let commit = |at, offset| Commit { partition: 0, offset, metadata: "its own".to_owned(), at };
        let again = [ALL, &[(1, 30), (3, 31)]].concat();
        let mut faults = Faults::default();
        faults.span("a kill", 20, 22);
        let weigh = |commits: &[Commit], faults: &Faults| {
            ledger(4).weigh(&[&outputs(&again)], commits, Order::Partition, faults, Metadata::Foreign)
        };
        let verdict = weigh(&[commit(14, 2), commit(40, 4)], &faults);
        assert!(verdict.strange.is_empty(), "{verdict}");
        assert_eq!(
            numbers(&verdict.unexplained),
            [1],
            "the offset had it, and of the other it cannot be known"
        );
        let verdict = weigh(&[commit(12, 4), commit(15, 1)], &faults);
        assert_eq!(
            (numbers(&verdict.past_unfinished), numbers(&verdict.taken_back)),
            (vec![3], vec![1, 2, 3])
        );
    }

    #[test]
    fn metadata_that_cannot_be_read_is_strange() {
        let commit = Commit { partition: 0, offset: 1, metadata: "x".to_owned(), at: 50 };
        assert_eq!(weigh(4, ALL, &[commit], &Faults::default()).strange.len(), 1);
    }
}
