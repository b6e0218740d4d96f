//! JSON as a table in which every key and value has its position, so that manifests are read from it as from TOML.
//! A member that is `null` is left out.

use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::diagnostic::{Code, Diagnostic, Source, SourceSpan};
use super::table::{Data, Entry, Table, Value};

/// Maximum depth of nested objects and lists.
const MAX_DEPTH: usize = 32;

/// Reads a text that is one JSON object.
///
/// # Errors
/// The text is not a JSON object; the diagnostic has the place of the syntax error.
pub fn object(source: &Arc<Source>, code: Code) -> Result<Table, Diagnostic> {
    let diagnostic = |error: &serde_json::Error| {
        let at = offset(&source.text, error.line(), error.column());
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        Diagnostic::new(code, SourceSpan::new(source, at..at), message)
            .help("this is JSON: {\"fragments\": [{…}, {…}]}")
    };
    let raw: &RawValue = serde_json::from_str(&source.text).map_err(|error| diagnostic(&error))?;
    match value(source, raw, 0).map_err(|error| diagnostic(&error))? {
        Some(Value { data: Data::Table(table), .. }) => Ok(table),
        _ => {
            let message = "this must be an object";
            Err(Diagnostic::new(code, SourceSpan::new(source, 0..0), message).help("write {\"fragments\": […]}"))
        }
    }
}

/// The offset of a line and column, both counted from 1 and in bytes, as serde does.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    (start + column.saturating_sub(1)).min(text.len())
}

/// The bytes of the source that a raw value is a slice of.
fn span(source: &Source, raw: &RawValue) -> Range<usize> {
    let start = raw.get().as_ptr().addr() - source.text.as_ptr().addr();
    start..start + raw.get().len()
}

/// The key, with its quotation marks, between the end of what precedes it and the start of its value.
fn key_between(source: &Source, from: usize, value: usize) -> Range<usize> {
    let text = source.slice(from..value);
    let start = text.find('"').unwrap_or_default();
    let end = text.rfind('"').map_or(text.len(), |quote| quote + 1);
    from + start..from + end
}

fn value(source: &Arc<Source>, raw: &RawValue, depth: usize) -> serde_json::Result<Option<Value>> {
    let at = SourceSpan::new(source, span(source, raw));
    let text = raw.get();
    if depth > MAX_DEPTH {
        return Err(serde::de::Error::custom("too many lists and objects inside each other"));
    }
    let data = match text.as_bytes().first() {
        Some(b'{') => Data::Table(table(source, raw, at.clone(), depth)?),
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text)?;
            let items: Vec<Option<Value>> =
                items.into_iter().map(|item| value(source, item, depth + 1)).collect::<Result<_, _>>()?;
            Data::List(items.into_iter().flatten().collect())
        }
        Some(b'"') => Data::Text(serde_json::from_str(text)?),
        Some(b't' | b'f') => Data::Boolean(serde_json::from_str(text)?),
        Some(b'n') => return Ok(None),
        _ => match serde_json::from_str::<i64>(text) {
            Ok(number) => Data::Integer(number),
            Err(_) => Data::Number(serde_json::from_str(text)?),
        },
    };
    Ok(Some(Value { data, at }))
}

fn table(source: &Arc<Source>, raw: &RawValue, at: SourceSpan, depth: usize) -> serde_json::Result<Table> {
    let Members(members) = serde_json::from_str(raw.get())?;
    let mut entries = Vec::new();
    let mut from = at.span.start;
    for (key, raw) in members {
        let span = span(source, raw);
        let key_at = SourceSpan::new(source, key_between(source, from, span.start));
        from = span.end;
        if let Some(value) = value(source, raw, depth + 1)? {
            entries.push(Entry { key, key_at, value });
        }
    }
    Ok(Table { entries, at })
}

/// The members of an object in their order, with unparsed values.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl Table {
    /// Converts the table to JSON.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let members = self.entries.iter().map(|entry| (entry.key.clone(), entry.value.data.to_json()));
        serde_json::Value::Object(members.collect())
    }
}

impl Data {
    /// Converts the value to JSON.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) | Self::Bare(text) | Self::Time(text) => text.as_str().into(),
            Self::Integer(number) => (*number).into(),
            Self::Number(number) => (*number).into(),
            Self::Boolean(yes) => (*yes).into(),
            Self::List(items) => items.iter().map(|item| item.data.to_json()).collect(),
            Self::Table(table) => table.to_json(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_place() {
        let text = "{\n  \"a\": {\"b\": [1, \"zwölf\", null, 2.5]},\n  \"c\": true, \"d\": null\n}";
        let source = Source::new("x", text);
        let table = object(&source, Code::Manifest).expect("an object");
        assert_eq!(table.to_json(), serde_json::json!({"a": {"b": [1, "zwölf", 2.5]}, "c": true}));
        let c = table.get("c").expect("it is there");
        assert_eq!((source.slice(c.at.span.clone()), source.position(c.at.span.start)), ("true", (3, 8)));
        let source = Source::new("x", r#"{"n": null, "a\"b" : {"c": "\"", "d":1}}"#);
        let table = object(&source, Code::Manifest).expect("an object");
        let Data::Table(inner) = &table.entries[0].value.data else { panic!("a table") };
        let keys = table.entries.iter().chain(&inner.entries).map(|entry| source.slice(entry.key_at.span.clone()));
        assert_eq!(keys.collect::<Vec<_>>(), [r#""a\"b""#, r#""c""#, r#""d""#]);
    }

    #[test]
    fn a_text_that_is_not_an_object_is_reported_at_its_place() {
        for (text, position) in [("", (1, 1)), ("[1]", (1, 1)), ("{\n  \"a\": }", (2, 8)), ("{\"a\": 1", (1, 7))] {
            let problem = object(&Source::new("x", text), Code::Manifest).expect_err(text);
            assert_eq!(problem.at.source.position(problem.at.span.start), position, "{text}: {}", problem.message);
        }
        let deep = "[".repeat(100) + &"]".repeat(100);
        object(&Source::new("x", format!("{{\"a\": {deep}}}")), Code::Manifest).expect_err("too deep");
    }
}
