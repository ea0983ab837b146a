//! Makes series of metrics without end, on marked records (`!…`); every record comes out unchanged.
//!
//! The pipeline declares a counter `floods` with the label `key`. A marked record makes a thousand series of it, asks
//! for a hundred metrics that nobody declared, and records what no counter should add: less than nothing, infinity, and
//! what is no number.

use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError, metrics};

struct Flood;

#[sandmill_guest::handler]
impl Handler for Flood {
    fn start(_: &Config) -> Result<Self, StartError> {
        Ok(Self)
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        if record.value().is_some_and(|value| value.starts_with(b"!")) {
            for n in 0..1_000 {
                let label = format!("{}-{n}-\u{1b}[2J\n{}", record.offset(), "x".repeat(1_000));
                if let Ok(series) = metrics::series("floods", &[&label]) {
                    series.record(1.0);
                    [-1.0, f64::INFINITY, f64::NAN].into_iter().for_each(|value| series.record(value));
                }
            }
            for n in 0..100 {
                let name = format!("undeclared_{n}");
                let wrong = metrics::series(&name, &[]).and_then(|_| metrics::series("floods", &[]));
                drop(wrong);
            }
        }
        out.forward(record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sandmill_guest::testing::{Harness, take_metrics};

    use super::Flood;

    #[test]
    fn only_marked_records_flood() {
        let mut flood = Harness::<Flood>::start([("", "")]).expect("it starts");
        assert_eq!(flood.run(["a"]).texts(), ["a"]);
        assert_eq!(take_metrics(), []);
        assert_eq!(flood.run(["!a"]).texts(), ["!a"]);
        assert!(take_metrics().len() > 1_000);
    }
}
