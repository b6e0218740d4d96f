//! Fuzzes caching with response headers.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/policy.rs"]
mod checks;

fuzz_target!(|data: &[u8]| checks::check(data));
