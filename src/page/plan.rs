//! From a layout and a request to what is fetched: identical fetches once, each with its key.
//! What a nanoservice is sent is the key; nothing else reaches it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, header};
use jiff::Timestamp;

use super::context::{Device, Dimension, Visit};
use super::layout::node::Piece;
use super::layout::{FragmentUse, Service, Template};
use super::manifest::Manifest;
use super::names::Name;
use super::outcome::Reason;
use super::policy::freshness::Rules;

/// What holds where neither layout nor manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// Longest time from the request to the page's last part.
    pub budget: Duration,
    /// From sending a fragment's request to its last body byte.
    pub timeout: Duration,
    /// Freshness where nothing else states one.
    pub ttl: Duration,
    /// How long past freshness an old copy may be shown.
    pub stale: Duration,
    /// Decoded bytes of one body.
    pub max_bytes: u64,
    /// Fetches at once, per upstream.
    pub concurrency: u32,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            budget: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            ttl: Duration::ZERO,
            stale: Duration::ZERO,
            max_bytes: 1 << 20,
            concurrency: 128,
        }
    }
}

/// What tells one fetch from another: all that the nanoservice is sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Joins fields so that no two lists of fields look alike: each is led by its length.
    #[must_use]
    pub fn new<'a>(fields: impl IntoIterator<Item = &'a str>) -> Self {
        let mut text = String::new();
        for field in fields {
            let _ = write!(text, "{}:{field}", field.len());
        }
        Self(text.into())
    }

    /// The bytes of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One request to one nanoservice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// What it is kept under.
    pub key: Key,
    /// The nanoservice, as it is called on this page.
    pub id: Name,
    /// The nanoservice's name; the host where it is named by `src`.
    pub service: Name,
    /// Scheme, host and port.
    pub upstream: Name,
    /// The whole URL.
    pub url: String,
    /// Declared context, and no other header of a reader.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How long the answer is kept.
    pub rules: Rules,
    /// From sending the request to the last body byte.
    pub timeout: Duration,
    /// Decoded bytes of the body.
    pub max_bytes: u64,
    /// Fetches of this upstream at once.
    pub concurrency: u32,
    /// A layout named the URL: the address that it resolves to is checked.
    pub guarded: bool,
}

/// What happens to a fragment of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// It is the answer to this fetch of [`Plan::fetches`].
    Fetch(usize),
    /// It is not asked for, and nothing stands in its place.
    Dropped,
    /// It cannot be asked for; its fallback stands in its place.
    Refused(Reason),
}

/// What one page needs.
#[derive(Debug)]
pub struct Plan {
    /// The page's layout.
    pub template: Arc<Template>,
    /// By the index of [`Template::fragments`].
    pub slots: Vec<Slot>,
    /// Whether each of [`Template::conditions`] holds.
    pub shown: Vec<bool>,
    /// What is fetched, each once.
    pub fetches: Vec<Arc<Fetch>>,
    /// Longest time from the request to the last part.
    pub budget: Duration,
}

/// Plans a page.
#[must_use]
pub fn plan(template: &Arc<Template>, visit: &Visit, defaults: &Defaults, now: Timestamp) -> Plan {
    let mut fetches: Vec<Arc<Fetch>> = Vec::new();
    let mut known: HashMap<(Key, Rules, Duration), usize> = HashMap::new();
    let slots = template
        .fragments
        .iter()
        .map(|fragment| {
            if !fragment.conditions.hold(&visit.reader, now) {
                return Slot::Dropped;
            }
            let fetch = match fetch(fragment, visit, defaults) {
                Ok(fetch) => fetch,
                Err(reason) => return Slot::Refused(reason),
            };
            let index = *known.entry((fetch.key.clone(), fetch.rules, fetch.timeout)).or_insert_with(|| {
                fetches.push(Arc::new(fetch));
                fetches.len() - 1
            });
            Slot::Fetch(index)
        })
        .collect();
    Plan {
        template: Arc::clone(template),
        slots,
        shown: template.conditions.iter().map(|conditions| conditions.hold(&visit.reader, now)).collect(),
        fetches,
        budget: template.budget.unwrap_or(defaults.budget),
    }
}

fn fetch(fragment: &FragmentUse, visit: &Visit, defaults: &Defaults) -> Result<Fetch, Reason> {
    let parameters = parameters(fragment, visit);
    match &fragment.service {
        Service::Named(manifest) => named(fragment, manifest, &parameters, visit, defaults),
        Service::Source(url) => {
            let mut url = url.clone();
            if !parameters.is_empty() {
                url.query_pairs_mut().extend_pairs(&parameters);
            }
            url.set_fragment(None);
            let key = Key::new(["src", url.as_str()]);
            Ok(Fetch {
                key,
                id: Arc::clone(&fragment.id),
                service: Name::from(url.host_str().unwrap_or_default()),
                upstream: Name::from(url.origin().ascii_serialization()),
                url: url.into(),
                headers: Vec::new(),
                rules: Rules {
                    ttl: fragment.ttl,
                    default_ttl: defaults.ttl,
                    max_ttl: None,
                    stale_while_revalidate: fragment.stale.unwrap_or(defaults.stale),
                    stale_if_error: fragment.stale.unwrap_or(defaults.stale),
                },
                timeout: fragment.timeout.unwrap_or(defaults.timeout),
                max_bytes: defaults.max_bytes,
                concurrency: defaults.concurrency,
                guarded: true,
            })
        }
    }
}

fn named(
    fragment: &FragmentUse,
    manifest: &Manifest,
    parameters: &[(String, String)],
    visit: &Visit,
    defaults: &Defaults,
) -> Result<Fetch, Reason> {
    // What readers send is held against the manifest here; literals were when the file was read.
    let allowed = manifest.params.iter().all(|param| match parameters.iter().find(|(name, _)| *name == param.name) {
        Some((_, value)) => param.check(value).is_ok(),
        None => !param.required,
    });
    if !allowed {
        return Err(Reason::NotAllowed);
    }
    let endpoint = manifest.endpoints.first().ok_or(Reason::Unknown)?;
    let url = endpoint.url(parameters).ok_or(Reason::NotAllowed)?;
    let headers = declared(manifest, visit);
    let version = manifest.version.to_string();
    let key = {
        let mut fields = vec!["name", &*manifest.name, &version, &url];
        let texts: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()))).collect();
        for (name, value) in &texts {
            fields.extend([*name, value]);
        }
        Key::new(fields)
    };
    let stale = |manifest: Option<Duration>| fragment.stale.or(manifest).unwrap_or(defaults.stale);
    Ok(Fetch {
        key,
        id: Arc::clone(&fragment.id),
        service: Arc::clone(&manifest.name),
        upstream: Name::from(endpoint.origin()),
        url,
        headers,
        rules: Rules {
            ttl: fragment.ttl,
            default_ttl: manifest.cache.ttl.unwrap_or(defaults.ttl),
            max_ttl: manifest.cache.max_ttl,
            stale_while_revalidate: stale(manifest.cache.stale_while_revalidate),
            stale_if_error: stale(manifest.cache.stale_if_error),
        },
        timeout: fragment.timeout.or(manifest.limits.timeout).unwrap_or(defaults.timeout),
        max_bytes: manifest.limits.max_bytes.unwrap_or(defaults.max_bytes),
        concurrency: manifest.limits.concurrency.unwrap_or(defaults.concurrency),
        guarded: false,
    })
}

/// The parameters' values, in the layout's order. An absent query parameter leaves its out.
fn parameters(fragment: &FragmentUse, visit: &Visit) -> Vec<(String, String)> {
    fragment
        .parameters
        .iter()
        .filter_map(|(name, pieces)| {
            let mut value = String::new();
            for piece in pieces {
                match piece {
                    Piece::Literal(text) => value.push_str(text),
                    Piece::Placeholder(name) => value.push_str(visit.parameter(name)?),
                }
            }
            Some((name.clone(), value))
        })
        .collect()
}

/// Declared context as headers, in the order of the declaration.
fn declared(manifest: &Manifest, visit: &Visit) -> Vec<(HeaderName, HeaderValue)> {
    let reader = &visit.reader;
    let mut headers = Vec::new();
    let mut cookies = Vec::new();
    let mut add = |name: HeaderName, value: &str| {
        // A value that is no header value cannot have come from a reader's own headers.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.push((name, value));
        }
    };
    for dimension in &manifest.context {
        match dimension {
            Dimension::Locale => {
                if let Some(locale) = &reader.locale {
                    add(header::ACCEPT_LANGUAGE, locale);
                }
            }
            Dimension::Region => {
                if let Some(region) = &reader.region {
                    add(HeaderName::from_static("fragment-region"), region);
                }
            }
            Dimension::Device => {
                if let Some(device) = reader.device.map(Device::as_str) {
                    add(HeaderName::from_static("fragment-device"), device);
                }
            }
            Dimension::Variant => {
                let variants: Vec<String> = reader.variants.iter().map(|(e, v)| format!("{e}:{v}")).collect();
                if !variants.is_empty() {
                    add(HeaderName::from_static("fragment-variant"), &variants.join(", "));
                }
            }
            Dimension::Page => add(HeaderName::from_static("fragment-page"), &visit.pattern),
            Dimension::Cookie(name) => {
                if let Some((_, value)) = reader.cookies.iter().find(|(known, _)| known == name) {
                    cookies.push(format!("{name}={value}"));
                }
            }
            Dimension::Header(name) => {
                if let (Ok(name), Some(Ok(value))) =
                    (HeaderName::try_from(name.as_str()), reader.headers.get(name).map(HeaderValue::to_str))
                {
                    add(name, value);
                }
            }
        }
    }
    if !cookies.is_empty() {
        add(header::COOKIE, &cookies.join("; "));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn different_fields_make_different_keys(a in proptest::collection::vec("[a:1]{0,4}", 0..5), b in proptest::collection::vec("[a:1]{0,4}", 0..5)) {
            let key = |fields: &[String]| Key::new(fields.iter().map(String::as_str));
            prop_assert_eq!(a == b, key(&a) == key(&b));
        }
    }
}
