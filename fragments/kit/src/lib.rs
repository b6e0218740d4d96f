//! What the sample nanoservices share, so that each contains only its own subject.
//!
//! A service reads a [`Source`], checks its parameters ([`Within`], [`slug`]), responds with a [`Fragment`] or a
//! [`Problem`], and is run by [`run`]. None of this is needed to write a nanoservice: the contract is plain HTTP.

mod params;
mod place;
mod response;
mod sample;
mod serve;
mod source;
#[cfg(feature = "testing")]
pub mod testing;

/// Any cause of a failure, as parsers return it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

pub use params::{Params, Within, slug};
pub use place::{BadPlace, Place};
pub use response::{Fragment, Problem, explain};
pub use serve::{Service, run};
pub use source::{Source, SourceError};
