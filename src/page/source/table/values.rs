//! Reads single values of a table as the expected type: texts, numbers, durations, lists and so on.
//! A value of another kind is an error that names the kind and, if that helps, what to write.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::page::source::diagnostic::{Code, Source, SourceSpan};
use crate::page::source::names::{self, Name};
use crate::page::source::schema::Kind;
use crate::page::source::units;

use super::{Data, Entry, Table, Value};

/// Why a value is refused, and how to fix it if that can be stated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueError {
    /// The description of the error.
    pub message: String,
    /// How to fix it.
    pub help: Option<String>,
    /// The position of the error, if it is only in a part of the value.
    pub at: Option<SourceSpan>,
}

impl<E: std::error::Error> From<E> for ValueError {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}

impl ValueError {
    /// An error without help.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, at: None }
    }

    /// An error with help.
    pub fn with_help(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..Self::new(message) }
    }
}

impl Value {
    /// The value, if no text is expected. Bare text is parsed as TOML; if it is not TOML, it is a string.
    pub(super) fn typed(&self) -> Cow<'_, Data> {
        let Data::Bare(text) = &self.data else { return Cow::Borrowed(&self.data) };
        // The defaults of most fields are read with each file, and need no parser.
        match text.as_str() {
            "true" | "false" => return Cow::Owned(Data::Boolean(text == "true")),
            "[]" => return Cow::Owned(Data::List(Vec::new())),
            _ => {}
        }
        let source = Source::new("", format!("v = {text}"));
        let (mut table, syntax) = Table::parse(&source, 0..source.text.len(), Code::Settings);
        Cow::Owned(match table.entries.pop() {
            Some(entry) if syntax.is_empty() && table.entries.is_empty() => entry.value.moved_to(&self.at).data,
            _ => Data::Text(text.clone()),
        })
    }

    /// The value, and everything in it, at another place.
    fn moved_to(self, at: &SourceSpan) -> Self {
        let moved = |entry: Entry| Entry { key_at: at.clone(), value: entry.value.moved_to(at), ..entry };
        let data = match self.data {
            Data::List(items) => Data::List(items.into_iter().map(|item| item.moved_to(at)).collect()),
            Data::Table(table) => {
                Data::Table(Table { entries: table.entries.into_iter().map(moved).collect(), at: at.clone() })
            }
            other => other,
        };
        Self { data, at: at.clone() }
    }
}

/// Reads a string.
///
/// # Errors
/// The value is of another kind.
pub fn text(value: &Value) -> Result<String, ValueError> {
    match &value.data {
        Data::Text(text) | Data::Bare(text) => Ok(text.clone()),
        other => Err(ValueError::with_help(format!("must be a string, not {}", other.kind()), "put it in quotes")),
    }
}

/// Reads a string that is not empty.
///
/// # Errors
/// The value is of another kind, or empty.
pub fn filled(value: &Value) -> Result<String, ValueError> {
    let text = text(value)?;
    if text.trim().is_empty() {
        Err(ValueError::with_help("must not be empty", "write something, or leave the key out"))
    } else {
        Ok(text)
    }
}

/// Reads a name ([`names::is_name`]).
///
/// # Errors
/// The value is of another kind, or not a name.
pub fn name(value: &Value) -> Result<Name, ValueError> {
    let text = text(value)?;
    if names::is_name(&text) {
        Ok(Name::from(text))
    } else {
        Err(ValueError::new(format!("`{text}` is not a valid name: use {}", names::NAME_RULE)))
    }
}

/// Reads `true` or `false`.
///
/// # Errors
/// The value is of another kind.
pub fn boolean(value: &Value) -> Result<bool, ValueError> {
    match &*value.typed() {
        Data::Boolean(yes) => Ok(*yes),
        other => {
            let message = format!("must be `true` or `false`, not {}", other.kind());
            Err(ValueError::with_help(message, "write it without quotes"))
        }
    }
}

/// Reads a whole number in the range of a [`Kind::Integer`].
pub fn integer(kind: &Kind) -> impl Fn(&Value) -> Result<i64, ValueError> + Copy + use<> {
    let (least, most) = kind.range().into_inner();
    move |value| match &*value.typed() {
        Data::Integer(number) if (least..=most).contains(number) => Ok(*number),
        Data::Integer(_) | Data::Number(_) => {
            Err(ValueError::new(format!("must be a whole number from {least} to {most}")))
        }
        other => Err(ValueError::new(format!("must be a whole number, not {}", other.kind()))),
    }
}

/// Reads a finite number.
///
/// # Errors
/// The value is of another kind.
pub fn number(value: &Value) -> Result<f64, ValueError> {
    match &*value.typed() {
        #[expect(clippy::cast_precision_loss, reason = "bounds of parameters are small numbers")]
        Data::Integer(number) => Ok(*number as f64),
        Data::Number(number) if number.is_finite() => Ok(*number),
        Data::Number(_) => Err(ValueError::new("must be a finite number")),
        other => Err(ValueError::new(format!("must be a number, not {}", other.kind()))),
    }
}

fn unit(error: units::UnitError) -> ValueError {
    ValueError::with_help(error.to_string(), error.help())
}

/// Reads a duration, written as a string.
///
/// # Errors
/// The value is of another kind, or not a duration.
pub fn duration(value: &Value) -> Result<Duration, ValueError> {
    match &value.data {
        Data::Text(text) | Data::Bare(text) => units::duration(text).map_err(unit),
        Data::Integer(number) => units::duration(&number.to_string()).map_err(unit),
        other => {
            Err(ValueError::with_help(format!("must be a duration, not {}", other.kind()), "write it like \"5s\""))
        }
    }
}

/// Reads a duration that is not zero.
///
/// # Errors
/// The value is of another kind, not a duration, or zero.
pub fn positive_duration(value: &Value) -> Result<Duration, ValueError> {
    let duration = duration(value)?;
    if duration.is_zero() { Err(ValueError::new("must not be zero")) } else { Ok(duration) }
}

/// Reads a day, written as a TOML date or as a string.
///
/// # Errors
/// The value is of another kind, or there is no such day.
pub fn date(value: &Value) -> Result<Date, ValueError> {
    const EXAMPLE: &str = "write it like 2027-01-31";
    match &value.data {
        Data::Text(text) | Data::Bare(text) | Data::Time(text) => {
            // Of a time, the day in UTC counts.
            let day = || Some(text.parse::<Timestamp>().ok()?.to_zoned(TimeZone::UTC).date());
            let date = text.trim().parse::<Date>().ok();
            let date = if text.contains(['T', 't', ' ']) { day() } else { date };
            date.ok_or_else(|| ValueError::with_help(format!("`{text}` is not a date"), EXAMPLE))
        }
        other => Err(ValueError::with_help(format!("must be a date, not {}", other.kind()), EXAMPLE)),
    }
}

/// Reads a size, written as a string.
///
/// # Errors
/// The value is of another kind, or not a size.
pub fn size(value: &Value) -> Result<u64, ValueError> {
    match &value.data {
        Data::Text(text) | Data::Bare(text) => units::size(text).map_err(unit),
        Data::Integer(number) => units::size(&number.to_string()).map_err(unit),
        other => Err(ValueError::with_help(format!("must be a size, not {}", other.kind()), "write it like \"64KiB\"")),
    }
}

/// Reads a size that is not zero.
///
/// # Errors
/// The value is of another kind, not a size, or zero.
pub fn positive_size(value: &Value) -> Result<u64, ValueError> {
    let size = size(value)?;
    if size == 0 { Err(ValueError::new("must not be zero")) } else { Ok(size) }
}

/// Reads a list of values of one kind.
pub fn list<T>(
    read: impl Fn(&Value) -> Result<T, ValueError> + Copy,
) -> impl Fn(&Value) -> Result<Vec<T>, ValueError> + Copy {
    move |value| match &*value.typed() {
        Data::List(items) => all(items, read),
        other => {
            let message = format!("must be a list, not {}", other.kind());
            Err(ValueError::with_help(message, "put it in square brackets: [\"a\", \"b\"]"))
        }
    }
}

/// Reads all items of a list. The first one that is wrong gives its place to the error.
fn all<T>(items: &[Value], read: impl Fn(&Value) -> Result<T, ValueError>) -> Result<Vec<T>, ValueError> {
    let one = |item| read(item).map_err(|error| ValueError { at: error.at.or_else(|| Some(item.at.clone())), ..error });
    items.iter().map(one).collect()
}

/// Reads one value, or a list of values of the same kind.
pub fn one_or_more<T>(
    read: impl Fn(&Value) -> Result<T, ValueError> + Copy,
) -> impl Fn(&Value) -> Result<Vec<T>, ValueError> + Copy {
    move |value| match &value.data {
        Data::List(items) => all(items, read),
        _ => Ok(vec![read(value)?]),
    }
}

/// Reads one of the words of a [`Kind::Word`] or [`Kind::Variant`].
pub fn word(kind: &'static Kind) -> impl Fn(&Value) -> Result<&'static str, ValueError> + Copy {
    move |value| {
        let written = text(value)?;
        let words = kind.words();
        words.iter().find(|word| **word == written).copied().ok_or_else(|| ValueError {
            help: names::nearest(&written, words.iter().copied()).map(|word| format!("did you mean `{word}`?")),
            ..ValueError::new(format!("`{written}` is not one of {}", words.join(", ")))
        })
    }
}

/// Reads one of the values that a [`Kind::Word`] lists, by its word.
pub fn word_for<T: Copy + 'static>(
    kind: &'static Kind,
    values: &'static [T],
    name: fn(T) -> &'static str,
) -> impl Fn(&Value) -> Result<T, ValueError> + Copy {
    move |value| {
        let word = word(kind)(value)?;
        Ok(values.iter().copied().find(|value| name(*value) == word).expect("the schema lists the words of all values"))
    }
}
