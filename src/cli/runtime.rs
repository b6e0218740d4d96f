//! The async runtime of the commands that make a few requests and end.
//! It is single-threaded: only `serve` needs more threads, and it builds its own.

use tokio::runtime::{Builder, Runtime};

/// Builds a runtime that runs on the current thread.
///
/// # Errors
/// The operating system does not provide what the runtime needs.
pub(super) fn current_thread() -> Result<Runtime, String> {
    Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())
}
