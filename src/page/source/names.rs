//! Names of nanoservices, parts and parameters, and the nearest known name to a misspelt one.
//! A text that is not a name is refused; [`NAME_RULE`] gives the reason.

use std::sync::Arc;

/// The name of a nanoservice, an id or a parameter: letters, digits, `-`, `_` and `.`.
pub type Name = Arc<str>;

/// Longest name, in bytes: names appear in metrics and surrogate keys.
const LONGEST: usize = 100;

/// Whether a text is a valid name.
#[must_use]
pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// The characters and length of a name, for messages.
pub const NAME_RULE: &str = "letters, digits, `-`, `_` and `.`, at most 100 characters";

/// The candidate that was probably meant by `written`; `None` if none is similar. A candidate that differs only in case
/// is the nearest.
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A longer text is not a name, and would take long to compare.
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
            // Names of very different lengths cannot be near.
            let distance = (candidate.len().abs_diff(written.len()) <= near)
                .then(|| strsim::damerau_levenshtein(written, candidate))?;
            (distance <= near).then_some((distance, candidate))
        })
        .min_by_key(|(distance, candidate)| (*distance, candidate.len()))
        .map(|(_, candidate)| candidate)
}

/// "did you mean `x`?", or the list of all candidates; `None` if there are none.
pub fn did_you_mean<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(name) = nearest(written, candidates.clone()) {
        return Some(format!("did you mean `{name}`?"));
    }
    let mut all: Vec<&str> = candidates.into_iter().collect();
    all.sort_unstable();
    all.dedup();
    match all.len() {
        0 => None,
        1..=24 => Some(format!("available: {}", all.join(", "))),
        count => Some(format!("available: {} and {} more", all[..8].join(", "), count - 8)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_the_nearest_candidate() {
        assert_eq!(nearest("wether", ["weather", "scores"]), Some("weather"));
        assert_eq!(nearest("rout", ["route", "owner"]), Some("route"));
        assert_eq!(nearest("zebra", ["weather", "scores"]), None);
        assert_eq!(nearest("CITY", ["citi", "city"]), Some("city"));
        assert_eq!(nearest(&"x".repeat(200), ["x"]), None);
    }
}
