//! Properties that hold for any ESI text and test. Called by the fuzz target and by `tests/it/fuzzing.rs`.

use std::cell::RefCell;
use std::collections::BTreeMap;

use pasteup::page::esi::agent::agent;
use pasteup::page::esi::error::EsiError;
use pasteup::page::esi::expr::Expr;
use pasteup::page::esi::text::{EsiText, Piece};
use pasteup::page::esi::variables::{Value, Variables};

/// The largest length in bytes of a test that is parsed again as it is displayed: the displayed form of a test can be
/// longer than its source.
const LONGEST: usize = 8 * 1024;
/// The largest length in characters of a message: it repeats only a little of the source.
const LONGEST_MESSAGE: usize = 300;

/// Reads an input as a text, as a test, and as a user agent.
pub(crate) fn check(input: &str) {
    let Value::Dictionary { whole, entries } = agent(input) else { panic!("a user agent is a dictionary") };
    assert_eq!((whole.as_str(), entries.len()), (input, 3));
    let known = Recording::new(input);
    match EsiText::parse(input) {
        Ok(text) => is_text(input, &text, &known),
        Err(error) => is_helpful(input, &error),
    }
    match Expr::parse(input) {
        Ok(test) => is_test(input, &test, &known),
        Err(error) => is_helpful(input, &error),
    }
}

/// Variables that record which of them are read.
struct Recording {
    values: BTreeMap<&'static str, Value>,
    read: RefCell<Vec<String>>,
}

impl Recording {
    fn new(input: &str) -> Self {
        let entries = ["a", "b", "group", "id"].map(|key| (key.to_owned(), "1".to_owned())).into();
        let values = BTreeMap::from([
            ("HTTP_HOST", Value::Text(input.to_owned())),
            ("HTTP_REFERER", Value::Text(String::new())),
            ("HTTP_ACCEPT_LANGUAGE", Value::List(vec!["de".to_owned(), "en-GB".to_owned()])),
            ("HTTP_COOKIE", Value::Dictionary { whole: "a=1".to_owned(), entries }),
            ("HTTP_USER_AGENT", agent("Mozilla/4.0 (compatible; MSIE 5.5; Windows NT 5.0)")),
        ]);
        Self { values, read: RefCell::default() }
    }
}

impl Variables for Recording {
    fn value(&self, name: &str) -> Option<&Value> {
        self.read.borrow_mut().push(name.to_owned());
        self.values.get(name)
    }
}

fn brackets(value: &str) -> String {
    format!("[{value}]")
}

fn is_text(input: &str, text: &EsiText, known: &Recording) {
    let written = |piece: &Piece| match piece {
        Piece::Literal(literal) => literal.clone(),
        Piece::Variable(variable) => variable.to_string(),
    };
    let again: String = text.pieces().iter().map(written).collect();
    assert_eq!(EsiText::parse(&again).as_ref(), Ok(text), "{again}");
    let literals = text.pieces().iter().filter(|piece| matches!(piece, Piece::Literal(literal) if !literal.is_empty()));
    let variables = text.used().count();
    assert_eq!(literals.count() + variables, text.pieces().len());
    if variables == 0 {
        assert_eq!(again, input);
    }
    let rendered = text.render(known, brackets);
    let used: Vec<&str> = text.used().map(|(name, _)| name).collect();
    assert_eq!(known.read.take(), used, "other variables are read than `used` lists");
    // The literals around the values are unchanged and in order.
    let mut rest = rendered.as_str();
    for piece in text.pieces() {
        rest = match piece {
            Piece::Literal(literal) => rest.strip_prefix(literal.as_str()),
            Piece::Variable(variable) => rest.strip_prefix(&brackets(&variable.value(known))),
        }
        .unwrap_or_else(|| panic!("{piece:?} is not in {rendered}"));
    }
    assert_eq!(rest, "");
    known.read.take();
}

fn is_test(input: &str, test: &Expr, known: &Recording) {
    let holds = test.holds(known);
    let read = known.read.take();
    let used: Vec<(&str, Option<&str>)> = test.used().collect();
    for name in &read {
        assert!(used.iter().any(|(used, _)| used == name), "{name} is read, but `used` does not list it");
    }
    let shown = test.to_string();
    if shown.len() <= LONGEST {
        assert_eq!(Expr::parse(&shown).as_ref(), Ok(test), "{shown}");
        assert_eq!(Expr::parse(&shown).expect("the displayed test was just parsed").to_string(), shown);
    }
    // Equivalent and negated tests. These may be too deep or too long.
    for (around, expected) in [(["!(", ")"], !holds), (["(", ") | false"], holds), (["true & (", ")"], holds)] {
        let text = around.join(input);
        match Expr::parse(&text) {
            Ok(other) => {
                assert_eq!(other.holds(known), expected, "{text}");
                assert!(other.used().eq(used.iter().copied()), "{text}");
            }
            Err(error) => {
                let limit = error.message.contains("longer than") || error.message.contains("are nested");
                assert!(limit, "{text}: {error}");
            }
        }
    }
    known.read.take();
}

/// Checks that an error is within the text, and says briefly what to do.
fn is_helpful(input: &str, error: &EsiError) {
    assert!(input.get(error.at.clone()).is_some(), "{error:?} is not within the {} bytes", input.len());
    assert!(error.help.is_some(), "{error:?} has no help");
    for text in [Some(&error.message), error.help.as_ref()].into_iter().flatten() {
        assert!(!text.is_empty() && !text.ends_with('.'), "{text}");
        assert!(text.chars().count() <= LONGEST_MESSAGE, "{text}");
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}
