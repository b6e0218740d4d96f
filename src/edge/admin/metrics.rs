//! `/metrics`: OpenMetrics for clients that prefer it, otherwise the text format 0.0.4 of Prometheus.
//! Both come from the same OpenMetrics text, which is converted line by line; a line of an unknown form stays as it is.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use axum::response::{IntoResponse, Response};

use crate::page::http::fields;

use super::Admin;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn metrics(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Response {
    admin.compositor.flush_counters();
    let openmetrics = (admin.metrics)();
    let (media_type, text) =
        if prefers_openmetrics(&headers) { (OPENMETRICS, openmetrics) } else { (TEXT, text_format(&openmetrics)) };
    ([(CONTENT_TYPE, media_type), (VARY, "accept")], text).into_response()
}

/// Whether a client accepts OpenMetrics, and no less than plain text (RFC 9110, 12.5.1).
fn prefers_openmetrics(headers: &HeaderMap) -> bool {
    let quality = |wanted: &str| {
        let qualities = fields::members(headers, &ACCEPT).filter_map(|member| {
            let mut parts = member.split(';').map(str::trim);
            let is_wanted = parts.next()?.eq_ignore_ascii_case(wanted);
            let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            is_wanted.then(|| quality.map_or(fields::MAX_QUALITY, |text| fields::quality(text).unwrap_or(0)))
        });
        qualities.max().unwrap_or(0)
    };
    let openmetrics = quality("application/openmetrics-text");
    openmetrics > 0 && openmetrics >= quality("text/plain")
}

/// Converts OpenMetrics to the text format 0.0.4. There a counter is named like its samples, with `_total`, and there are neither
/// exemplars, units nor an end mark.
fn text_format(openmetrics: &str) -> String {
    let counters: BTreeSet<&str> =
        openmetrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        let described = line.strip_prefix("# ").and_then(|rest| {
            let (what, rest) = rest.split_once(' ')?;
            let (name, rest) = rest.split_once(' ')?;
            Some((what, name, rest))
        });
        match described {
            Some(("UNIT", ..)) => continue,
            Some((what, name, rest)) if counters.contains(name) => {
                text.push_str(&format!("# {what} {name}_total {rest}"));
            }
            None if line == "# EOF" => continue,
            None if !line.starts_with('#') => text.push_str(line.split_once(" # {").map_or(line, |(sample, _)| sample)),
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_like_their_samples_in_the_text_format() {
        let openmetrics = "# HELP a_parts Parts of pages.\n# TYPE a_parts counter\na_parts_total{x=\"1\"} 5\n\
                           # HELP a_seconds Seconds.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
                           a_seconds_sum 1.5\na_seconds_count 2\n\
                           a_seconds_bucket{le=\"0.5\"} 1 # {trace_id=\"ab\"} 0.25\na_seconds_bucket{le=\"+Inf\"} 2\n\
                           # HELP a_bytes Bytes.\n# TYPE a_bytes gauge\na_bytes 7\n# EOF\n";
        let text = "# HELP a_parts_total Parts of pages.\n# TYPE a_parts_total counter\na_parts_total{x=\"1\"} 5\n\
                    # HELP a_seconds Seconds.\n# TYPE a_seconds histogram\n\
                    a_seconds_sum 1.5\na_seconds_count 2\n\
                    a_seconds_bucket{le=\"0.5\"} 1\na_seconds_bucket{le=\"+Inf\"} 2\n\
                    # HELP a_bytes Bytes.\n# TYPE a_bytes gauge\na_bytes 7\n";
        assert_eq!(text_format(openmetrics), text);
    }

    #[test]
    fn openmetrics_is_for_those_who_prefer_it() {
        for (accept, openmetrics) in [
            ("application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", true),
            ("application/openmetrics-text", true),
            ("text/plain;version=0.0.4;q=0.9,application/openmetrics-text;q=0.5", false),
            ("application/openmetrics-text;q=0", false),
            ("*/*", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().expect("a value"))]);
            assert_eq!(prefers_openmetrics(&headers), openmetrics, "{accept}");
        }
    }
}
