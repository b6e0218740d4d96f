//! A reply, or the future of one. A panic in either becomes an error page.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Either};
use http::StatusCode;

use crate::engine::Trace;

use super::error_page;
use super::reply::Reply;

/// A reply that is ready now (left), or the future of one (right).
pub type PendingReply = Either<Reply, BoxFuture<'static, Reply>>;

/// The pending reply that a function returns.
pub(super) fn guarded(answer: impl FnOnce() -> PendingReply) -> PendingReply {
    catch_unwind(AssertUnwindSafe(answer)).unwrap_or_else(|_| Either::Left(panicked()))
}

/// Boxes the future of a reply. A panic in it becomes an error page.
pub(super) fn later(reply: impl Future<Output = Reply> + Send + 'static) -> PendingReply {
    let reply = AssertUnwindSafe(reply).catch_unwind().map(|reply| reply.unwrap_or_else(|_| panicked()));
    Either::Right(reply.boxed())
}

/// The reply to a request that made the program panic.
fn panicked() -> Reply {
    tracing::error!("a request panicked");
    let trace = Trace::new();
    let mut reply = error_page::reply(StatusCode::INTERNAL_SERVER_ERROR, &trace);
    reply.identify(&trace);
    reply
}
