//! Checks in tests that a parser and its schema agree: every field is read, and as the kind that the schema states.

use crate::page::source::diagnostic::Diagnostic;

use super::{Field, Kind, Schema};

/// Feeds a TOML parser wrong values for each field, which it must report, and an example, which it must accept.
pub(crate) fn toml_fields(schema: &'static Schema, parse: impl Fn(&str) -> Vec<Diagnostic>) {
    each_field(schema, &|entry| entry, &mut |field, file| {
        let error = |value: &str| {
            let text = file(format!("{} = {value}", field.name));
            let start = text.rfind(value).expect("the file has the value");
            let inside = move |problem: &Diagnostic| {
                let span = &problem.at.span;
                problem.is_error() && span.start >= start && span.end <= start + value.len()
            };
            parse(&text).into_iter().find(inside).map(|problem| problem.message)
        };
        for wrong in wrong_values(&field.kind) {
            assert!(error(&wrong).is_some(), "nothing refuses `{} = {wrong}` in `{}`", field.name, file(String::new()));
        }
        // An example of a secret names one that does not exist here.
        if !matches!(field.kind, Kind::Reference) {
            let example = example(field);
            assert_eq!(error(&example), None, "`{}` does not accept `{example}`", field.name);
        }
    });
}

/// Makes a file of one entry.
type FileOf<'a> = &'a dyn Fn(String) -> String;

/// Calls `visit` for each field of a schema, and of the tables in it, with a function that makes a file of one entry.
fn each_field(schema: &'static Schema, file: FileOf<'_>, visit: &mut dyn FnMut(&'static Field, FileOf<'_>)) {
    for field in schema.fields {
        visit(field, file);
        let name = field.name;
        let mut inside = |before: String, after: &str, schema: &'static Schema| {
            each_field(schema, &|entry| file(format!("{before}{entry}{after}")), visit);
        };
        match &field.kind {
            Kind::Table(schema) => inside(format!("{name} = {{ "), " }", schema),
            Kind::Tables(schema) | Kind::ValuesOrTables(_, schema) => inside(format!("{name} = [{{ "), " }]", schema),
            Kind::Map(_, Kind::Table(schema)) => inside(format!("{name} = {{ a = {{ "), " } }", schema),
            Kind::Variant(variants) => {
                variants.iter().for_each(|(word, schema)| inside(format!("{name} = \"{word}\", "), "", schema));
            }
            _ => {}
        }
    }
}

/// Values that a kind does not allow: one of another type and, for most kinds, one of the right type.
fn wrong_values(kind: &Kind) -> Vec<String> {
    let all = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    match kind {
        Kind::Any => Vec::new(),
        Kind::Boolean => all(&["\"x\""]),
        Kind::Scalar => all(&["[]"]),
        Kind::Integer(least, most) => vec!["true".to_owned(), (least - 1).to_string(), (most + 1).to_string()],
        Kind::PositiveDuration => all(&["true", "\"soon\"", "\"0s\""]),
        Kind::PositiveSize => all(&["true", "\"lots\"", "\"0\""]),
        Kind::Placeholders => all(&["true", "\"{\""]),
        Kind::LogFilter => all(&["true", "\"a=loud\""]),
        Kind::Text | Kind::LayoutPath | Kind::Table(_) | Kind::Tables(_) | Kind::Map(..) => all(&["true"]),
        Kind::List(kind) | Kind::ValuesOrTables(kind, _) => {
            let items = wrong_values(kind).into_iter().map(|item| format!("[{item}]"));
            items.chain(["true".to_owned()]).collect()
        }
        Kind::OneOrMore(kind) => {
            let lists = wrong_values(kind).into_iter().map(|item| format!("[{item}]"));
            lists.chain(wrong_values(kind)).collect()
        }
        _ => all(&["true", "\"((\""]),
    }
}

/// The field's example, its default, or a value of its kind.
fn example(field: &Field) -> String {
    let default = || field.default.value().map(|value| field.kind.toml(&value));
    field.example.map(str::to_owned).or_else(default).unwrap_or_else(|| match &field.kind {
        Kind::Word(words) => format!("\"{}\"", words[0]),
        Kind::Variant(variants) => format!("\"{}\"", variants[0].0),
        Kind::Table(_) | Kind::Map(..) => "{}".to_owned(),
        Kind::List(_) | Kind::Tables(_) | Kind::ValuesOrTables(..) => "[]".to_owned(),
        other => panic!("give an example of {other:?} in the schema"),
    })
}
