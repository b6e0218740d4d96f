//! What is held against the contract, and what it is asked for that.
//! What is not declared is not asked about: a bare URL has no parameters to be refused.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use url::Url;

use crate::page::manifest::{Endpoint, Example, Manifest};
use crate::page::request::defaults::Defaults;
use crate::page::visit::context::Dimension;

use super::exchange::{Exchange, Purpose};

/// What a request says of the reader although nothing of it was declared.
const DISGUISES: [(&str, &str); 5] = [
    ("cookie", "session=pasteup-conform; theme=dark"),
    ("accept-language", "tlh, cy;q=0.5"),
    ("user-agent", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile"),
    ("referer", "https://pasteup-conform.example/"),
    ("x-forwarded-for", "203.0.113.7"),
];

/// A nanoservice at one address.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its name; the host where only a URL is known.
    pub service: String,
    /// Where it answers, as it was written.
    pub address: String,
    /// What it declares, if anything is known of it.
    pub manifest: Option<Arc<Manifest>>,
    /// Requests that it should answer with something to show.
    pub examples: Vec<Example>,
    /// Longest time from a request to the last byte of its answer.
    pub timeout: Duration,
    /// Most bytes of a body, decoded.
    pub max_bytes: u64,
    endpoint: Endpoint,
}

/// A request, and why it is sent.
#[derive(Debug, Clone)]
pub struct Question {
    /// Why.
    pub purpose: Purpose,
    /// The whole URL.
    pub url: Url,
    /// All headers but `Host` and `traceparent`.
    pub headers: HeaderMap,
}

impl Subject {
    /// One endpoint of a manifest, asked with its examples; where it has none and needs none, with
    /// nothing. `params`, if there are any, are asked with instead.
    #[must_use]
    pub fn declared(
        manifest: &Arc<Manifest>,
        endpoint: &Endpoint,
        params: &[(String, String)],
        defaults: &Defaults,
    ) -> Self {
        let mut examples = manifest.examples.clone();
        if !params.is_empty() {
            examples = vec![Example { name: "--param".to_owned(), params: params.to_vec() }];
        }
        if examples.is_empty() && Example::default().check(&manifest.params).is_ok() {
            examples.push(Example::default());
        }
        // A path is made of parameters that the manifest may have forgotten to declare.
        examples.retain(|example| endpoint.url(&example.params).is_some());
        Self {
            service: manifest.name.to_string(),
            address: endpoint.as_str().to_owned(),
            examples,
            timeout: manifest.limits.timeout.unwrap_or(defaults.timeout),
            max_bytes: manifest.limits.max_bytes.unwrap_or(defaults.max_bytes),
            manifest: Some(Arc::clone(manifest)),
            endpoint: endpoint.clone(),
        }
    }

    /// A URL of which nothing is declared.
    ///
    /// # Errors
    /// It is no absolute `http` or `https` URL.
    pub fn bare(url: &str, params: &[(String, String)], defaults: &Defaults) -> Result<Self, String> {
        let plain = url.split_once('#').map_or(url, |(plain, _)| plain);
        let parsed = Url::parse(plain).map_err(|error| format!("`{url}` is no URL: {error}"))?;
        let endpoint = Endpoint::parse(parsed.as_str()).map_err(|wrong| wrong.message)?;
        Ok(Self {
            service: parsed.host_str().unwrap_or_default().to_owned(),
            address: url.to_owned(),
            manifest: None,
            examples: vec![Example { name: String::new(), params: params.to_vec() }],
            timeout: defaults.timeout,
            max_bytes: defaults.max_bytes,
            endpoint,
        })
    }

    /// Its version, where it is declared.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        self.manifest.as_ref().map(|manifest| manifest.version.to_string())
    }

    /// What an example is called in messages.
    #[must_use]
    pub fn example(&self, index: usize) -> String {
        match self.examples.get(index) {
            Some(example) if !example.name.is_empty() => format!("example `{}`", example.name.escape_debug()),
            _ => "the request".to_owned(),
        }
    }

    /// The first question. `None` where there is no example to ask with.
    #[must_use]
    pub fn opening(&self) -> Option<Question> {
        self.about_first(Purpose::Opening)
    }

    /// Its examples.
    #[must_use]
    pub fn examples(&self) -> Vec<Question> {
        let all = self.examples.iter().enumerate();
        all.filter_map(|(index, example)| self.question(Purpose::Example(index), &example.params)).collect()
    }

    /// What is varied once the examples were answered, in order. Many and repeated ones are not among them.
    #[must_use]
    pub fn variations(&self, seen: &[Exchange]) -> Vec<Question> {
        let mut all: Vec<Question> = self.about_first(Purpose::Again).into_iter().collect();
        for (name, value) in DISGUISES {
            let Some(question) = self.about_first(Purpose::Disguise(name)) else { continue };
            // Of cookies it is told some; those beside them are undeclared all the same.
            let told = question.headers.get(name).and_then(|value| value.to_str().ok()).filter(|_| self.tells(name));
            let value = match told {
                Some(cookies) if name == "cookie" => format!("{cookies}; {value}"),
                Some(_) => continue,
                None => value.to_owned(),
            };
            all.push(with(question, name, &value));
        }
        all.extend(self.about_first(Purpose::After));
        let identity = self.about_first(Purpose::Identity);
        all.extend(identity.map(|question| with(question, "accept-encoding", "identity")));
        all.extend(self.conditions(seen));
        all.extend(self.refusals());
        all
    }

    /// The first example, for a purpose that sends nothing of its own.
    #[must_use]
    pub fn about_first(&self, purpose: Purpose) -> Option<Question> {
        self.question(purpose, &self.examples.first()?.params)
    }

    /// Whether it is told something by this header, so that its answer may depend on it.
    fn tells(&self, header: &str) -> bool {
        self.context().iter().any(|dimension| header_of(dimension) == header)
    }

    /// What it is told of the reader.
    #[must_use]
    pub fn context(&self) -> &[Dimension] {
        self.manifest.as_ref().map(|manifest| &*manifest.context).unwrap_or_default()
    }

    fn question(&self, purpose: Purpose, params: &[(String, String)]) -> Option<Question> {
        Some(Question { purpose, url: self.endpoint.url(params)?, headers: self.headers() })
    }

    /// Conditional requests, with what the first example came with.
    fn conditions(&self, seen: &[Exchange]) -> Vec<Question> {
        let first = seen.iter().find(|exchange| exchange.purpose == Purpose::Example(0));
        let Some((reply, _)) = first.and_then(Exchange::fragment) else { return Vec::new() };
        let text = |name| reply.headers.get(name).and_then(|value| value.to_str().ok());
        let (tag, date) = (text(header::ETAG), text(header::LAST_MODIFIED));
        let mut all = Vec::new();
        let mut ask = |purpose, name, value: &str| {
            all.extend(self.about_first(purpose).map(|question| with(question, name, value)));
        };
        if let Some(tag) = tag {
            ask(Purpose::Held(Some(tag.to_owned())), "if-none-match", tag);
            ask(Purpose::HeldOther, "if-none-match", "\"pasteup-conform-holds-something-else\"");
        } else if let Some(date) = date {
            ask(Purpose::Held(None), "if-modified-since", date);
        }
        all
    }

    /// Each parameter with what the manifest refuses, and without those that it requires.
    fn refusals(&self) -> Vec<Question> {
        let (Some(manifest), Some(example)) = (&self.manifest, self.examples.first()) else { return Vec::new() };
        let mut all = Vec::new();
        for param in &manifest.params {
            let others = || example.params.iter().filter(|(name, _)| *name != param.name).cloned();
            for value in param.refused() {
                let params: Vec<_> = others().chain([(param.name.clone(), value.clone())]).collect();
                all.extend(self.question(Purpose::Refused(param.name.clone(), Some(value)), &params));
            }
            if param.required {
                let params: Vec<_> = others().collect();
                all.extend(self.question(Purpose::Refused(param.name.clone(), None), &params));
            }
        }
        all
    }

    /// What the compositor sends, with declared context at some sensible value.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut put = |name: &str, value: &str| {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
                headers.insert(name, value);
            }
        };
        let mut cookies = Vec::new();
        for dimension in self.context() {
            match dimension {
                Dimension::Locale => put("accept-language", "en"),
                Dimension::Region => put("fragment-region", "GB"),
                Dimension::Device => put("fragment-device", "desktop"),
                Dimension::Variant => put("fragment-variant", "lead:big"),
                Dimension::Page => put("fragment-page", "/"),
                Dimension::Cookie(name) => cookies.push(format!("{name}=1")),
                Dimension::Header(name) => put(name, "1"),
            }
        }
        if !cookies.is_empty() {
            put("cookie", &cookies.join("; "));
        }
        put("accept", "text/html");
        put("accept-encoding", "gzip, br, zstd");
        put("user-agent", concat!("pasteup/", env!("CARGO_PKG_VERSION")));
        put("fragment-name", &self.service);
        put("fragment-timeout-ms", &self.timeout.as_millis().to_string());
        headers
    }
}

/// The header by which a nanoservice is told a dimension.
#[must_use]
pub fn header_of(dimension: &Dimension) -> &str {
    match dimension {
        Dimension::Locale => "accept-language",
        Dimension::Region => "fragment-region",
        Dimension::Device => "fragment-device",
        Dimension::Variant => "fragment-variant",
        Dimension::Page => "fragment-page",
        Dimension::Cookie(_) => "cookie",
        Dimension::Header(name) => name,
    }
}

fn with(mut question: Question, name: &'static str, value: &str) -> Question {
    if let Ok(value) = HeaderValue::from_str(value) {
        question.headers.insert(HeaderName::from_static(name), value);
    }
    question
}
