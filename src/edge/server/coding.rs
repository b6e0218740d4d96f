//! Content codings of pages that are kept whole: each is made once, in the background, and kept with the page.
//! Where none is there yet, the page is compressed as it is sent.

use std::sync::{Arc, LazyLock};

use async_compression::Level;
use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZstdEncoder};
use bytes::Bytes;
use futures::FutureExt as _;
use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderValue};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Semaphore;

use crate::engine::{Compositor, Form, Stitched};

use super::Compression;

/// Pages that are being compressed at once, so that some cores are left for readers.
static MAKING: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Arc::new(Semaphore::new(cores.div_ceil(2)))
});

/// In what a page is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Coding {
    /// As it is.
    Identity,
    /// In one of the forms that are kept.
    Form(Form),
}

/// What a browser takes best (RFC 9110, 12.5.3): of equals as the compressing layer chooses. `None`: that is
/// for the layer to say.
pub(super) fn negotiated(headers: &HeaderMap, offered: Compression) -> Option<Coding> {
    let mut best = (0, Coding::Identity);
    // No quotation marks stand in it.
    let lines = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    for member in lines.flat_map(|line| line.split(',')) {
        let (name, parameter) = member.split_once(';').map_or((member, None), |(name, rest)| (name, Some(rest)));
        let quality = match parameter.map(str::trim) {
            None => 1000,
            Some(parameter) => thousandths(parameter.strip_prefix("q=")?)?,
        };
        let is = |known: &str| name.trim().eq_ignore_ascii_case(known);
        let coding = if offered.gzip && (is("gzip") || is("x-gzip")) {
            Coding::Form(Form::Gzip)
        } else if offered.br && is("br") {
            Coding::Form(Form::Brotli)
        } else if offered.zstd && is("zstd") {
            Coding::Form(Form::Zstd)
        } else if is("identity") && quality > 0 {
            Coding::Identity
        } else if is("identity") || is("*") {
            return None;
        } else {
            continue;
        };
        if quality > 0 {
            best = best.max((quality, coding));
        }
    }
    Some(best.1)
}

fn thousandths(quality: &str) -> Option<u32> {
    let quality: f32 = quality.parse().ok().filter(|quality| (0.0..=1.0).contains(quality))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1")]
    Some((quality * 1000.0).round() as u32)
}

/// A page in a form; the inner `None` where that is of no use. The outer one: it is being made, or will be.
pub(super) fn form(compositor: &Compositor, whole: &Arc<Stitched>, form: Form) -> Option<Option<Arc<[Bytes]>>> {
    if let Some(made) = whole.form(form) {
        return Some(made);
    }
    let room = Arc::clone(&MAKING).try_acquire_owned().ok()?;
    if whole.begin(form) {
        let (compositor, whole) = (compositor.clone(), Arc::clone(whole));
        tokio::task::spawn_blocking(move || {
            compositor.keep_form(&whole, form, compressed(&whole.chunks, form));
            drop(room);
        });
    }
    None
}

/// All of it at a level that is worth a page which is sent often.
fn compressed(chunks: &[Bytes], form: Form) -> Option<Bytes> {
    let page = chunks.concat();
    let mut coded = Vec::with_capacity(page.len() / 3);
    // Bytes in memory are there at once: nothing waits.
    let result = match form {
        Form::Gzip => GzipEncoder::with_quality(&*page, Level::Precise(6)).read_to_end(&mut coded).now_or_never(),
        Form::Brotli => BrotliEncoder::with_quality(&*page, Level::Precise(5)).read_to_end(&mut coded).now_or_never(),
        Form::Zstd => ZstdEncoder::with_quality(&*page, Level::Precise(9)).read_to_end(&mut coded).now_or_never(),
    };
    (result?.is_ok() && coded.len() < page.len()).then(|| Bytes::from(coded))
}

/// The value of `Content-Encoding` for a form.
pub(super) const fn name(form: Form) -> HeaderValue {
    HeaderValue::from_static(match form {
        Form::Gzip => "gzip",
        Form::Brotli => "br",
        Form::Zstd => "zstd",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_what_a_browser_takes_is_chosen() {
        let all = Compression { br: true, zstd: true, gzip: true };
        let headers = |value: &'static str| HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]);
        let (gzip, br, zstd) = (Coding::Form(Form::Gzip), Coding::Form(Form::Brotli), Coding::Form(Form::Zstd));
        for (value, coding) in [
            ("", Some(Coding::Identity)),
            ("gzip", Some(gzip)),
            ("gzip, deflate, br, zstd", Some(zstd)),
            ("gzip;q=1.0, br;q=0.9", Some(gzip)),
            ("gzip, br", Some(br)),
            ("br;q=0", Some(Coding::Identity)),
            ("identity, gzip;q=0.5", Some(Coding::Identity)),
            ("deflate", Some(Coding::Identity)),
            ("*", None),
            ("identity;q=0, gzip", None),
            ("gzip;q=x", None),
            ("GZIP", Some(gzip)),
            ("x-gzip, IDENTITY;q=0", None),
        ] {
            assert_eq!(negotiated(&headers(value), all), coding, "{value}");
        }
        let none = Compression { br: false, zstd: false, gzip: false };
        assert_eq!(negotiated(&headers("gzip, br"), none), Some(Coding::Identity));
    }
}
