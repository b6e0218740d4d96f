//! Checks in tests that a parser and its schema agree: every field is read, and as the kind that the schema states.

use crate::page::source::diagnostic::Diagnostic;

use super::{Field, Kind, Schema};

/// Feeds a parser of TOML a wrong value for each field, which it must report, and an example, which it must accept.
pub(crate) fn toml_fields(schema: &'static Schema, parse: impl Fn(&str) -> Vec<Diagnostic>) {
    each_field(schema, &|value| value, "", &mut |field, file| {
        let reported = |value: &str| {
            let text = file(format!("{} = {value}", field.name));
            let start = text.rfind(value).expect("it was put there");
            let inside = move |problem: &Diagnostic| {
                let span = &problem.at.span;
                problem.is_error() && span.start >= start && span.end <= start + value.len()
            };
            parse(&text).into_iter().find(inside).map(|problem| problem.message)
        };
        if let Some(wrong) = wrong_toml(&field.kind) {
            assert!(reported(&wrong).is_some(), "no parser reads `{}`: {}", field.name, file(String::new()));
        }
        if !matches!(field.kind, Kind::Reference) {
            let example = example_toml(field);
            assert_eq!(reported(&example), None, "`{}` does not accept `{example}`", field.name);
        }
    });
}

/// Calls `visit` for each field of a schema and of the tables in it. What it is given makes a file of an entry.
fn each_field(
    schema: &'static Schema,
    file: &dyn Fn(String) -> String,
    siblings: &str,
    visit: &mut dyn FnMut(&'static Field, &dyn Fn(String) -> String),
) {
    for field in schema.fields {
        visit(field, &|entry| file(format!("{siblings}{entry}")));
        let name = field.name;
        let mut inner: Vec<(String, &'static str, &'static str, &'static Schema)> = Vec::new();
        match &field.kind {
            Kind::Table(schema) => inner.push((format!("{name} = {{ "), " }", "", schema)),
            Kind::Tables(schema) => inner.push((format!("{name} = [{{ "), " }]", "", schema)),
            Kind::Map(_, Kind::Table(schema)) => inner.push((format!("{name} = {{ a = {{ "), " } }", "", schema)),
            Kind::Variant(variants) => {
                for (word, schema) in *variants {
                    inner.push((format!("{name} = \"{word}\", "), "", "", schema));
                }
            }
            _ => {}
        }
        for (before, after, siblings, schema) in inner {
            let nested = |entry: String| file(format!("{before}{entry}{after}"));
            each_field(schema, &nested, siblings, visit);
        }
    }
}

/// A value of another kind; `None` if every value is of this kind.
fn wrong_toml(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::Any => return None,
        Kind::Boolean => "\"x\"".to_owned(),
        Kind::Scalar => "[]".to_owned(),
        Kind::List(kind) => format!("[{}]", wrong_toml(kind)?),
        _ => "true".to_owned(),
    })
}

fn example_toml(field: &Field) -> String {
    let default = || field.default.value().map(|value| field.kind.toml(&value));
    field.example.map(str::to_owned).or_else(default).unwrap_or_else(|| of_kind(&field.kind))
}

/// A value of a kind, for fields that have no example and no default.
fn of_kind(kind: &Kind) -> String {
    match kind {
        Kind::Word(words) => format!("\"{}\"", words[0]),
        Kind::Variant(variants) => format!("\"{}\"", variants[0].0),
        Kind::Table(_) | Kind::Map(..) => "{}".to_owned(),
        Kind::List(_) | Kind::Tables(_) => "[]".to_owned(),
        other => panic!("give an example of {other:?} in the schema"),
    }
}
