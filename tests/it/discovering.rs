//! Services that tell of themselves: read, read again by their own caching, kept when they go away.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::support::process::TestSite;
use crate::support::service::served;

/// A service that tells of itself what a test wants, and answers with its version.
#[derive(Clone, Default)]
struct Telling {
    told: Arc<Mutex<(u16, String)>>,
    asked: Arc<AtomicUsize>,
    unchanged: Arc<AtomicUsize>,
}

impl Telling {
    async fn start() -> (Self, String) {
        let telling = Self::default();
        let router = Router::new()
            .route("/.well-known/fragments.json", get(tell))
            .route(
                "/v/{version}",
                get(|axum::extract::Path(version): axum::extract::Path<String>| async move {
                    ([("content-type", "text/html")], version)
                }),
            )
            .with_state(telling.clone());
        let address = served(router).await;
        (telling, format!("http://{address}"))
    }

    fn tells(&self, status: u16, text: impl ToString) {
        *self.told.lock().unwrap() = (status, text.to_string());
    }
}

async fn tell(State(telling): State<Telling>, headers: HeaderMap) -> Response {
    telling.asked.fetch_add(1, Ordering::SeqCst);
    let (status, text) = telling.told.lock().unwrap().clone();
    let tag = format!("\"{:x}\"", text.len());
    if headers.get("if-none-match").is_some_and(|held| *held == tag) {
        telling.unchanged.fetch_add(1, Ordering::SeqCst);
        return (StatusCode::NOT_MODIFIED, [("etag", tag)]).into_response();
    }
    (StatusCode::from_u16(status).unwrap(), [("content-type", "application/json".to_owned()), ("etag", tag)], text)
        .into_response()
}

fn manifest(url: &str, name: &str, version: &str) -> Value {
    json!({"name": name, "version": version, "owner": "team-a", "endpoint": format!("{url}/v/{version}"), "cache": {"ttl": "0s"}})
}

fn site(url: &str) -> TestSite {
    TestSite::new()
        .front("<fragment name=\"told\">nobody</fragment>")
        .file("pasteup.toml", &format!("[discovery]\nmanifests = [\"{url}\"]\nrefresh = \"1s\"\n"))
}

#[tokio::test]
async fn a_service_that_tells_of_itself_is_found_followed_and_remembered() {
    let (telling, url) = Telling::start().await;
    telling.tells(200, json!({"fragments": [manifest(&url, "told", "1.0.0")]}));
    let site = site(&url);
    let mut server = site.serve().await;
    assert_eq!(server.text("/").await, "1.0.0");
    telling.tells(200, json!({"fragments": [manifest(&url, "told", "1.0.0"), manifest(&url, "told", "10.2.0")]}));
    server.becomes("/", "10.2.0").await;
    // It is asked by its tag, which is not the place where this waits.
    while telling.unchanged.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // It goes away, and says rubbish: what it told last stays.
    for (status, text, said) in [
        (503, String::new(), "it answers 503 Service Unavailable; what it told last stays in use"),
        (200, "<p>rubbish".to_owned(), "error[manifest]"),
        (200, json!({"fragments": [{"name": "told", "version": "next"}]}).to_string(), "is no version"),
    ] {
        telling.tells(status, text);
        server.process.line(said).await;
        server.process.line("reloaded").await;
        assert_eq!(server.text("/").await, "10.2.0", "{said}");
    }
    telling.tells(200, json!({"fragments": [manifest(&url, "told", "11.0.0")]}));
    server.becomes("/", "11.0.0").await;
}

#[tokio::test]
async fn the_merged_catalogue_is_served_and_holds_no_secret() {
    let (telling, url) = Telling::start().await;
    telling.tells(200, json!({"fragments": [manifest(&url, "told", "1.0.0")]}));
    let site = site(&url).file(
        "fragments/own/fragment.toml",
        "name = \"own\"\nversion = \"2.0.0\"\nendpoint = \"http://127.0.0.1:1/own\"\ncontext = [\"locale\"]\n\
         [params.city]\npattern = \"[a-z]+\"\nrequired = true\n[auth]\nkind = \"bearer\"\ntoken = \"env:OWN_TOKEN\"\n",
    );
    let server = site.serve_with(&[("OWN_TOKEN", "hush")]).await;
    let text = server.text("/.well-known/fragments.json").await;
    assert!(!text.contains("OWN_TOKEN") && !text.contains("hush") && !text.contains("auth"));
    let merged: Value = serde_json::from_str(&text).unwrap();
    let own = json!({"name": "own", "version": "2.0.0", "endpoint": "http://127.0.0.1:1/own", "context": ["locale"],
        "params": {"city": {"pattern": "[a-z]+", "required": true}}});
    assert_eq!(merged, json!({"fragments": [own, manifest(&url, "told", "1.0.0")]}));
    // Another compositor can read it.
    let other = TestSite::new().front("<fragment name=told />").file(
        "pasteup.toml",
        &format!("[discovery]\nmanifests = [\"{}\"]\n[upstreams]\nallow = [\"http://127.0.0.1:*\"]\n", server.pages),
    );
    assert_eq!(other.serve().await.text("/").await, "1.0.0");
}

#[tokio::test]
async fn one_version_from_two_owners_is_an_error_that_names_both() {
    let (telling, url) = Telling::start().await;
    telling.tells(200, json!({"fragments": [manifest(&url, "told", "1.0.0")]}));
    let own = |owner: &str, version: &str| {
        format!(
            "name = \"told\"\nversion = \"1.0.0\"\nowner = \"{owner}\"\nendpoint = \"{url}/v/{version}\"\n[cache]\nttl = \"0s\"\n"
        )
    };
    let site = site(&url).file("fragments/told/fragment.toml", &own("team-b", "1.0.0"));
    let output = site.run(&["check"]).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("(team-a)") && said.contains("(team-b)") && said.contains(&url), "{said}");
    // One owner who tells the same in two places is right.
    site.write("fragments/told/fragment.toml", &own("team-a", "1.0.0"));
    assert_eq!(site.run(&["check"]).await.status.code(), Some(0));
    site.write("fragments/told/fragment.toml", &own("team-a", "0.9.0"));
    assert_eq!(site.run(&["check"]).await.status.code(), Some(1));
}

#[tokio::test]
async fn check_asks_services_unless_it_is_told_not_to() {
    let (telling, url) = Telling::start().await;
    telling.tells(200, json!({"fragments": [manifest(&url, "told", "1.0.0")]}));
    let site = site(&url);
    assert_eq!(site.run(&["check"]).await.status.code(), Some(0));
    let before = telling.asked.load(Ordering::SeqCst);
    assert_eq!(site.run(&["check", "--offline"]).await.status.code(), Some(1), "nobody else declares it");
    assert_eq!(telling.asked.load(Ordering::SeqCst), before);
    site.write("pasteup.toml", "[discovery]\nmanifests = [\"http://127.0.0.1:1\"]\n");
    let output = site.run(&["check", "--format", "json"]).await;
    let said = String::from_utf8(output.stdout).unwrap();
    let warning: Value = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .find(|line: &Value| line["code"] == "discovery")
        .unwrap();
    assert_eq!(
        (&warning["file"], &warning["line"], &warning["severity"]),
        (&json!("pasteup.toml"), &json!(2), &json!("warning"))
    );
    assert!(warning["message"].as_str().unwrap().contains("it has told nothing yet"));
}

#[tokio::test]
async fn check_tells_that_a_service_says_it_is_going_away() {
    let router = Router::new().route(
        "/a",
        get(|| async {
            let ending = [("deprecation", "@1767225600"), ("sunset", "Thu, 31 Dec 2026 23:59:59 GMT")];
            ([("content-type", "text/html")], ending, "x").into_response()
        }),
    );
    let site = TestSite::new().front("\n<fragment name=a />").service("a", served(router).await);
    let output = site.run(&["check", "--format", "json"]).await;
    let warning: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&warning["code"], &warning["line"]), (&json!("deprecated"), &json!(5)));
    assert_eq!(warning["message"], "`a` 1.0.0 says that it is deprecated since 2026-01-01, gone from 2026-12-31 on");
    assert!(site.run(&["check", "--offline", "--format", "json"]).await.stdout.is_empty());
}

#[tokio::test]
async fn conform_holds_a_url_against_what_its_service_tells_of_itself() {
    let (telling, url) = Telling::start().await;
    let mut told = manifest(&url, "told", "1.0.0");
    told["params"] = json!({"city": {"required": true}});
    telling.tells(200, json!({"fragments": [told]}));
    let site = TestSite::new();
    let failed = async |url: String| {
        let output = site.run(&["conform", &url, "--format", "json", "--param", "city=x"]).await;
        let lines = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let failed = lines.iter().filter(|line| line["verdict"] == "failed");
        failed.map(|line| line["rule"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(failed(format!("{url}/v/1.0.0")).await, ["bad-parameter"], "it takes a request without its city");
    assert_eq!(failed(format!("{url}/v/2.0.0")).await, [""; 0], "of this one nothing is told");
}

#[tokio::test]
async fn a_source_names_no_secret_no_other_address_and_no_other_teams_service() {
    let (telling, url) = Telling::start().await;
    let mut with_secret = manifest(&url, "greedy", "1.0.0");
    with_secret["auth"] = json!({"kind": "bearer", "token": "env:HOME"});
    let elsewhere = manifest("http://169.254.169.254", "elsewhere", "1.0.0");
    let taken = manifest(&url, "own", "9.9.9");
    telling.tells(200, json!({"fragments": [with_secret, elsewhere, taken, manifest(&url, "told", "1.0.0")]}));
    let own = format!("name = \"own\"\nversion = \"1.0.0\"\nowner = \"team-b\"\nendpoint = \"{url}/v/own\"\n");
    let site = site(&url)
        .file("fragments/own/fragment.toml", &own)
        .file("layouts/p.html", "+++\nroute = \"/p\"\n+++\n<fragment name=own /><fragment name=told />");
    let output = site.run(&["check", "--format", "json"]).await;
    let said = String::from_utf8(output.stdout).unwrap();
    for mistake in [
        "`auth` is never taken from a service itself",
        "`elsewhere` is told to be at http://169.254.169.254, which is no address of its source",
        "`own` is declared in fragments/own/fragment.toml (team-b), and here by another (team-a)",
    ] {
        assert!(said.contains(mistake), "{said}");
    }
    assert_eq!(said.lines().count(), 3, "{said}");
    let server = site.serve().await;
    assert_eq!(server.text("/p").await, "own1.0.0", "what is right of it is used");
}

#[tokio::test]
async fn a_broken_or_hostile_document_costs_a_message_and_no_more() {
    let (telling, url) = Telling::start().await;
    telling.tells(200, json!({"fragments": [manifest(&url, "told", "1.0.0")]}));
    let site = site(&url);
    let mut server = site.serve().await;
    assert_eq!(server.text("/").await, "1.0.0");
    // It ends within a character of two bytes.
    telling.tells(200, "{\"fragments\":[{\"name\":\"caf\u{e9}");
    server.process.line("error[manifest]").await;
    server.process.line("reloaded").await;
    let other = |number: usize| {
        let mut manifest = manifest(&url, "told", "2.0.0");
        manifest["runbook"] = json!(number.to_string());
        manifest
    };
    let many: Vec<Value> = (0..1_000).map(other).collect();
    telling.tells(200, json!({"fragments": many}));
    server.process.line("996 more").await;
    let mut large = manifest(&url, "told", "3.0.0");
    large["params"] = json!({"x": {"pattern": "([a-z]{100}){1000}"}});
    telling.tells(200, json!({"fragments": [large]}));
    server.process.line("pattern").await;
    site.write("layouts/other.html", "+++\nroute = \"/other\"\n+++\nother");
    server.becomes("/other", "other").await;
    assert_eq!(server.text("/").await, "1.0.0");
}
