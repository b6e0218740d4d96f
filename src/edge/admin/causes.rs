//! Failures in plain words, one cause for all nanoservices and pages that it touches.
//! What libraries and the operating system say about an error is shortened to what an operator can act on.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use crate::engine::statistics::FailureGroup;

/// All failures with one cause.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Cause {
    /// What happened, in plain words.
    pub(super) what: String,
    /// The reason, as logs and metrics have it.
    pub(super) reason: &'static str,
    /// The nanoservices that it touches.
    pub(super) fragments: BTreeSet<String>,
    /// The pages that it touches, as the patterns of their routes.
    pub(super) pages: BTreeSet<String>,
    /// How many parts of pages were affected.
    pub(super) count: u64,
    /// How many of them were affected while a circuit was open, so that nothing was requested.
    pub(super) refused: u64,
    /// When it occurred first and last.
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

/// Groups failures by their cause, the latest first.
pub(super) fn causes(failures: &[FailureGroup]) -> Vec<Cause> {
    let mut causes: Vec<Cause> = Vec::new();
    for failure in failures {
        let what = in_words(failure.reason, &failure.detail);
        let known = causes.iter_mut().find(|cause| cause.reason == failure.reason && cause.what == what);
        let cause = match known {
            Some(known) => known,
            None => {
                causes.push(Cause {
                    what,
                    reason: failure.reason,
                    fragments: BTreeSet::new(),
                    pages: BTreeSet::new(),
                    count: 0,
                    refused: 0,
                    first: failure.first,
                    last: failure.last,
                });
                causes.last_mut().expect("a cause was added above")
            }
        };
        cause.fragments.insert(failure.fragment.to_string());
        cause.pages.extend(failure.pages.iter().cloned());
        cause.count += failure.count;
        cause.refused += failure.refused;
        cause.first = cause.first.min(failure.first);
        cause.last = cause.last.max(failure.last);
    }
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.last));
    causes
}

/// A failure in plain words: what its reason means, and what is known of it.
pub(super) fn in_words(reason: &str, detail: &str) -> String {
    let detail = plain(detail);
    let what = match reason {
        "timeout" => "No complete response in time",
        "budget" => "The page's time was over first",
        "connect" => "No connection",
        "status" => "It answered with an error",
        "incomplete" => "The response was cut short",
        "too-large" => "The response was larger than allowed",
        "not-html" => "The response was not HTML",
        "encoding" => "The response could not be decoded",
        "circuit-open" => "The circuit is open after repeated failures",
        "overloaded" => "Too many requests at once",
        "starting" => "Its program was not ready in time",
        "crashed" => "Its program ended",
        "switched-off" => "Switched off by an operator",
        "depth" => "Fragments are nested too deeply",
        "cycle" => "The fragment would contain itself",
        "too-many" => "The page has too many fragments",
        "not-allowed" => "It does not accept these parameters",
        "unknown" => "It has no endpoint that can be used",
        "condition" => "Its condition does not hold",
        "empty" => "It has nothing to show",
        "gone" => "It has no such fragment",
        "revalidating" => "A stale response, while a new one is fetched",
        _ => "Internal error",
    };
    match (reason, detail.as_str()) {
        (_, "") => what.to_owned(),
        // These say by themselves what happened.
        ("timeout" | "connect" | "status" | "circuit-open" | "overloaded" | "starting", detail) => capitalised(detail),
        (_, detail) => format!("{what}: {detail}"),
    }
}

/// The details of an error without what only a programmer understands.
fn plain(detail: &str) -> String {
    let line = detail.lines().next().unwrap_or_default();
    let without_code = match line.rfind(" (os error ") {
        Some(at) => format!("{}{}", &line[..at], line[at..].split_once(')').map_or("", |(_, rest)| rest)),
        None => line.to_owned(),
    };
    // Of a chain of errors, the last one says why; those before it only repeat that something failed.
    let wrapped = [
        "error sending request",
        "client error (",
        "connection error",
        "error reading a body",
        "request or response body",
    ];
    let mut rest = without_code.as_str();
    while let Some((first, following)) = rest.split_once(": ")
        && wrapped.iter().any(|prefix| first.starts_with(prefix))
    {
        rest = following;
    }
    match rest.trim() {
        "connection closed before message completed" => {
            "the connection was closed before the response was complete".to_owned()
        }
        "end of file before message length reached" => {
            "the connection was closed before the body was complete".to_owned()
        }
        rest => rest.to_owned(),
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::page::source::reason::Reason;

    #[test]
    fn failures_are_told_in_words_and_not_in_debug_texts() {
        for (reason, detail, expected) in [
            ("connect", "connection to 127.0.0.1:9101 refused", "Connection to 127.0.0.1:9101 refused"),
            (
                "connect",
                "client error (SendRequest): connection error: Connection reset by peer (os error 104)",
                "Connection reset by peer",
            ),
            (
                "incomplete",
                "error reading a body from connection: end of file before message length reached",
                "The response was cut short: the connection was closed before the body was complete",
            ),
            ("status", "it answered 503 (Out of stock)", "It answered 503 (Out of stock)"),
            ("timeout", "", "No complete response in time"),
            ("crashed", "exit status 1\nbacktrace", "Its program ended: exit status 1"),
        ] {
            assert_eq!(in_words(reason, detail), expected);
        }
        let internal = in_words(Reason::Internal.as_str(), "");
        let unnamed = Reason::WORDS.iter().filter(|reason| in_words(reason, "") == internal);
        assert_eq!(unnamed.collect::<Vec<_>>(), [&Reason::Internal.as_str()]);
    }

    #[test]
    fn nanoservices_that_fail_for_the_same_cause_are_one_row() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let failure = |name: &str, detail: &str, page: &str, last| FailureGroup {
            fragment: Arc::from(name),
            reason: "connect",
            detail: detail.to_owned(),
            count: 2,
            refused: 1,
            first: at(1),
            last: at(last),
            page: Some(page.to_owned()),
            pages: BTreeSet::from([page.to_owned()]),
        };
        let refused = "connection to 127.0.0.1:9101 refused";
        let failures =
            [failure("a", refused, "/a", 9), failure("b", refused, "/b", 7), failure("c", "another", "/", 8)];
        let causes = causes(&failures);
        assert_eq!(causes.len(), 2);
        assert_eq!(causes[0].fragments, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        assert_eq!(causes[0].pages, BTreeSet::from(["/a".to_owned(), "/b".to_owned()]));
        assert_eq!((causes[0].count, causes[0].refused, causes[0].last), (4, 2, at(9)));
    }
}
