//! Every screen of the console while a service is dead, a file has an error and versions are rolled out: on a wide screen
//! and on a telephone, light and dark.

use std::time::Duration;

use serde_json::json;

use crate::overlay::size;
use crate::support::browser::Browser;
use crate::support::process::{Server, TestSite, until};
use crate::support::service::RawService;

/// A manifest of a version of a nanoservice.
fn manifest(name: &str, version: &str, address: &str, more: &str) -> String {
    format!(
        "name = \"{name}\"\nversion = \"{version}\"\nendpoint = \"http://{address}/{name}\"\nowner = \"team-{name}\"\n\
         runbook = \"https://example.org/runbooks/{name}\"\n{more}"
    )
}

/// A site with two pages: `scores` is dead, `tides` goes away, and a new version of `weather` is rolled out.
async fn site(steady: &RawService, broken: &RawService) -> (TestSite, Server) {
    let (good, bad) = (steady.address.to_string(), broken.address.to_string());
    let site = TestSite::new()
        .file("pasteup.toml", "[server]\nwatch = \"off\"\n")
        .front(
            "<title>Front</title><h1>Front</h1><fragment name=weather data-city=\"port-alder\" data-days=7 />\
             <fragment name=scores id=results data-league=\"north.1\">no scores</fragment>",
        )
        .file(
            "layouts/town.html",
            "+++\nroute = \"/town/{name}\"\nowner = \"team-town\"\n+++\n<fragment name=weather data-city=\"{name}\" /><fragment name=tides />",
        )
        .file("fragments/weather/fragment.toml", &manifest("weather", "1.0.0", &good, ""))
        .file("fragments/scores/fragment.toml", &manifest("scores", "2.3.1", "127.0.0.1:9", ""))
        .file(
            "fragments/tides/fragment.toml",
            &manifest("tides", "1.0.0", &good, "lifecycle = \"deprecated\"\nsunset = 2020-01-31\nsuccessor = \"weather\"\n"),
        );
    let server = site.serve().await;
    let visit = async || {
        for path in ["/", "/town/hill", "/town/saltmarsh", "/no-such-page"] {
            server.text(path).await;
        }
    };
    visit().await;
    site.write(
        "fragments/weather-2/fragment.toml",
        &manifest("weather", "1.1.0", &good, "[rollout]\nsteps = [5, 50]\nmin_requests = 100000\n"),
    );
    site.write(
        "fragments/tides-2/fragment.toml",
        &manifest("tides", "1.1.0", &bad, "[rollout]\nsteps = [50]\nmin_requests = 100000\n"),
    );
    site.write("layouts/news.html", "+++\nroute = \"/news\"\n+++\n<fragment name=wether />");
    assert_eq!(server.admin_post("/api/reload", "").await.status(), 200);
    // The version that always fails is rolled back.
    until(async || {
        visit().await;
        server.admin_get("/api/rollouts").await.text().await.unwrap().contains("rolled-back")
    })
    .await;
    (site, server)
}

#[tokio::test]
async fn every_screen_with_trouble_on_it_fits_and_is_accessible() {
    let steady = RawService::html(
        Duration::ZERO,
        "Cache-Control: max-age=600\r\nSurrogate-Key: town-1 weather-of-all-towns\r\n",
        "<p>sun</p>",
    )
    .await;
    let broken = RawService::responding(|_| {
        Some(b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec())
    })
    .await;
    let (_site, server) = site(&steady, &broken).await;
    let browser = Browser::start().await;
    let mut wrong = Vec::new();
    for (path, expected, picture) in [
        ("/", vec!["scores is down", "1 file with errors", "layouts/news.html", "team-scores"], "now"),
        ("/fragments", vec!["scores", "down since", "weather"], "fragments"),
        ("/fragment?name=scores", vec!["Connection to 127.0.0.1:9 refused", "team-scores"], "fragment"),
        ("/errors", vec!["Connection to 127.0.0.1:9 refused", "/no-such-page"], "errors"),
        ("/pages", vec!["/town/{name}"], "pages"),
        ("/page?route=/", vec!["results", "fallback (c"], "page"),
        ("/cache", vec!["city=port-alder, days=7", "Fresh for", "Hits", "Purge"], "cache"),
        (
            "/versions",
            vec!["running", "step 1 of 2", "rolled-back", "2020-01-31 (over)", "of 100000 answers"],
            "versions",
        ),
        ("/map", vec!["scores", "down", "http://127.0.0.1:9"], "map"),
        ("/problems", vec!["did you mean `weather`?", "Issue a debug token"], "problems"),
    ] {
        for (width, scheme) in [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")] {
            size(&browser, width, 1200).await;
            let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
            browser.cdp("Emulation.setEmulatedMedia", json!({ "features": features })).await;
            browser.client.goto(&format!("{}{path}", server.admin)).await.unwrap();
            let text = browser.text("main").await;
            for wanted in expected.iter().filter(|wanted| !text.contains(**wanted)) {
                wrong.push(format!("{path} shows no `{wanted}` at {width}:\n{text}"));
            }
            let overflow = "document.documentElement.scrollWidth > document.documentElement.clientWidth";
            if browser.evaluate(overflow).await != false {
                wrong.push(format!("{path} is wider than {width}"));
            }
            // Tables may scroll by themselves, but on a telephone none needs to.
            let wide = "[...document.querySelectorAll('.wide')].filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.getAttribute('aria-label'))";
            let wide = browser.evaluate(wide).await;
            if width == 390 && wide != json!([]) {
                wrong.push(format!("{path} has tables that are wider than {width}: {wide}"));
            }
            // Each width and each scheme once: axe takes longer than everything else.
            if (width == 390) == (scheme == "dark") {
                let violations = browser.accessibility_violations("html").await;
                wrong.extend(violations.into_iter().map(|one| format!("{path}, {width}, {scheme}: {one}")));
            }
            browser.screenshot(&format!("trouble-{picture}-{width}-{scheme}.png")).await;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    browser.stop().await;
}
