//! A bounded look for inputs that break a promise: the same ones in every run. `cargo xtask fuzz` goes on without end,
//! and guided by the code that each input reaches.

use std::fs;
use std::path::Path;

use sandmill_fuzz::TARGETS;

/// Inputs of each target: a few seconds in all.
const INPUTS: u64 = 20_000;
/// Bytes of an input that is drawn.
const LONGEST: usize = 400;
/// Changed places of a seed.
const CHANGES: usize = 6;

#[test]
fn inputs_that_are_drawn_keep_the_promises() {
    for (name, check) in TARGETS {
        let seeds = seeds(name);
        for number in 0..INPUTS {
            let input = draw(&mut fastrand::Rng::with_seed(number), &seeds);
            // Shown where the check panics: tests print on failure only.
            println!("{name}, number {number}");
            check(&input);
        }
    }
}

/// In the order of their names, so that each run draws the same.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a seed can be read")).collect()
}

/// Random bytes, or a seed with some changed.
fn draw(random: &mut fastrand::Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    if seeds.is_empty() || random.u8(..) < 0x40 {
        let length = random.usize(..LONGEST);
        return (0..length).map(|_| random.u8(..)).collect();
    }
    let mut input = seeds[random.usize(..seeds.len())].clone();
    for _ in 0..random.usize(..=CHANGES) {
        let place = random.usize(..=input.len());
        match random.u8(..6) {
            0 => input.truncate(place),
            1 if place < input.len() => drop(input.remove(place)),
            2 => input.insert(place, random.u8(..)),
            3 => {
                // A part of another seed.
                let other = &seeds[random.usize(..seeds.len())];
                let (from, to) = (random.usize(..=other.len()), random.usize(..=other.len()));
                let part = other[from.min(to)..from.max(to)].to_vec();
                drop(input.splice(place..place, part));
            }
            _ if place < input.len() => input[place] = random.u8(..),
            _ => input.push(random.u8(..)),
        }
    }
    input
}

#[test]
fn drawn_answers_are_accepted_and_refused_for_every_reason() {
    let seeds = seeds("answer");
    let mut said = std::collections::BTreeMap::<String, u32>::new();
    for number in 0..INPUTS {
        let input = draw(&mut fastrand::Rng::with_seed(number), &seeds);
        *said.entry(sandmill_fuzz::answer::said(&input)).or_default() += 1;
    }
    // 20 reasons, and answers with as many outputs as there may be.
    let reasons = said.keys().filter(|said| !said.starts_with("accepted")).count();
    let with_outputs: u32 =
        said.iter().filter(|(said, _)| said.starts_with("accepted")).map(|(_, times)| times).sum();
    assert!(reasons >= 20 && with_outputs >= 1_000, "{said:#?}");
}
