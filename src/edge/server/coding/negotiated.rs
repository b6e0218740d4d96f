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
    let mut stated = Stated::default();
    // No parameter of a coding is a quoted string.
    for member in headers.get_all(ACCEPT_ENCODING).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b',')) {
        stated.add(member);
    }
    let quality = |of: Option<u16>| of.or(stated.wildcard).unwrap_or(0);
    let mut best = (quality(stated.identity), None);
    for (is_offered, encoding, stated) in [
        (offered.gzip, Encoding::Gzip, stated.gzip),
        (offered.br, Encoding::Brotli, stated.br),
        (offered.zstd, Encoding::Zstd, stated.zstd),
    ] {
        let quality = quality(stated);
        if is_offered && quality > 0 && quality >= best.0 {
            best = (quality, Some(encoding));
        }
    }
    best
}

/// The highest quality that a client states for each coding, in thousandths.
#[derive(Default)]
struct Stated {
    gzip: Option<u16>,
    br: Option<u16>,
    zstd: Option<u16>,
    identity: Option<u16>,
    /// For the codings that it does not name; the first one counts.
    wildcard: Option<u16>,
}

impl Stated {
    /// Adds a member of `Accept-Encoding`.
    fn add(&mut self, member: &[u8]) {
        let name_end = member.iter().position(|byte| *byte == b';').unwrap_or(member.len());
        let (name, parameter) = member.split_at(name_end);
        let quality = match parameter.strip_prefix(b";") {
            None => MAX_QUALITY,
            Some(parameter) => match weight(parameter.trim_ascii()) {
                Some(quality) => quality,
                None => return,
            },
        };
        let name = name.trim_ascii();
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        // `identity;q=0` and `*;q=0` are ignored: the server may send the page without an encoding instead of a 406.
        let known = if is("gzip") || is("x-gzip") {
            &mut self.gzip
        } else if is("br") {
            &mut self.br
        } else if is("zstd") {
            &mut self.zstd
        } else if is("identity") && quality > 0 {
            &mut self.identity
        } else if is("*") && quality > 0 && self.wildcard.is_none() {
            &mut self.wildcard
        } else {
            return;
        };
        *known = (*known).max(Some(quality));
    }
}

/// The quality in a parameter such as `q=0.5`, in thousandths. `None`: it is malformed.
fn weight(parameter: &[u8]) -> Option<u16> {
    let value = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))?;
    quality(std::str::from_utf8(value).ok()?)
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
