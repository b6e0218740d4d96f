//! A real browser that tests control over WebDriver.

use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use url::Url;

use super::process::{Process, root};

/// axe-core 4.14.1 (MPL-2.0), from npm.
const AXE: &str = include_str!("axe.min.js");

/// A headless Chromium that a test controls.
pub(crate) struct Browser {
    driver: Process,
    pub(crate) client: Client,
    _profile: TempDir,
}

/// A command of the Chrome DevTools Protocol.
#[derive(Debug)]
struct Cdp(Value);

impl WebDriverCompatibleCommand for Cdp {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.0.to_string()))
    }
}

/// A request for the messages in the browser's console.
#[derive(Debug)]
struct Log;

impl WebDriverCompatibleCommand for Log {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({ "type": "browser" }).to_string()))
    }
}

impl Browser {
    /// The serious and critical accessibility violations that axe finds in an element of the page.
    pub(crate) async fn accessibility_violations(&self, selector: &str) -> Vec<String> {
        self.client.execute(AXE, vec![]).await.unwrap();
        let script = "const done = arguments[arguments.length - 1]; axe.run(arguments[0]).then(done)";
        let found = self.client.execute_async(script, vec![json!(selector)]).await.unwrap();
        assert!(!found["passes"].as_array().unwrap().is_empty(), "nothing was checked: {found:#}");
        let serious = |one: &&Value| matches!(one["impact"].as_str(), Some("serious" | "critical"));
        let summary = |one: &Value| format!("{}: {} {}", one["id"], one["help"], one["nodes"][0]["html"]);
        found["violations"].as_array().unwrap().iter().filter(serious).map(summary).collect()
    }

    /// Starts a browser whose navigation waits until a page is complete.
    pub(crate) async fn start() -> Self {
        Self::start_with("normal", &[]).await
    }

    /// Starts a browser whose navigation does not wait, with more command-line arguments.
    pub(crate) async fn start_without_waiting(more: &[&str]) -> Self {
        Self::start_with("none", more).await
    }

    async fn start_with(strategy: &str, more: &[&str]) -> Self {
        // chromedriver needs the same port free in IPv4 and IPv6, and ends if the selected one is not.
        let (driver, port) = loop {
            let mut command = Command::new("chromedriver");
            command.arg("--port=0");
            let mut driver = Process::start(command);
            if let Some(port) = driver.line_or_end("started successfully on port ").await {
                break (driver, port);
            }
            assert!(driver.output().contains("Address already in use"), "{}", driver.output());
        };
        let profile = tempfile::tempdir().unwrap();
        let folder = format!("--user-data-dir={}", profile.path().display());
        let mut arguments = vec![
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            &folder,
        ];
        arguments.extend(more);
        let capabilities = json!({
            "pageLoadStrategy": strategy,
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities.as_object().unwrap().clone())
            .connect(&format!("http://127.0.0.1:{}", port.trim_end_matches('.')))
            .await
            .expect("chromium starts: `make test` installs it");
        Self { driver, client, _profile: profile }
    }

    pub(crate) async fn text(&self, selector: &str) -> String {
        self.client.find(Locator::Css(selector)).await.unwrap().text().await.unwrap()
    }

    pub(crate) async fn count(&self, selector: &str) -> usize {
        self.client.find_all(Locator::Css(selector)).await.unwrap().len()
    }

    /// Waits until an element exists.
    pub(crate) async fn wait_for(&self, selector: &str) {
        self.client.wait().for_element(Locator::Css(selector)).await.unwrap();
    }

    /// The value of a JavaScript expression on the page.
    pub(crate) async fn evaluate(&self, script: &str) -> Value {
        self.client.execute(&format!("return {script}"), vec![]).await.unwrap()
    }

    /// A command of the Chrome DevTools Protocol.
    pub(crate) async fn cdp(&self, command: &str, parameters: Value) -> Value {
        self.client.issue_cmd(Cdp(json!({ "cmd": command, "params": parameters }))).await.unwrap()
    }

    /// Disables scripts from now on.
    pub(crate) async fn forbid_scripts(&self) {
        self.cdp("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    }

    /// The texts that a screen reader reads, in order, from the accessibility tree.
    pub(crate) async fn screen_reader_text(&self) -> Vec<String> {
        let tree = self.cdp("Accessibility.getFullAXTree", json!({})).await;
        let nodes = tree["nodes"].as_array().unwrap();
        let find = |id: &Value| nodes.iter().find(|node| node["nodeId"] == *id);
        let mut spoken = Vec::new();
        let mut next: Vec<&Value> = nodes.first().into_iter().collect();
        while let Some(node) = next.pop() {
            let name = node["name"]["value"].as_str().unwrap_or_default();
            if node["role"]["value"] == "StaticText" && !name.trim().is_empty() {
                spoken.push(name.trim().to_owned());
            }
            next.extend(node["childIds"].as_array().into_iter().flatten().rev().filter_map(find));
        }
        spoken
    }

    /// The messages in the console since the last call.
    pub(crate) async fn console_messages(&self) -> Vec<String> {
        let entries = self.client.issue_cmd(Log).await.unwrap();
        entries
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Saves a screenshot for people to look at.
    pub(crate) async fn screenshot(&self, name: &str) -> Vec<u8> {
        let folder = root().join("target/screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        let picture = self.client.screenshot().await.unwrap();
        std::fs::write(folder.join(name), &picture).unwrap();
        picture
    }

    pub(crate) async fn stop(mut self) {
        self.client.close().await.unwrap();
        self.driver.kill().await;
    }
}
