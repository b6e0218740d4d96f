//! Holds what a nanoservice answered against the contract: recorded exchanges in, findings out.
//! What cannot be told is skipped, with the reason; it is never passed in silence.

pub mod rule;

pub mod exchange;
pub mod subject;

mod fields;

mod answers;
mod balance;
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
