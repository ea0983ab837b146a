//! Every input in `seeds/` keeps the promises: those that led somewhere, and those that once broke one.

use std::fs;
use std::path::Path;

use sandmill_fuzz::TARGETS;

#[test]
fn every_seed_keeps_the_promises() {
    for (name, check) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut seeds = 0;
        for entry in entries {
            let path = entry.expect("the folder can be read").path();
            // Shown where the check panics: tests print on failure only.
            println!("{}", path.display());
            check(&fs::read(&path).expect("a seed can be read"));
            seeds += 1;
        }
        assert!(seeds >= 10, "{name} has {seeds} seeds");
    }
}

#[test]
fn every_input_is_a_case_however_short_or_long() {
    for (_, check) in TARGETS {
        for length in [0, 1, 2, 3, 5, 17, 300, 5_000] {
            for byte in [0, 1, 2, 3, 7, 0x7f, 0xff] {
                check(&vec![byte; length]);
            }
        }
    }
}
