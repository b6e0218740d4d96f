//! One request to one nanoservice, made from a fragment in its place and a visit to its page.
//! What the nanoservice is sent is the key; nothing else reaches it.

use std::sync::Arc;
use std::time::Duration;

use crate::page::layout::syntax::node::ParameterPiece;
use crate::page::layout::{FragmentSource, FragmentUse};
use crate::page::manifest::{Boundary, Endpoint, Manifest};
use crate::page::policy::cache::freshness;
use crate::page::policy::resilience::Resilience;
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;
use crate::page::visit::context::{Dimension, Visit};

use super::defaults::Defaults;
use super::key::Key;

use http::{HeaderName, HeaderValue, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

/// What stands encoded in a path, once it was decoded (RFC 3986, 3.3).
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a nanoservice is asked with, by name, in the layout's order.
pub type Parameters = Vec<(String, String)>;

/// What a nanoservice may answer in (Edge Architecture Specification, 2.1).
const SURROGATE_CAPABILITY: HeaderName = HeaderName::from_static("surrogate-capability");

/// One request to one nanoservice.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetch {
    /// What it is kept under.
    pub key: Key,
    /// The nanoservice, as it is called on this page.
    pub id: Name,
    /// The nanoservice's name; the host where it is named by `src`.
    pub service: Name,
    /// Declared context, and no other header of a reader.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How long the answer is kept.
    pub rules: freshness::FreshnessRules,
    /// From sending the request to the last body byte.
    pub timeout: Duration,
    /// How long the nanoservice may take by its own word: a layout may have less time.
    pub patience: Duration,
    /// Decoded bytes of the body.
    pub max_bytes: u64,
    /// Where it can be asked, by endpoint: there is one at least.
    pub targets: Arc<[Target]>,
    /// Fetches of one endpoint at once.
    pub concurrency: u32,
    /// What is done about a service that is in trouble.
    pub withstand: Resilience,
    /// What is asked for.
    pub wants: Wants,
    /// What the answer's HTML may do to a page.
    pub html: Boundary,
    /// What the nanoservice declares of itself. Where a layout named the URL there is none, and the
    /// address that it resolves to is checked.
    pub manifest: Option<Arc<Manifest>>,
}

/// A URL on one of a nanoservice's endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Scheme, host and port.
    pub upstream: Name,
    /// The whole URL.
    pub url: Url,
}

/// What a nanoservice is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// A fragment's HTML.
    Fragment,
    /// What pages load beside it.
    Asset,
}

/// Where a fetch goes.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'a> {
    /// To a nanoservice.
    Named(&'a Arc<Manifest>),
    /// To a URL.
    Source(&'a Url),
}

impl<'a> Origin<'a> {
    /// Where the fetch of a fragment goes. `None`: that depends on variables, or on what a nanoservice may combine.
    #[must_use]
    pub const fn of(fragment: &'a FragmentUse) -> Option<Self> {
        match &fragment.service {
            FragmentSource::Named(manifest) => Some(Self::Named(manifest)),
            FragmentSource::Source(url) => Some(Self::Source(url)),
            FragmentSource::Wanted(..) | FragmentSource::Included { .. } => None,
        }
    }
}

impl Fetch {
    /// The fetch that fills a fragment.
    ///
    /// # Errors
    /// It cannot be asked for: why.
    pub fn new(fragment: &FragmentUse, origin: Origin<'_>, visit: &Visit, defaults: &Defaults) -> Result<Self, Reason> {
        let parameters = parameters(fragment, visit);
        match origin {
            Origin::Named(manifest) => named(fragment, manifest, &parameters, visit, defaults),
            Origin::Source(url) => Ok(sourced(fragment, url, &parameters, defaults.html, defaults)),
        }
    }

    /// Where it is asked if nothing speaks against it: on the first endpoint.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.targets[0]
    }
}

/// The fetch of a URL that nobody's manifest stands behind.
pub(crate) fn sourced(
    fragment: &FragmentUse,
    url: &Url,
    parameters: &[(String, String)],
    html: Boundary,
    defaults: &Defaults,
) -> Fetch {
    let mut url = url.clone();
    if !parameters.is_empty() {
        url.query_pairs_mut().extend_pairs(parameters);
    }
    url.set_fragment(None);
    let stale = fragment.stale.unwrap_or(defaults.stale);
    let upstream = Name::from(url.origin().ascii_serialization());
    let service = Name::from(url.host_str().unwrap_or_default());
    Fetch {
        // What is kept was balanced, or was not.
        key: Key::new([if html == Boundary::Raw { "src" } else { "src balanced" }, url.as_str()], []),
        id: Arc::clone(&fragment.id),
        service,
        targets: Arc::from([Target { upstream, url }]),
        headers: Vec::new(),
        rules: freshness::FreshnessRules {
            ttl: fragment.ttl,
            default_ttl: defaults.ttl,
            max_ttl: None,
            stale_while_revalidate: stale,
            stale_if_error: stale,
        },
        timeout: fragment.timeout.unwrap_or(defaults.timeout),
        patience: defaults.timeout,
        max_bytes: defaults.max_bytes,
        concurrency: defaults.concurrency,
        withstand: defaults.withstand,
        wants: Wants::Fragment,
        html,
        manifest: None,
    }
}

fn named(
    fragment: &FragmentUse,
    manifest: &Arc<Manifest>,
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
    if manifest.endpoints.is_empty() {
        return Err(Reason::Unknown);
    }
    let target =
        |endpoint: &Endpoint| Some(Target { upstream: Name::from(endpoint.origin()), url: endpoint.url(parameters)? });
    let targets: Option<Arc<[Target]>> = manifest.endpoints.iter().map(target).collect();
    Ok(of_service(fragment, manifest, targets.ok_or(Reason::NotAllowed)?, visit, defaults))
}

/// The same path and query on each of a nanoservice's endpoints.
pub(crate) fn everywhere(manifest: &Manifest, url: &Url) -> Arc<[Target]> {
    let on = |endpoint: &Endpoint| {
        let base = endpoint.base()?;
        let mut url = url.clone();
        url.set_scheme(base.scheme()).ok()?;
        url.set_host(base.host_str()).ok()?;
        url.set_port(base.port()).ok()?;
        Some(Target { upstream: Name::from(url.origin().ascii_serialization()), url })
    };
    manifest.endpoints.iter().filter_map(on).collect()
}

/// The fetch of a URL of a nanoservice, which is told what it declares. There is one target at least.
pub(crate) fn of_service(
    fragment: &FragmentUse,
    manifest: &Arc<Manifest>,
    targets: Arc<[Target]>,
    visit: &Visit,
    defaults: &Defaults,
) -> Fetch {
    let headers = declared(manifest, visit);
    let version = manifest.version.to_string();
    let fixed = ["name", &*manifest.name, &version, targets[0].url.as_str()].map(str::as_bytes);
    let context = headers.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]);
    let key = Key::new(fixed, context);
    let stale = |manifest: Option<Duration>| fragment.stale.or(manifest).unwrap_or(defaults.stale);
    Fetch {
        key,
        id: Arc::clone(&fragment.id),
        service: Arc::clone(&manifest.name),
        targets,
        headers,
        rules: freshness::FreshnessRules {
            ttl: fragment.ttl,
            default_ttl: manifest.cache.ttl.unwrap_or(defaults.ttl),
            max_ttl: manifest.cache.max_ttl,
            stale_while_revalidate: stale(manifest.cache.stale_while_revalidate),
            stale_if_error: stale(manifest.cache.stale_if_error),
        },
        timeout: fragment.timeout.or(manifest.limits.timeout).unwrap_or(defaults.timeout),
        patience: manifest.limits.timeout.unwrap_or(defaults.timeout),
        max_bytes: manifest.limits.max_bytes.unwrap_or(defaults.max_bytes),
        concurrency: manifest.limits.concurrency.unwrap_or(defaults.concurrency),
        withstand: defaults.withstand,
        wants: Wants::Fragment,
        html: manifest.html,
        manifest: Some(Arc::clone(manifest)),
    }
}

/// Plans the fetch of an asset: `path`, which begins with a slash, of a nanoservice's first endpoint.
/// No reader's context goes with it. `None` where the service has no endpoint, or it is no such path.
#[must_use]
pub fn asset(manifest: &Arc<Manifest>, path: &str, query: Option<&str>, defaults: &Defaults) -> Option<Fetch> {
    let mut url = manifest.endpoints.first()?.base()?;
    let origin = url.origin();
    url.set_path(&utf8_percent_encode(path, IN_PATH).to_string());
    url.set_query(query);
    url.set_fragment(None);
    if url.origin() != origin || !path.starts_with('/') {
        return None;
    }
    let targets = everywhere(manifest, &url);
    if targets.is_empty() {
        return None;
    }
    let stale = |manifest: Option<Duration>| manifest.unwrap_or(defaults.stale);
    Some(Fetch {
        // Of a path only so many queries are kept.
        key: Key::new(["asset", &*manifest.name, &manifest.version.to_string(), path], [query.unwrap_or_default()]),
        id: Arc::clone(&manifest.name),
        service: Arc::clone(&manifest.name),
        targets,
        headers: Vec::new(),
        rules: freshness::FreshnessRules {
            ttl: None,
            default_ttl: manifest.cache.ttl.unwrap_or(defaults.ttl),
            max_ttl: manifest.cache.max_ttl,
            stale_while_revalidate: stale(manifest.cache.stale_while_revalidate),
            stale_if_error: stale(manifest.cache.stale_if_error),
        },
        timeout: defaults.timeout,
        patience: defaults.timeout,
        max_bytes: defaults.max_bytes,
        concurrency: manifest.limits.concurrency.unwrap_or(defaults.concurrency),
        withstand: defaults.withstand,
        wants: Wants::Asset,
        html: Boundary::Raw,
        manifest: Some(Arc::clone(manifest)),
    })
}

/// The parameters' values. An absent query parameter leaves its out.
#[must_use]
pub fn parameters(fragment: &FragmentUse, visit: &Visit) -> Parameters {
    fragment
        .parameters
        .iter()
        .filter_map(|(name, pieces)| {
            let mut value = String::new();
            for piece in pieces {
                match piece {
                    ParameterPiece::Literal(text) => value.push_str(text),
                    ParameterPiece::Placeholder(name) => value.push_str(visit.parameter(name)?),
                    ParameterPiece::OneOf(name, values) => {
                        let given = visit.parameter(name)?;
                        value.push_str(values.iter().find(|value| *value == given)?);
                    }
                }
            }
            Some((name.clone(), value))
        })
        .collect()
}

/// Declared context as headers, in the order of the declaration.
fn declared(manifest: &Manifest, visit: &Visit) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    let mut cookies: Vec<u8> = Vec::new();
    for dimension in &manifest.context {
        let Some(value) = value(dimension, visit) else { continue };
        if let Dimension::Cookie(name) = dimension {
            let separator: &[u8] = if cookies.is_empty() { b"" } else { b"; " };
            cookies.extend([separator, name.as_bytes(), b"=", &value].concat());
        } else if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(dimension.header()), HeaderValue::from_bytes(&value))
        {
            headers.push((name, value));
        }
    }
    if let Some(cookies) = HeaderValue::from_bytes(&cookies).ok().filter(|cookies| !cookies.is_empty()) {
        headers.push((header::COOKIE, cookies));
    }
    if manifest.esi {
        headers.push((SURROGATE_CAPABILITY, HeaderValue::from_static("pasteup=\"ESI/1.0\"")));
    }
    headers
}

/// What a dimension is for a visit; `None` where that is not known.
fn value(dimension: &Dimension, visit: &Visit) -> Option<Vec<u8>> {
    let reader = &visit.reader;
    Some(match dimension {
        Dimension::Locale => reader.locale.clone()?.into_bytes(),
        Dimension::Region => reader.region.clone()?.into_bytes(),
        Dimension::Device => reader.device?.as_str().into(),
        Dimension::Variant if reader.variants.is_empty() => return None,
        Dimension::Variant => {
            let variants: Vec<String> = reader.variants.iter().map(|(e, v)| format!("{e}:{v}")).collect();
            variants.join(", ").into_bytes()
        }
        Dimension::Page => visit.pattern.clone().into_bytes(),
        Dimension::Cookie(name) => reader.cookies.iter().find(|(known, _)| known == name)?.1.clone().into_bytes(),
        // RFC 9110, 5.3: lines of one name are one list.
        Dimension::Header(name) if reader.headers.contains_key(name) => {
            reader.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b", "[..])
        }
        Dimension::Header(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::source::diagnostic::{Source, SourceSpan};
    use crate::page::visit::context::{Device, Reader};
    use proptest::prelude::*;

    /// Values that are likely to run into each other.
    const ODD: &str = "[a=;, :1é]{0,3}";

    fn pairs(names: &'static [&'static str]) -> impl Strategy<Value = Vec<(String, String)>> {
        proptest::collection::vec((proptest::sample::select(names), ODD), 0..3).prop_map(|pairs| {
            pairs.into_iter().map(|(name, value)| (name.to_owned(), value.replace(';', ""))).collect()
        })
    }

    fn reader() -> impl Strategy<Value = Reader> {
        let device = proptest::sample::select(vec![None, Some(Device::Mobile), Some(Device::Desktop)]);
        let locale = proptest::option::of(proptest::sample::select(vec!["en", "de"]));
        (
            device,
            locale,
            proptest::option::of("[A-Z]{1,2}"),
            pairs(&["u", "v", "secret"]),
            pairs(&["x-a", "x-b", "x-secret"]),
        )
            .prop_map(|(device, locale, region, cookies, headers)| {
                let headers = headers.into_iter().filter_map(|(name, value)| {
                    Some((HeaderName::try_from(name).ok()?, HeaderValue::from_bytes(value.as_bytes()).ok()?))
                });
                Reader {
                    device,
                    locale: locale.map(str::to_owned),
                    region,
                    cookies,
                    headers: headers.collect(),
                    ..Reader::default()
                }
            })
    }

    /// What is declared of a reader, in a form of its own.
    fn known(reader: &Reader) -> impl PartialEq + std::fmt::Debug {
        let cookie = |name| reader.cookies.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let header = |name| reader.headers.get(name).cloned();
        (
            reader.device,
            reader.locale.clone(),
            reader.region.clone(),
            [cookie("u"), cookie("v")],
            [header("x-a"), header("x-b")],
        )
    }

    fn fragment(manifest: &Arc<Manifest>, path: String) -> FragmentUse {
        let (service, at) = (FragmentSource::Named(Arc::clone(manifest)), SourceSpan::new(&Source::new("a", ""), 0..0));
        let parameters = vec![("p".to_owned(), vec![ParameterPiece::Literal(path)])];
        FragmentUse { parameters, ..FragmentUse::new(Name::from("a"), service, at) }
    }

    proptest! {
        /// Two readers of one nanoservice that declares all there is.
        #[test]
        fn equal_keys_are_equal_requests_and_other_declared_values_are_other_keys(a in reader(), b in reader(), path in "[a-z{}%]{0,3}") {
            let text = "name = \"a\"\nversion = \"1.0.0\"\nendpoint = \"http://a.test/\"\n\
                        context = [\"locale\", \"device\", \"region\", \"variant\", \"cookie:u\", \"cookie:v\", \"header:x-a\", \"header:x-b\"]\n";
            let manifest = Manifest::parse(&Source::new("a", text)).0.expect("a manifest");
            let manifest = Arc::new(manifest);
            let fragment = fragment(&manifest, path);
            let fetch = |reader: &Reader| {
                let visit = Visit { reader: reader.clone(), ..Visit::default() };
                Fetch::new(&fragment, Origin::Named(&manifest), &visit, &Defaults::default())
            };
            let (first, second) = (fetch(&a).expect("a fetch"), fetch(&b).expect("a fetch"));
            let sent = |fetch: &Fetch| (fetch.target().url.clone(), fetch.headers.clone());
            prop_assert_eq!(first.key == second.key, sent(&first) == sent(&second));
            prop_assert_eq!(first.key == second.key, known(&a) == known(&b));
        }
    }
}
