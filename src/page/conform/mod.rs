//! Holds what a nanoservice answered against the contract: recorded exchanges in, findings out.
//! What cannot be told is skipped, with the reason; it is never passed in silence.

pub mod rule;

pub mod exchange;
pub mod subject;

mod fields;

mod answers;
mod caching;
mod headers;
mod html;

mod repeats;

use exchange::{Exchange, Purpose, Reply, Silence};
use rule::Rule;
use subject::Subject;

/// How many requests are sent at once, where the manifest allows as many.
pub const AT_ONCE: u32 = 20;

/// What was found about a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// It could not be told.
    Skipped,
    /// It is kept.
    Passed,
    /// It is kept, and something could be better.
    Advice,
    /// It is broken.
    Failed,
}

impl Verdict {
    /// The word for it.
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

/// A rule, and what was found about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// Whether it is kept.
    pub verdict: Verdict,
    /// What was seen, in a line without a full stop.
    pub message: String,
}

impl Finding {
    /// What to do about it, where there is something to do.
    #[must_use]
    pub const fn help(&self) -> Option<&'static str> {
        match self.verdict {
            Verdict::Failed | Verdict::Advice => Some(self.rule.cure()),
            Verdict::Passed | Verdict::Skipped => None,
        }
    }
}

/// A verdict and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Opinion(Verdict, String);

impl Opinion {
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

/// A nanoservice and all that it was asked.
struct Case<'c> {
    subject: &'c Subject,
    exchanges: &'c [Exchange],
}

impl<'c> Case<'c> {
    /// All exchanges of a kind.
    fn all(&self, kind: impl Fn(&Purpose) -> bool) -> impl Iterator<Item = &'c Exchange> {
        self.exchanges.iter().filter(move |exchange| kind(&exchange.purpose))
    }

    /// The examples, with their names.
    fn examples(&self) -> impl Iterator<Item = (String, &'c Exchange)> {
        self.exchanges.iter().filter_map(|exchange| match exchange.purpose {
            Purpose::Example(index) => Some((self.subject.example(index), exchange)),
            _ => None,
        })
    }

    /// The heads of examples that were answered with a fragment, or with nothing to show.
    fn heads(&self) -> impl Iterator<Item = (String, &'c Reply)> {
        self.examples()
            .filter_map(|(name, exchange)| Some((name, exchange.head()?)))
            .filter(|(_, reply)| matches!(reply.status.as_u16(), 200 | 204))
    }

    /// One opinion of several answers: the worst, and how many more there are of it.
    fn over(&self, opinions: impl Iterator<Item = (String, Opinion)>) -> Opinion {
        let mut opinions: Vec<_> = opinions.collect();
        let Some(worst) = opinions.iter().map(|(_, opinion)| opinion.0).max() else {
            return Opinion::skipped("no example was answered with a fragment");
        };
        opinions.retain(|(_, opinion)| opinion.0 == worst);
        let more = opinions.len() - 1;
        let (name, Opinion(_, message)) = opinions.swap_remove(0);
        let several = self.subject.examples.len() > 1;
        Opinion(
            worst,
            match (worst, more) {
                (Verdict::Passed | Verdict::Skipped, _) => message,
                _ if !several => message,
                (_, 0) => format!("{name}: {message}"),
                (_, 1) => format!("{name}, and one more: {message}"),
                (_, more) => format!("{name}, and {more} more: {message}"),
            },
        )
    }
}

/// What was found about every rule, in their order.
#[must_use]
pub fn judge(subject: &Subject, exchanges: &[Exchange]) -> Vec<Finding> {
    let case = Case { subject, exchanges };
    let silent = exchanges.iter().all(|exchange| exchange.reply.is_err());
    let late = exchanges.iter().any(|exchange| exchange.reply.as_ref().err() == Some(&Silence::Late));
    Rule::ALL
        .iter()
        .map(|rule| {
            let Opinion(verdict, message) = match rule {
                Rule::Example => answers::example(&case),
                _ if subject.examples.is_empty() => Opinion::skipped("nothing could be asked"),
                Rule::Reachable => answers::reachable(&case),
                Rule::InTime if late || !silent => answers::in_time(&case),
                _ if silent => Opinion::skipped("nothing was answered"),
                rule => opinion(*rule, &case),
            };
            let message = if message.is_empty() { rule.title().to_owned() } else { message };
            Finding { rule: *rule, verdict, message }
        })
        .collect()
}

fn opinion(rule: Rule, case: &Case<'_>) -> Opinion {
    match rule {
        Rule::Example => answers::example(case),
        Rule::Reachable => answers::reachable(case),
        Rule::InTime => answers::in_time(case),
        Rule::Status => answers::status(case),
        Rule::ContentType => answers::content_type(case),
        Rule::Charset => answers::charset(case),
        Rule::Complete => answers::complete(case),
        Rule::Size => answers::size(case),
        Rule::Coding => answers::coding(case),
        Rule::NotUnasked304 => caching::not_unasked_304(case),
        Rule::Cookies => headers::cookies(case),
        Rule::CacheControl => caching::cache_control(case),
        Rule::Freshness => caching::freshness(case),
        Rule::Vary => headers::vary(case),
        Rule::Validation => caching::validation(case),
        Rule::Context => repeats::context(case),
        Rule::SurrogateKeys => headers::surrogate_keys(case),
        Rule::Links => headers::links(case),
        Rule::Balanced => html::balanced(case),
        Rule::Composes => html::composes(case),
        Rule::Esi => html::esi(case),
        Rule::Deprecation => headers::deprecation(case),
        Rule::BadParameter => repeats::bad_parameter(case),
        Rule::Problem => repeats::problem(case),
        Rule::Together => repeats::together(case),
        Rule::KeepAlive => repeats::keep_alive(case),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, HeaderName, StatusCode};

    use super::exchange::BodyFault;
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

    fn reply(status: u16, pairs: &[(&'static str, &'static str)], body: &'static [u8]) -> Reply {
        let pairs = pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value")));
        let status = StatusCode::from_u16(status).expect("a status");
        Reply { status, headers: pairs.collect(), closes: false, body: Ok(Bytes::from_static(body)) }
    }

    /// The same answer to all that is asked alone.
    fn answered(reply: &Reply) -> Vec<Exchange> {
        [Purpose::Opening, Purpose::Example(0), Purpose::Again, Purpose::After]
            .map(|purpose| Exchange { purpose, took: Duration::from_millis(1), reply: Ok(reply.clone()) })
            .into()
    }

    fn failed(exchanges: &[Exchange]) -> Vec<&'static str> {
        let findings = judge(&subject(), exchanges);
        assert_eq!(findings.len(), Rule::ALL.len());
        let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Failed);
        failed.map(|finding| finding.rule.id()).collect()
    }

    const HTML: (&str, &str) = ("content-type", "text/html");

    #[test]
    fn what_the_compositor_refuses_breaks_a_rule_and_what_it_takes_breaks_none() {
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
            let reply = reply(status, &pairs, body);
            assert_eq!(failed(&answered(&reply)), Vec::from_iter(rule), "{status} {pairs:?}");
            let headers: HeaderMap = reply.headers.clone();
            let taken = match classify_head(reply.status, &headers, FetchKind::Fragment, false) {
                Ok(HeadClass::Read(form)) => classify_body(form, Bytes::from_static(body)).is_ok(),
                Ok(_) => true,
                Err(_) => false,
            };
            assert_eq!(taken, rule.is_none(), "{status} {pairs:?}");
        }
    }

    #[test]
    fn each_fault_of_a_body_has_one_rule() {
        for (fault, rule) in [
            (BodyFault::CutShort("x".to_owned()), "complete"),
            (BodyFault::Stalled, "in-time"),
            (BodyFault::TooLarge(1), "size"),
            (BodyFault::UnknownCoding("x".to_owned()), "coding"),
            (BodyFault::Undecodable("br".to_owned(), "x".to_owned()), "coding"),
        ] {
            let reply = Reply { body: Err(fault), ..reply(200, &[HTML], b"") };
            assert_eq!(failed(&answered(&reply)), [rule]);
        }
    }

    #[test]
    fn of_silence_nothing_is_told_but_that_it_is_one() {
        for (silence, rule) in [
            (Silence::Unreachable("x".to_owned()), "reachable"),
            (Silence::NotHttp("x".to_owned()), "reachable"),
            (Silence::Late, "in-time"),
        ] {
            let opening = Exchange { purpose: Purpose::Opening, took: Duration::ZERO, reply: Err(silence) };
            assert_eq!(failed(&[opening]), [rule]);
        }
    }
}
