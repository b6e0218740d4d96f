//! Variables: what a request says, by name, and how a text asks for it: `$(NAME{key}|default)`.
//! What is undefined or empty is its default, and without one the empty text.

use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;
use std::fmt;

use super::cursor::{Cursor, Quoted};
use super::mistake::{Mistake, shown};

/// The variables of the note. Others can be asked for, too; whether there are any is for the caller to say.
pub const NAMES: [&str; 6] =
    ["HTTP_ACCEPT_LANGUAGE", "HTTP_COOKIE", "HTTP_HOST", "HTTP_REFERER", "HTTP_USER_AGENT", "QUERY_STRING"];

/// What a variable holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `HTTP_HOST`, `HTTP_REFERER`. It has no keys.
    Text(String),
    /// `HTTP_ACCEPT_LANGUAGE`. With a key, whether that is on the list: `true` or `false`.
    List(Vec<String>),
    /// `HTTP_COOKIE`, `HTTP_USER_AGENT`, `QUERY_STRING`.
    Dictionary {
        /// What it is without a key, as the request had it: `a=1&b=2`.
        whole: String,
        /// What it is with one. Of two entries with one key the first counts.
        entries: Vec<(String, String)>,
    },
}

impl Value {
    /// What it is with or without a key; empty where there is nothing.
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

/// Where values come from.
pub trait Variables {
    /// The value of this name, where it is defined.
    fn value(&self, name: &str) -> Option<&Value>;
}

impl<Name: Borrow<str> + Ord> Variables for BTreeMap<Name, Value> {
    fn value(&self, name: &str) -> Option<&Value> {
        self.get(name)
    }
}

/// A place where a value is put: `$(NAME{key}|default)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    name: String,
    key: Option<String>,
    default: Option<String>,
}

const FORMS: &str = "write `$(NAME)`, `$(NAME{key})` or `$(NAME|default)`";
const SCRIPTS: &str = "names of variables are in capital letters, like `$(HTTP_HOST)`; a script that needs `$(` goes \
                       outside `<esi:vars>`";

impl Variable {
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

    /// What it is for a request.
    #[must_use]
    pub fn value<'a>(&'a self, variables: &'a dyn Variables) -> Cow<'a, str> {
        let found = variables.value(&self.name).map(|value| value.get(self.key())).unwrap_or_default();
        if found.is_empty() { Cow::Borrowed(self.default.as_deref().unwrap_or_default()) } else { found }
    }

    /// Takes a variable; `$(` comes next.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, Mistake> {
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
            None => Mistake::new(start..at, "this `$(` is never closed").help("end the variable with `)`"),
            Some(_) if default.is_some() => Mistake::new(at..cursor.at(), "the default ends here, but no `)` follows")
                .help("a default that is more than a word stands between single quotes: `$(NAME|'two words')`"),
            Some('(') => no_function(start..cursor.at()),
            Some(c) if c.is_whitespace() => space(at..cursor.at()),
            Some(c) => {
                Mistake::new(at..cursor.at(), format!("`{}` cannot stand here in a variable", shown(&c.to_string())))
                    .help(FORMS)
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

/// What is said of the functions that Akamai and Fastly have.
pub(super) fn no_function(at: std::ops::Range<usize>) -> Mistake {
    Mistake::new(at, "functions are not part of ESI 1.0").help("compare variables with texts and numbers only")
}

fn space(at: std::ops::Range<usize>) -> Mistake {
    Mistake::new(at, "a variable has no spaces in it").help("leave the space out: `$(HTTP_HOST)`")
}

fn no_name(name: &str, start: usize, cursor: &Cursor<'_>) -> Mistake {
    let (at, capitals) = (start..cursor.at(), name.to_ascii_uppercase());
    match cursor.peek() {
        _ if NAMES.contains(&capitals.as_str()) => {
            Mistake::new(at, "names of variables are in capital letters").help(format!("write `{capitals}`"))
        }
        Some('(') if !name.is_empty() => no_function(at),
        None if name.is_empty() => Mistake::new(at, "this `$(` is never closed").help(FORMS),
        Some(c) if name.is_empty() && c.is_whitespace() => space(cursor.at()..cursor.at() + c.len_utf8()),
        _ if name.is_empty() => Mistake::new(at, "no name of a variable follows `$(`").help(SCRIPTS),
        _ => Mistake::new(at, format!("`{}` is no name of a variable", shown(name))).help(SCRIPTS),
    }
}

/// Takes a key; what opens it is taken.
fn read_key(cursor: &mut Cursor<'_>) -> Result<String, Mistake> {
    let start = cursor.at() - 1;
    let is_key = |c: char| !c.is_whitespace() && !c.is_control() && !"{}()'\"".contains(c);
    let key = cursor.take_while(is_key);
    if !key.is_empty() && cursor.take("}") {
        return Ok(key.to_owned());
    }
    let at = cursor.at();
    Err(match cursor.bump() {
        Some('}') => Mistake::new(start..cursor.at(), "no key stands between `{` and `}`").help(FORMS),
        Some('\'' | '"') => Mistake::new(at..cursor.at(), "a key stands without quotes").help(FORMS),
        Some(c) if c.is_whitespace() => Mistake::new(at..cursor.at(), "a key has no spaces in it").help(FORMS),
        Some('(' | '{') => {
            Mistake::new(at..cursor.at(), "a key is a plain word").help("no variable stands within another")
        }
        _ => Mistake::new(start..at, "the key that begins here never ends").help("end it with `}`"),
    })
}

/// Takes a default; what stands before it is taken.
fn read_default(cursor: &mut Cursor<'_>) -> Result<String, Mistake> {
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
        Mistake::new(at..cursor.at(), "a default is a text").help("no variable stands within another")
    } else if cursor.take("\"") {
        Mistake::new(at..cursor.at(), "a default stands between single quotes, not double ones")
            .help("write `$(NAME|'two words')`")
    } else {
        Mistake::new(start..at, "no default follows `|`").help("write `$(NAME|default)`, or leave the `|` out")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Variable, Mistake> {
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
    fn what_is_no_variable_says_why() {
        for (text, at, says) in [
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
            ("$(HTTP-HOST)", 6..7, "`-` cannot stand here"),
            ("$(HTTP_COOKIE{})", 13..15, "no key"),
            ("$(HTTP_COOKIE{a", 13..15, "never ends"),
            ("$(HTTP_COOKIE{a)", 13..15, "never ends"),
            ("$(HTTP_COOKIE{'a'})", 14..15, "without quotes"),
            ("$(HTTP_COOKIE{a b})", 15..16, "no spaces"),
            ("$(HTTP_COOKIE{$(A)})", 15..16, "plain word"),
            ("$(HTTP_COOKIE{a}b)", 16..17, "`b` cannot stand here"),
            ("$(HTTP_HOST|two words)", 15..16, "single quotes"),
            ("$(HTTP_HOST|\"two words\")", 12..13, "single quotes"),
            ("$(HTTP_HOST|'a'b)", 15..16, "no `)` follows"),
            ("$(HTTP_HOST|'a)", 12..15, "never ends"),
            ("$(HTTP_HOST|$(HTTP_REFERER))", 12..14, "within another"),
            ("$(HTTP_HOST||a)", 11..12, "no default"),
        ] {
            let mistake = read(text).expect_err(text);
            assert_eq!(mistake.at, at, "{text}: {mistake:?}");
            assert!(mistake.told().contains(says), "{text}: {mistake:?}");
        }
    }
}
