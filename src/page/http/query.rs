//! Writes the query of a URL.
//! Every pair of texts can be written, and is read back as it was.

use url::Url;

/// A query with these pairs of names and values, percent-encoded. A blank is `%20`: a `+` would mean a blank in forms only,
/// and a plus sign everywhere else (RFC 3986, 2).
#[must_use]
pub fn write<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> String {
    // The serialiser writes a plus sign as `%2B`, so that each `+` is a blank.
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish().replace('+', "%20")
}

/// Adds pairs of names and values to the query of a URL. Without any the URL stays as it is.
pub fn extend<'p>(url: &mut Url, pairs: impl IntoIterator<Item = (&'p str, &'p str)>) {
    let mut pairs = pairs.into_iter().peekable();
    if pairs.peek().is_none() {
        return;
    }
    let before = url.query().map_or(0, str::len);
    url.query_pairs_mut().extend_pairs(pairs);
    // Few values hold a blank: for all others the URL is done.
    let (kept, added) = url.query().unwrap_or_default().split_at(before);
    if added.contains('+') {
        let whole = format!("{kept}{}", added.replace('+', "%20"));
        url.set_query(Some(&whole));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_blank_is_percent_encoded() {
        assert_eq!(write([("q", "a b+c"), ("ü", "&=%")]), "q=a%20b%2Bc&%C3%BC=%26%3D%25");
        let extended = |url: &str| {
            let mut url = Url::parse(url).expect("a URL");
            extend(&mut url, [("a b", "1 2")]);
            url.to_string()
        };
        assert_eq!(extended("http://a/"), "http://a/?a%20b=1%202");
        assert_eq!(extended("http://a/?"), "http://a/?a%20b=1%202");
        assert_eq!(extended("http://a/?z=1"), "http://a/?z=1&a%20b=1%202");
        assert_eq!(extended("http://a/?z=+"), "http://a/?z=+&a%20b=1%202", "the URL's own query stays as it is");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(pairs in proptest::collection::vec((".{1,4}", ".{0,6}"), 0..4)) {
            let mut url = Url::parse("http://a/").expect("a URL");
            extend(&mut url, pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            prop_assert_eq!(url.query_pairs().into_owned().collect::<Vec<_>>(), pairs);
        }
    }
}
