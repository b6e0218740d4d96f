//! Decides the status of a page: 200, unless a `required` fragment has no content.
//! If several required fragments decide the status, the first in document order wins.

use http::StatusCode;
use url::{ParseError, Position, Url};

use crate::page::manifest::upstreams;
use crate::page::plan::{Outcomes, Plan};
use crate::page::response::outcome::{Outcome, Shown};
use crate::page::response::parsed::Content;
use crate::page::source::reason::Reason;

/// The kind and status of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The stitched page, with this status.
    Page(StatusCode),
    /// An error page with this status.
    Error(StatusCode),
    /// A redirect without a body, to a `Location` that [`resolved_location`] completes.
    Redirect(StatusCode, String),
}

/// Whether the verdict is final: no outcome that is not known yet can change it.
#[must_use]
pub fn is_final(plan: &Plan, outcomes: &Outcomes) -> bool {
    plan.in_order(outcomes).into_iter().all(|part| outcomes[part].is_some() || !plan.may_affect_head(part))
}

/// The verdict on a page whose outcomes are known. The site's page for a status has that one, whatever happens to its parts.
#[must_use]
pub fn verdict(plan: &Plan, outcomes: &Outcomes) -> Verdict {
    let required = plan.in_order(outcomes).into_iter().filter(|part| plan.parts[*part].required);
    required
        .filter_map(|part| decides(outcomes[part].as_ref()?))
        .next()
        .unwrap_or_else(|| Verdict::Page(plan.template.status.unwrap_or(StatusCode::OK)))
}

/// The verdict that a required part forces on the page, if any.
fn decides(outcome: &Outcome) -> Option<Verdict> {
    match (outcome.response.as_ref().map(|response| &response.content), outcome.shown) {
        (Some(Content::Redirect(status, location)), _) => {
            Some(match location.as_deref().filter(|to| is_allowed_location(to)) {
                Some(location) => Verdict::Redirect(*status, location.to_owned()),
                None => Verdict::Error(StatusCode::BAD_GATEWAY),
            })
        }
        (Some(Content::Gone(status)), Shown::Fallback) => Some(Verdict::Page(*status)),
        (Some(Content::Gone(status)), _) => Some(Verdict::Error(*status)),
        (None, Shown::Omitted) => Some(Verdict::Error(match outcome.reason? {
            // The part's condition does not hold, or the nanoservice has nothing to show: that is not a failure.
            Reason::Condition | Reason::Empty => return None,
            Reason::Timeout | Reason::Budget => StatusCode::GATEWAY_TIMEOUT,
            Reason::Incomplete | Reason::TooLarge | Reason::NotHtml | Reason::Encoding => StatusCode::BAD_GATEWAY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        })),
        _ => None,
    }
}

/// The `Location` for the clients of a page at this path: a path, or a URL with `http` or `https`. A relative reference is
/// resolved against the page (RFC 9110, 10.2.2). `None`: it leads nowhere that clients may be sent.
#[must_use]
pub fn resolved_location(location: &str, page: &str) -> Option<String> {
    if !is_allowed_location(location) {
        return None;
    }
    if location.starts_with('/') || Url::parse(location).is_ok() {
        return Some(location.to_owned());
    }
    let mut base = Url::parse("http://page.invalid/").expect("it is a URL");
    base.set_path(page);
    let target = base.join(location).ok()?;
    let target = &target[Position::BeforePath..];
    // A browser would take what follows for a host.
    (!target.starts_with("//")).then(|| target.to_owned())
}

/// Whether a `Location` may be sent to clients: only a reference to the same site, or a URL with `http` or `https`.
fn is_allowed_location(location: &str) -> bool {
    let clean = !location.is_empty() && !location.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\');
    let is_relative = !location.starts_with("//") && Url::parse(location) == Err(ParseError::RelativeUrlWithoutBase);
    clean && (is_relative || upstreams::source(location).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_of_the_same_site_or_http() {
        for location in ["/", "/a?b#c", "new", "../a", "?x=1", "https://example.org/x", "http://example.org"] {
            assert!(is_allowed_location(location), "{location}");
        }
        for location in [
            "",
            "//evil.test/",
            "javascript:alert(1)",
            "data:text/html,x",
            "/\\evil.test",
            "http://u:p@a/",
            "https:evil.test",
            "/a\r\nb",
            "a b",
        ] {
            assert!(!is_allowed_location(location), "{location}");
        }
    }

    #[test]
    fn a_relative_location_is_resolved_against_the_page() {
        let resolved = |location| resolved_location(location, "/news/uk");
        for (location, expected) in [
            ("new", "/news/new"),
            ("./", "/news/"),
            ("../a", "/a"),
            ("../../../a?b#c", "/a?b#c"),
            ("?x=1", "/news/uk?x=1"),
            ("#top", "/news/uk#top"),
            ("/a", "/a"),
            ("https://example.org/x", "https://example.org/x"),
        ] {
            assert_eq!(resolved(location).as_deref(), Some(expected), "{location}");
        }
        for location in ["", "//evil.test/", "javascript:alert(1)", "..\\a"] {
            assert_eq!(resolved(location), None, "{location}");
        }
        assert_eq!(resolved_location("?x", "//evil.test/"), None);
    }
}
