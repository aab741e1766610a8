#![no_main]

#[path = "../properties/policy_source.rs"]
mod policy_source;

libfuzzer_sys::fuzz_target!(|data: &[u8]| policy_source::check(data));
