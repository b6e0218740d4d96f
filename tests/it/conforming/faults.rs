//! Services that keep the contract but for one thing, and the one rule that each breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Answer, DECLARED, good, held, site};
use crate::support::service::{Asked, RawService};

/// A service that keeps the contract but for one thing breaks this rule and no other.
async fn breaks(
    rule: &'static str,
    said: &'static str,
    manifest: &'static str,
    fault: impl Fn(&Asked, &mut Answer) + Send + Sync + 'static,
) {
    let service = RawService::answering(move |asked| {
        let mut answer = good(asked);
        fault(asked, &mut answer);
        Some(answer.bytes())
    })
    .await;
    let manifest = if manifest.contains("params") { manifest.to_owned() } else { format!("{manifest}{DECLARED}") };
    let (failed, code) = held(&site(service.address, &manifest), "a", "failed").await;
    let rules: Vec<_> = failed.iter().map(|(rule, _)| rule.as_str()).collect();
    assert_eq!(rules, [rule], "{failed:?}, not `{said}`");
    assert!(failed[0].1.contains(said), "{rule}: {}, not `{said}`", failed[0].1);
    assert_eq!(code, 1);
}

/// Changes an answer that is a fragment, and leaves all others as they are.
fn fragment(change: impl Fn(&mut Answer) + Send + Sync + 'static) -> impl Fn(&Asked, &mut Answer) + Send + Sync {
    move |_, answer| {
        if answer.status == 200 {
            change(answer);
        }
    }
}

fn header(name: &'static str, value: &'static str) -> impl Fn(&Asked, &mut Answer) + Send + Sync {
    fragment(move |answer| answer.set(name, value))
}

fn body(text: &'static [u8]) -> impl Fn(&Asked, &mut Answer) + Send + Sync {
    fragment(move |answer| answer.body = text.to_vec())
}

#[tokio::test]
async fn each_fault_of_an_answer_is_caught_by_its_rule() {
    breaks("status", "500", "", fragment(|answer| answer.status = 500)).await;
    breaks(
        "status",
        "302 Found to /b",
        "",
        fragment(|answer| {
            answer.status = 302;
            answer.set("Location", "/b");
        }),
    )
    .await;
    breaks("status", "404", "", fragment(|answer| answer.status = 404)).await;
    breaks("content-type", "text/plain", "", header("Content-Type", "text/plain")).await;
    breaks("content-type", "no Content-Type", "", fragment(|answer| answer.remove("Content-Type"))).await;
    breaks("charset", "byte 4 of the body is not UTF-8", "", body(b"<p>\xff")).await;
    breaks("charset", "klingon", "", header("Content-Type", "text/html; charset=klingon")).await;
    breaks("complete", "cut short", "", header("Content-Length", "4000")).await;
    breaks(
        "complete",
        "cut short",
        "",
        fragment(|answer| {
            answer.set("Content-Length", "-");
            answer.set("Transfer-Encoding", "chunked");
            answer.body = b"9\r\ncut".to_vec();
        }),
    )
    .await;
    breaks("size", "more than 20 bytes", "[limits]\ntimeout = \"20s\"\nmax_bytes = \"20B\"\n", |_, _| {}).await;
    breaks("coding", "says `gzip` and is not", "", header("Content-Encoding", "gzip")).await;
    breaks("coding", "`deflate`, which nobody undoes", "", header("Content-Encoding", "deflate")).await;
    breaks(
        "coding",
        "only `identity` was accepted",
        "",
        fragment(|answer| {
            answer.set("Content-Encoding", "gzip");
            answer.body = GZIPPED.to_vec();
        }),
    )
    .await;
}

/// `<p>x`, by gzip.
const GZIPPED: [u8; 24] = [31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 179, 41, 176, 171, 0, 0, 38, 18, 83, 208, 4, 0, 0, 0];

#[tokio::test]
async fn each_fault_of_caching_is_caught_by_its_rule() {
    breaks(
        "not-unasked-304",
        "304",
        "",
        fragment(|answer| {
            answer.status = 304;
            answer.body.clear();
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
    breaks("cache-control", "no number of seconds", "", header("Cache-Control", "max-age=-1")).await;
    breaks(
        "vary",
        "`accept-language`, which is not declared",
        "context = [\"region\"]\n",
        header("Vary", "Fragment-Region, Accept-Language"),
    )
    .await;
    breaks("vary", "never kept", "", header("Vary", "*")).await;
    breaks("validation", "not in double quotes", "", header("ETag", "v1")).await;
    breaks("validation", "answered with 200, not 304", "", |asked, answer| {
        if answer.status == 304 {
            *answer = good(&Asked::clone(asked).without("if-none-match"));
        }
    })
    .await;
    breaks("validation", "without the ETag", "", |_, answer| {
        if answer.status == 304 {
            answer.remove("ETag");
        }
    })
    .await;
    breaks("validation", "a tag that it never gave", "", |asked, answer| {
        if answer.status == 200 && asked.header("if-none-match").is_some() {
            answer.status = 304;
            answer.body.clear();
        }
    })
    .await;
    for name in ["Accept-Language", "User-Agent", "Cookie", "Referer", "X-Forwarded-For"] {
        let lower = name.to_ascii_lowercase();
        breaks("context", "which it does not declare", "", move |asked, answer| {
            let own = asked.header(&lower).is_none_or(|value| value.starts_with("pasteup/"));
            if answer.status == 200 && !own {
                answer.body = b"<p>you!".to_vec();
            }
        })
        .await;
    }
}

#[tokio::test]
async fn each_fault_of_headers_and_html_is_caught_by_its_rule() {
    breaks(
        "surrogate-keys",
        "65 keys",
        "",
        fragment(|answer| {
            answer.set("Surrogate-Key", (0..65).map(|key| format!("k{key}")).collect::<Vec<_>>().join(" "));
        }),
    )
    .await;
    breaks("links", "is no link", "", header("Link", "/weather.css; rel=stylesheet")).await;
    breaks("balanced", "`<b>` is not closed before `</p>` (line 2, column 4)", "", body(b"\n<p><b>x</p>")).await;
    breaks("balanced", "frame", "", body(b"<body><p>x")).await;
    breaks(
        "composes",
        "`icon`, which it does not declare",
        "composes = [\"map\"]\n",
        body(b"<fragment name=map /><fragment name=icon />"),
    )
    .await;
    breaks("esi", "without declaring it", "", header("Surrogate-Control", "content=\"ESI/1.0\"")).await;
    breaks("deprecation", "`deprecation: true`", "", header("Deprecation", "true")).await;
    breaks("deprecation", "no date of HTTP", "", header("Sunset", "next year")).await;
}

#[tokio::test]
async fn each_fault_of_several_requests_is_caught_by_its_rule() {
    breaks("bad-parameter", "is answered with 200", "", |_, answer| {
        if answer.status == 400 {
            answer.status = 200;
            answer.set("Content-Type", "text/html");
        }
    })
    .await;
    breaks(
        "bad-parameter",
        "a request without `city`, which is required, is answered with 500",
        "",
        |asked, answer| {
            if asked.param("city").is_none() {
                answer.status = 500;
            }
        },
    )
    .await;
    // The request without `city` is the last one that comes alone.
    let busy = Arc::new(AtomicUsize::new(0));
    breaks("together", "another answer than one alone", "", move |asked, answer| {
        let alone = asked.param("city").is_none();
        if (alone || busy.load(Ordering::SeqCst) > 0) && busy.fetch_add(1, Ordering::SeqCst) == 5 {
            answer.status = 503;
        }
    })
    .await;
    breaks("keep-alive", "without having said so", "", |_, answer| answer.set("Connection", "-")).await;
}
