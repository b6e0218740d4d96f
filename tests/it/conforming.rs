//! `pasteup conform`: services that keep the contract pass whole, and each fault is caught by its own rule.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio::process::Command;

use crate::support::process::{Process, TestSite, root, sample};
use crate::support::service::{Asked, RawService};

/// What the services below declare; each fault is a fault against this.
const DECLARED: &str = "[params.days]\ntype = \"integer\"\nminimum = 1\nmaximum = 7\n\
                        [params.city]\npattern = \"[a-z]+\"\nrequired = true\n\
                        [[examples]]\nname = \"Oslo\"\nparams = { city = \"oslo\" }\n";

/// An answer before it is put on the wire.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
    }

    fn remove(&mut self, name: &str) {
        self.headers.retain(|(known, _)| *known != name);
    }

    /// Its bytes. What is not said of length and connection is said as it is.
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

/// Keeps the contract in all that it can be asked.
fn good(asked: &Asked) -> Answer {
    let city = asked.param("city").unwrap_or_default();
    let days = asked.param("days").map_or(Some(1), |days| days.parse().ok());
    let known = !city.is_empty() && city.bytes().all(|b| b.is_ascii_lowercase());
    if !known || !days.is_some_and(|days: u8| (1..=7).contains(&days)) {
        let headers = vec![("Content-Type", "application/problem+json".to_owned())];
        return Answer { status: 400, headers, body: b"{\"title\":\"no\"}".to_vec() };
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
    if asked.header("if-none-match") == Some("\"v1\"") {
        return Answer { status: 304, headers, body: Vec::new() };
    }
    Answer { status: 200, headers, body: "<p>Snow in Tromsø<ul><li>and in Bodø</ul>".into() }
}

/// A site with one nanoservice `a` at an address.
fn site(address: impl std::fmt::Display, manifest: &str) -> TestSite {
    let text = format!("name = \"a\"\nversion = \"1.0.0\"\nendpoint = \"http://{address}/a\"\n{manifest}");
    TestSite::new().file("fragments/a/fragment.toml", &text)
}

/// Rules with this verdict, what was said of them, and the exit code.
async fn held(site: &TestSite, service: &str, verdict: &str) -> (Vec<(String, String)>, i32) {
    let output = site.run(&["conform", service, "--format", "json"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    let found = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let found: Vec<_> = found
        .filter(|finding| finding["verdict"] == verdict)
        .map(|finding| {
            let text = |key: &str| finding[key].as_str().unwrap().to_owned();
            (text("rule"), text("message"))
        })
        .collect();
    assert!(!text.is_empty(), "it found nothing out: {told}");
    (found, output.status.code().unwrap())
}

/// A service that keeps the contract but for one thing breaks this rule and no other.
#[track_caller]
fn breaks(
    rule: &'static str,
    said: &'static str,
    manifest: &'static str,
    fault: impl Fn(&Asked, &mut Answer) + Send + Sync + 'static,
) -> impl Future<Output = ()> {
    async move {
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
async fn the_samples_pass_whole() {
    for name in ["headlines", "weather", "scores"] {
        let (_process, address) = sample(name, 0).await;
        let manifest = std::fs::read_to_string(root().join("fragments").join(name).join("fragment.toml")).unwrap();
        let own = manifest.lines().find_map(|line| line.strip_prefix("endpoint  = \"http://")?.split_once('/'));
        let (port, _) = own.unwrap();
        // Time is not the subject here, and this machine may be busy.
        let timeout = manifest.lines().find(|line| line.starts_with("timeout")).unwrap().to_owned();
        let manifest = manifest.replace(port, &address).replace(&timeout, "timeout = \"20s\"");
        let site = TestSite::new().file("fragments/x/fragment.toml", &manifest);
        for verdict in ["failed", "advice", "skipped"] {
            assert_eq!(held(&site, name, verdict).await, (Vec::new(), 0), "{name}");
        }
    }
}

#[tokio::test]
async fn a_service_that_keeps_the_contract_passes_and_is_asked_as_the_contract_says() {
    let (sender, asked) = std::sync::mpsc::channel();
    let service = RawService::answering(move |request| {
        sender.send(request.clone()).unwrap();
        Some(good(request).bytes())
    })
    .await;
    let context =
        "context = [\"locale\", \"region\", \"device\", \"variant\", \"page\", \"cookie:units\", \"header:x-plan\"]\n";
    let site = site(service.address, &format!("{context}{DECLARED}[limits]\ntimeout = \"20s\"\nconcurrency = 3\n"));
    for verdict in ["failed", "advice", "skipped"] {
        assert_eq!(held(&site, "a", verdict).await, (Vec::new(), 0));
    }
    let asked: Vec<Asked> = asked.try_iter().collect();
    for request in &asked {
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
    assert_eq!(asked[0].header("user-agent"), Some(concat!("pasteup/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(asked[0].header("accept-encoding"), Some("gzip, br, zstd"));
    assert_eq!(asked[0].target, "/a?city=oslo");
    let refused = |city: Option<&str>, days: Option<&str>| {
        let same = |asked: Option<String>, wanted: Option<&str>| asked.as_deref() == wanted;
        asked.iter().any(|request| same(request.param("city"), city) && same(request.param("days"), days))
    };
    assert!(refused(None, None) && refused(Some("~"), None) || refused(Some("not what it takes"), None));
    assert!(refused(Some("oslo"), Some("0")) && refused(Some("oslo"), Some("8")));
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
    breaks("size", "more than 20 bytes", "[limits]\nmax_bytes = \"20B\"\n", |_, _| {}).await;
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
            let own = matches!(asked.header(&lower), None) || asked.header(&lower).unwrap().starts_with("pasteup/");
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

#[tokio::test]
async fn silence_is_a_broken_rule_and_not_a_failed_run() {
    let nobody = site("127.0.0.1:1", DECLARED);
    let (failed, code) = held(&nobody, "a", "failed").await;
    assert_eq!((failed[0].0.as_str(), failed.len(), code), ("reachable", 1, 1), "{failed:?}");
    assert!(failed[0].1.starts_with("no connection"), "{failed:?}");

    let quick = format!("[limits]\ntimeout = \"50ms\"\n{DECLARED}");
    let half = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9\r\n\r\nhalf".to_vec();
    for (rule, said, service) in [
        ("reachable", "no HTTP", RawService::answering(|_| Some(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec())).await),
        ("in-time", "no whole answer after", RawService::answering(|_| None).await),
        ("in-time", "no whole answer after", RawService::stalling(half).await),
    ] {
        let (failed, code) = held(&site(service.address, &quick), "a", "failed").await;
        assert_eq!((failed[0].0.as_str(), failed.len(), code), (rule, 1, 1), "{failed:?}");
        assert!(failed[0].1.contains(said), "{failed:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_said() {
    let needy = site("127.0.0.1:1", "[params.city]\nrequired = true\n");
    assert_eq!(held(&needy, "a", "failed").await.0[0].0, "example");
    // The same, with what it needs.
    let output = needy.run(&["conform", "a", "--param", "city=oslo"]).await;
    assert!(String::from_utf8(output.stdout).unwrap().contains("failed   reachable"));

    let output = needy.run(&["conform", "b"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("no nanoservice is called `b`: did you mean `a`?"), "{told}");
    for wrong in [&["conform", "http://"][..], &["conform", "a", "--param", "city"], &["conform"]] {
        assert_eq!(needy.run(wrong).await.status.code(), Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_bare_url_is_asked_with_its_own_query_and_judged_by_what_holds_for_all() {
    let service = RawService::answering(|asked| Some(good(asked).bytes())).await;
    let url = format!("http://{}/a?city=oslo", service.address);
    let (skipped, code) = held(&TestSite::new(), &url, "skipped").await;
    let skipped: Vec<_> = skipped.iter().map(|(rule, _)| rule.as_str()).collect();
    assert_eq!((skipped, code), (vec!["example", "balanced", "bad-parameter", "problem"], 0));
}

#[tokio::test]
async fn what_could_be_better_is_no_failure() {
    let service = RawService::answering(|asked| {
        let mut answer = good(asked);
        for name in ["Cache-Control", "ETag"] {
            answer.remove(name);
        }
        answer.set("Link", "</>; rel=canonical");
        answer.set("Sunset", "Thu, 31 Dec 2099 23:59:59 GMT");
        if answer.status == 400 {
            answer.set("Content-Type", "text/html");
        }
        if answer.status == 200 {
            answer.set("Content-Length", "-");
        }
        Some(answer.bytes())
    })
    .await;
    let (advice, code) = held(&site(service.address, DECLARED), "a", "advice").await;
    let rules: Vec<_> = advice.iter().map(|(rule, _)| rule.as_str()).collect();
    assert_eq!(rules, ["complete", "freshness", "validation", "links", "deprecation", "problem"], "{advice:?}");
    assert_eq!(code, 0);
}

#[tokio::test]
async fn what_changes_by_itself_is_not_blamed_on_the_reader() {
    let count = AtomicUsize::new(0);
    let service = RawService::answering(move |asked| {
        let mut answer = good(asked);
        if answer.status == 200 {
            let number = count.fetch_add(1, Ordering::SeqCst);
            answer.body = format!("<p>{number}").into();
            answer.set("ETag", format!("W/\"{number}\""));
        }
        Some(answer.bytes())
    })
    .await;
    let site = site(service.address, DECLARED);
    assert_eq!(held(&site, "a", "failed").await, (Vec::new(), 0));
    assert_eq!(held(&site, "a", "skipped").await.0[0].0, "context");
}

#[tokio::test]
async fn people_see_a_line_a_rule_and_the_cure_below() {
    let service = RawService::answering(|asked| {
        let mut answer = good(asked);
        answer.set("Content-Type", "text/plain; note=\"<&>\"");
        Some(answer.bytes())
    })
    .await;
    let site = site(service.address, &format!("{DECLARED}[limits]\ntimeout = \"20s\"\n"));
    let output = site.run(&["conform", "a"]).await;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains('\u{1b}'), "NO_COLOR is respected");
    let shown: Vec<&str> =
        text.lines().filter(|line| !line.contains("in-time") && !line.contains(" at http")).collect();
    insta::assert_snapshot!(shown.join("\n"));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with("a 1.0.0 breaks the contract: 1 failed, 1 advice, 24 passed"), "{told}");

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
                assert_eq!(["name", "tests", "failures"].map(|name| attribute(name).unwrap()), ["a 1.0.0", "26", "1"])
            }
            "testcase" => cases += 1,
            "failure" => {
                failures += 1;
                messages.extend(attribute("message"));
            }
            _ => {}
        }
    }
    assert_eq!((cases, failures), (26, 1));
    assert_eq!(messages, ["it says `text/plain; note=\"<&>\"`"]);
}

/// The services of the authors' guide: language, file, what builds it, what runs it.
const GUIDE: [(&str, &str, Option<&[&str]>, &[&str]); 5] = [
    ("python", "hello.py", None, &["python3", "hello.py"]),
    ("js", "hello.js", None, &["node", "hello.js"]),
    ("java", "Hello.java", None, &["java", "Hello.java"]),
    ("go", "hello.go", Some(&["go", "build", "-o", "hello-go", "hello.go"]), &["hello-go"]),
    ("rust", "hello.rs", Some(&["rustc", "--edition", "2024", "-o", "hello-rs", "hello.rs"]), &["hello-rs"]),
];

/// The first block of code in a language.
fn code<'t>(guide: &'t str, language: &str) -> &'t str {
    let (_, behind) = guide.split_once(&format!("```{language}\n")).unwrap();
    behind.split_once("```").unwrap().0
}

fn command(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(folder).env("PORT", "0");
    command
}

#[tokio::test]
async fn the_services_of_the_guide_keep_the_contract() {
    let guide = std::fs::read_to_string(root().join("fragments/README.md")).unwrap();
    for (language, file, build, run) in GUIDE {
        let text = code(&guide, language);
        let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
        assert!(lines <= 20, "{language} has {lines} lines");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(file), text).unwrap();
        let tool = build.unwrap_or(run)[0];
        if Command::new(tool).arg("--version").output().await.is_err() {
            eprintln!("{language} is not tried: there is no {tool} on this machine");
            continue;
        }
        if let Some(build) = build {
            let built = command(folder.path(), build).output().await.unwrap();
            assert!(built.status.success(), "{language}: {}", String::from_utf8_lossy(&built.stderr));
        }
        // What was built is in the folder; a relative path would be looked for where the test runs.
        let built = folder.path().join(run[0]);
        let program = if build.is_some() { built.to_str().unwrap() } else { run[0] };
        let mut service = Process::start(command(folder.path(), &[&[program], &run[1..]].concat()));
        let address = service.line("listening on http://").await;
        let manifest = code(&guide, "toml").replace("127.0.0.1:9104", &address);
        let manifest = format!("{manifest}[limits]\ntimeout = \"20s\"\n");
        let site = TestSite::new().file("fragments/hello/fragment.toml", &manifest);
        for verdict in ["failed", "skipped"] {
            assert_eq!(held(&site, "hello", verdict).await, (Vec::new(), 0), "{language}");
        }
        let (advice, _) = held(&site, "hello", "advice").await;
        assert!(advice.iter().all(|(rule, _)| rule == "problem"), "{language}: {advice:?}");
    }
}

#[test]
fn the_guide_tells_every_rule() {
    let guide = std::fs::read_to_string(root().join("fragments/README.md")).unwrap();
    for rule in pasteup::page::conform::rule::Rule::ALL {
        let row = format!("| `{}` | {} |", rule.id(), rule.title());
        assert!(guide.contains(&row), "fragments/README.md lacks {row}");
    }
}
