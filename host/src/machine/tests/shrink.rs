//! From a run that broke a promise to a small one that breaks one as well.

use super::world::{Ended, Shape, run};

/// Runs that a search may take.
const MOST_RUNS: u32 = 3_000;

/// The smallest shape found, and how it ended.
pub fn shrink(shape: Shape) -> (Shape, Ended) {
    let (mut shape, mut ended) = (shape, run(shape, false));
    let mut runs = 0;
    'smaller: while runs < MOST_RUNS {
        for candidate in shape.smaller(ended.turns) {
            runs += 1;
            let tried = run(candidate, false);
            if tried.broken.is_some() {
                (shape, ended) = (candidate, tried);
                continue 'smaller;
            }
        }
        break;
    }
    (shape, run(shape, true))
}
