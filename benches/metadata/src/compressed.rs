//! A general compressor over one bit an offset: what a further form could be, and is not.

use std::hint::black_box;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use serde::Serialize;

use crate::patterns::{BASE, Pattern};

/// Bytes before the payload, for offsets such as ours: 9 that are always there, base and span.
const HEADER: usize = 9 + 5 + 2;
/// Runs of which the shortest counts: what disturbs the machine makes others longer.
const RUNS: usize = 50;

/// What deflate makes of a pattern.
#[derive(Debug, Serialize)]
pub(crate) struct Compressed {
    /// Characters of the whole metadata, were this its payload.
    pub chars: usize,
    /// What compressing alone takes, in tenths of a microsecond's precision.
    pub microseconds: f64,
}

/// Deflate at its usual level.
pub(crate) fn deflated(pattern: &Pattern) -> Result<Compressed> {
    let mut bits = Vec::new();
    for offset in pattern.ranges().into_iter().flatten().take_while(|offset| *offset < pattern.end()) {
        let distance = (offset - BASE) as usize;
        bits.resize(distance / 8 + 1, 0_u8);
        bits[distance / 8] |= 1 << (distance % 8);
    }
    if bits.is_empty() {
        return Ok(Compressed { chars: 0, microseconds: 0.0 });
    }
    let mut shortest = Duration::MAX;
    let mut bytes = 0;
    for _ in 0..RUNS {
        let begun = Instant::now();
        bytes = deflate(black_box(&bits)).context("a vector takes everything")?.len();
        shortest = shortest.min(begun.elapsed());
    }
    let chars = 3 + ((HEADER + bytes) * 4).div_ceil(3);
    Ok(Compressed { chars, microseconds: (shortest.as_secs_f64() * 1e7).round() / 10.0 })
}

fn deflate(bits: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bits)?;
    encoder.finish()
}
