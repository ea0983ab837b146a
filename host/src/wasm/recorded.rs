//! What a guest recorded in the call that runs: believed only if its answer is.
//!
//! Values of one series are added up here, so that what a call can pile up is bounded by the series that its pipeline
//! declares, however often it records.

use crate::telemetry::guest::{GuestMetrics, Pending};

/// What one instance has recorded and nobody believes yet.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    /// By the number of the series.
    pending: Vec<Pending>,
    touched: Vec<u32>,
}

impl Recorded {
    /// Adds one value; `None` if there is no such series.
    pub(crate) fn record(&mut self, metrics: &GuestMetrics, series: u32, value: f64) -> Option<()> {
        let place = series as usize;
        if place >= self.pending.len() {
            // Not before it is known that there is one: the number is the guest's.
            metrics.has(series).then(|| self.pending.resize_with(place + 1, Pending::default))?;
        }
        let pending = &mut self.pending[place];
        if !pending.is_touched() {
            self.touched.push(series);
        }
        metrics.record(series, value, pending)
    }

    /// The answer was accepted.
    pub(crate) fn accept(&mut self, metrics: &GuestMetrics) {
        for series in self.touched.drain(..) {
            let pending = &mut self.pending[series as usize];
            metrics.accept(series, pending);
            pending.clear();
        }
    }

    /// It was not, or a new call begins.
    pub(crate) fn discard(&mut self) {
        for series in self.touched.drain(..) {
            self.pending[series as usize].clear();
        }
    }
}
