//! Any pattern of completed records, written and read.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sandmill_fuzz::round_trip::check(data));
