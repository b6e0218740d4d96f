//! The addresses of nanoservices.
//! Each way to reach a nanoservice is a variant of [`Address`]; the code that sends requests matches on it.

use std::fmt;
use std::sync::Arc;

use url::Url;

use crate::page::manifest::{Endpoint, Manifest, OnDemand};
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
    /// A resource of a program that is started on demand. The host of the URL only stands for the program.
    Process(Url),
}

impl Target {
    /// The target of a URL.
    #[must_use]
    pub fn http(url: Url) -> Self {
        Self { upstream: Name::from(url.origin().ascii_serialization()), address: Address::Http(url) }
    }

    fn on_demand(on_demand: &OnDemand, url: Url) -> Self {
        match on_demand {
            OnDemand::Program(program) => {
                Self { upstream: Arc::clone(&program.upstream), address: Address::Process(url) }
            }
        }
    }
}

impl Address {
    /// The address as text; equal only for equal addresses, so that it can be part of cache keys.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Http(url) | Self::Process(url) => url.as_str(),
        }
    }

    /// The URL that relative references in a response are resolved against.
    #[must_use]
    pub const fn base(&self) -> &Url {
        match self {
            Self::Http(url) | Self::Process(url) => url,
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
    let target = |endpoint: &Endpoint| {
        let address = Address::Http(endpoint.url(parameters)?);
        Some(Target { upstream: Name::from(endpoint.origin()), address })
    };
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
        Some(Target::http(url))
    };
    manifest.endpoints.iter().filter_map(on).collect()
}
