//! Parses texts that contain variables: the `src` of `<esi:include>`, and the content of `<esi:vars>`.
//! A `$` begins a variable only before `(`; otherwise it is literal.

use super::cursor::Cursor;
use super::error::EsiError;
use super::variables::{Variable, Variables};

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text that is copied unchanged.
    Literal(String),
    /// A variable that is replaced with its value.
    Variable(Variable),
}

/// A text with variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EsiText {
    pieces: Vec<Piece>,
}

impl EsiText {
    /// Parses a text.
    ///
    /// # Errors
    /// The first invalid variable.
    pub fn parse(text: &str) -> Result<Self, EsiError> {
        let mut cursor = Cursor::new(text);
        let mut pieces = Vec::new();
        loop {
            let literal = cursor.take_until("$(");
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.to_owned()));
            }
            if cursor.rest().is_empty() {
                return Ok(Self { pieces });
            }
            pieces.push(Piece::Variable(Variable::read(&mut cursor)?));
        }
    }

    /// Its parts, in order.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The names and keys of the variables that the text reads, in order, with repetitions.
    pub fn used(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Variable(variable) => Some((variable.name(), variable.key())),
        })
    }

    /// The text for a request. Values and defaults are escaped; literal text is not.
    #[must_use]
    pub fn render(&self, variables: &dyn Variables, escape: fn(&str) -> String) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Variable(variable) => text.push_str(&escape(&variable.value(variables))),
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::variables::Value;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn brackets(value: &str) -> String {
        format!("[{value}]")
    }

    fn known() -> BTreeMap<&'static str, Value> {
        BTreeMap::from([
            ("HTTP_HOST", Value::Text("a.org".to_owned())),
            ("TRICK", Value::Text("$(HTTP_HOST)".to_owned())),
        ])
    }

    #[test]
    fn values_are_escaped_and_the_text_around_them_is_not() {
        for (text, rendered) in [
            ("", ""),
            ("<b>&", "<b>&"),
            ("$(HTTP_HOST)", "[a.org]"),
            ("/$(HTTP_HOST)/$(HTTP_HOST{x}|ü).html", "/[a.org]/[ü].html"),
            ("$(HTTP_REFERER)$(HTTP_HOST)", "[][a.org]"),
            ("costs $5, $$(HTTP_HOST) or ${HTTP_HOST}$", "costs $5, $[a.org] or ${HTTP_HOST}$"),
            ("$ (HTTP_HOST)", "$ (HTTP_HOST)"),
            ("$(TRICK)", "[$(HTTP_HOST)]"),
        ] {
            let parsed = EsiText::parse(text).expect(text);
            assert_eq!(parsed.render(&known(), brackets), rendered, "{text}");
        }
    }

    #[test]
    fn variables_are_known_once_a_text_is_parsed() {
        let text = EsiText::parse("a$(HTTP_COOKIE{id}|0)b$(HTTP_HOST)$(HTTP_HOST)").expect("a text");
        let used: Vec<_> = text.used().collect();
        assert_eq!(used, [("HTTP_COOKIE", Some("id")), ("HTTP_HOST", None), ("HTTP_HOST", None)]);
    }

    #[test]
    fn an_error_has_its_position_in_the_whole_text() {
        let error = EsiText::parse("Grüße $(HTTP_HOST) und $(http_host)").expect_err("lower case");
        assert_eq!(error.at, 25..36);
    }

    /// Texts that resemble variables.
    fn texts() -> impl Strategy<Value = String> {
        let bits = ["$(", "$", "(", ")", "A", "_", "{", "}", "|", "'", "\\", " ", "ü", "a", "\0", "\u{a0}"];
        proptest::collection::vec(prop::sample::select(bits.to_vec()), 0..20).prop_map(|bits| bits.concat())
    }

    proptest! {
        #[test]
        fn a_text_without_variables_is_unchanged(text in any::<String>()) {
            prop_assume!(!text.contains("$("));
            prop_assert_eq!(EsiText::parse(&text).expect("a text").render(&known(), brackets), text);
        }

        #[test]
        fn errors_have_a_position_in_the_text(text in prop_oneof![any::<String>(), texts()]) {
            match EsiText::parse(&text) {
                Err(error) => prop_assert!(text.get(error.at.clone()).is_some(), "{:?}", error),
                Ok(parsed) => {
                    let written = |piece: &Piece| match piece {
                        Piece::Literal(literal) => literal.clone(),
                        Piece::Variable(variable) => variable.to_string(),
                    };
                    let again: String = parsed.pieces().iter().map(written).collect();
                    prop_assert_eq!(EsiText::parse(&again), Ok(parsed));
                }
            }
        }
    }
}
