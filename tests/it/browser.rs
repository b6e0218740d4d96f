//! The front page in a real browser, with three real services, with one of them down, and back.

use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::process::{Process, TestSite, root, sample};

/// A headless Chromium that a test drives.
struct Browser {
    driver: Process,
    client: Client,
    _profile: TempDir,
}

impl Browser {
    async fn start() -> Self {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0");
        let mut driver = Process::start(command);
        let port = driver.line("started successfully on port ").await;
        let profile = tempfile::tempdir().unwrap();
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let capabilities = json!({ "goog:chromeOptions": { "args": arguments } });
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities.as_object().unwrap().clone())
            .connect(&format!("http://127.0.0.1:{}", port.trim_end_matches('.')))
            .await
            .expect("chromium starts: `make test` installs it");
        Self { driver, client, _profile: profile }
    }

    async fn text(&self, selector: &str) -> String {
        self.client.find(Locator::Css(selector)).await.unwrap().text().await.unwrap()
    }

    async fn count(&self, selector: &str) -> usize {
        self.client.find_all(Locator::Css(selector)).await.unwrap().len()
    }

    /// Keeps a picture of the page, for people to look at.
    async fn screenshot(&self, name: &str) {
        let folder = root().join("target/screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), self.client.screenshot().await.unwrap()).unwrap();
    }

    async fn stop(mut self) {
        self.client.close().await.unwrap();
        self.driver.kill().await;
    }
}

/// The sample site with its services at other addresses.
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
    copy(&root().join("layouts"), &site.path().join("layouts"));
    for (name, address) in services {
        let file = format!("fragments/{name}/fragment.toml");
        let manifest = std::fs::read_to_string(root().join(&file)).unwrap();
        let at = manifest.find("127.0.0.1:").expect("a sample is on this machine");
        let end = at + manifest[at..].find('/').unwrap();
        site.write(&file, &format!("{}{address}{}", &manifest[..at], &manifest[end..]));
    }
    site
}

#[tokio::test]
async fn the_front_page_is_whole_loses_one_corner_and_is_whole_again() {
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
        assert!(browser.count(&format!("[class^={corner}]")).await > 0, "{corner}: {}", server.process.said());
    }
    assert_eq!(browser.count("fragment, include").await, 0, "nothing of the layout's own language is left");
    assert_eq!(browser.count("main .notice").await, 0, "no fallback is shown");
    let whole = browser.text("main").await;
    browser.screenshot("front-wide.png").await;
    let wide: bool = serde_json::from_value(
        client.execute("return document.documentElement.scrollWidth <= innerWidth", vec![]).await.unwrap(),
    )
    .unwrap();
    assert!(wide, "nothing sticks out");

    weather.kill().await;
    // The corner's two seconds of freshness pass; everything else is as it was.
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
    assert!(narrow, "nothing sticks out of a narrow window");

    for (path, heading) in [("/sport/north.1", 1), ("/sport", 1), ("/weather", 1), ("/weather/saltmarsh", 1)] {
        client.goto(&format!("{}{path}", server.pages)).await.unwrap();
        assert_eq!(browser.count("h1").await, heading, "{path}");
        assert_eq!(browser.count("main .notice").await, 0, "{path} is whole");
    }
    client.goto(&format!("{}/nowhere", server.pages)).await.unwrap();
    assert_eq!(client.title().await.unwrap(), "Page not found");
    browser.screenshot("not-found.png").await;
    browser.stop().await;
}

/// Loads the page until its fallbacks are as many as wanted.
async fn wait_until(browser: &Browser, url: &str, wanted: impl Fn(usize) -> bool) {
    for _ in 0..200 {
        browser.client.goto(url).await.unwrap();
        if wanted(browser.count("main .notice").await) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the page never changed");
}
