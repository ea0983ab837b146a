//! A scrape of the metrics endpoint, parsed: the text format of Prometheus, as far as the tests read it.

use std::collections::{BTreeMap, BTreeSet};

/// One series: a name, its labels and its value at the time of the scrape.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The sample's name, with `_bucket`, `_sum` or `_count` for a part of a histogram.
    pub name: String,
    /// Labels by name.
    pub labels: BTreeMap<String, String>,
    /// The value; for counters and most gauges a whole number.
    pub value: f64,
}

impl Series {
    fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(name, value)| self.labels.get(*name).is_some_and(|own| own == value))
    }
}

/// Everything one scrape said.
#[derive(Debug, Clone, Default)]
pub struct Scrape {
    series: Vec<Series>,
    /// Type of each family: counter, gauge, histogram.
    types: BTreeMap<String, String>,
    /// Help text of each family.
    help: BTreeMap<String, String>,
}

impl Scrape {
    /// Reads the text format.
    ///
    /// # Errors
    /// A line that is neither comment nor sample.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut scrape = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix('#') {
                let mut words = comment.trim_start().splitn(3, ' ');
                match (words.next(), words.next(), words.next()) {
                    (Some("TYPE"), Some(name), Some(kind)) => {
                        scrape.types.insert(name.to_owned(), kind.to_owned());
                    }
                    (Some("HELP"), Some(name), help) => {
                        scrape.help.insert(name.to_owned(), help.unwrap_or_default().to_owned());
                    }
                    _ => {}
                }
            } else {
                let series = sample(line).ok_or_else(|| format!("not a sample: {line}"))?;
                scrape.series.push(series);
            }
        }
        Ok(scrape)
    }

    /// All series of `name` that carry these labels, whatever others they carry.
    pub fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Series> {
        self.series.iter().filter(move |series| series.name == name && series.has(labels))
    }

    /// The sum over all series of `name` that carry these labels; none where there is no such series.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut values = self.matching(name, labels).map(|series| series.value).peekable();
        values.peek()?;
        Some(values.sum())
    }

    /// The largest value over all series of `name` that carry these labels.
    #[must_use]
    pub fn max(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.matching(name, labels).map(|series| series.value).reduce(f64::max)
    }

    /// What calls of this pipeline's handler failed of, and how often.
    #[must_use]
    pub fn errors(&self, pipeline: &str) -> Vec<(&str, f64)> {
        self.matching("handler_errors_total", &[])
            .filter(|series| series.has(&[("pipeline", pipeline)]) && series.value > 0.0)
            .map(|series| (series.labels["error_type"].as_str(), series.value))
            .collect()
    }

    /// The same without what a busy machine does to the best of handlers: a call of several records is ended when it
    /// takes far longer than expected (100 ms at least), and its records run again, each alone. Whether one of those
    /// failed then, dead letters and `consumer_processed_total` tell.
    #[must_use]
    pub fn errors_but_of_slow_batches(&self, pipeline: &str) -> Vec<(&str, f64)> {
        let mut errors = self.errors(pipeline);
        errors.retain(|(error, _)| !["deadline", "out_of_fuel"].contains(error));
        errors
    }

    /// The families that were declared, with their types.
    #[must_use]
    pub fn families(&self) -> &BTreeMap<String, String> {
        &self.types
    }

    /// The help text of a family.
    #[must_use]
    pub fn help(&self, family: &str) -> Option<&str> {
        self.help.get(family).map(String::as_str)
    }

    /// The label names that the series of a family carry, `le` of its buckets aside.
    #[must_use]
    pub fn labels_of(&self, family: &str) -> BTreeSet<String> {
        let parts = [String::new(), "_bucket".to_owned(), "_sum".to_owned(), "_count".to_owned()]
            .map(|suffix| format!("{family}{suffix}"));
        self.series
            .iter()
            .filter(|series| parts.contains(&series.name))
            .flat_map(|series| series.labels.keys())
            .filter(|label| *label != "le")
            .cloned()
            .collect()
    }
}

/// `name{label="value",…} 1.5`, with an optional timestamp.
fn sample(line: &str) -> Option<Series> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            rest = rest.trim_start_matches([',', ' ']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(label.to_owned(), value);
            rest = after;
        }
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Series { name: name.to_owned(), labels, value })
}

/// The text up to the closing quote, unescaped, and what follows the quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
# HELP consumer_processed_total Records that were completed.
# TYPE consumer_processed_total counter
consumer_processed_total{topic="a",partition="0",status="success"} 12
consumer_processed_total{topic="a",partition="1",status="success"} 30
consumer_processed_total{topic="a",partition="1",status="failure"} 1
# TYPE latency histogram
latency_bucket{topic="a, \"b\"}",le="+Inf"} 3 1700000000000
latency_sum{topic="a, \"b\"}"} 1.5e-3
up 1
"#;

    #[test]
    fn sums_go_over_all_series_with_the_labels_asked_for() {
        let scrape = Scrape::parse(TEXT).unwrap();
        assert_eq!(scrape.sum("consumer_processed_total", &[("status", "success")]), Some(42.0));
        assert_eq!(scrape.sum("consumer_processed_total", &[("partition", "1")]), Some(31.0));
        assert_eq!(scrape.sum("consumer_processed_total", &[("partition", "2")]), None);
        assert_eq!(scrape.max("consumer_processed_total", &[]), Some(30.0));
        assert_eq!(scrape.sum("up", &[]), Some(1.0));
    }

    #[test]
    fn quotes_and_braces_in_label_values_are_read() {
        let scrape = Scrape::parse(TEXT).unwrap();
        assert_eq!(scrape.sum("latency_sum", &[("topic", "a, \"b\"}")]), Some(0.0015));
        assert_eq!(scrape.labels_of("latency"), BTreeSet::from(["topic".to_owned()]));
    }

    #[test]
    fn types_and_help_belong_to_families() {
        let scrape = Scrape::parse(TEXT).unwrap();
        assert_eq!(scrape.families()["latency"], "histogram");
        assert_eq!(scrape.help("consumer_processed_total"), Some("Records that were completed."));
    }

    #[test]
    fn a_broken_line_is_an_error() {
        assert!(Scrape::parse("a{b=\"c} 1").is_err());
        assert!(Scrape::parse("a{b=\"c\"} x").is_err());
    }
}
