//! The parts of a visit that a nanoservice is sent: its parameters, and its declared context as headers.
//! An unknown value is left out; a header or cookie that the manifest does not declare is never sent.

use http::{HeaderName, HeaderValue, header};

use crate::page::layout::FragmentUse;
use crate::page::layout::syntax::node::ParameterPiece;
use crate::page::manifest::{Auth, Manifest};
use crate::page::visit::context::{Dimension, Visit};

/// Parameters of a nanoservice by name, in the layout's order.
pub type Parameters = Vec<(String, String)>;

/// The features that a nanoservice may use in its response (Edge Architecture Specification, 2.1).
const SURROGATE_CAPABILITY: HeaderName = HeaderName::from_static("surrogate-capability");

/// The values of a fragment's parameters. A parameter whose query parameter is absent is left out.
#[must_use]
pub fn parameters(fragment: &FragmentUse, visit: &Visit) -> Parameters {
    if fragment.takes_all_parameters {
        return visit.parameters.clone();
    }
    fragment
        .parameters
        .iter()
        .filter_map(|(name, pieces)| {
            let mut value = String::new();
            for piece in pieces {
                match piece {
                    ParameterPiece::Literal(text) => value.push_str(text),
                    ParameterPiece::Placeholder(name) => value.push_str(visit.parameter(name)?),
                }
            }
            Some((name.clone(), value))
        })
        .collect()
}

/// The text of a title. A placeholder without a value, such as a query parameter that the request lacks, is empty.
#[must_use]
pub fn title(pieces: &[ParameterPiece], visit: &Visit) -> String {
    let text = |piece: &ParameterPiece| match piece {
        ParameterPiece::Literal(text) => text.clone(),
        ParameterPiece::Placeholder(name) => visit.parameter(name).unwrap_or_default().to_owned(),
    };
    pieces.iter().map(text).collect()
}

/// The declared context as headers, in the order of the declaration. A value that cannot be signed is left out where the
/// nanoservice is sent signatures.
pub(super) fn context_headers(manifest: &Manifest, visit: &Visit) -> Vec<(HeaderName, HeaderValue)> {
    let is_signed = matches!(manifest.auth, Some(Auth::Signature { .. }));
    let mut headers = Vec::new();
    let mut cookies: Vec<u8> = Vec::new();
    for dimension in &manifest.context {
        let Some(value) = value(dimension, visit).filter(|value| !is_signed || can_be_signed(value)) else { continue };
        if let Dimension::Cookie(name) = dimension {
            let separator: &[u8] = if cookies.is_empty() { b"" } else { b"; " };
            cookies.extend([separator, name.as_bytes(), b"=", &value].concat());
        } else if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(dimension.header()), HeaderValue::from_bytes(&value))
        {
            headers.push((name, value));
        }
    }
    if let Some(cookies) = HeaderValue::from_bytes(&cookies).ok().filter(|cookies| !cookies.is_empty()) {
        headers.push((header::COOKIE, cookies));
    }
    if manifest.esi {
        headers.push((SURROGATE_CAPABILITY, HeaderValue::from_static("pasteup=\"ESI/1.0\"")));
    }
    headers
}

/// Whether a signature can cover the value of a header: it is made over ASCII (RFC 9421, 2.1).
// The parameter `bs` would sign any bytes, but few services can verify it. A client can send what it likes, so that a value
// which stopped the whole request would let one client keep the nanoservice from all others.
fn can_be_signed(value: &[u8]) -> bool {
    value.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

/// The value of a dimension for a visit; `None` if it is unknown.
fn value(dimension: &Dimension, visit: &Visit) -> Option<Vec<u8>> {
    let reader = &visit.reader;
    Some(match dimension {
        Dimension::Locale => reader.locale.clone()?.into_bytes(),
        Dimension::Region => reader.region.clone()?.into_bytes(),
        Dimension::Device => reader.device?.as_str().into(),
        Dimension::Variant if reader.variants.is_empty() => return None,
        Dimension::Variant => {
            let variants: Vec<String> = reader.variants.iter().map(|(e, v)| format!("{e}:{v}")).collect();
            variants.join(", ").into_bytes()
        }
        Dimension::Page => visit.pattern.clone().into_bytes(),
        Dimension::Cookie(name) => reader.cookies.iter().find(|(known, _)| known == name)?.1.clone().into_bytes(),
        // Field lines of one name are one list (RFC 9110, 5.3).
        Dimension::Header(name) if reader.headers.contains_key(name) => {
            reader.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b", "[..])
        }
        Dimension::Header(_) => return None,
    })
}
