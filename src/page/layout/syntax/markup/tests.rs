//! Every attribute is read as its schema states.

use super::schema::{ELEMENTS, ESI_ELEMENTS, Element};
use super::*;
use crate::page::source::schema::{Field, Kind};

/// A text whose value appears in no source: there it is written with character references.
const TEXT: (&str, &str) = ("&#122;&#122;text", "zztext");

fn read(element: &Element, attribute: &str) -> (String, Vec<Diagnostic>) {
    let source = Source::new("layouts/a.html", format!("<{} {attribute} />", element.name));
    let mut problems = Vec::new();
    let role = Role { has_slots: true, fills: false, is_response: false, esi: true };
    let markup = parse(&source, 0, role, &mut problems);
    (format!("{:?}", markup.nodes), problems)
}

/// A value that the kind does not allow; `None` if it allows every text.
fn wrong(kind: &Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Text => return None,
        Kind::Condition(_) | Kind::Words(_) | Kind::EsiUrl => "",
        Kind::Name | Kind::LayoutPath => "<",
        Kind::PositiveDuration => "0s",
        Kind::Placeholders => "{",
        _ => "=",
    })
}

fn each_attribute(check: impl Fn(&'static Element, &'static Field, &str)) {
    for element in ELEMENTS.into_iter().chain(ESI_ELEMENTS) {
        for field in element.schema.fields {
            check(element, field, &field.name.replace("NAME", "x"));
        }
    }
}

#[test]
fn every_attribute_is_read_as_its_schema_states() {
    each_attribute(|element, field, name| match wrong(&field.kind) {
        Some(wrong) => {
            let (_, problems) = read(element, &format!("{name}=\"{wrong}\""));
            let start = element.name.len() + 2;
            let end = start + name.len() + 2 + wrong.len();
            let inside = |problem: &Diagnostic| problem.at.span.start >= start && problem.at.span.end <= end;
            assert!(problems.iter().any(inside), "nothing reads `{name}` of `<{}>`", element.name);
        }
        None => {
            let (nodes, _) = read(element, &format!("{name}=\"{}\"", TEXT.0));
            assert!(nodes.contains(TEXT.1), "nothing reads `{name}` of `<{}>`", element.name);
        }
    });
}

#[test]
fn the_example_of_every_attribute_is_valid() {
    each_attribute(|element, field, name| {
        let words = field.kind.words();
        let Some(example) = field.example.or(words.first().copied()) else { return };
        let (_, problems) = read(element, &format!("{name}=\"{example}\""));
        let wrong: Vec<_> = problems.iter().filter(|problem| problem.message.contains(name)).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    });
}
