//! Pages whose parts are all in memory: looked up one by one, and kept whole.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use http::HeaderMap;
use jiff::Timestamp;
use pasteup::engine::page_cache::{PageSlot, PageStore};
use pasteup::engine::port::{
    ChangeListener, Clock, Store, StoredResponse, Unobserved, Upstream, UpstreamRequest, UpstreamResponse,
};
use pasteup::engine::{self, CacheHit, Compositor, Ports, Served, Trace};
use pasteup::page::plan::plan;
use pasteup::page::policy::cache::freshness::EntryTimes;
use pasteup::page::request::key::Key;
use pasteup::page::response::parsed::Failure;
use pasteup::page::source::diagnostic::Source;
use pasteup::page::source::names::Name;
use pasteup::page::visit::context::Visit;

use super::{MANIFEST, Work, answer, built, over};

/// A store that is nothing but a table: what the real one costs is measured in `keeping.rs`.
// Hashed without a seed: the same instructions each time.
type Entries<T> = Mutex<HashMap<Key, T, BuildHasherDefault<DefaultHasher>>>;

#[derive(Default)]
struct Table {
    answers: Entries<StoredResponse>,
    pages: Entries<Arc<PageSlot>>,
}

impl Store for Table {
    fn get(&self, key: &Key) -> Option<StoredResponse> {
        self.answers.lock().expect("a lock").get(key).cloned()
    }

    fn put(&self, key: &Key, stored: StoredResponse, _: Duration) {
        self.answers.lock().expect("a lock").insert(key.clone(), stored);
    }

    fn change(&self, _: &Key, _: &mut dyn FnMut(&mut StoredResponse)) -> bool {
        false
    }

    fn remove(&self, key: &Key) -> bool {
        self.answers.lock().expect("a lock").remove(key).is_some()
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
        self.pages.lock().expect("a lock").get(key).cloned()
    }

    fn put(&self, key: &Key, slot: Arc<PageSlot>, _: Duration) {
        self.pages.lock().expect("a lock").insert(key.clone(), slot);
    }

    fn clear(&self) {}
}

/// Nobody is asked here, and time stands still.
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

/// A compositor that holds all answers of a page of so many parts, and a request for that page.
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
        let response = Arc::new(answer(fetch, &HeaderMap::new()));
        let stored = StoredResponse { response, times, backoff: None, nanoservice: Name::from("part") };
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

/// A page that is planned, looked up part by part, and stitched.
pub(super) fn memory(parts: usize) -> Work {
    let (engine, request) = full(parts);
    over(move || {
        let page = engine.compose(request.clone()).now_or_never().expect("all of it is there");
        assert!(!page.chunks.is_empty() && page.outcomes.len() == parts);
        page
    })
}

/// A page that is kept whole, and what it says of itself: all of the hot path but for the connection.
pub(super) fn hot(parts: usize) -> Work {
    let (engine, request) = full(parts);
    for _ in 0..2 {
        let begun = engine.serve(request.clone(), true).now_or_never();
        assert!(matches!(begun, Some(Served::Whole(_))), "all of it is there");
    }
    over(move || {
        let now = Instant::now();
        let Some(CacheHit::Whole(whole)) = engine.ready(&request.clone(), now) else { panic!("it is kept whole") };
        let said = whole.head(&whole.plain, now, |_| ());
        whole.count_served(now);
        (whole.plain.chunks.clone(), said)
    })
}
