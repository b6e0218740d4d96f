//! The rules about a fragment's HTML: its place, the fragments that it asks for, its ESI.
//! With `html = "raw"` its bytes are passed on as they are, so nothing is asked of them.

use std::sync::Arc;

use bytes::Bytes;

use crate::page::html::balance;
use crate::page::html::tokens::{Token, tokens};
use crate::page::manifest::Boundary;
use crate::page::source::diagnostic::Source;

use super::exchange::Reply;
use super::fields::clip;
use super::{Case, Opinion};

/// The texts of all fragments, with the heads that they came with.
fn texts<'c>(case: &Case<'c>) -> impl Iterator<Item = (String, &'c Reply, Arc<Source>)> {
    case.examples().filter_map(|(name, exchange)| {
        let (reply, body): (_, &Bytes) = exchange.fragment()?;
        let text = Source::new("", String::from_utf8_lossy(body));
        (!text.text.is_empty()).then_some((name, reply, text))
    })
}

/// Where in a fragment something stands, for people.
fn place(text: &Source, at: usize) -> String {
    let (line, column) = text.position(at);
    format!("line {line}, column {column}")
}

pub(super) fn balanced(case: &Case<'_>) -> Opinion {
    match &case.subject.manifest {
        None => return Opinion::skipped("of a bare URL the bytes are passed on as they are"),
        Some(manifest) if manifest.html == Boundary::Raw => {
            return Opinion::skipped("it declares `html = \"raw\"`");
        }
        Some(_) => {}
    }
    case.over(texts(case).map(|(name, _, text)| {
        let opinion = match balance::faults(&text.text).into_iter().next() {
            Some(fault) => Opinion::failed(clip(&format!("{} ({})", fault.what, place(&text, fault.at)))),
            None => Opinion::passed(""),
        };
        (name, opinion)
    }))
}

pub(super) fn composes(case: &Case<'_>) -> Opinion {
    let declared = case.subject.manifest.as_ref().map(|manifest| &*manifest.composes).unwrap_or_default();
    case.over(texts(case).map(|(name, _, text)| {
        let mut count = 0;
        for token in tokens(&text.text, 0) {
            let Token::Start(tag) = token else { continue };
            if tag.name != "fragment" {
                continue;
            }
            count += 1;
            let attribute = |name| tag.attributes.iter().find(|attribute| attribute.name == name);
            let at = place(&text, tag.span.start);
            let wrong = match (attribute("name"), attribute("src")) {
                (_, Some(_)) => format!("a `<fragment>` has `src`, which only a layout may give ({at})"),
                (None, _) if attribute("slot").is_some() => continue,
                (None, _) => format!("a `<fragment>` has no name ({at})"),
                (Some(asked), _) if !declared.contains(&asked.value) => {
                    format!("it asks for `{}`, which it does not declare ({at})", asked.value)
                }
                _ => continue,
            };
            return (name, Opinion::failed(clip(&wrong)));
        }
        let told = if count == 0 { "it asks for none" } else { "it asks for those that it declares" };
        (name, Opinion::passed(told))
    }))
}

pub(super) fn esi(case: &Case<'_>) -> Opinion {
    let declared = case.subject.manifest.as_ref().is_some_and(|manifest| manifest.esi);
    case.over(texts(case).map(|(name, reply, text)| {
        let control = reply.headers.get("surrogate-control").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let asks = control.to_ascii_lowercase().contains("esi/");
        let holds = tokens(&text.text, 0).iter().any(|token| match token {
            Token::Start(tag) => tag.name.starts_with("esi:"),
            _ => false,
        });
        let opinion = match (asks, holds) {
            (true, _) if !declared => Opinion::failed("it asks for ESI without declaring it"),
            (false, true) => {
                Opinion::advice("it holds `<esi:…>` that is not acted on: Surrogate-Control does not ask for it")
            }
            (true, _) => Opinion::passed("it asks for ESI, and declares it"),
            _ => Opinion::passed("it asks for none"),
        };
        (name, opinion)
    }))
}
