//! Decodes the content coding of a response as it streams in.
//! A coding that is not supported is left as it is, with its header, and fails when the response is classified.

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use tokio::io::AsyncBufReadExt as _;
use tokio_util::io::{ReaderStream, StreamReader};

use crate::page::response::parsed::Failure;
use crate::page::source::reason::Reason;

use super::client::describe;

/// Returns the body of a response, decoded; `Content-Encoding` and `Content-Length` are then removed from its headers.
// reqwest's own decoding is not used: it reads only the first member of a body that has several, which RFC 1952 (2.2) and
// RFC 8878 (3.1) allow, and it recognises codings in lower case only.
pub(super) async fn decode(
    response: reqwest::Response,
    headers: &mut HeaderMap,
) -> BoxStream<'static, Result<Bytes, Failure>> {
    let coding = headers.get(CONTENT_ENCODING).map(|value| value.as_bytes().trim_ascii().to_ascii_lowercase());
    let wire = response.bytes_stream();
    if !matches!(coding.as_deref(), Some(b"gzip" | b"x-gzip" | b"br" | b"zstd")) {
        return wire.map(|chunk| chunk.map_err(|error| Failure::new(Reason::Incomplete, describe(&error)))).boxed();
    }
    headers.remove(CONTENT_ENCODING);
    headers.remove(CONTENT_LENGTH);
    let mut reader = StreamReader::new(wire.map(|chunk| chunk.map_err(std::io::Error::other)).boxed());
    match reader.fill_buf().await {
        // An empty body is empty in any coding.
        Ok([]) => return futures::stream::empty().boxed(),
        Ok(_) => {}
        Err(error) => return futures::stream::iter([Err(failure(&error))]).boxed(),
    }
    let plain = match coding.as_deref() {
        Some(b"br") => ReaderStream::new(BrotliDecoder::new(reader)).boxed(),
        Some(b"zstd") => {
            let mut decoder = ZstdDecoder::new(reader);
            decoder.multiple_members(true);
            ReaderStream::new(decoder).boxed()
        }
        _ => {
            let mut decoder = GzipDecoder::new(reader);
            decoder.multiple_members(true);
            ReaderStream::new(decoder).boxed()
        }
    };
    plain.map(|chunk| chunk.map_err(|error| failure(&error))).boxed()
}

/// The failure of a body that did not arrive whole (`incomplete`), or that arrived and is not in its coding (`encoding`).
fn failure(error: &std::io::Error) -> Failure {
    match error.get_ref().and_then(|cause| cause.downcast_ref::<reqwest::Error>()) {
        Some(error) => Failure::new(Reason::Incomplete, describe(error)),
        None => Failure::new(Reason::Encoding, error.to_string()),
    }
}
