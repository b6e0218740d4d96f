//! The syntax tree of a test, and its evaluation for a request.
//! Operators of one kind in a row are one node, so that the tree is only as deep as its parentheses and `!`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use super::cursor::Quoted;
use super::number;
use super::variables::{Value, Variable, Variables};

/// A comparison operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    More,
    AtMost,
    AtLeast,
}

impl Comparison {
    /// The operator as it is written.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Unequal => "!=",
            Self::Less => "<",
            Self::More => ">",
            Self::AtMost => "<=",
            Self::AtLeast => ">=",
        }
    }

    /// Whether it compares the order of two values.
    pub(super) const fn is_ordering(self) -> bool {
        !matches!(self, Self::Equal | Self::Unequal)
    }

    /// Compares two values: as numbers if both are, otherwise as texts. A comparison with an empty value is false.
    fn holds(self, left: &str, right: &str) -> bool {
        if left.is_empty() || right.is_empty() {
            return false;
        }
        let order = number::compare(left, right).unwrap_or_else(|| left.cmp(right));
        match self {
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::More => order.is_gt(),
            Self::AtMost => order.is_le(),
            Self::AtLeast => order.is_ge(),
        }
    }
}

/// Why a test will not hold when its author thinks it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt<'a> {
    /// It never holds.
    Never,
    /// It compares something with an empty text.
    Empty,
    /// It tests this variable without a comparison.
    Alone(&'a Variable),
}

/// A test or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// Two or more tests, of which at least one must hold.
    Any(Vec<Node>),
    /// Two or more tests, all of which must hold.
    All(Vec<Node>),
    /// A test that must not hold.
    Not(Box<Node>),
    /// A first value, and the values that it is compared with. The result of each comparison is the left side of the next.
    Compare(Box<Node>, Vec<(Comparison, Node)>),
    /// `true` or `false`.
    Truth(bool),
    /// A number, as it is written.
    Number(String),
    /// A text between quotes.
    Text(String),
    /// A variable.
    Variable(Variable),
}

impl Node {
    /// Whether the test holds. Of values, only `true` holds.
    pub(super) fn holds(&self, variables: &dyn Variables) -> bool {
        match self {
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(variables)),
            Self::All(nodes) => nodes.iter().all(|node| node.holds(variables)),
            Self::Not(node) => !node.holds(variables),
            Self::Compare(first, rest) => {
                let mut left = first.text(variables);
                for (comparison, right) in rest {
                    left = Cow::Borrowed(word(comparison.holds(&left, &right.text(variables))));
                }
                left == "true"
            }
            Self::Truth(truth) => *truth,
            Self::Number(_) | Self::Text(_) => false,
            Self::Variable(variable) => variable.value(variables) == "true",
        }
    }

    /// The text that is compared.
    fn text<'a>(&'a self, variables: &'a dyn Variables) -> Cow<'a, str> {
        match self {
            Self::Number(text) | Self::Text(text) => Cow::Borrowed(text),
            Self::Variable(variable) => variable.value(variables),
            _ => Cow::Borrowed(word(self.holds(variables))),
        }
    }

    /// Why the test will not hold when its author thinks it does.
    pub(super) fn doubt(&self) -> Option<Doubt<'_>> {
        let mut used = Vec::new();
        self.variables(&mut used);
        if self.compares_empty() {
            Some(Doubt::Empty)
        } else if used.is_empty() && !self.holds(&BTreeMap::<&str, Value>::new()) {
            Some(Doubt::Never)
        } else {
            self.alone().map(Doubt::Alone)
        }
    }

    /// Whether a comparison in it is with an empty text.
    fn compares_empty(&self) -> bool {
        let is_empty = |node: &Self| matches!(node, Self::Text(text) if text.is_empty());
        match self {
            Self::Any(nodes) | Self::All(nodes) => nodes.iter().any(Self::compares_empty),
            Self::Not(node) => node.compares_empty(),
            Self::Compare(first, rest) => {
                let mut operands = std::iter::once(&**first).chain(rest.iter().map(|(_, node)| node));
                operands.any(|node| is_empty(node) || node.compares_empty())
            }
            Self::Truth(_) | Self::Number(_) | Self::Text(_) | Self::Variable(_) => false,
        }
    }

    /// A variable in it that is tested without a comparison, although it can have any value.
    fn alone(&self) -> Option<&Variable> {
        match self {
            Self::Any(nodes) | Self::All(nodes) => nodes.iter().find_map(Self::alone),
            Self::Not(node) => node.alone(),
            Self::Variable(variable) => (!variable.is_truth()).then_some(variable),
            Self::Compare(..) | Self::Truth(_) | Self::Number(_) | Self::Text(_) => None,
        }
    }

    /// Whether the node can be only true or false.
    pub(super) fn is_truth(&self) -> bool {
        !matches!(self, Self::Number(_) | Self::Text(_) | Self::Variable(_))
    }

    /// Appends the variables in the test, in order.
    pub(super) fn variables<'a>(&'a self, into: &mut Vec<&'a Variable>) {
        match self {
            Self::Any(nodes) | Self::All(nodes) => {
                for node in nodes {
                    node.variables(into);
                }
            }
            Self::Not(node) => node.variables(into),
            Self::Compare(first, rest) => {
                first.variables(into);
                for (_, node) in rest {
                    node.variables(into);
                }
            }
            Self::Truth(_) | Self::Number(_) | Self::Text(_) => {}
            Self::Variable(variable) => into.push(variable),
        }
    }

    /// How tightly the node binds: the higher, the more tightly.
    fn binding(&self) -> u8 {
        match self {
            Self::Any(_) => 0,
            Self::All(_) => 1,
            Self::Not(_) => 2,
            Self::Compare(..) => 3,
            _ => 4,
        }
    }
}

/// A truth value as text.
const fn word(truth: bool) -> &'static str {
    if truth { "true" } else { "false" }
}

/// Writes a node, in parentheses if it binds less tightly than the number.
struct Bound<'a>(&'a Node, u8);

impl fmt::Display for Bound<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(node, least) = self;
        if node.binding() < *least { write!(f, "({node})") } else { node.fmt(f) }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, nodes: &[Self], sign: &str| {
            for (index, node) in nodes.iter().enumerate() {
                f.write_str(if index == 0 { "" } else { sign })?;
                Bound(node, self.binding() + 1).fmt(f)?;
            }
            Ok(())
        };
        match self {
            Self::Any(nodes) => row(f, nodes, " | "),
            Self::All(nodes) => row(f, nodes, " & "),
            Self::Not(node) => write!(f, "!{}", Bound(node, self.binding())),
            Self::Compare(first, rest) => {
                Bound(first, self.binding() + 1).fmt(f)?;
                rest.iter().try_for_each(|(comparison, node)| {
                    write!(f, " {} {}", comparison.as_str(), Bound(node, self.binding() + 1))
                })
            }
            Self::Truth(truth) => f.write_str(word(*truth)),
            Self::Number(number) => f.write_str(number),
            Self::Text(text) => Quoted(text).fmt(f),
            Self::Variable(variable) => variable.fmt(f),
        }
    }
}
