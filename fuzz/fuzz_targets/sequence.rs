//! Any metadata to start from, then any order of what happens to a partition.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sandmill_fuzz::sequence::check(data));
