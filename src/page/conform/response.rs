//! The rules about one response: it arrives, in time and completely, as HTML.
//! A 200 with an empty body means that there is nothing to show; it needs no content type.

use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, header};

use crate::page::http::coding::ContentCoding;
use crate::page::http::fields::MediaType;

use super::exchange::{BodyError, Exchange, NoResponse, Purpose, RecordedResponse};
use super::fields::{clip, shown};
use super::{Assessment, Recording, Verdict};

pub(super) fn example(recording: &Recording<'_>) -> Assessment {
    let subject = recording.subject;
    match (&subject.manifest, subject.examples.len()) {
        (None, _) => Assessment::skipped("a bare URL declares nothing"),
        (Some(_), 0) => Assessment::failed("no example has the required parameters"),
        (Some(manifest), count) => {
            let refused = subject.examples.iter().find_map(|example| example.check(&manifest.params).err());
            match refused {
                Some(error) => Assessment::failed(clip(&format!("the manifest refuses the example: {error}"))),
                None if manifest.examples.is_empty() => Assessment::passed("no example declared, and none needed"),
                None if count == 1 => Assessment::passed("1 example"),
                None => Assessment::passed(format!("{count} examples")),
            }
        }
    }
}

pub(super) fn reachable(recording: &Recording<'_>) -> Assessment {
    let failure = |exchange: &Exchange| match &exchange.response {
        Err(error @ (NoResponse::Unreachable(_) | NoResponse::NotHttp(_))) => Some(clip(&error.to_string())),
        _ => None,
    };
    // Concurrent requests and reused connections have rules of their own.
    let is_single = |purpose: &Purpose| !matches!(purpose, Purpose::Concurrent | Purpose::Reused);
    match recording.all(is_single).find_map(failure) {
        Some(failure) => Assessment::failed(failure),
        None => Assessment::passed(""),
    }
}

pub(super) fn in_time(recording: &Recording<'_>) -> Assessment {
    let timeout = recording.subject.timeout;
    let too_late = |exchange: &Exchange| {
        let is_incomplete = matches!(exchange.response, Err(NoResponse::Late))
            || exchange.head().is_some_and(|response| response.body == Err(BodyError::Stalled));
        if is_incomplete {
            return Some(format!("no complete response after {} (limit {})", time(exchange.took), time(timeout)));
        }
        let is_late = exchange.took > timeout && exchange.purpose != Purpose::Probe;
        is_late.then(|| format!("the complete response took {} (limit {})", time(exchange.took), time(timeout)))
    };
    let is_timed = |purpose: &Purpose| {
        matches!(purpose, Purpose::Probe | Purpose::Example(_) | Purpose::Repeat | Purpose::LastRepeat)
    };
    if let Some(message) = recording.all(is_timed).find_map(too_late) {
        return Assessment::failed(message);
    }
    match recording.examples().map(|(_, exchange)| exchange.took).max() {
        Some(longest) => Assessment::passed(format!("{} at most (limit {})", time(longest), time(timeout))),
        None => Assessment::skipped("no example was requested"),
    }
}

fn time(time: Duration) -> String {
    match time.as_millis() {
        0 => "less than 1 ms".to_owned(),
        1..=9_999 => format!("{} ms", time.as_millis()),
        _ => format!("{} s", time.as_secs()),
    }
}

pub(super) fn status(recording: &Recording<'_>) -> Assessment {
    let responses = recording.examples().filter_map(|(name, exchange)| Some((name, exchange.head()?)));
    let assessments = responses.map(|(name, response)| {
        let status = response.status;
        let assessment = match status.as_u16() {
            200 | 204 => Assessment::passed(status.as_str()),
            304 => Assessment::skipped("304 is reported below"),
            404 | 410 => Assessment::failed(format!("{status}: there is no fragment")),
            300..=399 => match response.headers.get(header::LOCATION) {
                Some(location) => {
                    Assessment::failed(format!("{status} to {}; redirects are not followed", shown(location)))
                }
                None => Assessment::failed(format!("{status}; redirects are not followed")),
            },
            _ => Assessment::failed(format!("{status} counts as a failure")),
        };
        (name, assessment)
    });
    recording.worst(assessments)
}

/// The responses to examples that are a fragment, unless the body is known to be empty.
fn fragments<'r>(recording: &Recording<'r>) -> impl Iterator<Item = (String, &'r RecordedResponse)> {
    recording
        .heads()
        .filter(|(_, response)| response.status == StatusCode::OK && !response.body.as_ref().is_ok_and(Bytes::is_empty))
}

pub(super) fn content_type(recording: &Recording<'_>) -> Assessment {
    recording.worst(fragments(recording).map(|(name, response)| {
        let assessment = match (response.headers.get(header::CONTENT_TYPE), MediaType::of(&response.headers)) {
            (None, _) => Assessment::failed("no Content-Type header"),
            (Some(value), Some(media_type)) if media_type.kind == "text/html" => Assessment::passed(shown(value)),
            (Some(value), _) => Assessment::failed(format!("the Content-Type is `{}`", shown(value))),
        };
        (name, assessment)
    }))
}

pub(super) fn charset(recording: &Recording<'_>) -> Assessment {
    recording.worst(fragments(recording).map(|(name, response)| (name, charset_of(response))))
}

fn charset_of(response: &RecordedResponse) -> Assessment {
    let Ok(body) = &response.body else { return Assessment::skipped("no complete body was received") };
    let media_type = MediaType::of(&response.headers);
    let label = media_type.as_ref().and_then(MediaType::charset);
    let Some(charset) =
        label.map_or(Some(encoding_rs::UTF_8), |label| encoding_rs::Encoding::for_label(label.as_bytes()))
    else {
        return Assessment::failed(clip(&format!("unknown charset `{}`", label.unwrap_or_default())));
    };
    if charset == encoding_rs::UTF_8 {
        return match std::str::from_utf8(body) {
            Ok(_) => Assessment::passed(if label.is_some() { "UTF-8" } else { "UTF-8 (the default)" }),
            Err(error) => Assessment::failed(format!("byte {} of the body is not UTF-8", error.valid_up_to() + 1)),
        };
    }
    match charset.decode_without_bom_handling(body) {
        (_, true) => Assessment::failed(format!("the body is not {}", charset.name())),
        (_, false) => Assessment::passed(format!("{}, converted to UTF-8", charset.name())),
    }
}

pub(super) fn complete(recording: &Recording<'_>) -> Assessment {
    recording.worst(fragments(recording).map(|(name, response)| {
        let has_length =
            [header::CONTENT_LENGTH, header::TRANSFER_ENCODING].iter().any(|name| response.headers.contains_key(name));
        let assessment = match &response.body {
            Err(error @ BodyError::CutShort(_)) => Assessment::failed(clip(&error.to_string())),
            Err(BodyError::Stalled) => Assessment::skipped("no complete body was received"),
            _ if response.closes && !has_length => Assessment::advice(
                "the body ends when the connection closes, so a broken connection looks like a complete response",
            ),
            _ => Assessment::passed(""),
        };
        (name, assessment)
    }))
}

pub(super) fn size(recording: &Recording<'_>) -> Assessment {
    let limit = recording.subject.max_bytes;
    recording.worst(fragments(recording).map(|(name, response)| {
        let assessment = match &response.body {
            Err(error @ BodyError::TooLarge(_)) => Assessment::failed(error.to_string()),
            Err(_) => Assessment::skipped("no complete body was received"),
            Ok(body) => Assessment::passed(format!("{} bytes (limit {limit})", body.len())),
        };
        (name, assessment)
    }))
}

pub(super) fn coding(recording: &Recording<'_>) -> Assessment {
    let coding = |response: &RecordedResponse| match ContentCoding::of(&response.headers) {
        Ok(coding) => coding.map(|coding| coding.as_str().to_owned()),
        Err(codings) => Some(codings),
    };
    let offered = recording.worst(fragments(recording).map(|(name, response)| {
        let assessment = match &response.body {
            Err(error @ (BodyError::UnknownCoding(_) | BodyError::Undecodable(..))) => {
                Assessment::failed(clip(&error.to_string()))
            }
            _ => Assessment::passed(coding(response).unwrap_or_else(|| "not compressed".to_owned())),
        };
        (name, assessment)
    }));
    if offered.0 == Verdict::Failed {
        return offered;
    }
    let identity = |purpose: &Purpose| *purpose == Purpose::Identity;
    match recording.all(identity).find_map(|exchange| coding(exchange.head()?)) {
        Some(coding) => {
            Assessment::failed(format!("compressed with `{coding}`, although only `identity` was accepted"))
        }
        None => offered,
    }
}
