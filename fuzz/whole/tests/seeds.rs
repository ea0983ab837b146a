//! Every input in `fuzz/seeds` keeps the promises, and so does a bounded number of drawn ones: the same in every run.

use std::path::{Path, PathBuf};

use fastrand::Rng;
use sandmill_fuzz_whole::{TARGETS, Target, guests, module, search};

/// Inputs that each target draws: seconds on two slow cores.
const DRAWN: [(&str, u64); 3] = [("module", 400), ("lift", 20_000), ("http", 2_000)];

fn seeds(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it lies in `fuzz`").join("seeds").join(target.name)
}

fn keeps_its_promise(name: &str) {
    let target = TARGETS.into_iter().find(|target| target.name == name).expect("there is such a target");
    let kept = search::files(&seeds(&target)).expect("seeds can be read");
    for (number, seed) in kept.iter().enumerate() {
        // Shown where the check panics: tests print on failure only.
        println!("{name}, seed {number} in the order of names");
        (target.check)(seed);
    }
    assert!(kept.len() >= 10, "{name} has {} seeds", kept.len());
    let (_, drawn) = DRAWN.into_iter().find(|(drawn, _)| *drawn == name).expect("each has a number");
    for number in 0..drawn {
        println!("{name}, number {number}");
        (target.check)(&(target.draw)(&mut Rng::with_seed(number), &kept));
    }
}

#[test]
fn any_module_is_refused_or_held_to_its_limits() {
    keeps_its_promise("module");
}

#[test]
fn handlers_that_nobody_changed_are_held_to_their_limits() {
    for (number, handler) in guests::texts().iter().enumerate() {
        println!("guest {number}");
        module::check(handler);
    }
}

#[test]
fn any_answer_in_memory_is_taken_or_refused() {
    keeps_its_promise("lift");
}

#[test]
fn any_bytes_leave_a_server_that_answers() {
    keeps_its_promise("http");
}

#[test]
fn each_target_has_a_name_of_its_own_and_a_number_of_inputs() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, DRAWN.map(|(name, _)| name));
}
