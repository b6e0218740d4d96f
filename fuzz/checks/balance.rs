//! What holds for whatever a service sends: asked by the fuzz target, and by `tests/it/fuzzing.rs`.

pub(crate) mod tree;

use std::borrow::Cow;
use std::ops::Range;

use pasteup::page::html::balance::{balanced, faults};
use pasteup::page::html::boundary::Stack;
use pasteup::page::html::tokens::{Token, tokens};

/// Takes an input for a fragment's HTML.
pub(crate) fn check(input: &str) {
    let mut at = 0;
    for token in tokens(input, 0) {
        let span = token.span();
        within(input, &span);
        assert!(span.start >= at && span.end > span.start, "{token:?} begins before {at}");
        at = span.end;
        if let Token::Start(tag) = &token {
            let mut at = span.start;
            for attribute in &tag.attributes {
                within(input, &attribute.name_span);
                within(input, &attribute.value_span);
                assert!(attribute.name_span.start > at && attribute.value_span.start >= attribute.name_span.end);
                assert!(attribute.value_span.end < span.end, "{attribute:?} reaches out of its tag");
                at = attribute.name_span.end;
            }
        }
    }
    let found = faults(input);
    for fault in &found {
        assert!(input.is_char_boundary(fault.at), "{fault:?} lies within a character");
        assert!(!fault.what.is_empty());
    }
    let once = balanced(input);
    assert_eq!(matches!(once, Cow::Borrowed(same) if same == input), found.is_empty(), "{once}");
    assert_eq!(faults(&once), [], "{once}");
    assert!(matches!(balanced(&once), Cow::Borrowed(same) if same == once), "{once}");
    if is_for_browsers(&once) {
        tree::stays_in_place(&once);
    }
}

/// Whether html5ever's tree is what a browser would build. Elements of ours and ESI's are replaced before one
/// sees them; and html5ever lets an item in SVG, MathML or `<search>` end one around it, against 13.2.4.2.
pub(crate) fn is_for_browsers(html: &str) -> bool {
    let mut open = Stack::default();
    tokens(html, 0).iter().all(|token| {
        match token {
            Token::Start(tag) => {
                let name = tag.name.as_str();
                if matches!(name, "fragment" | "slot" | "when" | "include" | "search") || name.starts_with("esi:") {
                    return false;
                }
                if matches!(name, "li" | "dd" | "dt") && open.is_in_foreign() {
                    return false;
                }
                open.begin(tag);
            }
            Token::End { name, .. } => drop(open.end(name)),
            _ => {}
        }
        true
    })
}

fn within(text: &str, span: &Range<usize>) {
    assert!(text.get(span.clone()).is_some(), "{span:?} is no part of the {} bytes", text.len());
}
