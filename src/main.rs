//! The binary `pasteup`: all that it does is in `pasteup::cli`.

use std::process::ExitCode;

// The system's leaves gaps between answers that are half as large as they are (docs/speed.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    pasteup::cli::main(std::env::args_os())
}
