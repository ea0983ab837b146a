//! Any text as commit metadata.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sandmill_fuzz::decode::check(data));
