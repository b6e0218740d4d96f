//! From a plan that is being filled to a page: all at once, or in document order as its parts come in.
//! A page that is larger than it may be is an error, or breaks off.

use std::hash::{BuildHasher as _, RandomState};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use http::StatusCode;
use tokio::time::Instant;

use crate::page::html::text::length;
use crate::page::output::headers::Headers;
use crate::page::output::stitch::{Stitcher, gathered, stitch};
use crate::page::output::verdict::{Verdict, verdict};

use super::fanout::FanOut;
use super::page::{Page, PageTooLarge};
use super::trace::Trace;

/// Waits for all that a page asks for.
pub(super) async fn all(mut fan_out: FanOut) -> FanOut {
    while fan_out.next().await {}
    fan_out
}

/// Stitches a page.
pub(super) fn finish(fan_out: FanOut, trace: &Trace) -> Page {
    let complete = fan_out.is_complete();
    let began = fan_out.began();
    let (plan, outcomes) = fan_out.finish();
    let mut verdict = verdict(&plan, &outcomes);
    let mut chunks = if complete { stitch(&plan, &outcomes) } else { Vec::new() };
    if length(&chunks) as u64 > plan.max_bytes {
        tracing::error!(%trace, page = plan.visit.pattern, "{}", PageTooLarge(plan.max_bytes));
        (verdict, chunks) = (Verdict::Error(StatusCode::BAD_GATEWAY), Vec::new());
    }
    let now = Instant::now().into_std();
    Page {
        verdict,
        chunks,
        headers: Headers::of(&plan, &outcomes, complete, now),
        plan,
        outcomes,
        times: (began, now),
        trace: trace.clone(),
    }
}

/// The rest of a page whose head has left.
pub(super) fn stream(
    fan_out: FanOut,
    trace: Trace,
    done: impl FnOnce(Page) + Send + 'static,
) -> BoxStream<'static, Result<Bytes, PageTooLarge>> {
    // Not fastrand: nanoservices see numbers of its making, and could tell the next one.
    let salt = RandomState::new().hash_one(trace.to_string());
    let stitcher = Stitcher::streaming(fan_out.plan(), salt);
    let most = fan_out.plan().max_bytes;
    stream::unfold(Some((fan_out, stitcher, trace, done)), |state| async move {
        let (mut fan_out, mut stitcher, trace, done) = state?;
        loop {
            fan_out.take_ready();
            let chunks = stitcher.advance(fan_out.plan(), fan_out.outcomes());
            if stitcher.is_done() {
                done(finish(fan_out, &trace));
                return Some((gathered(&chunks).pieces, None));
            }
            if !chunks.is_empty() {
                return Some((gathered(&chunks).pieces, Some((fan_out, stitcher, trace, done))));
            }
            // Where it does not hold, the reader's connection breaks: half a page is none.
            assert!(fan_out.next().await, "a page whose outcomes are known comes to its end");
        }
    })
    .flat_map(stream::iter)
    .scan(0_u64, move |sent, chunk| {
        // Behind what breaks it off comes nothing.
        let before = *sent;
        *sent = sent.saturating_add(chunk.len() as u64);
        let too_large = *sent > most;
        futures::future::ready(
            (before <= most).then(|| if too_large { Err(PageTooLarge(most)) } else { Ok(chunk.bytes()) }),
        )
    })
    // Compression asks once more after the end.
    .fuse()
    .boxed()
}
