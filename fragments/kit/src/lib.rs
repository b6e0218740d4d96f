//! What the sample nanoservices share, so that each holds nothing but its own one thing.
//!
//! A service reads a [`Source`], checks its parameters ([`Within`], [`slug`]), answers with a
//! [`Fragment`] or a [`Problem`], and is run by [`run`]. None of this is needed to write a
//! nanoservice: the contract is plain HTTP.

mod answer;
mod params;
mod place;
mod serve;
mod source;
#[cfg(feature = "testing")]
pub mod testing;

/// Any cause of a failure, as parsers hand it over.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

pub use answer::{Fragment, Problem, explain};
pub use params::{Params, Within, slug};
pub use place::{BadPlace, Place};
pub use serve::{Service, run};
pub use source::{Source, SourceError};
