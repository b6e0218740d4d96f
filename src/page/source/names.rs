//! Names, and the one that a writer probably meant.
//! A name that is no token is refused with the reason.

use std::sync::Arc;

/// The name of a nanoservice, an id or a parameter: letters, digits, `-`, `_` and `.`.
pub type Name = Arc<str>;

/// Longest name, in bytes; names stand in metrics and surrogate keys.
const LONGEST: usize = 100;

/// Whether a text is a name.
#[must_use]
pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Says what a name may hold, for error messages.
pub const NAME_RULE: &str = "letters, digits, `-`, `_` and `.`, at most 100 of them";

/// The candidate that is so near to `written` that it was probably meant. Capital letters are nearest.
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // What is longer is no name, and would take long to compare.
    if written.len() > LONGEST {
        return None;
    }
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .filter_map(|candidate| {
            if candidate.eq_ignore_ascii_case(written) {
                return Some((0, candidate));
            }
            let near = (candidate.len().max(written.len()) / 3).max(1);
            // Of names with very different lengths none need be compared.
            let distance = (candidate.len().abs_diff(written.len()) <= near)
                .then(|| strsim::damerau_levenshtein(written, candidate))?;
            (distance <= near).then_some((distance, candidate))
        })
        .min_by_key(|(distance, candidate)| (*distance, candidate.len()))
        .map(|(_, candidate)| candidate)
}

/// "did you mean `x`?", or the list of what there is.
pub fn did_you_mean<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(name) = nearest(written, candidates.clone()) {
        return Some(format!("did you mean `{name}`?"));
    }
    let mut all: Vec<&str> = candidates.into_iter().collect();
    all.sort_unstable();
    all.dedup();
    match all.len() {
        0 => None,
        1..=24 => Some(format!("there is {}", all.join(", "))),
        more => Some(format!("there are {more}, such as {}", all[..8].join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        assert_eq!(nearest("wether", ["weather", "scores"]), Some("weather"));
        assert_eq!(nearest("rout", ["route", "owner"]), Some("route"));
        assert_eq!(nearest("zebra", ["weather", "scores"]), None);
        assert_eq!(nearest("CITY", ["citi", "city"]), Some("city"));
        assert_eq!(nearest(&"x".repeat(200), ["x"]), None);
    }
}
