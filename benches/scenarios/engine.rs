//! Pages whose parts are all in memory: composed from parts, and from the page cache.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use http::HeaderMap;
use jiff::Timestamp;
use pasteup::engine::page_cache::{PageSlot, PageStore};
use pasteup::engine::port::{
    ChangeListener, Clock, Hits, Store, StoredResponse, Unobserved, Upstream, UpstreamRequest, UpstreamResponse,
};
use pasteup::engine::{self, CacheLookup, Compositor, Ports, Served, Trace};
use pasteup::page::plan::plan;
use pasteup::page::policy::cache::freshness::EntryTimes;
use pasteup::page::request::key::Key;
use pasteup::page::response::parsed::Failure;
use pasteup::page::source::diagnostic::Source;
use pasteup::page::source::names::Name;
use pasteup::page::visit::context::Visit;

use super::{MANIFEST, Work, built, over, response};

/// A store that is a plain table, since `store.rs` measures the real one. The hash has no seed, so that every run takes the
/// same instructions.
type Entries<T> = Mutex<HashMap<Key, T, BuildHasherDefault<DefaultHasher>>>;

#[derive(Default)]
struct Table {
    responses: Entries<StoredResponse>,
    pages: Entries<Arc<PageSlot>>,
}

impl Store for Table {
    fn get(&self, key: &Key) -> Option<StoredResponse> {
        self.responses.lock().expect("the lock is not poisoned").get(key).cloned()
    }

    fn put(&self, key: &Key, stored: StoredResponse, _: Duration) {
        self.responses.lock().expect("the lock is not poisoned").insert(key.clone(), stored);
    }

    fn change(&self, _: &Key, _: &mut dyn FnMut(&mut StoredResponse)) -> bool {
        false
    }

    fn remove(&self, key: &Key) -> bool {
        self.responses.lock().expect("the lock is not poisoned").remove(key).is_some()
    }

    fn tagged(&self, _: &str) -> Vec<Key> {
        Vec::new()
    }

    fn keys(&self) -> Vec<Key> {
        Vec::new()
    }

    fn on_change(&self, _: ChangeListener) {}
}

impl PageStore for Table {
    fn get(&self, key: &Key) -> Option<Arc<PageSlot>> {
        self.pages.lock().expect("the lock is not poisoned").get(key).cloned()
    }

    fn put(&self, key: &Key, slot: Arc<PageSlot>, _: Duration) {
        self.pages.lock().expect("the lock is not poisoned").insert(key.clone(), slot);
    }

    fn clear(&self) {}
}

/// An upstream that never responds, and a clock that stands still.
struct Nothing;

impl Upstream for Nothing {
    fn send(&self, _: UpstreamRequest) -> futures::future::BoxFuture<'static, Result<UpstreamResponse, Failure>> {
        Box::pin(futures::future::pending())
    }
}

impl Clock for Nothing {
    fn wall(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
}

/// A compositor that has stored all responses of a page of this many parts, and a request for that page.
fn full(parts: usize) -> (Compositor, engine::PageRequest) {
    let part = |n: usize| {
        format!("<section class=\"card\"><h2>A heading</h2>\n<fragment name=part ttl=20m data-n={n} /></section>\n")
    };
    let text: String = (0..parts).map(part).collect();
    let layout = Source::new("layouts/page.html", format!("+++\nroute = \"/\"\n+++\n<main>{text}</main>"));
    let template = built(layout, MANIFEST);
    let visit = Visit { pattern: "/".to_owned(), host: "www.example.org".to_owned(), ..Visit::default() };
    let plan = plan(&template, visit.clone(), Timestamp::UNIX_EPOCH);
    let store = Arc::new(Table::default());
    for fetch in &plan.fetches {
        let times = EntryTimes::new(Instant::now(), 0.0);
        let response = Arc::new(response(fetch, &HeaderMap::new()));
        let stored = StoredResponse {
            response,
            times,
            longest: fetch.rules,
            backoff: None,
            nanoservice: Name::from("part"),
            hits: Hits::default(),
        };
        Store::put(&*store, &fetch.key, stored, Duration::MAX);
    }
    let ports = Ports {
        upstream: Arc::new(Nothing),
        store: Arc::clone(&store) as _,
        clock: Arc::new(Nothing),
        observer: Arc::new(Unobserved),
        chance: || 0.5,
    };
    let (trace, at) = (Trace::new(), Timestamp::UNIX_EPOCH);
    (Compositor::new(ports, store), engine::PageRequest { template, visit, trace, at, changes_in: None })
}

/// Plans a page, looks up each part, and stitches them.
pub(super) fn memory(parts: usize) -> Work {
    let (engine, request) = full(parts);
    over(move || {
        let page = engine.compose(request.clone()).now_or_never().expect("all parts are stored");
        assert!(!page.chunks.is_empty() && page.outcomes.len() == parts);
        page
    })
}

/// Serves a cached page and its head: the whole fast path, except the connection.
pub(super) fn hot(parts: usize) -> Work {
    let (engine, request) = full(parts);
    for _ in 0..2 {
        let begun = engine.serve(request.clone(), true).now_or_never();
        assert!(matches!(begun, Some(Served::Whole(_))), "all parts are stored");
    }
    over(move || {
        let now = Instant::now();
        let CacheLookup::Whole(whole) = engine.look_up(&request.clone(), now) else { panic!("the page is not cached") };
        let head = whole.head(&whole.plain, now, |_| ());
        whole.count_served(now);
        (whole.plain.chunks.clone(), head)
    })
}
