//! Asks services once whether they say of themselves that they are going away (RFC 9745, RFC 8594).
//! One that does not answer has said nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::Method;
use tokio::time::timeout;

use crate::edge::upstream::http::HttpUpstream;
use crate::engine::port::{Upstream as _, UpstreamRequest};
use crate::page::conform::subject::Subject;
use crate::page::layout::FragmentUse;
use crate::page::manifest::Manifest;
use crate::page::request::address::Address;
use crate::page::response::parsed::deprecation;
use crate::page::source::diagnostic::{Code, Diagnostic};
use crate::secrets::Secrets;

use super::loading::Loaded;

/// Longest time for all answers.
const PATIENCE: Duration = Duration::from_secs(1);

/// A warning for each fragment whose service says that it is going away.
pub(super) fn warnings(loaded: &Loaded, root: &Path) -> Vec<Diagnostic> {
    let uses: Vec<_> = loaded
        .site
        .templates
        .iter()
        .flat_map(|template| template.with_takeovers())
        .flat_map(|template| &template.html.fragments)
        .collect();
    let fills = |fragment: &FragmentUse, manifest: &Arc<Manifest>| {
        fragment.manifest().is_some_and(|used| Arc::ptr_eq(used, manifest))
    };
    let is_used = |manifest: &Arc<Manifest>| uses.iter().any(|fragment| fills(fragment, manifest));
    let used: Vec<&Arc<Manifest>> = loaded.site.catalogue.manifests().iter().filter(|m| is_used(m)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let upstream = HttpUpstream::new(loaded.settings.private_upstreams, Secrets::new(root.to_owned()));
    let (Ok(runtime), Ok(upstream)) = (runtime, upstream) else { return Vec::new() };
    let endings = runtime.block_on(join_all(used.into_iter().map(async |manifest| {
        let endpoint = manifest.endpoints.first()?;
        let question = Subject::declared(manifest, endpoint, &[], &loaded.settings.defaults).opening()?;
        let request = UpstreamRequest {
            method: Method::GET,
            address: Address::Http(question.url),
            headers: question.headers,
            body: Bytes::new(),
            manifest: Some(Arc::clone(manifest)),
            credentials: true,
        };
        let response = timeout(PATIENCE, upstream.send(request)).await.ok()?.ok()?;
        Some((manifest, deprecation(&response.headers)?))
    })));
    let mut warnings = Vec::new();
    for (manifest, ending) in endings.into_iter().flatten() {
        for fragment in &uses {
            if fills(fragment, manifest) {
                let message = format!("`{}` {} says that it is {ending}", manifest.name, manifest.version);
                let owner = manifest.owner.as_deref().map(|owner| format!("ask {owner} what takes its place"));
                warnings.push(Diagnostic::new(Code::Deprecated, fragment.at.clone(), message).maybe_help(owner));
            }
        }
    }
    warnings
}
