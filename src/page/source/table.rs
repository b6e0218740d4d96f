//! A TOML table whose every value knows its place, read so that all mistakes come out at once.
//! A value of the wrong kind, or a key that nobody asked for, is a diagnostic and not the end.
//!
//! Not serde: it stops at the first mistake, and editors want every one.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::diagnostic::{Code, Diagnostic, Source, SourceSpan};
use super::names;
use super::units;

/// A value of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// What it is.
    pub data: Data,
    /// Where it is.
    pub at: SourceSpan,
}

/// The kinds of values.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// A string.
    Text(String),
    /// A text without quotation marks, as the environment gives it: whoever reads it knows its kind.
    Bare(String),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A TOML date or time, as written.
    Time(String),
    /// A list.
    List(Vec<Value>),
    /// A table.
    Table(Table),
}

/// Keys and values, in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The whole table's place.
    pub at: SourceSpan,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_at: SourceSpan,
    /// The value.
    pub value: Value,
}

/// Why a value is refused: what is wrong and, where it helps, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// What is wrong with it.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// Where exactly, if it is only a part of the value.
    pub at: Option<SourceSpan>,
}

impl<E: std::error::Error> From<E> for Wrong {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}

impl Wrong {
    /// Refuses a value.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, at: None }
    }

    /// Refuses a value, and says what to do.
    pub fn with_help(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..Self::new(message) }
    }
}

impl Table {
    /// An empty table at the start of a file.
    #[must_use]
    pub fn empty(source: &Arc<Source>) -> Self {
        Self { entries: Vec::new(), at: SourceSpan::new(source, 0..0) }
    }

    /// Parses the TOML in `source.text[from..to]`. Every syntax error is a diagnostic, and what
    /// could be read in spite of it is returned.
    #[must_use]
    pub fn parse(source: &Arc<Source>, range: std::ops::Range<usize>, code: Code) -> (Self, Vec<Diagnostic>) {
        let text = source.slice(range.clone());
        let (table, errors) = DeTable::parse_recoverable(text);
        let problems = errors
            .iter()
            .map(|error| {
                let span = error.span().unwrap_or(0..0);
                let at = SourceSpan::new(source, span.start + range.start..span.end + range.start);
                Diagnostic::new(code, at, one_line(error.message()))
                    .help("this is TOML: `key = \"text\"`, `key = 5`, `key = true`, `key = [\"a\", \"b\"]` (toml.io)")
            })
            .collect();
        (convert_table(source, range.start, table.get_ref(), table.span()), problems)
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// Sets a value at a path, as the environment does, making tables on the way.
    pub fn set(&mut self, path: &[&str], value: Value) {
        let [key, rest @ ..] = path else { return };
        let at = value.at.clone();
        let entry = match self.entries.iter().position(|entry| entry.key == *key) {
            Some(index) => &mut self.entries[index],
            None => {
                let table = Self { entries: Vec::new(), at: at.clone() };
                let value = Value { data: Data::Table(table), at: at.clone() };
                self.entries.push(Entry { key: (*key).to_owned(), key_at: at.clone(), value });
                self.entries.last_mut().expect("an entry was pushed just now")
            }
        };
        if rest.is_empty() {
            entry.key_at = at;
            entry.value = value;
        } else {
            if !matches!(entry.value.data, Data::Table(_)) {
                entry.value.data = Data::Table(Self { entries: Vec::new(), at });
            }
            if let Data::Table(table) = &mut entry.value.data {
                table.set(rest, value);
            }
        }
    }
}

/// The first sentence of a message that may hold several lines.
fn one_line(message: &str) -> String {
    message.lines().collect::<Vec<_>>().join(", ")
}

fn convert_table(source: &Arc<Source>, base: usize, table: &DeTable<'_>, span: std::ops::Range<usize>) -> Table {
    let spot = |span: std::ops::Range<usize>| SourceSpan::new(source, span.start + base..span.end + base);
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_at: spot(key.span()),
            value: convert(source, base, value.get_ref(), value.span()),
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_at.span.start);
    Table { entries, at: spot(span) }
}

fn convert(source: &Arc<Source>, base: usize, value: &DeValue<'_>, span: std::ops::Range<usize>) -> Value {
    let data = match value {
        DeValue::String(text) => Data::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()) {
            Ok(number) => Data::Integer(number),
            Err(_) => Data::Number(f64::INFINITY),
        },
        DeValue::Float(number) => Data::Number(number.as_str().replace('_', "").parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(yes) => Data::Boolean(*yes),
        DeValue::Datetime(time) => Data::Time(time.to_string()),
        DeValue::Array(items) => {
            Data::List(items.iter().map(|item| convert(source, base, item.get_ref(), item.span())).collect())
        }
        DeValue::Table(table) => Data::Table(convert_table(source, base, table, span.clone())),
    };
    Value { data, at: SourceSpan::new(source, span.start + base..span.end + base) }
}

impl Value {
    /// What it is where no text is wanted: a bare text that is TOML is what that says.
    fn typed(&self) -> Cow<'_, Data> {
        let Data::Bare(text) = &self.data else { return Cow::Borrowed(&self.data) };
        let source = Source::new("", format!("v = {text}"));
        let (mut table, syntax) = Table::parse(&source, 0..source.text.len(), Code::Settings);
        Cow::Owned(match table.entries.pop() {
            Some(entry) if syntax.is_empty() && table.entries.is_empty() => entry.value.at(&self.at).data,
            _ => Data::Text(text.clone()),
        })
    }

    /// Puts a value, and all items of a list, somewhere else.
    fn at(self, at: &SourceSpan) -> Self {
        let data = match self.data {
            Data::List(items) => Data::List(items.into_iter().map(|item| item.at(at)).collect()),
            other => other,
        };
        Self { data, at: at.clone() }
    }
}

impl Data {
    /// The kind's name, for messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Bare(_) => "a string",
            Self::Integer(_) | Self::Number(_) => "a number",
            Self::Boolean(_) => "a boolean",
            Self::Time(_) => "a time",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// How the message begins that tells of a key that nobody asked for.
pub const UNKNOWN_KEY: &str = "unknown key";

/// Reads the keys of one table and remembers which were asked for.
pub struct TableReader<'t> {
    table: &'t Table,
    code: Code,
    known: Vec<&'static str>,
    problems: Vec<Diagnostic>,
}

impl<'t> TableReader<'t> {
    /// Starts to read a table; mistakes get `code`.
    #[must_use]
    pub const fn new(table: &'t Table, code: Code) -> Self {
        Self { table, code, known: Vec::new(), problems: Vec::new() }
    }

    /// Whether nothing is written in the table.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.table.entries.is_empty()
    }

    /// The raw entry of a key, which counts as asked for.
    pub fn entry(&mut self, key: &'static str) -> Option<&'t Entry> {
        self.known.push(key);
        self.table.entries.iter().find(|entry| entry.key == key)
    }

    /// The value of a key, or `None` where it is not there or wrong (which is noted).
    pub fn read<T>(&mut self, key: &'static str, kind: impl Fn(&Value) -> Result<T, Wrong>) -> Option<T> {
        let entry = self.entry(key)?;
        match kind(&entry.value) {
            Ok(value) => Some(value),
            Err(wrong) => {
                let at = wrong.at.unwrap_or_else(|| entry.value.at.clone());
                let problem = Diagnostic::new(self.code, at, format!("`{key}`: {}", wrong.message));
                self.problems.push(problem.maybe_help(wrong.help));
                None
            }
        }
    }

    /// Reads a table below a key by its own reader. An absent table is read as an empty one.
    pub fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut TableReader<'_>) -> T) -> T {
        let absent = Table { entries: Vec::new(), at: self.table.at.clone() };
        let table = match self.entry(key).map(|entry| &entry.value) {
            None => &absent,
            Some(Value { data: Data::Table(table), .. }) => table,
            Some(value) => {
                let message = format!("`{key}` must be a table, not {}", value.data.kind());
                self.note(value.at.clone(), message, Some(format!("write its keys below a line `[{key}]`")));
                &absent
            }
        };
        let mut reader = TableReader::new(table, self.code);
        let value = read(&mut reader);
        self.problems.extend(reader.finish());
        value
    }

    /// Reads each table of a list of tables. A key that is absent is an empty list.
    pub fn tables<T>(&mut self, key: &'static str, mut read: impl FnMut(&mut TableReader<'_>) -> T) -> Vec<T> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let Data::List(items) = &entry.value.data else {
            self.note(
                entry.value.at.clone(),
                format!("`{key}` must be a list of tables, not {}", entry.value.data.kind()),
                None,
            );
            return Vec::new();
        };
        let mut all = Vec::new();
        for item in items {
            if let Data::Table(table) = &item.data {
                let mut reader = TableReader::new(table, self.code);
                all.push(read(&mut reader));
                self.problems.extend(reader.finish());
            } else {
                self.note(
                    item.at.clone(),
                    format!("`{key}` must be a list of tables; this is {}", item.data.kind()),
                    None,
                );
            }
        }
        all
    }

    /// Where the table stands.
    #[must_use]
    pub const fn at(&self) -> &'t SourceSpan {
        &self.table.at
    }

    /// Notes a mistake of this table.
    pub fn note(&mut self, at: SourceSpan, message: impl Into<String>, help: Option<String>) {
        self.problems.push(Diagnostic::new(self.code, at, message).maybe_help(help));
    }

    /// Ends the reading: all mistakes, those keys among them that nobody asked for.
    #[must_use]
    pub fn finish(mut self) -> Vec<Diagnostic> {
        for entry in &self.table.entries {
            if !self.known.contains(&entry.key.as_str()) {
                let help = names::did_you_mean(&entry.key, self.known.iter().copied());
                let message = format!("{UNKNOWN_KEY} `{}`", entry.key);
                self.problems.push(Diagnostic::new(self.code, entry.key_at.clone(), message).maybe_help(help));
            }
        }
        self.problems
    }
}

/// A string.
///
/// # Errors
/// The value is of another kind.
pub fn text(value: &Value) -> Result<String, Wrong> {
    match &value.data {
        Data::Text(text) | Data::Bare(text) => Ok(text.clone()),
        other => Err(Wrong::with_help(format!("must be a string, not {}", other.kind()), "put it in quotes")),
    }
}

/// A string that is not empty.
///
/// # Errors
/// The value is of another kind, or empty.
pub fn filled(value: &Value) -> Result<String, Wrong> {
    let text = text(value)?;
    if text.trim().is_empty() {
        Err(Wrong::with_help("must not be empty", "write something, or leave the key out"))
    } else {
        Ok(text)
    }
}

/// `true` or `false`.
///
/// # Errors
/// The value is of another kind.
pub fn boolean(value: &Value) -> Result<bool, Wrong> {
    match &*value.typed() {
        Data::Boolean(yes) => Ok(*yes),
        other => {
            Err(Wrong::with_help(format!("must be `true` or `false`, not {}", other.kind()), "write it without quotes"))
        }
    }
}

/// A whole number in a range.
pub fn integer(range: std::ops::RangeInclusive<i64>) -> impl Fn(&Value) -> Result<i64, Wrong> {
    move |value| match &*value.typed() {
        Data::Integer(number) if range.contains(number) => Ok(*number),
        Data::Integer(_) | Data::Number(_) => {
            Err(Wrong::new(format!("must be a whole number from {} to {}", range.start(), range.end())))
        }
        other => Err(Wrong::new(format!("must be a whole number, not {}", other.kind()))),
    }
}

/// A finite number.
///
/// # Errors
/// The value is of another kind.
pub fn number(value: &Value) -> Result<f64, Wrong> {
    match &*value.typed() {
        #[expect(clippy::cast_precision_loss, reason = "bounds of parameters are small numbers")]
        Data::Integer(number) => Ok(*number as f64),
        Data::Number(number) if number.is_finite() => Ok(*number),
        Data::Number(_) => Err(Wrong::new("must be a finite number")),
        other => Err(Wrong::new(format!("must be a number, not {}", other.kind()))),
    }
}

fn unit(error: units::UnitError) -> Wrong {
    Wrong::with_help(error.to_string(), error.help())
}

/// A duration, as a string.
///
/// # Errors
/// The value is of another kind, or no duration.
pub fn duration(value: &Value) -> Result<Duration, Wrong> {
    match &value.data {
        Data::Text(text) | Data::Bare(text) => units::duration(text).map_err(unit),
        Data::Integer(number) => units::duration(&number.to_string()).map_err(unit),
        other => Err(Wrong::with_help(format!("must be a duration, not {}", other.kind()), "write it like \"5s\"")),
    }
}

/// A size, as a string.
///
/// # Errors
/// The value is of another kind, or no size.
pub fn size(value: &Value) -> Result<u64, Wrong> {
    match &value.data {
        Data::Text(text) | Data::Bare(text) => units::size(text).map_err(unit),
        Data::Integer(number) => units::size(&number.to_string()).map_err(unit),
        other => Err(Wrong::with_help(format!("must be a size, not {}", other.kind()), "write it like \"64KiB\"")),
    }
}

/// A list of one kind.
pub fn list<T>(kind: impl Fn(&Value) -> Result<T, Wrong>) -> impl Fn(&Value) -> Result<Vec<T>, Wrong> {
    move |value| match &*value.typed() {
        Data::List(items) => all(items, &kind),
        other => Err(Wrong::with_help(
            format!("must be a list, not {}", other.kind()),
            "put it in square brackets: [\"a\", \"b\"]",
        )),
    }
}

/// All items of a list; the first that is wrong has its place told.
fn all<T>(items: &[Value], kind: impl Fn(&Value) -> Result<T, Wrong>) -> Result<Vec<T>, Wrong> {
    let one = |item| kind(item).map_err(|wrong| Wrong { at: wrong.at.or_else(|| Some(item.at.clone())), ..wrong });
    items.iter().map(one).collect()
}

/// One, or a list of them.
pub fn one_or_more<T>(kind: impl Fn(&Value) -> Result<T, Wrong>) -> impl Fn(&Value) -> Result<Vec<T>, Wrong> {
    move |value| match &value.data {
        Data::List(items) => all(items, &kind),
        _ => Ok(vec![kind(value)?]),
    }
}

/// One of some words.
pub fn word(words: &'static [&'static str]) -> impl Fn(&Value) -> Result<&'static str, Wrong> {
    move |value| {
        let written = text(value)?;
        words.iter().find(|word| **word == written).copied().ok_or_else(|| Wrong {
            help: names::nearest(&written, words.iter().copied()).map(|word| format!("did you mean `{word}`?")),
            ..Wrong::new(format!("`{written}` is none of {}", words.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_comes_out_at_once_and_at_its_place() {
        let source = Source::new("x.toml", "a = 5\nb = \"soon\"\nnaem = 1\n[t]\nd = [1, 'x']\n");
        let (table, syntax) = Table::parse(&source, 0..source.text.len(), Code::Settings);
        assert_eq!(syntax, []);
        let mut reader = TableReader::new(&table, Code::Settings);
        assert_eq!(reader.read("a", text), None);
        assert_eq!(reader.read("b", duration), None);
        assert_eq!(reader.read("name", text), None);
        reader.table("t", |t| assert_eq!(t.read("d", list(text)), None));
        let found: Vec<_> = reader
            .finish()
            .iter()
            .map(|d| (d.at.source.position(d.at.span.start), d.message.clone(), d.help.clone()))
            .collect();
        assert_eq!(found.len(), 4, "{found:?}");
        assert_eq!(found[0].0, (1, 5));
        assert_eq!(found[1].0, (2, 5));
        assert_eq!(found[2].0, (5, 6));
        assert_eq!(found[3].0, (3, 1));
        assert_eq!(found[3].2.as_deref(), Some("did you mean `name`?"));
    }

    #[test]
    fn broken_toml_is_shown_where_it_breaks() {
        let source = Source::new("x.toml", "a = \nb = 1\n");
        let (_, syntax) = Table::parse(&source, 0..source.text.len(), Code::Settings);
        assert_eq!(syntax[0].at.source.position(syntax[0].at.span.start).0, 1);
    }
}
