//! Sites: everything that is live, built from the texts of files and then bound to defaults.
//! A file with an error does not go live; its last good version stays live.

mod files;
mod routes;

mod build;
mod locked;
mod manifests;
mod owners;
mod relock;

mod public;

pub mod deploy;
pub mod impact;

mod bound;

pub use self::bound::{BoundSite, Match, NoMatch};
pub use self::build::{Site, SiteLimits};
pub use self::files::Files;
pub use self::locked::Range;
pub use self::public::PublicFile;
pub use self::relock::{Change, Precisely};
