//! The rules that take several requests to see: what changes, what is refused, what is shared.
//! Where two equal requests get two answers, nothing can be told from a third.

use http::{StatusCode, header};

use super::exchange::{Exchange, Purpose, Reply};
use super::fields::{clip, shown};
use super::{Case, Opinion};

/// One request alone, with nothing varied.
const fn plain(purpose: &Purpose) -> bool {
    matches!(purpose, Purpose::Example(0) | Purpose::Again | Purpose::After)
}

/// The answer that all equal requests got. `None` where they got several, or none.
fn steady<'c>(case: &Case<'c>) -> Option<(StatusCode, &'c bytes::Bytes)> {
    let mut answers = case.all(plain).map(Exchange::essence);
    let first = answers.next()??;
    answers.all(|answer| answer == Some(first)).then_some(first)
}

const UNSTEADY: &str = "two equal requests are answered differently, so it cannot be told";

pub(super) fn context(case: &Case<'_>) -> Opinion {
    let disguised: Vec<_> = case.all(|purpose| matches!(purpose, Purpose::Disguise(_))).collect();
    if disguised.is_empty() {
        return Opinion::skipped("all that is varied is declared");
    }
    let Some(usual) = steady(case) else { return Opinion::skipped(UNSTEADY) };
    if !usual.0.is_success() {
        return Opinion::skipped("no example was answered with a fragment");
    }
    let read: Vec<String> = disguised
        .iter()
        .filter(|exchange| exchange.essence() != Some(usual))
        .map(|exchange| match exchange.purpose {
            Purpose::Disguise(name) => format!("`{name}`"),
            _ => String::new(),
        })
        .collect();
    if read.is_empty() {
        let count = disguised.len();
        return Opinion::passed(format!("{count} undeclared headers change nothing"));
    }
    Opinion::failed(format!("its answer changes with {}, which it does not declare", read.join(", ")))
}

pub(super) fn bad_parameter(case: &Case<'_>) -> Opinion {
    let mut count = 0;
    for exchange in case.all(|purpose| matches!(purpose, Purpose::Refused(..))) {
        let Purpose::Refused(name, value) = &exchange.purpose else { continue };
        let asked = match value {
            Some(value) => format!("`{name}={value}`"),
            None => format!("a request without `{name}`, which is required,"),
        };
        match exchange.head() {
            None => return Opinion::failed(clip(&format!("{asked} is not answered"))),
            Some(reply) if reply.status.is_client_error() => count += 1,
            Some(reply) => {
                return Opinion::failed(clip(&format!("{asked} is answered with {}", reply.status.as_u16())));
            }
        }
    }
    match count {
        0 if case.subject.manifest.is_none() => Opinion::skipped("nothing is declared of a bare URL"),
        0 => Opinion::skipped("it declares no parameter that it would refuse"),
        1 => Opinion::passed("1 bad request is refused"),
        count => Opinion::passed(format!("{count} bad requests are refused")),
    }
}

pub(super) fn problem(case: &Case<'_>) -> Opinion {
    let failed = |reply: &&Reply| reply.status.is_client_error() || reply.status.is_server_error();
    let mut failures = case.all(|_| true).filter_map(Exchange::head).filter(failed).peekable();
    if failures.peek().is_none() {
        return Opinion::skipped("nothing failed");
    }
    let said = |reply: &Reply| reply.headers.get(header::CONTENT_TYPE).map(shown).unwrap_or_default();
    let bare = failures.find(|reply| !said(reply).to_ascii_lowercase().starts_with("application/problem+json"));
    match bare.map(|reply| (reply.status.as_u16(), said(reply))) {
        None => Opinion::passed("application/problem+json"),
        Some((status, kind)) if kind.is_empty() => Opinion::advice(format!("its {status} does not say what is wrong")),
        Some((status, kind)) => Opinion::advice(format!("its {status} is `{kind}`, which nobody reads")),
    }
}

pub(super) fn together(case: &Case<'_>) -> Opinion {
    let all: Vec<_> = case.all(|purpose| *purpose == Purpose::Together).collect();
    let Some(first) = all.first() else { return Opinion::skipped("it was not asked for by many at once") };
    if case.all(plain).any(|exchange| exchange.essence().is_none()) {
        return Opinion::skipped("one request alone gets no whole answer either");
    }
    let count = all.len();
    let silent = all.iter().filter(|exchange| exchange.essence().is_none()).count();
    if silent > 0 {
        return Opinion::failed(format!("{silent} of {count} requests at once got no whole answer"));
    }
    // As where a listener's queue is short: connections past it are tried again a second later.
    let late = all.iter().filter(|exchange| exchange.took > case.subject.timeout).count();
    if late > 0 {
        return Opinion::failed(format!("{late} of {count} requests at once were answered past the timeout"));
    }
    let expected = steady(case);
    let differs = |exchange: &&&Exchange| match expected {
        Some(expected) => exchange.essence() != Some(expected),
        // Bodies that change anyway tell nothing; the status does.
        None => exchange.head().map(|reply| reply.status) != first.head().map(|reply| reply.status),
    };
    match all.iter().filter(differs).count() {
        0 => Opinion::passed(format!("{count} at once are answered alike")),
        other => Opinion::failed(format!("{other} of {count} requests at once got another answer than one alone")),
    }
}

pub(super) fn keep_alive(case: &Case<'_>) -> Opinion {
    let mut pair = case.all(|purpose| *purpose == Purpose::KeptOpen);
    let Some(first) = pair.next() else { return Opinion::skipped("it is told over plain HTTP only") };
    if first.essence().is_none() {
        return Opinion::skipped("the first request of a connection got no whole answer");
    }
    match pair.next() {
        None => Opinion::passed("it closes each connection, and says so"),
        Some(second) if second.reply.is_ok() => Opinion::passed("a second request is answered on the same connection"),
        Some(_) => Opinion::failed("it closes the connection without having said so"),
    }
}
