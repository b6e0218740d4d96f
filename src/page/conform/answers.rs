//! The rules about one answer: that it comes, in time, whole, as HTML.
//! An empty 200 is nothing to show, and needs no type.

use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, header};

use crate::page::http::fields::MediaType;

use super::exchange::{BodyFault, Exchange, Purpose, Reply, Silence};
use super::fields::{clip, shown};
use super::{Case, Opinion, Verdict};

pub(super) fn example(case: &Case<'_>) -> Opinion {
    let subject = case.subject;
    match (&subject.manifest, subject.examples.len()) {
        (None, _) => Opinion::skipped("nothing is declared of a bare URL"),
        (Some(_), 0) => Opinion::failed("no example gives the parameters that a request needs"),
        (Some(manifest), count) => {
            let refused = subject.examples.iter().find_map(|example| example.check(&manifest.params).err());
            match refused {
                Some(refusal) => Opinion::failed(clip(&format!("the manifest does not take the request: {refusal}"))),
                None if manifest.examples.is_empty() => Opinion::passed("none is declared, and none is needed"),
                None if count == 1 => Opinion::passed("asked with 1 example"),
                None => Opinion::passed(format!("asked with {count} examples")),
            }
        }
    }
}

pub(super) fn reachable(case: &Case<'_>) -> Opinion {
    let broken = |exchange: &Exchange| match &exchange.reply {
        Err(silence @ (Silence::Unreachable(_) | Silence::NotHttp(_))) => Some(clip(&silence.to_string())),
        _ => None,
    };
    // Requests of many at once have a rule of their own, and so has a connection that is used again.
    let alone = |purpose: &Purpose| !matches!(purpose, Purpose::Together | Purpose::KeptOpen);
    match case.all(alone).find_map(broken) {
        Some(why) => Opinion::failed(why),
        None => Opinion::passed(""),
    }
}

pub(super) fn in_time(case: &Case<'_>) -> Opinion {
    let timeout = case.subject.timeout;
    let late = |exchange: &Exchange| {
        let never = matches!(exchange.reply, Err(Silence::Late))
            || exchange.head().is_some_and(|reply| reply.body == Err(BodyFault::Stalled));
        if never {
            return Some(format!("no whole answer after {}, where {} are allowed", time(exchange.took), time(timeout)));
        }
        let over = exchange.took > timeout && exchange.purpose != Purpose::Opening;
        over.then(|| format!("a whole answer after {}, where {} are allowed", time(exchange.took), time(timeout)))
    };
    let asked =
        |purpose: &Purpose| matches!(purpose, Purpose::Opening | Purpose::Example(_) | Purpose::Again | Purpose::After);
    if let Some(late) = case.all(asked).find_map(late) {
        return Opinion::failed(late);
    }
    match case.examples().map(|(_, exchange)| exchange.took).max() {
        Some(longest) => Opinion::passed(format!("{} at most, of {}", time(longest), time(timeout))),
        None => Opinion::skipped("no example was asked for"),
    }
}

fn time(time: Duration) -> String {
    match time.as_millis() {
        0 => "less than 1 ms".to_owned(),
        1..=9_999 => format!("{} ms", time.as_millis()),
        _ => format!("{} s", time.as_secs()),
    }
}

pub(super) fn status(case: &Case<'_>) -> Opinion {
    let answered = case.examples().filter_map(|(name, exchange)| Some((name, exchange.head()?)));
    let opinions = answered.map(|(name, reply)| {
        let status = reply.status;
        let opinion = match status.as_u16() {
            200 | 204 => Opinion::passed(status.as_str()),
            304 => Opinion::skipped("304 is told below"),
            404 | 410 => Opinion::failed(format!("{status}: there is no fragment")),
            300..=399 => match reply.headers.get(header::LOCATION) {
                Some(location) => Opinion::failed(format!("{status} to {}, where nobody goes", shown(location))),
                None => Opinion::failed(format!("{status}, which is never followed")),
            },
            _ => Opinion::failed(format!("{status}, which is a failure")),
        };
        (name, opinion)
    });
    case.over(opinions)
}

/// Heads of answers that hold a fragment, as far as is known of their bodies.
fn fragments<'c>(case: &Case<'c>) -> impl Iterator<Item = (String, &'c Reply)> {
    case.heads().filter(|(_, reply)| reply.status == StatusCode::OK && !reply.body.as_ref().is_ok_and(Bytes::is_empty))
}

pub(super) fn content_type(case: &Case<'_>) -> Opinion {
    case.over(fragments(case).map(|(name, reply)| {
        let opinion = match (reply.headers.get(header::CONTENT_TYPE), MediaType::of(&reply.headers)) {
            (None, _) => Opinion::failed("it has no Content-Type"),
            (Some(value), Some(media_type)) if media_type.kind == "text/html" => Opinion::passed(shown(value)),
            (Some(value), _) => Opinion::failed(format!("it says `{}`", shown(value))),
        };
        (name, opinion)
    }))
}

pub(super) fn charset(case: &Case<'_>) -> Opinion {
    case.over(fragments(case).map(|(name, reply)| (name, charset_of(reply))))
}

fn charset_of(reply: &Reply) -> Opinion {
    let Ok(body) = &reply.body else { return Opinion::skipped("no body came whole") };
    let media_type = MediaType::of(&reply.headers);
    let label = media_type.as_ref().and_then(MediaType::charset);
    let Some(charset) =
        label.map_or(Some(encoding_rs::UTF_8), |label| encoding_rs::Encoding::for_label(label.as_bytes()))
    else {
        return Opinion::failed(clip(&format!("nobody knows the charset `{}`", label.unwrap_or_default())));
    };
    if charset == encoding_rs::UTF_8 {
        return match std::str::from_utf8(body) {
            Ok(_) => {
                Opinion::passed(if label.is_some() { "UTF-8" } else { "UTF-8, which is meant where none is named" })
            }
            Err(error) => Opinion::failed(format!("byte {} of the body is not UTF-8", error.valid_up_to() + 1)),
        };
    }
    match charset.decode_without_bom_handling(body) {
        (_, true) => Opinion::failed(format!("the body is not {}", charset.name())),
        (_, false) => Opinion::passed(format!("{}, which is converted to UTF-8", charset.name())),
    }
}

pub(super) fn complete(case: &Case<'_>) -> Opinion {
    case.over(fragments(case).map(|(name, reply)| {
        let told =
            [header::CONTENT_LENGTH, header::TRANSFER_ENCODING].iter().any(|name| reply.headers.contains_key(name));
        let opinion = match &reply.body {
            Err(fault @ BodyFault::CutShort(_)) => Opinion::failed(clip(&fault.to_string())),
            Err(BodyFault::Stalled) => Opinion::skipped("no body came whole"),
            _ if reply.closes && !told => Opinion::advice(
                "only the end of the connection ends it: one that broke cannot be told from one that is whole",
            ),
            _ => Opinion::passed(""),
        };
        (name, opinion)
    }))
}

pub(super) fn size(case: &Case<'_>) -> Opinion {
    let limit = case.subject.max_bytes;
    case.over(fragments(case).map(|(name, reply)| {
        let opinion = match &reply.body {
            Err(fault @ BodyFault::TooLarge(_)) => Opinion::failed(fault.to_string()),
            Err(_) => Opinion::skipped("no body came whole"),
            Ok(body) => Opinion::passed(format!("{} bytes, of {limit}", body.len())),
        };
        (name, opinion)
    }))
}

pub(super) fn coding(case: &Case<'_>) -> Opinion {
    let coding = |reply: &Reply| {
        let coding = reply.headers.get(header::CONTENT_ENCODING).filter(|coding| !coding.is_empty())?;
        (!coding.as_bytes().eq_ignore_ascii_case(b"identity")).then(|| shown(coding))
    };
    let offered = case.over(fragments(case).map(|(name, reply)| {
        let opinion = match &reply.body {
            Err(fault @ (BodyFault::UnknownCoding(_) | BodyFault::Undecodable(..))) => {
                Opinion::failed(clip(&fault.to_string()))
            }
            _ => Opinion::passed(coding(reply).unwrap_or_else(|| "not compressed".to_owned())),
        };
        (name, opinion)
    }));
    if offered.0 == Verdict::Failed {
        return offered;
    }
    let unwanted = case.all(|purpose| *purpose == Purpose::Identity).find_map(|exchange| coding(exchange.head()?));
    match unwanted {
        Some(coding) => Opinion::failed(format!("it is coded as `{coding}` although only `identity` was accepted")),
        None => offered,
    }
}
