//! `pasteup conform`: conforming nanoservices pass every rule, and each error breaks its own rule.

mod faults;
mod guide;

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::process::{TestSite, root, sample};
use crate::support::service::{RawService, ReceivedRequest};

/// The declarations of the nanoservices in these tests.
const DECLARED: &str = "[params.days]\ntype = \"integer\"\nminimum = 1\nmaximum = 7\n\
                        [params.city]\npattern = \"[a-z]+\"\nrequired = true\n\
                        [[examples]]\nname = \"Oslo\"\nparams = { city = \"oslo\" }\n";

/// A response before it is written to the connection.
struct Response {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Response {
    fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
    }

    fn remove(&mut self, name: &str) {
        self.headers.retain(|(known, _)| *known != name);
    }

    /// Writes the response; adds the headers for length and connection if they are missing.
    fn bytes(mut self) -> Vec<u8> {
        for (name, value) in [("Content-Length", self.body.len().to_string()), ("Connection", "close".to_owned())] {
            let bodyless = self.status == 304 && name == "Content-Length";
            if !bodyless && !self.headers.iter().any(|(known, _)| *known == name) {
                self.headers.push((name, value));
            }
        }
        let mut bytes = format!("HTTP/1.1 {} X\r\n", self.status).into_bytes();
        for (name, value) in self.headers.iter().filter(|(_, value)| value != "-") {
            bytes.extend(format!("{name}: {value}\r\n").bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(self.body);
        bytes
    }
}

/// The response of a conforming nanoservice.
fn conforming(request: &ReceivedRequest) -> Response {
    let city = request.param("city").unwrap_or_default();
    let days = request.param("days").map_or(Some(1), |days| days.parse().ok());
    let known = !city.is_empty() && city.bytes().all(|b| b.is_ascii_lowercase());
    if !known || !days.is_some_and(|days: u8| (1..=7).contains(&days)) {
        let headers = vec![("Content-Type", "application/problem+json".to_owned())];
        return Response { status: 400, headers, body: b"{\"title\":\"no\"}".to_vec() };
    }
    let headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Cache-Control", "public, max-age=60, stale-while-revalidate=600"),
        ("ETag", "\"v1\""),
        ("Vary", "Accept-Encoding"),
        ("Surrogate-Key", "weather city-oslo"),
        ("Link", "</weather.css>; rel=stylesheet"),
    ];
    let headers = headers.map(|(name, value)| (name, value.to_owned())).to_vec();
    if request.header("if-none-match") == Some("\"v1\"") {
        return Response { status: 304, headers, body: Vec::new() };
    }
    Response { status: 200, headers, body: "<p>Snow in Tromsø<ul><li>and in Bodø</ul>".into() }
}

/// A site with one nanoservice `a` at an address.
fn site(address: impl std::fmt::Display, manifest: &str) -> TestSite {
    // Tests that are not about time have a long timeout, since the machine may be busy.
    let limits = if manifest.contains("[limits]") { "" } else { "[limits]\ntimeout = \"20s\"\n" };
    let text = format!("name = \"a\"\nversion = \"1.0.0\"\nendpoint = \"http://{address}/a\"\n{manifest}{limits}");
    TestSite::new().file("fragments/a/fragment.toml", &text)
}

/// Rules with this verdict, their messages, and the exit code.
async fn findings(site: &TestSite, service: &str, verdict: &str) -> (Vec<(String, String)>, i32) {
    let output = site.run(&["conform", service, "--format", "json"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let found = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let found: Vec<_> = found
        .filter(|finding| finding["verdict"] == verdict)
        .map(|finding| {
            let text = |key: &str| finding[key].as_str().unwrap().to_owned();
            (text("rule"), text("message"))
        })
        .collect();
    assert!(!text.is_empty(), "no findings: {stderr}");
    (found, output.status.code().unwrap())
}

#[tokio::test]
async fn the_samples_pass_every_rule() {
    for name in ["headlines", "weather", "scores"] {
        let (_process, address) = sample(name, 0).await;
        let manifest = std::fs::read_to_string(root().join("fragments").join(name).join("fragment.toml")).unwrap();
        let own = manifest.lines().find_map(|line| line.strip_prefix("endpoint  = \"http://")?.split_once('/'));
        let (port, _) = own.unwrap();
        // The test is not about time, and the machine may be busy.
        let timeout = manifest.lines().find(|line| line.starts_with("timeout")).unwrap().to_owned();
        let manifest = manifest.replace(port, &address).replace(&timeout, "timeout = \"20s\"");
        let site = TestSite::new().file("fragments/x/fragment.toml", &manifest);
        for verdict in ["failed", "advice", "skipped"] {
            assert_eq!(findings(&site, name, verdict).await, (Vec::new(), 0), "{name}");
        }
    }
}

#[tokio::test]
async fn a_conforming_nanoservice_passes_and_gets_the_documented_requests() {
    let (sender, requests) = std::sync::mpsc::channel();
    let service = RawService::responding(move |request| {
        sender.send(request.clone()).unwrap();
        Some(conforming(request).bytes())
    })
    .await;
    let context =
        "context = [\"locale\", \"region\", \"device\", \"variant\", \"page\", \"cookie:units\", \"header:x-plan\"]\n";
    let site = site(service.address, &format!("{context}{DECLARED}[limits]\ntimeout = \"20s\"\nconcurrency = 3\n"));
    for verdict in ["failed", "advice", "skipped"] {
        assert_eq!(findings(&site, "a", verdict).await, (Vec::new(), 0));
    }
    let requests: Vec<ReceivedRequest> = requests.try_iter().collect();
    for request in &requests {
        for (name, value) in [
            ("accept", "text/html"),
            ("fragment-name", "a"),
            ("fragment-timeout-ms", "20000"),
            ("fragment-region", "GB"),
            ("fragment-device", "desktop"),
            ("fragment-variant", "lead:big"),
            ("fragment-page", "/"),
            ("accept-language", "en"),
            ("x-plan", "1"),
        ] {
            assert_eq!(request.header(name), Some(value), "{name} of {request:?}");
        }
        assert!(request.header("cookie").unwrap().starts_with("units=1"));
        assert_eq!(request.header("traceparent").unwrap().len(), 55);
    }
    assert_eq!(requests[0].header("user-agent"), Some(concat!("pasteup/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(requests[0].header("accept-encoding"), Some("gzip, br, zstd"));
    assert_eq!(requests[0].target, "/a?city=oslo");
    let refused = |city: Option<&str>, days: Option<&str>| {
        let same = |sent: Option<String>, wanted: Option<&str>| sent.as_deref() == wanted;
        requests.iter().any(|request| same(request.param("city"), city) && same(request.param("days"), days))
    };
    assert!(refused(None, None) && refused(Some("not what it takes"), None));
    assert!(refused(Some("oslo"), Some("0")) && refused(Some("oslo"), Some("8")));
}

#[tokio::test]
async fn a_missing_response_breaks_a_rule_and_is_not_a_failed_run() {
    let nobody = site("127.0.0.1:1", DECLARED);
    let (failed, code) = findings(&nobody, "a", "failed").await;
    assert_eq!((failed[0].0.as_str(), failed.len(), code), ("reachable", 1, 1), "{failed:?}");
    assert!(failed[0].1.starts_with("connection to 127.0.0.1:1 refused"), "{failed:?}");
    let output = nobody.run(&["conform", "a"]).await;
    let (text, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(
        !text.contains("skipped") && text.trim_end().ends_with("listens on this address"),
        "nothing follows:\n{text}"
    );
    assert!(stderr.contains("1 failed, 1 passed (1 request)"), "{stderr}");

    let quick = format!("[limits]\ntimeout = \"50ms\"\n{DECLARED}");
    let half = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9\r\n\r\nhalf".to_vec();
    for (rule, expected, service) in [
        ("reachable", "not HTTP", RawService::responding(|_| Some(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec())).await),
        ("in-time", "no complete response after", RawService::responding(|_| None).await),
        ("in-time", "no complete response after", RawService::stalling(half).await),
    ] {
        let (failed, code) = findings(&site(service.address, &quick), "a", "failed").await;
        assert_eq!((failed[0].0.as_str(), failed.len(), code), (rule, 1, 1), "{failed:?}");
        assert!(failed[0].1.contains(expected), "{failed:?}");
    }
}

#[tokio::test]
async fn requests_that_cannot_be_sent_are_reported() {
    let needy = site("127.0.0.1:1", "[params.city]\nrequired = true\n");
    assert_eq!(findings(&needy, "a", "failed").await.0[0].0, "example");
    // With the required parameter it gets further.
    let output = needy.run(&["conform", "a", "--param", "city=oslo"]).await;
    assert!(String::from_utf8(output.stdout).unwrap().contains("failed   reachable"));

    let output = needy.run(&["conform", "b"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("no nanoservice is called `b`: did you mean `a`?"), "{stderr}");
    for wrong in [&["conform", "http://"][..], &["conform", "a", "--param", "city"], &["conform"]] {
        assert_eq!(needy.run(wrong).await.status.code(), Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_bare_url_keeps_its_query_and_is_checked_without_a_manifest() {
    let service = RawService::responding(|request| Some(conforming(request).bytes())).await;
    let url = format!("http://{}/a?city=oslo", service.address);
    let (skipped, code) = findings(&TestSite::new(), &url, "skipped").await;
    let skipped: Vec<_> = skipped.iter().map(|(rule, _)| rule.as_str()).collect();
    assert_eq!((skipped, code), (vec!["example", "balanced", "bad-parameter", "problem"], 0));
}

#[tokio::test]
async fn advice_is_not_a_failure() {
    let service = RawService::responding(|request| {
        let mut response = conforming(request);
        for name in ["Cache-Control", "ETag"] {
            response.remove(name);
        }
        response.set("Link", "</>; rel=canonical");
        response.set("Sunset", "Thu, 31 Dec 2099 23:59:59 GMT");
        if response.status == 400 {
            response.set("Content-Type", "text/html");
        }
        if response.status == 200 {
            response.set("Content-Length", "-");
            response.body = b"<fragment slot=x id=a></fragment>\n<p><b id='wx-1'>x</b></p>".to_vec();
        }
        Some(response.bytes())
    })
    .await;
    let (advice, code) = findings(&site(service.address, DECLARED), "a", "advice").await;
    let rules: Vec<_> = advice.iter().map(|(rule, _)| rule.as_str()).collect();
    assert_eq!(rules, ["complete", "freshness", "validation", "links", "ids", "deprecation", "problem"], "{advice:?}");
    assert_eq!(advice[4].1, "contains `id=\"wx-1\"` (line 2, column 7)");
    assert_eq!(code, 0);
}

#[tokio::test]
async fn a_response_that_always_changes_does_not_break_the_context_rule() {
    let count = AtomicUsize::new(0);
    let service = RawService::responding(move |request| {
        let mut response = conforming(request);
        if response.status == 200 {
            let number = count.fetch_add(1, Ordering::SeqCst);
            response.body = format!("<p>{number}").into();
            response.set("ETag", format!("W/\"{number}\""));
        }
        Some(response.bytes())
    })
    .await;
    let site = site(service.address, DECLARED);
    assert_eq!(findings(&site, "a", "failed").await, (Vec::new(), 0));
    assert_eq!(findings(&site, "a", "skipped").await.0[0].0, "context");
}

#[tokio::test]
async fn the_human_format_has_one_line_per_rule_and_a_fix_below() {
    let service = RawService::responding(|request| {
        let mut response = conforming(request);
        response.set("Content-Type", "text/plain; note=\"<&>\"");
        Some(response.bytes())
    })
    .await;
    let site = site(service.address, DECLARED);
    let output = site.run(&["conform", "a"]).await;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains('\u{1b}'), "NO_COLOR is respected");
    let shown: Vec<&str> =
        text.lines().filter(|line| !line.contains("in-time") && !line.contains(" at http")).collect();
    insta::assert_snapshot!(shown.join("\n"));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("a 1.0.0 breaks the contract: 1 failed, 1 advice, 25 passed"), "{stderr}");

    let output = site.run(&["conform", "a", "--format", "junit"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    let (mut cases, mut failures, mut messages) = (0, 0, Vec::new());
    let mut reader = quick_xml::Reader::from_str(&text);
    loop {
        let event = reader.read_event().unwrap();
        let (quick_xml::events::Event::Start(tag) | quick_xml::events::Event::Empty(tag)) = event else {
            if matches!(event, quick_xml::events::Event::Eof) {
                break;
            }
            continue;
        };
        let attribute = |name: &str| {
            let value = tag.attributes().map(Result::unwrap).find(|a| a.key.as_ref() == name);
            value.map(|value| value.normalized_value(quick_xml::XmlVersion::Explicit1_0).unwrap().into_owned())
        };
        match tag.name().as_ref() {
            "testsuite" => {
                assert_eq!(["name", "tests", "failures"].map(|name| attribute(name).unwrap()), ["a 1.0.0", "27", "1"]);
            }
            "testcase" => cases += 1,
            "failure" => {
                failures += 1;
                messages.extend(attribute("message"));
            }
            _ => {}
        }
    }
    assert_eq!((cases, failures), (27, 1));
    assert_eq!(messages, ["the Content-Type is `text/plain; note=\"<&>\"`"]);
}

#[tokio::test]
async fn a_service_that_falls_silent_is_asked_twice_more_and_not_for_minutes() {
    let count = AtomicUsize::new(0);
    let service = RawService::responding(move |request| {
        let is_up = count.fetch_add(1, Ordering::SeqCst) < 5;
        is_up.then(|| conforming(request).bytes())
    })
    .await;
    let site = site(service.address, &format!("[limits]\ntimeout = \"50ms\"\n{DECLARED}"));
    let (failed, code) = findings(&site, "a", "failed").await;
    assert_eq!((service.requests(), code), (7, 1), "{failed:?}");
}
