//! The content coding of a response (RFC 9110, 8.4).
//! A coding that is not known, and several of them, are an error that names them.

use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use super::fields;

/// A content coding that services may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentCoding {
    /// `gzip`, or its older name `x-gzip`.
    Gzip,
    /// `br`.
    Brotli,
    /// `zstd`.
    Zstd,
}

impl ContentCoding {
    /// The coding of a response. `None`: it has none. Empty members of the list count as absent (RFC 9110, 5.6.1.2), and so
    /// does `identity`.
    ///
    /// # Errors
    /// The coding is not known, or there are several: their names.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, String> {
        if let Some(line) = headers.get_all(CONTENT_ENCODING).iter().find(|line| line.to_str().is_err()) {
            return Err(String::from_utf8_lossy(line.as_bytes()).into_owned());
        }
        let is_coding = |coding: &&str| !coding.eq_ignore_ascii_case("identity");
        let codings: Vec<&str> = fields::members(headers, &CONTENT_ENCODING).filter(is_coding).collect();
        match codings.as_slice() {
            [] => Ok(None),
            [coding] => Self::named(coding).map(Some).ok_or_else(|| (*coding).to_owned()),
            several => Err(several.join(", ")),
        }
    }

    /// The name of the coding.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "br" => Some(Self::Brotli),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], expected: Result<Option<ContentCoding>, &str>) {
        let lines = lines.iter().map(|line| (CONTENT_ENCODING, line.parse().expect("a value")));
        let headers: HeaderMap = lines.collect();
        assert_eq!(ContentCoding::of(&headers), expected.map_err(str::to_owned), "{headers:?}");
    }

    #[test]
    fn empty_members_of_the_list_are_ignored() {
        check(&[], Ok(None));
        check(&[""], Ok(None));
        check(&["identity"], Ok(None));
        for lines in [&["gzip"][..], &["gzip,"], &[",gzip"], &["", "gzip"], &["x-GZIP", " , "], &["identity, gzip"]] {
            check(lines, Ok(Some(ContentCoding::Gzip)));
        }
    }

    #[test]
    fn several_codings_and_unknown_ones_are_errors() {
        check(&["gzip, br"], Err("gzip, br"));
        check(&["gzip", "gzip"], Err("gzip, gzip"));
        check(&["rot13"], Err("rot13"));
    }
}
