//! Components in a build that runs none: each is reported, and requests to it fail.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use url::Url;

use crate::engine::port::{Observer, UpstreamRequest, UpstreamResponse};
use crate::page::manifest::Manifest;
use crate::page::policy::supervision::status::ComponentStatus;
use crate::page::response::parsed::Failure;
use crate::page::source::reason::Reason;

use super::{ComponentSettings, Loaded, problem};

/// What such a build states about each component.
const ABSENT: &str = "this build runs no components; build with `--features wasm`";

/// The components of a site, none of which is run.
#[derive(Clone)]
pub struct Components;

impl Components {
    /// No components.
    #[must_use]
    pub fn new(_: ComponentSettings, _: Arc<dyn Observer>) -> Self {
        Self
    }

    /// Reports each component.
    pub fn load(&self, manifests: impl IntoIterator<Item = Arc<Manifest>>) -> Loaded {
        let components = manifests.into_iter().filter(|manifest| manifest.component().is_some());
        let help = "the release images have it; all other nanoservices and pages are served";
        Loaded { problems: components.map(|manifest| problem(&manifest, ABSENT, help)).collect(), replaced: Vec::new() }
    }

    /// None is known.
    #[must_use]
    pub const fn have_changed(&self) -> bool {
        false
    }

    /// Nothing is known of any.
    #[must_use]
    pub fn status(&self, _: &Manifest) -> Option<ComponentStatus> {
        None
    }

    pub(in crate::edge::upstream) fn ask(
        &self,
        _: UpstreamRequest,
        _: &Url,
    ) -> BoxFuture<'static, Result<UpstreamResponse, Failure>> {
        std::future::ready(Err(Failure::new(Reason::Unknown, ABSENT))).boxed()
    }

    pub(super) fn ask_undecoded(
        &self,
        request: UpstreamRequest,
        url: &Url,
    ) -> BoxFuture<'static, Result<UpstreamResponse, Failure>> {
        self.ask(request, url)
    }
}
