//! The outcome of each part of a page, and its reason: `pasteup explain` and the admin API.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use pasteup::page::response::outcome::PartHealth;
use regex_lite::Regex;
use serde_json::{Value, json};

use crate::support::compositor::{TestCompositor, hangs, html as shown_html, html_cached};
use crate::support::process::{Server, TestSite, client};
use crate::support::service::RawService;

/// A complete response.
fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}").into_bytes()
}

fn html(headers: &str, body: &str) -> Vec<u8> {
    response("200 OK", &format!("Content-Type: text/html\r\n{headers}"), body)
}

/// A nanoservice whose response depends on the path, with every kind of response.
async fn service() -> RawService {
    RawService::responding(|request| {
        Some(match request.target.trim_start_matches('/') {
            "by-layout" | "by-service" => html("Cache-Control: max-age=60\r\n", "x"),
            "by-manifest" => html("Cache-Control: max-age=3600\r\n", "x"),
            "no-store" => html("Cache-Control: no-store\r\n", "x"),
            "private" => html("Cache-Control: private\r\n", "x"),
            "slow" => return None,
            "broken" => response(
                "500 Internal Server Error",
                "Content-Type: application/problem+json\r\n",
                "{\"title\":\"Out of paper\",\"detail\":\"tray 2\"}",
            ),
            "empty" => response("204 No Content", "", ""),
            "gone" => response("404 Not Found", "", ""),
            "json" => response("200 OK", "Content-Type: application/json\r\n", "{}"),
            "coded" => html("Content-Encoding: zip\r\n", "x"),
            "large" => html("", &"x".repeat(3000)),
            "cut" => b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9\r\nConnection: close\r\n\r\nx"
                .to_vec(),
            "card" => html("", "<fragment name=leaf /><fragment name=broken>sorry</fragment>"),
            "ring" => html("", "<fragment name=ring />"),
            "deep" => html("", "<fragment name=deeper />"),
            "deeper" => html("", "<fragment name=leaf />"),
            other => html("", other),
        })
    })
    .await
}

/// A nanoservice with more in its manifest.
fn manifest(site: TestSite, name: &str, service: &RawService, more: &str) -> TestSite {
    let address = service.address;
    let text = format!(
        "name = \"{name}\"\nversion = \"1.0.0\"\nowner = \"team-{name}\"\nendpoint = \"http://{address}/{name}\"\n{more}"
    );
    site.file(&format!("fragments/{name}/fragment.toml"), &text)
}

const LAYOUT: &str = "+++
route = [\"/\", \"/town/{town}\"]
owner = \"team-front\"
budget = \"1s\"
+++
<!doctype html><title>Front</title>
<fragment name=by-layout ttl=5s />
<fragment name=by-service />
<fragment name=by-manifest />
<fragment name=no-store />
<fragment name=nobody />
<fragment name=slow timeout=100ms>late</fragment>
<fragment name=broken>sorry</fragment>
<fragment name=refused id=away />
<fragment name=leaf id=mobile device=mobile />
<fragment name=empty />
<fragment name=gone />
<fragment name=card />
<fragment name=leaf id=below load=lazy>soon</fragment>
<fragment name=leaf id=late load=defer>soon</fragment>
";

async fn site(service: &RawService) -> TestSite {
    let site = TestSite::new().without_streaming().file("layouts/front.html", LAYOUT);
    let site = ["by-layout", "by-service", "no-store", "nobody", "slow", "broken", "empty", "gone", "leaf"]
        .into_iter()
        .fold(site, |site, name| manifest(site, name, service, ""));
    let site =
        manifest(site, "by-manifest", service, "runbook = \"https://example.org/run\"\n[cache]\nmax_ttl = \"10m\"\n");
    manifest(site, "card", service, "composes = [\"leaf\", \"broken\"]\n")
        .service("refused", "127.0.0.1:1".parse().unwrap())
}

/// The parts of a record, each by its id: `card` and `card/leaf`.
fn parts(record: &Value) -> Vec<(String, Value)> {
    fn gather(parts: &Value, above: &str, all: &mut Vec<(String, Value)>) {
        for part in parts.as_array().unwrap() {
            let id = format!("{above}{}", part["id"].as_str().unwrap());
            all.push((id.clone(), part.clone()));
            gather(&part["parts"], &format!("{id}/"), all);
        }
    }
    let mut all = Vec::new();
    gather(&record["parts"], "", &mut all);
    all
}

fn part(record: &Value, id: &str) -> Value {
    let found = parts(record).into_iter().find(|(known, _)| known == id);
    found.unwrap_or_else(|| panic!("no `{id}` in {record:#}")).1
}

/// Outcome and reason.
fn outcome_and_reason(part: &Value) -> (String, String) {
    let text = |name: &str| part[name].as_str().unwrap_or("-").to_owned();
    (text("outcome"), text("reason"))
}

async fn explained(site: &TestSite, more: &[&str]) -> Value {
    let output = site.run(&[&["explain", "--format", "json"], more].concat()).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn api(server: &Server, path: &str) -> Value {
    let response = client().get(format!("{}{path}", server.admin)).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.headers()["content-type"].to_str().unwrap()),
        (200, "application/json")
    );
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_page_is_explained_as_a_tree_with_times() {
    let service = service().await;
    let site = site(&service).await;
    let output = site.run(&["explain", "/"]).await;
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains('\u{1b}'), "NO_COLOR is respected");
    // Times and addresses differ in each run.
    let masked = Regex::new(r" *[▒█]+ [0-9.]+ m?s").unwrap().replace_all(&text, " [bar]");
    let masked = Regex::new(r"─+ [0-9.]+ m?s").unwrap().replace_all(&masked, "── [time]");
    let masked = Regex::new(r"\d[0-9.]* m?s of").unwrap().replace_all(&masked, "[time] of");
    let masked = masked.replace(&service.address.to_string(), "ADDRESS");
    insta::assert_snapshot!(masked);
}

#[tokio::test]
async fn each_part_has_its_outcome_reason_and_lifetime() {
    let service = service().await;
    let site = site(&service).await;
    let record = explained(&site, &["/"]).await;
    assert_eq!(record["route"], "/");
    assert_eq!(record["layout"], "layouts/front.html");
    assert_eq!(record["owner"], "team-front");
    assert_eq!((&record["status"], &record["budget_ms"]), (&json!(200), &json!(1000.0)));
    assert_eq!(record["varies_on"], json!(["device"]));
    for (id, outcome, reason, cached) in [
        ("by-layout", "fresh", "-", "cached for 5s (layout ttl; the service allows 1m)"),
        ("by-service", "fresh", "-", "cached for 1m (service max-age)"),
        ("by-manifest", "fresh", "-", "cached for 10m (manifest max_ttl; the service allows 1h)"),
        ("no-store", "fresh", "-", "not cached: the response is `no-store`"),
        ("nobody", "fresh", "-", "not cached (default fragment.ttl; nothing else states a lifetime)"),
        ("slow", "fallback", "timeout", "-"),
        ("broken", "fallback", "status", "-"),
        ("away", "omitted", "connect", "-"),
        ("mobile", "omitted", "condition", "-"),
        ("empty", "omitted", "empty", "not cached (default fragment.ttl; nothing else states a lifetime)"),
        ("card/broken-2", "fallback", "status", "-"),
        ("card/leaf", "fresh", "-", "not cached (default fragment.ttl; nothing else states a lifetime)"),
        ("late", "fresh", "-", "not cached (default fragment.ttl; nothing else states a lifetime)"),
    ] {
        let part = part(&record, id);
        assert_eq!(outcome_and_reason(&part), (outcome.to_owned(), reason.to_owned()), "{id}");
        assert_eq!(part["kept"].as_str().unwrap_or("-"), cached, "{id}");
        assert!(part["why"].as_str().is_some_and(|why| !why.is_empty()), "{id}");
    }
    // The place of each part is that of its tag.
    for (number, line) in LAYOUT.lines().enumerate().filter(|(_, line)| line.starts_with("<fragment")) {
        let of = |name: &str| Some(line.split_once(name)?.1.split([' ', '>']).next().unwrap().to_owned());
        let part = part(&record, &of("id=").or_else(|| of("name=")).unwrap());
        assert_eq!(
            (part["file"].as_str(), part["line"].as_u64()),
            (Some("layouts/front.html"), Some(number as u64 + 1))
        );
    }
    let broken = part(&record, "broken");
    assert_eq!(broken["detail"], "it answered 500 (Out of paper: tray 2)");
    assert_eq!(broken["owner"], "team-broken");
    assert_eq!(broken["endpoint"], format!("http://{}", service.address));
    let mobile = part(&record, "mobile");
    assert_eq!(
        (&mobile["fragment"], &mobile["version"]),
        (&json!("leaf"), &json!("1.0.0")),
        "the nanoservice that would fill it"
    );
    assert_eq!(part(&record, "by-manifest")["runbook"], "https://example.org/run");
    let refused = part(&record, "away");
    assert!(refused["detail"].as_str().unwrap().contains("refused") && refused["tries"] == 2, "{refused}");
    let lazy = part(&record, "below");
    assert!(lazy["lazy"].as_str().unwrap().starts_with("/_pasteup/fragment/leaf/1.0.0?t="), "{lazy}");
    assert_eq!(lazy["why"], "loaded when the reader scrolls near it");
    // Times are in order, and within the budget.
    for (id, part) in parts(&record) {
        let (Some(start), Some(end)) = (part["start_ms"].as_f64(), part["end_ms"].as_f64()) else { continue };
        let first = part["first_byte_ms"].as_f64().unwrap_or(end);
        assert!(0.0 <= start && start <= first && first <= end && end <= 1000.0, "{id}: {part}");
    }
}

#[tokio::test]
async fn every_reason_of_a_failed_part_is_explained() {
    let service = service().await;
    let names = ["json", "coded", "cut", "gone", "slow", "leaf"];
    let site = TestSite::new()
        .file("pasteup.toml", "[page]\nmax_depth = 2\nmax_fragments = 16\n[fragment]\nbreaker_failures = 1\n");
    let site = names.into_iter().fold(site, |site, name| manifest(site, name, &service, ""));
    let site = manifest(site, "large", &service, "[limits]\nmax_bytes = \"1KiB\"\n");
    let site = manifest(site, "number", &service, "[params.n]\ntype = \"integer\"\n");
    let site = manifest(site, "ring", &service, "composes = [\"ring\"]\n");
    let site = manifest(site, "deep", &service, "composes = [\"deeper\"]\n");
    let site = manifest(site, "deeper", &service, "composes = [\"leaf\"]\n");
    let page =
        |route: &str, html: &str| format!("+++\nroute = \"{route}\"\nquery = [\"n\"]\nbudget = \"150ms\"\n+++\n{html}");
    let site = site.file(
        "layouts/p.html",
        &page(
            "/",
            "<fragment name=json /><fragment name=coded /><fragment name=cut /><fragment name=gone /><fragment name=large />\
             <fragment name=number data-n={n} /><fragment name=ring /><fragment name=deep />\
             <fragment name=slow timeout=5s>x</fragment>",
        ),
    );
    let record = explained(&site, &["/?n=x"]).await;
    for (id, reason) in [
        ("json", "not-html"),
        ("coded", "encoding"),
        ("cut", "incomplete"),
        ("gone", "gone"),
        ("large", "too-large"),
        ("number", "not-allowed"),
        ("ring/ring-2", "cycle"),
        ("deep/deeper/leaf", "depth"),
    ] {
        let part = part(&record, id);
        assert_eq!(outcome_and_reason(&part), ("omitted".to_owned(), reason.to_owned()), "{id}");
        assert!(part["why"].as_str().unwrap().starts_with("nothing shown, no fallback: "), "{part}");
    }
    let slow = part(&record, "slow");
    assert_eq!(outcome_and_reason(&slow), ("fallback".to_owned(), "budget".to_owned()));
    assert_eq!(slow["why"], "fallback: the page's budget of 150ms was over before the service responded");
}

#[tokio::test(start_paused = true)]
async fn reasons_that_no_nanoservice_causes_are_explained() {
    let cards = "<fragment name=leaf data-n=1 /><fragment name=leaf data-n=2 /><fragment name=leaf data-n=3 />";
    let site = TestCompositor::new()
        .layout("many", "+++\nroute = \"/many\"\n+++\n<fragment name=many />")
        .layout("odd", "+++\nroute = \"/odd\"\n+++\n<fragment name=odd />")
        .layout("old", "+++\nroute = \"/old\"\n+++\n<fragment name=old />")
        .fragment("leaf", shown_html("leaf"))
        .fragment_with("many", "composes = [\"leaf\"]\n", shown_html(cards))
        .fragment_with("odd", "composes = [\"leaf\"]\n", shown_html("<fragment name=leaf version=\"^9\" />"))
        .fragment("old", html_cached("old", "max-age=5, stale-while-revalidate=60"))
        .defaults(|defaults| defaults.max_fragments = 3)
        .start();
    let of = async |path: &str, id: &str| {
        let record = site.get(path).await.0.record();
        let part = record.all().find(|part| part.id == id).unwrap_or_else(|| panic!("no `{id}` in {record:?}"));
        (part.outcome, part.reason.unwrap_or("-"), part.health, part.why.clone())
    };
    let page_is_full = "nothing shown, no fallback: the page has as many fragments as `page.max_fragments` allows";
    assert_eq!(of("/many", "leaf-2").await.1, "-");
    assert_eq!(of("/many", "leaf-3").await, ("omitted", "too-many", PartHealth::Missing, page_is_full.to_owned()));
    let nobody = "nothing shown, no fallback: the service has no endpoint that can be used";
    assert_eq!(of("/odd", "leaf").await, ("omitted", "unknown", PartHealth::Missing, nobody.to_owned()));
    assert_eq!(of("/old", "old").await.1, "-");
    tokio::time::advance(Duration::from_secs(6)).await;
    let renewed = "a stale response, while a new one is fetched";
    assert_eq!(of("/old", "old").await, ("stale", "revalidating", PartHealth::Old, renewed.to_owned()));
    site.drain().await;
    site.set_behaviour("old", |_| panic!("a fault of the compositor"));
    tokio::time::advance(Duration::from_secs(100)).await;
    let fault = "nothing shown, no fallback: internal error of the compositor";
    assert_eq!(of("/old", "old").await, ("omitted", "internal", PartHealth::Missing, fault.to_owned()));
}

#[tokio::test]
async fn explained_pages_are_not_counted() {
    let service = service().await;
    let server = site(&service).await.serve().await;
    assert!(server.text("/").await.contains("sorry"));
    for _ in 0..3 {
        assert_eq!(api(&server, "/api/explain?path=/").await["status"], 200);
        assert_eq!(client().get(format!("{}/page?route=/", server.admin)).send().await.unwrap().status(), 200);
    }
    let errors = api(&server, "/api/errors").await;
    let seen: u64 = errors["errors"].as_array().unwrap().iter().map(|one| one["count"].as_u64().unwrap()).sum();
    assert_eq!(seen, 4, "only those of the one client's page, `broken` in two places: {errors:#}");
}

#[tokio::test(start_paused = true)]
async fn a_timed_out_request_names_its_endpoint() {
    let site = TestCompositor::new().front("<fragment name=a timeout=100ms />").fragment("a", hangs()).start();
    let record = site.get("/").await.0.record();
    let [slow] = &record.parts[..] else { panic!("{record:?}") };
    assert_eq!((slow.reason, slow.tries, slow.endpoint.as_deref()), (Some("timeout"), 1, Some("http://a.test")));
    assert_eq!(slow.detail.as_deref(), Some("no complete response within 100ms"));
    assert_eq!((slow.timeout_ms, slow.end_ms), (Some(100.0), Some(100.0)), "the page waited no longer");
}

#[tokio::test]
async fn the_api_and_the_command_report_the_same() {
    let service = service().await;
    let site = site(&service).await;
    let server = site.serve().await;
    let comparable = |record: &Value| -> Vec<(String, Value)> {
        let same =
            ["fragment", "version", "owner", "outcome", "reason", "why", "kept", "endpoint", "file", "line", "lazy"];
        let only = |part: &Value| same.iter().map(|name| ((*name).to_owned(), part[*name].clone())).collect();
        parts(record).into_iter().map(|(id, part)| (id, Value::Object(only(&part)))).collect()
    };
    let purge = || {
        let post = client().post(format!("{}/api/purge", server.admin)).header("content-type", "application/json");
        post.body("{\"all\":true}").send()
    };
    for (flags, query) in
        [(&["/"][..], "path=/"), (&["/town/ulm", "--device", "mobile"], "path=/town/ulm&device=mobile")]
    {
        assert_eq!(purge().await.unwrap().status(), 200);
        let (by_command, by_api) =
            (explained(&site, flags).await, api(&server, &format!("/api/explain?{query}")).await);
        assert_eq!(comparable(&by_command), comparable(&by_api));
        for same in ["route", "layout", "owner", "status", "varies_on"] {
            assert_eq!(by_command[same], by_api[same]);
        }
        let shown = outcome_and_reason(&part(&by_api, "mobile"));
        assert_eq!(shown.0, if query.contains("mobile") { "fresh" } else { "omitted" });
    }
    // A cached response is reported with its age.
    let cached = part(&api(&server, "/api/explain?path=/").await, "by-layout");
    assert_eq!(cached["cache"], "hit");
    assert!(cached["age_ms"].as_f64().unwrap() < 5000.0 && cached["ttl_ms"].as_f64().unwrap() <= 5000.0);
    assert!(cached["kept"].as_str().unwrap().contains(" of 5s (layout ttl"), "{cached}");
    assert_eq!(cached["why"], "a cached response that is still fresh");
}

#[tokio::test]
async fn invalid_requests_get_problem_details_that_name_the_fix() {
    let server = TestSite::new().front("x").serve().await;
    for (query, status, cure) in [
        ("", 400, "the page's path is missing: add `?path=/`"),
        ("?path=", 400, "path is missing"),
        ("?path=/&region=Germany", 400, "`Germany` is not an ISO 3166-1 code; did you mean `DE`?"),
        ("?path=/&colour=red", 400, "is not one of path, device, region, locale, variant, header and at"),
        ("?path=/&device=fridge", 400, "`device`"),
        ("?path=/&at=tomorrow", 400, "`at`"),
        ("?path=/&variant=lead", 400, "write it like `lead:big`"),
        ("?path=/&header=x", 400, "write it like `Accept-Language: en`"),
        ("?path=/a%2F../b", 400, "/a/../b"),
        ("?path=/%00", 400, ""),
        ("?path=news", 400, "paths begin with `/`"),
        ("?path=http://evil.example/", 400, "paths begin with `/`"),
        ("?path=*", 400, "paths begin with `/`"),
        ("?path=/nowhere", 404, "no layout has a route for it"),
    ] {
        let response = client().get(format!("{}/api/explain{query}", server.admin)).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{query}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{query}");
        let problem: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().unwrap().contains(cure), "{query}: {problem}");
    }
    let response = client().post(format!("{}/api/explain?path=/", server.admin)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn with_a_token_every_api_requires_it() {
    let site = TestSite::new().front("x");
    let server = site.serve_with(&[("PASTEUP_SERVER__ADMIN_TOKEN", "hush-hush-hush-hush")]).await;
    for path in ["explain?path=/", "pages", "fragments", "errors", "problems"] {
        let get = |token: &str| {
            client()
                .get(format!("{}/api/{path}", server.admin))
                .header("authorization", format!("Bearer {token}"))
                .send()
        };
        let without = client().get(format!("{}/api/{path}", server.admin)).send().await.unwrap();
        assert_eq!(
            (without.status().as_u16(), without.headers()["www-authenticate"].to_str().unwrap()),
            (401, "Bearer")
        );
        assert_eq!(get("hush-hush-hush-husk").await.unwrap().status(), 401, "{path}");
        assert_eq!(get("hush-hush-hush-hush").await.unwrap().status(), 200, "{path}");
    }
    let request_token = |token: &str, media_type: &str, body: &'static str| {
        let post = client().post(format!("{}/api/debug-token", server.admin)).body(body);
        post.header("authorization", format!("Bearer {token}")).header("content-type", media_type).send()
    };
    assert_eq!(request_token("", "application/json", "{}").await.unwrap().status(), 401);
    assert_eq!(
        request_token("hush-hush-hush-hush", "text/plain", "{}").await.unwrap().status(),
        415,
        "a form on another site cannot request one"
    );
    for wrong in ["", "{\"hours\":1}", "{\"minutes\":0}", "{\"minutes\":10081}", "{\"minutes\":-1}"] {
        assert_eq!(
            request_token("hush-hush-hush-hush", "application/json", wrong).await.unwrap().status(),
            400,
            "{wrong}"
        );
    }
    let token: Value = serde_json::from_str(
        &request_token("hush-hush-hush-hush", "application/json", "{}").await.unwrap().text().await.unwrap(),
    )
    .unwrap();
    assert_eq!(token["path"], format!("/_pasteup/debug?token={}", token["token"].as_str().unwrap()));
}

#[tokio::test]
async fn the_api_lists_live_pages_nanoservices_and_errors() {
    let service = service().await;
    let site = site(&service).await;
    let server = site.serve().await;
    for _ in 0..3 {
        assert_eq!(server.get("/").await.status(), 200);
    }
    let pages = api(&server, "/api/pages").await;
    let routes: Vec<&str> = pages.as_array().unwrap().iter().map(|page| page["route"].as_str().unwrap()).collect();
    assert_eq!(routes, ["/", "/town/{town}"]);
    let front = &pages[0];
    assert_eq!((&front["layout"], &front["owner"]), (&json!("layouts/front.html"), &json!("team-front")));
    assert!(front["fragments"].as_array().unwrap().contains(&json!("leaf")));
    assert!(front["seen"]["per_second"].as_f64().unwrap() > 0.0 && front["seen"]["degraded"] == 1.0, "{front}");
    assert!(front["seen"]["p50_ms"].as_f64().unwrap() >= 100.0, "it waited for the slow part: {front}");
    assert_eq!(pages[1]["seen"]["per_second"], 0.0);

    let fragments = api(&server, "/api/fragments").await;
    let find = |name: &str| {
        let found = fragments.as_array().unwrap().iter().find(|one| one["name"] == name);
        found.unwrap_or_else(|| panic!("no `{name}` in {fragments:#}"))
    };
    for (name, health, latest, reason) in [
        ("by-layout", "healthy", "fresh", "-"),
        ("slow", "down", "fallback", "timeout"),
        ("broken", "down", "fallback", "status"),
        ("refused", "down", "omitted", "connect"),
        ("empty", "healthy", "omitted", "empty"),
    ] {
        let seen = &find(name)["seen"];
        assert_eq!(seen["health"], health, "{name}: {seen}");
        assert_eq!(
            (seen["latest"].as_str().unwrap_or("-"), seen["latest_reason"].as_str().unwrap_or("-")),
            (latest, reason)
        );
    }
    let seen = &find("by-layout")["seen"];
    assert_eq!((&seen["bytes"], &seen["failures"]), (&json!(1), &json!(0.0)), "{seen}");
    assert_eq!(seen["keeping"]["why"], "cached for 5s (layout ttl; the service allows 1m)");
    assert_eq!(
        find("no-store")["seen"]["keeping"],
        json!({ "kept": false, "why": "not cached: the response is `no-store`" })
    );
    assert_eq!(find("by-layout")["pages"], json!(["/", "/town/{town}"]));
    assert_eq!(find("card")["composes"], json!(["leaf", "broken"]));
    assert_eq!(find("by-manifest")["runbook"], "https://example.org/run");
    // The list has the names of nanoservices, and not the ids of parts.
    let mut names: Vec<&str> = fragments.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "broken",
            "by-layout",
            "by-manifest",
            "by-service",
            "card",
            "empty",
            "gone",
            "leaf",
            "no-store",
            "nobody",
            "refused",
            "slow"
        ]
    );

    let errors = api(&server, "/api/errors").await;
    let find = |fragment: &str, reason: &str| {
        let mut found = errors["errors"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| one["fragment"] == fragment && one["reason"] == reason);
        let first = found.next().unwrap_or_else(|| panic!("no `{fragment}` for `{reason}` in {errors:#}"));
        assert!(found.next().is_none(), "one entry per cause");
        first
    };
    // It is on the page itself, and in `card`.
    let broken = find("broken", "status");
    assert_eq!((&broken["count"], &broken["page"]), (&json!(6), &json!("/")));
    assert_eq!(broken["detail"], "it answered 500 (Out of paper: tray 2)");
    assert_eq!(find("slow", "timeout")["count"], 3);
    assert_eq!(find("slow", "timeout")["detail"], "no complete response within 100ms");
    let causes: Vec<&Value> = errors["errors"].as_array().unwrap().iter().map(|one| &one["reason"]).collect();
    for answer in ["condition", "empty", "gone"] {
        assert!(!causes.contains(&&json!(answer)), "{causes:?}");
    }
}

#[tokio::test]
async fn open_circuits_and_file_changes_are_reported() {
    let site =
        TestSite::new().file("pasteup.toml", "[fragment]\nbreaker_failures = 2\nretries = 0\nbreaker_open = \"30s\"\n");
    let site = site.front("<fragment name=refused>away</fragment>").service("refused", "127.0.0.1:1".parse().unwrap());
    let mut server = site.serve().await;
    let circuit = async |server: &Server| api(server, "/api/fragments").await[0]["endpoints"].clone();
    assert_eq!(circuit(&server).await, json!([{ "url": "http://127.0.0.1:1/refused", "circuit": "closed" }]));
    for _ in 0..3 {
        assert_eq!(server.text("/").await, "away");
    }
    assert_eq!(circuit(&server).await[0]["circuit"], "open");
    let seen = &api(&server, "/api/fragments").await[0]["seen"];
    assert_eq!((&seen["latest"], &seen["latest_reason"]), (&json!("fallback"), &json!("circuit-open")));
    assert_eq!(outcome_and_reason(&part(&api(&server, "/api/explain?path=/").await, "refused")).1, "circuit-open");

    site.write("layouts/front.html", "+++\nroute = \"/\"\n+++\n<fragment name=nope />");
    server.process.line("reloaded: 1 error").await;
    let change = &api(&server, "/api/errors").await["changes"][0];
    assert_eq!(change["what"], "Reload failed: 1 error (layouts/front.html)");
    // The same objects as the command prints.
    let output = site.run(&["check", "--format", "json"]).await;
    let lines: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(api(&server, "/api/problems").await, json!(lines));
    assert_eq!(lines[0]["line"], 4);
    site.write("layouts/front.html", "+++\nroute = \"/\"\n+++\nright");
    server.wait_for_text("/", "right").await;
    assert_eq!(api(&server, "/api/problems").await, json!([]));
    assert_eq!(api(&server, "/api/fragments").await[0]["pages"], json!([]), "a fragment that no page uses");
}

/// The record in a page with the overlay.
pub(crate) fn overlay(page: &str) -> Value {
    let (_, behind) = page.split_once("data-pasteup-overlay>").expect("the page has the overlay");
    serde_json::from_str(behind.split_once("</script>").unwrap().0).unwrap()
}

/// A debug token.
pub(crate) async fn token(server: &Server) -> String {
    let post = client().post(format!("{}/api/debug-token", server.admin)).header("content-type", "application/json");
    let response: Value = serde_json::from_str(&post.body("{}").send().await.unwrap().text().await.unwrap()).unwrap();
    response["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_view_reports_the_same_reason_within_two_seconds() {
    let mode = Arc::new(Mutex::new("well"));
    let current = Arc::clone(&mode);
    let service = RawService::responding(move |_| match *current.lock().unwrap() {
        "well" => Some(html("", "well")),
        "slow" => None,
        "failing" => Some(response("500 Internal Server Error", "", "")),
        // Closes the connection without a response.
        _ => Some(Vec::new()),
    })
    .await;
    let site = TestSite::new()
        .front("<fragment name=a timeout=150ms>fallback</fragment>")
        .service("a", service.address)
        .file("pasteup.toml", "[fragment]\nbreaker_failures = 100\n");
    let mut server = site.serve().await;
    let token = token(&server).await;
    assert_eq!(server.text("/").await, "well");
    for (next, reason) in [("slow", "timeout"), ("failing", "status"), ("gone", "connect")] {
        *mode.lock().unwrap() = next;
        let changed = std::time::Instant::now();
        let page = client().get(&server.pages).header("pasteup-debug", &token).send().await.unwrap();
        let timing = page.headers()["server-timing"].to_str().unwrap().to_owned();
        assert!(timing.contains(&format!("desc=\"fallback, {reason}")), "{timing}");
        let record = overlay(&page.text().await.unwrap())["record"].clone();
        let expected = ("fallback".to_owned(), reason.to_owned());
        assert_eq!(outcome_and_reason(&part(&record, "a")), expected, "overlay");
        server.process.line(&format!("parts=\"a=fallback ({reason})\"")).await;
        let fragment = api(&server, "/api/fragments").await[0].clone();
        assert_eq!(
            (fragment["seen"]["latest"].as_str(), fragment["seen"]["latest_reason"].as_str()),
            (Some("fallback"), Some(reason))
        );
        assert_eq!(api(&server, "/api/errors").await["errors"][0]["reason"], reason);
        let metrics = client().get(format!("{}/metrics", server.admin)).send().await.unwrap().text().await.unwrap();
        let line =
            format!("pasteup_fragment_outcomes_total{{fragment=\"a\",outcome=\"fallback\",reason=\"{reason}\"}} 1");
        assert!(metrics.contains(&line), "{metrics}");
        assert_eq!(outcome_and_reason(&part(&api(&server, "/api/explain?path=/").await, "a")), expected, "explain");
        assert!(changed.elapsed() < Duration::from_secs(2), "{:?}", changed.elapsed());
        let by_command = explained(&site, &["/"]).await;
        assert_eq!(outcome_and_reason(&part(&by_command, "a")), expected, "the command");
    }
    *mode.lock().unwrap() = "well";
    assert_eq!(server.text("/").await, "well");
    assert_eq!(api(&server, "/api/fragments").await[0]["seen"]["latest"], "fresh");
}

const EXPERIMENT: &str = "+++
route = \"/\"
[experiment.lead]
none = 0
big = 1
small = 1
+++
<!doctype html><title>t</title>
<when variant=lead:big><fragment name=big /></when>
<when variant=lead:small>
  <fragment name=small><fragment name=big id=inside /></fragment>
  <when device=mobile><fragment name=big id=lazy load=lazy /></when>
</when>
<fragment name=both />
";

#[tokio::test]
async fn without_a_variant_the_page_of_the_first_one_is_explained_and_hidden_parts_are_listed() {
    let service = service().await;
    let site = TestSite::new().without_streaming().file("layouts/front.html", EXPERIMENT);
    let site = ["big", "small"].into_iter().fold(site, |site, name| manifest(site, name, &service, ""));
    let site = manifest(site, "both", &service, "context = [\"variant\"]\n");
    let server = site.serve().await;
    let shown = |record: &Value| -> Vec<String> {
        let all = parts(record).into_iter();
        all.map(|(id, part)| {
            let (outcome, reason) = outcome_and_reason(&part);
            assert!(!part["lazy"].is_string(), "{id}");
            format!("{id} {outcome} {reason} {}", part["timeout_ms"].is_number())
        })
        .collect()
    };
    let big =
        ["big fresh - true", "small omitted condition false", "lazy omitted condition false", "both fresh - true"];
    let small =
        ["big omitted condition false", "small fresh - true", "lazy omitted condition false", "both fresh - true"];
    for (arguments, query, expected) in [
        (&["/"][..], "", big),
        (&["/", "--variant", "lead:big"], "&variant=lead:big", big),
        (&["/", "--variant", "lead:small"], "&variant=lead:small", small),
        (&["/", "--header", "Cookie: pasteup-lead=small"], "&header=Cookie:%20pasteup-lead%3Dsmall", small),
    ] {
        assert_eq!(shown(&explained(&site, arguments).await), expected, "{arguments:?}");
        assert_eq!(shown(&api(&server, &format!("/api/explain?path=/{query}")).await), expected, "{query}");
    }
    assert!(String::from_utf8(site.run(&["render", "/"]).await.stdout).unwrap().contains("big"));
}

#[tokio::test]
async fn an_unknown_experiment_or_variant_is_refused() {
    let service = service().await;
    let site = TestSite::new().file("layouts/front.html", "+++\nroute = \"/\"\nexperiment.lead = { big = 1, small = 1 }\n+++\n<when variant=lead:big>b</when><when variant=lead:small>s</when>");
    let site = manifest(site, "a", &service, "");
    let server = site.serve().await;
    for (variants, message) in [
        (&["lead:bog"][..], "variant `lead:bog`: the experiment has no variant `bog`; did you mean `big`?"),
        (&["lead:huge"], "variant `lead:huge`: the experiment has no variant `huge`; available: big, small"),
        (&["foot:a"], "variant `foot:a`: layouts/front.html has no experiment `foot`; available: lead"),
        (&["lead:big", "lead:small"], "variant `lead:small`: the experiment is named twice"),
    ] {
        for command in ["explain", "render"] {
            let options = variants.iter().flat_map(|variant| ["--variant", variant]);
            let output = site.run(&[command, "/"].into_iter().chain(options).collect::<Vec<_>>()).await;
            assert_eq!(output.status.code(), Some(2), "{command}");
            let printed = String::from_utf8(output.stderr).unwrap();
            assert!(printed.contains(message), "{printed}");
        }
        let query: String = variants.iter().map(|variant| format!("&variant={variant}")).collect();
        let response = client().get(format!("{}/api/explain?path=/{query}", server.admin)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert!(response.text().await.unwrap().contains(message.split_once(": ").unwrap().0));
    }
}
