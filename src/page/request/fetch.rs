//! One request to one nanoservice, made from a use of a fragment and a visit to its page.
//! Its key contains everything that the nanoservice is sent. A use that must not be requested is refused with a reason.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use percent_encoding::utf8_percent_encode;
use url::Url;

use crate::page::http::encoding::IN_PATH;
use crate::page::http::query;
use crate::page::layout::{FragmentSource, FragmentUse};
use crate::page::manifest::{Boundary, Manifest};
use crate::page::policy::cache::freshness::FreshnessRules;
use crate::page::policy::resilience::Resilience;
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;
use crate::page::visit::context::{Reader, Visit};

use super::address::{Target, of_parameters, on_all_endpoints};
use super::context::context_headers;
use super::defaults::Defaults;
use super::key::Key;

pub use super::context::{Parameters, parameters, title};

/// One request to one nanoservice.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetch {
    /// The key that its response is stored under.
    pub key: Key,
    /// The `id` of its part on this page.
    pub id: Name,
    /// The name of the nanoservice; the host if a layout named the URL by `src`.
    pub nanoservice: Name,
    /// The headers of the declared context. No other headers of a client are sent.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How long its response may be stored and used.
    pub rules: FreshnessRules,
    /// Longest time from sending the request to the last byte of the response.
    pub timeout: Duration,
    /// How long the nanoservice may take according to its manifest. A layout may allow it less.
    pub nanoservice_timeout: Duration,
    /// Maximum number of bytes of the response's body, decoded.
    pub max_bytes: u64,
    /// The targets that it can be sent to, one per endpoint; at least one.
    pub targets: Arc<[Target]>,
    /// Maximum number of concurrent requests per endpoint.
    pub concurrency: u32,
    /// How failures of the nanoservice are handled.
    pub resilience: Resilience,
    /// The kind of resource that is requested.
    pub kind: FetchKind,
    /// Whether the response's HTML may affect the page around it.
    pub html: Boundary,
    /// The nanoservice's manifest. `None`: a layout named the URL, so the address that its host resolves to is checked before
    /// the request is sent.
    pub manifest: Option<Arc<Manifest>>,
}

/// The kind of resource that is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchKind {
    /// A fragment's HTML.
    Fragment,
    /// A file that pages load beside their HTML.
    Asset,
}

/// The destination of a fetch.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'a> {
    /// To a nanoservice.
    Named(&'a Arc<Manifest>),
    /// To a URL.
    Source(&'a Url),
}

impl<'a> Origin<'a> {
    /// The destination of a fragment's fetch for a reader. `None`: it depends on variables, or on the catalogue of nested fragments.
    #[must_use]
    pub fn of(fragment: &'a FragmentUse, reader: &Reader) -> Option<Self> {
        match &fragment.source {
            FragmentSource::Named(candidates) => {
                let takes = |candidate: &Arc<Manifest>| reader.takes_candidate(&candidate.name, &candidate.version);
                let candidate = candidates.rolled_out().map(|(candidate, _)| candidate).filter(|one| takes(one));
                Some(Self::Named(candidate.unwrap_or_else(|| candidates.preferred())))
            }
            FragmentSource::Source(url) => Some(Self::Source(url)),
            FragmentSource::Nested(..) | FragmentSource::Included { .. } => None,
        }
    }
}

impl Fetch {
    /// The fetch for a fragment.
    ///
    /// # Errors
    /// The fragment must not be requested: the reason.
    pub fn new(fragment: &FragmentUse, origin: Origin<'_>, visit: &Visit, defaults: &Defaults) -> Result<Self, Reason> {
        let parameters = parameters(fragment, visit);
        match origin {
            Origin::Named(manifest) => with_parameters(fragment, manifest, &parameters, visit, defaults),
            Origin::Source(url) => Ok(of_url(fragment, url, &parameters, defaults.html, defaults)),
        }
    }

    /// The first target. Fetches are sent to it unless another endpoint is healthier.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.targets[0]
    }
}

/// The fetch of a URL without a manifest.
pub(super) fn of_url(
    fragment: &FragmentUse,
    url: &Url,
    parameters: &[(String, String)],
    html: Boundary,
    defaults: &Defaults,
) -> Fetch {
    let mut url = url.clone();
    query::extend(&mut url, parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    url.set_fragment(None);
    let stale = fragment.stale.unwrap_or(defaults.stale);
    Fetch {
        // The stored HTML is balanced, or is not.
        key: Key::new([if html == Boundary::Raw { "src" } else { "src balanced" }, url.as_str()], []),
        id: Arc::clone(&fragment.id),
        nanoservice: Name::from(url.host_str().unwrap_or_default()),
        targets: Arc::from([Target::http(url)]),
        headers: Vec::new(),
        rules: FreshnessRules {
            ttl: fragment.ttl,
            default_ttl: defaults.ttl,
            max_ttl: None,
            stale_while_revalidate: stale,
            stale_if_error: stale,
        },
        timeout: fragment.timeout.unwrap_or(defaults.timeout),
        nanoservice_timeout: defaults.timeout,
        max_bytes: defaults.max_bytes,
        concurrency: defaults.concurrency,
        resilience: defaults.resilience,
        kind: FetchKind::Fragment,
        html,
        manifest: None,
    }
}

/// The fetch of a nanoservice with parameters.
fn with_parameters(
    fragment: &FragmentUse,
    manifest: &Arc<Manifest>,
    parameters: &[(String, String)],
    visit: &Visit,
    defaults: &Defaults,
) -> Result<Fetch, Reason> {
    // What clients send is checked against the manifest here; literals were checked when the file was read.
    let allowed = manifest.params.iter().all(|param| match parameters.iter().find(|(name, _)| *name == param.name) {
        Some((_, value)) => param.check(value).is_ok(),
        None => !param.required,
    });
    if !allowed {
        return Err(Reason::NotAllowed);
    }
    if manifest.base().is_none() {
        return Err(Reason::Unknown);
    }
    let targets = of_parameters(manifest, parameters).ok_or(Reason::NotAllowed)?;
    Ok(of_nanoservice(fragment, manifest, targets, visit, defaults))
}

/// The fetch of an address of a nanoservice, which is sent its declared context. There is at least one target.
pub(super) fn of_nanoservice(
    fragment: &FragmentUse,
    manifest: &Arc<Manifest>,
    targets: Arc<[Target]>,
    visit: &Visit,
    defaults: &Defaults,
) -> Fetch {
    let headers = context_headers(manifest, visit);
    let version = manifest.version.to_string();
    let fixed = ["name", &*manifest.name, &version, targets[0].address.as_str()].map(str::as_bytes);
    let context = headers.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]);
    let key = Key::new(fixed, context);
    let stale = |manifest: Option<Duration>| fragment.stale.or(manifest).unwrap_or(defaults.stale);
    Fetch {
        key,
        id: Arc::clone(&fragment.id),
        nanoservice: Arc::clone(&manifest.name),
        targets,
        headers,
        rules: FreshnessRules {
            ttl: fragment.ttl,
            default_ttl: manifest.cache.ttl.unwrap_or(defaults.ttl),
            max_ttl: manifest.cache.max_ttl,
            stale_while_revalidate: stale(manifest.cache.stale_while_revalidate),
            stale_if_error: stale(manifest.cache.stale_if_error),
        },
        timeout: fragment.timeout.or(manifest.limits.timeout).unwrap_or(defaults.timeout),
        nanoservice_timeout: manifest.limits.timeout.unwrap_or(defaults.timeout),
        max_bytes: manifest.limits.max_bytes.unwrap_or(defaults.max_bytes),
        concurrency: manifest.limits.concurrency.unwrap_or(defaults.concurrency),
        resilience: defaults.resilience,
        kind: FetchKind::Fragment,
        html: manifest.html,
        manifest: Some(Arc::clone(manifest)),
    }
}

/// The fetch of an asset of a nanoservice: of `path`, which begins with a slash, on its endpoints. No context of a client
/// goes with it. `None`: the nanoservice has no address, or the path would lead elsewhere.
#[must_use]
pub fn asset(manifest: &Arc<Manifest>, path: &str, query: Option<&str>, defaults: &Defaults) -> Option<Fetch> {
    let mut url = manifest.base()?;
    let origin = url.origin();
    url.set_path(&utf8_percent_encode(path, IN_PATH).to_string());
    url.set_query(query);
    url.set_fragment(None);
    if url.origin() != origin || !path.starts_with('/') {
        return None;
    }
    let targets = on_all_endpoints(manifest, &url);
    if targets.is_empty() {
        return None;
    }
    let stale = |manifest: Option<Duration>| manifest.unwrap_or(defaults.stale);
    Some(Fetch {
        // The query counts as context: the store limits the number of variants per resource.
        key: Key::new(["asset", &*manifest.name, &manifest.version.to_string(), path], [query.unwrap_or_default()]),
        id: Arc::clone(&manifest.name),
        nanoservice: Arc::clone(&manifest.name),
        targets,
        headers: Vec::new(),
        rules: FreshnessRules {
            ttl: None,
            default_ttl: manifest.cache.ttl.unwrap_or(defaults.ttl),
            max_ttl: manifest.cache.max_ttl,
            stale_while_revalidate: stale(manifest.cache.stale_while_revalidate),
            stale_if_error: stale(manifest.cache.stale_if_error),
        },
        timeout: defaults.timeout,
        nanoservice_timeout: defaults.timeout,
        max_bytes: defaults.max_bytes,
        concurrency: manifest.limits.concurrency.unwrap_or(defaults.concurrency),
        resilience: defaults.resilience,
        kind: FetchKind::Asset,
        html: Boundary::Raw,
        manifest: Some(Arc::clone(manifest)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::layout::Candidates;
    use crate::page::layout::syntax::node::ParameterPiece;
    use crate::page::source::diagnostic::{Source, SourceSpan};
    use crate::page::visit::context::{Device, Reader};
    use proptest::prelude::*;

    /// Values that are likely to be confused with each other.
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

    /// The declared values of a client.
    fn declared(reader: &Reader) -> impl PartialEq + std::fmt::Debug {
        let cookie = |name| reader.cookies.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        // Field lines of one name are one list, so that two empty lines differ from one (RFC 9110, 5.3).
        let header = |name| reader.headers.get_all(name).iter().cloned().collect::<Vec<_>>();
        (
            reader.device,
            reader.locale.clone(),
            reader.region.clone(),
            [cookie("u"), cookie("v")],
            [header("x-a"), header("x-b")],
        )
    }

    fn fragment(manifest: &Arc<Manifest>, path: String) -> FragmentUse {
        let (source, at) =
            (FragmentSource::Named(Candidates::one(manifest)), SourceSpan::new(&Source::new("a", ""), 0..0));
        let parameters = vec![("p".to_owned(), vec![ParameterPiece::Literal(path)])];
        FragmentUse { parameters, ..FragmentUse::new(Name::from("a"), source, at) }
    }

    proptest! {
        /// Two clients of a nanoservice that declares every dimension.
        #[test]
        fn keys_are_equal_exactly_when_the_requests_are(a in reader(), b in reader(), path in "[a-z{}%]{0,3}") {
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
            let sent = |fetch: &Fetch| (fetch.target().address.clone(), fetch.headers.clone());
            prop_assert_eq!(first.key == second.key, sent(&first) == sent(&second));
            prop_assert_eq!(first.key == second.key, declared(&a) == declared(&b));
        }
    }
}
