//! The values that are used if neither layout nor manifest states one.
//! They are read from the settings, which have been checked: a page can be composed with any of them.

use std::time::Duration;

use crate::page::browser::lazy_address::AddressKey;
use crate::page::manifest::Boundary;
use crate::page::policy::resilience::Resilience;

/// The values that are used if neither layout nor manifest states one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// Longest time from the request for a page to the last byte of its last part.
    pub budget: Duration,
    /// Longest time from sending a fragment's request to the last byte of its response.
    pub timeout: Duration,
    /// How long a response is fresh if it states no lifetime.
    pub ttl: Duration,
    /// How long a response may be used after it has become stale.
    pub stale: Duration,
    /// Maximum number of bytes of one response body, decoded.
    pub max_bytes: u64,
    /// Maximum number of concurrent requests per upstream.
    pub concurrency: u32,
    /// Whether the HTML of fragments named by `src` may affect the page around it.
    pub html: Boundary,
    /// How deep fragments may be nested; those of a layout are at depth 1.
    pub max_depth: usize,
    /// Maximum number of fragments on a page, nested ones included.
    pub max_fragments: usize,
    /// Maximum number of bytes of a page.
    pub max_page_bytes: u64,
    /// How requests to failing nanoservices are handled.
    pub resilience: Resilience,
    /// The key that signs the addresses of standalone fragments. It is derived from the site's key, and no layout can state it.
    pub address_key: AddressKey,
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
            resilience: Resilience::default(),
            address_key: AddressKey::default(),
        }
    }
}
