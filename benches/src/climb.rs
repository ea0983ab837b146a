//! Passes: every row of a part in turn, again and again, so that what disturbs the machine disturbs all rows.
//!
//! A row that fails runs no more in this part, and says why; the others go on. The harness of the end-to-end
//! tests panics where a test would fail, so a panic is a failure like any other here.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, anyhow};
use serde_json::Value;

use crate::results::Row;
use crate::spread::grouped;

/// How often each row runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passes {
    pub counted: usize,
    /// One pass before them that counts nothing: it warms the broker, the page cache and the compiled code.
    pub warm_up: bool,
}

/// What one run of one row gives.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub numbers: Vec<(&'static str, f64)>,
    /// All that was measured.
    pub raw: Value,
}

/// Runs all passes. `run` gets the index of the row.
pub(crate) fn climb(
    part: &str,
    passes: Passes,
    mut rows: Vec<Row>,
    mut run: impl FnMut(usize) -> Result<Sample>,
) -> Vec<Row> {
    let first = usize::from(!passes.warm_up);
    for pass in first..=passes.counted {
        for (index, row) in rows.iter_mut().enumerate() {
            if row.failed.is_some() || pass == 0 && row.cold {
                continue;
            }
            let what = format!("{part}: {}, {}", row.name, named(pass));
            match caught(|| run(index)) {
                Ok(sample) => {
                    eprintln!("{what}: {}", described(&sample));
                    if pass == 0 {
                        row.warm_up = Some(sample.raw)
                    } else {
                        row.push(&sample.numbers, sample.raw)
                    }
                }
                Err(error) => {
                    let reason = format!("{error:#}");
                    eprintln!("{what}: FAILED: {reason}");
                    row.failed = Some(format!("{}: {reason}", named(pass)));
                }
            }
        }
    }
    rows
}

/// The same with a panic as an error.
pub(crate) fn caught<T>(run: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(anyhow!("{}", text.or_else(|| panic.downcast_ref().copied()).unwrap_or("it panicked")))
    })
}

fn named(pass: usize) -> String {
    if pass == 0 { "warm-up".to_owned() } else { format!("pass {pass}") }
}

/// One run in one line, for whoever watches.
fn described(sample: &Sample) -> String {
    let number = |(name, value): &(&str, f64)| {
        let value = if *value < 1_000.0 { format!("{value:.2}") } else { grouped(*value) };
        format!("{name} {value}")
    };
    sample.numbers.iter().map(number).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    fn sample(value: f64) -> Sample {
        Sample { numbers: vec![("n", value)], raw: Value::from(value) }
    }

    fn rows() -> Vec<Row> {
        vec![Row::new("one", &[]), Row::new("other", &[])]
    }

    #[test]
    fn rows_take_turns_and_the_warm_up_counts_nothing() {
        let mut order = Vec::new();
        let rows = climb("p", Passes { counted: 2, warm_up: true }, rows(), |index| {
            order.push(index);
            Ok(sample(order.len() as f64))
        });
        assert_eq!(order, [0, 1, 0, 1, 0, 1]);
        assert_eq!(rows[0].warm_up, Some(Value::from(1.0)));
        assert_eq!((rows[0].number("n"), rows[1].number("n")), (&[3.0, 5.0][..], &[4.0, 6.0][..]));
        assert_eq!(rows[1].raw, [4.0, 6.0].map(Value::from));
    }

    #[test]
    fn a_cold_row_is_not_in_the_pass_that_warms_up() {
        let mut order = Vec::new();
        let mut rows = rows();
        rows[1].cold = true;
        climb("p", Passes { counted: 1, warm_up: true }, rows, |index| {
            order.push(index);
            Ok(sample(1.0))
        });
        assert_eq!(order, [0, 0, 1]);
    }

    #[test]
    fn a_row_that_fails_or_panics_says_why_and_the_others_go_on() {
        let mut runs = [0, 0];
        let rows = climb("p", Passes { counted: 3, warm_up: false }, rows(), |index| {
            runs[index] += 1;
            if index == 0 && runs[0] == 2 {
                bail!("no broker");
            }
            Ok(sample(1.0))
        });
        assert_eq!(runs, [2, 3]);
        assert_eq!(rows[0].failed.as_deref(), Some("pass 2: no broker"));
        assert_eq!((rows[0].number("n").len(), rows[1].failed.as_deref()), (1, None));

        let rows = climb("p", Passes { counted: 1, warm_up: false }, self::rows(), |index| {
            assert!(index == 1, "row {index} is wrong");
            Ok(sample(1.0))
        });
        assert_eq!(rows[0].failed.as_deref(), Some("pass 1: row 0 is wrong"));
    }
}
