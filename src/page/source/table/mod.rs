//! A TOML table in which every key and value has its position, so that all errors of a file are reported at once.
//! A syntax error is a diagnostic, and whatever could be read is returned.
//!
//! Not serde: it stops at the first error, and editors want every one.

mod reader;
mod values;

use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::diagnostic::{Code, Diagnostic, Source, SourceSpan};

pub use reader::TableReader;
pub use values::{
    ValueError, boolean, date, duration, filled, integer, list, name, number, one_or_more, positive_duration,
    positive_size, size, text, word, word_for,
};

/// A value of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// The value itself.
    pub data: Data,
    /// The position of the value.
    pub at: SourceSpan,
}

/// The kinds of values.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// A string.
    Text(String),
    /// Text without quotation marks, as the environment gives it. The expected kind decides how it is read.
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
    /// The position of the whole table.
    pub at: SourceSpan,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The position of the key.
    pub key_at: SourceSpan,
    /// The value.
    pub value: Value,
}

impl Table {
    /// Parses the TOML in `source.text[range]`. Every syntax error is a diagnostic, and whatever could be
    /// read is returned.
    #[must_use]
    pub fn parse(source: &Arc<Source>, range: Range<usize>, code: Code) -> (Self, Vec<Diagnostic>) {
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

    /// The entry of a key.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Sets the value at a path, and creates the tables on the way.
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

/// A message of several lines as one line.
fn one_line(message: &str) -> String {
    message.lines().collect::<Vec<_>>().join(", ")
}

fn convert_table(source: &Arc<Source>, base: usize, table: &DeTable<'_>, span: Range<usize>) -> Table {
    let at = |span: Range<usize>| SourceSpan::new(source, span.start + base..span.end + base);
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_at: at(key.span()),
            value: convert(source, base, value.get_ref(), value.span()),
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_at.span.start);
    Table { entries, at: at(span) }
}

fn convert(source: &Arc<Source>, base: usize, value: &DeValue<'_>, span: Range<usize>) -> Value {
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

impl Data {
    /// The items of a list; none for other kinds.
    #[must_use]
    pub fn items(&self) -> &[Value] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// The table. `None`: it is of another kind.
    #[must_use]
    pub const fn table(&self) -> Option<&Table> {
        match self {
            Self::Table(table) => Some(table),
            _ => None,
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toml_syntax_error_is_reported_in_its_line() {
        let source = Source::new("x.toml", "a = \nb = 1\n");
        let (_, syntax) = Table::parse(&source, 0..source.text.len(), Code::Settings);
        assert_eq!(syntax[0].at.source.position(syntax[0].at.span.start).0, 1);
    }
}
