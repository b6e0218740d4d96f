//! Compresses a reply while it is sent. The encoder is flushed whenever the page pauses.
//! An error of the page aborts the reply.

use std::io;

use async_compression::Level;
use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZstdEncoder};
use axum::body::Body;
use futures::TryStreamExt as _;
use tokio_util::io::{ReaderStream, StreamReader};

use crate::engine::Encoding;

use super::super::body::ReplyBody;

/// Brotli's default level is its best and slowest one.
const BROTLI: Level = Level::Precise(4);

/// A body, compressed.
pub(in crate::edge::server) fn streamed(body: ReplyBody, encoding: Encoding) -> Body {
    let plain = StreamReader::new(Body::new(body).into_data_stream().map_err(io::Error::other));
    match encoding {
        Encoding::Gzip => Body::from_stream(ReaderStream::new(GzipEncoder::new(plain))),
        Encoding::Brotli => Body::from_stream(ReaderStream::new(BrotliEncoder::with_quality(plain, BROTLI))),
        Encoding::Zstd => Body::from_stream(ReaderStream::new(ZstdEncoder::new(plain))),
    }
}
