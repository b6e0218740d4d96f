//! Sends spans to a collector by OTLP: one for each page, one for each part that was looked up, one for each fetch that
//! nobody waited for. No page waits for the collector: where it is slow or away, spans are lost, and counted.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;
use opentelemetry::trace::{Link, SpanContext, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter as Otlp, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanExporter, SpanLinks, SpanProcessor as _,
};
use url::Url;

use crate::engine::page::{CachedPageCounts, Page};
use crate::engine::port::{Clock, Observer};
use crate::page::output::record;
use crate::page::policy::resilience::breaker::Circuit;
use crate::page::request::fetch::{Fetch, Wants};
use crate::page::response::outcome::{Attempt, LookupTiming, Span};
use crate::page::response::parsed::{Failure, ParsedResponse};
use crate::page::source::reason::Reason;

/// Spans that wait to be sent, at most: some megabytes.
const QUEUE: usize = 8192;
/// How long the collector may take for what it is sent at once.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a process that stops waits for the collector.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often it is told that spans are lost.
const TOLD: Duration = Duration::from_mins(1);

/// Sends spans.
pub struct Traces {
    sender: BatchSpanProcessor,
    scope: InstrumentationScope,
    queue: Arc<Queue>,
    clock: Arc<dyn Clock>,
}

impl Traces {
    /// Sends to `/v1/traces` below this URL.
    ///
    /// # Errors
    /// No HTTP client could be made, or what the environment says of OTLP is not understood.
    // The client blocks: the sender has a thread of its own, without tokio.
    pub fn new(collector: &Url, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let mut endpoint = collector.clone();
        if let Ok(mut path) = endpoint.path_segments_mut() {
            path.pop_if_empty().extend(["v1", "traces"]);
        }
        let client = reqwest::blocking::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .timeout(PATIENCE)
            .build()
            .map_err(|error| format!("telemetry.otlp: no HTTP client could be made: {error}"))?;
        let otlp = Otlp::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(endpoint)
            .build()
            .map_err(|error| format!("telemetry.otlp: {error}"))?;
        let queue = Arc::<Queue>::default();
        let config = BatchConfigBuilder::default().with_max_queue_size(QUEUE).build();
        let mut sender = BatchSpanProcessor::new(Counted { otlp, queue: Arc::clone(&queue) }, config);
        sender.set_resource(&resource());
        let scope = InstrumentationScope::builder("pasteup").with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Self { sender, scope, queue, clock })
    }

    /// Sends what is left, for a short while.
    pub fn stop(&self) {
        if let Err(OTelSdkError::Timeout(_)) = self.sender.shutdown_with_timeout(FAREWELL) {
            let left = self.queue.waiting.load(Ordering::Relaxed);
            self.queue.lose(left, "the process stops");
        }
        self.queue.tell_rest();
    }

    fn wall(&self) -> Wall {
        Wall(Instant::now(), self.clock.wall().into())
    }

    fn send(&self, spans: Vec<SpanData>) {
        self.queue.waiting.fetch_add(spans.len(), Ordering::Relaxed);
        spans.into_iter().for_each(|span| self.sender.on_end(span));
    }

    fn span(&self, span: Span, kind: SpanKind, name: impl Into<Cow<'static, str>>, times: Times) -> SpanData {
        SpanData {
            span_context: context(span, false),
            parent_span_id: span.parent.unwrap_or_default().into(),
            parent_span_is_remote: false,
            span_kind: kind,
            name: name.into(),
            start_time: times.0,
            end_time: times.1,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }

    fn page(&self, page: &Page, record: &record::Record, clock: &Wall) -> SpanData {
        let span = page.trace.span();
        let name = format!("GET {}", record.route);
        let times = (clock.at(page.times.0), clock.at(page.times.1));
        let mut attributes = vec![
            KeyValue::new("http.request.method", "GET"),
            KeyValue::new("http.route", record.route.clone()),
            KeyValue::new("http.response.status_code", i64::from(record.status)),
            KeyValue::new("pasteup.page.layout", record.layout.clone()),
        ];
        attributes.extend(record.owner.clone().map(|owner| KeyValue::new("pasteup.page.owner", owner)));
        let failed = StatusCode::from_u16(record.status).is_ok_and(|status| status.is_server_error());
        SpanData {
            // The parent is that of whoever asked.
            parent_span_is_remote: true,
            attributes,
            status: if failed { Status::error("") } else { Status::Unset },
            ..self.span(span, SpanKind::Server, name, times)
        }
    }

    /// The span of a part that was looked up. `again`: another part shares its lookup, and has the lookup's own span.
    fn part(
        &self,
        page: &Page,
        part: &record::PartRecord,
        course: &LookupTiming,
        again: bool,
        clock: &Wall,
    ) -> SpanData {
        let of_page = page.trace.span();
        let own = course.span.filter(|_| !again);
        let span = own.unwrap_or(Span { id: fastrand::u64(1..), parent: Some(of_page.id), ..of_page });
        // Where somebody else's request brought it, that is named.
        let links = course.sent.as_ref().map(|sent| sent.span).or(course.span).filter(|asked| asked.id != span.id);
        let times = (clock.at(course.began), clock.at(course.ended));
        let text = |key: &'static str, text: Option<&str>| text.map(|text| KeyValue::new(key, text.to_owned()));
        let number = |key: &'static str, number: Option<usize>| {
            number.and_then(|number| i64::try_from(number).ok()).map(|number| KeyValue::new(key, number))
        };
        let attributes = [
            text("pasteup.fragment.name", Some(&part.id)),
            text("pasteup.fragment.service", Some(&part.fragment)),
            text("pasteup.fragment.version", part.version.as_deref()),
            text("pasteup.fragment.outcome", Some(part.outcome)),
            text("pasteup.fragment.reason", part.reason),
            text("pasteup.fragment.cache", part.cache),
            text("pasteup.fragment.endpoint", part.endpoint.as_deref()),
            number("pasteup.fragment.tries", Some(part.tries)),
            number("pasteup.fragment.bytes", part.bytes),
        ];
        let outcome = page.outcomes[part.number].as_ref();
        let reason = outcome.and_then(|outcome| outcome.reason).filter(|reason| is_trouble(*reason));
        let detail = part.detail.clone().unwrap_or_else(|| part.why.clone());
        SpanData {
            attributes: attributes.into_iter().flatten().collect(),
            links: linked(links),
            status: reason.map_or(Status::Unset, |_| Status::error(detail)),
            ..self.span(span, SpanKind::Client, page.plan.holes[part.number].label().to_string(), times)
        }
    }
}

/// Whether a reason is one that somebody should look at.
const fn is_trouble(reason: Reason) -> bool {
    !matches!(reason, Reason::Condition | Reason::Empty | Reason::Revalidating | Reason::Gone)
}

impl Observer for Traces {
    fn in_flight(&self, _: &str, _: bool) {}
    fn circuit_changed(&self, _: &str, _: Circuit) {}

    fn page_composed(&self, page: &Page) {
        if !page.trace.span().sampled || !self.queue.has_room_for(page.outcomes.len() + 1) {
            return;
        }
        let (record, clock) = (page.record(), self.wall());
        let mut spans = vec![self.page(page, &record, &clock)];
        let mut shown = HashSet::new();
        for part in record.all() {
            let course = page.outcomes[part.number].as_ref().and_then(|outcome| outcome.course.as_deref());
            let Some(course) = course else { continue };
            let again = course.span.is_some_and(|span| !shown.insert(span.id));
            spans.push(self.part(page, part, course, again, &clock));
        }
        self.send(spans);
    }

    /// It was composed once, and that is in its trace: what is sent again asks nobody.
    fn cached_page_served(&self, _: &CachedPageCounts<'_>) {}

    fn needs_each_part(&self, span: Span) -> bool {
        span.sampled
    }

    fn responded(&self, _: Option<&str>, _: StatusCode, _: Duration, _: u64) {}

    fn fetched(&self, fetch: &Fetch, result: Result<&ParsedResponse, &Failure>, sent: &Attempt) {
        let is_asset = fetch.wants == Wants::Asset;
        // All others are parts of pages.
        if !(sent.ahead || is_asset) || !sent.span.sampled || !self.queue.has_room_for(1) {
            return;
        }
        // What is fetched for a browser is part of no page.
        let span = if is_asset { Span { parent: None, ..sent.span } } else { sent.span };
        let name = if is_asset { "asset".to_owned() } else { format!("{} ahead", fetch.id) };
        let clock = self.wall();
        let mut attributes = vec![
            KeyValue::new("pasteup.fragment.name", fetch.id.to_string()),
            KeyValue::new("pasteup.fragment.service", fetch.service.to_string()),
            KeyValue::new("pasteup.fragment.endpoint", sent.upstream.to_string()),
            KeyValue::new("pasteup.fragment.tries", i64::try_from(sent.tries).unwrap_or(i64::MAX)),
        ];
        let reason = result.err().map(|failure| failure.reason);
        attributes.extend(reason.map(|reason| KeyValue::new("pasteup.fragment.reason", reason.as_str())));
        let version = fetch.manifest.as_ref().map(|manifest| manifest.version.to_string());
        attributes.extend(version.map(|version| KeyValue::new("pasteup.fragment.version", version)));
        let status = result.err().map_or(Status::Unset, |failure| Status::error(failure.detail.clone()));
        let times = (clock.at(sent.began), clock.at(sent.ended));
        self.send(vec![SpanData { attributes, status, ..self.span(span, SpanKind::Client, name, times) }]);
    }
}

fn context(span: Span, is_remote: bool) -> SpanContext {
    SpanContext::new(span.trace.into(), span.id.into(), TraceFlags::SAMPLED, is_remote, TraceState::NONE)
}

fn linked(span: Option<Span>) -> SpanLinks {
    let mut links = SpanLinks::default();
    links.links.extend(span.map(|span| Link::with_context(context(span, false))));
    links
}

/// Who sends. What the environment says of that (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`) is over it.
fn resource() -> Resource {
    let told = Resource::builder().build();
    let attributes = [("service.name", "pasteup"), ("service.version", env!("CARGO_PKG_VERSION"))];
    let unsaid = attributes.into_iter().filter(|(key, _)| {
        let told = told.get(&(*key).into()).map(|value| value.to_string());
        told.is_none_or(|told| told.starts_with("unknown_service"))
    });
    Resource::builder().with_attributes(unsaid.map(|(key, value)| KeyValue::new(key, value))).build()
}

type Times = (SystemTime, SystemTime);

/// The time of day of instants.
struct Wall(Instant, SystemTime);

impl Wall {
    fn at(&self, instant: Instant) -> SystemTime {
        self.1.checked_sub(self.0.saturating_duration_since(instant)).unwrap_or(self.1)
    }
}

/// What waits to be sent, and what is lost.
#[derive(Debug, Default)]
struct Queue {
    waiting: AtomicUsize,
    lost: Mutex<Lost>,
}

/// Spans that were lost since it was last told.
#[derive(Debug, Default)]
struct Lost {
    spans: usize,
    told: Option<Instant>,
}

impl Queue {
    /// Whether so many more can wait. Where not, they are lost, and need not be made.
    fn has_room_for(&self, spans: usize) -> bool {
        // Several may ask at once and all be let in; the sender's own queue is the bound then.
        let has_room = self.waiting.load(Ordering::Relaxed) + spans <= QUEUE;
        if !has_room {
            self.lose(spans, "too many wait to be sent");
        }
        has_room
    }

    fn lose(&self, spans: usize, why: &str) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.spans += spans;
        if lost.spans > 0 && lost.told.is_none_or(|told| told.elapsed() >= TOLD) {
            tracing::warn!(spans = lost.spans, why, "spans are lost on their way to telemetry.otlp");
            *lost = Lost { spans: 0, told: Some(Instant::now()) };
        }
    }

    fn tell_rest(&self) {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if lost.spans > 0 {
            tracing::warn!(spans = lost.spans, "more spans were lost on their way to telemetry.otlp");
        }
    }
}

/// Sends, and notes what left the queue and what did not arrive.
#[derive(Debug)]
struct Counted {
    otlp: Otlp,
    queue: Arc<Queue>,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.otlp.export(batch).await;
        self.queue.waiting.fetch_sub(spans, Ordering::Relaxed);
        if let Err(error) = &result {
            self.queue.lose(spans, &error.to_string());
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.otlp.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.otlp.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.otlp.set_resource(resource);
    }
}
