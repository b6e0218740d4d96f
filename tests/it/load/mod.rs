//! `pasteup load` against real compositors and services: what it measures, whom it blames, and when it fails.
//! The machine that runs the tests may be too busy to send in time; then the exit code is 2, which is checked too.

mod culprits;
mod options;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::process::{Server, TestSite, client};
use crate::support::service::{RawService, ReceivedRequest};

/// Runs `pasteup load` with these arguments against a server, and returns its results and its exit code.
async fn load(site: &TestSite, server: &Server, arguments: &[&str]) -> (Value, Option<i32>) {
    let admin = server.admin.strip_prefix("http://").unwrap();
    let paths: Vec<String> = arguments
        .iter()
        .map(
            |argument| {
                if argument.starts_with('/') { format!("{}{argument}", server.pages) } else { (*argument).to_owned() }
            },
        )
        .collect();
    let mut all = vec!["load", "--admin", admin, "--format", "json"];
    all.extend(paths.iter().map(String::as_str));
    let output = site.run(&all).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let results: Value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(
        output.status.code() == Some(2),
        results["late"]["share"].as_f64().unwrap() > 0.01,
        "{}",
        results["late"]
    );
    (results, output.status.code())
}

/// Begins a load run, and returns its id and its token.
async fn begin(server: &Server) -> (String, String) {
    let response = client().post(format!("{}/api/load-runs", server.admin)).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let begun: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    (begun["run"].as_str().unwrap().to_owned(), begun["token"].as_str().unwrap().to_owned())
}

/// What was recorded for a run.
async fn recorded(server: &Server, run: &str) -> Value {
    let response = client().get(format!("{}/api/load-runs/{run}", server.admin)).send().await.unwrap();
    assert_eq!(response.status(), 200);
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

async fn get(server: &Server, path: &str, load: &str) -> reqwest::Response {
    let request = client().get(format!("{}{path}", server.pages)).header("Pasteup-Load", load);
    request.header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").send().await.unwrap()
}

/// A response that is used for a time.
fn html(headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n";
    format!("{head}{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

#[tokio::test]
async fn requests_with_the_token_are_recorded_and_cached_pages_stay_cached() {
    let kept = RawService::html(Duration::ZERO, "Cache-Control: max-age=600\r\n", "<p>kept</p>").await;
    let site = TestSite::new()
        .without_streaming()
        .front("<title>T</title><fragment name=kept />")
        .service("kept", kept.address);
    let server = site.serve().await;
    let (run, token) = begin(&server).await;
    let unknown = client().get(format!("{}/api/load-runs/none", server.admin)).send().await.unwrap();
    assert_eq!(unknown.status(), 404);
    for _ in 0..5 {
        let page = get(&server, "/", &token).await;
        assert!(page.headers().get("cache-control").is_some_and(|value| value != "private, no-store"));
        assert_eq!(page.headers()["x-request-id"], "4bf92f3577b34da6a3ce929d0e0e4736", "its trace is kept");
        get(&server, "/", "wrong").await;
        server.get("/").await;
    }
    assert_eq!(kept.requests(), 1);
    let report = recorded(&server, &run).await;
    assert_eq!(report["requests"], 5, "{report}");
    let page = &report["pages"][0];
    assert_eq!((&page["path"], &page["requests"], &page["hits"]), (&json!("/"), &json!(5), &json!(4)));
    assert_eq!(page["parts"][0]["file"], "layouts/front.html");
    let without_parts = page["slowest"].as_array().unwrap().iter().filter(|one| one["bars"] == json!([])).count();
    assert!(without_parts >= 2, "the page was cached as a whole: {page}");
    let (other, _) = begin(&server).await;
    assert_ne!(run, other);
    let forgotten = client().get(format!("{}/api/load-runs/{run}", server.admin)).send().await.unwrap();
    assert_eq!(forgotten.status(), 404);
}

#[tokio::test]
async fn a_token_lets_a_request_stand_for_another_client_and_reaches_no_service() {
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let echo = RawService::responding(move |request| {
        seen.send(request.clone()).unwrap();
        Some(html("Cache-Control: no-store\r\n", "<p>x</p>"))
    })
    .await;
    let manifest = format!(
        "name = \"echo\"\nversion = \"1.0.0\"\nendpoint = \"http://{}/echo\"\ncontext = [\"device\", \"region\", \"locale\"]\n",
        echo.address
    );
    let site = TestSite::new()
        .front("<title>T</title><fragment name=echo />")
        .file("fragments/echo/fragment.toml", &manifest)
        .file("pasteup.toml", "[page]\nstream = false\n[context]\nlocales = [\"en\", \"de\"]\n");
    let server = site.serve().await;
    let (_, token) = begin(&server).await;
    get(&server, "/", &format!("{token}; device=mobile; region=GB; locale=de")).await;
    let request: ReceivedRequest = requests.recv().await.unwrap();
    let sent = ["fragment-device", "fragment-region", "accept-language"].map(|name| request.header(name));
    assert_eq!(sent, [Some("mobile"), Some("GB"), Some("de")]);
    assert_eq!(request.header("pasteup-load"), None);
    get(&server, "/", "wrong; device=mobile; region=GB; locale=de").await;
    let request = requests.recv().await.unwrap();
    assert_ne!(request.header("fragment-device"), Some("mobile"));
    get(&server, "/", &format!("{token}; locale=fr")).await;
    let request = requests.recv().await.unwrap();
    assert_eq!(request.header("accept-language"), Some("en"), "the site has no such locale");
}

#[tokio::test]
async fn each_kind_of_error_is_counted() {
    let service = RawService::responding(|request| match &*request.target {
        "/fine" => Some(html("", "fine")),
        "/moved" => {
            Some(b"HTTP/1.1 302 Found\r\nLocation: /fine\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec())
        }
        "/fails" => Some(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()),
        "/short" => Some(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nshort".to_vec()),
        _ => None,
    })
    .await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let at = |path: &str| format!("http://{}{path}", service.address);
    let site = TestSite::new();
    let targets = [at("/fine"), at("/moved"), at("/fails"), at("/short"), at("/hangs"), format!("http://{closed}/")];
    let mut arguments = vec![
        "load",
        "--rate",
        "60",
        "--duration",
        "1s",
        "--arrivals",
        "steady",
        "--timeout",
        "300ms",
        "--format",
        "json",
    ];
    arguments.extend(targets.iter().map(String::as_str));
    let output = site.run(&arguments).await;
    let results: Value = serde_json::from_slice(&output.stdout).unwrap();
    let kinds = ["connect", "timeout", "status", "incomplete"];
    for (path, expected) in results["paths"].as_array().unwrap().iter().zip([
        None,
        None,
        Some("status"),
        Some("incomplete"),
        Some("timeout"),
        Some("connect"),
    ]) {
        assert_eq!(path["requests"], 10, "{path}");
        for kind in kinds {
            assert_eq!(path["errors"][kind], if Some(kind) == expected { 10 } else { 0 }, "{kind} of {}", path["path"]);
        }
    }
    assert_eq!(results["total"]["requests"], 60);
    assert_eq!(service.requests(), 50, "nothing is sent twice, and redirects are not followed");
    assert!(results["paths"][4]["latency"]["p50_ms"].as_f64().unwrap() >= 300.0);
    assert!(results["unblamed"].as_str().unwrap().contains("admin"), "{}", results["unblamed"]);
    assert_eq!(results["blame"], json!([]));
}

#[tokio::test]
async fn a_server_that_stops_for_a_second_shows_in_the_latency_of_all_who_waited() {
    let begun = Instant::now();
    let stopped = move || {
        let at = begun.elapsed();
        (Duration::from_secs(2)..Duration::from_secs(3)).contains(&at).then(|| Duration::from_secs(3) - at)
    };
    // While it stops, it neither reads nor answers.
    let router = axum::Router::new().fallback(move || async move {
        if let Some(rest) = stopped() {
            tokio::time::sleep(rest).await;
        }
        "<p>x</p>"
    });
    let address = crate::support::service::serve_router(router).await;
    let site = TestSite::new();
    let url = format!("http://{address}/");
    let arguments = [
        "load",
        &url,
        "--rate",
        "200",
        "--duration",
        "4s",
        "--arrivals",
        "steady",
        "--connections",
        "10",
        "--format",
        "json",
    ];
    let output = site.run(&arguments).await;
    let results: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(results["total"]["requests"], 800);
    let p99 = results["total"]["latency"]["p99_ms"].as_f64().unwrap();
    let service = results["total"]["service"]["p90_ms"].as_f64().unwrap();
    // Of 800 requests, the 200 of that second waited up to 1,000 ms: the slowest hundredth of all 960 and more.
    assert!(p99 >= 900.0, "{p99} ms");
    assert!(service < 500.0, "only ten requests were under way: {service} ms");
}

#[tokio::test]
async fn a_broken_bound_is_one_line_and_exits_with_1() {
    let service = RawService::html(Duration::from_millis(30), "Cache-Control: no-store\r\n", "<p>x</p>").await;
    let site = TestSite::new().front("<title>T</title><fragment name=slow />").service("slow", service.address);
    let server = site.serve().await;
    let base = ["/", "--rate", "30", "--duration", "1s"];
    let with = |more: &[&'static str]| base.iter().copied().chain(more.iter().copied()).collect::<Vec<&str>>();
    let (results, code) =
        load(&site, &server, &with(&["--max-p99", "5s", "--max-errors", "0%", "--max-fallbacks", "0%"])).await;
    assert!(matches!(code, Some(0 | 2)), "{results}");
    let gates = results["gates"].as_array().unwrap();
    assert_eq!(gates.iter().map(|gate| gate["ok"].as_bool().unwrap()).collect::<Vec<_>>(), [true; 3]);
    let (results, code) = load(&site, &server, &with(&["--max-p99", "10ms"])).await;
    assert!(matches!(code, Some(1 | 2)), "{results}");
    assert_eq!(results["gates"][0]["gate"], "max-p99");
    assert_eq!(results["gates"][0]["ok"], false);
    // A page that got much slower than it was.
    let old = json!({ "total": { "histogram": [[1.0, 900], [2.0, 100]] } }).to_string();
    site.write("old.json", &old);
    let baseline = format!("--baseline={}", site.path().join("old.json").display());
    let mut arguments = with(&["--max-regression", "10%"]);
    arguments.push(&baseline);
    let (results, code) = load(&site, &server, &arguments).await;
    assert!(matches!(code, Some(1 | 2)), "{results}");
    assert!(results["gates"].as_array().unwrap().iter().all(|gate| gate["ok"] == false), "{}", results["gates"]);
}

#[tokio::test]
async fn nobody_else_is_requested_and_senseless_options_are_refused() {
    let site = TestSite::new();
    for (arguments, expected) in [
        (&["load", "http://192.0.2.1/"][..], "--allow-host 192.0.2.1"),
        (&["load", "http://example.org/"], "--allow-host example.org"),
        (&["load"], "nothing is requested"),
        (&["load", "/", "--rate", "0"], "above 0"),
        (&["load", "/", "--sweep", "500..100"], "below the second"),
        (&["load", "/", "--baseline", "old.json"], "--max-regression"),
        (&["load", "/", "--max-errors", "0.1"], "per cent"),
    ] {
        let output = site.run(arguments).await;
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
}

#[tokio::test]
async fn a_log_is_replayed_and_what_is_not_a_get_is_counted() {
    let service = RawService::responding(|_| Some(html("", "x"))).await;
    let site = TestSite::new();
    let line = |second: u32, request: &str| {
        format!("1.2.3.4 - - [01/Dec/2026:13:00:{second:02} +0000] \"{request} HTTP/1.1\" 200 5\n")
    };
    let log: String =
        [line(0, "GET /a"), line(0, "GET /b"), line(2, "GET /a"), line(1, "POST /a"), line(3, "GET /b")].concat();
    site.write("access.log", &log);
    let log = site.path().join("access.log").display().to_string();
    let admin = format!("PASTEUP_SERVER__LISTEN={}", service.address);
    let (name, value) = admin.split_once('=').unwrap();
    let begun = Instant::now();
    let output = site.run_with(&["load", "--from", &log, "--speed", "2", "--format", "json"], name, Some(value)).await;
    let results: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert!(begun.elapsed() >= Duration::from_millis(1_500));
    assert_eq!((&results["skipped"], &results["total"]["requests"]), (&json!(1), &json!(4)));
    assert_eq!(results["settings"]["arrivals"], "replay");
    assert_eq!(results["paths"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_interrupted_run_reports_everything() {
    let service = RawService::html(Duration::from_millis(100), "", "<p>x</p>").await;
    let site = TestSite::new();
    let url = format!("http://{}/", service.address);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pasteup"));
    command.args(["load", &url, "--rate", "50", "--duration", "60s", "--format", "json", "--site"]).arg(site.path());
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    crate::support::process::until(async || service.requests() >= 5).await;
    assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = tokio::task::spawn_blocking(|| child.wait_with_output()).await.unwrap().unwrap();
    let results: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(results["interrupted"], true);
    assert_eq!(
        results["total"]["requests"].as_u64(),
        Some(service.requests() as u64),
        "requests under way are awaited"
    );
    assert_eq!(results["total"]["errors"]["timeout"], 0);
    assert!(results["seconds"].as_f64().unwrap() < 60.0);
    assert!(matches!(output.status.code(), Some(0 | 2)));
}

#[tokio::test]
async fn the_part_that_clients_waited_for_is_named_with_its_line() {
    let slow = RawService::html(Duration::from_millis(300), "Cache-Control: no-store\r\n", "<p>x</p>").await;
    let quick = RawService::html(Duration::ZERO, "Cache-Control: no-store\r\n", "<p>x</p>").await;
    let site = TestSite::new()
        .front("<title>T</title>\n<fragment name=quick />\n<fragment name=slow />\n")
        .service("slow", slow.address)
        .service("quick", quick.address);
    let server = site.serve().await;
    let out = site.path().join("report.html").display().to_string();
    let report = format!("--out={out}");
    let (results, _) = load(&site, &server, &["/", "--rate", "10", "--duration", "2s", &report]).await;
    let parts = results["blame"].as_array().unwrap().iter().filter(|row| !row["part"].is_null());
    let worst = parts.clone().next().unwrap_or_else(|| panic!("{}", results["blame"]));
    assert_eq!(
        (&worst["fragment"], &worst["part"], &worst["kind"]),
        (&json!("slow"), &json!("slow"), &json!("service"))
    );
    assert_eq!(worst["at"], "layouts/front.html:6");
    let saved = worst["p99_ms"].as_f64().unwrap() - worst["without_ms"].as_f64().unwrap();
    assert!(saved > 150.0, "{worst}");
    let html = std::fs::read_to_string(out).unwrap();
    assert!(html.contains("layouts/front.html:6") && html.contains("slow"));
    for elsewhere in ["src=\"", "href=\"http", "url(", "@import", "fetch("] {
        assert!(!html.contains(elsewhere), "the report needs `{elsewhere}`");
    }
}
