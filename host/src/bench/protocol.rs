//! The lines that a contender prints: one JSON object each, on standard output, and nothing else there.
//!
//! | event | when |
//! |---|---|
//! | `first` | the first record is in the program's hands |
//! | `progress` | once a second while it runs |
//! | `done` | all outputs are acknowledged, the last offset is committed, and the broker acknowledged that |
//!
//! After `done` it waits until its standard input ends, then exits with 0: meanwhile its CPU time and its
//! memory can be read. A contender whose input ends earlier has lost its parent and ends at once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use crate::time::unix_us;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The first record was taken.
    First(First),
    /// It runs.
    Progress(Progress),
    /// Everything is read, written and committed.
    Done(Done),
}

/// When the first record was in the program's hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct First {
    /// Microseconds since 1970.
    pub unix_us: u64,
}

/// How far a contender is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Records whose processing is finished.
    pub records: u64,
    /// What it waits for, in its own words; shown if it stalls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a contender claims at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// When the last commit was acknowledged; of a contender that commits nothing, when it was done with the
    /// last record. Microseconds since 1970.
    pub unix_us: u64,
    /// Records that it read.
    pub records: u64,
    /// Lengths of their keys and values together.
    pub bytes: u64,
    /// The next offset of each partition.
    #[serde(rename = "where")]
    pub positions: BTreeMap<i32, i64>,
    /// Whether it committed `where` for its group.
    #[serde(default = "yes")]
    pub commits: bool,
    /// Numbers and versions for the result.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct Tag {
    event: String,
}

impl Event {
    /// Reads one line. Keys that are not known are left alone.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &str) -> Result<Event, String> {
        fn read<T: serde::de::DeserializeOwned>(line: &str) -> Result<T, String> {
            serde_json::from_str(line).map_err(|error| error.to_string())
        }
        // In two steps: within an enum with a tag, serde reads no numbers from the keys of `where`.
        let Tag { event } = read(line)?;
        match event.as_str() {
            "first" => read(line).map(Event::First),
            "progress" => read(line).map(Event::Progress),
            "done" => read(line).map(Event::Done),
            other => Err(format!("there is no event {other:?}: only first, progress and done")),
        }
    }

    /// The line, without its end.
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("numbers, texts and maps of them are JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_any_contender_are_read() {
        assert_eq!(Event::parse(r#"{"event":"first","unix_us":7}"#), Ok(Event::First(First { unix_us: 7 })));
        assert_eq!(
            Event::parse(r#"{"event":"progress","records":3,"more":[1]}"#),
            Ok(Event::Progress(Progress { records: 3, note: None }))
        );
        let line = r#"{"event":"done","unix_us":9,"records":5,"bytes":50,"where":{"0":3,"1":2}}"#;
        let done = Done {
            unix_us: 9,
            records: 5,
            bytes: 50,
            positions: BTreeMap::from([(0, 3), (1, 2)]),
            commits: true,
            details: Map::new(),
        };
        assert_eq!(Event::parse(line), Ok(Event::Done(done)));
        let line = r#"{"event":"done","unix_us":9,"records":0,"bytes":0,"where":{},"commits":false,"details":{"jvm":"17"}}"#;
        let Ok(Event::Done(done)) = Event::parse(line) else { panic!("this line is right") };
        assert_eq!((done.commits, &done.details["jvm"]), (false, &Value::from("17")));
    }

    #[test]
    fn what_we_print_is_what_we_read() {
        let done = Done { unix_us: 1, positions: BTreeMap::from([(11, 4)]), ..Done::default() };
        for event in [
            Event::First(First { unix_us: u64::MAX }),
            Event::Progress(Progress { records: 0, note: Some("line\nbreak".to_owned()) }),
            Event::Done(done),
        ] {
            let line = event.line();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(Event::parse(&line), Ok(event));
        }
    }

    #[test]
    fn what_is_no_event_is_refused_with_a_reason() {
        for (line, reason) in [
            ("Picked up JAVA_TOOL_OPTIONS", "expected value"),
            (r#"{"event":"began"}"#, "no event \"began\""),
            (r#"{"event":"done","unix_us":9,"records":5,"bytes":50}"#, "missing field `where`"),
            (r#"{"event":"progress","records":-1}"#, "invalid value"),
        ] {
            let problem = Event::parse(line).expect_err(line);
            assert!(problem.contains(reason), "{line}: {problem}");
        }
    }
}
