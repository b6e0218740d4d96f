//! Determines the encoding that a client prefers, from its `Accept-Encoding` (RFC 9110, 12.5.3).
//! A member that is malformed, or names an unknown coding, is ignored.

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

use crate::engine::Encoding;

use crate::page::http::fields::{MAX_QUALITY, quality};

use super::Compression;

/// The encoding that a client prefers; `None`: the page as it is. Among equal qualities Zstandard is chosen before Brotli,
/// and Brotli before gzip.
pub(in crate::edge::server) fn preferred(headers: &HeaderMap, offered: Compression) -> Option<Encoding> {
    best(headers, offered).1
}

/// The encoding of a skeleton for a client that prefers `preferred`: one whose pieces can be joined, if the client prefers
/// one as much. `None`: the page has to be compressed while it is sent.
pub(super) fn joinable(preferred: Encoding, headers: &HeaderMap, offered: Compression) -> Option<Encoding> {
    match preferred {
        Encoding::Gzip | Encoding::Zstd => Some(preferred),
        Encoding::Brotli => {
            let (quality, _) = best(headers, offered);
            let (other, encoding) = best(headers, Compression { br: false, ..offered });
            encoding.filter(|_| other == quality)
        }
    }
}

/// The preferred encoding, and its quality in thousandths.
fn best(headers: &HeaderMap, offered: Compression) -> (u16, Option<Encoding>) {
    let mut choices = [
        (true, None, None),
        (offered.gzip, Some(Encoding::Gzip), None),
        (offered.br, Some(Encoding::Brotli), None),
        (offered.zstd, Some(Encoding::Zstd), None),
    ];
    let mut wildcard = None;
    // No parameter of a coding is a quoted string.
    let lines = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    for member in lines.flat_map(|line| line.split(',')) {
        let (name, parameter) = member.split_once(';').map_or((member, None), |(name, rest)| (name, Some(rest)));
        let Some(quality) = parameter.map_or(Some(MAX_QUALITY), |parameter| weight(parameter.trim())) else { continue };
        let is = |known: &str| name.trim().eq_ignore_ascii_case(known);
        // `identity;q=0` and `*;q=0` are ignored: the server may send the page without an encoding instead of a 406.
        let choice = if is("gzip") || is("x-gzip") {
            1
        } else if is("br") {
            2
        } else if is("zstd") {
            3
        } else if is("identity") && quality > 0 {
            0
        } else {
            if is("*") && quality > 0 {
                wildcard = wildcard.or(Some(quality));
            }
            continue;
        };
        let known: &mut Option<u16> = &mut choices[choice].2;
        *known = (*known).max(Some(quality));
    }
    let available = choices.into_iter().filter(|(is_offered, ..)| *is_offered);
    let qualities = available.map(|(_, encoding, quality)| (quality.or(wildcard).unwrap_or(0), encoding));
    qualities.filter(|(quality, _)| *quality > 0).max().unwrap_or((0, None))
}

/// The quality in a parameter such as `q=0.5`, in thousandths. `None`: it is malformed.
fn weight(parameter: &str) -> Option<u16> {
    quality(parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="))?)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_encoding_that_a_client_prefers_is_chosen() {
        let all = Compression { br: true, zstd: true, gzip: true };
        let headers = |value: &'static str| HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]);
        let (gzip, br, zstd) = (Some(Encoding::Gzip), Some(Encoding::Brotli), Some(Encoding::Zstd));
        for (value, encoding) in [
            ("", None),
            ("gzip", gzip),
            ("gzip, deflate, br, zstd", zstd),
            ("gzip;q=1.0, br;q=0.9", gzip),
            ("gzip, br", br),
            ("br;q=0", None),
            ("identity, gzip;q=0.5", None),
            ("deflate", None),
            ("*", zstd),
            ("*;q=0.5, gzip", gzip),
            ("*, zstd;q=0", br),
            ("*;q=0", None),
            ("identity;q=0, gzip", gzip),
            ("identity;q=0", None),
            ("gzip;q=x", None),
            ("gzip;q=x, br;q=0.1", br),
            ("GZIP", gzip),
            ("x-gzip, IDENTITY;q=0", gzip),
        ] {
            assert_eq!(preferred(&headers(value), all), encoding, "{value}");
        }
        let none = Compression { br: false, zstd: false, gzip: false };
        assert_eq!(preferred(&headers("gzip, br"), none), None);
    }
}
