//! The rules that need several requests: undeclared context, invalid parameters, concurrency, reused connections.
//! If equal requests get different responses, rules that compare responses are skipped.

use http::{StatusCode, header};

use super::exchange::{Exchange, Purpose, RecordedResponse};
use super::fields::{clip, shown};
use super::{Assessment, Recording};

/// Whether a request is the unchanged first example, and not sent concurrently with others.
const fn is_plain(purpose: &Purpose) -> bool {
    matches!(purpose, Purpose::Example(0) | Purpose::Repeat | Purpose::LastRepeat)
}

/// The response that all equal requests got. `None`: they got different ones, or none.
fn stable_response<'r>(recording: &Recording<'r>) -> Option<(StatusCode, &'r bytes::Bytes)> {
    let mut responses = recording.all(is_plain).map(Exchange::essence);
    let first = responses.next()??;
    responses.all(|response| response == Some(first)).then_some(first)
}

const UNSTABLE: &str = "equal requests got different responses, so this cannot be checked";

pub(super) fn context(recording: &Recording<'_>) -> Assessment {
    let varied: Vec<_> = recording.all(|purpose| matches!(purpose, Purpose::Undeclared(_))).collect();
    if varied.is_empty() {
        return Assessment::skipped("all headers that would be tried are declared");
    }
    let Some(usual) = stable_response(recording) else { return Assessment::skipped(UNSTABLE) };
    if !usual.0.is_success() {
        return Assessment::skipped("no example returned a fragment");
    }
    let usual_vary = recording.all(is_plain).next().and_then(Exchange::vary);
    let names = |exchanges: &mut dyn Iterator<Item = &&Exchange>| {
        let mut names: Vec<&str> = exchanges.filter_map(|exchange| exchange.undeclared()).collect();
        names.dedup();
        names
    };
    let changes = |exchange: &&&Exchange| exchange.essence() != Some(usual) || exchange.vary() != usual_vary;
    let read = names(&mut varied.iter().filter(changes));
    if read.is_empty() {
        let count = names(&mut varied.iter()).len();
        return Assessment::passed(format!("{count} undeclared headers change nothing"));
    }
    Assessment::failed(format!("the response changes with `{}`, which is not declared", read.join("`, `")))
}

pub(super) fn bad_parameter(recording: &Recording<'_>) -> Assessment {
    let mut count = 0;
    for exchange in recording.all(|purpose| matches!(purpose, Purpose::Refused(..))) {
        let Purpose::Refused(name, value) = &exchange.purpose else { continue };
        let request = match value {
            Some(value) => format!("`{name}={value}`"),
            None => format!("a request without `{name}`, which is required,"),
        };
        match exchange.head() {
            None => return Assessment::failed(clip(&format!("{request} got no response"))),
            Some(response) if response.status.is_client_error() => count += 1,
            Some(response) => {
                return Assessment::failed(clip(&format!("{request} is answered with {}", response.status.as_u16())));
            }
        }
    }
    match count {
        0 if recording.subject.manifest.is_none() => Assessment::skipped("a bare URL declares nothing"),
        0 => Assessment::skipped("no parameter is declared that could be invalid"),
        1 => Assessment::passed("1 invalid request is refused"),
        count => Assessment::passed(format!("{count} invalid requests are refused")),
    }
}

pub(super) fn problem(recording: &Recording<'_>) -> Assessment {
    let failed = |response: &&RecordedResponse| response.status.is_client_error() || response.status.is_server_error();
    let mut failures = recording.all(|_| true).filter_map(Exchange::head).filter(failed).peekable();
    if failures.peek().is_none() {
        return Assessment::skipped("could not provoke an error");
    }
    let media_type =
        |response: &RecordedResponse| response.headers.get(header::CONTENT_TYPE).map(shown).unwrap_or_default();
    let unexplained =
        failures.find(|response| !media_type(response).to_ascii_lowercase().starts_with("application/problem+json"));
    match unexplained.map(|response| (response.status.as_u16(), media_type(response))) {
        None => Assessment::passed("application/problem+json"),
        Some((status, kind)) if kind.is_empty() => {
            Assessment::advice(format!("the {status} does not describe the problem"))
        }
        Some((status, kind)) => Assessment::advice(format!("the {status} is `{kind}`, which is not logged")),
    }
}

pub(super) fn together(recording: &Recording<'_>) -> Assessment {
    let all: Vec<_> = recording.all(|purpose| *purpose == Purpose::Concurrent).collect();
    let Some(first) = all.first() else { return Assessment::skipped("no concurrent requests were sent") };
    if recording.all(is_plain).any(|exchange| exchange.essence().is_none()) {
        return Assessment::skipped("single requests get no complete response either");
    }
    let count = all.len();
    let incomplete = all.iter().filter(|exchange| exchange.essence().is_none()).count();
    if incomplete > 0 {
        return Assessment::failed(format!("{incomplete} of {count} concurrent requests got no complete response"));
    }
    // For example with a short listen backlog: connections beyond it are retried a second later.
    let late = all.iter().filter(|exchange| exchange.took > recording.subject.timeout).count();
    if late > 0 {
        return Assessment::failed(format!("{late} of {count} concurrent requests took longer than the timeout"));
    }
    let expected = stable_response(recording);
    let differs = |exchange: &&&Exchange| match expected {
        Some(expected) => exchange.essence() != Some(expected),
        // If the body changes anyway, only the status is compared.
        None => exchange.head().map(|response| response.status) != first.head().map(|response| response.status),
    };
    match all.iter().filter(differs).count() {
        0 => Assessment::passed(format!("{count} concurrent requests get the same response")),
        other => Assessment::failed(format!(
            "{other} of {count} concurrent requests got a different response from a single request"
        )),
    }
}

pub(super) fn keep_alive(recording: &Recording<'_>) -> Assessment {
    let mut pair = recording.all(|purpose| *purpose == Purpose::Reused);
    let Some(first) = pair.next() else { return Assessment::skipped("this is checked only over plain HTTP") };
    if first.essence().is_none() {
        return Assessment::skipped("the first request of the connection got no complete response");
    }
    match pair.next() {
        None => Assessment::passed("each connection is closed, as announced"),
        Some(second) if second.response.is_ok() => {
            Assessment::passed("a second request on the same connection gets a response")
        }
        Some(_) => Assessment::failed("the connection is closed without an announcement"),
    }
}
