//! The public side: handles every request of a client in one function, [`PageServer::call`].
//! Every failure becomes an error page that quotes nothing of the request.

mod body;
mod coding;

mod reply;

pub mod access;

mod error_page;
mod pending;

pub mod dev;
pub mod overlay;

mod state;

mod exchange;
mod measured;

mod own_request;

mod assets;
mod dev_paths;

mod route;

mod own_paths;
mod pages;
mod public;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::future::Either;
use http::StatusCode;
use http::request::Parts;

use crate::engine::Trace;

use exchange::Exchange;
use pending::guarded;
use route::Destination;

pub use body::{Chunks, ReplyBody};
pub use coding::Compression;
pub use error_page::html as error_page_html;
pub use pending::PendingReply;
pub use public::{OpenFile, PublicFiles};
pub use reply::Reply;
pub use state::Pages;

/// Handles requests for pages and for the compositor's own paths.
pub struct PageServer {
    pages: Arc<Pages>,
    own_paths: Router,
}

impl PageServer {
    /// Creates the server from its parts.
    #[must_use]
    pub fn new(pages: Pages) -> Self {
        let pages = Arc::new(pages);
        Self { own_paths: own_paths::router(Arc::clone(&pages)), pages }
    }

    /// Handles a request. The reply is ready now if no other task has to be waited for, as for a cached page.
    /// A panic becomes an error page.
    ///
    /// The body of the request is not among the arguments: no page depends on one. `HEAD` is handled like `GET`;
    /// the listener leaves the body of the reply out.
    #[must_use]
    pub fn call(&self, request: Parts, peer: SocketAddr) -> PendingReply {
        guarded(|| self.handle(request, peer))
    }

    /// The reply to a request that cannot be read. Nothing is known of it.
    #[must_use]
    pub fn refuse(&self, status: StatusCode) -> Reply {
        self.pages.observer.responded(None, status, Duration::ZERO, 1);
        let trace = Trace::new();
        let mut reply = error_page::reply(status, &trace);
        reply.identify(&trace);
        reply
    }

    fn handle(&self, request: Parts, peer: SocketAddr) -> PendingReply {
        let pages = &self.pages;
        let permit = Arc::clone(&pages.in_flight).try_acquire_owned();
        let exchange = Exchange::begin(pages, request, peer);
        let Ok(permit) = permit else {
            return Either::Left(exchange.finish(pages, error_page::busy(), None));
        };
        match pages.destination(&exchange) {
            Destination::Page(visit) => pages.page(visit, exchange, permit),
            Destination::Own(path) => {
                own_paths::call(Arc::clone(pages), self.own_paths.clone(), exchange, path, permit)
            }
            Destination::Missing(path) => pages.file_at(path, exchange, permit),
            Destination::Refused(status) => {
                Either::Left(exchange.finish(pages, error_page::reply(status, &exchange.trace), None))
            }
        }
    }
}
