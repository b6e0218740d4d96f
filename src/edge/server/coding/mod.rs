//! Content codings of pages. Of one that is kept each is kept with the page: made at once at a cheap level, and then well, in
//! the background. What is large and not there yet, and all other pages, are compressed as they are sent.

mod joined;

use std::convert::Infallible;
use std::sync::Arc;

use async_compression::Level;
use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZstdEncoder};
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures::FutureExt as _;
use http::header::ACCEPT_ENCODING;
use http::{Extensions, HeaderMap, HeaderValue, StatusCode, Version};
use tokio::io::AsyncReadExt as _;
use tower::{Layer as _, ServiceExt as _};
use tower_http::compression::{CompressionLayer, DefaultPredicate, Predicate};

use crate::engine::{CachedPage, Compositor, EncodedPage, Encoding, PersonalisedPage, offload};
use crate::page::html::text::{Text, concat};
use crate::page::http::fields;

/// Content codings that pages may be sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// Brotli.
    pub br: bool,
    /// Zstandard.
    pub zstd: bool,
    /// gzip.
    pub gzip: bool,
}

impl Compression {
    pub(super) const fn any(self) -> bool {
        self.br || self.zstd || self.gzip
    }

    /// Compresses answers as they are sent.
    pub(super) fn layer(self) -> CompressionLayer<impl Predicate> {
        // Who is sent away is not worth a compressor.
        let is_worth_it = |status: StatusCode, _: Version, _: &HeaderMap, _: &Extensions| !status.is_server_error();
        let layer = CompressionLayer::new().br(self.br).zstd(self.zstd).gzip(self.gzip);
        layer.compress_when(DefaultPredicate::new().and(is_worth_it))
    }

    /// An answer as the layer sends it to who takes such codings.
    pub(super) async fn sent(self, response: Response, accepted: &HeaderMap) -> Response {
        if !self.any() {
            return response;
        }
        let mut response = Some(response);
        let inner = tower::service_fn(move |_: Request| {
            let response = response.take().unwrap_or_default();
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let mut request = Request::new(Body::empty());
        request.headers_mut().clone_from(accepted);
        let Ok(response) = self.layer().layer(inner).oneshot(request).await;
        response.map(Body::new)
    }
}

/// Passes over that a page as it is would not be acceptable: the layer behind would answer 406, and
/// RFC 9110, 12.5.3 lets it be sent.
pub(super) fn acceptable(mut request: Request) -> Request {
    let members: Vec<&str> = fields::members(request.headers(), &ACCEPT_ENCODING).collect();
    let kept: Vec<&str> = members.iter().copied().filter(|member| !refuses_all(member)).collect();
    if kept.len() == members.len() {
        return request;
    }
    let kept = HeaderValue::from_str(&kept.join(", ")).ok().filter(|kept| !kept.is_empty());
    request.headers_mut().remove(ACCEPT_ENCODING);
    request.headers_mut().extend(kept.map(|kept| (ACCEPT_ENCODING, kept)));
    request
}

/// Whether a member of `Accept-Encoding` refuses a page without any coding.
fn refuses_all(member: &str) -> bool {
    let parts = fields::split(member, b';').members;
    let Some((coding, parameters)) = parts.split_first() else { return false };
    let zero = |(name, value): (String, Option<String>)| {
        name == "q" && value.is_some_and(|value| value.parse::<f32>().is_ok_and(|quality| quality == 0.0))
    };
    (coding.eq_ignore_ascii_case("identity") || *coding == "*")
        && parameters.iter().any(|part| zero(fields::pair(part)))
}

/// So many bytes are compressed at once for one reader. Of more, the compressing layer lets others have their turn.
const MOST: usize = 64 << 10;

/// In what a page is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Coding {
    /// As it is.
    Identity,
    /// In one of the forms that are kept.
    Form(Encoding),
}

/// What a browser takes best (RFC 9110, 12.5.3): of equals as the compressing layer chooses. `None`: that is
/// for the layer to say.
pub(super) fn negotiated(headers: &HeaderMap, offered: Compression) -> Option<Coding> {
    Some(best(headers, offered)?.1)
}

/// The same of a page with gaps: of equals one whose pieces can be joined.
fn joinable(negotiated: Coding, headers: &HeaderMap, offered: Compression) -> Option<Encoding> {
    match negotiated {
        Coding::Identity => None,
        Coding::Form(form @ (Encoding::Gzip | Encoding::Zstd)) => Some(form),
        Coding::Form(Encoding::Brotli) => {
            let (quality, _) = best(headers, offered)?;
            match best(headers, Compression { br: false, ..offered })? {
                (same, Coding::Form(form)) if same == quality => Some(form),
                _ => None,
            }
        }
    }
}

fn best(headers: &HeaderMap, offered: Compression) -> Option<(u32, Coding)> {
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
            Coding::Form(Encoding::Gzip)
        } else if offered.br && is("br") {
            Coding::Form(Encoding::Brotli)
        } else if offered.zstd && is("zstd") {
            Coding::Form(Encoding::Zstd)
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
    Some(best)
}

fn thousandths(quality: &str) -> Option<u32> {
    let quality: f32 = quality.parse().ok().filter(|quality| (0.0..=1.0).contains(quality))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1")]
    Some((quality * 1000.0).round() as u32)
}

/// A page with its gaps filled, in a form that a browser takes, and what it was made from. `None`: it is to be compressed
/// as it is sent.
pub(super) fn filled(
    compositor: &Compositor,
    page: &PersonalisedPage,
    negotiated: Coding,
    accepted: &HeaderMap,
    offered: Compression,
) -> Option<(Arc<EncodedPage>, Vec<Text>)> {
    let spans = form(compositor, &page.skeleton, joinable(negotiated, accepted, offered)?)?;
    let chunks = joined::joined(page, &spans)?;
    Some((spans, chunks))
}

/// A page in a form, of one with gaps its spans. `None`: it is being made.
pub(super) fn form(compositor: &Compositor, page: &Arc<CachedPage>, form: Encoding) -> Option<Arc<EncodedPage>> {
    let there = page.encoded(form);
    match &there {
        Some(made) if !made.is_provisional => return there,
        None if page.plain.length() <= MOST => {
            let make = || compositor.store_encoding(page, form, made(page, form, Worth::Once));
            return page.claim_encoding(form, false).then(make);
        }
        _ => {}
    }
    if let Some(place) = offload::try_background().filter(|_| page.claim_encoding(form, true)) {
        let (compositor, page) = (compositor.clone(), Arc::clone(page));
        place.run(move || {
            compositor.store_encoding(&page, form, made(&page, form, Worth::Kept));
        });
    }
    there
}

fn made(page: &CachedPage, form: Encoding, worth: Worth) -> Option<EncodedPage> {
    let (chunks, checks) = match page.is_whole() {
        true => (vec![compressed(&page.plain.chunks, form, worth)?.into()], Vec::new()),
        false => joined::spans(page, form, worth)?,
    };
    Some(EncodedPage::new(form, chunks, checks, matches!(worth, Worth::Once)))
}

/// How well a text is worth to be compressed.
#[derive(Debug, Clone, Copy)]
enum Worth {
    /// It is sent often.
    Kept,
    /// It is sent once, or until it is compressed better.
    Once,
}

impl Worth {
    const fn level(self, form: Encoding) -> i32 {
        match (form, self) {
            (Encoding::Gzip, Self::Kept) => 6,
            (Encoding::Brotli, Self::Kept) => 5,
            (Encoding::Zstd, Self::Kept) => 9,
            (Encoding::Gzip | Encoding::Brotli, Self::Once) => 2,
            (Encoding::Zstd, Self::Once) => 1,
        }
    }
}

/// All of a page. `None`: it has no fewer bytes then.
fn compressed(chunks: &[Text], form: Encoding, worth: Worth) -> Option<Bytes> {
    let page = concat(chunks);
    let mut coded = Vec::with_capacity(page.len() / 3);
    let level = Level::Precise(worth.level(form));
    // Bytes in memory are there at once: nothing waits.
    let result = match form {
        Encoding::Gzip => GzipEncoder::with_quality(&*page, level).read_to_end(&mut coded).now_or_never(),
        Encoding::Brotli => BrotliEncoder::with_quality(&*page, level).read_to_end(&mut coded).now_or_never(),
        Encoding::Zstd => ZstdEncoder::with_quality(&*page, level).read_to_end(&mut coded).now_or_never(),
    };
    // Of just its length: what it has beside that would be kept with it.
    (result?.is_ok() && coded.len() < page.len()).then(|| coded.into_boxed_slice().into())
}

/// The value of `Content-Encoding` for a form.
pub(super) const fn name(form: Encoding) -> HeaderValue {
    HeaderValue::from_static(match form {
        Encoding::Gzip => "gzip",
        Encoding::Brotli => "br",
        Encoding::Zstd => "zstd",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_what_a_browser_takes_is_chosen() {
        let all = Compression { br: true, zstd: true, gzip: true };
        let headers = |value: &'static str| HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]);
        let (gzip, br, zstd) =
            (Coding::Form(Encoding::Gzip), Coding::Form(Encoding::Brotli), Coding::Form(Encoding::Zstd));
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
