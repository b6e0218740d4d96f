//! Parses the tokens of a test into a tree. Comparisons bind more tightly than `!`, then `&`, then `|`.
//! The depth and length of a test are limited, so that no input overflows the stack.

use super::error::EsiError;
use super::node::Node;
use super::tokens::{self, Kind, Token};

/// Most levels of nested parentheses and `!`.
const MAX_DEPTH: usize = 64;
/// Most bytes of a test.
const MAX_BYTES: usize = 8 * 1024;

/// A parser by recursive descent.
struct Parser {
    /// The tokens of the whole test.
    tokens: Vec<Token>,
    /// The index of the next token.
    next: usize,
    /// The length of the test in bytes.
    end: usize,
}

/// Parses a test.
pub(super) fn parse(text: &str) -> Result<Node, EsiError> {
    if text.len() > MAX_BYTES {
        let rest = text.floor_char_boundary(MAX_BYTES)..text.len();
        return Err(
            EsiError::new(rest, "the test is longer than 8192 bytes").help("split it into several `<esi:when>`")
        );
    }
    let mut parser = Parser { tokens: tokens::read(text)?, next: 0, end: text.len() };
    if parser.tokens.is_empty() {
        let problem = EsiError::new(0..text.len(), "there is nothing to test");
        return Err(problem.help("write it like `$(HTTP_COOKIE{group}) == 'a'`"));
    }
    let node = parser.any(0)?;
    match parser.peek() {
        None => Ok(node),
        Some(token) if token.kind == Kind::Close => {
            Err(EsiError::new(token.at.clone(), "this `)` closes nothing").help("delete it, or write `(` before"))
        }
        Some(token) => Err(unjoined(token)),
    }
}

impl Parser {
    /// The next token.
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    /// Takes the next token if it is of this kind; reports whether it was.
    fn take(&mut self, kind: &Kind) -> bool {
        let there = self.peek().is_some_and(|token| token.kind == *kind);
        self.next += usize::from(there);
        there
    }

    /// Parses terms joined by `|`.
    fn any(&mut self, depth: usize) -> Result<Node, EsiError> {
        let mut nodes = vec![self.all(depth)?];
        while self.take(&Kind::Or) {
            nodes.push(self.all(depth)?);
        }
        Ok(one_or(nodes, Node::Any))
    }

    /// Parses terms joined by `&`.
    fn all(&mut self, depth: usize) -> Result<Node, EsiError> {
        let mut nodes = vec![self.not(depth)?];
        while self.take(&Kind::And) {
            nodes.push(self.not(depth)?);
        }
        Ok(one_or(nodes, Node::All))
    }

    /// Parses a comparison, with or without `!` before it.
    fn not(&mut self, depth: usize) -> Result<Node, EsiError> {
        if self.take(&Kind::Not) {
            let depth = self.deeper(depth)?;
            return Ok(Node::Not(Box::new(self.not(depth)?)));
        }
        self.compared(depth)
    }

    /// Parses a value, and what it is compared with.
    fn compared(&mut self, depth: usize) -> Result<Node, EsiError> {
        let first = self.value(depth)?;
        let mut rest = Vec::new();
        while let Some(&Token { kind: Kind::Compare(comparison), ref at }) = self.peek() {
            let at = at.clone();
            self.next += 1;
            let right = self.value(depth)?;
            let has_truth = first.is_truth() || !rest.is_empty() || right.is_truth();
            if has_truth && comparison.is_ordering() {
                let problem = format!("`{}` cannot compare `true` or `false`", comparison.as_str());
                return Err(EsiError::new(at, problem)
                    .help("compare two values at a time, and join comparisons with `&` (and) or `|` (or)"));
            }
            rest.push((comparison, right));
        }
        Ok(if rest.is_empty() { first } else { Node::Compare(Box::new(first), rest) })
    }

    /// Parses a value or a test in parentheses.
    fn value(&mut self, depth: usize) -> Result<Node, EsiError> {
        let Some(token) = self.peek() else { return Err(self.missing()) };
        let node = match &token.kind {
            Kind::Truth(truth) => Node::Truth(*truth),
            Kind::Number(number) => Node::Number(number.clone()),
            Kind::Text(text) => Node::Text(text.clone()),
            Kind::Variable(variable) => Node::Variable(variable.clone()),
            Kind::Open => {
                let open = token.at.clone();
                self.next += 1;
                let depth = self.deeper(depth)?;
                let node = self.any(depth)?;
                return match self.peek() {
                    Some(token) if token.kind == Kind::Close => {
                        self.next += 1;
                        Ok(node)
                    }
                    Some(token) => Err(unjoined(token)),
                    None => Err(EsiError::new(open, "this `(` is never closed").help("write the matching `)`")),
                };
            }
            _ => return Err(self.missing()),
        };
        self.next += 1;
        Ok(node)
    }

    /// The depth one level further down. The token that begins the level was just taken.
    fn deeper(&self, depth: usize) -> Result<usize, EsiError> {
        if depth < MAX_DEPTH {
            return Ok(depth + 1);
        }
        let at = self.tokens.get(self.next - 1).map_or(self.end..self.end, |token| token.at.clone());
        Err(EsiError::new(at, format!("more than {MAX_DEPTH} `(` and `!` are nested"))
            .help("split the test into several `<esi:when>`"))
    }

    /// The error for a missing value.
    fn missing(&self) -> EsiError {
        let before = self.next.checked_sub(1).and_then(|at| self.tokens.get(at));
        match (before, self.peek()) {
            (Some(Token { kind: Kind::Open, at: open }), Some(Token { kind: Kind::Close, at: close })) => {
                EsiError::new(open.start..close.end, "there is nothing between the parentheses").help("delete them")
            }
            (Some(Token { kind: Kind::Open, at }), None) => {
                EsiError::new(at.clone(), "nothing follows this `(`").help("delete it")
            }
            (Some(Token { kind: Kind::Compare(comparison), .. }), Some(Token { kind: Kind::Not, at })) => {
                let problem = format!("`!` cannot follow `{}`", comparison.as_str());
                EsiError::new(at.clone(), problem).help("put the `!` and what it negates in parentheses")
            }
            (None, Some(Token { kind: Kind::Close, at })) => {
                EsiError::new(at.clone(), "this `)` closes nothing").help("delete it")
            }
            (None | Some(Token { kind: Kind::Open, .. }), Some(token)) => {
                EsiError::new(token.at.clone(), "there is nothing to the left of this operator").help(VALUES)
            }
            (Some(token), _) => {
                EsiError::new(token.at.clone(), "there is nothing to the right of this operator").help(VALUES)
            }
            (None, None) => EsiError::new(0..self.end, "there is nothing to test"),
        }
    }
}

/// The help for an operator without a value on one side.
const VALUES: &str = "an operator needs a variable, a text, a number or parentheses on both sides";

/// The error for two values without an operator between them.
fn unjoined(second: &Token) -> EsiError {
    let error = EsiError::new(second.at.clone(), "there is no operator between this and what precedes it");
    match second.kind {
        Kind::Not => error.help("`!` negates only what follows it; write `!=`, `& !` or `| !`"),
        _ => error.help("compare them with `==`, or join them with `&` (and) or `|` (or)"),
    }
}

/// The only node, or one node for several.
fn one_or(mut nodes: Vec<Node>, several: fn(Vec<Node>) -> Node) -> Node {
    match nodes.pop() {
        Some(only) if nodes.is_empty() => only,
        last => {
            nodes.extend(last);
            several(nodes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::variables::Value;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn grammar_errors_are_reported_with_their_position() {
        for (text, at, message) in [
            ("", 0..0, "nothing to test"),
            (" \n", 0..2, "nothing to test"),
            ("1 ==", 2..4, "there is nothing to the right"),
            ("== 1", 0..2, "there is nothing to the left"),
            ("(== 1)", 1..3, "there is nothing to the left"),
            ("true & | true", 5..6, "there is nothing to the right"),
            ("true |", 5..6, "there is nothing to the right"),
            ("(true |)", 6..7, "there is nothing to the right"),
            ("!", 0..1, "there is nothing to the right"),
            ("1 == == 1", 2..4, "there is nothing to the right"),
            ("1 == !true", 5..6, "`!` cannot follow `==`"),
            ("()", 0..2, "nothing between"),
            ("true & (  )", 7..11, "nothing between"),
            ("(", 0..1, "nothing follows"),
            ("true & (true | true", 7..8, "never closed"),
            ("((true)", 0..1, "never closed"),
            ("true)", 4..5, "closes nothing"),
            (")", 0..1, "closes nothing"),
            ("true & )", 5..6, "there is nothing to the right"),
            ("'a' 'b'", 4..7, "no operator between"),
            ("(true false)", 6..11, "no operator between"),
            ("1 -2", 2..4, "no operator between"),
            ("true (true)", 5..6, "no operator between"),
            ("true ! true", 5..6, "negates only what follows"),
            ("1 < 2 < 3", 6..7, "at a time"),
            ("true > 1", 5..6, "`true` or `false`"),
            ("1 >= (!true)", 2..4, "`true` or `false`"),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.at, at, "{text}: {error:?}");
            assert!(error.full_text().contains(message), "{text}: {error:?}");
        }
    }

    #[test]
    fn the_depth_and_length_of_a_test_are_limited() {
        let nested = |depth: usize| format!("{}true{}", "(".repeat(depth), ")".repeat(depth));
        parse(&nested(MAX_DEPTH)).expect("deep enough");
        assert_eq!(parse(&nested(MAX_DEPTH + 1)).expect_err("too deep").at, MAX_DEPTH..MAX_DEPTH + 1);
        parse(&format!("{}true", "!".repeat(MAX_DEPTH))).expect("deep enough");
        assert_eq!(parse(&"!".repeat(MAX_BYTES)).expect_err("too deep").at, MAX_DEPTH..MAX_DEPTH + 1);
        assert_eq!(parse(&"(".repeat(MAX_BYTES)).expect_err("too deep").at, MAX_DEPTH..MAX_DEPTH + 1);
        let long = format!("{:MAX_BYTES$}", "true");
        parse(&long).expect("long enough");
        assert_eq!(parse(&format!("{long} ")).expect_err("too long").at, MAX_BYTES..MAX_BYTES + 1);
        assert_eq!(parse(&format!("{}üü", &long[1..])).expect_err("too long").at, MAX_BYTES - 1..MAX_BYTES + 3);
    }

    #[test]
    fn operators_of_one_kind_in_a_row_add_no_depth() {
        for (first, more) in [("true", "|true"), ("true", "&true"), ("1", "==1")] {
            let row = format!("{first}{}", more.repeat(1_000));
            let node = parse(&row).expect("a test");
            assert!(node.to_string().len() > row.len());
            node.holds(&std::collections::BTreeMap::<&str, Value>::new());
        }
    }

    /// Texts that resemble tests.
    fn tests() -> impl Strategy<Value = String> {
        let bits = [
            "(",
            ")",
            "!",
            "&",
            "|",
            "==",
            "!=",
            "<",
            ">=",
            "=",
            "'",
            "'a'",
            "\\",
            "1",
            ".",
            "-",
            "$(A)",
            "$(A{b}|'c')",
            "$(",
            "true",
            "false",
            "x",
            "ü",
            "“",
            " ",
            "\u{a0}",
            "\0",
        ];
        proptest::collection::vec(prop::sample::select(bits.to_vec()), 0..16).prop_map(|bits| bits.concat())
    }

    proptest! {
        #[test]
        fn errors_have_a_position_in_the_text(text in prop_oneof![any::<String>(), tests()]) {
            match parse(&text) {
                Err(error) => {
                    prop_assert!(text.get(error.at.clone()).is_some(), "{:?}", error);
                    prop_assert!(error.help.is_some());
                }
                Ok(node) => prop_assert_eq!(parse(&node.to_string()), Ok(node)),
            }
        }
    }
}
