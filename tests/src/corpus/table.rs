//! What the runs of the corpus showed: as JSON, and as the table of `docs/SECURITY.md`.
//!
//! The file keeps the rows as they were run, so that a case that was added or changed since is seen to be missing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::beside::Held;
use super::{Case, Group, REFUSED};
use crate::conditions::Conditions;
use crate::page::Marks;

/// The marks between which the page has the table.
const MARKS: Marks = Marks { begin: "<!-- corpus: begin -->", end: "<!-- corpus: end -->" };

/// What the results file holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Results {
    /// Under which it came about.
    pub conditions: Conditions,
    /// One for each group.
    pub hosts: Vec<HostRun>,
    /// What no host runs.
    pub refused: Vec<Row>,
}

/// One host, its hostile pipelines and their neighbour.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostRun {
    /// The group's name.
    pub group: String,
    /// What was measured.
    pub held: Held,
    /// One for each hostile pipeline.
    pub rows: Vec<Row>,
}

/// What a reader learns of one case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub handler: String,
    /// What it does.
    pub does: String,
    /// What came of it.
    pub outcome: String,
}

impl From<&Case> for Row {
    fn from(case: &Case) -> Self {
        Self { handler: case.name(), does: case.does.to_owned(), outcome: case.fate.shown() }
    }
}

impl HostRun {
    /// Of a group that was run.
    #[must_use]
    pub fn of(group: &Group, held: Held) -> Self {
        Self { group: group.name.to_owned(), held, rows: group.cases.iter().map(Row::from).collect() }
    }
}

impl Results {
    /// Of these hosts, and of all that was refused.
    #[must_use]
    pub fn of(conditions: Conditions, hosts: Vec<HostRun>) -> Self {
        Self { conditions, hosts, refused: REFUSED.iter().map(Row::from).collect() }
    }

    /// What the repository holds.
    ///
    /// # Errors
    /// When there is none, or it is no such thing.
    pub fn read() -> Result<Self> {
        let path = path();
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} holds no results", path.display()))
    }

    /// Writes the file, and the page's table.
    ///
    /// # Errors
    /// When one of them cannot be written, or the page has no place for the table.
    pub fn publish(&self) -> Result<()> {
        let (results, page) = (path(), page());
        let text =
            std::fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
        let text = MARKS
            .put(&text, &self.markdown())
            .with_context(|| format!("{} lacks the marks", page.display()))?;
        let json = serde_json::to_string_pretty(self).context("results can be written as JSON")? + "\n";
        std::fs::write(&results, json).with_context(|| format!("cannot write {}", results.display()))?;
        std::fs::write(&page, text).with_context(|| format!("cannot write {}", page.display()))
    }

    /// A table with a row for each case, and the conditions under it.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "| handler | what it does | outcome | neighbour's records done | host's peak, and its bound |\n\
             |---|---|---|--:|--:|\n",
        );
        let mut row = |Row { handler, does, outcome }: &Row, neighbour: &str, peak: &str| {
            let _ = writeln!(text, "| {handler} | {does} | {outcome} | {neighbour} | {peak} |");
        };
        for HostRun { held, rows, .. } in &self.hosts {
            let done = sandmill::bench::grouped(held.neighbour as f64);
            let (neighbour, peak) =
                (format!("{done} of {done}"), format!("{} of {} MiB", held.peak_mib, held.bound_mib));
            rows.iter().for_each(|case| row(case, &neighbour, &peak));
        }
        self.refused.iter().for_each(|case| row(case, "", ""));
        let Conditions { date, tree, cpu, cores, memory_gib, kafka, versions, .. } = &self.conditions;
        let groups: Vec<_> =
            self.hosts.iter().map(|run| format!("{} ({})", run.group, run.rows.len())).collect();
        let _ = writeln!(
            text,
            "\n{date}, tree `{tree}`; {}; Apache Kafka {kafka}, on one machine with {cores} cores ({cpu}) and \
             {memory_gib:.0} GiB. Hosts, with the number of their hostile pipelines, in the order of the table: {}.",
            versions.join("; "),
            groups.join(", "),
        );
        text
    }
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results/corpus.json")
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/SECURITY.md")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::GROUPS;

    const AGAIN: &str = "run cargo xtask corpus --docs";

    /// Each row with its group.
    fn rows(results: &Results) -> Vec<(&str, &Row)> {
        let refused = ("refused", &results.refused);
        let groups = results.hosts.iter().map(|run| (run.group.as_str(), &run.rows)).chain([refused]);
        groups.flat_map(|(group, rows)| rows.iter().map(move |row| (group, row))).collect()
    }

    /// The first difference between what was run and the corpus as it is, if there is one.
    fn difference(results: &Results) -> Option<String> {
        let held = Held { neighbour: 0, peak_mib: 0, bound_mib: 0 };
        let hosts = GROUPS.iter().map(|group| HostRun::of(group, held)).collect();
        let now = Results::of(results.conditions.clone(), hosts);
        let (ran, now) = (rows(results), rows(&now));
        if ran.len() != now.len() {
            return Some(format!("{} cases were run, {} there are", ran.len(), now.len()));
        }
        let (ran, now) = ran.iter().zip(&now).find(|(ran, now)| ran != now)?;
        Some(format!("{ran:?} was run, and now it is {now:?}"))
    }

    #[test]
    fn the_table_has_the_corpus_as_it_is() {
        let results = Results::read().expect("there are results");
        assert_eq!(difference(&results), None, "{AGAIN}");
    }

    #[test]
    fn the_page_has_the_table_of_the_results() {
        let results = Results::read().expect("there are results");
        let page = std::fs::read_to_string(page()).expect("the page is there");
        assert!(MARKS.put(&page, &results.markdown()).as_ref() == Some(&page), "{AGAIN}");
    }

    #[test]
    fn a_case_that_changed_is_seen() {
        let held = Held { neighbour: 1, peak_mib: 1, bound_mib: 1 };
        let hosts: Vec<_> = GROUPS.iter().map(|group| HostRun::of(group, held)).collect();
        let conditions = Results::read().expect("there are results").conditions;
        let mut results = Results::of(conditions, hosts);
        assert_eq!(difference(&results), None);
        results.hosts[0].rows[0].outcome = "`success`".to_owned();
        assert!(difference(&results).is_some_and(|text| text.contains("`success`")));
        results.hosts[0].rows.pop();
        assert!(difference(&results).is_some_and(|text| text.contains("there are")));
    }
}
