//! Variables: values of a request by name, and their use in a text: `$(NAME{key}|default)`.
//! An undefined or empty variable has its default, or is the empty text if it has none.

use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;
use std::fmt;

use super::cursor::{Cursor, Quoted};
use super::error::{EsiError, shown};

/// The variables of the ESI 1.0 note. A text may use others too; the caller decides whether they exist.
pub const NAMES: [&str; 6] =
    ["HTTP_ACCEPT_LANGUAGE", "HTTP_COOKIE", "HTTP_HOST", "HTTP_REFERER", "HTTP_USER_AGENT", "QUERY_STRING"];

/// The value of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `HTTP_HOST`, `HTTP_REFERER`. It has no keys.
    Text(String),
    /// `HTTP_ACCEPT_LANGUAGE`. With a key: `true` or `false`, depending on whether the list contains it.
    List(Vec<String>),
    /// `HTTP_COOKIE`, `HTTP_USER_AGENT`, `QUERY_STRING`.
    Dictionary {
        /// The value without a key, as in the request: `a=1&b=2`.
        whole: String,
        /// The values by key. Of two entries with the same key the first counts.
        entries: Vec<(String, String)>,
    },
}

impl Value {
    /// The value with or without a key; empty if there is none.
    fn get(&self, key: Option<&str>) -> Cow<'_, str> {
        match (self, key) {
            (Self::Text(whole) | Self::Dictionary { whole, .. }, None) => Cow::Borrowed(whole),
            (Self::Text(_), Some(_)) => Cow::Borrowed(""),
            (Self::List(items), None) => Cow::Owned(items.join(", ")),
            (Self::List(items), Some(key)) => {
                Cow::Borrowed(if items.iter().any(|item| item == key) { "true" } else { "false" })
            }
            (Self::Dictionary { entries, .. }, Some(key)) => {
                let found = entries.iter().find(|(known, _)| known == key);
                Cow::Borrowed(found.map_or("", |(_, value)| value))
            }
        }
    }
}

/// A source of values.
pub trait Variables {
    /// The value of the variable of this name, if it is defined.
    fn value(&self, name: &str) -> Option<&Value>;
}

impl<Name: Borrow<str> + Ord> Variables for BTreeMap<Name, Value> {
    fn value(&self, name: &str) -> Option<&Value> {
        self.get(name)
    }
}

/// A use of a variable: `$(NAME{key}|default)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    name: String,
    key: Option<String>,
    default: Option<String>,
}

/// The help for a variable that is written wrongly.
const SYNTAX: &str = "write `$(NAME)`, `$(NAME{key})` or `$(NAME|default)`";
/// The help for a `$(` that may belong to a script.
const SCRIPTS: &str = "names of variables are in capital letters, like `$(HTTP_HOST)`; a script that needs `$(` goes \
                       outside `<esi:vars>`";

impl Variable {
    /// Whether it is either `true` or `false`, or `true` unless it is defined.
    pub(super) fn is_truth(&self) -> bool {
        (self.name == "HTTP_ACCEPT_LANGUAGE" && self.key.is_some()) || self.default.as_deref() == Some("true")
    }

    /// The same variable with another default.
    #[must_use]
    pub fn with_default(&self, default: &str) -> Self {
        Self { default: Some(default.to_owned()), ..self.clone() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The value for a request.
    #[must_use]
    pub fn value<'a>(&'a self, variables: &'a dyn Variables) -> Cow<'a, str> {
        let found = variables.value(&self.name).map(|value| value.get(self.key())).unwrap_or_default();
        if found.is_empty() { Cow::Borrowed(self.default.as_deref().unwrap_or_default()) } else { found }
    }

    /// Takes a variable; `$(` comes next.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, EsiError> {
        let start = cursor.at();
        cursor.take("$(");
        let name = cursor.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        if name.is_empty() || name.bytes().any(|b| b.is_ascii_lowercase()) {
            return Err(no_name(name, start, cursor));
        }
        let key = if cursor.take("{") { Some(read_key(cursor)?) } else { None };
        let default = if cursor.take("|") { Some(read_default(cursor)?) } else { None };
        if cursor.take(")") {
            return Ok(Self { name: name.to_owned(), key, default });
        }
        let at = cursor.at();
        Err(match cursor.bump() {
            None => EsiError::new(start..at, "this `$(` is never closed").help("end the variable with `)`"),
            Some(_) if default.is_some() => EsiError::new(at..cursor.at(), "the default ends here, but no `)` follows")
                .help("a default of more than one word needs single quotes: `$(NAME|'two words')`"),
            Some('(') => no_function(start..cursor.at()),
            Some(c) if c.is_whitespace() => space(at..cursor.at()),
            Some(c) => {
                EsiError::new(at..cursor.at(), format!("`{}` is not allowed here in a variable", shown(&c.to_string())))
                    .help(SYNTAX)
            }
        })
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$({}", self.name)?;
        if let Some(key) = &self.key {
            write!(f, "{{{key}}}")?;
        }
        if let Some(default) = &self.default {
            write!(f, "|{}", Quoted(default))?;
        }
        f.write_str(")")
    }
}

/// The error for functions, which Akamai and Fastly support.
pub(super) fn no_function(at: std::ops::Range<usize>) -> EsiError {
    EsiError::new(at, "functions are not part of ESI 1.0").help("compare variables with texts and numbers only")
}

/// The error for a space in a variable.
fn space(at: std::ops::Range<usize>) -> EsiError {
    EsiError::new(at, "a variable must not contain spaces").help("remove the space: `$(HTTP_HOST)`")
}

/// The error for a variable without a valid name.
fn no_name(name: &str, start: usize, cursor: &Cursor<'_>) -> EsiError {
    let (at, capitals) = (start..cursor.at(), name.to_ascii_uppercase());
    match cursor.peek() {
        _ if NAMES.contains(&capitals.as_str()) => {
            EsiError::new(at, "names of variables are in capital letters").help(format!("write `{capitals}`"))
        }
        Some('(') if !name.is_empty() => no_function(at),
        None if name.is_empty() => EsiError::new(at, "this `$(` is never closed").help(SYNTAX),
        Some(c) if name.is_empty() && c.is_whitespace() => space(cursor.at()..cursor.at() + c.len_utf8()),
        _ if name.is_empty() => EsiError::new(at, "there is no name after `$(`").help(SCRIPTS),
        _ => EsiError::new(at, format!("`{}` is not a valid variable name", shown(name))).help(SCRIPTS),
    }
}

/// Takes a key; the `{` before it is already taken.
fn read_key(cursor: &mut Cursor<'_>) -> Result<String, EsiError> {
    let start = cursor.at() - 1;
    let is_key = |c: char| !c.is_whitespace() && !c.is_control() && !"{}()'\"".contains(c);
    let key = cursor.take_while(is_key);
    if !key.is_empty() && cursor.take("}") {
        return Ok(key.to_owned());
    }
    let at = cursor.at();
    Err(match cursor.bump() {
        Some('}') => EsiError::new(start..cursor.at(), "there is no key between `{` and `}`").help(SYNTAX),
        Some('\'' | '"') => EsiError::new(at..cursor.at(), "a key is written without quotes").help(SYNTAX),
        Some(c) if c.is_whitespace() => EsiError::new(at..cursor.at(), "a key must not contain spaces").help(SYNTAX),
        Some('(' | '{') => EsiError::new(at..cursor.at(), "a key is a plain word").help("variables cannot be nested"),
        _ => EsiError::new(start..at, "the key that begins here never ends").help("end it with `}`"),
    })
}

/// Takes a default; the `|` before it is already taken.
fn read_default(cursor: &mut Cursor<'_>) -> Result<String, EsiError> {
    let start = cursor.at() - 1;
    if cursor.peek() == Some('\'') {
        return cursor.quoted();
    }
    let word = cursor.take_while(|c| !c.is_whitespace() && !c.is_control() && !"'\"(){}|$".contains(c));
    if !word.is_empty() {
        return Ok(word.to_owned());
    }
    let at = cursor.at();
    Err(if cursor.take("$(") {
        EsiError::new(at..cursor.at(), "a default is a text").help("variables cannot be nested")
    } else if cursor.take("\"") {
        EsiError::new(at..cursor.at(), "a default needs single quotes, not double ones")
            .help("write `$(NAME|'two words')`")
    } else {
        EsiError::new(start..at, "no default follows `|`").help("write `$(NAME|default)`, or remove the `|`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Variable, EsiError> {
        Variable::read(&mut Cursor::new(text))
    }

    #[test]
    fn values_are_found_by_name_and_key() {
        let entries = [("id", "7"), ("none", ""), ("id", "8")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let variables = BTreeMap::from([
            ("HTTP_HOST", Value::Text("example.org".to_owned())),
            ("HTTP_REFERER", Value::Text(String::new())),
            ("HTTP_ACCEPT_LANGUAGE", Value::List(vec!["de".to_owned(), "en-GB".to_owned()])),
            ("EMPTY_LIST", Value::List(Vec::new())),
            ("HTTP_COOKIE", Value::Dictionary { whole: "id=7; none=; id=8".to_owned(), entries: entries.into() }),
        ]);
        for (text, value) in [
            ("$(HTTP_HOST)", "example.org"),
            ("$(HTTP_HOST|other)", "example.org"),
            ("$(HTTP_HOST{key})", ""),
            ("$(HTTP_HOST{key}|other)", "other"),
            ("$(HTTP_REFERER)", ""),
            ("$(HTTP_REFERER|/)", "/"),
            ("$(HTTP_ACCEPT_LANGUAGE)", "de, en-GB"),
            ("$(HTTP_ACCEPT_LANGUAGE{de})", "true"),
            ("$(HTTP_ACCEPT_LANGUAGE{en-gb}|none)", "false"),
            ("$(EMPTY_LIST{de}|none)", "false"),
            ("$(EMPTY_LIST|none)", "none"),
            ("$(HTTP_COOKIE)", "id=7; none=; id=8"),
            ("$(HTTP_COOKIE{id})", "7"),
            ("$(HTTP_COOKIE{ID}|'two words')", "two words"),
            ("$(HTTP_COOKIE{none}|x)", "x"),
            ("$(HTTP_COOKIE{none}|'')", ""),
            ("$(NOBODY_KNOWS_2)", ""),
            ("$(NOBODY_KNOWS_2{a[0]}|https://example.org/?a=b&c=ü)", "https://example.org/?a=b&c=ü"),
            (r"$(NOBODY_KNOWS_2|'it\'s \\')", r"it's \"),
        ] {
            let variable = read(text).expect(text);
            assert_eq!(variable.value(&variables), value, "{text}");
            assert_eq!(read(&variable.to_string()), Ok(variable), "{text}");
        }
    }

    #[test]
    fn invalid_variables_are_reported() {
        for (text, at, message) in [
            ("$(", 0..2, "never closed"),
            ("$()", 0..2, "no name"),
            ("$(HTTP_HOST", 0..11, "never closed"),
            ("$(HTTP_HOST|", 11..12, "no default"),
            ("$(HTTP_HOST|)", 11..12, "no default"),
            ("$(HTTP_HOST|a", 0..13, "never closed"),
            ("$(http_host)", 0..11, "write `HTTP_HOST`"),
            ("$(Http_Cookie{a})", 0..13, "write `HTTP_COOKIE`"),
            ("$(document).ready()", 0..10, "outside `<esi:vars>`"),
            ("$('.menu').hide()", 0..2, "outside `<esi:vars>`"),
            ("$(ünder)", 0..2, "outside `<esi:vars>`"),
            ("$(function() {})", 0..10, "functions"),
            ("$(HTTP_HOST('a'))", 0..12, "functions"),
            ("$( HTTP_HOST )", 2..3, "spaces"),
            ("$(\u{a0}HTTP_HOST )", 2..4, "spaces"),
            ("$(HTTP_HOST )", 11..12, "spaces"),
            ("$(HTTP-HOST)", 6..7, "`-` is not allowed here"),
            ("$(HTTP_COOKIE{})", 13..15, "no key"),
            ("$(HTTP_COOKIE{a", 13..15, "never ends"),
            ("$(HTTP_COOKIE{a)", 13..15, "never ends"),
            ("$(HTTP_COOKIE{'a'})", 14..15, "without quotes"),
            ("$(HTTP_COOKIE{a b})", 15..16, "not contain spaces"),
            ("$(HTTP_COOKIE{$(A)})", 15..16, "plain word"),
            ("$(HTTP_COOKIE{a}b)", 16..17, "`b` is not allowed here"),
            ("$(HTTP_HOST|two words)", 15..16, "single quotes"),
            ("$(HTTP_HOST|\"two words\")", 12..13, "single quotes"),
            ("$(HTTP_HOST|'a'b)", 15..16, "no `)` follows"),
            ("$(HTTP_HOST|'a)", 12..15, "never ends"),
            ("$(HTTP_HOST|$(HTTP_REFERER))", 12..14, "cannot be nested"),
            ("$(HTTP_HOST||a)", 11..12, "no default"),
        ] {
            let error = read(text).expect_err(text);
            assert_eq!(error.at, at, "{text}: {error:?}");
            assert!(error.full_text().contains(message), "{text}: {error:?}");
        }
    }
}
