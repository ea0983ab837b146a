//! The families that pipelines declare for their handlers: what `guest` holds, as `prometheus` writes it.
//!
//! Two pipelines may declare the same family; the configuration is refused where they do not mean the same by it, so a
//! family has one type here.

use std::collections::BTreeMap;

use prometheus::proto::{Counter, Gauge, Metric, MetricFamily, MetricType};

use super::exposition::{label, proto};
use super::guest::{GuestMetrics, Kind};

/// Families by name.
#[derive(Default)]
pub(super) struct Own(BTreeMap<String, MetricFamily>);

impl Own {
    /// Adds what the handlers of `pipeline` recorded.
    pub(super) fn add(&mut self, pipeline: &str, metrics: &GuestMetrics) {
        metrics.read(|declared, values, value, buckets| {
            let mut metric = Metric::default();
            let labels = declared.labels.iter().zip(values).map(|(name, value)| label(name, value));
            metric.set_label(std::iter::once(label("pipeline", pipeline)).chain(labels).collect());
            let kind = match &declared.kind {
                Kind::Counter => {
                    let mut counter = Counter::default();
                    counter.set_value(value);
                    metric.set_counter(counter);
                    MetricType::COUNTER
                }
                Kind::Gauge => {
                    let mut gauge = Gauge::default();
                    gauge.set_value(value);
                    metric.set_gauge(gauge);
                    MetricType::GAUGE
                }
                Kind::Histogram(bounds) => {
                    let mut sum = 0;
                    let cumulative = bounds.iter().zip(buckets).map(|(&bound, &count)| {
                        sum += count;
                        (bound, sum)
                    });
                    metric.set_histogram(proto(buckets.iter().sum(), value, cumulative));
                    MetricType::HISTOGRAM
                }
            };
            let name = declared.family.clone();
            let family = self.0.entry(name.clone()).or_insert_with(|| {
                let mut family = MetricFamily::default();
                family.set_name(name);
                family.set_help(declared.help.clone());
                family.set_field_type(kind);
                family
            });
            family.mut_metric().push(metric);
        });
    }

    /// In the order of their names.
    pub(super) fn families(self) -> impl Iterator<Item = MetricFamily> {
        self.0.into_values()
    }
}
