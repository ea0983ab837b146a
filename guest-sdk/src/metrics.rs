//! Metrics of the handler's own, on the host's endpoint.
//!
//! A capability: the pipeline declares each metric with its kind and its labels (`[pipeline.metrics.NAME]`), and bounds
//! how many series it has. Ask for a series when the instance starts, keep it, and record:
//!
//! ```
//! use sandmill_guest::metrics::{self, Series};
//! use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError};
//!
//! struct Count {
//!     tombstones: Series,
//! }
//!
//! impl Handler for Count {
//!     fn start(_: &Config) -> Result<Self, StartError> {
//!         Ok(Count { tombstones: metrics::series("tombstones", &[])? })
//!     }
//!
//!     fn handle(&mut self, record: Record<'_>, _: &mut Outputs) -> Result<(), Failure> {
//!         if record.value().is_none() {
//!             self.tombstones.record(1.0);
//!         }
//!         Ok(())
//!     }
//! }
//! ```
//!
//! What a call records counts only if its answer is accepted: a record that is tried three times and succeeds is counted
//! once. Outside of Wasm values are kept for [`testing::take_metrics`](crate::testing::take_metrics).

use std::fmt;

/// One series of a metric: its name and a value for each of its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series(u32);

/// Why there is no such series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricError {
    metric: String,
    reason: String,
}

impl fmt::Display for MetricError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "metric `{}`: {}", self.metric, self.reason)
    }
}

impl std::error::Error for MetricError {}

/// The series of metric `name` with a value for each label, in the order in which the pipeline declares them. A host
/// call: keep the result. Beyond the metric's bound it is the series whose labels all say `other`.
///
/// # Errors
/// If the pipeline declares no such metric, or one with another number of labels.
pub fn series(name: &str, labels: &[&str]) -> Result<Series, MetricError> {
    ask(name, labels).map(Series).map_err(|reason| MetricError { metric: name.to_owned(), reason })
}

impl Series {
    /// Adds to a counter, sets a gauge, or adds an observation to a histogram.
    pub fn record(self, value: f64) {
        #[cfg(target_arch = "wasm32")]
        {
            #[link(wasm_import_module = "sandmill:handler/metrics@0.1.0")]
            unsafe extern "C" {
                #[link_name = "record"]
                fn record(series: u32, value: f64);
            }
            // SAFETY: two numbers go over, nothing else.
            unsafe { record(self.0, value) }
        }
        #[cfg(not(target_arch = "wasm32"))]
        crate::testing::host::record(self.0, value);
    }
}

#[cfg(target_arch = "wasm32")]
fn ask(name: &str, labels: &[&str]) -> Result<u32, String> {
    use crate::abi::List;
    use crate::exports::take_text;

    /// `result<u32, string>`: which of the two, and four bytes later what it holds.
    #[repr(C)]
    struct Answer {
        is_err: u8,
        /// The number, or where the reason lies.
        first: u32,
        len: usize,
    }

    #[link(wasm_import_module = "sandmill:handler/metrics@0.1.0")]
    unsafe extern "C" {
        #[link_name = "series"]
        fn series(name: *const u8, len: usize, labels: *const List<u8>, count: usize, answer: *mut Answer);
    }
    let labels: Vec<List<u8>> = labels.iter().map(|label| List::of(label.as_bytes())).collect();
    let mut answer = std::mem::MaybeUninit::<Answer>::zeroed();
    // SAFETY: the host reads the texts, and writes a result whose reason it allocates. All bits are a valid answer.
    unsafe {
        series(name.as_ptr(), name.len(), labels.as_ptr(), labels.len(), answer.as_mut_ptr());
        let Answer { is_err, first, len } = answer.assume_init();
        if is_err == 0 {
            return Ok(first);
        }
        Err(take_text(List { start: std::ptr::with_exposed_provenance(first as usize), len }))
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn ask(name: &str, labels: &[&str]) -> Result<u32, String> {
    Ok(crate::testing::host::series(name, labels))
}
