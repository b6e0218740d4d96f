//! Serves pages: from the page cache if the page is there, otherwise composed.
//! A page that cannot be composed becomes an error page.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use futures::StreamExt as _;
use futures::future::Either;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, LOCATION, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::sync::OwnedSemaphorePermit;

use crate::engine::page_cache::ResponseHead;
use crate::engine::{CacheLookup, CachedPage, EncodedPage, Page, PersonalisedPage, Served, Snapshot};
use crate::page::browser::lazy;
use crate::page::output::headers::SURROGATE_KEY;
use crate::page::output::record::Record;
use crate::page::output::stitch::merge_small_chunks;
use crate::page::output::verdict::{Verdict, resolved_location};
use crate::page::visit::context::Dimension;
use crate::page::visit::experiment::Assignment;

use super::body::{Chunks, ReplyBody};
use super::exchange::Exchange;
use super::pending::{PendingReply, later};
use super::reply::{HTML, Head, PageOrigin, Reply};
use super::route::{OWN, PageVisit};
use super::state::Pages;
use super::{coding, error_page};

impl Pages {
    /// Serves a page.
    pub(super) fn page(
        self: &Arc<Self>,
        visit: PageVisit,
        mut exchange: Exchange,
        permit: OwnedSemaphorePermit,
    ) -> PendingReply {
        // A client that has just been assigned to a variant has no copy of the page of that variant.
        exchange.is_conditional &= !visit.assignment.is_drawn;
        let PageVisit { mut request, assignment, stream } = visit;
        let unfinished = match exchange.drawing {
            // A page with the overlay is composed for it, and not taken from the cache.
            Some(_) => None,
            None => match self.compositor.look_up(&request, exchange.began) {
                CacheLookup::Whole(page) => {
                    page.count_served(exchange.began);
                    let mut reply = self.cached(&page, &exchange, permit);
                    note_assignment(&mut reply, assignment);
                    let reply = exchange.finish_counted(self, reply);
                    if let Some(measured) = &exchange.measured {
                        measured.cached(&exchange, page.is_stale(exchange.began));
                    }
                    return Either::Left(reply);
                }
                CacheLookup::Unfinished(unfinished) => Some(unfinished),
            },
        };
        let measured = exchange.measured.as_ref().map(|measured| measured.begin(&exchange));
        if let Some(measured) = &measured {
            request.trace = request.trace.measured_by(Arc::clone(measured));
        }
        let pages = Arc::clone(self);
        later(async move {
            let pattern = request.visit.pattern.clone();
            let reads = request.template.reads.clone();
            let served = match unfinished {
                Some(unfinished) => pages.compositor.complete(request, unfinished, stream).await,
                None => Served::Whole(Box::new(pages.compositor.compose(request).await)),
            };
            let is_counted = matches!(served, Served::Cached(_) | Served::Personalised(_));
            let (served, assignment) = pages.unless_failed(served, assignment, &exchange).await;
            let mut reply = pages.served(served, &reads, &exchange, permit);
            note_assignment(&mut reply, assignment);
            let reply = match is_counted {
                true => exchange.finish_counted(&pages, reply),
                false => exchange.finish(&pages, reply, Some(&pattern)),
            };
            if let Some(measured) = measured {
                measured.answered();
            }
            reply
        })
    }

    /// Serves the file at a path that no page has; if there is none, replies that.
    pub(super) fn file_at(
        self: &Arc<Self>,
        path: String,
        exchange: Exchange,
        permit: OwnedSemaphorePermit,
    ) -> PendingReply {
        if path.starts_with(OWN) {
            return self.no_page(&path, exchange, permit);
        }
        let pages = Arc::clone(self);
        later(async move {
            match pages.public.reply(&path, &exchange.request, pages.compression).await {
                Ok(reply) => exchange.finish(&pages, reply.map_body(|body| holding(body, permit)), None),
                Err(StatusCode::NOT_FOUND) => match pages.no_page(&path, exchange, permit) {
                    Either::Left(reply) => reply,
                    Either::Right(reply) => reply.await,
                },
                Err(status) => exchange.finish(&pages, error(status, &exchange, None, None), None),
            }
        })
    }

    fn no_page(self: &Arc<Self>, path: &str, exchange: Exchange, permit: OwnedSemaphorePermit) -> PendingReply {
        self.observer.unrouted(path);
        self.missing(path, exchange, permit)
    }

    /// Replies that there is no page at a path: with the site's own page for that, if it has one.
    fn missing(self: &Arc<Self>, path: &str, exchange: Exchange, permit: OwnedSemaphorePermit) -> PendingReply {
        // A standalone fragment is fetched by a script, which needs no page in its place.
        let is_standalone = path.starts_with(lazy::PREFIX);
        let page = if is_standalone { None } else { self.status_page(StatusCode::NOT_FOUND, &exchange) };
        let Some(PageVisit { request, assignment, .. }) = page else {
            let missing = error(StatusCode::NOT_FOUND, &exchange, None, Some(permit));
            return Either::Left(exchange.finish(self, missing, None));
        };
        let pages = Arc::clone(self);
        later(async move {
            let mut reply = pages.composed(&pages.compositor.compose(request).await, &exchange, permit);
            note_assignment(&mut reply, assignment);
            exchange.finish(&pages, reply, None)
        })
    }

    /// A page, or if it has come to an error, the site's own page for that, if it has one. That is composed in the time that is
    /// left of the failed page's budget.
    async fn unless_failed(&self, served: Served, assignment: Assignment, exchange: &Exchange) -> (Served, Assignment) {
        if let Served::Whole(page) = &served
            && let Verdict::Error(status) = page.verdict
            && !page.plan.template.is_standalone
            && let Some(instead) = self.status_page(status, exchange)
        {
            let left = page.plan.budget.saturating_sub(page.times.0.elapsed());
            let page = self.compositor.compose_instead(instead.request, left).await;
            return (Served::Whole(Box::new(page)), instead.assignment);
        }
        (served, assignment)
    }

    /// The reply with a page whose head is known. `reads`: the dimensions that the page may depend on.
    fn served(&self, served: Served, reads: &[Dimension], exchange: &Exchange, permit: OwnedSemaphorePermit) -> Reply {
        match served {
            Served::Cached(page) => self.cached(&page, exchange, permit),
            Served::Personalised(page) => self.personalised(&page, exchange, permit),
            Served::Whole(page) => self.composed(&page, exchange, permit).with_origin(PageOrigin::Composed),
            Served::Streaming { status, mut headers, body } => {
                let body = body.map(move |chunk| {
                    // The request is in flight until its last byte.
                    let _permit = &permit;
                    chunk
                });
                self.describe(&mut headers, reads, &exchange.snapshot);
                Reply::new(status, headers, ReplyBody::Streamed(Body::from_stream(body)))
                    .with_origin(PageOrigin::Composed)
            }
        }
    }

    /// The reply with a cached page, in the encoding that is stored with it.
    fn cached(&self, page: &Arc<CachedPage>, exchange: &Exchange, permit: OwnedSemaphorePermit) -> Reply {
        let stored = match exchange.encoding {
            Some(encoding) => coding::stored(&self.compositor, page, encoding),
            None => Some(Arc::clone(&page.plain)),
        };
        let is_encoded = stored.is_some();
        let encoded = stored.as_ref().unwrap_or(&page.plain);
        let head = self.stored_head(page, encoded, &exchange.snapshot, exchange.began);
        let is_held = exchange.holds_etag_of(&head.headers);
        let body = || ReplyBody::InMemory(Chunks::new(Arc::clone(&encoded.chunks), Some(permit)));
        let reply = Reply::unless_held(is_held, Head::Cached(head), body)
            .encodable(!is_encoded)
            .with_origin(PageOrigin::Cached);
        page.count_response(is_held, exchange.began.elapsed());
        reply
    }

    /// The reply with a skeleton whose holes are filled, in an encoding whose pieces can be joined.
    fn personalised(&self, page: &PersonalisedPage, exchange: &Exchange, permit: OwnedSemaphorePermit) -> Reply {
        let is_held = page.etag.as_ref().is_some_and(|tag| exchange.holds(tag));
        let accepted = &exchange.request.headers;
        let encoding = exchange.encoding.filter(|_| !is_held);
        let joined = encoding
            .and_then(|encoding| coding::personalised(&self.compositor, page, encoding, accepted, self.compression));
        let encoded = joined.as_ref().map_or(&page.skeleton.plain, |(spans, _)| spans);
        let head = self.stored_head(&page.skeleton, encoded, &exchange.snapshot, Instant::now());
        let mut headers = head.headers.clone();
        headers.extend(page.etag.clone().map(|tag| (ETAG, tag)));
        let is_encoded = joined.is_some();
        let body = || {
            let chunks = joined.map_or_else(|| page.chunks(), |(_, chunks)| chunks);
            ReplyBody::InMemory(Chunks::new(chunks.into(), Some(permit)))
        };
        let reply = Reply::unless_held(is_held, Head::Own(StatusCode::OK, headers), body)
            .encodable(!is_encoded)
            .with_origin(PageOrigin::Personalised);
        page.skeleton.count_response(is_held, exchange.began.elapsed());
        reply
    }

    /// The reply with a page that was composed, with the overlay if the client sees it.
    fn composed(&self, page: &Page, exchange: &Exchange, permit: OwnedSemaphorePermit) -> Reply {
        let mut headers = page.headers.at(Instant::now());
        let mut reply = match &page.verdict {
            Verdict::Page(status) => {
                self.describe(&mut headers, &page.plan.dimensions, &exchange.snapshot);
                if let Some(drawing) = &exchange.drawing {
                    let reply = Reply::new(*status, headers, ReplyBody::default());
                    return drawing.draw(reply, drawing.marked(page), Some(&page.record()), Some(permit));
                }
                let is_held = *status == StatusCode::OK && exchange.holds_etag_of(&headers);
                let body =
                    || ReplyBody::InMemory(Chunks::new(merge_small_chunks(&page.chunks).chunks.into(), Some(permit)));
                return Reply::unless_held(is_held, Head::Own(*status, headers), body);
            }
            Verdict::Redirect(status, location) => resolved_location(location, exchange.request.uri.path())
                .and_then(|location| redirect(*status, &location, &headers))
                .unwrap_or_else(|| error_page::reply(StatusCode::BAD_GATEWAY, &exchange.trace)),
            Verdict::Error(status) => error(*status, exchange, Some(&page.record()), Some(permit)),
        };
        if let Some(vary) = exchange.snapshot.readers.vary(&page.plan.dimensions) {
            reply.headers_mut().append(VARY, vary);
        }
        reply
    }

    /// The head of a cached page, which is stored with it until its `Cache-Control` changes.
    fn stored_head(
        &self,
        page: &CachedPage,
        encoded: &EncodedPage,
        snapshot: &Snapshot,
        now: Instant,
    ) -> Arc<ResponseHead> {
        page.head(encoded, now, |headers| {
            self.describe(headers, &page.dimensions, snapshot);
            headers.extend(encoded.encoding.map(|encoding| (CONTENT_ENCODING, coding::name(encoding))));
        })
    }

    /// Adds to the headers of a page its media type and its `Vary`: the encodings in which pages are offered, and the
    /// request headers that this page depends on.
    fn describe(&self, headers: &mut HeaderMap, dimensions: &[Dimension], snapshot: &Snapshot) {
        headers.entry(CONTENT_TYPE).or_insert(HTML);
        if self.compression.any() {
            coding::add_vary(headers);
        }
        if let Some(vary) = snapshot.readers.vary(dimensions) {
            headers.append(VARY, vary);
        }
    }
}

/// An error page, with the overlay if the client sees it. `record`: what happened to the page that could not be shown.
pub(super) fn error(
    status: StatusCode,
    exchange: &Exchange,
    record: Option<&Record>,
    permit: Option<OwnedSemaphorePermit>,
) -> Reply {
    let reply = error_page::reply(status, &exchange.trace);
    match &exchange.drawing {
        Some(drawing) => {
            let html = error_page::html(status, &exchange.trace.to_string());
            drawing.draw(reply, vec![html.into()], record, permit)
        }
        None => reply,
    }
}

/// A body that holds the permit of its request until it is sent.
fn holding(body: ReplyBody, permit: OwnedSemaphorePermit) -> ReplyBody {
    match body {
        ReplyBody::InMemory(_) => body,
        ReplyBody::Streamed(body) => {
            let chunks = body.into_data_stream().map(move |chunk| {
                let _permit = &permit;
                chunk
            });
            ReplyBody::Streamed(Body::from_stream(chunks))
        }
    }
}

/// Adds the headers that the client's experiments and rollouts require.
fn note_assignment(reply: &mut Reply, assignment: Assignment) {
    if assignment.varies_on_cookie {
        reply.headers_mut().append(VARY, HeaderValue::from_static("cookie"));
    }
    if !assignment.is_drawn {
        return;
    }
    let headers = reply.headers_mut();
    // Another client with the same cookies may get another page.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.remove(ETAG);
    for cookie in assignment.cookies {
        headers.append(SET_COOKIE, cookie);
    }
}

/// The reply with a redirect. `None`: its location cannot be sent.
fn redirect(status: StatusCode, location: &str, page: &HeaderMap) -> Option<Reply> {
    let location = HeaderValue::from_str(location).ok()?;
    let mut headers = HeaderMap::new();
    for name in [CACHE_CONTROL, VARY, SURROGATE_KEY, SET_COOKIE] {
        for value in page.get_all(&name) {
            headers.append(&name, value.clone());
        }
    }
    headers.insert(LOCATION, location);
    Some(Reply::new(status, headers, ReplyBody::default()))
}
