//! The access log: a line for each reply, which costs a reply nothing if it cannot be written.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::support::process::{Server, TestSite, client, until};
use crate::support::service::RawService;

/// The lines of a log, once there are this many.
async fn lines(path: &Path, count: usize) -> Vec<String> {
    let read = || std::fs::read_to_string(path).unwrap_or_default();
    until(async || read().lines().count() >= count).await;
    read().lines().map(str::to_owned).collect()
}

async fn request_id(server: &Server, path: &str) -> String {
    let request = client().get(format!("{}{path}", server.pages)).header("user-agent", "a \"b\"");
    let response = request.header("referer", "http://a.test/").send().await.unwrap();
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    response.bytes().await.unwrap();
    id
}

#[tokio::test]
async fn each_reply_has_a_line_with_its_origin_and_its_id() {
    let service = RawService::html(Duration::ZERO, "Cache-Control: max-age=60\r\n", "text").await;
    let site = TestSite::new().front("<fragment name=a />").service("a", service.address);
    site.write("pasteup.toml", "[telemetry]\naccess_log = \"access.log\"\n[page]\nstream = false\n");
    let log = site.path().join("access.log");
    let server = site.serve().await;
    let mut ids = Vec::new();
    // A page is cached when it is requested again.
    for path in ["/?q=1", "/", "/", "/missing", "/_pasteup/debug?token=hush"] {
        ids.push(request_id(&server, path).await);
    }
    let lines = lines(&log, 5).await;
    for (line, (request, behind)) in lines.iter().zip([
        ("\"GET /?q=1 HTTP/1.1\" 200 4", "miss"),
        ("\"GET / HTTP/1.1\" 200 4", "miss"),
        ("\"GET / HTTP/1.1\" 200 4", "hit"),
        ("\"GET /missing HTTP/1.1\" 404 ", "-"),
        ("\"GET /_pasteup/debug HTTP/1.1\" 404 ", "-"),
    ]) {
        let id = ids.remove(0);
        assert!(line.starts_with("127.0.0.1 - - [") && line.contains(&format!(" +0000] {request}")), "{line}");
        assert!(line.ends_with(&format!(" \"http://a.test/\" \"a \\\"b\\\"\" {behind} {id}")), "{line}");
    }
    std::fs::rename(&log, site.path().join("access.1")).unwrap();
    server.process.signal("-HUP");
    until(async || log.exists()).await;
    server.text("/").await;
    assert_eq!(self::lines(&log, 1).await.len(), 1, "after SIGHUP it is another file");
}

#[tokio::test]
async fn a_streamed_page_is_logged_with_all_its_bytes() {
    let service = RawService::html(Duration::from_millis(50), "", &"x".repeat(100_000)).await;
    let site = TestSite::new().front("<p><fragment name=a />").service("a", service.address);
    let settings = "[telemetry]\naccess_log = \"access.log\"\naccess_format = \"json\"\n[page]\ncompression = []\n";
    site.write("pasteup.toml", settings);
    let mut server = site.serve().await;
    let id = request_id(&server, "/").await;
    server.process.terminate();
    server.process.exit_status().await;
    let lines = lines(&site.path().join("access.log"), 1).await;
    let line: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!((line["bytes"].as_u64(), line["status"].as_u64()), (Some(100_003), Some(200)), "{line}");
    assert_eq!((line["cache"].as_str(), line["request_id"].as_str()), (Some("miss"), Some(id.as_str())), "{line}");
    assert_eq!((line["target"].as_str(), line["user_agent"].as_str()), (Some("/"), Some("a \"b\"")), "{line}");
    assert!(line["ms"].as_f64().unwrap() >= 50.0, "{line}");
}

#[tokio::test]
async fn a_full_disk_costs_readers_nothing() {
    let site = TestSite::new().front("page").file("pasteup.toml", "[telemetry]\naccess_log = \"/dev/full\"\n");
    let server = site.serve().await;
    for _ in 0..5 {
        assert_eq!(server.text("/").await, "page");
    }
    until(async || server.metric("pasteup_access_log_lines_dropped_total").await == 5).await;
    let output = site.run_with(&["serve"], "PASTEUP_TELEMETRY__ACCESS_LOG", Some("/no/such/folder/log")).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("/no/such/folder/log cannot be opened"));
}
