//! The ledgers of several programs under the same faults, side by side: as JSON, and as tables for readers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::conditions::Conditions;
use crate::page::Marks;

/// The marks between which `docs/DELIVERY.md` has the tables.
const MARKS: Marks = Marks { begin: "<!-- chaos: begin -->", end: "<!-- chaos: end -->" };

/// What the results file holds: sessions, the shorter first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ledgers {
    /// One for each seed and time.
    pub sessions: Vec<Session>,
}

/// One seed and time, for each program.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    /// What decided over faults and input.
    pub seed: u64,
    /// How long faults and input went on.
    pub minutes: u64,
    /// Under which it came about.
    pub conditions: Conditions,
    /// One for each program, in the order in which they ran.
    pub columns: Vec<Column>,
}

/// One program's ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub contender: String,
    /// Inputs that were produced.
    pub records: usize,
    /// What was started, stopped, broken and mended.
    pub steps: usize,
    /// Committed, and in no output.
    pub lost: usize,
    /// Neither committed nor in an output when the time to finish was over.
    pub unfinished: usize,
    /// First arrivals behind a later record of their key.
    pub out_of_order: usize,
    /// Committed before their output was there.
    pub past_unfinished: usize,
    /// Left out by a commit though one before it had them.
    pub taken_back: usize,
    /// Arrivals after the first that no fault explains.
    pub unexplained: usize,
    /// All others after the first, by what explains them.
    pub explained: BTreeMap<String, usize>,
    /// Commits of partitions that were looked at.
    pub commits: usize,
    /// Times that a partition with work stood still for half a minute.
    pub stalls: usize,
    /// Seconds that a partition with work stood still at most.
    pub longest_still: f64,
    /// Processes that ended by themselves, each with its reason.
    pub ended: Vec<String>,
    /// Processes that were told to stop and did not in order.
    pub disorderly: Vec<String>,
    /// Seconds from the last input until all was committed; none if that took longer than two minutes.
    pub finished: Option<f64>,
    /// Runnable processes on average over the run's last minute, its own and others'.
    #[serde(default)]
    pub load: Option<f64>,
}

impl From<&Outcome> for Column {
    fn from(outcome: &Outcome) -> Self {
        let verdict = &outcome.verdict;
        let mut explained = BTreeMap::new();
        for (what, count) in verdict.explained.iter().filter(|(_, count)| *count > 0) {
            *explained.entry(kind(what).to_owned()).or_default() += count;
        }
        Self {
            contender: outcome.contender.name().to_owned(),
            records: outcome.records,
            steps: outcome.steps,
            lost: verdict.lost.len(),
            unfinished: verdict.unfinished.len(),
            out_of_order: verdict.out_of_order.len(),
            past_unfinished: verdict.past_unfinished.len(),
            taken_back: verdict.taken_back.len(),
            unexplained: verdict.unexplained.len(),
            explained,
            commits: verdict.commits,
            stalls: outcome.still.stalls.len(),
            longest_still: tenths(outcome.still.longest.as_secs_f64()),
            ended: outcome.ended.iter().map(|end| without_path(end)).collect(),
            disorderly: outcome.disorderly.iter().map(|end| without_path(end)).collect(),
            finished: outcome.finished.map(|time| tenths(time.as_secs_f64())),
            load: outcome.load,
        }
    }
}

/// A fault without its number: "the kill of host 2" is a kill.
fn kind(what: &str) -> &str {
    const KINDS: [(&str, &str); 4] = [
        ("the kill of ", "kills"),
        ("the pause of ", "pauses"),
        ("the absence of ", "absent nodes"),
        ("the end of ", "ends by themselves"),
    ];
    KINDS.iter().find(|(start, _)| what.starts_with(start)).map_or(what, |(_, kind)| kind)
}

/// Where a log lies says nothing to others.
fn without_path(end: &str) -> String {
    end.rsplit_once(" (").map_or(end, |(text, _)| text).to_owned()
}

fn tenths(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

impl Ledgers {
    /// Takes a session in; one of the same seed and time makes way for it.
    pub fn add(&mut self, session: Session) {
        self.sessions.retain(|other| (other.seed, other.minutes) != (session.seed, session.minutes));
        self.sessions.push(session);
        self.sessions.sort_by_key(|session| session.minutes);
    }

    /// The page with these ledgers between its marks; none if it has no marks.
    #[must_use]
    pub fn put_into(&self, page: &str) -> Option<String> {
        let tables: Vec<String> = self.sessions.iter().map(Session::markdown).collect();
        MARKS.put(page, &tables.join("\n"))
    }
}

impl Session {
    /// A table with a column for each program, and the conditions under it.
    #[must_use]
    pub fn markdown(&self) -> String {
        let Self { seed, minutes, conditions, columns } = self;
        let mut text = format!("**{minutes} minutes, seed {seed}**\n\n");
        let mut row = |name: &str, cells: Vec<String>| {
            let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
        };
        row("", columns.iter().map(|column| column.contender.clone()).collect());
        row("---", vec!["--:".to_owned(); columns.len()]);
        for (name, cell) in ROWS {
            row(name, columns.iter().map(cell).collect());
        }
        let Conditions { date, tree, cpu, cores, memory_gib, load_average, kafka, versions } = conditions;
        let _ = writeln!(
            text,
            "\n{date}, tree `{tree}`; {}; three brokers of Apache Kafka {kafka}, all on one machine with {cores} \
             cores ({cpu}) and {memory_gib:.0} GiB, load {load_average:.1} before.",
            versions.join("; "),
        );
        text
    }
}

/// What each row is called, and its cell.
type Row = (&'static str, fn(&Column) -> String);

const ROWS: [Row; 16] = [
    ("records", |column| count(column.records)),
    ("steps: started, stopped, killed, paused, mended", |column| count(column.steps)),
    ("lost", |column| count(column.lost)),
    ("order violations", |column| count(column.out_of_order)),
    ("in a commit before they were done", |column| count(column.past_unfinished)),
    ("taken back by a later commit", |column| count(column.taken_back)),
    ("repeats that no fault explains", |column| count(column.unexplained)),
    ("repeats that a fault explains", explained),
    ("stalls: half a minute without progress", |column| count(column.stalls)),
    ("longest time that a partition stood still", |column| format!("{:.1} s", column.longest_still)),
    ("processes that ended by themselves", |column| count(column.ended.len())),
    ("processes that did not stop in order", |column| count(column.disorderly.len())),
    ("from the last input until all was committed", |column| {
        column.finished.map_or_else(|| "not in 120 s".to_owned(), |seconds| format!("{seconds:.1} s"))
    }),
    ("unfinished then", |column| count(column.unfinished)),
    ("commits judged", |column| count(column.commits)),
    ("load of the machine in the last minute", |column| {
        column.load.map_or_else(|| "?".to_owned(), |load| format!("{load:.1}"))
    }),
];

fn explained(column: &Column) -> String {
    let all: usize = column.explained.values().sum();
    if all == 0 {
        return "0".to_owned();
    }
    let by = column.explained.iter().map(|(what, times)| format!("{} by {what}", count(*times)));
    format!("{} ({})", count(all), by.collect::<Vec<_>>().join(", "))
}

/// With commas between thousands.
fn count(number: usize) -> String {
    sandmill::bench::grouped(number as f64)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::chaos::Stillness;
    use crate::contender::Contender;
    use crate::ledger::Verdict;

    fn outcome() -> Outcome {
        let explained = [
            ("the kill of host 2", 3),
            ("the kill of host 0", 4),
            ("the pause of host 1", 0),
            ("the absence of node 1", 5),
            ("the end of host 3 by itself", 6),
        ];
        Outcome {
            contender: Contender::ParallelConsumer("peers.jar".into()),
            seed: u64::MAX,
            records: 12_345,
            steps: 67,
            verdict: Verdict {
                explained: explained.map(|(what, count)| (what.to_owned(), count)).to_vec(),
                commits: 9,
                ..Verdict::default()
            },
            still: Stillness {
                stalls: vec!["partition 1".to_owned()],
                longest: Duration::from_millis(31_240),
                place: Some((1, Duration::ZERO)),
            },
            ended: vec!["host 3, code 1: Boom (at once) (/a/folder/7.log)".to_owned()],
            disorderly: Vec::new(),
            finished: None,
            load: Some(7.25),
        }
    }

    fn session(minutes: u64) -> Session {
        let conditions = Conditions {
            date: "2026-01-01T00:00:00Z".to_owned(),
            tree: "abc".to_owned(),
            cpu: "a processor".to_owned(),
            cores: 2,
            memory_gib: 23.6,
            load_average: 0.5,
            kafka: "4.1.1".to_owned(),
            versions: vec!["sandmill 1".to_owned(), "Parallel Consumer 2".to_owned()],
        };
        let column = Column::from(&outcome());
        let own = Column { contender: "Sandmill".to_owned(), finished: Some(1.26), ..column.clone() };
        Session { seed: u64::MAX, minutes, conditions, columns: vec![own, column] }
    }

    #[test]
    fn an_outcome_becomes_a_column() {
        let column = Column::from(&outcome());
        let explained = [("ends by themselves", 6), ("absent nodes", 5), ("kills", 7)];
        assert_eq!(column.explained, explained.map(|(what, count)| (what.to_owned(), count)).into());
        assert_eq!(column.ended, ["host 3, code 1: Boom (at once)"], "without where its log lies");
        assert_eq!((column.stalls, column.longest_still, column.finished), (1, 31.2, None));
    }

    #[test]
    fn the_table_says_both_side_by_side_also_after_a_way_through_json() {
        let text = serde_json::to_string(&session(3)).unwrap();
        let table = serde_json::from_str::<Session>(&text).unwrap().markdown();
        for line in [
            "**3 minutes, seed 18446744073709551615**",
            "|  | Sandmill | Parallel Consumer |",
            "| records | 12,345 | 12,345 |",
            "| repeats that a fault explains | 18 (5 by absent nodes, 6 by ends by themselves, 7 by kills) |",
            "| load of the machine in the last minute | 7.2 | 7.2 |",
            "| from the last input until all was committed | 1.3 s | not in 120 s |",
            "sandmill 1; Parallel Consumer 2; three brokers of Apache Kafka 4.1.1",
        ] {
            assert!(table.contains(line), "{line}\n{table}");
        }
    }

    #[test]
    fn a_session_replaces_its_like_and_the_page_changes_between_its_marks_alone() {
        let mut ledgers = Ledgers::default();
        ledgers.add(session(20));
        ledgers.add(session(3));
        ledgers.add(session(20));
        let minutes: Vec<u64> = ledgers.sessions.iter().map(|session| session.minutes).collect();
        assert_eq!(minutes, [3, 20]);
        let Marks { begin, end } = MARKS;
        let page = ledgers.put_into(&format!("a\n{begin}\nold\n{end}\nb\n")).unwrap();
        assert!(
            page.starts_with(&format!("a\n{begin}\n**3 minutes")) && page.ends_with(&format!("{end}\nb\n"))
        );
        assert!(!page.contains("old"));
        assert_eq!(ledgers.put_into("a"), None);
    }

    #[test]
    fn the_page_says_what_the_results_say() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let results =
            std::fs::read_to_string(root.join("tests/results/chaos.json")).expect("results are there");
        let ledgers: Ledgers = serde_json::from_str(&results).expect("they can be read");
        let page = std::fs::read_to_string(root.join("docs/DELIVERY.md")).expect("the page is there");
        assert!(!ledgers.sessions.is_empty());
        assert_eq!(ledgers.put_into(&page).expect("it has its marks"), page);
    }
}
