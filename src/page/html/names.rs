//! The names of the elements of HTML, SVG and MathML, obsolete ones included. Names with a hyphen are left out.

/// Whether an element of HTML, SVG or MathML has this name, which is in lower case and has no hyphen.
#[must_use]
pub fn is_standard(name: &str) -> bool {
    STANDARD.binary_search(&name).is_ok()
}

/// The names, in the order of their bytes.
#[rustfmt::skip]
const STANDARD: [&str; 271] = [
    "a", "abbr", "acronym", "address", "altglyph", "altglyphdef", "altglyphitem", "animate", "animatecolor", "animatemotion",
    "animatetransform", "annotation", "applet", "area", "article", "aside", "audio", "b", "base", "basefont",
    "bdi", "bdo", "bgsound", "big", "blink", "blockquote", "body", "br", "button", "canvas",
    "caption", "center", "circle", "cite", "clippath", "code", "col", "colgroup", "command", "content",
    "cursor", "data", "datalist", "dd", "defs", "del", "desc", "details", "dfn", "dialog",
    "dir", "discard", "div", "dl", "dt", "ellipse", "em", "embed", "feblend", "fecolormatrix",
    "fecomponenttransfer", "fecomposite", "feconvolvematrix", "fediffuselighting", "fedisplacementmap", "fedistantlight", "fedropshadow", "feflood", "fefunca", "fefuncb",
    "fefuncg", "fefuncr", "fegaussianblur", "feimage", "femerge", "femergenode", "femorphology", "fencedframe", "feoffset", "fepointlight",
    "fespecularlighting", "fespotlight", "fetile", "feturbulence", "fieldset", "figcaption", "figure", "filter", "font", "footer",
    "foreignobject", "form", "frame", "frameset", "g", "geolocation", "glyph", "glyphref", "h1", "h2",
    "h3", "h4", "h5", "h6", "hatch", "hatchpath", "head", "header", "hgroup", "hkern",
    "hr", "html", "i", "iframe", "image", "img", "input", "ins", "isindex", "kbd",
    "keygen", "label", "legend", "li", "line", "lineargradient", "link", "listing", "maction", "main",
    "maligngroup", "malignmark", "map", "mark", "marker", "marquee", "mask", "math", "menclose", "menu",
    "menuitem", "merror", "mesh", "meshgradient", "meshpatch", "meshrow", "meta", "metadata", "meter", "mfenced",
    "mfrac", "mglyph", "mi", "mlabeledtr", "mlongdiv", "mmultiscripts", "mn", "mo", "mover", "mpadded",
    "mpath", "mphantom", "mprescripts", "mroot", "mrow", "ms", "mscarries", "mscarry", "msgroup", "msline",
    "mspace", "msqrt", "msrow", "mstack", "mstyle", "msub", "msubsup", "msup", "mtable", "mtd",
    "mtext", "mtr", "multicol", "munder", "munderover", "nav", "nextid", "nobr", "noembed", "noframes",
    "none", "noscript", "object", "ol", "optgroup", "option", "output", "p", "param", "path",
    "pattern", "permission", "picture", "plaintext", "polygon", "polyline", "portal", "pre", "progress", "q",
    "radialgradient", "rb", "rect", "rp", "rt", "rtc", "ruby", "s", "samp", "script",
    "search", "section", "select", "selectedcontent", "selectedoption", "semantics", "set", "shadow", "slot", "small",
    "solidcolor", "source", "spacer", "span", "stop", "strike", "strong", "style", "sub", "summary",
    "sup", "svg", "switch", "symbol", "table", "tbody", "td", "template", "text", "textarea",
    "textpath", "tfoot", "th", "thead", "time", "title", "tr", "track", "tref", "tspan",
    "tt", "u", "ul", "unknown", "use", "var", "video", "view", "vkern", "wbr",
    "xmp",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_sorted() {
        assert!(STANDARD.is_sorted());
        assert!(is_standard("slot") && is_standard("foreignobject") && !is_standard("when"));
    }
}
