//! Fuzzes layouts with the files of a site, as editors write them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pasteup::page;

#[path = "../checks/layout.rs"]
mod checks;
#[path = "../../src/cli/report.rs"]
#[allow(dead_code, reason = "only the function that draws a diagnostic is called")]
mod report;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        checks::check(text, report::human);
    }
});
