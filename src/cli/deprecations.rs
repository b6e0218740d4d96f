//! Requests one response from each nanoservice in use, and warns if it is deprecated (RFC 9745) or has a sunset date
//! (RFC 8594). A nanoservice that does not respond in time causes no warning.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::Method;
use tokio::time::timeout;

use crate::edge::upstream::http::HttpUpstream;
use crate::edge::upstream::names::Names;
use crate::engine::port::{Upstream as _, UpstreamRequest};
use crate::page::conform::subject::Subject;
use crate::page::layout::FragmentUse;
use crate::page::manifest::Manifest;
use crate::page::request::address::Address;
use crate::page::response::parsed::{deprecation, sunset};
use crate::page::source::diagnostic::{Code, Diagnostic};
use crate::secrets::Secrets;

use super::runtime;
use super::site_loading::Loaded;

/// Longest wait for each response. All requests are sent at once.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A warning for each use of a fragment whose nanoservice announces its end.
pub(super) fn warnings(loaded: &Loaded, root: &Path) -> Vec<Diagnostic> {
    let uses: Vec<_> = loaded
        .site
        .templates
        .iter()
        .flat_map(|template| template.with_takeovers())
        .flat_map(|template| &template.html.fragments)
        .collect();
    let names = |fragment: &FragmentUse, manifest: &Arc<Manifest>| {
        fragment.candidates().any(|used| Arc::ptr_eq(used, manifest))
    };
    let is_used = |manifest: &Arc<Manifest>| uses.iter().any(|fragment| names(fragment, manifest));
    let manifests: Vec<&Arc<Manifest>> = loaded.site.catalogue.manifests().iter().filter(|m| is_used(m)).collect();
    let upstream = HttpUpstream::new(
        loaded.settings.private_upstreams,
        Secrets::new(root.to_owned()),
        Names::new(&loaded.settings.discovery.resolver),
    );
    let (Ok(runtime), Ok(upstream)) = (runtime::current_thread(), upstream) else { return Vec::new() };
    let endings = runtime.block_on(join_all(manifests.into_iter().map(async |manifest| {
        let endpoint = manifest.endpoints.first()?;
        let planned = Subject::declared(manifest, endpoint, &[], &loaded.settings.defaults).probe()?;
        let request = UpstreamRequest {
            method: Method::GET,
            address: Address::of(endpoint.naming(), planned.url),
            headers: planned.headers,
            body: Bytes::new(),
            manifest: Some(Arc::clone(manifest)),
            credentials: true,
            max_bytes: loaded.settings.defaults.max_bytes,
        };
        let response = timeout(TIMEOUT, upstream.send(request)).await.ok()?.ok()?;
        Some((manifest, deprecation(&response.headers)?, sunset(&response.headers)))
    })));
    let mut warnings = Vec::new();
    for (manifest, ending, sunset) in endings.into_iter().flatten() {
        for fragment in uses.iter().filter(|fragment| names(fragment, manifest)) {
            let message = format!("`{}` {} announces that it is {ending}", manifest.name, manifest.version);
            let problem = Diagnostic::new(Code::Deprecated, fragment.at.clone(), message).sunset(sunset);
            warnings.push(problem.maybe_help(manifest.what_replaces_it()));
        }
    }
    warnings
}
