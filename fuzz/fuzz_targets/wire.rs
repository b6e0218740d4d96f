//! Bytes of a connection, as readers send them.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/wire.rs"]
mod checks;

fuzz_target!(|data: &[u8]| checks::check(data));
