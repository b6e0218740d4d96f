//! Sends each request the way that its address requires: over HTTP to an endpoint, to a program that is started for it, or to
//! an instance of a component.

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::engine::port::{Lease, Upstream, UpstreamRequest, UpstreamResponse};
use crate::page::manifest::Manifest;
use crate::page::policy::naming::Place;
use crate::page::request::address::Address;
use crate::page::response::parsed::Failure;

use super::component::Components;
use super::http::HttpUpstream;
use super::process::Programs;

/// All kinds of nanoservices.
pub struct AnyUpstream {
    http: Arc<dyn Upstream>,
    programs: Programs,
    components: Components,
}

impl AnyUpstream {
    /// Endpoints by way of `http`, programs and components.
    #[must_use]
    pub fn new(http: HttpUpstream, programs: Programs, components: Components) -> Self {
        Self { http: Arc::new(http), programs, components }
    }
}

impl Upstream for AnyUpstream {
    fn send(&self, request: UpstreamRequest) -> BoxFuture<'static, Result<UpstreamResponse, Failure>> {
        match &request.address {
            Address::Http(_) | Address::Named(..) | Address::Placed(..) => self.http.send(request),
            Address::Process(url) => {
                let url = url.clone();
                self.programs.ask(request, &url, &self.http)
            }
            Address::Component(url) => {
                let url = url.clone();
                self.components.ask(request, &url)
            }
        }
    }

    fn places(&self, address: &Address) -> BoxFuture<'static, Result<Arc<[Place]>, Failure>> {
        self.http.places(address)
    }

    fn start(&self, manifest: &Arc<Manifest>) -> Option<BoxFuture<'static, Result<Lease, Failure>>> {
        manifest.program().map(|_| self.programs.lease(manifest))
    }

    fn is_starting(&self, manifest: &Manifest) -> bool {
        manifest.program().is_some() && self.programs.is_being_started(manifest)
    }
}
