//! The front page in a real browser: with three real nanoservices, with one of them down, and after its recovery.

use std::time::Duration;

use crate::support::browser::Browser;
use crate::support::process::{TestSite, root, sample};
use crate::support::service::RawService;

/// The sample site with its nanoservices at other addresses.
fn sample_site(services: &[(&str, &str)]) -> TestSite {
    fn copy(from: &std::path::Path, to: &std::path::Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let target = to.join(path.file_name().unwrap());
            if path.is_dir() {
                copy(&path, &target);
            } else {
                std::fs::copy(&path, &target).unwrap();
            }
        }
    }
    let site = TestSite::new();
    for folder in ["layouts", "public"] {
        copy(&root().join(folder), &site.path().join(folder));
    }
    for on_demand in ["fragments/tides", "fragments/almanac"] {
        copy(&root().join(on_demand), &site.path().join(on_demand));
    }
    for (name, address) in services {
        let file = format!("fragments/{name}/fragment.toml");
        let manifest = std::fs::read_to_string(root().join(&file)).unwrap();
        let at = manifest.find("127.0.0.1:").expect("a sample nanoservice is on this machine");
        let end = at + manifest[at..].find('/').unwrap();
        site.write(&file, &format!("{}{address}{}", &manifest[..at], &manifest[end..]));
    }
    site
}

#[tokio::test]
async fn the_front_page_loses_one_part_and_recovers() {
    let (_headlines, headlines_at) = sample("headlines", 0).await;
    let (mut weather, weather_at) = sample("weather", 0).await;
    let (_scores, scores_at) = sample("scores", 0).await;
    let site = sample_site(&[("headlines", &headlines_at), ("weather", &weather_at), ("scores", &scores_at)]);
    let mut server = site.serve().await;
    let browser = Browser::start().await;
    let client = &browser.client;
    client.set_window_size(1280, 1000).await.unwrap();

    client.goto(&server.pages).await.unwrap();
    assert_eq!(client.title().await.unwrap(), "The Daily Courier");
    assert_eq!(browser.count("h1").await, 1);
    assert_eq!(browser.count("main").await, 1);
    for corner in ["hl-", "wx-", "sc-"] {
        assert!(browser.count(&format!("[class^={corner}]")).await > 0, "{corner}: {}", server.process.output());
    }
    assert_eq!(browser.count("fragment, include").await, 0, "no element of the layout language is left");
    assert_eq!(browser.count("main .notice").await, 0, "no fallback is shown");
    let current = browser.text("nav [aria-current=page]").await;
    assert_eq!(current, "Front page", "the navigation marks the page");
    let aligned = browser.evaluate("getComputedStyle(document.querySelector('.masthead-name')).textAlign").await;
    assert_eq!(aligned, "center", "the style sheet of public/ has arrived");
    let icon = browser.evaluate("document.querySelector('link[rel=icon]').href").await;
    assert_eq!(icon, format!("{}/favicon.svg", server.pages));
    let icon = server.get("/favicon.svg").await;
    assert_eq!((icon.status().as_u16(), icon.headers()["content-type"].to_str().unwrap()), (200, "image/svg+xml"));
    assert_eq!(browser.console_messages().await, Vec::<String>::new(), "the policy allows all that the page loads");
    let whole = browser.text("main").await;
    browser.screenshot("front-wide.png").await;
    let wide: bool = serde_json::from_value(
        client.execute("return document.documentElement.scrollWidth <= innerWidth", vec![]).await.unwrap(),
    )
    .unwrap();
    assert!(wide, "nothing overflows");

    weather.kill().await;
    // The part's two seconds of freshness pass; everything else is unchanged.
    wait_until(&browser, &server.pages, |count| count == 1).await;
    assert_eq!(browser.text("main .notice").await, "No word from the weather station. See all towns");
    assert_eq!(browser.count("[class^=wx-]").await, 0);
    assert!(browser.count("[class^=hl-]").await > 0 && browser.count("[class^=sc-]").await > 0);
    browser.screenshot("front-one-service-down.png").await;

    let port = weather_at.rsplit(':').next().unwrap().parse().unwrap();
    let (_weather, _) = sample("weather", port).await;
    wait_until(&browser, &server.pages, |count| count == 0).await;
    assert_eq!(browser.text("main").await, whole);

    client.set_window_size(500, 900).await.unwrap();
    client.goto(&server.pages).await.unwrap();
    browser.screenshot("front-narrow.png").await;
    let narrow: bool = serde_json::from_value(
        client.execute("return document.documentElement.scrollWidth <= innerWidth", vec![]).await.unwrap(),
    )
    .unwrap();
    assert!(narrow, "nothing overflows a narrow window");

    for (path, heading) in [("/sport/north.1", 1), ("/sport", 1), ("/weather", 1), ("/weather/saltmarsh", 1)] {
        client.goto(&format!("{}{path}", server.pages)).await.unwrap();
        assert_eq!(browser.count("h1").await, heading, "{path}");
        assert_eq!(browser.count("main .notice").await, 0, "{path} is complete");
    }
    client.goto(&format!("{}/sport", server.pages)).await.unwrap();
    browser.evaluate("scrollTo(0, 99999)").await;
    for part in ["first", "last"] {
        browser.wait_for(&format!(".columns-two > .sc:{part}-child")).await;
    }
    browser.screenshot("sport-scrolled.png").await;
    client.goto(&format!("{}/nowhere", server.pages)).await.unwrap();
    assert_eq!(client.title().await.unwrap(), "Page not found - The Daily Courier", "the site's own page for a 404");
    let width = browser.evaluate("document.querySelector('.page-picture').naturalWidth").await;
    assert!(width.as_u64().is_some_and(|width| width > 0), "the picture has arrived");
    browser.screenshot("not-found.png").await;
    browser.stop().await;
}

/// Reloads the page until it has the wanted number of fallbacks.
async fn wait_until(browser: &Browser, url: &str, wanted: impl Fn(usize) -> bool) {
    for _ in 0..200 {
        browser.client.goto(url).await.unwrap();
        if wanted(browser.count("main .notice").await) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the number of fallbacks never changed");
}

#[tokio::test]
async fn a_fragment_that_closes_foreign_elements_does_not_break_the_page() {
    let broken = "</main><textarea><!--";
    let service = RawService::html(Duration::ZERO, "", broken).await;
    let page = "<!doctype html><title>t</title><body><main><h1>Before</h1><fragment name=a /><p id=after>After</p></main><footer>End</footer>";
    let site = TestSite::new().front(page).service("a", service.address);
    let server = site.serve().await;
    let browser = Browser::start().await;
    browser.client.goto(&server.pages).await.unwrap();
    assert_eq!(browser.text("main > #after").await, "After");
    assert_eq!(browser.text("body > footer").await, "End");
    browser.screenshot("broken-fragment.png").await;
    browser.stop().await;
}
