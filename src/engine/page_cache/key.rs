//! What tells pages that are kept from each other.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use smallvec::SmallVec;

use crate::engine::page::PageRequest;
use crate::page::request::key::Key;
use crate::page::visit::context::{Dimension, Visit};

/// Fields of a reader that most keys have room for.
const FIELDS: usize = 16;

/// A page that is asked for.
#[derive(Debug, Clone)]
pub(in crate::engine) struct PageKey {
    /// What tells it from others.
    pub(super) whole: Key,
    /// What tells it from others but for its personal parts, once that was asked for.
    pub(super) open: Option<Key>,
    /// Before its plan was made.
    pub(super) began: Instant,
    /// The time that conditions are judged at.
    pub(super) at: Timestamp,
}

impl PageKey {
    pub(in crate::engine) fn new(request: &PageRequest, began: Instant) -> Self {
        let PageRequest { template, visit, defaults, .. } = request;
        let make = || key(b"page", request, &template.reads);
        let is_only = template.reads.is_empty() && !template.reads_host && visit.parameters.is_empty();
        let whole = if is_only { template.only.get(defaults, &visit.pattern, make) } else { make() };
        Self { whole, open: None, began, at: request.at }
    }
}

/// What tells one page from another: all that it is planned from, but for the time. Of the reader what these dimensions
/// tell.
pub(super) fn key(kind: &[u8], request: &PageRequest, dimensions: &[Dimension]) -> Key {
    // Their addresses: what is live is made anew as a whole when something of it changes.
    let template = (Arc::as_ptr(&request.template) as usize).to_le_bytes();
    let defaults = (Arc::as_ptr(&request.defaults) as usize).to_le_bytes();
    let Visit { pattern, parameters, reader, host } = &request.visit;
    let fixed: [&[u8]; 4] = [kind, &template, &defaults, pattern.as_bytes()];
    let parameters = parameters.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    let mut context: SmallVec<[&[u8]; FIELDS]> = SmallVec::new();
    if request.template.reads_host {
        context.push(host.as_bytes());
    }
    for dimension in dimensions {
        match dimension {
            Dimension::Locale => context.extend(reader.locale.iter().flat_map(|locale| [b"locale", locale.as_bytes()])),
            Dimension::Region => context.extend(reader.region.iter().flat_map(|region| [b"region", region.as_bytes()])),
            Dimension::Device => {
                context.extend(reader.device.iter().flat_map(|device| [b"device", device.as_str().as_bytes()]));
            }
            Dimension::Variant => {
                let all = reader.variants.iter();
                context.extend(all.flat_map(|(name, value)| [b"variant", name.as_bytes(), value.as_bytes()]));
            }
            // Its pattern is in each key.
            Dimension::Page => {}
            Dimension::Cookie(name) => {
                let all = reader.cookies.iter().filter(|(known, _)| known == name);
                context.extend(all.flat_map(|(name, value)| [b"cookie", name.as_bytes(), value.as_bytes()]));
            }
            Dimension::Header(name) => {
                let all = reader.headers.get_all(name).iter();
                context.extend(all.flat_map(|value| [b"header", name.as_bytes(), value.as_bytes()]));
            }
        }
    }
    Key::new(fixed.into_iter().chain(parameters), context)
}
