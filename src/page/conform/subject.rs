//! The nanoservice to check, and the requests that are sent for it.
//! Only what is declared is checked: a bare URL, for example, has no parameters that it must refuse.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use url::Url;

use crate::page::manifest::{Endpoint, Example, Manifest};
use crate::page::request::defaults::Defaults;
use crate::page::visit::context::Dimension;

use super::exchange::{Exchange, Purpose};

/// Request headers that a nanoservice receives only if it declares them, with values to try. Of languages and countries there
/// are several, since a service knows only some.
const UNDECLARED: [(&str, &[&str]); 9] = [
    (
        "cookie",
        &["session=pasteup-conform; user=pasteup-conform; theme=dark; lang=de; units=imperial; consent=1; cart=1"],
    ),
    ("accept-language", &["tlh, cy;q=0.5", "de", "fr"]),
    ("user-agent", &["Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile"]),
    ("referer", &["https://pasteup-conform.example/"]),
    ("x-forwarded-for", &["203.0.113.7"]),
    ("fragment-device", &["mobile"]),
    ("fragment-region", &["US", "DE"]),
    ("fragment-variant", &["lead:big"]),
    ("fragment-page", &["/pasteup-conform"]),
];

/// A nanoservice at one address.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its name; the host if only a URL is known.
    pub service: String,
    /// Its address, as it was written.
    pub address: String,
    /// Its manifest; `None` for a bare URL.
    pub manifest: Option<Arc<Manifest>>,
    /// Requests whose responses should be fragments.
    pub examples: Vec<Example>,
    /// Longest time from a request to the last byte of the response.
    pub timeout: Duration,
    /// Most bytes of a decoded body.
    pub max_bytes: u64,
    endpoint: Endpoint,
}

/// A request, and why it is sent.
#[derive(Debug, Clone)]
pub struct TestRequest {
    /// Why the request is sent.
    pub purpose: Purpose,
    /// The complete URL.
    pub url: Url,
    /// All headers except `Host` and `traceparent`.
    pub headers: HeaderMap,
}

impl Subject {
    /// One endpoint of a manifest, with the manifest's examples; if there are none, with an example without parameters,
    /// provided that the manifest requires none. `params`, if not empty, replace the examples.
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
        // A placeholder in the endpoint may need a parameter that the manifest does not declare.
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

    /// A URL without a manifest.
    ///
    /// # Errors
    /// The text is not an absolute `http` or `https` URL.
    pub fn bare(url: &str, params: &[(String, String)], defaults: &Defaults) -> Result<Self, String> {
        let plain = url.split_once('#').map_or(url, |(plain, _)| plain);
        let parsed = Url::parse(plain).map_err(|error| format!("`{url}` is not a valid URL: {error}"))?;
        let endpoint = Endpoint::parse(parsed.as_str()).map_err(|error| error.message)?;
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

    /// Its version; `None` for a bare URL.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        self.manifest.as_ref().map(|manifest| manifest.version.to_string())
    }

    /// The name of an example in messages.
    #[must_use]
    pub fn example(&self, index: usize) -> String {
        match self.examples.get(index) {
            Some(example) if !example.name.is_empty() => format!("example `{}`", example.name.escape_debug()),
            _ => "the request".to_owned(),
        }
    }

    /// The first request. `None`: there is no example to send.
    #[must_use]
    pub fn probe(&self) -> Option<TestRequest> {
        self.first_example(Purpose::Probe)
    }

    /// The requests for all examples.
    #[must_use]
    pub fn examples(&self) -> Vec<TestRequest> {
        let all = self.examples.iter().enumerate();
        all.filter_map(|(index, example)| self.request(Purpose::Example(index), &example.params)).collect()
    }

    /// The requests that vary something, in order, to be sent after the examples. `seen` are the exchanges so far.
    /// Concurrent requests and those on a reused connection are not among them.
    #[must_use]
    pub fn variations(&self, seen: &[Exchange]) -> Vec<TestRequest> {
        let mut all: Vec<TestRequest> = self.first_example(Purpose::Repeat).into_iter().collect();
        let values = |(name, values): (&'static str, &'static [&str])| values.iter().map(move |value| (name, *value));
        for (name, value) in UNDECLARED.into_iter().flat_map(values) {
            let Some(request) = self.first_example(Purpose::Undeclared(name)) else { continue };
            // A declared header is left unchanged, except cookies: others are added to the declared ones.
            let declared =
                request.headers.get(name).and_then(|value| value.to_str().ok()).filter(|_| self.receives(name));
            let value = match declared {
                Some(cookies) if name == "cookie" => format!("{cookies}; {value}"),
                Some(_) => continue,
                None => value.to_owned(),
            };
            all.push(with(request, name, &value));
        }
        all.extend(self.first_example(Purpose::LastRepeat));
        let identity = self.first_example(Purpose::Identity);
        all.extend(identity.map(|request| with(request, "accept-encoding", "identity")));
        all.extend(self.conditions(seen));
        all.extend(self.refusals());
        all
    }

    /// The request for the first example, with a purpose.
    #[must_use]
    pub fn first_example(&self, purpose: Purpose) -> Option<TestRequest> {
        self.request(purpose, &self.examples.first()?.params)
    }

    /// Whether the nanoservice declares context that this header carries.
    fn receives(&self, header: &str) -> bool {
        self.context().iter().any(|dimension| header_for(dimension) == header)
    }

    /// The context that it declares.
    #[must_use]
    pub fn context(&self) -> &[Dimension] {
        self.manifest.as_ref().map(|manifest| &*manifest.context).unwrap_or_default()
    }

    fn request(&self, purpose: Purpose, params: &[(String, String)]) -> Option<TestRequest> {
        Some(TestRequest { purpose, url: self.endpoint.url(params)?, headers: self.headers() })
    }

    /// Conditional requests, with the validators of the first example's response.
    fn conditions(&self, seen: &[Exchange]) -> Vec<TestRequest> {
        let first = seen.iter().find(|exchange| exchange.purpose == Purpose::Example(0));
        let Some((response, _)) = first.and_then(Exchange::fragment) else { return Vec::new() };
        let text = |name| response.headers.get(name).and_then(|value| value.to_str().ok());
        let (tag, date) = (text(header::ETAG), text(header::LAST_MODIFIED));
        let mut all = Vec::new();
        let mut add = |purpose, name, value: &str| {
            all.extend(self.first_example(purpose).map(|request| with(request, name, value)));
        };
        if let Some(tag) = tag {
            add(Purpose::Conditional(Some(tag.to_owned())), "if-none-match", tag);
            add(Purpose::ForeignTag, "if-none-match", "\"pasteup-conform-holds-something-else\"");
        } else if let Some(date) = date {
            add(Purpose::Conditional(None), "if-modified-since", date);
        }
        all
    }

    /// Requests that should be refused: each parameter with invalid values, and each required parameter left out.
    fn refusals(&self) -> Vec<TestRequest> {
        let (Some(manifest), Some(example)) = (&self.manifest, self.examples.first()) else { return Vec::new() };
        let mut all = Vec::new();
        for param in &manifest.params {
            let others = || example.params.iter().filter(|(name, _)| *name != param.name).cloned();
            for value in param.refused() {
                let params: Vec<_> = others().chain([(param.name.clone(), value.clone())]).collect();
                all.extend(self.request(Purpose::Refused(param.name.clone(), Some(value)), &params));
            }
            if param.required {
                let params: Vec<_> = others().collect();
                all.extend(self.request(Purpose::Refused(param.name.clone(), None), &params));
            }
        }
        all
    }

    /// The headers that the compositor sends, with plausible values for declared context.
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

/// The request header that carries a dimension to a nanoservice.
#[must_use]
pub fn header_for(dimension: &Dimension) -> &str {
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

fn with(mut request: TestRequest, name: &'static str, value: &str) -> TestRequest {
    if let Ok(value) = HeaderValue::from_str(value) {
        request.headers.insert(HeaderName::from_static(name), value);
    }
    request
}
