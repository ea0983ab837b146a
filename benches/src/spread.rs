//! Ratios that are taken pass by pass.

pub(crate) use sandmill::bench::{Spread, grouped};

/// Of `above / below`, pass by pass: what disturbed a pass disturbed both sides. A side that has fewer passes,
/// because it failed in one, is compared as far as it goes. Of nothing there is no ratio: a run may be so short
/// that the kernel counts no CPU time for it.
pub(crate) fn ratio(above: &[f64], below: &[f64]) -> Option<Spread> {
    let ratios = above.iter().zip(below).map(|(above, below)| above / below);
    Spread::of(ratios.filter(|ratio| ratio.is_finite()))
}

/// All three times a factor: a change of unit.
pub(crate) fn times(spread: Spread, factor: f64) -> Spread {
    Spread { min: spread.min * factor, median: spread.median * factor, max: spread.max * factor }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_compares_values_of_the_same_pass() {
        let found = ratio(&[50.0, 120.0, 160.0], &[100.0, 200.0, 400.0]);
        assert_eq!(found, Some(Spread { min: 0.4, median: 0.5, max: 0.6 }));
        // The median of the ratios, which is not the ratio of the medians.
        let found = ratio(&[10.0, 30.0, 20.0], &[10.0, 10.0, 40.0]);
        assert_eq!(found.map(|ratio| ratio.median), Some(1.0));
    }

    #[test]
    fn a_side_that_failed_is_compared_as_far_as_it_goes() {
        assert_eq!(ratio(&[1.0, 2.0, 3.0], &[2.0]), Some(Spread { min: 0.5, median: 0.5, max: 0.5 }));
        assert_eq!(ratio(&[], &[1.0]), None);
        assert_eq!(ratio(&[0.0, 1.0], &[0.0, 0.0]), None);
    }
}
