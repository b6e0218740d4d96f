//! Routes a request, before anything is sent.
//! A request that cannot be routed gets the status of its refusal.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, StatusCode, Version};
use jiff::Timestamp;

use crate::engine::PageRequest;
use crate::page::browser::lazy;
use crate::page::http::origin;
use crate::page::manifest::grants;
use crate::page::site::{Match, NoMatch};
use crate::page::visit::experiment::{Assignment, assign_variants};
use crate::page::visit::route;
use crate::page::visit::side::assign_sides;

use super::dev;
use super::exchange::Exchange;
use super::state::Pages;

/// The prefix of the compositor's own paths.
pub(super) const OWN: &str = "/_pasteup/";
/// The path of the catalogue of all nanoservices, if it is published.
pub(super) const CATALOGUE: &str = grants::PATH;

/// The destination of a request.
#[expect(clippy::large_enum_variant, reason = "a box would be an allocation for every cached page")]
pub(super) enum Destination {
    /// A page, or a standalone fragment, which is a page of one fragment.
    Page(PageVisit),
    /// One of the compositor's own paths, normalised.
    Own(String),
    /// No page is at this path, normalised; a file may be.
    Missing(String),
    /// The request is refused with this status.
    Refused(StatusCode),
}

/// A request for a page.
pub(super) struct PageVisit {
    pub(super) request: PageRequest,
    pub(super) assignment: Assignment,
    /// Whether the head may be sent before the whole page is known.
    pub(super) stream: bool,
}

impl Pages {
    pub(super) fn destination(&self, exchange: &Exchange) -> Destination {
        let request = &exchange.request;
        if self.dev.is_some() && dev::is_for(&request.method, request.uri.path()) {
            return Destination::Own(request.uri.path().to_owned());
        }
        match self.path(request) {
            Ok(path) if is_own(&path, exchange.snapshot.publish) => Destination::Own(path),
            Ok(path) => match self.page_at(&path, exchange) {
                Ok(page) => Destination::Page(page),
                Err(NoMatch::Missing) => Destination::Missing(path),
                Err(NoMatch::Forged | NoMatch::NoSuchVersion) => Destination::Refused(StatusCode::BAD_REQUEST),
            },
            Err(status) => Destination::Refused(status),
        }
    }

    /// The normalised path of a request that may be served.
    ///
    /// # Errors
    /// The status of the refusal.
    fn path(&self, request: &Parts) -> Result<String, StatusCode> {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        let length = request.uri.path_and_query().map_or(0, |target| target.as_str().len());
        if length > self.max_uri_bytes {
            return Err(StatusCode::URI_TOO_LONG);
        }
        route::normalise(request.uri.path()).map_err(|_| StatusCode::BAD_REQUEST)
    }

    /// The page at a path.
    ///
    /// # Errors
    /// There is none.
    fn page_at(&self, path: &str, exchange: &Exchange) -> Result<PageVisit, NoMatch> {
        let at = self.compositor.now();
        let query = exchange.request.uri.query();
        let mut found = exchange.snapshot.site.find(path, query, at)?;
        // Only whoever sees the overlay may choose versions, and gets a page that is never cached.
        let asked = if exchange.drawing.is_some() { exchange.snapshot.site.asked_versions(query)? } else { Vec::new() };
        let with_versions;
        if !asked.is_empty() {
            with_versions = exchange.snapshot.site.with_versions(found.template, &asked);
            found = Match { template: &with_versions, ..found };
        }
        Ok(self.visit(found, at, exchange))
    }

    /// The site's own page for a status. `None`: it has none.
    pub(super) fn status_page(&self, status: StatusCode, exchange: &Exchange) -> Option<PageVisit> {
        let at = self.compositor.now();
        let page = exchange.snapshot.site.status_page(status, at)?;
        Some(PageVisit { stream: false, ..self.visit(page, at, exchange) })
    }

    fn visit(&self, found: Match<'_>, at: Timestamp, exchange: &Exchange) -> PageVisit {
        let Exchange { request, snapshot, is_trusted, trace, .. } = exchange;
        let Match { template, changes_in, pattern, parameters, sides } = found;
        let mut reader = snapshot.readers.reader(&template.reads, &request.headers, *is_trusted);
        let mut assignment = assign_variants(
            &template.experiments,
            &template.reads,
            &request.headers,
            self.compositor.chance(),
            &mut reader,
        );
        if let Some(client) = exchange.measured.as_ref().and_then(|measured| measured.client.as_deref()) {
            client.replace(template, &snapshot.readers.locales, &mut reader, &mut assignment);
        }
        let rollouts = self.compositor.rollouts();
        let sides = assign_sides(
            &template.rollouts,
            &request.headers,
            sides.as_deref(),
            |name, version| rollouts.standing(name, version),
            self.compositor.chance(),
            &mut reader,
        );
        let assignment = assignment.with_sides(sides);
        let host =
            if template.reads_host { origin::host(&request.uri, &request.headers).to_owned() } else { String::new() };
        let visit = template.visit(&pattern, parameters, request.uri.query(), reader, host);
        // Before HTTP/1.1 a client cannot distinguish a truncated body from a complete one.
        let stream = snapshot.stream && !template.is_standalone && request.version >= Version::HTTP_11;
        let (template, trace) = (Arc::clone(template), trace.clone());
        let request = PageRequest { template, visit, trace, at, changes_in };
        PageVisit { request, assignment, stream }
    }
}

fn is_own(path: &str, publish: bool) -> bool {
    path == CATALOGUE && publish || path.starts_with(OWN) && !path.starts_with(lazy::PREFIX)
}
