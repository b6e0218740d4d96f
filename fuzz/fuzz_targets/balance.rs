//! Fuzzes balancing with a fragment's HTML.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/balance.rs"]
mod checks;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        checks::check(text);
    }
});
