//! Prints results to standard output, and messages to standard error.
//! Results that cannot be written are an error, unless their reader closed the pipe: then they have all they want. A message
//! that cannot be written is dropped and counted, like a line of the log.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _};

use crate::edge::observe::log;

/// Prints results. Colours are removed where they are not wanted.
///
/// # Errors
/// Standard output cannot be written to.
pub(super) fn print(results: impl Display) -> Result<(), String> {
    let mut output = anstream::stdout().lock();
    written(write!(output, "{results}").and_then(|()| output.flush()))
}

/// Prints a message and a line feed. Colours are removed where they are not wanted.
pub(super) fn message(text: impl Display) {
    // One write for the whole message, so that no line of the log comes between.
    let text = format!("{text}\n");
    if anstream::stderr().lock().write_all(text.as_bytes()).is_err() {
        log::dropped_lines().inc();
    }
}

/// The result of writing to standard output. A reader that closed the pipe is not an error.
///
/// # Errors
/// Writing failed for any other reason.
pub(super) fn written(result: std::io::Result<()>) -> Result<(), String> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| format!("cannot write to standard output: {error}")),
    }
}
