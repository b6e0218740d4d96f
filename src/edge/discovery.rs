//! Fetches the manifests that nanoservices publish about themselves, and fetches them again as their caching headers state.
//! If a source disappears, that is reported, and its last manifests stay in use.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::port::{Clock, Upstream, UpstreamRequest};
use crate::page::manifest::grants::PATH;
use crate::page::manifest::upstreams::ServiceUrl;
use crate::page::policy::cache::directives::{Arrival, CacheDirectives};
use crate::page::policy::cache::validation::Validation;
use crate::page::request::address::Address;
use crate::page::source::diagnostic::{Code, Diagnostic, Located, Source};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::join_all;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// Longest time from a request to the last byte of its response.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum size of a response, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// Shortest time between two requests to one source, whatever its caching headers state.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Longest time between two requests to one source, whatever its caching headers state.
const MAX_INTERVAL: Duration = Duration::from_hours(1);

/// The documents and warnings of all sources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovered {
    /// The last document of each source, under its URL.
    pub documents: Vec<Arc<Source>>,
    /// One warning for each source whose last request failed.
    pub failures: Vec<Diagnostic>,
}

/// The sources of manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// URLs of the nanoservices, each with its position in the settings.
    pub urls: Vec<Located<ServiceUrl>>,
    /// How long a document is fresh if its source does not state that.
    pub refresh: Duration,
    /// The DNS servers that services are looked up at. None: those of the system.
    pub resolver: Vec<SocketAddr>,
}

/// Fetches the documents of sources, each when it is due.
pub struct Discovery {
    upstream: Arc<dyn Upstream>,
    refresh: Duration,
    sources: Vec<SourceState>,
}

struct SourceState {
    url: Located<ServiceUrl>,
    document: Option<Arc<Source>>,
    validation: Option<Box<Validation>>,
    failure: Option<Diagnostic>,
    due: Instant,
}

/// A successful response of a source.
enum Response {
    Document(String, HeaderMap),
    NotModified(HeaderMap),
}

impl Discovery {
    /// Prepares to fetch these sources. The upstream must allow private addresses: an operator wrote the URLs.
    #[must_use]
    pub fn new(sources: &Sources, upstream: Arc<dyn Upstream>) -> Self {
        let mut discovery = Self { upstream, refresh: sources.refresh, sources: Vec::new() };
        discovery.set_sources(sources);
        discovery
    }

    /// Starts from documents that were fetched before.
    #[must_use]
    pub fn resume(mut self, discovered: &Discovered) -> Self {
        for source in &mut self.sources {
            source.document = discovered.documents.iter().find(|document| document.file == source.file()).cloned();
        }
        self
    }

    /// Fetches the documents of all sources that are due.
    pub async fn fetch_due(&mut self, wall: Timestamp) {
        let now = Instant::now();
        let (upstream, refresh) = (&*self.upstream, self.refresh);
        join_all(self.sources.iter_mut().filter(|source| source.due <= now).map(|source| async move {
            let response = timeout(TIMEOUT, source.fetch(upstream)).await;
            let response = response.unwrap_or_else(|_| Err(format!("no response within {TIMEOUT:?}")));
            source.update(response, refresh, wall);
        }))
        .await;
    }

    /// Fetches each source when it is due, and publishes what has changed. `sources` may replace the sources at any time;
    /// dropping its sender ends this.
    pub async fn run(
        mut self,
        mut sources: watch::Receiver<Sources>,
        discovered: watch::Sender<Discovered>,
        clock: Arc<dyn Clock>,
    ) {
        loop {
            let due = self.next_due();
            tokio::select! {
                changed = sources.changed() => match changed {
                    Ok(()) => {
                        let sources = sources.borrow_and_update().clone();
                        self.set_sources(&sources);
                    }
                    Err(_) => return,
                },
                () = async { tokio::time::sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {}
            }
            self.fetch_due(clock.wall()).await;
            let now = self.discovered();
            discovered.send_if_modified(|before| {
                let changed = *before != now;
                *before = now;
                changed
            });
        }
    }

    /// The current documents and warnings of all sources.
    #[must_use]
    pub fn discovered(&self) -> Discovered {
        Discovered {
            documents: self.sources.iter().filter_map(|source| source.document.clone()).collect(),
            failures: self.sources.iter().filter_map(|source| source.failure.clone()).collect(),
        }
    }

    /// Replaces the sources. Those that were there before keep their documents.
    fn set_sources(&mut self, sources: &Sources) {
        let mut before = std::mem::take(&mut self.sources);
        let now = Instant::now();
        self.refresh = sources.refresh;
        for url in &sources.urls {
            let same = before.iter().position(|source| source.url.value == url.value);
            let document = same.and_then(|index| before.swap_remove(index).document);
            self.sources.push(SourceState { url: url.clone(), document, validation: None, failure: None, due: now });
        }
    }

    /// When the next source is due; `None` if there are no sources.
    fn next_due(&self) -> Option<Instant> {
        self.sources.iter().map(|source| source.due).min()
    }
}

impl SourceState {
    /// The name of its document in diagnostics.
    fn file(&self) -> String {
        format!("{}{PATH}", self.url.value.origin())
    }

    async fn fetch(&self, upstream: &dyn Upstream) -> Result<Response, String> {
        let ServiceUrl { naming, url } = &self.url.value;
        let url = url.join(PATH).map_err(|error| error.to_string())?;
        let mut headers: HeaderMap = self.validation.iter().flat_map(|validation| validation.conditions()).collect();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let request = UpstreamRequest {
            method: Method::GET,
            address: Address::of(*naming, url),
            headers,
            body: Bytes::new(),
            manifest: None,
            credentials: false,
            max_bytes: MAX_BYTES as u64,
        };
        let response = upstream.send(request).await.map_err(|failure| failure.detail)?;
        match response.status {
            StatusCode::NOT_MODIFIED if self.document.is_some() => return Ok(Response::NotModified(response.headers)),
            StatusCode::OK => {}
            status => return Err(format!("it returned {status}")),
        }
        let (mut text, mut chunks) = (Vec::new(), response.body);
        while let Some(chunk) = chunks.next().await {
            text.extend_from_slice(&chunk.map_err(|failure| failure.detail)?);
            if text.len() > MAX_BYTES {
                return Err("its response is larger than 1 MiB".to_owned());
            }
        }
        let text = String::from_utf8(text).map_err(|_| "its response is not valid UTF-8".to_owned())?;
        Ok(Response::Document(text, response.headers))
    }

    fn update(&mut self, response: Result<Response, String>, refresh: Duration, wall: Timestamp) {
        let arrival = Arrival { at: wall, delay: Duration::ZERO };
        let file = self.file();
        let lifetime = |headers: &HeaderMap| {
            let stated = CacheDirectives::read(headers, arrival).compositor;
            stated.max_age.filter(|_| stated.is_reusable()).unwrap_or(refresh)
        };
        let lifetime = match response {
            Ok(Response::Document(text, headers)) => {
                if self.document.as_ref().is_none_or(|known| known.text != text) {
                    self.document = Some(Source::new(file, text));
                }
                self.validation = Validation::read(&headers);
                self.failure = None;
                lifetime(&headers)
            }
            Ok(Response::NotModified(headers)) => {
                self.failure = None;
                let updated = self.validation.as_ref().map(|validation| validation.updated_by(&headers));
                lifetime(&updated.unwrap_or(headers))
            }
            Err(why) => {
                let consequence = if self.document.is_some() {
                    "its last manifests stay in use"
                } else {
                    "none of its manifests are known yet"
                };
                let message = format!("{file}: {why}; {consequence}");
                let failure = Diagnostic::new(Code::Discovery, self.url.at.clone(), message);
                let others = "; until it answers, its names are free for the sources after it";
                let others = if self.document.is_some() { "" } else { others };
                self.failure = Some(failure.help(format!("is the service running, and is this its address?{others}")));
                refresh
            }
        };
        self.due = Instant::now() + lifetime.clamp(MIN_INTERVAL, MAX_INTERVAL);
    }
}
