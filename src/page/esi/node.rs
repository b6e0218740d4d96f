//! What a test means: a tree of comparisons, and what comes of it for a request.
//! Operators of one kind in a row are one node, so that the tree is only as deep as its parentheses.

use std::borrow::Cow;
use std::fmt;

use super::cursor::Quoted;
use super::number;
use super::variables::{Variable, Variables};

/// An operator between two values.
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

    /// Whether it asks which of two comes first.
    pub(super) const fn orders(self) -> bool {
        !matches!(self, Self::Equal | Self::Unequal)
    }

    /// Compares as numbers where both are, else letter by letter. What is empty compares to nothing.
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

/// A test or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// Two or more, of which one holds.
    Any(Vec<Node>),
    /// Two or more, all of which hold.
    All(Vec<Node>),
    Not(Box<Node>),
    /// A first value, and what it is compared with; then what came of it is compared with the next.
    Compare(Box<Node>, Vec<(Comparison, Node)>),
    Truth(bool),
    Number(String),
    Text(String),
    Variable(Variable),
}

impl Node {
    /// Whether it holds. A value that is neither `true` nor `false` is none that could hold.
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

    /// What it is compared as.
    fn text<'a>(&'a self, variables: &'a dyn Variables) -> Cow<'a, str> {
        match self {
            Self::Number(text) | Self::Text(text) => Cow::Borrowed(text),
            Self::Variable(variable) => variable.value(variables),
            _ => Cow::Borrowed(word(self.holds(variables))),
        }
    }

    /// Whether it is never anything but true or false.
    pub(super) fn is_truth(&self) -> bool {
        !matches!(self, Self::Number(_) | Self::Text(_) | Self::Variable(_))
    }

    /// The variables in it, in order.
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

    /// How tightly it binds: comparisons before `!` before `&` before `|`.
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

const fn word(truth: bool) -> &'static str {
    if truth { "true" } else { "false" }
}

/// A part of a test, in parentheses where it would not bind so tightly otherwise.
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
