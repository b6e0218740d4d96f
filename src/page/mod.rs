//! What a page is: layouts, plans, freshness, stitching; all of it pure.
//! Time and jitter arrive as arguments; nothing here waits, reads a clock or does I/O.

pub mod diagnostic;
pub mod fields;
pub mod json;
pub mod map;
pub mod names;
pub mod secret;
pub mod table;
pub mod units;

pub mod html;
pub mod layout;
pub mod manifest;
pub mod upstreams;

pub mod catalogue;
pub mod route;
pub mod site;

pub mod context;
pub mod experiment;
pub mod reader;

pub mod defaults;
pub mod esi;
pub mod fetch;
pub mod include;
pub mod key;
pub mod plan;

pub mod answer;
pub mod assets;
pub mod judge;
pub mod late;
pub mod lazy;
pub mod outcome;
pub mod policy;
pub mod record;
pub mod stitch;
pub mod text;
pub mod verdict;

pub mod wire;

pub mod csp;
pub mod headers;
pub mod scripts;

pub mod conform;
