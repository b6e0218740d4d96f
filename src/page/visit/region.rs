//! The countries of ISO 3166-1: which two letters are the code of one, and which code was probably meant by another text.
//! Codes that the standard only reserves, or leaves to users, are none: `EU`, `XX` of a CDN that does not know, `T1` for Tor.

use iso3166::{Country, LIST};

/// The code that people write for the United Kingdom, and the standard reserves so that nobody else is given it.
const UNITED_KINGDOM: (&str, &str) = ("UK", "GB");
/// The one code that the crate's list lacks: nobody's country, but an area with a code.
const ANTARCTICA: &str = "AQ";

/// The ISO 3166-1 code of a country that is given as two letters in either case. `UK` is `GB`. `None`: no country has this
/// code.
#[must_use]
pub fn code(text: &str) -> Option<&'static str> {
    let (written, meant) = UNITED_KINGDOM;
    let text = if text.eq_ignore_ascii_case(written) { meant } else { text };
    if text.eq_ignore_ascii_case(ANTARCTICA) {
        return Some(ANTARCTICA);
    }
    Country::from_alpha2_ignore_case(text).map(|country| country.data().alpha2)
}

/// The code that was probably meant by a text that is not a code itself: `GB` for `UK` and `GBR`, `DE` for `Germany`.
#[must_use]
pub fn suggestion(text: &str) -> Option<&'static str> {
    let (written, meant) = UNITED_KINGDOM;
    if text.eq_ignore_ascii_case(written) {
        return Some(meant);
    }
    let named = || LIST.iter().find(|country| country.data().name.eq_ignore_ascii_case(text));
    let country = Country::from_alpha3_ignore_case(text).or_else(|| named().copied().copied());
    country.map(|country| country.data().alpha2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_of_countries_are_codes() {
        for (text, expected) in [
            ("DE", Some("DE")),
            ("gb", Some("GB")),
            ("UK", Some("GB")),
            ("uk", Some("GB")),
            ("TW", Some("TW")),
            ("XX", None),
            ("EU", None),
            ("T1", None),
            ("ZZ", None),
            ("XK", None),
            ("AN", None),
            ("DEU", None),
            ("", None),
            ("é", None),
        ] {
            assert_eq!(code(text), expected, "{text}");
        }
        // As many as ISO 3166-1 has assigned.
        let letters = || 'A'..='Z';
        let pairs = letters().flat_map(|first| letters().map(move |second| format!("{first}{second}")));
        assert_eq!(pairs.filter(|pair| code(pair) == Some(pair)).count(), 249);
    }

    #[test]
    fn a_name_or_a_longer_code_suggests_a_code() {
        for (text, expected) in
            [("Germany", Some("DE")), ("france", Some("FR")), ("UK", Some("GB")), ("USA", Some("US")), ("Narnia", None)]
        {
            assert_eq!(suggestion(text), expected, "{text}");
        }
    }
}
