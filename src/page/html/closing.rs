//! Which end tags may be missing where several elements end at once.

use super::boundary::Open;

/// Of elements that end together, the innermost first, those whose end tags must be written.
/// `bare`: what ends them is a row or a cell that parsers pass over where it comes to stand in no table.
pub(super) fn written(ended: Vec<Open>, bare: bool) -> Vec<Open> {
    if ended.is_empty() {
        return ended;
    }
    let templates = ended.iter().any(|element| element.name == "template");
    // The end of what is SVG or MathML implies that of no HTML in it.
    let points = ended.iter().any(Open::is_point);
    let needed = |element: &Open| points || (bare && !element.is_part()) || (templates && is_marked(element));
    // Only of blocks does the end imply that of what may be left open in them (13.2.6.4.7).
    let implied = |element: &Open, around: Option<&Open>| {
        element.is_optional()
            && !needed(element)
            && around.is_none_or(|around| ends_blocks(around) || !element.is_special())
    };
    let must: Vec<bool> = (0..ended.len()).map(|at| !implied(&ended[at], ended.get(at + 1))).collect();
    ended.into_iter().zip(must).filter_map(|(element, must)| must.then_some(element)).collect()
}

/// Whether a template that ends with it still open leaves its mark among the formatting elements, so that an end
/// tag behind does not find the `<a>` or `<b>` before it (13.2.4.3).
fn is_marked(element: &Open) -> bool {
    matches!(&*element.name, "td" | "th" | "caption")
}

/// Whether the end of an element implies that of blocks in it: of `<noscript>` it does not, be that special or not.
fn ends_blocks(around: &Open) -> bool {
    around.is_special() && around.name != "noscript"
}
