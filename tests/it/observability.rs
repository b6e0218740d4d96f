//! What operators see: log lines, and the metrics that `ops/` uses.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::support::process::{TestSite, client, root};
use crate::support::service::RawService;

#[tokio::test]
async fn a_degraded_page_is_one_line_of_json_without_a_secret() {
    let fails = RawService::start(
        Duration::ZERO,
        "HTTP/1.1 500 Oh\r\nContent-Type: text/html\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    )
    .await;
    let site = TestSite::new()
        .front("<fragment name=a>-</fragment><fragment name=b>-</fragment>")
        .service("b", "127.0.0.1:1".parse().unwrap());
    let manifest = format!(
        "name = \"a\"\nversion = \"1.0.0\"\nendpoint = \"http://{}/\"\n[auth]\nkind = \"bearer\"\ntoken = \"env:A_TOKEN\"\n",
        fails.address
    );
    let site = site.file("fragments/a/fragment.toml", &manifest);
    let environment = [
        ("PASTEUP_TELEMETRY__FORMAT", "json"),
        ("A_TOKEN", "hushhushhushhush"),
        ("PASTEUP_SERVER__ADMIN_TOKEN", "hushhushhushhush"),
    ];
    let mut server = site.serve_with(&environment).await;
    let response = server.get("/").await;
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!((response.text().await.unwrap().as_str(), fails.requests()), ("--", 1));
    server.process.line("page degraded").await;
    server.process.terminate();
    server.process.exit_status().await;
    let log = server.process.output();
    assert!(!log.contains("hushhushhushhush"), "{log}");
    let lines: Vec<Value> =
        log.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect();
    let lines_of = |message: &str| -> Vec<&Value> {
        lines.iter().map(|line| &line["fields"]).filter(|fields| fields["message"] == message).collect()
    };
    let [degraded] = lines_of("page degraded")[..] else { panic!("{log}") };
    assert_eq!((degraded["trace"].as_str(), degraded["page"].as_str()), (Some(id.as_str()), Some("/")));
    assert_eq!(degraded["parts"], "a=fallback (status), b=fallback (connect)");
    assert_eq!(lines_of("fetch failed").len(), 2, "{log}");
}

/// The metrics that an expression names.
fn named(expression: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = expression.split(|c| !is_word(c));
    words.filter(|word| word.starts_with("pasteup_") || word.starts_with("http_server_")).map(str::to_owned).collect()
}

/// Every `expr` of a JSON file.
fn expressions(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("expr").and_then(Value::as_str).map(named).unwrap_or_default());
            let query = members.get("query").and_then(|query| query.as_str().or_else(|| query["query"].as_str()));
            found.extend(query.map(named).unwrap_or_default());
            members.values().for_each(|value| expressions(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn a_circuit_is_closed_from_the_first_request_on() {
    let service = RawService::html(Duration::ZERO, "", "x").await;
    let server = TestSite::new().front("<fragment name=a />").service("a", service.address).serve().await;
    server.text("/").await;
    let metrics = client().get(format!("{}/metrics", server.admin)).send().await.unwrap().text().await.unwrap();
    let expected = format!("pasteup_circuit_state{{upstream=\"http://{}\"}} 0", service.address);
    assert!(metrics.lines().any(|line| line == expected), "{metrics}");
}

#[tokio::test]
async fn rules_and_dashboard_name_only_existing_metrics() {
    let service = RawService::html(Duration::ZERO, "Cache-Control: max-age=60\r\n", "x").await;
    let site = TestSite::new()
        .front("<fragment name=a /><fragment name=dead>-</fragment>")
        .service("a", service.address)
        .service("dead", "127.0.0.1:1".parse().unwrap())
        .file("pasteup.toml", "[fragment]\nbreaker_failures = 1\n");
    let server = site.serve().await;
    server.text("/").await;
    server.text("/").await;
    let metrics = client().get(format!("{}/metrics", server.admin)).send().await.unwrap().text().await.unwrap();
    let existing: BTreeSet<&str> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let ops = root().join("ops");
    let rules = std::fs::read_to_string(ops.join("alerts.yml")).unwrap();
    let dashboard = std::fs::read_to_string(ops.join("grafana/dashboards/pasteup.json")).unwrap();
    let mut used = BTreeSet::new();
    expressions(&serde_json::from_str(&dashboard).unwrap(), &mut used);
    assert!(used.len() > 5, "{used:?}");
    used.extend(named(&rules));
    let missing: Vec<_> = used.iter().filter(|name| !existing.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?} are not in\n{metrics}");
}

#[test]
fn every_alert_links_to_an_existing_section_of_the_guide() {
    let rules = std::fs::read_to_string(root().join("ops/alerts.yml")).unwrap();
    let guide = std::fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let headings: BTreeSet<String> = guide
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(|heading| heading.to_lowercase().replace(' ', "-").replace(['`', ','], ""))
        .collect();
    let anchors: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.split_once("docs/operating.md#"))
        .map(|(_, anchor)| anchor.trim())
        .collect();
    assert_eq!(anchors.len(), rules.matches("- alert:").count(), "every alert has one link");
    for anchor in anchors {
        assert!(headings.contains(anchor), "{anchor} is not one of {headings:?}");
    }
}

#[tokio::test]
async fn exemplars_are_in_openmetrics_only() {
    let service = RawService::html(Duration::ZERO, "", "<p>a</p>").await;
    let server = TestSite::new().front("<fragment name=a />").service("a", service.address).serve().await;
    let id = server.get("/").await.headers()["x-request-id"].to_str().unwrap().to_owned();
    let metrics = |accept: &'static str| {
        let request = client().get(format!("{}/metrics", server.admin)).header("accept", accept);
        async move {
            let response = request.send().await.unwrap();
            (response.headers()["content-type"].to_str().unwrap().to_owned(), response.text().await.unwrap())
        }
    };
    let (kind, text) = metrics("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5").await;
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let bucket = |line: &&str| line.starts_with("pasteup_fragment_fetch_duration_seconds_bucket");
    let exemplar = format!(" # {{trace_id=\"{id}\"}}");
    assert_eq!(text.lines().filter(bucket).filter(|line| line.contains(&exemplar)).count(), 1, "{text}");
    let (kind, plain) = metrics("text/plain").await;
    assert!(kind.starts_with("text/plain") && !plain.contains("trace_id"), "{plain}");
    assert_eq!(plain.lines().filter(bucket).count(), text.lines().filter(bucket).count());
    assert!(plain.lines().filter(bucket).all(|line| line.rsplit(' ').next().unwrap().parse::<u64>().is_ok()));
    // Every sample belongs to a family that a TYPE line names, in both formats.
    assert_eq!((without_family(&text, "_total"), without_family(&plain, "")), (Vec::new(), Vec::new()));
    assert!(plain.contains("# TYPE pasteup_fragment_outcomes_total counter\n") && !plain.contains("# EOF"), "{plain}");
}

/// The samples that no TYPE line describes. `counter` is what a counter's samples have after the name of their family.
fn without_family(text: &str, counter: &str) -> Vec<String> {
    let families: Vec<(&str, &str)> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let is_of = |sample: &str, (family, kind): &(&str, &str)| match *kind {
        "counter" => sample.strip_prefix(family) == Some(counter),
        "histogram" => matches!(sample.strip_prefix(family), Some("_sum" | "_count" | "_bucket")),
        _ => sample == *family,
    };
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next());
    samples.filter(|sample| !families.iter().any(|family| is_of(sample, family))).map(str::to_owned).collect()
}

#[tokio::test]
async fn each_view_counts_for_the_variant_that_it_showed() {
    let shared = RawService::html(Duration::ZERO, "Cache-Control: max-age=60\r\n", "x").await;
    let own = RawService::html(Duration::ZERO, "Cache-Control: private, max-age=60\r\n", "y").await;
    let manifest = |name: &str, at: &RawService, context: &str| {
        format!(
            "name = \"{name}\"\nversion = \"1.0.0\"\nendpoint = \"http://{}/\"\ncontext = [{context}]\n",
            at.address
        )
    };
    let layout = |route: &str, html: &str| {
        format!("+++\nroute = \"{route}\"\nexperiment.lead = {{ big = 1, small = 1 }}\n+++\n{html}")
    };
    let site = TestSite::new()
        .without_streaming()
        .file("layouts/shared.html", &layout("/shared", "<when variant=lead:big>B</when><fragment name=shared />"))
        .file("layouts/own.html", &layout("/own", "<fragment name=shared /><fragment name=own />"))
        .file("fragments/shared/fragment.toml", &manifest("shared", &shared, ""))
        .file("fragments/own/fragment.toml", &manifest("own", &own, "\"variant\", \"cookie:u\""));
    let server = site.serve().await;
    for path in ["/shared", "/own"] {
        // The first pages are composed; then the page, or what all readers share of it, is cached.
        for (variant, times) in [("big", 5), ("small", 3)] {
            for _ in 0..times {
                let cookie = format!("pasteup-lead={variant}; u=1");
                let page =
                    client().get(format!("{}{path}", server.pages)).header("cookie", cookie).send().await.unwrap();
                assert_eq!(page.status(), 200);
                assert!(!page.text().await.unwrap().is_empty());
            }
        }
    }
    let metrics = client().get(format!("{}/metrics", server.admin)).send().await.unwrap().text().await.unwrap();
    for (variant, views) in [("big", 10), ("small", 6)] {
        let expected = format!("pasteup_experiment_views_total{{experiment=\"lead\",variant=\"{variant}\"}} {views}");
        assert!(metrics.lines().any(|line| line == expected), "{expected} is not in\n{metrics}");
    }
}
