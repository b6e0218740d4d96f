//! Text with placeholders, as in `data-city="{city}"`.
//! A placeholder that is not closed, or that has no valid name, is an error.

use crate::page::layout::syntax::node::ParameterPiece;
use crate::page::source::names;

/// Splits a value at its placeholders.
///
/// # Errors
/// A placeholder is invalid: the reason.
pub(in crate::page::layout::syntax) fn pieces(text: &str) -> Result<Vec<ParameterPiece>, &'static str> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(brace) = rest.find(['{', '}']) {
        literal.push_str(&rest[..brace]);
        rest = &rest[brace..];
        if let Some(after) = rest.strip_prefix("{{") {
            literal.push('{');
            rest = after;
        } else if let Some(after) = rest.strip_prefix("}}") {
            literal.push('}');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('}') {
            // A single brace is unambiguous here.
            literal.push('}');
            rest = after;
        } else {
            let close = rest.find('}').ok_or("`{` is not closed")?;
            let name = &rest[1..close];
            if !names::is_name(name) {
                return Err("there is no valid name between `{` and `}`");
            }
            if !literal.is_empty() {
                pieces.push(ParameterPiece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(ParameterPiece::Placeholder(name.to_owned()));
            rest = &rest[close + 1..];
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() || pieces.is_empty() {
        pieces.push(ParameterPiece::Literal(literal));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_split_at_their_placeholders() {
        let literal = |text: &str| ParameterPiece::Literal(text.to_owned());
        let placeholder = |text: &str| ParameterPiece::Placeholder(text.to_owned());
        for (text, expected) in [
            ("", vec![literal("")]),
            ("a", vec![literal("a")]),
            ("{x}", vec![placeholder("x")]),
            ("a{x}b{y}", vec![literal("a"), placeholder("x"), literal("b"), placeholder("y")]),
            ("{{x}}", vec![literal("{x}")]),
            ("{{{x}}}", vec![literal("{"), placeholder("x"), literal("}")]),
        ] {
            assert_eq!(pieces(text).expect(text), expected);
        }
        for text in ["{", "{x", "{}", "{a b}"] {
            pieces(text).expect_err(text);
        }
    }
}
