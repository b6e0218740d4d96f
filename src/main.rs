//! The binary `pasteup`: all that it does is in `pasteup::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    pasteup::cli::main(std::env::args_os())
}
