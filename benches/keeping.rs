//! What keeping answers costs: a get, a put, and a purge of one key among ever more entries.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue};
use pasteup::edge::clock::SystemClock;
use pasteup::edge::memory::MemoryStore;
use pasteup::engine::port::{Clock as _, Held, Request, Response, Store, Stored, Unobserved, Upstream};
use pasteup::engine::{Compositor, Manner, Ports, Purge};
use pasteup::page::answer::{Answer, Content, Failure};
use pasteup::page::context::Visit;
use pasteup::page::defaults::Defaults;
use pasteup::page::diagnostic::Source;
use pasteup::page::key::Key;
use pasteup::page::names::Name;
use pasteup::page::plan::plan;
use pasteup::page::policy::directives::Arrival;
use pasteup::page::policy::freshness::Kept;
use pasteup::page::site::{Files, Limits, Site};

/// Nobody is asked here.
struct Nobody;

impl Upstream for Nobody {
    fn get(&self, _: Request) -> futures::future::BoxFuture<'static, Result<Response, Failure>> {
        Box::pin(futures::future::pending())
    }
}

fn key(number: usize) -> Key {
    Key::new(["name", "part", &number.to_string()], [])
}

/// An answer of 200 bytes with a key of its own and one that a hundred share.
fn stored(site: &Site, number: usize) -> Stored {
    let template = site.find("/", SystemClock.wall()).expect("the page").template;
    let plan = plan(template, Visit::default(), &Arc::new(Defaults::default()), SystemClock.wall());
    let mut headers = HeaderMap::new();
    let keys = format!("article-{number} section-{}", number / 100);
    headers.insert("surrogate-key", HeaderValue::try_from(keys).expect("a value"));
    let content = Content::Fragment(Bytes::from(vec![b'x'; 200]));
    let arrival = Arrival { at: SystemClock.wall(), delay: Duration::ZERO };
    Stored {
        answer: Arc::new(Answer::new(content, &headers, &plan.fetches[0], arrival)),
        kept: Kept::since(Instant::now(), 0.0),
        trouble: None,
        service: Name::from("part"),
    }
}

fn site() -> Site {
    let manifest = "name = \"part\"\nversion = \"1.0.0\"\nendpoint = \"http://127.0.0.1:1/part\"\n";
    let files = Files {
        layouts: vec![Source::new("layouts/page.html", "+++\nroute = \"/\"\n+++\n<fragment name=part />")],
        manifests: vec![Source::new("fragments/part/fragment.toml", manifest)],
        ..Files::default()
    };
    Site::build(&files, &Limits::default(), None)
}

fn keeping(criterion: &mut Criterion) {
    let site = site();
    let minute = Duration::from_mins(10);
    let mut group = criterion.benchmark_group("keeping");
    for entries in [1_000, 10_000, 100_000] {
        let store = Arc::new(MemoryStore::new(1 << 30));
        for number in 0..entries {
            store.put(&key(number), Held::Answer(stored(&site, number)), minute);
        }
        let engine = Compositor::new(Ports {
            upstream: Arc::new(Nobody),
            store: Arc::clone(&store) as _,
            clock: Arc::new(SystemClock),
            observer: Arc::new(Unobserved),
            chance: fastrand::f64,
        });
        group.bench_function(BenchmarkId::new("get", entries), |bencher| {
            let key = key(entries / 2);
            bencher.iter(|| store.get(black_box(&key)));
        });
        group.bench_function(BenchmarkId::new("put", entries), |bencher| {
            let (key, one) = (key(7), stored(&site, 7));
            let held = || Held::Answer(one.clone());
            bencher.iter_batched(held, |held| store.put(&key, held, minute), BatchSize::SmallInput);
        });
        // One key that one answer has, purged and put back.
        let purge = |manner| {
            let (key, one) = (key(7), stored(&site, 7));
            let (engine, store) = (engine.clone(), Arc::clone(&store));
            let what = Purge::Tags(vec![Name::from("article-7")]);
            move |bencher: &mut criterion::Bencher<'_>| {
                bencher.iter_batched(
                    || store.put(&key, Held::Answer(one.clone()), minute),
                    |()| assert_eq!(engine.purge(&what, manner), 1),
                    BatchSize::PerIteration,
                );
            }
        };
        group.bench_function(BenchmarkId::new("purge hard", entries), purge(Manner::Hard));
        group.bench_function(BenchmarkId::new("purge soft", entries), purge(Manner::Soft));
    }
    group.finish();
}

criterion_group!(benches, keeping);
criterion_main!(benches);
