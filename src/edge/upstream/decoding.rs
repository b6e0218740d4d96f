//! Decodes the content coding of a response as it streams in.
//! A coding that is not supported is left as it is, with its header, and fails when the response is classified. A body that
//! is longer on the wire than any that is allowed could be is a failure.

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use tokio::io::AsyncBufReadExt as _;
use tokio_util::io::{ReaderStream, StreamReader};

use crate::page::http::coding::ContentCoding;
use crate::page::response::parsed::Failure;
use crate::page::source::reason::Reason;

/// How many bytes longer than the body that it encodes an encoded body may be.
pub(super) const OVERHEAD: u64 = 64 << 10;

/// The largest window of Zstandard as a content coding: 8 MiB (RFC 9659, 3). The decoder allocates it before it has read any
/// content.
const ZSTD_WINDOW_LOG: u32 = 23;
/// The first seven bits of Brotli with windows of up to 1 GiB, which RFC 7932 reserves.
const LARGE_WINDOW: u8 = 0x11;

/// A body as it arrives.
pub(super) type Wire = BoxStream<'static, Result<Bytes, Failure>>;

/// Returns the body of a response, decoded; `Content-Encoding` and `Content-Length` are then removed from its headers.
/// `max_bytes` is the maximum size of the decoded body. A body may be a little longer while it is encoded, and no more: one
/// that decodes to nothing would otherwise be read without end.
pub(super) async fn decode(wire: Wire, headers: &mut HeaderMap, max_bytes: u64) -> Wire {
    let coding = match ContentCoding::of(headers) {
        Ok(Some(coding)) => coding,
        Ok(None) => {
            headers.remove(CONTENT_ENCODING);
            return wire;
        }
        Err(_) => return wire,
    };
    headers.remove(CONTENT_ENCODING);
    headers.remove(CONTENT_LENGTH);
    let max_encoded = max_bytes.saturating_add(OVERHEAD);
    let capped = wire.scan(0_u64, move |read, chunk| {
        let chunk = chunk.and_then(|chunk: Bytes| {
            *read += chunk.len() as u64;
            let too_large = || Failure::new(Reason::TooLarge, format!("its encoded body is over {max_encoded} bytes"));
            if *read > max_encoded { Err(too_large()) } else { Ok(chunk) }
        });
        std::future::ready(Some(chunk))
    });
    let mut reader = StreamReader::new(capped.map(|chunk| chunk.map_err(std::io::Error::other)).boxed());
    match reader.fill_buf().await {
        // An empty body is empty in any coding.
        Ok([]) => return futures::stream::empty().boxed(),
        Ok([first, ..]) if coding == ContentCoding::Brotli && first & 0x7f == LARGE_WINDOW => {
            let why = "it has a large window, which Brotli as a content coding (RFC 7932) does not have";
            return futures::stream::iter([Err(Failure::new(Reason::Encoding, why))]).boxed();
        }
        Ok(_) => {}
        Err(error) => return futures::stream::iter([Err(failure(&error))]).boxed(),
    }
    let plain = match coding {
        ContentCoding::Brotli => ReaderStream::new(BrotliDecoder::new(reader)).boxed(),
        ContentCoding::Zstd => {
            let mut decoder = ZstdDecoder::with_params(reader, &[DParameter::window_log_max(ZSTD_WINDOW_LOG)]);
            decoder.multiple_members(true);
            ReaderStream::new(decoder).boxed()
        }
        // A body may have several members (RFC 1952, 2.2, and RFC 8878, 3.1).
        ContentCoding::Gzip => {
            let mut decoder = GzipDecoder::new(reader);
            decoder.multiple_members(true);
            ReaderStream::new(decoder).boxed()
        }
    };
    plain.map(|chunk| chunk.map_err(|error| failure(&error))).boxed()
}

/// The failure of a body that did not arrive whole (`incomplete`, `too-large`), or that is not in its coding (`encoding`).
fn failure(error: &std::io::Error) -> Failure {
    match error.get_ref().and_then(|cause| cause.downcast_ref::<Failure>()) {
        Some(failure) => failure.clone(),
        None => Failure::new(Reason::Encoding, error.to_string()),
    }
}
