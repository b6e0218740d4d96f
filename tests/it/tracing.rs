//! Spans, from a real process to a real collector.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::routing::post;
use http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::support::process::{Server, TestSite, client};
use crate::support::service::{RawService, serve_router};

/// The trace id that a trusted client sends.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// The span id that a trusted client sends.
const PARENT: &str = "00f067aa0ba902b7";

/// A collector that stores all spans it receives.
struct Collector {
    address: String,
    spans: watch::Receiver<Vec<Span>>,
    services: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    async fn start() -> Self {
        let (sender, spans) = watch::channel(Vec::new());
        let services = Arc::<Mutex<Vec<String>>>::default();
        let names = Arc::clone(&services);
        let receive = move |body: axum::body::Bytes| async move {
            let sent = ExportTraceServiceRequest::decode(body).unwrap();
            for resource in sent.resource_spans {
                names.lock().unwrap().push(texts(&resource.resource.unwrap().attributes)["service.name"].clone());
                let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                sender.send_modify(|known| known.extend(spans));
            }
        };
        let address = serve_router(axum::Router::new().route("/v1/traces", post(receive))).await;
        Self { address: format!("http://{address}"), spans, services }
    }

    /// Waits until a matching span has arrived, and returns all spans.
    async fn until(&mut self, matches: impl Fn(&Span) -> bool) -> Vec<Span> {
        let known = timeout(Duration::from_secs(30), self.spans.wait_for(|spans| spans.iter().any(&matches))).await;
        known.expect("the span arrives").unwrap().clone()
    }
}

/// Trusts the trace headers of the test.
const TRUSTING: (&str, &str) = ("PASTEUP_CONTEXT__TRUST_PROXY", "[\"127.0.0.1\"]");
/// Sends spans soon.
const SOON: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "50");

/// A server that sends its spans soon, and trusts the trace headers of its clients.
async fn serve(site: TestSite, collector: &str) -> Server {
    let environment = [("PASTEUP_TELEMETRY__OTLP", collector), TRUSTING, ("PASTEUP_PAGE__STREAM", "false"), SOON];
    site.serve_with(&environment).await
}

async fn get(server: &Server, trace: &str, sampled: bool) -> String {
    let parent = format!("00-{trace}-{PARENT}-0{}", u8::from(sampled));
    client().get(&server.pages).header("traceparent", parent).send().await.unwrap().text().await.unwrap()
}

/// A nanoservice that responds with these headers, and records each `traceparent` that it receives.
async fn recording(headers: &str, pause: Duration) -> (RawService, Arc<Mutex<Vec<String>>>) {
    let parents = Arc::<Mutex<Vec<String>>>::default();
    let (recorded, headers) = (Arc::clone(&parents), headers.to_owned());
    let service = RawService::responding(move |request| {
        recorded.lock().unwrap().push(request.header("traceparent").unwrap().to_owned());
        std::thread::sleep(pause);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\nConnection: close\r\n";
        Some(format!("{head}{headers}\r\nhi").into_bytes())
    });
    (service.await, parents)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue]) -> HashMap<String, String> {
    let text = |value: &Option<opentelemetry_proto::tonic::common::v1::AnyValue>| match value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|one| (one.key.clone(), text(&one.value).unwrap())).collect()
}

fn is_page(span: &Span, trace: &str) -> bool {
    span.kind() == SpanKind::Server && hex(&span.trace_id) == trace
}

fn part<'a>(spans: &'a [Span], trace: &str, name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name && hex(&span.trace_id) == trace).unwrap_or_else(|| panic!("{spans:#?}"))
}

#[tokio::test]
async fn a_page_and_its_parts_are_spans_and_nanoservices_receive_theirs() {
    let mut collector = Collector::start().await;
    let (service, parents) = recording("", Duration::ZERO).await;
    let (silent_parent, silent) = {
        let parent = Arc::<Mutex<String>>::default();
        let recorded = Arc::clone(&parent);
        let silent = RawService::responding(move |request| {
            *recorded.lock().unwrap() = request.header("traceparent").unwrap().to_owned();
            None
        });
        (parent, silent.await)
    };
    let site = TestSite::new()
        .front("<fragment name=a />, <fragment name=late timeout=200ms>-</fragment>, <fragment name=dead>-</fragment>")
        .service("a", service.address)
        .service("late", silent.address)
        .service("dead", "127.0.0.1:1".parse().unwrap());
    let server = serve(site, &collector.address).await;
    assert_eq!(get(&server, TRACE, true).await, "hi, -, -");

    let spans = collector.until(|span| is_page(span, TRACE)).await;
    assert_eq!(spans.len(), 4, "{spans:#?}");
    let page = spans.iter().find(|span| is_page(span, TRACE)).unwrap();
    assert_eq!((page.name.as_str(), hex(&page.parent_span_id).as_str()), ("GET /", PARENT));
    let attributes = texts(&page.attributes);
    assert_eq!((attributes["http.route"].as_str(), attributes["http.response.status_code"].as_str()), ("/", "200"));
    for name in ["a", "late", "dead"] {
        let part = part(&spans, TRACE, name);
        assert_eq!(part.parent_span_id, page.span_id);
        assert_eq!(part.kind(), SpanKind::Client);
        assert!(page.start_time_unix_nano <= part.start_time_unix_nano);
        assert!(part.start_time_unix_nano <= part.end_time_unix_nano);
        assert!(part.end_time_unix_nano <= page.end_time_unix_nano);
    }
    let a = part(&spans, TRACE, "a");
    assert_eq!(*parents.lock().unwrap(), [format!("00-{TRACE}-{}-01", hex(&a.span_id))]);
    let attributes = texts(&a.attributes);
    let upstream = format!("http://{}", service.address);
    for (key, value) in [
        ("name", "a"),
        ("service", "a"),
        ("version", "1.0.0"),
        ("outcome", "fresh"),
        ("cache", "miss"),
        ("endpoint", upstream.as_str()),
        ("tries", "1"),
        ("bytes", "2"),
    ] {
        assert_eq!(attributes[&format!("pasteup.fragment.{key}")], value, "{attributes:?}");
    }
    assert!(a.status.clone().unwrap_or_default().message.is_empty());
    // The span has the id that the nanoservice received, although the page stopped waiting for it.
    let late = part(&spans, TRACE, "late");
    assert_eq!(*silent_parent.lock().unwrap(), format!("00-{TRACE}-{}-01", hex(&late.span_id)));
    assert_eq!(texts(&late.attributes)["pasteup.fragment.reason"], "timeout");
    assert!(late.end_time_unix_nano - late.start_time_unix_nano >= 190_000_000);
    let dead = part(&spans, TRACE, "dead");
    let attributes = texts(&dead.attributes);
    assert_eq!(
        (attributes["pasteup.fragment.outcome"].as_str(), attributes["pasteup.fragment.reason"].as_str()),
        ("fallback", "connect")
    );
    assert!(!dead.status.clone().unwrap().message.is_empty());
    assert_eq!(collector.services.lock().unwrap()[0], "pasteup");
}

#[tokio::test]
async fn unsampled_requests_are_not_traced_and_a_cached_page_is_traced_once() {
    let mut collector = Collector::start().await;
    let (service, parents) = recording("Cache-Control: max-age=60\r\n", Duration::ZERO).await;
    let site = TestSite::new().front("<fragment name=a />").service("a", service.address);
    let site = site.file("layouts/other.html", "+++\nroute = \"/other\"\n+++\nother");
    let server = serve(site, &collector.address).await;
    let trace = |number: u8| format!("{number:032x}");
    for number in 1..=6 {
        get(&server, &trace(number), number > 1).await;
    }
    assert!(parents.lock().unwrap()[0].ends_with("-00"), "the nanoservice receives the sampling decision");
    // A request for another page, whose span arrives after all those before it.
    let parent = format!("00-{TRACE}-{PARENT}-01");
    client().get(format!("{}/other", server.pages)).header("traceparent", parent).send().await.unwrap();
    let spans = collector.until(|span| is_page(span, TRACE)).await;
    assert!(!spans.iter().any(|span| hex(&span.trace_id) == trace(1)), "{spans:#?}");
    assert_eq!(texts(&part(&spans, &trace(2), "a").attributes)["pasteup.fragment.cache"], "hit");
    assert!(!spans.iter().any(|span| is_page(span, &trace(6))), "from the page cache: {spans:#?}");
}

#[tokio::test]
async fn a_collapsed_lookup_links_to_the_span_of_the_request() {
    let mut collector = Collector::start().await;
    let (service, parents) = recording("Cache-Control: max-age=60\r\n", Duration::from_millis(400)).await;
    let site = TestSite::new().front("<fragment name=a />").service("a", service.address);
    let server = serve(site, &collector.address).await;
    let other = TRACE.replace('4', "5");
    tokio::join!(get(&server, TRACE, true), get(&server, &other, true));
    collector.until(|span| is_page(span, TRACE)).await;
    let spans = collector.until(|span| is_page(span, &other)).await;
    let parents = parents.lock().unwrap().clone();
    assert_eq!(parents.len(), 1);
    let (mine, others) = (part(&spans, TRACE, "a"), part(&spans, &other, "a"));
    let (sender, joined) = if parents[0].contains(TRACE) { (mine, others) } else { (others, mine) };
    assert!(parents[0].contains(&hex(&sender.span_id)) && sender.links.is_empty());
    assert_eq!(texts(&joined.attributes)["pasteup.fragment.cache"], "joined");
    assert_eq!((&joined.links[0].trace_id, &joined.links[0].span_id), (&sender.trace_id, &sender.span_id));
}

#[tokio::test]
async fn a_background_refresh_has_a_span_of_its_own() {
    let mut collector = Collector::start().await;
    let (service, parents) = recording("Cache-Control: max-age=0, stale-while-revalidate=60\r\n", Duration::ZERO).await;
    let site = TestSite::new().front("<fragment name=a />").service("a", service.address);
    let server = serve(site, &collector.address).await;
    server.text("/").await;
    get(&server, TRACE, true).await;
    let spans = collector.until(|span| span.name == "a ahead").await;
    let (ahead, page) = (part(&spans, TRACE, "a ahead"), spans.iter().find(|span| is_page(span, TRACE)));
    assert!(parents.lock().unwrap()[1].contains(&hex(&ahead.span_id)));
    let page = match page {
        Some(page) => page.clone(),
        None => {
            collector.until(|span| is_page(span, TRACE)).await.into_iter().find(|span| is_page(span, TRACE)).unwrap()
        }
    };
    assert_eq!(ahead.parent_span_id, page.span_id);
}

#[tokio::test]
async fn a_hanging_collector_delays_neither_pages_nor_the_stop() {
    let hangs = RawService::responding(|_| None).await;
    let (service, _) = recording("", Duration::ZERO).await;
    let site = TestSite::new().front("<fragment name=a />").service("a", service.address);
    let mut server = serve(site, &format!("http://{}", hangs.address)).await;
    get(&server, TRACE, true).await;
    while hangs.requests() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let began = Instant::now();
    for _ in 0..10 {
        assert_eq!(get(&server, TRACE, true).await, "hi");
    }
    // Far less than the ten seconds of one request to the collector.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let began = Instant::now();
    server.process.terminate();
    assert!(server.process.exit_status().await.success());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    server.process.line("dropped spans").await;
}

#[tokio::test]
async fn a_collector_that_is_overloaded_for_a_while_gets_the_spans_and_what_it_rejects_is_logged() {
    let (requests, name) = (Arc::new(AtomicUsize::new(0)), Arc::<Mutex<String>>::default());
    let (counted, received) = (Arc::clone(&requests), Arc::clone(&name));
    let receive = move |body: axum::body::Bytes| async move {
        // Four refusals take longer than the exporter's own number of retries.
        if counted.fetch_add(1, Ordering::SeqCst) < 4 {
            return (StatusCode::SERVICE_UNAVAILABLE, Vec::new());
        }
        let sent = ExportTraceServiceRequest::decode(body).unwrap();
        let attributes = texts(&sent.resource_spans[0].resource.clone().unwrap().attributes);
        *received.lock().unwrap() = format!("{} of {}", attributes["service.name"], attributes["team"]);
        let partial = ExportTracePartialSuccess { rejected_spans: 2, error_message: "over quota\u{1b}".to_owned() };
        (StatusCode::OK, ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec())
    };
    let address = serve_router(axum::Router::new().route("/v1/traces", post(receive))).await;
    let (service, _) = recording("", Duration::ZERO).await;
    let site = TestSite::new().front("<fragment name=a />").service("a", service.address);
    let collector = format!("http://{address}");
    let environment = [
        ("PASTEUP_TELEMETRY__OTLP", collector.as_str()),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,team=front%20page"),
        ("OTEL_SERVICE_NAME", "shop"),
        TRUSTING,
        SOON,
    ];
    let mut server = site.serve_with(&environment).await;
    get(&server, TRACE, true).await;
    server.process.line("the collector rejected them: over quota").await;
    assert_eq!(requests.load(Ordering::SeqCst), 5);
    assert_eq!(*name.lock().unwrap(), "shop of front page");
}

#[tokio::test]
async fn an_unreachable_collector_is_logged_once() {
    let (service, _) = recording("", Duration::ZERO).await;
    let site = TestSite::new().front("<fragment name=a />").service("a", service.address);
    // The exporter gives up after this time, which is ten seconds otherwise.
    let environment = [("PASTEUP_TELEMETRY__OTLP", "http://127.0.0.1:1"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "300")];
    let mut server = site.serve_with(&[&environment[..], &[TRUSTING, SOON]].concat()).await;
    for _ in 0..3 {
        assert_eq!(get(&server, TRACE, true).await, "hi");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.process.line("dropped spans").await;
    server.process.terminate();
    assert!(server.process.exit_status().await.success());
    let log = server.process.output();
    assert_eq!(log.matches("dropped spans").count(), 1, "{log}");
}

#[tokio::test]
async fn a_part_that_waited_for_its_program_has_a_span_for_the_start_below_its_own() {
    let mut collector = Collector::start().await;
    let manifest = "name = \"a\"\nversion = \"1.0.0\"\npath = \"/a.html\"\n\
                    command = [\"sh\", \"-c\", 'exec python3 -m http.server --bind 127.0.0.1 \"$PORT\"']\n";
    let site = TestSite::new()
        .front("<fragment name=a timeout=30s />")
        .file("pasteup.toml", "[page]\nbudget = \"30s\"\n")
        .file("fragments/a/fragment.toml", manifest)
        .file("fragments/a/a.html", "<p>started</p>");
    let server = serve(site, &collector.address).await;
    assert_eq!(get(&server, TRACE, true).await, "<p>started</p>");
    let spans = collector.until(|span| span.name == "start").await;
    let start = spans.iter().find(|span| span.name == "start").unwrap();
    let part = spans.iter().find(|span| span.name == "a").expect("both are sent at once");
    assert_eq!(start.parent_span_id, part.span_id);
    assert!(part.start_time_unix_nano <= start.start_time_unix_nano, "{start:?}");
    assert!(start.end_time_unix_nano <= part.end_time_unix_nano, "{start:?}");
}
