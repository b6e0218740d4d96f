//! The binary `pasteup`. Everything it does is in `pasteup::cli`.

use std::process::ExitCode;

// The system's allocator leaves gaps of up to half their size between long-lived responses (docs/speed.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    pasteup::cli::main(std::env::args_os())
}
