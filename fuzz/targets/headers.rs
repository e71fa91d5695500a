#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| createrepod::fuzz::headers(data));
