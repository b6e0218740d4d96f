//! The bind step: a template together with the defaults in force, and the parts of its requests that are the same for
//! all readers, computed once when a snapshot is made.
//! A fragment that cannot be requested is bound to the reason, with which planning a page then refuses it.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use smallvec::SmallVec;

use crate::page::browser::lazy_address::ConditionFields;
use crate::page::layout::Template;
use crate::page::layout::template::Takeover;
use crate::page::layout::template::place::lazy_places;
use crate::page::source::map::Map;
use crate::page::source::reason::Reason;
use crate::page::visit::context::{Dimension, Visit};
use crate::page::visit::window::TimeWindow;

use super::defaults::Defaults;
use super::fetch::{Fetch, Origin};
use super::key::Key;

/// Fields of a client that most page keys have room for without an allocation.
const FIELDS: usize = 16;

/// The beginning of the keys of pages.
const PAGE: &[u8] = b"page";

/// A fetch that is the same for all readers, or the reason why it must not be sent.
type FixedFetch = Result<Arc<Fetch>, Reason>;

/// A template bound to defaults. It is read like the template that it was made from.
///
/// Each snapshot binds all its templates again, so that a template which outlives its defaults never uses values that were
/// computed with others.
#[derive(Debug)]
pub struct BoundTemplate {
    /// The values that are used if neither layout nor manifest states one.
    pub defaults: Arc<Defaults>,
    template: Arc<Template>,
    /// The fetches of the fragments that request the same for all readers, by their index in the template.
    fetches: Box<[Option<FixedFetch>]>,
    /// The keys of the pages that are the same for all clients, by their pattern.
    keys: Box<[(String, Key)]>,
    /// The conditions in the addresses of the fragments that are loaded lazily, by their index in the template.
    lazy: Map<usize, ConditionFields>,
    /// The bound templates of [`Template::takeovers`], by their index.
    takeovers: Box<[Arc<Self>]>,
}

impl Deref for BoundTemplate {
    type Target = Template;

    fn deref(&self) -> &Template {
        &self.template
    }
}

impl BoundTemplate {
    /// Binds a template, and those that replace it at some time.
    #[must_use]
    pub fn bind(template: &Arc<Template>, defaults: &Arc<Defaults>) -> Arc<Self> {
        Self::bind_within(template, TimeWindow::default(), defaults)
    }

    /// Binds a template that is served in a window.
    fn bind_within(template: &Arc<Template>, window: TimeWindow, defaults: &Arc<Defaults>) -> Arc<Self> {
        let any_visit = Visit::default();
        let fetch = |fragment: &Arc<_>| {
            let origin = Origin::of(fragment, &any_visit.reader).filter(|_| fragment.is_same_for_all())?;
            Some(Fetch::new(fragment, origin, &any_visit, defaults).map(Arc::new))
        };
        let takeover = |takeover: &Takeover| Self::bind_within(&takeover.template, takeover.window, defaults);
        let lazy = lazy_places(&template.html, window).into_iter().map(|(index, place)| (index, place.fields()));
        // The keys hold the bound template's address: it distinguishes the pages of different templates and of different defaults.
        Arc::new_cyclic(|bound| Self {
            defaults: Arc::clone(defaults),
            fetches: template.html.fragments.iter().map(fetch).collect(),
            keys: keys(template, bound.as_ptr()),
            lazy: lazy.collect(),
            takeovers: template.takeovers.iter().map(takeover).collect(),
            template: Arc::clone(template),
        })
    }

    /// The fetch of a fragment, by its index in the template. `None`: which nanoservice or URL it requests depends on
    /// variables.
    #[must_use]
    pub fn fetch(&self, fragment: usize, visit: &Visit) -> Option<Result<Arc<Fetch>, Reason>> {
        if let Some(fetch) = &self.fetches[fragment] {
            return Some(fetch.clone());
        }
        let fragment = &self.template.html.fragments[fragment];
        let origin = Origin::of(fragment, &visit.reader)?;
        Some(Fetch::new(fragment, origin, visit, &self.defaults).map(Arc::new))
    }

    /// The conditions that the address of a lazy fragment states, by its index in the template.
    #[must_use]
    pub fn lazy_conditions(&self, fragment: usize) -> ConditionFields {
        self.lazy.get(&fragment).cloned().unwrap_or_default()
    }

    /// Longest time from a request for the page to the last byte of its last part.
    #[must_use]
    pub fn budget(&self) -> Duration {
        self.template.budget.unwrap_or(self.defaults.budget)
    }

    /// The template that is served instead of this one at a time, and how long until another one is.
    #[must_use]
    pub fn at(self: &Arc<Self>, now: Timestamp) -> (&Arc<Self>, Option<Duration>) {
        let (takeover, changes_in) = self.template.takeover_at(now);
        (takeover.map_or(self, |index| &self.takeovers[index]), changes_in)
    }

    /// The key of a page: its template, its defaults, and everything in its visit that it may depend on.
    #[must_use]
    pub fn page_key(&self, visit: &Visit) -> Key {
        // A page with parameters depends on the request.
        let fixed =
            visit.parameters.is_empty().then(|| self.keys.iter().find(|(pattern, _)| *pattern == visit.pattern));
        match fixed.flatten() {
            Some((_, key)) => key.clone(),
            None => key(PAGE, self, self, visit, &self.reads),
        }
    }

    /// The key of a skeleton: the key of its page, without the dimensions that only its personalised parts depend on.
    #[must_use]
    pub fn skeleton_key(&self, visit: &Visit) -> Key {
        key(b"open", self, self, visit, &self.shared)
    }
}

/// The keys of the pages of a template that are the same for all clients: one for each pattern without parameters.
fn keys(template: &Template, bound: *const BoundTemplate) -> Box<[(String, Key)]> {
    if !template.reads.is_empty() || template.reads_host || !template.rollouts.is_empty() {
        return Box::default();
    }
    let routes = template.routes.iter().map(|route| &route.value).filter(|pattern| pattern.parameters().is_empty());
    let patterns = routes.map(|pattern| pattern.as_str().to_owned());
    let visit = |pattern| Visit { pattern, ..Visit::default() };
    patterns.map(visit).map(|visit| (visit.pattern.clone(), key(PAGE, bound, template, &visit, &[]))).collect()
}

/// The key of a page: everything that it is planned from, except the time. The dimensions are those that it reads of its client.
fn key(kind: &[u8], bound: *const BoundTemplate, template: &Template, visit: &Visit, dimensions: &[Dimension]) -> Key {
    // The address is unique to a snapshot: each one binds all its templates again.
    let bound = bound.addr().to_le_bytes();
    let Visit { pattern, parameters, reader, host } = visit;
    let fixed: [&[u8]; 3] = [kind, &bound, pattern.as_bytes()];
    let parameters = parameters.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    let mut context: SmallVec<[&[u8]; FIELDS]> = SmallVec::new();
    if template.reads_host {
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
            // The pattern of the page is in every key.
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
    for side in &reader.sides {
        let takes: &[u8] = if side.takes_candidate { b"candidate" } else { b"stable" };
        context.extend([b"side", side.name.as_bytes(), side.candidate.as_bytes(), takes]);
    }
    Key::new(fixed.into_iter().chain(parameters), context)
}
