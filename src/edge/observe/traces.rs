//! Sends spans to a collector over OTLP: one per page, one per part that was looked up, one per fetch that no page waited
//! for. No page ever waits for the collector: if it is slow or away, spans are dropped, and their number is logged.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;
use opentelemetry::trace::{Link, SpanContext, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{RetryPolicy, SpanExporter as Otlp, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanExporter, SpanLinks, SpanProcessor as _,
};
use url::Url;

use crate::engine::page::{CachedPageCounts, Page};
use crate::engine::port::{CircuitChange, Clock, Observer};
use crate::page::output::record;
use crate::page::request::fetch::{Fetch, FetchKind};
use crate::page::response::outcome::{Attempt, LookupTiming, Span};
use crate::page::response::parsed::{Failure, ParsedResponse};
use crate::page::source::reason::Reason;

use super::collector::Client;
use super::resource;

/// Maximum number of spans that wait to be sent, which take a few megabytes.
const MAX_WAITING: usize = 8192;
/// Longest time for one request to the collector. The exporter retries for as long as that, with a growing pause or the one that
/// the collector asks for, while it is away or answers 429, 502, 503 or 504.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time that a stopping process waits for the collector.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Shortest time between two warnings about dropped spans.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// An observer that sends spans to a collector.
pub struct Traces {
    sender: BatchSpanProcessor,
    scope: InstrumentationScope,
    queue: Arc<Queue>,
    clock: Arc<dyn Clock>,
}

impl Traces {
    /// Prepares to send spans to `/v1/traces` below this URL.
    ///
    /// # Errors
    /// The HTTP client could not be built, or the OTLP variables of the environment are invalid.
    // The client is a blocking one: spans are sent from a separate thread, without tokio.
    pub fn new(collector: &Url, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let mut endpoint = collector.clone();
        if let Ok(mut path) = endpoint.path_segments_mut() {
            path.pop_if_empty().extend(["v1", "traces"]);
        }
        let client = reqwest::blocking::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| format!("telemetry.otlp: the HTTP client could not be built: {error}"))?;
        let queue = Arc::<Queue>::default();
        let reporting = Arc::clone(&queue);
        let otlp = Otlp::builder()
            .with_http()
            .with_http_client(Client { client, report: Box::new(move |spans, why| reporting.rejected(spans, why)) })
            .with_endpoint(endpoint)
            .with_retry_policy(RetryPolicy::default().with_max_retries(usize::MAX))
            .build()
            .map_err(|error| format!("telemetry.otlp: {error}"))?;
        let config = BatchConfigBuilder::default().with_max_queue_size(MAX_WAITING).build();
        let mut sender = BatchSpanProcessor::new(CountingExporter { otlp, queue: Arc::clone(&queue) }, config);
        sender.set_resource(&resource::of_environment());
        let scope = InstrumentationScope::builder("pasteup").with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Self { sender, scope, queue, clock })
    }

    /// Sends the spans that still wait, for at most `STOP_TIMEOUT`.
    pub fn stop(&self) {
        if let Err(OTelSdkError::Timeout(_)) = self.sender.shutdown_with_timeout(STOP_TIMEOUT) {
            let left = self.queue.waiting.load(Ordering::Relaxed);
            self.queue.drop_spans(left, "the process stops");
        }
        self.queue.warn_rest();
    }

    fn wall(&self) -> WallClock {
        WallClock { now: Instant::now(), wall: self.clock.wall().into() }
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

    fn page(&self, page: &Page, record: &record::Record, clock: &WallClock) -> SpanData {
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
            // The parent is the span of the client, which sent its id.
            parent_span_is_remote: true,
            attributes,
            status: if failed { Status::error("") } else { Status::Unset },
            ..self.span(span, SpanKind::Server, name, times)
        }
    }

    /// The span of the start of a program that a part waited for, below the span of the part.
    fn start(&self, part: &SpanData, timing: &LookupTiming, clock: &WallClock) -> Option<SpanData> {
        let (began, ended) = match timing.attempt.as_deref() {
            Some(attempt) => (attempt.start?, if attempt.tries > 0 { attempt.began } else { attempt.ended }),
            None => return None,
        };
        let span = Span {
            trace: u128::from_be_bytes(part.span_context.trace_id().to_bytes()),
            id: fastrand::u64(1..),
            parent: Some(u64::from_be_bytes(part.span_context.span_id().to_bytes())),
            sampled: true,
        };
        let times = (clock.at(began), clock.at(ended.max(began)));
        Some(self.span(span, SpanKind::Internal, "start", times))
    }

    /// The span of a part that was looked up. `shared` is whether another part has the same lookup, and its span.
    fn part(
        &self,
        page: &Page,
        part: &record::PartRecord,
        timing: &LookupTiming,
        shared: bool,
        clock: &WallClock,
    ) -> SpanData {
        let of_page = page.trace.span();
        let own = timing.span.filter(|_| !shared);
        let span = own.unwrap_or(Span { id: fastrand::u64(1..), parent: Some(of_page.id), ..of_page });
        // If the response came through another span's request, the link names that span.
        let sender =
            timing.attempt.as_ref().map(|sent| sent.span).or(timing.span).filter(|sender| sender.id != span.id);
        let times = (clock.at(timing.began), clock.at(timing.ended));
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
        let reason = outcome.and_then(|outcome| outcome.reason).filter(|reason| is_failure(*reason));
        let detail = part.detail.clone().unwrap_or_else(|| part.why.clone());
        SpanData {
            attributes: attributes.into_iter().flatten().collect(),
            links: links(sender),
            status: reason.map_or(Status::Unset, |_| Status::error(detail)),
            ..self.span(span, SpanKind::Client, part.fragment.clone(), times)
        }
    }
}

/// Whether a reason marks its span as failed.
const fn is_failure(reason: Reason) -> bool {
    !matches!(reason, Reason::Condition | Reason::Empty | Reason::Revalidating | Reason::Gone)
}

impl Observer for Traces {
    fn in_flight(&self, _: &str, _: bool) {}
    fn circuit_changed(&self, _: &CircuitChange<'_>) {}

    fn page_composed(&self, page: &Page) {
        if !page.trace.span().sampled || !self.queue.has_room_for(page.outcomes.len() + 1) {
            return;
        }
        let (record, clock) = (page.record(), self.wall());
        let mut spans = vec![self.page(page, &record, &clock)];
        let mut lookups = HashSet::new();
        for part in record.all() {
            let timing = page.outcomes[part.number].as_ref().and_then(|outcome| outcome.timing.as_deref());
            let Some(timing) = timing else { continue };
            let shared = timing.span.is_some_and(|span| !lookups.insert(span.id));
            let span = self.part(page, part, timing, shared, &clock);
            spans.extend(self.start(&span, timing, &clock));
            spans.push(span);
        }
        self.send(spans);
    }

    /// Does nothing: serving a cached page sends no requests, and composing it was traced.
    fn cached_page_served(&self, _: &CachedPageCounts<'_>) {}

    fn needs_each_part(&self, span: Span) -> bool {
        span.sampled
    }

    fn responded(&self, _: Option<&str>, _: StatusCode, _: Duration, _: u64) {}

    fn fetched(&self, fetch: &Fetch, result: Result<&ParsedResponse, &Failure>, sent: &Attempt) {
        let is_asset = fetch.kind == FetchKind::Asset;
        // Every other fetch belongs to a part of a page, and has its span there.
        if !(sent.background || is_asset) || !sent.span.sampled || !self.queue.has_room_for(1) {
            return;
        }
        // An asset is fetched for a browser and belongs to no page.
        let span = if is_asset { Span { parent: None, ..sent.span } } else { sent.span };
        let name = if is_asset { "asset".to_owned() } else { format!("{} ahead", fetch.nanoservice) };
        let clock = self.wall();
        let mut attributes = vec![
            KeyValue::new("pasteup.fragment.name", fetch.id.to_string()),
            KeyValue::new("pasteup.fragment.service", fetch.nanoservice.to_string()),
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

fn links(span: Option<Span>) -> SpanLinks {
    let mut links = SpanLinks::default();
    links.links.extend(span.map(|span| Link::with_context(context(span, false))));
    links
}

type Times = (SystemTime, SystemTime);

/// Converts instants to times of day.
struct WallClock {
    now: Instant,
    /// The time of day at `now`.
    wall: SystemTime,
}

impl WallClock {
    fn at(&self, instant: Instant) -> SystemTime {
        self.wall.checked_sub(self.now.saturating_duration_since(instant)).unwrap_or(self.wall)
    }
}

/// Counts the spans that wait to be sent and those that were dropped.
#[derive(Debug, Default)]
struct Queue {
    waiting: AtomicUsize,
    dropped: Mutex<Dropped>,
}

/// Spans that were dropped since the last warning.
#[derive(Debug, Default)]
struct Dropped {
    spans: usize,
    /// When the last warning was logged.
    warned: Option<Instant>,
}

impl Queue {
    /// Whether this many more spans can wait. If not, they count as dropped, and need not be made.
    fn has_room_for(&self, spans: usize) -> bool {
        // Several threads may pass this check at once; the queue of the sender is the limit then.
        let has_room = self.waiting.load(Ordering::Relaxed) + spans <= MAX_WAITING;
        if !has_room {
            self.drop_spans(spans, "too many wait to be sent");
        }
        has_room
    }

    fn drop_spans(&self, spans: usize, why: &str) {
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        dropped.spans += spans;
        if dropped.spans > 0 && dropped.warned.is_none_or(|warned| warned.elapsed() >= WARNING_INTERVAL) {
            tracing::warn!(spans = dropped.spans, why, "dropped spans for telemetry.otlp");
            *dropped = Dropped { spans: 0, warned: Some(Instant::now()) };
        }
    }

    /// Reports what the collector states about spans that arrived: it rejected some, or only complains.
    fn rejected(&self, spans: usize, message: &str) {
        if spans > 0 {
            return self.drop_spans(spans, &format!("the collector rejected them: {message}"));
        }
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        if dropped.warned.is_none_or(|warned| warned.elapsed() >= WARNING_INTERVAL) {
            tracing::warn!(why = message, "the collector of telemetry.otlp accepted all spans, but complains");
            dropped.warned = Some(Instant::now());
        }
    }

    /// Logs the spans that were dropped since the last warning.
    fn warn_rest(&self) {
        let dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        if dropped.spans > 0 {
            tracing::warn!(spans = dropped.spans, "dropped more spans for telemetry.otlp");
        }
    }
}

/// Exports spans, and counts those that left the queue and those that did not arrive.
#[derive(Debug)]
struct CountingExporter {
    otlp: Otlp,
    queue: Arc<Queue>,
}

impl SpanExporter for CountingExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.otlp.export(batch).await;
        self.queue.waiting.fetch_sub(spans, Ordering::Relaxed);
        if let Err(error) = &result {
            self.queue.drop_spans(spans, &error.to_string());
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
