//! Any bytes in a guest's memory as an answer are taken or refused, and nothing else happens.
//!
//! Before an answer is checked the sandbox has to lift it out of memory: addresses, lengths, text, choices, all of them
//! the guest's. One guest, compiled once, copies the value of its record to a place that is known and says that this is
//! its answer. So the input is what lies there: the words of the answer first, then what they may point at.

use std::sync::OnceLock;

use fastrand::Rng;
use sandmill::outcome::Outcome;
use sandmill::wasm::Module;

use crate::sandbox::{self, Pipeline};
use crate::{guests, kind_of};

/// Where the answer lies: behind what is allocated for a record of the largest size.
const PLACE: u32 = 512 << 10;
/// Bytes of the answer itself, without what it points at.
const ANSWER: usize = 160;
/// What is larger only takes longer.
const LARGEST: usize = 64 << 10;
/// Words of the answer that say whether a column is there: destinations, partitions, keys and their ends, flags,
/// timestamps, headers, null marks of headers.
const CHOICES: [usize; 8] = [8, 20, 32, 44, 72, 84, 96, 140];

/// See the module.
///
/// # Panics
/// Where the promise breaks.
pub fn check(memory: &[u8]) -> String {
    static GUEST: OnceLock<Module> = OnceLock::new();
    let guest = GUEST.get_or_init(|| {
        let copy = format!(
            "(memory.copy (i32.const {PLACE}) (i32.load offset=44 (local.get $batch)) (i32.load offset=48 (local.get $batch)))
             (i32.const {PLACE})"
        );
        sandbox::load(&guests::from_text(false, 16, &copy, ""))
    });
    if memory.len() > LARGEST {
        return "too large to be tried".to_owned();
    }
    let pipeline = Pipeline::patient();
    let batch = sandbox::batch(&[memory, b"second"]);
    let instance = pipeline.start(guest).expect("the guest itself is right");
    let said = match pipeline.call(instance, &batch) {
        Ok((instance, answer)) => {
            // It lives on, and says what is written there next: nothing.
            let nothing = sandbox::batch(&[&[0; ANSWER]]);
            let (_, empty) = pipeline.call(instance, &nothing).unwrap_or_else(|failure| panic!("{failure}"));
            assert_eq!((empty.output_count(), empty.failures().len()), (0, 0));
            format!("answered: {} outputs, {} failures", answer.output_count(), answer.failures().len())
        }
        Err(failure) => {
            assert_eq!(failure.outcome, Outcome::InvalidOutput, "{failure}");
            kind_of(&failure.message)
        }
    };
    pipeline.assert_nothing_held();
    said
}

/// Words that are mostly addresses and lengths of something that is there, then what that is.
pub fn draw(random: &mut Rng, kept: &[Vec<u8>]) -> Vec<u8> {
    if !kept.is_empty() && random.bool() {
        let mut input = kept[random.usize(..kept.len())].clone();
        if random.bool() {
            crate::change(random, &mut input, kept);
        } else {
            let word = 4 * random.usize(..ANSWER / 4);
            let number = number(random);
            input.resize(input.len().max(ANSWER), 0);
            input[word..word + 4].copy_from_slice(&number.to_le_bytes());
        }
        return input;
    }
    let tail = random.usize(..400);
    let mut input = Vec::with_capacity(ANSWER + tail);
    let mut is_address = true;
    for place in (0..ANSWER).step_by(4) {
        let word = if random.u8(..24) == 0 {
            number(random)
        } else if CHOICES.contains(&place) {
            is_address = true;
            random.u32(..2)
        } else if is_address {
            is_address = false;
            PLACE + (ANSWER + random.usize(..=tail)) as u32 / 8 * 8
        } else {
            is_address = true;
            random.u32(..4)
        };
        input.extend(word.to_le_bytes());
    }
    for _ in 0..tail / 4 {
        let word = match random.u8(..4) {
            0 => random.u32(..),
            1 => PLACE + ANSWER as u32 + random.u32(..400),
            _ => random.u32(..4),
        };
        input.extend(word.to_le_bytes());
    }
    input
}

/// A number at some border.
fn number(random: &mut Rng) -> u32 {
    match random.u8(..6) {
        0 => u32::MAX - random.u32(..8),
        1 => 1 << random.u32(..32),
        2 => (1 << 20) - random.u32(..16),
        3 => random.u32(..),
        4 => PLACE + random.u32(..1_000),
        _ => random.u32(..10),
    }
}
