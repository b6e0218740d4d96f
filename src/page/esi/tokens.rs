//! Splits a test into tokens: texts, numbers, variables, operators and parentheses.
//! Most errors come from the syntax of other languages; each is reported with what to write instead.

use super::cursor::Cursor;
use super::error::{EsiError, shown};
use super::node::Comparison;
use super::number::is_number;
use super::variables::{NAMES, Variable, no_function};

/// The kind of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// `(`.
    Open,
    /// `)`.
    Close,
    /// `!`.
    Not,
    /// `&` or `&&`.
    And,
    /// `|` or `||`.
    Or,
    /// A comparison operator.
    Compare(Comparison),
    /// `true` or `false`.
    Truth(bool),
    /// A number, as it is written.
    Number(String),
    /// A text between quotes.
    Text(String),
    /// A variable.
    Variable(Variable),
}

/// A token and its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) at: std::ops::Range<usize>,
}

/// The operators and parentheses. If one is the beginning of another, the longer comes first.
const OPERATORS: [(&str, Kind); 13] = [
    ("(", Kind::Open),
    (")", Kind::Close),
    ("==", Kind::Compare(Comparison::Equal)),
    ("!=", Kind::Compare(Comparison::Unequal)),
    ("<=", Kind::Compare(Comparison::AtMost)),
    (">=", Kind::Compare(Comparison::AtLeast)),
    ("<", Kind::Compare(Comparison::Less)),
    (">", Kind::Compare(Comparison::More)),
    ("!", Kind::Not),
    ("&&", Kind::And),
    ("&", Kind::And),
    ("||", Kind::Or),
    ("|", Kind::Or),
];

/// Operators of other languages, and those of ESI to write instead.
const FOREIGN_SIGNS: [(&str, &str); 5] = [("===", "=="), ("!==", "!="), ("=<", "<="), ("=>", ">="), ("<>", "!=")];

/// Words of other languages, and the operators of ESI to write instead. `amp`, `lt` and `gt` are remains of HTML entities.
const FOREIGN_WORDS: [(&str, &str); 11] = [
    ("and", "&"),
    ("or", "|"),
    ("not", "!"),
    ("eq", "=="),
    ("ne", "!="),
    ("lt", "<"),
    ("gt", ">"),
    ("le", "<="),
    ("ge", ">="),
    ("amp", "&"),
    ("is", "=="),
];

/// The help for a character that is not allowed.
const ALLOWED: &str = "a test has variables, texts, numbers, `==` `!=` `<` `<=` `>` `>=`, `!` (not), `&` (and), `|` (or) \
                       and parentheses";

/// Splits a test into tokens.
pub(super) fn read(text: &str) -> Result<Vec<Token>, EsiError> {
    let mut cursor = Cursor::new(text);
    let mut tokens: Vec<Token> = Vec::new();
    loop {
        // Pasted text often contains non-breaking spaces, which are whitespace too.
        cursor.take_while(char::is_whitespace);
        let Some(first) = cursor.peek() else { return Ok(tokens) };
        let start = cursor.at();
        let number = first.is_ascii_digit()
            || (matches!(first, '-' | '.') && cursor.rest()[1..].starts_with(|c: char| c.is_ascii_digit()));
        let kind = match first {
            '\'' => Kind::Text(cursor.quoted()?),
            '$' if cursor.rest().starts_with("$(") => Kind::Variable(Variable::read(&mut cursor)?),
            _ if number => read_number(&mut cursor)?,
            'a'..='z' | 'A'..='Z' | '_' => {
                // A word directly after a text means that the text ended too early: 'it's'.
                let in_text = tokens.last().is_some_and(|t| t.at.end == start && matches!(t.kind, Kind::Text(_)));
                read_word(&mut cursor, in_text)?
            }
            _ => read_operator(&mut cursor)?,
        };
        tokens.push(Token { kind, at: start..cursor.at() });
    }
}

/// Takes a number.
fn read_number(cursor: &mut Cursor<'_>) -> Result<Kind, EsiError> {
    let (start, rest) = (cursor.at(), cursor.rest());
    cursor.take("-");
    cursor.take_while(|c| c.is_alphanumeric() || matches!(c, '.' | '_'));
    let text = &rest[..cursor.at() - start];
    if is_number(text) {
        return Ok(Kind::Number(text.to_owned()));
    }
    let text = shown(text);
    Err(EsiError::new(start..cursor.at(), format!("`{text}` is not a valid number"))
        .help(format!("write numbers like `7` or `7.5`; a text needs single quotes: `'{text}'`")))
}

/// Takes `true` or `false`; any other word is an error.
fn read_word(cursor: &mut Cursor<'_>, in_text: bool) -> Result<Kind, EsiError> {
    let start = cursor.at();
    let word = cursor.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    let at = start..cursor.at();
    let small = word.to_ascii_lowercase();
    let foreign = FOREIGN_WORDS.iter().find(|(foreign, _)| *foreign == small);
    Err(match (word, small.as_str()) {
        ("true", _) => return Ok(Kind::Truth(true)),
        ("false", _) => return Ok(Kind::Truth(false)),
        _ if in_text => EsiError::new(at, format!("the text between quotes ends before `{}`", shown(word)))
            .help("a `'` that belongs to the text is written `\\'`"),
        (_, "true" | "false") => {
            EsiError::new(at, format!("`{word}` is written in lower case")).help(format!("write `{small}`"))
        }
        (_, "has" | "has_i" | "matches" | "matches_i") => EsiError::new(at, format!("`{word}` is not part of ESI 1.0"))
            .help("some caches support it as an extension; compare whole texts with `==` `!=` `<` `<=` `>` `>=`"),
        _ if foreign.is_some() => {
            let here = foreign.map_or("", |(_, here)| here);
            EsiError::new(at, format!("`{word}` is not an ESI operator")).help(format!("write `{here}`"))
        }
        _ if NAMES.contains(&small.to_ascii_uppercase().as_str()) || cursor.peek() == Some('{') => {
            let word = shown(&small.to_ascii_uppercase());
            EsiError::new(at, format!("a variable is written with `$(` and `)`: `$({word})`"))
                .help(format!("a text needs single quotes: `'{word}'`"))
        }
        _ if cursor.peek() == Some('(') => no_function(at),
        _ => {
            let word = shown(word);
            EsiError::new(at, format!("`{word}` is neither a text nor a variable"))
                .help(format!("a text needs single quotes: `'{word}'`"))
        }
    })
}

/// Takes an operator or a parenthesis.
fn read_operator(cursor: &mut Cursor<'_>) -> Result<Kind, EsiError> {
    let start = cursor.at();
    for (foreign, here) in FOREIGN_SIGNS {
        if cursor.take(foreign) {
            let problem = format!("`{foreign}` is not a comparison operator");
            return Err(EsiError::new(start..cursor.at(), problem).help(format!("write `{here}`")));
        }
    }
    for (sign, kind) in OPERATORS {
        if cursor.take(sign) {
            return Ok(kind);
        }
    }
    let sign = cursor.bump().unwrap_or_default();
    let at = start..cursor.at();
    Err(match sign {
        '=' if cursor.peek() == Some('~') => EsiError::new(start..cursor.at() + 1, "patterns are not part of ESI 1.0")
            .help("compare whole texts with `==` `!=` `<` `<=` `>` `>=`"),
        '=' => EsiError::new(at, "`=` is not a comparison operator").help("write `==`"),
        '"' => EsiError::new(at, "a text needs single quotes, not double ones").help("write `'text'`"),
        '‘' | '’' | '‚' | '‛' | '“' | '”' | '„' | '‟' | '‹' | '›' | '«' | '»' | '´' | '`' | '′' => {
            EsiError::new(at, "a text needs straight single quotes")
                .help("write `'text'`, with the apostrophe of the keyboard")
        }
        '$' if cursor.peek().is_some_and(|c| c.is_ascii_lowercase()) => no_function(at),
        '$' => EsiError::new(at, "a variable is written with `$(` and `)`").help("write it like `$(HTTP_HOST)`"),
        '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}' => invisible(at),
        c if c.is_control() => invisible(at),
        c => EsiError::new(at, format!("`{c}` is not allowed in a test")).help(ALLOWED),
    })
}

/// The error for a character that cannot be seen.
fn invisible(at: std::ops::Range<usize>) -> EsiError {
    EsiError::new(at, "there is an invisible character here").help("delete it and retype the text around it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_need_no_spaces_between_them() {
        let kinds = |text| read(text).map(|tokens| tokens.into_iter().map(|token| token.kind).collect::<Vec<_>>());
        let (equal, number) = (Kind::Compare(Comparison::Equal), |text: &str| Kind::Number(text.to_owned()));
        assert_eq!(kinds("!(1==-2.5)"), kinds(" ! ( 1\n==\t-2.5\u{a0}) "));
        assert_eq!(kinds("1==-2.5"), Ok(vec![number("1"), equal.clone(), number("-2.5")]));
        assert_eq!(kinds("1-2"), Ok(vec![number("1"), number("-2")]));
        assert_eq!(kinds("'a'=='b'").map(|kinds| kinds[1].clone()), Ok(equal));
        assert_eq!(kinds("true&&false"), kinds("true & false"));
        assert_eq!(kinds("true||false"), kinds("true | false"));
        assert_eq!(kinds(" \n"), Ok(Vec::new()));
    }

    #[test]
    fn syntax_of_other_languages_is_reported_with_the_right_one() {
        for (text, at, message) in [
            ("1 = 1", 2..3, "`=` is not a comparison operator; write `==`"),
            ("1 === 1", 2..5, "write `==`"),
            ("1 !== 1", 2..5, "write `!=`"),
            ("1 =< 1", 2..4, "write `<=`"),
            ("1 => 1", 2..4, "write `>=`"),
            ("1 <> 1", 2..4, "write `!=`"),
            ("'a' =~ 'b'", 4..6, "patterns are not part"),
            ("1 AND 1", 2..5, "write `&`"),
            ("1 &amp; 1", 3..6, "write `&`"),
            ("not 1", 0..3, "write `!`"),
            ("$(HTTP_HOST) has 'a'", 13..16, "`has` is not part of ESI 1.0"),
            ("$(HTTP_HOST) matches_i 'a'", 13..22, "`matches_i` is not part of ESI 1.0"),
            ("True", 0..4, "write `true`"),
            ("FALSE", 0..5, "write `false`"),
            ("group == 'a'", 0..5, "'group'"),
            ("ab-cd == 'a'", 0..5, "'ab-cd'"),
            ("HTTP_HOST == 'a'", 0..9, "`$(HTTP_HOST)`"),
            ("http_host == 'a'", 0..9, "`$(HTTP_HOST)`"),
            ("HTTP_X{a} == 'a'", 0..6, "`$(HTTP_X)`"),
            ("exists('a')", 0..6, "functions"),
            ("$exists($(HTTP_HOST))", 0..1, "functions"),
            ("$HTTP_HOST == 'a'", 0..1, "`$(HTTP_HOST)`"),
            ("${HTTP_HOST} == 'a'", 0..1, "`$(HTTP_HOST)`"),
            ("$", 0..1, "`$(HTTP_HOST)`"),
            ("$(HTTP_HOST) == \"a\"", 16..17, "not double ones"),
            ("$(HTTP_HOST) == ‘a’", 16..19, "straight"),
            ("$(HTTP_HOST) == `a`", 16..17, "straight"),
            ("'it's'", 4..5, r"`\'`"),
            ("'a' b", 4..5, "neither a text nor a variable"),
            ("'it's", 4..5, r"`\'`"),
            ("'a' == 'b", 7..9, "never ends"),
            ("$(HTTP_HOST == 'a'", 11..12, "spaces"),
            ("'$(HTTP_HOST)' == 'a'", 1..3, "without quotes"),
            ("1.2.3 == 1", 0..5, "'1.2.3'"),
            ("1. == 1", 0..2, "is not a valid number"),
            (".5 == 1", 0..2, "is not a valid number"),
            ("10px == 1", 0..4, "is not a valid number"),
            ("1e3 == 1", 0..3, "is not a valid number"),
            ("1,5 == 1", 1..2, "`,` is not allowed in a test"),
            ("1 + 1", 2..3, "`+` is not allowed in a test"),
            ("1 - 1", 2..3, "`-` is not allowed in a test"),
            ("[1]", 0..1, "`[` is not allowed in a test"),
            ("ü == 'ü'", 0..2, "`ü` is not allowed in a test"),
            ("1\u{200b}== 1", 1..4, "invisible"),
            ("1 \0", 2..3, "invisible"),
        ] {
            let error = read(text).expect_err(text);
            assert_eq!(error.at, at, "{text}: {error:?}");
            assert!(error.full_text().contains(message), "{text}: {error:?}");
        }
    }
}
