//! The rules about a fragment's HTML: its balance, its nested fragments, its ESI.
//! HTML of a nanoservice with `html = "raw"` is passed on unchanged, so its balance is not checked.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderName;

use crate::page::html::balance;
use crate::page::html::tokens::{Token, tokens};
use crate::page::http::fields::members;
use crate::page::manifest::Boundary;
use crate::page::source::diagnostic::Source;

use super::exchange::RecordedResponse;
use super::fields::clip;
use super::{Assessment, Recording};

/// The HTML of all examples that returned a fragment, with its name and response.
fn texts<'r>(recording: &Recording<'r>) -> impl Iterator<Item = (String, &'r RecordedResponse, Arc<Source>)> {
    recording.examples().filter_map(|(name, exchange)| {
        let (response, body): (_, &Bytes) = exchange.fragment()?;
        let text = Source::new("", String::from_utf8_lossy(body));
        (!text.text.is_empty()).then_some((name, response, text))
    })
}

/// A position in a fragment, for people.
fn position(text: &Source, at: usize) -> String {
    let (line, column) = text.position(at);
    format!("line {line}, column {column}")
}

pub(super) fn balanced(recording: &Recording<'_>) -> Assessment {
    match &recording.subject.manifest {
        None => return Assessment::skipped("without a manifest, HTML is passed on unchanged"),
        Some(manifest) if manifest.html == Boundary::Raw => {
            return Assessment::skipped("the manifest declares `html = \"raw\"`");
        }
        Some(_) => {}
    }
    recording.worst(texts(recording).map(|(name, _, text)| {
        let assessment = match balance::violations(&text.text).into_iter().next() {
            Some(violation) => {
                Assessment::failed(clip(&format!("{} ({})", violation.message, position(&text, violation.at))))
            }
            None => Assessment::passed(""),
        };
        (name, assessment)
    }))
}

pub(super) fn ids(recording: &Recording<'_>) -> Assessment {
    recording.worst(texts(recording).map(|(name, _, text)| {
        let id = tokens(&text.text, 0).into_iter().find_map(|token| match token {
            // The `id` of a nested fragment is its name in `explain`, and not an attribute in the page.
            Token::Start(tag) if tag.name != "fragment" => tag.attributes.into_iter().find(|one| one.name == "id"),
            _ => None,
        });
        let assessment = match id {
            Some(id) => {
                let at = position(&text, id.name_span.start);
                Assessment::advice(clip(&format!("contains `id=\"{}\"` ({at})", id.value)))
            }
            None => Assessment::passed(""),
        };
        (name, assessment)
    }))
}

pub(super) fn composes(recording: &Recording<'_>) -> Assessment {
    let declared = recording.subject.manifest.as_ref().map(|manifest| &*manifest.composes).unwrap_or_default();
    recording.worst(texts(recording).map(|(name, _, text)| {
        let mut count = 0;
        for token in tokens(&text.text, 0) {
            let Token::Start(tag) = token else { continue };
            if tag.name != "fragment" {
                continue;
            }
            count += 1;
            let attribute = |name| tag.attributes.iter().find(|attribute| attribute.name == name);
            let at = position(&text, tag.span.start);
            let error = match (attribute("name"), attribute("src")) {
                (_, Some(_)) => format!("a `<fragment>` has `src`, which is allowed only in layouts ({at})"),
                (None, _) if attribute("slot").is_some() => continue,
                (None, _) => format!("a `<fragment>` has no name ({at})"),
                (Some(nested), _) if !declared.contains(&nested.value) => {
                    format!("contains the fragment `{}`, which is not declared ({at})", nested.value)
                }
                _ => continue,
            };
            return (name, Assessment::failed(clip(&error)));
        }
        let message = if count == 0 { "no nested fragments" } else { "all nested fragments are declared" };
        (name, Assessment::passed(message))
    }))
}

pub(super) fn esi(recording: &Recording<'_>) -> Assessment {
    let declared = recording.subject.manifest.as_ref().is_some_and(|manifest| manifest.esi);
    recording.worst(texts(recording).map(|(name, response, text)| {
        let mut controls = members(&response.headers, &HeaderName::from_static("surrogate-control"));
        let is_requested = controls.any(|control| control.to_ascii_lowercase().contains("esi/"));
        let contains = tokens(&text.text, 0).iter().any(|token| match token {
            Token::Start(tag) => tag.name.starts_with("esi:"),
            _ => false,
        });
        let assessment = match (is_requested, contains) {
            (true, _) if !declared => Assessment::failed("requests ESI without declaring it"),
            (false, true) => {
                Assessment::advice("contains `<esi:…>`, which is ignored: Surrogate-Control does not request ESI")
            }
            (true, _) => Assessment::passed("ESI is requested and declared"),
            _ => Assessment::passed("no ESI"),
        };
        (name, assessment)
    }))
}
