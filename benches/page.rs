//! What the pure parts cost: reading a layout, planning a page, stitching it.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::HeaderMap;
use pasteup::page::answer::{Answer, Content};
use pasteup::page::context::Visit;
use pasteup::page::defaults::Defaults;
use pasteup::page::diagnostic::Source;
use pasteup::page::headers::Headers;
use pasteup::page::layout::{LayoutFile, Template};
use pasteup::page::outcome::Outcome;
use pasteup::page::plan::plan;
use pasteup::page::policy::directives::Arrival;
use pasteup::page::site::{Files, Limits, Site};
use pasteup::page::stitch::stitch;

fn layout(fragments: usize) -> Arc<Source> {
    let part = "<section class=\"card\"><h2>A heading</h2>\n<fragment name=\"part\" ttl=\"20s\" data-n=\"7\"><p>Soon.</p></fragment></section>\n";
    Source::new(
        "layouts/page.html",
        format!("+++\nroute = \"/\"\n+++\n<!doctype html><main>{}</main>", part.repeat(fragments)),
    )
}

fn template(fragments: usize) -> Arc<Template> {
    let manifest = "name = \"part\"\nversion = \"1.0.0\"\nendpoint = \"http://127.0.0.1:1/part\"\n";
    let files = Files {
        layouts: vec![layout(fragments)],
        manifests: vec![Source::new("fragments/part/fragment.toml", manifest)],
        ..Files::default()
    };
    Arc::clone(&Site::build(&files, &Limits::default(), None).templates[0])
}

fn pure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("page");
    for fragments in [1, 10, 100, 1000] {
        let source = layout(fragments);
        group.throughput(Throughput::Bytes(source.text.len() as u64));
        group.bench_with_input(BenchmarkId::new("read", fragments), &source, |bencher, source| {
            bencher.iter(|| LayoutFile::parse(black_box(source)));
        });
        let template = template(fragments);
        let (visit, defaults) = (Visit::default(), Arc::new(Defaults::default()));
        group.throughput(Throughput::Elements(fragments as u64));
        group.bench_with_input(BenchmarkId::new("plan", fragments), &template, |bencher, template| {
            bencher.iter(|| plan(black_box(template), visit.clone(), &defaults, jiff::Timestamp::UNIX_EPOCH));
        });
        let plan = plan(&template, visit, &defaults, jiff::Timestamp::UNIX_EPOCH);
        let now = std::time::Instant::now();
        let content = Content::Fragment(Bytes::from_static(b"<p>a part</p>"));
        let arrival = Arrival { at: jiff::Timestamp::UNIX_EPOCH, delay: Duration::ZERO };
        let answer = Arc::new(Answer::new(content, &HeaderMap::new(), &plan.fetches[0], arrival));
        let outcomes = vec![Some(Outcome::fresh(answer, now + Duration::from_secs(1))); fragments];
        group.bench_with_input(BenchmarkId::new("stitch", fragments), &plan, |bencher, plan| {
            bencher.iter(|| stitch(black_box(plan), black_box(&outcomes)));
        });
        group.bench_with_input(BenchmarkId::new("headers", fragments), &plan, |bencher, plan| {
            bencher.iter(|| Headers::of(black_box(plan), black_box(&outcomes), true, now).at(now));
        });
    }
    group.finish();
}

criterion_group!(benches, pure);
criterion_main!(benches);
