//! The console in a real browser while pages are requested: its screens, their updates, accessibility, and access only
//! with the token.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use fantoccini::Locator;
use serde_json::json;

use crate::support::browser::Browser;
use crate::support::process::{Server, TestSite, client, until};
use crate::support::service::RawService;

/// A nanoservice that responds with the status that a test chooses.
async fn switchable() -> (RawService, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let chosen = Arc::clone(&status);
    let service = RawService::responding(move |_| {
        let (status, body) = (chosen.load(Ordering::SeqCst), "<p>score</p>");
        let head = format!("HTTP/1.1 {status} X\r\nContent-Type: text/html\r\nConnection: close\r\n");
        Some(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
    });
    (service.await, status)
}

/// A site of two pages and four nanoservices: one switches its status, one duplicates another, and one is on no page.
async fn site() -> (TestSite, RawService, RawService, Arc<AtomicU16>) {
    let steady = RawService::html(
        std::time::Duration::ZERO,
        "Cache-Control: max-age=600\r\nSurrogate-Key: town-1\r\n",
        "<p>sun</p>",
    )
    .await;
    let (switchable, status) = switchable().await;
    let manifest = |name: &str, at: &RawService, more: &str| {
        format!(
            "name = \"{name}\"\nversion = \"1.0.0\"\nendpoint = \"http://{}/{name}\"\nowner = \"team-{name}\"\n{more}",
            at.address
        )
    };
    let site = TestSite::new()
        .front("<title>Front</title><h1>Front</h1><fragment name=weather /><fragment name=score>no score</fragment>")
        .file(
            "layouts/town.html",
            "+++\nroute = \"/town/{name}\"\nowner = \"team-town\"\n+++\n<fragment name=weather /><fragment name=climate />",
        )
        .file("fragments/climate/fragment.toml", &manifest("climate", &steady, ""))
        .file("fragments/weather/fragment.toml", &manifest("weather", &steady, ""))
        .file("fragments/score/fragment.toml", &manifest("score", &switchable, ""))
        .file("fragments/unused/fragment.toml", &manifest("unused", &steady, "lifecycle = \"experimental\"\n"));
    (site, steady, switchable, status)
}

/// Waits until the updated section of a screen shows a text, without a reload.
/// Clicks on an element. The console replaces its content again and again, so the one that was found may be gone.
async fn click(browser: &Browser, css: &str) {
    until(async || match browser.client.find(Locator::Css(css)).await {
        Ok(element) => element.click().await.is_ok(),
        Err(_) => false,
    })
    .await;
}

async fn wait_for_text(browser: &Browser, text: &str) {
    let find = format!("//*[@id='live'][contains(., '{text}')]");
    browser.client.wait().for_element(Locator::XPath(&find)).await.unwrap();
}

async fn request(server: &Server, times: usize) {
    for _ in 0..times {
        server.text("/").await;
        server.text("/town/hill").await;
    }
}

#[tokio::test]
async fn each_screen_shows_what_is_live_and_is_accessible() {
    let (site, _steady, _switchable, status) = site().await;
    let server = site.serve().await;
    request(&server, 20).await;
    status.store(500, Ordering::SeqCst);
    request(&server, 6).await;
    let browser = Browser::start().await;
    for (path, expected, picture) in [
        ("/", vec!["score is down", "It answered 500", "team-score", "in flight"], "now"),
        ("/pages", vec!["/town/{name}", "Requests/s", "p99"], "pages"),
        ("/page?route=/", vec!["fallback (", "× 200", "As it is composed now"], "page"),
        ("/page?route=/town/{name}", vec!["/town/hill", "weather", "climate"], "page-with-parameter"),
        ("/fragments", vec!["weather", "down since ", "Failed", "their last responses were the same"], "fragments"),
        ("/fragment?name=score", vec!["team-score", "fallback (", "/score", "× 500", "It answered 500"], "fragment"),
        (
            "/map?of=weather",
            vec!["/town/{name}", "team-weather", "healthy", "http://127.0.0.1", "3 nanoservices"],
            "map",
        ),
        ("/errors", vec!["score", "It answered 500"], "errors"),
        ("/cache?text=weather", vec!["Fresh for", "Purge", "cached for 10m (service max-age)"], "cache"),
        ("/problems", vec!["No problems in any file", "Issue a debug token"], "problems"),
    ] {
        for (width, scheme) in [(1280, "light"), (390, "dark")] {
            browser.client.set_window_size(width, 900).await.unwrap();
            let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
            browser.cdp("Emulation.setEmulatedMedia", json!({ "features": features })).await;
            browser.client.goto(&format!("{}{path}", server.admin)).await.unwrap();
            let text = browser.text("main").await;
            for wanted in &expected {
                assert!(text.contains(wanted), "{path} shows no `{wanted}`:\n{text}");
            }
            assert_eq!(
                browser.accessibility_violations("html").await,
                Vec::<String>::new(),
                "{path}, {width}, {scheme}"
            );
            browser.screenshot(&format!("console-{picture}-{scheme}.png")).await;
        }
    }
    browser.stop().await;
}

#[tokio::test]
async fn the_first_screen_says_what_fails_while_it_fails_and_that_all_is_well_again() {
    let (site, _steady, _switchable, status) = site().await;
    let server = site.serve().await;
    request(&server, 1).await;
    let browser = Browser::start().await;
    browser.client.goto(&server.admin).await.unwrap();
    wait_for_text(&browser, "All is well").await;
    assert_eq!(browser.count(".badge").await, 0);
    let drawn = "[...document.querySelectorAll('[data-chart]')].filter((one) => one.querySelector('canvas')).length";
    assert_eq!(browser.evaluate(drawn).await, json!(3));
    status.store(500, Ordering::SeqCst);
    request(&server, 6).await;
    wait_for_text(&browser, "score is down").await;
    wait_for_text(&browser, "It answered 500").await;
    wait_for_text(&browser, "team-score").await;
    browser.client.wait().for_element(Locator::Css("nav a[href='/fragments'] .badge")).await.unwrap();
    assert_eq!(browser.evaluate(drawn).await, json!(3), "charts outlive an update");
    // The circuit closes with the first success; then there are soon more successes than failures.
    status.store(200, Ordering::SeqCst);
    let shows_recovery = async || {
        request(&server, 1).await;
        browser.text("#live").await.contains("score is degraded")
    };
    until(shows_recovery).await;
    browser.client.wait().for_element(Locator::XPath("//nav[not(.//*[@class='badge'])]")).await.unwrap();
    assert_eq!(browser.console_messages().await, Vec::<String>::new());
    browser.stop().await;
}

#[tokio::test]
async fn the_map_draws_what_depends_on_what() {
    let (site, _steady, switchable, _status) = site().await;
    let server = site.serve().await;
    let browser = Browser::start().await;
    browser.client.set_window_size(1280, 900).await.unwrap();
    browser.client.goto(&format!("{}/map", server.admin)).await.unwrap();
    let lines = "document.querySelectorAll('.map path').length";
    // Four uses on pages, one endpoint and one team for each nanoservice; `unused` is on no page.
    assert_eq!(browser.evaluate(lines).await, json!(4 + 4 + 4));
    let endpoint = format!("http://{}", switchable.address);
    let point = |name: &str| format!("document.querySelector('[data-name=\"{name}\"]').focus()");
    browser.evaluate(&point(&endpoint)).await;
    // From the front page to `score`, on to its endpoint, and to its team.
    assert_eq!(browser.evaluate(lines).await, json!(3));
    let linked = "[...document.querySelectorAll('.map .linked')].map((one) => one.dataset.name)";
    assert_eq!(browser.evaluate(linked).await, json!(["/", "score", endpoint, "team-score"]));
    browser.screenshot("console-map-pointing.png").await;
    browser.client.set_window_size(390, 900).await.unwrap();
    browser.evaluate("new Promise(requestAnimationFrame)").await;
    assert_eq!(browser.evaluate(lines).await, json!(0), "on a narrow screen there is a tree instead");
    browser.client.find(Locator::Css(".tree summary")).await.unwrap().click().await.unwrap();
    let tree = browser.text(".tree").await;
    assert!(tree.contains("score") && tree.contains(&endpoint) && tree.contains("On no page"), "{tree}");
    browser.stop().await;
}

#[tokio::test]
async fn a_screen_is_updated_without_a_reload() {
    let (site, _steady, _switchable, status) = site().await;
    let server = site.serve().await;
    request(&server, 1).await;
    let browser = Browser::start().await;
    browser.client.goto(&format!("{}/fragments", server.admin)).await.unwrap();
    wait_for_text(&browser, "fresh").await;
    status.store(503, Ordering::SeqCst);
    request(&server, 1).await;
    wait_for_text(&browser, "fallback (status)").await;
    browser.client.find(Locator::Css("[data-filter] input")).await.unwrap().send_keys("weath").await.unwrap();
    let only_one = "//*[@id='live'][count(.//tbody/tr) = 1]//th[contains(., 'weather')]";
    browser.client.wait().for_element(Locator::XPath(only_one)).await.unwrap();
    browser.client.refresh().await.unwrap();
    browser.client.wait().for_element(Locator::XPath(only_one)).await.unwrap();
    browser.client.goto(&format!("{}/problems", server.admin)).await.unwrap();
    site.write("layouts/town.html", "+++\nroute = \"/town/{name}\"\n+++\n<fragment name=wether />");
    wait_for_text(&browser, "did you mean `weather`?").await;
    wait_for_text(&browser, "The last good version of layouts/town.html stays live").await;
    browser.client.goto(&format!("{}/errors", server.admin)).await.unwrap();
    wait_for_text(&browser, "Reload failed: 1 error (layouts/town.html)").await;
    browser.stop().await;
}

#[tokio::test]
async fn a_purge_shows_how_many_responses_match_before_it_is_carried_out() {
    let (site, steady, _switchable, _status) = site().await;
    let server = site.serve().await;
    request(&server, 3).await;
    let before = steady.requests();
    let browser = Browser::start().await;
    browser.client.goto(&format!("{}/cache", server.admin)).await.unwrap();
    let form = browser.client.form(Locator::Css("[data-purge]")).await.unwrap();
    form.set_by_name("keys", "town-1 nobody").await.unwrap();
    let button = browser.client.find(Locator::Css("[data-purge] button")).await.unwrap();
    button.click().await.unwrap();
    let form_shows = async |text: &str| {
        let find = format!("//form[@data-purge]//*[contains(., '{text}')]");
        browser.client.wait().for_element(Locator::XPath(&find)).await.unwrap();
    };
    form_shows("Purge 2 responses").await;
    server.text("/").await;
    assert_eq!(steady.requests(), before, "nothing was purged yet");
    button.click().await.unwrap();
    form_shows("Purged 2 responses.").await;
    server.text("/").await;
    assert_eq!(steady.requests(), before + 1, "the front page holds one of the two responses");
    browser.stop().await;
}

#[tokio::test]
async fn a_single_response_is_purged_by_its_own_row() {
    let (site, steady, _switchable, _status) = site().await;
    let server = site.serve().await;
    request(&server, 3).await;
    let before = steady.requests();
    let browser = Browser::start().await;
    browser.client.goto(&format!("{}/cache?text=climate", server.admin)).await.unwrap();
    click(&browser, "[data-entry]").await;
    browser.client.wait().for_element(Locator::XPath("//output[contains(., 'Purged: climate')]")).await.unwrap();
    wait_for_text(&browser, "0 in the cache that match").await;
    request(&server, 1).await;
    assert_eq!(steady.requests(), before + 1, "only this response was fetched again");
    browser.stop().await;
}

#[tokio::test]
async fn a_probe_shows_that_a_nanoservice_answers_and_ends_the_pause_of_its_circuit() {
    let (site, _steady, switchable, status) = site().await;
    let settings = "[fragment]\nbreaker_open = \"30s\"\n";
    let server = site.file("pasteup.toml", settings).serve().await;
    status.store(500, Ordering::SeqCst);
    request(&server, 6).await;
    assert!(server.text("/").await.contains("no score"));
    let browser = Browser::start().await;
    browser.client.goto(&format!("{}/fragment?name=score", server.admin)).await.unwrap();
    let probe = async |expected: &str| {
        click(&browser, "[data-probe] button").await;
        let find = format!("//*[@id='probed'][contains(., '{expected}')]");
        browser.client.wait().for_element(Locator::XPath(&find)).await.unwrap();
    };
    probe("it answered 500").await;
    let asked = switchable.requests();
    assert!(server.text("/").await.contains("no score"), "the circuit stays open");
    assert_eq!(switchable.requests(), asked);
    status.store(200, Ordering::SeqCst);
    probe("it answered 200").await;
    assert!(server.text("/").await.contains("<p>score</p>"), "the pause is over");
    browser.stop().await;
}

#[tokio::test]
async fn only_clients_with_the_token_get_in() {
    let (site, _steady, _switchable, _status) = site().await;
    let server = site.serve_with(&[("PASTEUP_SERVER__ADMIN_TOKEN", "hush-hush-hush-hush")]).await;
    let client = client();
    let get = |path: &str| client.get(format!("{}{path}", server.admin));
    for path in ["/", "/map", "/console/live?of=/", "/api/pages", "/api/cache", "/metrics"] {
        for request in [
            get(path),
            get(path).bearer_auth("hus"),
            get(path).basic_auth("hush-hush-hush-hush", Some("other")),
            get(path).basic_auth("hush-hush-hush-hush", None::<&str>),
        ] {
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 401, "{path}");
            let offers: Vec<_> = response
                .headers()
                .get_all("www-authenticate")
                .iter()
                .map(|one| one.to_str().unwrap().to_owned())
                .collect();
            assert!(offers[0] == "Bearer" && offers[1].starts_with("Basic "), "{offers:?}");
        }
        assert_eq!(get(path).bearer_auth("hush-hush-hush-hush").send().await.unwrap().status(), 200, "{path}");
        assert_eq!(
            get(path).basic_auth("anybody", Some("hush-hush-hush-hush")).send().await.unwrap().status(),
            200,
            "{path}"
        );
    }
    assert_eq!(get("/livez").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_open_screen_does_not_delay_the_stop() {
    let (site, _steady, _switchable, _status) = site().await;
    let mut server = site.serve().await;
    let mut open = client().get(format!("{}/console/live?of=/", server.admin)).send().await.unwrap();
    assert!(open.chunk().await.unwrap().is_some());
    server.process.terminate();
    while open.chunk().await.is_ok_and(|chunk| chunk.is_some()) {}
    assert!(server.process.exit_status().await.success());
}
