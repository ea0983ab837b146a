//! Keys as real topics have them: few are everywhere, many are rare.
//!
//! Key number k of n (from 1) comes with a share of 1/k, all shares together being 1: Zipf with s = 1. The
//! generator is written out here, so that the same seed gives the same topic in every version.

/// An endless, repeatable draw of key numbers.
#[derive(Debug)]
pub struct Zipf {
    /// Sum of the shares up to each key.
    upto: Vec<f64>,
    random: SplitMix,
}

impl Zipf {
    /// Over `keys` keys, at least one.
    pub fn new(keys: usize, seed: u64) -> Self {
        let mut sum = 0.0;
        let mut upto: Vec<f64> = (1..=keys.max(1))
            .map(|key| {
                sum += 1.0 / key as f64;
                sum
            })
            .collect();
        for share in &mut upto {
            *share /= sum;
        }
        Self { upto, random: SplitMix(seed) }
    }
}

impl Iterator for Zipf {
    /// A key's number, from 0; the lower, the more frequent.
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let point = self.random.unit();
        Some(self.upto.partition_point(|share| *share <= point).min(self.upto.len() - 1))
    }
}

/// Steele, Lea and Flood's generator of 2014: 64 bits of state, every seed as good as any.
#[derive(Debug)]
pub struct SplitMix(pub u64);

impl SplitMix {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Evenly spread over 0 to 1, without the 1.
    pub fn unit(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_twice_as_far_down_comes_half_as_often() {
        let mut counts = vec![0_f64; 1_000];
        for key in Zipf::new(1_000, 7).take(1_000_000) {
            counts[key] += 1.0;
        }
        for (one, other) in [(0, 1), (1, 3), (4, 9)] {
            let ratio = counts[one] / counts[other];
            assert!((1.9..2.1).contains(&ratio), "keys {one} and {other}: {ratio}");
        }
        // The first key's share is 1/H(1000) = 0.1336.
        assert!((0.132..0.135).contains(&(counts[0] / 1e6)), "{}", counts[0]);
    }

    #[test]
    fn the_same_seed_draws_the_same_keys() {
        let draw = |seed| Zipf::new(10_000, seed).take(100).collect::<Vec<_>>();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn the_generator_is_the_published_one() {
        // First output for seed 0, as every implementation of SplitMix64 has it.
        assert_eq!(SplitMix(0).number(), 0xe220_a839_7b1d_cdaf);
    }
}
