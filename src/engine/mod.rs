//! Fills a plan: all fetches at once, each with one deadline and one outcome, never an error.
//! A broken fragment costs its own corner of the page; nothing here fails as a whole.

pub mod port;

pub mod upstream;

pub mod apart;
pub mod aside;
pub mod collapse;
pub mod fetch;
pub mod lookup;
pub mod patience;
pub mod purge;
pub mod stock;
pub mod trace;

pub mod hot;

pub mod compose;
pub mod fanout;
pub mod fill;

pub mod live;

pub mod board;

pub use board::Board;
pub use compose::{Begun, Compositor, Page, Ports, Ready, Request, TooLarge};
pub use hot::{Coded, Filled, Form, Stitched};
pub use live::{Live, Snapshot};
pub use lookup::{Found, What};
pub use purge::{Manner, Purge};
pub use trace::Trace;
