//! The binary `pasteup`: all that it does is in `pasteup::cli`.

use std::process::ExitCode;

/// Pages are made of many short-lived pieces, and answers kept for long lie between them (docs/speed.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pasteup::cli::main(std::env::args_os())
}
