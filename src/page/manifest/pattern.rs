//! The regular expressions of parameters, whose cost is limited when they are read: both what they take in memory and how long
//! they take with a long value. Services write them, so they are compiled and run on somebody else's word.

use std::cell::Cell;

use regex_lite::{Regex, RegexBuilder};

use crate::page::source::table::{self, Value, ValueError};

/// Maximum size of a compiled pattern, in bytes. A pattern without `*`, `+` and `{n,}` is through with a value after at most as
/// many characters as it has places for, however long the value is.
const MAX_SIZE: usize = 64 << 10;
/// Maximum size of a pattern that repeats something without end. Each character of a value can cost a visit to all of its
/// states: 8 KiB of such a pattern take up to 30 ms with a value of 8 KiB.
const MAX_ENDLESS_SIZE: usize = 8 << 10;
/// The smallest size that is counted for a compiled pattern.
const LEAST_SIZE: usize = 256;

/// A regular expression. Two are equal if their texts are.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    text: String,
    whole: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// How many bytes may still be compiled for the patterns of one source of manifests.
#[derive(Debug)]
pub(super) struct PatternBudget(Cell<usize>);

impl PatternBudget {
    /// A budget of so many bytes.
    pub(super) const fn new(bytes: usize) -> Self {
        Self(Cell::new(bytes))
    }

    /// Whether nothing of it is left.
    pub(super) const fn is_spent(&self) -> bool {
        self.0.get() == 0
    }

    fn spend(&self, bytes: usize) {
        self.0.set(self.0.get().saturating_sub(bytes));
    }
}

impl Pattern {
    /// Reads a pattern, and charges the budget for it.
    pub(super) fn read(value: &Value, budget: &PatternBudget) -> Result<Self, ValueError> {
        let text = table::text(value)?;
        // Compiled without the group first: the group must not make an invalid expression valid. A pattern matches the whole
        // value, as in an HTML form.
        let compiled = compile(&text).and_then(|_| compile(&format!("^(?:{text})$")));
        budget.spend(match &compiled {
            Ok((_, size)) => *size,
            Err(NotCompiled::TooLarge(limit)) => *limit,
            Err(NotCompiled::Invalid(_)) => 0,
        });
        let (whole, _) = compiled.map_err(|error| error.explained())?;
        Ok(Self { text, whole })
    }

    /// The expression as it was written.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a whole value matches.
    pub(super) fn matches(&self, value: &str) -> bool {
        self.whole.is_match(value)
    }
}

/// Why an expression is not compiled.
#[derive(Debug, thiserror::Error)]
enum NotCompiled {
    #[error("the pattern is too large: compiled, it has more than {} KiB", .0 >> 10)]
    TooLarge(usize),
    #[error(transparent)]
    Invalid(regex_lite::Error),
}

impl NotCompiled {
    fn explained(&self) -> ValueError {
        let help = "shorten it: `{n,m}` copies what is before it up to m times, and copies of `*` are slow";
        let is_large = matches!(self, Self::TooLarge(_));
        ValueError { help: is_large.then(|| help.to_owned()), ..ValueError::new(self.to_string()) }
    }
}

/// Compiles a regular expression within the limit for its kind, and returns its size, rounded up to a power of two.
fn compile(text: &str) -> Result<(Regex, usize), NotCompiled> {
    let limit = if is_endless(text) { MAX_ENDLESS_SIZE } else { MAX_SIZE };
    let mut size = LEAST_SIZE;
    loop {
        match RegexBuilder::new(text).size_limit(size).build() {
            Ok(regex) => return Ok((regex, size)),
            Err(error) if Some(&error) != too_large().as_ref() => return Err(NotCompiled::Invalid(error)),
            Err(_) if size < limit => size *= 2,
            Err(_) => return Err(NotCompiled::TooLarge(limit)),
        }
    }
}

/// Whether an expression may repeat something without end. One that only contains such signs, escaped or in a class, counts as
/// well.
fn is_endless(text: &str) -> bool {
    let open_range = || text.split(',').skip(1).any(|rest| rest.trim_start().starts_with('}'));
    text.contains(['*', '+']) || open_range()
}

/// The error of an expression that is larger than its limit, which the crate distinguishes from others by its text only.
fn too_large() -> Option<regex_lite::Error> {
    RegexBuilder::new("a").size_limit(0).build().err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::source::diagnostic::{Source, SourceSpan};
    use crate::page::source::table::Data;

    fn read(text: &str, budget: &PatternBudget) -> Result<Pattern, ValueError> {
        let at = SourceSpan::new(&Source::new("x", ""), 0..0);
        Pattern::read(&Value { data: Data::Text(text.to_owned()), at }, budget)
    }

    #[test]
    fn a_pattern_that_would_be_slow_or_large_is_refused() {
        let budget = PatternBudget::new(usize::MAX);
        for text in [
            "[a-z0-9-]+",
            "[a-z]{1,64}",
            "[^<>]{1,200}",
            r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}",
            "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
            r"\w{1,100}",
            "(?:a?){400}",
        ] {
            read(text, &budget).expect(text);
        }
        for text in ["(?:.*){400}", "(?:.+){400}", "(?:.{1,}){400}", "(?x)(?:.{1, }){400}", "([a-z]{100}){1000}"] {
            let error = read(text, &budget).expect_err(text);
            assert!(error.message.contains("too large"), "{text}: {}", error.message);
        }
        let error = read("a)|(b", &budget).expect_err("the parentheses are unbalanced");
        assert!(!error.message.contains("too large"), "{}", error.message);
    }

    #[test]
    fn a_budget_is_charged_what_patterns_take_compiled() {
        let budget = PatternBudget::new(1 << 20);
        let within = |text: &str| (0..9_000).take_while(|_| !budget.is_spent() && read(text, &budget).is_ok()).count();
        let compiled = within("(?:a?){400}");
        assert_eq!(compiled, 16, "each takes more than 32 KiB");
        budget.0.set(1 << 20);
        assert_eq!(within("[a-z]+"), 4_096);
    }
}
