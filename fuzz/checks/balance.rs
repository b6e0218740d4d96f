//! What holds for whatever a service sends: asked by the fuzz target, and by `tests/it/fuzzing.rs`.

pub mod tree;

use std::borrow::Cow;
use std::ops::Range;

use pasteup::page::html::balance::{balanced, faults};
use pasteup::page::html::tokens::{Token, tokens};

/// Takes an input for a fragment's HTML.
pub fn check(input: &str) {
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
    if !has_own(&once) {
        tree::stays_in_place(&once);
    }
}

/// Whether elements stand in it that are ours or ESI's: they are replaced before a browser sees them.
fn has_own(html: &str) -> bool {
    tokens(html, 0).iter().any(|token| match token {
        Token::Start(tag) => {
            matches!(tag.name.as_str(), "fragment" | "slot" | "when" | "include") || tag.name.starts_with("esi:")
        }
        _ => false,
    })
}

fn within(text: &str, span: &Range<usize>) {
    assert!(text.get(span.clone()).is_some(), "{span:?} is no part of the {} bytes", text.len());
}
