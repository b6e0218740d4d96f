//! Twenty pages, each with one planted culprit among quick parts: the culprit of each page is named first. Time is paused, so that
//! a busy machine changes nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, stream};
use http::StatusCode;
use jiff::Timestamp;
use pasteup::engine::load::LoadRuns;
use pasteup::engine::load::blame::{Blame, Seen, blame};
use pasteup::engine::port::{UpstreamRequest, UpstreamResponse};
use pasteup::page::source::reason::Reason;
use pasteup::page::visit::context::Reader;
use tokio::time::sleep;

use crate::support::compositor::{
    ResponseFuture, TestCompositor, after, fails, hangs, html, html_cached, responds, stalls,
};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// How long most culprits take. Quick parts take 5 ms.
const SLOW: Duration = ms(150);

/// Does one thing for some of its requests, by their number from 1, and another for the others.
fn sometimes(
    is_culprit: fn(usize) -> bool,
    culprit: impl Fn(UpstreamRequest) -> ResponseFuture + Send + Sync + 'static,
    other: impl Fn(UpstreamRequest) -> ResponseFuture + Send + Sync + 'static,
) -> impl Fn(UpstreamRequest) -> ResponseFuture + Send + Sync + 'static {
    let count = AtomicUsize::new(0);
    move |request| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        if is_culprit(number) { culprit(request) } else { other(request) }
    }
}

/// Sends the head at once, and the body in so many pieces, with a pause before each.
fn trickles(pieces: usize, pause: Duration) -> impl Fn(UpstreamRequest) -> ResponseFuture + Send + Sync + 'static {
    move |_| {
        let body = stream::iter(0..pieces).then(move |_| async move {
            sleep(pause).await;
            Ok(Bytes::from_static(b"<p>x</p>"))
        });
        let headers = [(http::header::CONTENT_TYPE, "text/html".parse().unwrap())].into_iter().collect();
        async move { Ok(UpstreamResponse { status: StatusCode::OK, headers, body: body.boxed() }) }.boxed()
    }
}

/// The culprit's layout, between two quick parts; its name, which is that of its page and of its nanoservice; the kind of blame.
const CULPRITS: [(&str, &str, &str); 20] = [
    ("slow", "service", "<fragment name=slow />"),
    ("slow-body", "service", "<fragment name=slow-body />"),
    ("trickle", "service", "<fragment name=trickle />"),
    ("rare", "service", "<fragment name=rare />"),
    ("errors", "service", "<fragment name=errors>none</fragment>"),
    ("empty", "service", "<fragment name=empty />"),
    ("gone", "service", "<fragment name=gone />"),
    ("revalidates", "service", "<fragment name=revalidates />"),
    ("expires", "service", "<fragment name=expires />"),
    ("hangs", "service", "<fragment name=hangs timeout=300ms>late</fragment>"),
    ("stalls", "service", "<fragment name=stalls timeout=300ms>late</fragment>"),
    ("breaks", "retry", "<fragment name=breaks />"),
    ("parent", "service", "<fragment name=parent />"),
    ("child", "service", "<fragment name=around />"),
    ("spare", "service", "<fragment name=broken><fragment name=spare /></fragment>"),
    ("slower", "service", "<fragment name=slower /><fragment name=half />"),
    ("needed", "service", "<fragment name=needed required />"),
    ("own", "service", "<fragment name=own />"),
    ("asked", "service", "<fragment name=asked data-of=quick /><fragment id=slow-one name=asked data-of=slow />"),
    (
        "narrow",
        "lane",
        "<fragment id=n1 name=narrow data-of=1 /><fragment id=n2 name=narrow data-of=2 />\
         <fragment id=n3 name=narrow data-of=3 /><fragment id=n4 name=narrow data-of=4 />",
    ),
];

fn site() -> TestCompositor {
    let no_store = || html_cached("<p>x</p>", "no-store");
    let slow = || after(SLOW, no_store());
    let mut site = TestCompositor::new().defaults(|defaults| defaults.resilience.retries = 1);
    for (name, _, culprit) in CULPRITS {
        // The page with the personal part is cached but for that part.
        let quick = if name == "own" { "kept" } else { "quick" };
        let layout = format!(
            "+++\nroute = \"/{name}\"\n+++\n<fragment id=first name={quick} />\n{culprit}\n<fragment id=last name={quick} />\n"
        );
        site = site.layout(&format!("{name}.html"), &layout);
    }
    let etag = [("content-type", "text/html"), ("etag", "\"a\""), ("cache-control", "no-cache")];
    let (whole, same) = (responds(200, &etag, "<p>x</p>"), responds(304, &etag[1..], ""));
    site.fragment("quick", after(ms(5), no_store()))
        .fragment("kept", html_cached("<p>x</p>", "max-age=3600"))
        .fragment("slow", slow())
        .fragment("slow-body", trickles(1, SLOW))
        .fragment("trickle", trickles(6, SLOW / 6))
        // Also the second request, which is sent because the first one is slow.
        .fragment("rare", sometimes(|number| matches!(number % 50, 20 | 21), after(2 * SLOW, no_store()), no_store()))
        .fragment("errors", after(SLOW, responds(500, &[], "")))
        .fragment("empty", after(SLOW, responds(204, &[], "")))
        .fragment("gone", after(SLOW, responds(404, &[], "")))
        .fragment(
            "revalidates",
            after(
                SLOW,
                move |request: UpstreamRequest| {
                    if request.headers.contains_key("if-none-match") { same(request) } else { whole(request) }
                },
            ),
        )
        .fragment("expires", after(SLOW, html_cached("<p>x</p>", "max-age=1")))
        .fragment("hangs", hangs())
        .fragment("stalls", stalls())
        .fragment("breaks", sometimes(|number| number % 15 == 4, after(SLOW, fails(Reason::Connect)), no_store()))
        .fragment_with("parent", "composes = [\"inside\"]\n", after(SLOW, html("<fragment name=inside />")))
        .fragment("inside", after(ms(20), no_store()))
        .fragment_with("around", "composes = [\"child\"]\n", after(ms(20), html("<fragment name=child />")))
        .fragment("child", slow())
        .fragment("broken", after(ms(20), responds(500, &[], "")))
        .fragment("spare", slow())
        .fragment("slower", slow())
        .fragment("half", after(SLOW / 2, no_store()))
        .fragment("needed", slow())
        .fragment_with("own", "context = [\"cookie:uid\"]\n", after(SLOW, html_cached("<p>x</p>", "private, no-store")))
        .fragment_with("asked", "[params.of]\n", move |request: UpstreamRequest| {
            let is_slow = request.address.to_string().contains("slow");
            after(if is_slow { SLOW } else { ms(5) }, html_cached("<p>x</p>", "no-store"))(request)
        })
        .fragment_with("narrow", "[limits]\nconcurrency = 1\n[params.of]\n", after(ms(60), no_store()))
        .start()
}

#[tokio::test(start_paused = true)]
async fn twenty_planted_culprits_are_named_first() {
    let site = site();
    let runs = LoadRuns::new(200);
    runs.begin("run".to_owned(), "token".to_owned(), Timestamp::UNIX_EPOCH);
    let run = runs.live().expect("it has just begun");
    let reader = || Reader { cookies: vec![("uid".to_owned(), "1".to_owned())], ..Reader::default() };
    for _ in 0..100 {
        for (name, ..) in CULPRITS {
            site.serve_measured(&format!("/{name}"), reader(), &run).await;
        }
    }
    let report = runs.report("run").expect("it is current");
    let mut wrong = Vec::new();
    for (name, kind, _) in CULPRITS {
        let target = format!("/{name}");
        let page = report.pages.iter().find(|page| page.path == target).expect("it was requested");
        assert_eq!(page.requests, 100, "{name}");
        let slowest = f64::from(page.slowest[0].took_ms);
        let seen = Seen { target: &target, path: &target, p99_ms: slowest, mean_ms: slowest };
        let all: Vec<Blame> =
            blame(&report, &[seen]).into_iter().filter(|one| one.kind.as_str() != "network").collect();
        let is_right = all.first().is_some_and(|first| {
            first.kind.as_str() == kind && first.part.as_ref().is_some_and(|part| part.fragment == name)
        });
        if !is_right {
            wrong.push(format!("{name}: {all:#?}\n{:#?}", page.slowest[0]));
        }
    }
    assert!(wrong.is_empty(), "{} of {}: {}", wrong.len(), CULPRITS.len(), wrong.join("\n"));
}
