//! The cost of the memory store: a get, a put, and a purge of one key among more and more entries; and of pages whose
//! parts are all stored, or that are cached pages. `scenarios/engine.rs` measures the same with a plain table as store.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue};
use pasteup::edge::clock::SystemClock;
use pasteup::edge::store::memory::MemoryStore;
use pasteup::engine::port::{
    Clock as _, Hits, Store, StoredResponse, Unobserved, Upstream, UpstreamRequest, UpstreamResponse,
};
use pasteup::engine::{self, CacheLookup, Compositor, Ports, Purge, PurgeMode, Trace};
use pasteup::page::plan::plan;
use pasteup::page::policy::cache::directives::Arrival;
use pasteup::page::policy::cache::freshness::EntryTimes;
use pasteup::page::request::fetch::Fetch;
use pasteup::page::request::key::Key;
use pasteup::page::response::parsed::{Content, Failure, ParsedResponse};
use pasteup::page::site::{BoundSite, Files, Site, SiteLimits};
use pasteup::page::source::diagnostic::Source;
use pasteup::page::source::names::Name;
use pasteup::page::visit::context::Visit;

/// An upstream that never responds, since everything is stored.
struct NoUpstream;

impl Upstream for NoUpstream {
    fn send(&self, _: UpstreamRequest) -> futures::future::BoxFuture<'static, Result<UpstreamResponse, Failure>> {
        Box::pin(futures::future::pending())
    }
}

fn key(number: usize) -> Key {
    Key::new(["name", "part", &number.to_string()], [])
}

/// The fetches of the page.
fn fetches(site: &BoundSite) -> Vec<Arc<Fetch>> {
    let template = site.find("/", None, SystemClock.wall()).expect("the page").template;
    plan(template, Visit::default(), SystemClock.wall()).fetches
}

/// A response of 200 bytes with a surrogate key of its own and one that a hundred responses share.
fn stored(fetch: &Fetch, number: usize) -> StoredResponse {
    let mut headers = HeaderMap::new();
    let keys = format!("article-{number} section-{}", number / 100);
    headers.insert("surrogate-key", HeaderValue::try_from(keys).expect("a value"));
    let content = Content::Fragment(Bytes::from(vec![b'x'; 200]).into());
    let arrival = Arrival { at: SystemClock.wall(), delay: Duration::ZERO };
    StoredResponse {
        response: Arc::new(ParsedResponse::new(content, &headers, fetch, arrival)),
        times: EntryTimes::new(Instant::now(), 0.0),
        longest: fetch.rules,
        backoff: None,
        nanoservice: Name::from("part"),
        hits: Hits::default(),
    }
}

/// A site with a page of this many parts.
fn site(parts: usize) -> BoundSite {
    let manifest = "name = \"part\"\nversion = \"1.0.0\"\nendpoint = \"http://127.0.0.1:1/part\"\n";
    let parts: String = (0..parts).map(|n| format!("<fragment name=part ttl=1h data-n={n} />")).collect();
    let files = Files {
        layouts: vec![Source::new("layouts/page.html", format!("+++\nroute = \"/\"\n+++\n{parts}"))],
        manifests: vec![Source::new("fragments/part/fragment.toml", manifest)],
        ..Files::default()
    };
    BoundSite::bind(Site::build(&files, &SiteLimits::default(), None), Arc::default())
}

/// A store with this many entries.
fn store(entries: usize, fetch: &Fetch) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new(1 << 30));
    for number in 0..entries {
        store.put(&key(number), stored(fetch, number), HOUR);
    }
    store
}

const HOUR: Duration = Duration::from_hours(1);

fn compositor(store: &Arc<MemoryStore>) -> Compositor {
    let ports = Ports {
        upstream: Arc::new(NoUpstream),
        store: Arc::clone(store) as _,
        clock: Arc::new(SystemClock),
        observer: Arc::new(Unobserved),
        chance: fastrand::f64,
    };
    Compositor::new(ports, Arc::clone(store) as _)
}

fn entries(criterion: &mut Criterion) {
    let fetch = &*fetches(&site(1))[0];
    let minute = Duration::from_mins(10);
    let mut group = criterion.benchmark_group("store");
    for entries in [1_000, 10_000, 100_000] {
        let store = store(entries, fetch);
        let engine = compositor(&store);
        group.bench_function(BenchmarkId::new("get", entries), |bencher| {
            let key = key(entries / 2);
            bencher.iter(|| store.get(black_box(&key)));
        });
        group.bench_function(BenchmarkId::new("put", entries), |bencher| {
            let (key, one) = (key(7), stored(fetch, 7));
            bencher.iter_batched(|| one.clone(), |one| Store::put(&*store, &key, one, minute), BatchSize::SmallInput);
        });
        // Purges one surrogate key that one response has; the response is stored again each time.
        let purge = |mode| {
            let (key, one) = (key(7), stored(fetch, 7));
            let (engine, store) = (engine.clone(), Arc::clone(&store));
            let order = Purge::Tags(vec![Name::from("article-7")]);
            move |bencher: &mut criterion::Bencher<'_>| {
                bencher.iter_batched(
                    || store.put(&key, one.clone(), minute),
                    |()| assert_eq!(engine.purge(&order, mode), 1),
                    BatchSize::PerIteration,
                );
            }
        };
        group.bench_function(BenchmarkId::new("purge hard", entries), purge(PurgeMode::Hard));
        group.bench_function(BenchmarkId::new("purge soft", entries), purge(PurgeMode::Soft));
    }
    group.finish();
}

/// Pages whose parts are all stored, among a hundred thousand other entries.
fn pages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store");
    for parts in [1, 10, 100, 1000] {
        let site = site(parts);
        let fetches = fetches(&site);
        let store = store(100_000, &fetches[0]);
        for (number, fetch) in fetches.iter().enumerate() {
            store.put(&fetch.key, stored(fetch, number), HOUR);
        }
        let engine = compositor(&store);
        let request = engine::PageRequest {
            template: Arc::clone(site.find("/", None, engine.now()).expect("the page").template),
            visit: Visit::default(),
            trace: Trace::new(),
            at: engine.now(),
            changes_in: None,
        };
        group.throughput(Throughput::Elements(parts as u64));
        group.bench_function(BenchmarkId::new("page", parts), |bencher| {
            bencher.iter(|| engine.compose(black_box(&request).clone()).now_or_never().expect("all parts are stored"));
        });
        // The second request caches the page.
        for _ in 0..2 {
            engine.serve(request.clone(), true).now_or_never().expect("all parts are stored");
        }
        group.bench_function(BenchmarkId::new("cached page", parts), |bencher| {
            bencher.iter(|| {
                let found = engine.look_up(&black_box(&request).clone(), std::time::Instant::now());
                assert!(matches!(found, CacheLookup::Whole(_)), "the page is cached");
                found
            });
        });
    }
    group.finish();
}

criterion_group!(benches, entries, pages);
criterion_main!(benches);
