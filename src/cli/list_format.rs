//! The output formats of the commands that list something.
//! An unknown format is reported by the parser of the command line.

use clap::ValueEnum;

/// The output formats of a command that lists something.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ListFormat {
    /// For people
    Human,
    /// JSON
    Json,
}
