//! Checks a nanoservice against the contract: recorded exchanges in, findings out.
//! A rule that cannot be checked is skipped, with the reason; it never passes silently.

pub mod rule;

pub mod exchange;
pub mod subject;

mod fields;

mod caching;
mod headers;
mod html;
mod response;

mod repeats;

use exchange::{Exchange, NoResponse, Purpose, RecordedResponse};
use rule::Rule;
use subject::Subject;

/// Most requests that are sent at once; fewer if the manifest allows fewer.
pub const MAX_CONCURRENT: u32 = 20;

/// The result of checking a rule. The order is from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// The rule could not be checked.
    Skipped,
    /// The rule holds.
    Passed,
    /// The rule holds, but something could be better.
    Advice,
    /// The rule is broken.
    Failed,
}

impl Verdict {
    /// The verdict's name in every output format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Passed => "passed",
            Self::Advice => "advice",
            Self::Failed => "failed",
        }
    }
}

/// A rule and the result of checking it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// The result.
    pub verdict: Verdict,
    /// What was observed, in one line without a full stop.
    pub message: String,
}

impl Finding {
    /// What to do, if the rule is broken or something could be better.
    #[must_use]
    pub const fn help(&self) -> Option<&'static str> {
        match self.verdict {
            Verdict::Failed | Verdict::Advice => Some(self.rule.fix()),
            Verdict::Passed | Verdict::Skipped => None,
        }
    }
}

/// A verdict and its message. If the message is empty, the rule's title is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Assessment(Verdict, String);

impl Assessment {
    fn passed(message: impl Into<String>) -> Self {
        Self(Verdict::Passed, message.into())
    }

    fn failed(message: impl Into<String>) -> Self {
        Self(Verdict::Failed, message.into())
    }

    fn advice(message: impl Into<String>) -> Self {
        Self(Verdict::Advice, message.into())
    }

    fn skipped(message: impl Into<String>) -> Self {
        Self(Verdict::Skipped, message.into())
    }
}

/// A nanoservice and all exchanges with it.
struct Recording<'r> {
    subject: &'r Subject,
    exchanges: &'r [Exchange],
}

impl<'r> Recording<'r> {
    /// All exchanges with a matching purpose.
    fn all(&self, matches: impl Fn(&Purpose) -> bool) -> impl Iterator<Item = &'r Exchange> {
        self.exchanges.iter().filter(move |exchange| matches(&exchange.purpose))
    }

    /// The exchanges for the examples, with their names.
    fn examples(&self) -> impl Iterator<Item = (String, &'r Exchange)> {
        self.exchanges.iter().filter_map(|exchange| match exchange.purpose {
            Purpose::Example(index) => Some((self.subject.example(index), exchange)),
            _ => None,
        })
    }

    /// The responses to examples with status 200 or 204, with the examples' names.
    fn heads(&self) -> impl Iterator<Item = (String, &'r RecordedResponse)> {
        self.examples()
            .filter_map(|(name, exchange)| Some((name, exchange.head()?)))
            .filter(|(_, response)| matches!(response.status.as_u16(), 200 | 204))
    }

    /// Combines the assessments of several examples to the worst one, with the number of others that are as bad.
    fn worst(&self, assessments: impl Iterator<Item = (String, Assessment)>) -> Assessment {
        let mut assessments: Vec<_> = assessments.collect();
        let Some(worst) = assessments.iter().map(|(_, assessment)| assessment.0).max() else {
            return Assessment::skipped("no example returned a fragment");
        };
        assessments.retain(|(_, assessment)| assessment.0 == worst);
        let more = assessments.len() - 1;
        let (name, Assessment(_, message)) = assessments.swap_remove(0);
        let has_several = self.subject.examples.len() > 1;
        Assessment(
            worst,
            match (worst, more) {
                (Verdict::Passed | Verdict::Skipped, _) => message,
                _ if !has_several => message,
                (_, 0) => format!("{name}: {message}"),
                (_, more) => format!("{name} and {more} more: {message}"),
            },
        )
    }
}

/// Checks every rule, in the order of [`Rule::ALL`]. If there was no response at all, the rule that says so is the last one.
#[must_use]
pub fn check(subject: &Subject, exchanges: &[Exchange]) -> Vec<Finding> {
    let recording = Recording { subject, exchanges };
    let is_silent = exchanges.iter().all(|exchange| exchange.response.is_err());
    let is_late = exchanges.iter().any(|exchange| exchange.response.as_ref().err() == Some(&NoResponse::Late));
    let mut findings: Vec<Finding> = Rule::ALL
        .iter()
        .map(|rule| {
            let Assessment(verdict, message) = match rule {
                Rule::Example => response::example(&recording),
                _ if subject.examples.is_empty() => Assessment::skipped("no request could be sent"),
                Rule::Reachable => response::reachable(&recording),
                Rule::InTime if is_late || !is_silent => response::in_time(&recording),
                _ if is_silent => Assessment::skipped("no response was received"),
                rule => assess(*rule, &recording),
            };
            let message = if message.is_empty() { rule.title().to_owned() } else { message };
            Finding { rule: *rule, verdict, message }
        })
        .collect();
    let says_so = |finding: &Finding| {
        finding.verdict == Verdict::Failed && matches!(finding.rule, Rule::Reachable | Rule::InTime)
    };
    if let Some(last) = findings.iter().position(says_so).filter(|_| is_silent) {
        findings.truncate(last + 1);
    }
    findings
}

fn assess(rule: Rule, recording: &Recording<'_>) -> Assessment {
    match rule {
        Rule::Example => response::example(recording),
        Rule::Reachable => response::reachable(recording),
        Rule::InTime => response::in_time(recording),
        Rule::Status => response::status(recording),
        Rule::ContentType => response::content_type(recording),
        Rule::Charset => response::charset(recording),
        Rule::Complete => response::complete(recording),
        Rule::Size => response::size(recording),
        Rule::Coding => response::coding(recording),
        Rule::NotUnasked304 => caching::not_unasked_304(recording),
        Rule::Cookies => headers::cookies(recording),
        Rule::CacheControl => caching::cache_control(recording),
        Rule::Freshness => caching::freshness(recording),
        Rule::Vary => headers::vary(recording),
        Rule::Validation => caching::validation(recording),
        Rule::Context => repeats::context(recording),
        Rule::SurrogateKeys => headers::surrogate_keys(recording),
        Rule::Links => headers::links(recording),
        Rule::Balanced => html::balanced(recording),
        Rule::Ids => html::ids(recording),
        Rule::Composes => html::composes(recording),
        Rule::Esi => html::esi(recording),
        Rule::Deprecation => headers::deprecation(recording),
        Rule::BadParameter => repeats::bad_parameter(recording),
        Rule::Problem => repeats::problem(recording),
        Rule::Together => repeats::together(recording),
        Rule::KeepAlive => repeats::keep_alive(recording),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, HeaderName, StatusCode};

    use super::exchange::BodyError;
    use super::*;
    use crate::page::manifest::Manifest;
    use crate::page::request::defaults::Defaults;
    use crate::page::request::fetch::FetchKind;
    use crate::page::response::classify::{HeadClass, classify_body, classify_head};
    use crate::page::source::diagnostic::Source;

    fn subject() -> Subject {
        let text = "name = \"a\"\nversion = \"1.0.0\"\nendpoint = \"http://a.test/\"\n";
        let manifest = Arc::new(Manifest::parse(&Source::new("fragment.toml", text)).0.expect("a manifest"));
        Subject::declared(&manifest, &manifest.endpoints[0], &[], &Defaults::default())
    }

    fn response(status: u16, pairs: &[(&'static str, &'static str)], body: &'static [u8]) -> RecordedResponse {
        let pairs = pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value")));
        let status = StatusCode::from_u16(status).expect("a status");
        RecordedResponse { status, headers: pairs.collect(), closes: false, body: Ok(Bytes::from_static(body)) }
    }

    /// Exchanges in which every single request got the same response.
    fn with_response(response: &RecordedResponse) -> Vec<Exchange> {
        [Purpose::Probe, Purpose::Example(0), Purpose::Repeat, Purpose::LastRepeat]
            .map(|purpose| Exchange { purpose, took: Duration::from_millis(1), response: Ok(response.clone()) })
            .into()
    }

    fn failed(exchanges: &[Exchange]) -> Vec<&'static str> {
        let findings = check(&subject(), exchanges);
        let is_silent = exchanges.iter().all(|exchange| exchange.response.is_err());
        assert_eq!(
            findings.len() == Rule::ALL.len(),
            !is_silent,
            "nothing is said about a service that does not respond"
        );
        let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Failed);
        failed.map(|finding| finding.rule.id()).collect()
    }

    const HTML: (&str, &str) = ("content-type", "text/html");

    #[test]
    fn a_response_breaks_a_rule_if_and_only_if_the_compositor_refuses_it() {
        for (status, pairs, body, rule) in [
            (200, vec![HTML], &b"<p>"[..], None),
            (200, vec![HTML], b"", None),
            (200, vec![("content-length", "0")], b"", None),
            (204, vec![], b"", None),
            (200, vec![("content-type", "text/html; charset=iso-8859-1")], b"\xfc", None),
            (200, vec![HTML, ("content-encoding", "identity")], b"x", None),
            (200, vec![], b"<p>", Some("content-type")),
            (200, vec![("content-type", "application/json")], b"{}", Some("content-type")),
            (200, vec![HTML], b"\xff", Some("charset")),
            (200, vec![("content-type", "text/html; charset=klingon")], b"x", Some("charset")),
            (206, vec![HTML], b"x", Some("status")),
            (304, vec![], b"", Some("not-unasked-304")),
            (500, vec![HTML], b"x", Some("status")),
        ] {
            let response = response(status, &pairs, body);
            assert_eq!(failed(&with_response(&response)), Vec::from_iter(rule), "{status} {pairs:?}");
            let headers: HeaderMap = response.headers.clone();
            let is_accepted = match classify_head(response.status, &headers, FetchKind::Fragment, false) {
                Ok(HeadClass::Read(form)) => classify_body(form, Bytes::from_static(body)).is_ok(),
                Ok(_) => true,
                Err(_) => false,
            };
            assert_eq!(is_accepted, rule.is_none(), "{status} {pairs:?}");
        }
    }

    #[test]
    fn each_body_error_breaks_one_rule() {
        for (error, rule) in [
            (BodyError::CutShort("x".to_owned()), "complete"),
            (BodyError::Stalled, "in-time"),
            (BodyError::TooLarge(1), "size"),
            (BodyError::UnknownCoding("x".to_owned()), "coding"),
            (BodyError::Undecodable("br".to_owned(), "x".to_owned()), "coding"),
        ] {
            let response = RecordedResponse { body: Err(error), ..response(200, &[HTML], b"") };
            assert_eq!(failed(&with_response(&response)), [rule]);
        }
    }

    #[test]
    fn without_a_response_only_one_rule_fails() {
        for (error, rule) in [
            (NoResponse::Unreachable("x".to_owned()), "reachable"),
            (NoResponse::NotHttp("x".to_owned()), "reachable"),
            (NoResponse::Late, "in-time"),
        ] {
            let opening = Exchange { purpose: Purpose::Probe, took: Duration::ZERO, response: Err(error) };
            assert_eq!(failed(&[opening]), [rule]);
        }
    }
}
