//! The exit codes of every command. Success is [`std::process::ExitCode::SUCCESS`].

/// The command ran, and found problems.
pub(super) const PROBLEMS_FOUND: u8 = 1;
/// The command could not run.
pub(super) const COULD_NOT_RUN: u8 = 2;
