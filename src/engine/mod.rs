//! Fills a plan: all fetches at once, each with one deadline and one outcome, never an error.
//! A broken fragment affects only its own part of the page; nothing here fails as a whole.

pub mod port;

pub mod hit_for_miss;

pub mod collapse;
pub mod offload;
pub mod purge;
pub mod trace;

pub mod upstream;

pub mod fetch;
pub mod lookup;

pub mod page_cache;

pub mod flush;
pub mod personalise;

pub mod fanout;

pub mod compose;

pub mod live;

pub mod inspection;
pub mod statistics;

pub use compose::{CacheHit, Compositor, Page, PageRequest, Ports, Served, TooLarge};
pub use live::{Live, Snapshot};
pub use lookup::{Found, What};
pub use page_cache::{CachedPage, EncodedPage, Encoding, PersonalisedPage};
pub use purge::{Manner, Purge};
pub use statistics::Statistics;
pub use trace::Trace;
