//! Any answer of a guest.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sandmill_fuzz::answer::check(data));
