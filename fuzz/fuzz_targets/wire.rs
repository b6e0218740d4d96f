//! Fuzzes HTTP/1.1 parsing with the bytes of a connection.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/wire.rs"]
mod checks;

fuzz_target!(|data: &[u8]| checks::check(data));
