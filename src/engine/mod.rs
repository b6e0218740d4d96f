//! Composes pages: looks up all fetches of a plan at once, each with one deadline and one outcome, never an error.
//! A broken fragment affects only its own part of the page; nothing here fails as a whole.

pub mod load;
pub mod trace;

pub mod page;
pub mod port;

mod collapse;
mod hit_for_miss;
pub mod offload;
mod purge;
mod rollouts;
mod switches;

mod upstream;

mod shared;

mod fetch;
mod in_fleet;
mod lookup;

mod examples;

pub mod page_cache;

mod flush;
mod personalise;

mod fanout;
mod stitching;

mod compose;

mod live;

mod incidents;
pub mod inspection;
pub mod statistics;

pub use compose::{CacheLookup, Compositor, Served};
pub use incidents::IncidentLog;
pub use live::{Live, Snapshot};
pub use lookup::{LookupOutcome, LookupResult};
pub use page::{Page, PageRequest, PageTooLarge};
pub use page_cache::{CachedPage, EncodedPage, Encoding, PersonalisedPage};
pub use port::Ports;
pub use purge::{Purge, PurgeMode};
pub use rollouts::{Refused, RolloutStatus, Rollouts, SideStatus, Sides};
pub use shared::{Shared, SharedLookup};
pub use statistics::Statistics;
pub use trace::Trace;
