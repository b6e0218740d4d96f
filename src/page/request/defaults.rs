//! What holds where neither layout nor manifest says.
//! Settings are read into it; each value is one that a page can be made with.

use std::time::Duration;

use crate::page::manifest::Boundary;
use crate::page::policy::resilience::Resilience;

/// What holds where neither layout nor manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// Longest time from the request to the page's last part.
    pub budget: Duration,
    /// From sending a fragment's request to its last body byte.
    pub timeout: Duration,
    /// Freshness where nothing else states one.
    pub ttl: Duration,
    /// How long past freshness an old copy may be shown.
    pub stale: Duration,
    /// Decoded bytes of one body.
    pub max_bytes: u64,
    /// Fetches at once, per upstream.
    pub concurrency: u32,
    /// What the HTML of fragments named by `src` may do to a page.
    pub html: Boundary,
    /// How deep fragments may ask for others; a layout's own are at depth 1.
    pub max_depth: usize,
    /// Fragments of one page, those that others ask for among them.
    pub max_fragments: usize,
    /// Bytes of one page.
    pub max_page_bytes: u64,
    /// What is done about services that are in trouble.
    pub withstand: Resilience,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            budget: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            ttl: Duration::ZERO,
            stale: Duration::ZERO,
            max_bytes: 1 << 20,
            concurrency: 128,
            html: Boundary::Raw,
            max_depth: 3,
            max_fragments: 1000,
            max_page_bytes: 16 << 20,
            withstand: Resilience::default(),
        }
    }
}
