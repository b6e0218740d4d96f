//! Properties of balancing that hold for any HTML of a service. Called by the fuzz target and by `tests/it/fuzzing.rs`.

pub(crate) mod tree;

use std::borrow::Cow;
use std::ops::Range;

use pasteup::page::html::balance::{balanced, violations};
use pasteup::page::html::stack::Stack;
use pasteup::page::html::tokens::{Token, tokens};

/// Reads an input as a fragment's HTML.
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
                assert!(attribute.value_span.end < span.end, "{attribute:?} extends beyond its tag");
                at = attribute.name_span.end;
            }
        }
    }
    let found = violations(input);
    for violation in &found {
        assert!(input.is_char_boundary(violation.at), "{violation:?} is within a character");
        assert!(!violation.message.is_empty());
    }
    let once = balanced(input);
    assert_eq!(matches!(once, Cow::Borrowed(same) if same == input), found.is_empty(), "{once}");
    assert_eq!(violations(&once), [], "{once}");
    assert!(matches!(balanced(&once), Cow::Borrowed(same) if same == once), "{once}");
    if is_for_browsers(&once) {
        tree::stays_in_place(&once);
    }
}

/// Whether html5ever builds the tree that a browser would build. Our own elements and those of ESI are replaced before
/// a browser sees them; and in html5ever an item in SVG, MathML or `<search>` ends one around it, contrary to 13.2.4.2.
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
                open.start_tag(tag);
            }
            Token::End { name, .. } => drop(open.end_tag(name)),
            _ => {}
        }
        true
    })
}

fn within(text: &str, span: &Range<usize>) {
    assert!(text.get(span.clone()).is_some(), "{span:?} is not within the {} bytes", text.len());
}
