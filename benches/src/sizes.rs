//! How large the parts are: the same parts at three scales.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scale {
    /// Figures that may be quoted: each run lasts seconds, three passes and one to warm up.
    Full,
    /// A look: a tenth of the records, one pass and one to warm up.
    Quick,
    /// Whether everything works: 1,000 records, one pass. Its rates mean nothing.
    Smoke,
}

/// Numbers that follow from the scale.
#[derive(Debug, Clone)]
pub(crate) struct Sizes {
    pub scale: Scale,
    /// Counted passes over the rows of a part.
    pub passes: usize,
    /// Whether a pass comes before them that counts nothing.
    pub warm_up: bool,
    /// Length of one open loop, after its warm-up.
    pub open_loop: Duration,
    /// Nothing counts that was due in the first so much of an open loop.
    pub loop_warm_up: Duration,
    /// How long a host must stay as large as it is.
    pub flat: Duration,
}

impl Sizes {
    pub(crate) fn of(scale: Scale) -> Self {
        let (passes, warm_up, open_loop, loop_warm_up, flat) = match scale {
            Scale::Full => (3, true, 10_000, 2_000, 60),
            Scale::Quick => (1, true, 5_000, 2_000, 20),
            Scale::Smoke => (1, false, 500, 100, 2),
        };
        Self {
            scale,
            passes,
            warm_up,
            open_loop: Duration::from_millis(open_loop),
            loop_warm_up: Duration::from_millis(loop_warm_up),
            flat: Duration::from_secs(flat),
        }
    }

    /// From the first record of an open loop to the last.
    pub(crate) fn whole_loop(&self) -> Duration {
        self.loop_warm_up + self.open_loop
    }

    /// How many records a topic gets that has `full` of them at full scale.
    pub(crate) fn records(&self, full: u64) -> u64 {
        match self.scale {
            Scale::Full => full,
            Scale::Quick => (full / 10).max(1_000),
            Scale::Smoke => 1_000.min(full),
        }
    }

    /// Runs of each row, warm-up included.
    pub(crate) fn runs(&self) -> usize {
        self.passes + usize::from(self.warm_up)
    }
}
