#![no_main]

#[path = "../properties/canonicaliser.rs"]
mod canonicaliser;

libfuzzer_sys::fuzz_target!(|data: &[u8]| canonicaliser::check(data));
