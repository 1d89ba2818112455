//! tests/corpus/pem, and whatever comes of it.
#![no_main]

#[path = "../../tests/corpus/targets.rs"]
#[allow(dead_code, reason = "each fuzzer runs one of them")]
mod targets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| targets::read_pem(input));
