//! One request before it is routed: its trace, and what its client accepts and has stored.
//! A client's header that cannot be read counts as absent.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use http::header::{ACCEPT_ENCODING, COOKIE, ETAG, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::engine::{Encoding, Snapshot, Trace, trace};
use crate::page::policy::cache::validation::is_not_modified;

use super::access::{self, Access};
use super::coding;
use super::measured::{self, Measured};
use super::overlay::{self, Drawing};
use super::reply::Reply;
use super::state::Pages;

/// The protocol that a client used to reach the proxy in front.
const FORWARDED_PROTOCOL: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// One request, and everything except its path that its reply depends on.
pub(super) struct Exchange {
    pub(super) request: Parts,
    /// The address of whoever is connected: the client, or the nearest proxy.
    peer: IpAddr,
    pub(super) began: Instant,
    /// The snapshot that was live when the request arrived.
    pub(super) snapshot: Arc<Snapshot>,
    /// Whether the request comes from a trusted proxy, so that its forwarding headers count.
    pub(super) is_trusted: bool,
    pub(super) trace: Trace,
    /// The encoding that the client prefers; `None`: the page as it is.
    pub(super) encoding: Option<Encoding>,
    /// Whether the client states which versions of the page it has stored, and they may be used.
    pub(super) is_conditional: bool,
    /// The overlay, if the client sees it.
    pub(super) drawing: Option<Drawing>,
    /// What it is recorded for, if it carries the token of a load run.
    pub(super) measured: Option<Measured>,
}

impl Exchange {
    pub(super) fn begin(pages: &Pages, request: Parts, peer: SocketAddr) -> Self {
        let began = Instant::now();
        let snapshot = pages.live.now();
        let is_trusted = snapshot.readers.trusts(peer.ip());
        let run = pages.load_runs.live();
        let present = Present::among(&request.headers, is_trusted || run.is_some());
        let measured = present.load_token.zip(run).and_then(|(value, run)| Measured::read(value, run));
        // Any client could send a trace, and have its requests recorded.
        let parent = present.trace_parent.filter(|_| is_trusted || measured.is_some());
        let state = present.has_trace_state.then(|| request.headers.get_all(trace::STATE)).into_iter().flatten();
        let trace = parent.and_then(|parent| Trace::continued(parent, state)).unwrap_or_default();
        let encoding =
            if present.accept_encoding { coding::preferred(&request.headers, pages.compression) } else { None };
        let sees_overlay = pages.overlay.is_for_everybody()
            || present.debug_token && pages.overlay.is_for(&request.headers, || pages.compositor.now());
        let drawing = sees_overlay.then(|| Drawing::new(pages.dev.as_ref()));
        let (peer, is_conditional) = (peer.ip(), present.if_none_match);
        Self { request, peer, began, snapshot, is_trusted, trace, encoding, is_conditional, drawing, measured }
    }

    /// Counts a reply, and adds the headers that every reply has. `page`: the pattern of the page's route.
    pub(super) fn finish(&self, pages: &Pages, reply: Reply, page: Option<&str>) -> Reply {
        pages.observer.responded(page, reply.status(), self.began.elapsed(), 1);
        self.finish_counted(pages, reply)
    }

    /// Adds the headers that every reply has, for a reply that is counted elsewhere.
    pub(super) fn finish_counted(&self, pages: &Pages, mut reply: Reply) -> Reply {
        reply.encode(pages.compression, self.encoding);
        reply.identify(&self.trace);
        match &pages.access_log {
            None => reply,
            Some(log) => {
                let access = self.access(pages, &reply);
                log.logged(reply, access)
            }
        }
    }

    /// What the access log has of it.
    fn access(&self, pages: &Pages, reply: &Reply) -> Access {
        let Parts { method, uri, version, headers, .. } = &self.request;
        let (referer, agent) = Access::headers(headers);
        Access {
            client: access::client(self.peer, self.is_trusted, headers, &self.snapshot.readers),
            method: method.clone(),
            uri: uri.clone(),
            version: *version,
            referer,
            agent,
            began: self.began,
            at: pages.compositor.now(),
            id: self.trace.id(),
            status: reply.status(),
            origin: reply.origin(),
        }
    }

    /// Whether the client uses TLS, up to this server or to a proxy that is trusted.
    pub(super) fn is_secure(&self, pages: &Pages) -> bool {
        let forwarded = || self.request.headers.get(&FORWARDED_PROTOCOL);
        pages.is_tls || self.is_trusted && forwarded().is_some_and(|protocol| protocol == "https")
    }

    /// Whether the client has the page with these headers already.
    pub(super) fn holds_etag_of(&self, headers: &HeaderMap) -> bool {
        self.is_conditional && headers.get(ETAG).is_some_and(|tag| self.holds(tag))
    }

    /// Whether the client has the page with this `ETag` already (RFC 9110, 13.1.2).
    pub(super) fn holds(&self, tag: &HeaderValue) -> bool {
        self.is_conditional && tag.to_str().is_ok_and(|tag| is_not_modified(&self.request.headers, tag))
    }
}

/// Which of the fields that decide how a page is sent are present. One pass over all fields takes less time than one
/// lookup for each.
#[derive(Default)]
struct Present<'h> {
    accept_encoding: bool,
    /// A field that may carry a debug token.
    debug_token: bool,
    if_none_match: bool,
    /// The first token of a load run, and the first `traceparent`, if they are looked for.
    load_token: Option<&'h HeaderValue>,
    trace_parent: Option<&'h HeaderValue>,
    has_trace_state: bool,
}

impl<'h> Present<'h> {
    /// `reads_trace`: whether the token of a load run and the trace matter. For most clients they do not.
    fn among(headers: &'h HeaderMap, reads_trace: bool) -> Self {
        let mut present = Self::default();
        for (name, value) in headers {
            present.accept_encoding |= *name == ACCEPT_ENCODING;
            present.debug_token |= *name == COOKIE || *name == overlay::TOKEN;
            present.if_none_match |= *name == IF_NONE_MATCH;
            if reads_trace {
                if *name == trace::PARENT {
                    present.trace_parent.get_or_insert(value);
                } else if *name == measured::TOKEN {
                    present.load_token.get_or_insert(value);
                } else {
                    present.has_trace_state |= *name == trace::STATE;
                }
            }
        }
        present
    }
}
