//! The test of `<esi:when>`: `$(HTTP_COOKIE{group}) == 'a' & !$(HTTP_ACCEPT_LANGUAGE{de})`.
//! A comparison with an empty or undefined value is always false, whatever the operator.

use std::fmt;

use super::error::EsiError;
use super::grammar;
use super::node::Node;
use super::variables::Variables;

pub use super::node::Doubt;

/// A parsed test. It is displayed in a canonical notation, which parses to the same test (unless the added spaces make it too
/// long).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expr(Node);

impl Expr {
    /// Parses a test from the value of the attribute, after HTML entities were decoded.
    ///
    /// # Errors
    /// The first error: one of the tokens, otherwise one of the grammar.
    pub fn parse(text: &str) -> Result<Self, EsiError> {
        grammar::parse(text).map(Self)
    }

    /// A test that is always false.
    #[must_use]
    pub const fn never() -> Self {
        Self(Node::Truth(false))
    }

    /// Whether the test is true for a request.
    #[must_use]
    pub fn holds(&self, variables: &dyn Variables) -> bool {
        self.0.holds(variables)
    }

    /// Why the test will not hold when its author thinks it does; `None` if there is no such reason.
    #[must_use]
    pub fn doubt(&self) -> Option<Doubt<'_>> {
        self.0.doubt()
    }

    /// The names and keys of the variables that the test reads, in order, with repetitions.
    pub fn used(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let mut variables = Vec::new();
        self.0.variables(&mut variables);
        variables.into_iter().map(|variable| (variable.name(), variable.key()))
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::super::agent::agent;
    use super::super::cursor::Cursor;
    use super::super::variables::{Value, Variable};
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn known() -> BTreeMap<&'static str, Value> {
        let entries =
            [("n", "9"), ("group", "Advanced"), ("empty", ""), ("yes", "true"), ("big", "20000000000000000001")];
        let entries = entries.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        BTreeMap::from([
            ("HTTP_HOST", Value::Text("b".to_owned())),
            ("HTTP_ACCEPT_LANGUAGE", Value::List(vec!["de".to_owned(), "en-GB".to_owned()])),
            ("HTTP_COOKIE", Value::Dictionary { whole: "n=9".to_owned(), entries }),
            ("HTTP_USER_AGENT", agent("Mozilla/4.0 (compatible; MSIE 5.5; Windows NT 5.0)")),
        ])
    }

    #[test]
    fn tests_are_evaluated() {
        for (text, holds) in [
            // The examples of the note.
            ("!(1==1)", false),
            ("!('a'<='c')", false),
            ("(1==1)|('abc'=='def')", true),
            ("(4!=5)&(4==5)", false),
            ("(1 & 4)", false),
            ("$(HTTP_COOKIE{group})=='Advanced'", true),
            ("$(HTTP_COOKIE{group})=='advanced'", false),
            ("$(HTTP_USER_AGENT{browser})=='MSIE' & $(HTTP_USER_AGENT{version}) >= 5", true),
            // Numbers are compared as numbers, between quotes or not; texts letter by letter.
            ("$(HTTP_COOKIE{n}) < 10", true),
            ("$(HTTP_COOKIE{n}) < '10'", true),
            ("$(HTTP_COOKIE{n}) < '10a'", false),
            ("10 == 10.0 & '10' == 10.0", true),
            ("-1 < 0.5 & -10 < -9.5", true),
            ("$(HTTP_COOKIE{big}) == 20000000000000000002", false),
            ("'a' < 'b' & 'B' < 'a' & 'z' < 'ü' & '' < 'a'", false),
            ("'a' < 'b' & 'B' < 'a' & 'z' < 'ü'", true),
            // A comparison with a missing value is always false.
            ("$(HTTP_COOKIE{empty}) == ''", false),
            ("$(HTTP_COOKIE{empty}) != 'a'", false),
            ("$(HTTP_COOKIE{none}) < 1 | $(HTTP_COOKIE{none}) >= 1", false),
            ("$(NONE) == $(NONE)", false),
            ("'a' != ''", false),
            ("!($(NONE) == 'a')", true),
            ("$(NONE|'none') == 'none'", true),
            // Without an operator, only the value `true` is true.
            ("true", true),
            ("false", false),
            ("'true'", false),
            ("1", false),
            ("!1", true),
            ("$(HTTP_HOST)", false),
            ("$(NONE)", false),
            ("!$(NONE)", true),
            ("$(NONE|true)", true),
            ("$(HTTP_COOKIE{yes})", true),
            ("$(HTTP_ACCEPT_LANGUAGE{de}) & !$(HTTP_ACCEPT_LANGUAGE{en-gb})", true),
            ("$(HTTP_ACCEPT_LANGUAGE{de}) == true & $(HTTP_ACCEPT_LANGUAGE{fr}) == 'false'", true),
            // Comparisons bind more tightly than `!`, then `&`, then `|`.
            ("!1 == 2", true),
            ("!1 == 2 & false", false),
            ("true | true & false", true),
            ("(true | true) & false", false),
            ("!false & false", false),
            ("!(false & false)", true),
            ("!!true", true),
            ("1 == 1 == true", true),
            ("1 == 2 == false", true),
            ("1 < 2 == true", true),
            ("true != (1 == 2)", true),
            ("true && false || true", true),
            (r"'it\'s' == 'it\'s'", true),
        ] {
            assert_eq!(Expr::parse(text).expect(text).holds(&known()), holds, "{text}");
        }
    }

    #[test]
    fn a_test_that_cannot_hold_is_doubted() {
        let alone = |text: &str| format!("alone: {text}");
        for (text, expected) in [
            ("$(HTTP_COOKIE{x})", alone("$(HTTP_COOKIE{x})")),
            ("!$(HTTP_COOKIE{x}|y) & 1 == 1", alone("$(HTTP_COOKIE{x}|'y')")),
            ("$(HTTP_COOKIE{x}) != ''", "empty".to_owned()),
            ("$(HTTP_HOST) == 'a' | ('' == $(HTTP_COOKIE{x}))", "empty".to_owned()),
            ("'a'", "never".to_owned()),
            ("1 == 2", "never".to_owned()),
            ("true & !(1 == 2)", String::new()),
            ("$(HTTP_ACCEPT_LANGUAGE{de}) & !$(HTTP_ACCEPT_LANGUAGE{en})", String::new()),
            ("$(HTTP_COOKIE{x}) == 'a'", String::new()),
            ("$(HTTP_COOKIE{x}|true)", String::new()),
        ] {
            let expr = Expr::parse(text).expect(text);
            let found = match expr.doubt() {
                Some(Doubt::Never) => "never".to_owned(),
                Some(Doubt::Empty) => "empty".to_owned(),
                Some(Doubt::Alone(variable)) => alone(&variable.to_string()),
                None => String::new(),
            };
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_test_has_one_canonical_form() {
        for (text, shown) in [
            ("((1)==(1))", "1 == 1"),
            ("!(1==1)&&!(true&false)", "!1 == 1 & !(true & false)"),
            ("(1|2)", "1 | 2"),
            ("(1|2)|3", "(1 | 2) | 3"),
            ("(1&2)||3", "1 & 2 | 3"),
            ("(1|2)&3", "(1 | 2) & 3"),
            ("(1==2)==3", "(1 == 2) == 3"),
            ("1==2==3", "1 == 2 == 3"),
            ("!(!1)", "!!1"),
            ("(!1)==2", "(!1) == 2"),
            (r"$(HTTP_HOST|x)=='it\'s'", r"$(HTTP_HOST|'x') == 'it\'s'"),
        ] {
            assert_eq!(Expr::parse(text).expect(text).to_string(), shown);
        }
    }

    #[test]
    fn variables_are_known_once_a_test_is_parsed() {
        let expr = Expr::parse("$(B{x}) == $(A) | !(true & $(B{x}|y))").expect("a test");
        assert_eq!(expr.used().collect::<Vec<_>>(), [("B", Some("x")), ("A", None), ("B", Some("x"))]);
    }

    /// The oracle: a binary tree, which evaluates and writes itself independently.
    #[derive(Debug, Clone)]
    enum Tree {
        Value(&'static str),
        Parens(Box<Tree>),
        Not(Box<Tree>),
        Two(&'static str, Box<Tree>, Box<Tree>),
    }

    impl Tree {
        fn binding(&self) -> usize {
            match self {
                Self::Two("|" | "||", ..) => 0,
                Self::Two("&" | "&&", ..) => 1,
                Self::Not(_) => 2,
                Self::Two(..) => 3,
                Self::Value(_) | Self::Parens(_) => 4,
            }
        }

        fn write(&self, least: usize, space: &str) -> String {
            let own = self.binding();
            let text = match self {
                Self::Value(value) => (*value).to_owned(),
                Self::Parens(tree) => format!("({space}{})", tree.write(0, space)),
                Self::Not(tree) => format!("!{space}{}", tree.write(own, space)),
                Self::Two(sign, left, right) => {
                    format!("{}{space}{sign}{space}{}", left.write(own, space), right.write(own + 1, space))
                }
            };
            if own < least { format!("({text}{space})") } else { text }
        }

        /// The text it is compared as, and whether it holds.
        fn evaluate(&self) -> (String, bool) {
            let truth = |truth: bool| (truth.to_string(), truth);
            match self {
                Self::Value(value @ ("true" | "false")) => truth(*value == "true"),
                Self::Value(value) if value.starts_with("$(") => {
                    let variable = Variable::read(&mut Cursor::new(value)).expect("a variable");
                    let value = variable.value(&known()).into_owned();
                    (value.clone(), value == "true")
                }
                Self::Value(value) => (value.trim_matches('\'').replace("\\'", "'"), false),
                Self::Parens(tree) => tree.evaluate(),
                Self::Not(tree) => truth(!tree.evaluate().1),
                Self::Two("&" | "&&", left, right) => truth(left.evaluate().1 & right.evaluate().1),
                Self::Two("|" | "||", left, right) => truth(left.evaluate().1 | right.evaluate().1),
                Self::Two(sign, left, right) => {
                    let (left, right) = (left.evaluate().0, right.evaluate().0);
                    let order = match (left.parse::<f64>(), right.parse::<f64>()) {
                        (Ok(left), Ok(right)) => left.partial_cmp(&right),
                        _ => Some(left.cmp(&right)),
                    };
                    let signs = match order.expect("no number is missing") {
                        std::cmp::Ordering::Less => ["<", "<=", "!="],
                        std::cmp::Ordering::Equal => ["==", "<=", ">="],
                        std::cmp::Ordering::Greater => [">", ">=", "!="],
                    };
                    truth(!left.is_empty() && !right.is_empty() && signs.contains(sign))
                }
            }
        }
    }

    fn trees() -> impl Strategy<Value = Tree> {
        let one_of = |values: &[&'static str]| prop::sample::select(values.to_vec());
        let two = |(sign, left, right)| Tree::Two(sign, Box::new(left), Box::new(right));
        let value = one_of(&[
            "'a'",
            "'b'",
            "''",
            "'true'",
            r"'it\'s'",
            "'10'",
            "9",
            "-1",
            "10.0",
            "$(HTTP_HOST)",
            "$(HTTP_COOKIE{n})",
            "$(HTTP_COOKIE{empty})",
            "$(HTTP_COOKIE{yes})",
            "$(HTTP_ACCEPT_LANGUAGE{de})",
            "$(NONE)",
            "$(NONE|9)",
        ]);
        let value = value.prop_map(Tree::Value);
        let ordered = (one_of(&["<", "<=", ">", ">="]), value.clone(), value.clone()).prop_map(two);
        let leaf = prop_oneof![value, ordered, one_of(&["true", "false"]).prop_map(Tree::Value)];
        leaf.prop_recursive(6, 40, 2, move |tree| {
            prop_oneof![
                1 => tree.clone().prop_map(|tree| Tree::Parens(Box::new(tree))),
                2 => tree.clone().prop_map(|tree| Tree::Not(Box::new(tree))),
                5 => (one_of(&["==", "!=", "&", "&&", "|", "||"]), tree.clone(), tree).prop_map(two),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_test_evaluates_like_its_tree(tree in trees(), space in prop::sample::select(vec!["", " ", "\n\t"])) {
            let text = tree.write(0, space);
            let expr = Expr::parse(&text).expect(&text);
            prop_assert_eq!(expr.holds(&known()), tree.evaluate().1, "{}", text);
        }

        #[test]
        fn displayed_tests_parse_to_the_same_test(tree in trees()) {
            let expr = Expr::parse(&tree.write(0, "")).expect("a test");
            let shown = expr.to_string();
            prop_assert_eq!(Expr::parse(&shown), Ok(expr), "{}", shown);
        }
    }
}
