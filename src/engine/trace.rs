//! The trace that a page and all its fetches belong to (W3C Trace Context).
//! A malformed `traceparent` is ignored, and a new trace begins.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::page::response::outcome::Span;
use crate::page::source::units::{from_hexadecimal, hexadecimal};

use super::load::MeasuredRequest;

/// Names the trace and the span that a request belongs to (W3C Trace Context, 3.2).
pub const PARENT: HeaderName = HeaderName::from_static("traceparent");
/// What tracing systems pass to each other (W3C Trace Context, 3.3).
pub const STATE: HeaderName = HeaderName::from_static("tracestate");
/// Maximum number of bytes of `tracestate` that are passed on (section 3.3.1.5 requires at least 512).
const MAX_STATE: usize = 1024;

/// A span in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    span: Span,
    /// The `tracestate`, which tracing systems pass to each other.
    state: Option<Arc<str>>,
    /// The request of a load run that it belongs to.
    measured: Option<Arc<MeasuredRequest>>,
}

impl Trace {
    /// The first span of a new trace.
    #[must_use]
    pub fn new() -> Self {
        let span = Span { trace: fastrand::u128(1..), id: fastrand::u64(1..), parent: None, sampled: true };
        Self { span, state: None, measured: None }
    }

    /// The span as a value.
    #[must_use]
    pub const fn span(&self) -> Span {
        self.span
    }

    /// The same span, of a request that belongs to a load run.
    #[must_use]
    pub fn measured_by(self, request: Arc<MeasuredRequest>) -> Self {
        Self { measured: Some(request), ..self }
    }

    /// The request of a load run that it belongs to; `None` for nearly all.
    #[must_use]
    pub fn measured(&self) -> Option<&Arc<MeasuredRequest>> {
        self.measured.as_ref()
    }

    /// A new span below this one.
    pub(super) fn child(&self) -> Self {
        let span = Span { id: fastrand::u64(1..), parent: Some(self.span.id), ..self.span };
        Self { span, state: self.state.clone(), measured: None }
    }

    /// A new span in the trace that a request belongs to, by its `traceparent` and its `tracestate`s. `None`: the
    /// `traceparent` is malformed. Only for requests from a trusted peer.
    #[must_use]
    pub fn continued<'h>(parent: &HeaderValue, state: impl Iterator<Item = &'h HeaderValue>) -> Option<Self> {
        let text = parent.as_bytes();
        // `VERSION-TRACE-SPAN-FLAGS`, each in lower-case hexadecimal digits of a fixed number (section 3.2.1).
        let (fields, more) = text.split_at_checked(55)?;
        let has_dashes = [2, 35, 52].iter().all(|at| fields[*at] == b'-');
        let version = from_hexadecimal(&fields[..2])?;
        // Section 3.2.2: version 00 has four fields, a later one may have more, and ff is invalid.
        let well_formed = has_dashes && version != 0xff && (more.is_empty() || version != 0 && more[0] == b'-');
        if !well_formed {
            return None;
        }
        let (high, low) = (from_hexadecimal(&fields[3..19])?, from_hexadecimal(&fields[19..35])?);
        let trace = Some(u128::from(high) << 64 | u128::from(low)).filter(|id| *id != 0)?;
        let parent = from_hexadecimal(&fields[36..52]).filter(|span| *span != 0)?;
        let sampled = from_hexadecimal(&fields[53..])? & 1 == 1;
        let lines: Result<Vec<&str>, _> = state.map(HeaderValue::to_str).collect();
        let state = lines.ok().map(|lines| lines.join(",")).filter(|text| !text.is_empty() && text.len() <= MAX_STATE);
        let span = Span { trace, id: fastrand::u64(1..), parent: Some(parent), sampled };
        Some(Self { span, state: state.map(Arc::from), measured: None })
    }

    /// The id of the trace, in 32 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        let mut text = [0; 32];
        hexadecimal(&self.span.trace.to_be_bytes(), &mut text);
        text
    }

    /// The headers of a request that is sent from this span.
    pub(super) fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let Span { id, sampled, .. } = self.span;
        let mut parent = *b"00-00000000000000000000000000000000-0000000000000000-00";
        parent[3..35].copy_from_slice(&self.id());
        hexadecimal(&id.to_be_bytes(), &mut parent[36..52]);
        hexadecimal(&[u8::from(sampled)], &mut parent[53..]);
        let parent = HeaderValue::from_bytes(&parent).ok().map(|parent| (PARENT, parent));
        let state = self.state.as_deref().and_then(|state| HeaderValue::from_str(state).ok());
        parent.into_iter().chain(state.map(|state| (STATE, state)))
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Display for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(&self.id()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn of(parent: &str, state: &'static str) -> Option<Trace> {
        Trace::continued(&parent.parse().expect("a value"), [HeaderValue::from_static(state)].iter())
    }

    #[test]
    fn a_trace_is_continued_with_new_spans() {
        let trace = of(&format!("00-{ID}-00f067aa0ba902b7-00"), "a=1,b=2").expect("a trace");
        assert_eq!(trace.to_string(), ID);
        let sent: HeaderMap = trace.headers().collect();
        let parent = sent[PARENT].to_str().expect("text");
        assert!(parent.starts_with(&format!("00-{ID}-")) && parent.ends_with("-00"), "{parent}");
        assert!(!parent.contains("00f067aa0ba902b7"));
        assert_eq!(trace.span().parent, Some(0x00f0_67aa_0ba9_02b7));
        let below = trace.child().span();
        assert_eq!(below.parent, Some(trace.span().id));
        assert!(below.id != trace.span().id && !below.sampled);
        assert_eq!(sent[STATE], "a=1,b=2");
        assert!(of(&format!("cc-{ID}-00f067aa0ba902b7-01-more"), "").is_some(), "a later version");
    }

    #[test]
    fn a_malformed_parent_is_ignored() {
        let zero = "0".repeat(32);
        for parent in [
            String::new(),
            "garbage".into(),
            format!("00-{ID}-00f067aa0ba902b7"),
            format!("00-{ID}-00f067aa0ba902b7-01-more"),
            format!("ff-{ID}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", ID.to_uppercase()),
            format!("00-{zero}-00f067aa0ba902b7-01"),
            format!("00-{ID}-0000000000000000-01"),
        ] {
            assert_eq!(of(&parent, ""), None, "{parent}");
        }
    }
}
