//! Asks services for what they tell of themselves, and again by their own caching.
//! One that goes away is told, and what it said last stays.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use reqwest::redirect::Policy;
use tokio::sync::watch;
use tokio::time::Instant;
use url::Url;

use crate::engine::port::Clock;
use crate::page::policy::cache::directives::{Arrival, CacheDirectives};
use crate::page::policy::cache::validation::Validation;
use crate::page::source::diagnostic::{Code, Diagnostic, Located, Source};

/// Where a service tells of itself.
const PATH: &str = "/.well-known/fragments.json";
/// Longest time for one answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of one answer.
const MAX_BYTES: usize = 1 << 20;
/// A source is asked no more often than this, whatever it says,
const OFTEN: Duration = Duration::from_secs(1);
/// and no less often.
const SELDOM: Duration = Duration::from_hours(1);

/// What all sources told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovered {
    /// The texts, each under its URL.
    pub texts: Vec<Arc<Source>>,
    /// Sources that cannot be asked now.
    pub silent: Vec<Diagnostic>,
}

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// Services that tell of themselves, each with the place where its URL was written.
    pub urls: Vec<Located<Url>>,
    /// How long what they told is good where they do not say.
    pub refresh: Duration,
}

/// Asks sources, each at its time.
pub struct Discovery {
    client: reqwest::Client,
    refresh: Duration,
    sources: Vec<Asked>,
}

struct Asked {
    url: Located<Url>,
    text: Option<Arc<Source>>,
    validation: Option<Box<Validation>>,
    problem: Option<Diagnostic>,
    next: Instant,
}

/// What came of asking.
enum Answer {
    Text(String, HeaderMap),
    Unchanged(HeaderMap),
}

impl Discovery {
    /// Will ask these sources.
    ///
    /// # Errors
    /// No HTTP client could be made.
    pub fn new(sources: &Sources) -> Result<Self, String> {
        let client = reqwest::Client::builder().redirect(Policy::none()).no_proxy().referer(false).timeout(PATIENCE);
        let client = client.build().map_err(|error| error.to_string())?;
        let mut discovery = Self { client, refresh: sources.refresh, sources: Vec::new() };
        discovery.reconsider(sources);
        Ok(discovery)
    }

    /// Takes other sources; what those said that stay is kept.
    fn reconsider(&mut self, sources: &Sources) {
        let mut known = std::mem::take(&mut self.sources);
        let now = Instant::now();
        self.refresh = sources.refresh;
        for url in &sources.urls {
            let same = known.iter().position(|asked| asked.url.value == url.value);
            let text = same.and_then(|index| known.swap_remove(index).text);
            self.sources.push(Asked { url: url.clone(), text, validation: None, problem: None, next: now });
        }
    }

    /// Begins with what was told before.
    #[must_use]
    pub fn resume(mut self, told: &Discovered) -> Self {
        for asked in &mut self.sources {
            asked.text = told.texts.iter().find(|text| text.file == asked.file()).cloned();
        }
        self
    }

    /// When the next source is due; `None` where there is none.
    fn due(&self) -> Option<Instant> {
        self.sources.iter().map(|asked| asked.next).min()
    }

    /// Asks all sources that are due.
    pub async fn ask(&mut self, wall: Timestamp) {
        let now = Instant::now();
        let (client, refresh) = (&self.client, self.refresh);
        join_all(self.sources.iter_mut().filter(|asked| asked.next <= now).map(|asked| async move {
            let answer = asked.request(client).await;
            asked.take(answer, refresh, wall);
        }))
        .await;
    }

    /// Asks for ever, each source at its time, others when `sources` says so, and tells what changed.
    pub async fn run(
        mut self,
        mut sources: watch::Receiver<Sources>,
        told: watch::Sender<Discovered>,
        clock: Arc<dyn Clock>,
    ) {
        loop {
            let due = self.due();
            tokio::select! {
                changed = sources.changed() => match changed {
                    Ok(()) => {
                        let now = sources.borrow_and_update().clone();
                        self.reconsider(&now);
                    }
                    Err(_) => return,
                },
                () = async { tokio::time::sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {}
            }
            self.ask(clock.wall()).await;
            let now = self.told();
            told.send_if_modified(|before| {
                let changed = *before != now;
                *before = now;
                changed
            });
        }
    }

    /// What all of them told.
    #[must_use]
    pub fn told(&self) -> Discovered {
        Discovered {
            texts: self.sources.iter().filter_map(|asked| asked.text.clone()).collect(),
            silent: self.sources.iter().filter_map(|asked| asked.problem.clone()).collect(),
        }
    }
}

impl Asked {
    /// What its text is called.
    fn file(&self) -> String {
        format!("{}{PATH}", self.url.value.origin().ascii_serialization())
    }

    async fn request(&self, client: &reqwest::Client) -> Result<Answer, String> {
        let url = self.url.value.join(PATH).map_err(|error| error.to_string())?;
        let conditions: HeaderMap = self.validation.iter().flat_map(|validation| validation.conditions()).collect();
        let request = client.get(url).header(http::header::ACCEPT, "application/json").headers(conditions);
        let response = request.send().await.map_err(|error| why(&error))?;
        let headers = response.headers().clone();
        match response.status() {
            StatusCode::NOT_MODIFIED if self.text.is_some() => return Ok(Answer::Unchanged(headers)),
            StatusCode::OK => {}
            status => return Err(format!("it answers {status}")),
        }
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk.map_err(|error| why(&error))?);
            if body.len() > MAX_BYTES {
                return Err("its answer is larger than 1 MiB".to_owned());
            }
        }
        String::from_utf8(body).map(|text| Answer::Text(text, headers)).map_err(|_| "its answer is no UTF-8".to_owned())
    }

    fn take(&mut self, answer: Result<Answer, String>, refresh: Duration, wall: Timestamp) {
        let arrival = Arrival { at: wall, delay: Duration::ZERO };
        let file = self.file();
        let good_for = |headers: &HeaderMap| {
            let stated = CacheDirectives::read(headers, arrival).compositor;
            stated.max_age.filter(|_| stated.uncacheable.is_none() && !stated.no_cache).unwrap_or(refresh)
        };
        let good_for = match answer {
            Ok(Answer::Text(text, headers)) => {
                if self.text.as_ref().is_none_or(|known| known.text != text) {
                    self.text = Some(Source::new(file, text));
                }
                self.validation = Validation::read(&headers);
                self.problem = None;
                good_for(&headers)
            }
            Ok(Answer::Unchanged(headers)) => {
                self.problem = None;
                let updated = self.validation.as_ref().map(|validation| validation.updated_by(&headers));
                good_for(&updated.unwrap_or(headers))
            }
            Err(why) => {
                let stays =
                    if self.text.is_some() { "what it told last stays in use" } else { "it has told nothing yet" };
                let problem = Diagnostic::new(Code::Discovery, self.url.at.clone(), format!("{file}: {why}; {stays}"));
                self.problem = Some(problem.help("is the service running, and is this its address?"));
                refresh
            }
        };
        self.next = Instant::now() + good_for.clamp(OFTEN, SELDOM);
    }
}

/// The innermost cause, which says most.
fn why(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {PATIENCE:?}");
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
