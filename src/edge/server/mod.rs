//! The public side: handles every request of a client in one function, [`PageServer::call`].
//! Every failure becomes an error page that quotes nothing of the request.

mod assets;
mod body;
mod coding;
pub mod dev;
mod error_page;
mod exchange;
pub mod overlay;
mod own_paths;
mod pages;
mod reply;
mod route;

use std::future::Future;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use axum::Router;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Either};
use http::StatusCode;
use http::request::Parts;
use tokio::sync::Semaphore;

use crate::engine::port::Observer;
use crate::engine::{Compositor, Live, Trace};

pub use body::{Chunks, ReplyBody};
pub use coding::Compression;
use dev::Dev;
pub use error_page::html as error_page_html;
use exchange::Exchange;
use overlay::Overlay;
pub use reply::Reply;
use route::Destination;

/// The parts that the public side needs.
pub struct Pages {
    /// The layouts, manifests and settings that are in force.
    pub live: Arc<Live>,
    /// Composes pages.
    pub compositor: Compositor,
    /// Counts what happens.
    pub observer: Arc<dyn Observer>,
    /// Permits for requests in flight. A request that gets none is refused with 503 at once.
    pub in_flight: Arc<Semaphore>,
    /// Longest target of a request, in bytes.
    pub max_uri_bytes: usize,
    /// Content codings that replies may be sent in.
    pub compression: Compression,
    /// Which clients see the overlay.
    pub overlay: Overlay,
    /// The state that exists only while the site is being developed.
    pub dev: Option<Dev>,
}

/// A reply that is ready now (left), or the future of one (right).
pub type PendingReply = Either<Reply, BoxFuture<'static, Reply>>;

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
    /// hyper leaves the body of the reply out.
    #[must_use]
    pub fn call(&self, request: Parts, peer: SocketAddr) -> PendingReply {
        catch_unwind(AssertUnwindSafe(|| self.handle(request, peer))).unwrap_or_else(|_| Either::Left(panicked()))
    }

    fn handle(&self, request: Parts, peer: SocketAddr) -> PendingReply {
        let pages = &self.pages;
        let permit = Arc::clone(&pages.in_flight).try_acquire_owned();
        let exchange = Exchange::begin(pages, request, peer);
        let Ok(permit) = permit else {
            return Either::Left(pages.finish(error_page::busy(), &exchange, None));
        };
        match pages.destination(&exchange) {
            Destination::Page(visit) => pages.page(visit, exchange, permit),
            Destination::Own(path) => own_paths::call(self, exchange, path, permit),
            Destination::Missing => {
                let missing = pages::error(StatusCode::NOT_FOUND, &exchange, None, Some(permit));
                Either::Left(pages.finish(missing, &exchange, None))
            }
            Destination::Refused(status) => {
                Either::Left(pages.finish(error_page::reply(status, &exchange.trace), &exchange, None))
            }
        }
    }
}

impl Pages {
    /// Counts a reply, and adds the headers that every reply has. `page`: the pattern of the page's route.
    fn finish(&self, reply: Reply, exchange: &Exchange, page: Option<&str>) -> Reply {
        self.observer.responded(page, reply.status(), exchange.began.elapsed(), 1);
        self.finish_counted(reply, exchange)
    }

    /// Adds the headers that every reply has, for a reply that is counted elsewhere.
    fn finish_counted(&self, reply: Reply, exchange: &Exchange) -> Reply {
        reply.encoded(self.compression, exchange.encoding).identified(&exchange.trace)
    }
}

/// Boxes the future of a reply. A panic in it becomes an error page.
fn later(reply: impl Future<Output = Reply> + Send + 'static) -> PendingReply {
    let reply = AssertUnwindSafe(reply).catch_unwind().map(|reply| reply.unwrap_or_else(|_| panicked()));
    Either::Right(reply.boxed())
}

/// The reply to a request that made the program panic.
fn panicked() -> Reply {
    tracing::error!("a request panicked");
    let trace = Trace::new();
    error_page::reply(StatusCode::INTERNAL_SERVER_ERROR, &trace).identified(&trace)
}
