//! Nanoservices that conform except in one point, and the one rule that each breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{DECLARED, Response, conforming, findings, site};
use crate::support::service::{RawService, ReceivedRequest};

/// Checks that a nanoservice that conforms except in one point breaks this rule and no other.
async fn breaks(
    rule: &'static str,
    expected: &'static str,
    manifest: &'static str,
    fault: impl Fn(&ReceivedRequest, &mut Response) + Send + Sync + 'static,
) {
    let service = RawService::responding(move |request| {
        let mut response = conforming(request);
        fault(request, &mut response);
        Some(response.bytes())
    })
    .await;
    let manifest = if manifest.contains("params") { manifest.to_owned() } else { format!("{manifest}{DECLARED}") };
    let (failed, code) = findings(&site(service.address, &manifest), "a", "failed").await;
    let rules: Vec<_> = failed.iter().map(|(rule, _)| rule.as_str()).collect();
    assert_eq!(rules, [rule], "{failed:?}, not `{expected}`");
    assert!(failed[0].1.contains(expected), "{rule}: {}, not `{expected}`", failed[0].1);
    assert_eq!(code, 1);
}

/// Changes responses with a fragment's HTML, and no others.
fn fragment(
    change: impl Fn(&mut Response) + Send + Sync + 'static,
) -> impl Fn(&ReceivedRequest, &mut Response) + Send + Sync {
    move |_, response| {
        if response.status == 200 {
            change(response);
        }
    }
}

fn header(name: &'static str, value: &'static str) -> impl Fn(&ReceivedRequest, &mut Response) + Send + Sync {
    fragment(move |response| response.set(name, value))
}

fn body(text: &'static [u8]) -> impl Fn(&ReceivedRequest, &mut Response) + Send + Sync {
    fragment(move |response| response.body = text.to_vec())
}

#[tokio::test]
async fn each_error_in_a_response_breaks_its_rule() {
    breaks("status", "500", "", fragment(|response| response.status = 500)).await;
    breaks(
        "status",
        "302 Found to /b",
        "",
        fragment(|response| {
            response.status = 302;
            response.set("Location", "/b");
        }),
    )
    .await;
    breaks("status", "404", "", fragment(|response| response.status = 404)).await;
    breaks("content-type", "text/plain", "", header("Content-Type", "text/plain")).await;
    breaks("content-type", "no Content-Type", "", fragment(|response| response.remove("Content-Type"))).await;
    breaks("charset", "byte 4 of the body is not UTF-8", "", body(b"<p>\xff")).await;
    breaks("charset", "klingon", "", header("Content-Type", "text/html; charset=klingon")).await;
    breaks("complete", "cut short", "", header("Content-Length", "4000")).await;
    breaks(
        "complete",
        "cut short",
        "",
        fragment(|response| {
            response.set("Content-Length", "-");
            response.set("Transfer-Encoding", "chunked");
            response.body = b"9\r\ncut".to_vec();
        }),
    )
    .await;
    breaks("size", "more than 20 bytes", "[limits]\ntimeout = \"20s\"\nmax_bytes = \"20B\"\n", |_, _| {}).await;
    breaks("coding", "given as `gzip`, but", "", header("Content-Encoding", "gzip")).await;
    breaks("coding", "`deflate` is not supported", "", header("Content-Encoding", "deflate")).await;
    breaks(
        "coding",
        "only `identity` was accepted",
        "",
        fragment(|response| {
            response.set("Content-Encoding", "gzip");
            response.body = GZIPPED.to_vec();
        }),
    )
    .await;
}

/// `<p>x`, compressed with gzip.
const GZIPPED: [u8; 24] = [31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 179, 41, 176, 171, 0, 0, 38, 18, 83, 208, 4, 0, 0, 0];

#[tokio::test]
async fn each_error_in_caching_breaks_its_rule() {
    breaks(
        "not-unasked-304",
        "304",
        "",
        fragment(|response| {
            response.status = 304;
            response.body.clear();
        }),
    )
    .await;
    breaks(
        "cookies",
        "`session`, which is not declared",
        "cookies = [\"units\"]\n",
        header("Set-Cookie", "session=1; Path=/"),
    )
    .await;
    breaks("cache-control", "`max-age` twice", "", header("Cache-Control", "max-age=60, max-age=30")).await;
    breaks("cache-control", "is not a number of seconds", "", header("Cache-Control", "max-age=-1")).await;
    breaks(
        "vary",
        "`accept-language`, which is not declared",
        "context = [\"region\"]\n",
        header("Vary", "Fragment-Region, Accept-Language"),
    )
    .await;
    breaks("vary", "never cached", "", header("Vary", "*")).await;
    breaks("validation", "not in double quotes", "", header("ETag", "v1")).await;
    breaks("validation", "answered with 200, not 304", "", |request, response| {
        if response.status == 304 {
            *response = conforming(&ReceivedRequest::clone(request).without("if-none-match"));
        }
    })
    .await;
    breaks("validation", "the 304 has no ETag", "", |_, response| {
        if response.status == 304 {
            response.remove("ETag");
        }
    })
    .await;
    breaks("validation", "an ETag that the service never sent", "", |request, response| {
        if response.status == 200 && request.header("if-none-match").is_some() {
            response.status = 304;
            response.body.clear();
        }
    })
    .await;
    for name in [
        "Accept-Language",
        "User-Agent",
        "Cookie",
        "Referer",
        "X-Forwarded-For",
        "Fragment-Device",
        "Fragment-Region",
        "Fragment-Variant",
        "Fragment-Page",
    ] {
        let lower = name.to_ascii_lowercase();
        breaks("context", "which is not declared", "", move |request, response| {
            let own = request.header(&lower).is_none_or(|value| value.starts_with("pasteup/"));
            if response.status == 200 && !own {
                response.body = b"<p>you!".to_vec();
            }
        })
        .await;
    }
    // A service has only some languages, and may tell only caches that it looked at the header.
    breaks("context", "changes with `accept-language`, which", "", |request, response| {
        if response.status == 200 && request.header("accept-language") == Some("de") {
            response.body = b"<p>Schnee".to_vec();
        }
    })
    .await;
    let context = "context = [\"device\"]\n";
    breaks("context", "changes with `fragment-region`, which", context, |request, response| {
        if response.status == 200 && request.header("fragment-region").is_some() {
            response.set("Vary", "Fragment-Device");
        }
    })
    .await;
}

#[tokio::test]
async fn each_error_in_headers_and_html_breaks_its_rule() {
    breaks(
        "surrogate-keys",
        "65 keys",
        "",
        fragment(|response| {
            response.set("Surrogate-Key", (0..65).map(|key| format!("k{key}")).collect::<Vec<_>>().join(" "));
        }),
    )
    .await;
    breaks("links", "is not a valid link", "", header("Link", "/weather.css; rel=stylesheet")).await;
    breaks("balanced", "`<b>` is not closed before `</p>` (line 2, column 4)", "", body(b"\n<p><b>x</p>")).await;
    breaks("balanced", "frame", "", body(b"<body><p>x")).await;
    breaks(
        "composes",
        "`icon`, which is not declared",
        "composes = [\"map\"]\n",
        body(b"<fragment name=map /><fragment name=icon />"),
    )
    .await;
    breaks("esi", "without declaring it", "", header("Surrogate-Control", "content=\"ESI/1.0\"")).await;
    breaks("deprecation", "`deprecation: true`", "", header("Deprecation", "true")).await;
    breaks("deprecation", "is not an HTTP date", "", header("Sunset", "next year")).await;
}

#[tokio::test]
async fn each_error_over_several_requests_breaks_its_rule() {
    breaks("bad-parameter", "is answered with 200", "", |_, response| {
        if response.status == 400 {
            response.status = 200;
            response.set("Content-Type", "text/html");
        }
    })
    .await;
    breaks(
        "bad-parameter",
        "a request without `city`, which is required, is answered with 500",
        "",
        |request, response| {
            if request.param("city").is_none() {
                response.status = 500;
            }
        },
    )
    .await;
    // The request without `city` is the last single request.
    let busy = Arc::new(AtomicUsize::new(0));
    breaks("together", "a different response from a single request", "", move |request, response| {
        let is_last = request.param("city").is_none();
        if (is_last || busy.load(Ordering::SeqCst) > 0) && busy.fetch_add(1, Ordering::SeqCst) == 5 {
            response.status = 503;
        }
    })
    .await;
    breaks("keep-alive", "without an announcement", "", |_, response| response.set("Connection", "-")).await;
}
