//! One day lived again: pages are requested, a nanoservice dies, another one is slow, somebody mistypes an address, and a file has
//! an error. At each step health, metrics, log, explanation and API agree, and the log stays readable.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pasteup::edge::observe::metrics::{Measured, Metrics};
use pasteup::engine::{IncidentLog, Statistics};
use pasteup::page::policy::resilience::health::Health;
use pasteup::page::source::reason::Reason;
use serde_json::{Value, json};
use tokio::time::{Instant, advance};
use tracing::subscriber::DefaultGuard;

use crate::support::compositor::{TestCompositor, after, fails, hangs, html, html_cached, responds};
use crate::support::process::{TestSite, client, until};
use crate::support::service::RawService;

/// The lines of the log that this thread writes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn begin() -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let format = tracing_subscriber::fmt().without_time().with_target(false).with_ansi(false);
        let subscriber = format.with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// The lines since the last call.
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}

/// A compositor with everything that observes it.
struct Day {
    site: TestCompositor,
    statistics: Arc<Statistics>,
    metrics: Arc<Metrics>,
    log: Log,
    _logging: DefaultGuard,
}

/// Requests per second.
const RATE: u64 = 6;

impl Day {
    fn begin(site: TestCompositor) -> Self {
        let (log, logging) = Log::begin();
        let statistics = Arc::new(Statistics::new(site.clock()));
        let metrics = Arc::new(Metrics::default());
        let site = site
            .observer(Arc::clone(&statistics) as _)
            .observer(Arc::clone(&metrics) as _)
            .observer(Arc::new(IncidentLog::default()));
        Self { site: site.start(), statistics, metrics, log, _logging: logging }
    }

    /// Requests pages in turn for so many minutes, and returns the lines of the log in each minute.
    async fn load(&self, pages: &[&str], minutes: u64) -> Vec<Vec<String>> {
        let mut lines = Vec::new();
        for _ in 0..minutes {
            for number in 0..60 * RATE {
                let due = Instant::now() + Duration::from_millis(1_000 / RATE);
                self.site.get(pages[usize::try_from(number).unwrap() % pages.len()]).await;
                advance(due.saturating_duration_since(Instant::now())).await;
                if number % RATE == 0 {
                    self.site.tick();
                }
            }
            lines.push(self.log.lines());
        }
        lines
    }

    fn health(&self, name: &str) -> Health {
        let reported = self.statistics.nanoservice(name).health;
        let known = self.statistics.health();
        assert_eq!(known.get(name).copied().unwrap_or_default(), reported, "the metrics say the same as the API");
        reported
    }

    /// The sum of the outcomes whose series have all of these labels.
    fn outcomes(&self, labels: &[&str]) -> u64 {
        let text = self.metrics.render(Measured::default());
        let series = text.lines().filter(|line| line.starts_with("pasteup_fragment_outcomes_total"));
        let matching = series.filter(|line| labels.iter().all(|label| line.contains(label)));
        matching.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// The `fragment` labels of all metrics.
    fn fragments(&self) -> BTreeSet<String> {
        let text = self.metrics.render(Measured { health: self.statistics.health(), ..Measured::default() });
        let labels = text.lines().filter_map(|line| line.split_once("fragment=\""));
        labels.map(|(_, rest)| rest.split('"').next().unwrap().to_owned()).collect()
    }

    /// What went wrong, as the API lists it: nanoservice, reason, detail.
    fn errors(&self) -> Vec<(String, &'static str, String)> {
        let failures = self.statistics.failures().into_iter();
        let mut errors: Vec<_> =
            failures.map(|group| (group.fragment.to_string(), group.reason, group.detail)).collect();
        errors.sort();
        errors
    }
}

fn starts(lines: &[String], text: &str) -> usize {
    lines.iter().filter(|line| line.contains(text)).count()
}

#[tokio::test(start_paused = true)]
async fn health_metrics_log_explanation_and_api_agree_all_day() {
    let day = Day::begin(
        TestCompositor::new()
            .front(
                "<fragment name=steady /><fragment name=score id=brief>no score</fragment><fragment name=score \
                 id=table data-all=yes>no table</fragment><fragment name=late>later</fragment>",
            )
            .layout(
                "town.html",
                "+++\nroute = \"/town/{town}\"\n+++\n<fragment name=town data-town={town}>?</fragment>",
            )
            .fragment("steady", html("steady"))
            .fragment("score", html("2:1"))
            .fragment("late", html("in time"))
            .fragment("town", |request| {
                let is_known = request.address.as_str().contains("oslo");
                if is_known { html_cached("Oslo", "max-age=10")(request) } else { responds(404, &[], "")(request) }
            }),
    );
    assert_eq!(day.health("score"), Health::Idle, "nobody has asked yet");

    // All is well.
    assert_eq!(day.load(&["/", "/town/oslo"], 2).await.concat(), [""; 0]);
    for name in ["steady", "score", "late", "town"] {
        assert_eq!(day.health(name), Health::Healthy, "{name}");
    }
    assert_eq!(day.outcomes(&["fragment=\"score\"", "outcome=\"fresh\""]), 2 * 60 * RATE, "both parts of each page");
    assert_eq!(day.fragments().into_iter().collect::<Vec<_>>(), ["late", "score", "steady", "town"]);

    // One dies.
    let died = day.site.clock().wall();
    day.site.set_behaviour("score", fails(Reason::Connect));
    let minutes = day.load(&["/", "/town/oslo"], 3).await;
    let first = &minutes[0];
    assert_eq!(starts(first, "fetch failed"), 1, "{first:#?}");
    assert_eq!(starts(first, "circuit opened"), 1, "{first:#?}");
    assert!(first.iter().any(|line| line.contains("circuit opened") && line.contains("reason=\"connect\"")));
    assert_eq!(starts(first, "page degraded"), 1, "{first:#?}");
    assert!(first.iter().any(|line| line.contains("parts=\"score=fallback (connect)\"")), "{first:#?}");
    for minute in &minutes {
        assert!(minute.len() < 10, "{minute:#?}");
    }
    let [summary] = &minutes[2][..] else { panic!("{:#?}", minutes[2]) };
    assert!(summary.contains("more failures within a minute") && summary.contains("score: "), "{summary}");
    assert_eq!(day.health("score"), Health::Down);
    assert_eq!(day.health("steady"), Health::Healthy);
    let seen = day.statistics.nanoservice("score");
    let since = seen.since.unwrap().duration_since(died);
    assert!((0..10).contains(&since.as_secs()), "since it died, and not since the last probe: {since}");
    assert!(seen.refused > 100 && seen.fetches_per_second < 0.2, "refusals are no requests: {seen:?}");
    assert_eq!(seen.failures, 1.0, "{seen:?}");
    let record = day.site.explain("/").await;
    let brief = record.all().find(|part| part.id == "brief").unwrap();
    assert_eq!((brief.fragment.as_str(), brief.outcome), ("score", "fallback"));
    assert!(["connect", "circuit-open"].contains(&brief.reason.unwrap()));
    assert_eq!(day.errors(), [("score".to_owned(), "connect", "simulated by the test".to_owned())]);
    let group = &day.statistics.failures()[0];
    let missing = day.outcomes(&["fragment=\"score\"", "outcome=\"fallback\""]);
    let refused = day.outcomes(&["fragment=\"score\"", "reason=\"circuit-open\""]);
    assert_eq!((group.count, group.refused), (missing, refused));

    // Another one is slow, and then too slow.
    day.site.set_behaviour("late", after(Duration::from_millis(700), html("late")));
    day.load(&["/"], 2).await;
    assert_eq!(day.health("late"), Health::Degraded);
    day.site.set_behaviour("late", hangs());
    let minutes = day.load(&["/"], 3).await;
    assert_eq!(day.health("late"), Health::Down);
    for minute in &minutes {
        assert!(minute.len() < 10, "{minute:#?}");
    }
    let log = minutes.concat();
    assert_eq!(starts(&log, "page degraded for other reasons"), 1, "{log:#?}");
    assert!(log.iter().any(|line| line.contains("late=fallback (timeout), score=fallback (connect)")), "{log:#?}");
    assert_eq!(minutes[2].len(), 1, "{:#?}", minutes[2]);

    // Both recover.
    day.site.set_behaviour("score", html("2:2"));
    day.site.set_behaviour("late", html("in time"));
    let log = day.load(&["/"], 3).await.concat();
    assert_eq!((starts(&log, "circuit closed"), starts(&log, "page no longer degraded")), (2, 1), "{log:#?}");
    for name in ["steady", "score", "late"] {
        assert_eq!(day.health(name), Health::Healthy, "{name}");
    }
    assert_eq!(day.load(&["/"], 1).await.concat(), [""; 0]);

    // Somebody mistypes an address, again and again.
    let errors = day.errors();
    assert_eq!(day.load(&["/town/oslo", "/town/olso", "/town/osol"], 2).await.concat(), [""; 0]);
    let seen = day.statistics.nanoservice("town");
    assert_eq!((seen.health, seen.failures, seen.degraded), (Health::Healthy, 0.0, 0.0), "{seen:?}");
    // The last minute has eleven to twelve slots of five seconds.
    assert!((36 * RATE..=40 * RATE).contains(&seen.gone) && seen.latest == Some("fresh"), "{seen:?}");
    let caching = seen.caching.unwrap();
    assert!(caching.cached, "the last response that was one: {}", caching.why);
    assert_eq!(day.errors(), errors);
    assert_eq!(day.statistics.page("/town/{town}").degraded, 0.0);
    assert_eq!(day.outcomes(&["fragment=\"town\"", "reason=\"gone\""]), 8 * 10 * RATE);
    let record = day.site.explain("/town/olso").await;
    assert_eq!(record.parts[0].why, "fallback: the service answered 404");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_now_and_then_fills_no_log() {
    for (percent, health) in [(30, Health::Degraded), (60, Health::Failing)] {
        let site = TestCompositor::new()
            .layout("p.html", "+++\nroute = \"/\"\nquery = [\"n\"]\n+++\n<fragment name=a data-n={n}>-</fragment>")
            .defaults(|defaults| defaults.resilience.breaker.failures = 1_000);
        let count = Mutex::new(0);
        let day = Day::begin(site.fragment("a", move |request| {
            let mut count = count.lock().unwrap();
            *count += 37;
            if *count % 100 < percent { responds(500, &[], "")(request) } else { html("a")(request) }
        }));
        let pages: Vec<String> = (0..60).map(|number| format!("/?n={number}")).collect();
        let pages: Vec<&str> = pages.iter().map(String::as_str).collect();
        let minutes = day.load(&pages, 5).await;
        for minute in &minutes {
            assert!(minute.len() < 10, "{percent} %: {minute:#?}");
        }
        assert!(day.health("a") >= health, "{percent} %: {}", day.health("a"));
        assert!(day.health("a") < Health::Down || percent > 50, "{percent} %");
    }
}

/// The nanoservices that the API lists, with their health.
async fn api(admin: &str, path: &str) -> Value {
    let response = client().get(format!("{admin}{path}")).send().await.unwrap();
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_dead_service_a_mistyped_address_and_a_broken_file_over_real_sockets() {
    let (steady, gone) = (
        RawService::html(Duration::ZERO, "Cache-Control: max-age=600\r\n", "steady").await,
        RawService::start(Duration::ZERO, "HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await,
    );
    let site = TestSite::new()
        .front("<fragment name=steady id=lead /><fragment name=dead id=brief>-</fragment>")
        .file("layouts/town.html", "+++\nroute = \"/town/{name}\"\n+++\n<fragment name=town data-n={name}>-</fragment>")
        .service("steady", steady.address)
        .service("town", gone.address)
        .service("dead", "127.0.0.1:1".parse().unwrap());
    let mut server = site.serve().await;
    for number in 0..40 {
        assert_eq!(server.text("/").await, "steady-");
        assert_eq!(server.text(&format!("/town/{number}")).await, "-");
        let missing = if number % 4 == 0 { "/old-page" } else { "/%0A%1B%5B31mred" };
        assert_eq!(server.get(missing).await.status(), 404);
    }
    let fragments = api(&server.admin, "/api/fragments").await;
    let seen = |name: &str| {
        let found = fragments.as_array().unwrap().iter().find(|one| one["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {fragments:#}"))["seen"].clone()
    };
    for (name, health) in [("steady", "healthy"), ("town", "healthy"), ("dead", "down")] {
        assert_eq!(seen(name)["health"], health, "{fragments:#}");
    }
    assert_eq!(seen("town")["gone"], 40);
    assert!(seen("dead")["since"].as_str().is_some() && seen("dead")["refused"].as_u64().unwrap() > 20);
    let errors = api(&server.admin, "/api/errors").await;
    let groups = errors["errors"].as_array().unwrap();
    assert_eq!(groups.len(), 1, "{errors:#}");
    assert_eq!((&groups[0]["fragment"], &groups[0]["reason"]), (&json!("dead"), &json!("connect")));
    assert_eq!(
        errors["unrouted"],
        json!({"requests": 40, "paths": [
            {"path": "/\\n\\u{1b}[31mred", "requests": 30},
            {"path": "/old-page", "requests": 10},
        ]})
    );
    assert_eq!(server.metric("pasteup_unrouted_requests_total").await, 40);
    let explained = api(&server.admin, "/api/explain?path=/").await;
    assert_eq!(explained["parts"][1]["fragment"], "dead");
    let metrics = client().get(format!("{}/metrics", server.admin)).send().await.unwrap().text().await.unwrap();
    for expected in [
        "pasteup_fragment_health{fragment=\"dead\"} 3",
        "pasteup_fragment_health{fragment=\"steady\"} 0",
        "pasteup_fragment_health{fragment=\"town\"} 0",
        "pasteup_fragment_outcomes_total{fragment=\"town\",outcome=\"fallback\",reason=\"gone\"} 40",
        "pasteup_circuit_state{upstream=\"http://127.0.0.1:1\"} 1",
        "pasteup_upstream_info{upstream=\"http://127.0.0.1:1\",fragment=\"dead\"} 1",
        "pasteup_requests_in_flight 0",
        "pasteup_requests_in_flight_limit 4096",
        "pasteup_cache_limit_bytes 268435456",
        "pasteup_cache_evictions_total 0",
        "http_server_request_duration_seconds_count{http_route=\"/\",http_response_status_code=\"200\"} 40",
        "http_server_request_duration_seconds_count{http_route=\"/town/{name}\",http_response_status_code=\"200\"} 40",
        "http_server_request_duration_seconds_count{http_route=\"\",http_response_status_code=\"404\"} 40",
    ] {
        assert!(metrics.lines().any(|line| line == expected), "{expected} is not in\n{metrics}");
    }
    assert!(!metrics.contains("brief") && !metrics.contains("lead"), "no ids of parts: {metrics}");
    assert!(metrics.contains("pasteup_build_info{version=\""), "{metrics}");
    #[cfg(target_os = "linux")]
    for name in ["cpu_seconds_total", "resident_memory_bytes", "open_fds", "max_fds", "start_time_seconds"] {
        let value = metrics.lines().find_map(|line| line.strip_prefix(&format!("process_{name} ")));
        let value: f64 = value.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap();
        assert!(value >= 0.0, "{name}: {value}");
    }
    let console = client().get(format!("{}/errors", server.admin)).send().await.unwrap().text().await.unwrap();
    assert!(console.contains("/old-page") && console.contains("/\\n\\u{1b}[31mred"), "{console}");

    // A file with an error changes nothing about the pages, and is logged once.
    site.write("layouts/front.html", "+++\nroute = \"/\"\n+++\n<fragment name=nobody />");
    until(async || api(&server.admin, "/api/problems").await.as_array().unwrap().len() == 1).await;
    assert_eq!(server.text("/").await, "steady-");
    server.process.terminate();
    assert!(server.process.exit_status().await.success());
    let log = server.process.output();
    let lines: Vec<String> = log.lines().filter(|line| line.contains("WARN")).map(str::to_owned).collect();
    assert_eq!(starts(&lines, "fetch failed"), 1, "{log}");
    assert_eq!(starts(&lines, "circuit opened"), 1, "{log}");
    assert_eq!(starts(&lines, "page degraded"), 1, "{log}");
    assert_eq!(starts(&lines, "keeping the last good version"), 1, "{log}");
    assert_eq!(starts(&lines, "more failures within a minute"), 1, "what was not logged yet: {log}");
    assert!(lines.len() < 10, "{log}");
}
