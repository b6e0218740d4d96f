//! The addresses of nanoservices.
//! Each way to reach a nanoservice is a variant of [`Address`]; the code that sends requests matches on it.

use std::fmt;
use std::sync::Arc;

use url::Url;

use crate::page::manifest::{Endpoint, Manifest, OnDemand};
use crate::page::policy::naming::{Naming, Place};
use crate::page::source::names::Name;

/// An address that a fetch can be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The upstream of the address, by which its concurrency, circuit and latency are counted: scheme, host and port, or the
    /// name of what runs on demand.
    pub upstream: Name,
    /// The address of the resource on this upstream.
    pub address: Address,
}

/// The address of one resource of a nanoservice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A URL, requested over HTTP.
    Http(Url),
    /// A URL whose host is looked up in DNS: every place that is found is an endpoint of its own.
    Named(Naming, Url),
    /// A URL at one of the places of its host.
    Placed(Naming, Url, Place),
    /// A resource of a program that is started on demand. The host of the URL only stands for the program.
    Process(Url),
    /// A resource of a component that runs in the compositor. The host of the URL only stands for the component.
    Component(Url),
}

impl Target {
    /// The target of a URL.
    #[must_use]
    pub fn http(url: Url) -> Self {
        Self { upstream: Name::from(url.origin().ascii_serialization()), address: Address::Http(url) }
    }

    /// The target of a URL whose host is looked up by these records, if there are some.
    fn found_by(naming: Option<Naming>, origin: &str, url: Url) -> Self {
        let upstream = match naming {
            None => Name::from(origin),
            Some(naming) => Name::from(format!("{}{origin}", naming.prefix())),
        };
        Self { upstream, address: Address::of(naming, url) }
    }

    /// The target at one of the places of its host. `None`: its host is not looked up.
    #[must_use]
    pub fn at(&self, place: &Place) -> Option<Self> {
        let Address::Named(naming, url) = &self.address else { return None };
        let upstream = Name::from(format!("http://{}", place.address));
        Some(Self { upstream, address: Address::Placed(*naming, url.clone(), place.clone()) })
    }

    /// Whether its host is looked up, so that it stands for any number of endpoints.
    #[must_use]
    pub const fn is_named(&self) -> bool {
        matches!(self.address, Address::Named(..))
    }

    fn on_demand(on_demand: &OnDemand, url: Url) -> Self {
        let address = match on_demand {
            OnDemand::Program(_) => Address::Process(url),
            OnDemand::Component(_) => Address::Component(url),
        };
        Self { upstream: Arc::clone(on_demand.upstream()), address }
    }
}

impl Address {
    /// The address of a URL, whose host is looked up by these records, if there are some.
    #[must_use]
    pub const fn of(naming: Option<Naming>, url: Url) -> Self {
        match naming {
            None => Self::Http(url),
            Some(naming) => Self::Named(naming, url),
        }
    }

    /// The address as text; equal only for addresses of the same resource, so that it can be part of cache keys.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Http(url)
            | Self::Named(_, url)
            | Self::Placed(_, url, _)
            | Self::Process(url)
            | Self::Component(url) => url.as_str(),
        }
    }

    /// The URL that relative references in a response are resolved against.
    #[must_use]
    pub const fn base(&self) -> &Url {
        match self {
            Self::Http(url)
            | Self::Named(_, url)
            | Self::Placed(_, url, _)
            | Self::Process(url)
            | Self::Component(url) => url,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The target of each endpoint of a nanoservice, with these parameters. `None`: a parameter would change the path of one.
pub(super) fn of_parameters(manifest: &Manifest, parameters: &[(String, String)]) -> Option<Arc<[Target]>> {
    if let Some(on_demand) = &manifest.on_demand {
        return Some(Arc::from([Target::on_demand(on_demand, on_demand.path().url(parameters)?)]));
    }
    let target =
        |endpoint: &Endpoint| Some(Target::found_by(endpoint.naming(), endpoint.origin(), endpoint.url(parameters)?));
    manifest.endpoints.iter().map(target).collect()
}

/// The same path and query on each endpoint of a nanoservice.
pub(super) fn on_all_endpoints(manifest: &Manifest, url: &Url) -> Arc<[Target]> {
    if let Some(on_demand) = &manifest.on_demand {
        return Arc::from([Target::on_demand(on_demand, url.clone())]);
    }
    let on = |endpoint: &Endpoint| {
        let base = endpoint.base()?;
        let mut url = url.clone();
        url.set_scheme(base.scheme()).ok()?;
        url.set_host(base.host_str()).ok()?;
        url.set_port(base.port()).ok()?;
        Some(Target::found_by(endpoint.naming(), endpoint.origin(), url))
    };
    manifest.endpoints.iter().filter_map(on).collect()
}
