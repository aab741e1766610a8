#![no_main]

#[path = "../properties/route_pattern.rs"]
mod route_pattern;

libfuzzer_sys::fuzz_target!(|data: &[u8]| route_pattern::check(data));
