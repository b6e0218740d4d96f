//! Decides which end tags may be missing where several elements end together.
//! An end tag that some parser might not imply is always written.

use super::stack::OpenElement;

/// The elements whose end tags must be written, of those that end together, the innermost first.
/// `outside_table`: a row, a cell or another table part ends them, which parsers ignore outside of a table.
pub(super) fn needing_end_tags(ended: Vec<OpenElement>, outside_table: bool) -> Vec<OpenElement> {
    if ended.is_empty() {
        return ended;
    }
    let templates = ended.iter().any(|element| element.name == "template");
    // The end of an SVG or MathML element does not imply the end of HTML in it.
    let foreign_end = ended.iter().any(OpenElement::is_integration_point);
    let needed = |element: &OpenElement| {
        foreign_end || (outside_table && !element.is_table_part()) || (templates && leaves_marker(element))
    };
    // Only the end of a block implies the ends of blocks in it (13.2.6.4.7).
    let implied = |element: &OpenElement, around: Option<&OpenElement>| {
        element.has_optional_end()
            && !needed(element)
            && around.is_none_or(|around| ends_blocks(around) || !element.is_special())
    };
    let must: Vec<bool> = (0..ended.len()).map(|at| !implied(&ended[at], ended.get(at + 1))).collect();
    ended.into_iter().zip(must).filter_map(|(element, must)| must.then_some(element)).collect()
}

/// Whether an element that is still open at the end of its template leaves a marker in the list of formatting
/// elements, so that a later end tag does not find the `<a>` or `<b>` before it (13.2.4.3).
fn leaves_marker(element: &OpenElement) -> bool {
    matches!(&*element.name, "td" | "th" | "caption")
}

/// Whether the end of an element implies the ends of blocks in it. The end of `<noscript>` does not, although that
/// is a special element.
fn ends_blocks(around: &OpenElement) -> bool {
    around.is_special() && around.name != "noscript"
}
