//! Stitches the outcomes of a fan-out into a page: whole once all parts are known, or as a stream in document order.
//! A page that exceeds `page.max_bytes` becomes an error, or its stream is aborted.

use std::hash::{BuildHasher as _, RandomState};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use http::StatusCode;
use tokio::time::Instant;

use crate::page::html::text::length;
use crate::page::output::headers::Headers;
use crate::page::output::stitch::{Stitcher, merge_small_chunks, stitch};
use crate::page::output::verdict::{Verdict, verdict};

use super::fanout::FanOut;
use super::page::{Page, PageTooLarge};
use super::trace::Trace;

/// Waits for all outcomes of a page.
pub(super) async fn wait_for_all(mut fan_out: FanOut) -> FanOut {
    while fan_out.next().await {}
    fan_out
}

/// Stitches a page from the outcomes that are known.
pub(super) fn finish(fan_out: FanOut, trace: &Trace) -> Page {
    let is_complete = fan_out.is_complete();
    let began = fan_out.began();
    let (plan, outcomes) = fan_out.finish();
    let mut verdict = verdict(&plan, &outcomes);
    let mut chunks = if is_complete { stitch(&plan, &outcomes) } else { Vec::new() };
    let error = (length(&chunks) as u64 > plan.max_bytes).then_some(PageTooLarge(plan.max_bytes));
    if error.is_some() {
        (verdict, chunks) = (Verdict::Error(StatusCode::BAD_GATEWAY), Vec::new());
    }
    let now = Instant::now().into_std();
    Page {
        verdict,
        chunks,
        error,
        headers: Headers::of(&plan, &outcomes, is_complete, now),
        plan,
        outcomes,
        times: (began, now),
        trace: trace.clone(),
    }
}

/// Streams a page whose head has been sent. `done` is called with the page once all of it is stitched.
pub(super) fn stream(
    fan_out: FanOut,
    trace: Trace,
    done: impl FnOnce(Page) + Send + 'static,
) -> BoxStream<'static, Result<Bytes, PageTooLarge>> {
    // Not from fastrand: nanoservices are sent numbers from it, and could predict the next one.
    let salt = RandomState::new().hash_one(trace.to_string());
    let stitcher = Stitcher::streaming(fan_out.plan(), salt);
    let max_bytes = fan_out.plan().max_bytes;
    stream::unfold(Some((fan_out, stitcher, trace, done)), |state| async move {
        let (mut fan_out, mut stitcher, trace, done) = state?;
        loop {
            fan_out.take_ready();
            let chunks = stitcher.advance(fan_out.plan(), fan_out.outcomes());
            if stitcher.is_done() {
                done(finish(fan_out, &trace));
                return Some((merge_small_chunks(&chunks).chunks, None));
            }
            if !chunks.is_empty() {
                return Some((merge_small_chunks(&chunks).chunks, Some((fan_out, stitcher, trace, done))));
            }
            // If this ever failed, the panic would break the client's connection: half a page must not look complete.
            assert!(fan_out.next().await, "once all outcomes are known, the stitcher is done");
        }
    })
    .flat_map(stream::iter)
    .scan(0_u64, move |sent, chunk| {
        // The stream ends after the error.
        let before = *sent;
        *sent = sent.saturating_add(chunk.len() as u64);
        let is_too_large = *sent > max_bytes;
        futures::future::ready(
            (before <= max_bytes).then(|| if is_too_large { Err(PageTooLarge(max_bytes)) } else { Ok(chunk.bytes()) }),
        )
    })
    // The compression layer polls once more after the end.
    .fuse()
    .boxed()
}
