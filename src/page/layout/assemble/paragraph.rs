//! Finds out whether a layout leaves a paragraph open where its late parts are sent.
//! Fragments leave nothing open, and of a condition all is taken to be shown.

use crate::page::html::stack::Stack;
use crate::page::html::tokens::{Token, tokens};
use crate::page::layout::template::segment::Segment;

/// Whether a paragraph is open before the first [`Segment::Late`]; without one, at the end.
pub(super) fn is_left_open(segments: &[Segment]) -> bool {
    let mut text = Vec::new();
    gather(segments, &mut text);
    let mut open = Stack::default();
    for token in tokens(&String::from_utf8_lossy(&text), 0) {
        match token {
            Token::Start(tag) => drop(open.start_tag(&tag)),
            Token::End { name, .. } => drop(open.end_tag(&name)),
            Token::Doctype { .. } | Token::Comment { .. } | Token::Unfinished { .. } => {}
        }
    }
    open.is_in_paragraph()
}

/// Gathers the text of segments up to the late parts. `false`: they were reached.
fn gather(segments: &[Segment], text: &mut Vec<u8>) -> bool {
    segments.iter().all(|segment| match segment {
        Segment::Text(bytes) => {
            text.extend_from_slice(bytes);
            true
        }
        Segment::When(_, inside) | Segment::Slot(_, inside) | Segment::Try(inside, _) => gather(inside, text),
        Segment::Fragment(_) | Segment::Value(_) | Segment::Assets => true,
        Segment::Late => false,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_paragraph_is_left_open_until_an_element_ends_it() {
        for (html, expected) in [
            ("", false),
            ("<body><p>a", true),
            ("<body><p>a</p>", false),
            ("<body><p>a<div>b</div>", false),
            ("<body><main><p>a</main>", false),
            ("<body><p>a<b>b", true),
            ("<body><table><tr><td><p>a</table>", false),
            ("<body><template><p>a", false),
        ] {
            // The tokens of one tag may be in two segments, around a value.
            let (first, second) = html.split_at(html.len() / 2);
            let text = |text: &str| Segment::Text(text.to_owned().into());
            let late = [Segment::When(0, Arc::from([text(first)])), text(second), Segment::Late, text("<p>")];
            assert_eq!(is_left_open(&late), expected, "{html}");
        }
    }
}
