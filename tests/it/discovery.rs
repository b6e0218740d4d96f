//! Nanoservices that publish their manifests: fetched, fetched again as their caching headers state, and still used when
//! they disappear.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::support::process::TestSite;
use crate::support::service::serve_router;

/// A nanoservice that publishes what a test chooses, and whose HTML is its version.
#[derive(Clone, Default)]
struct Publisher {
    document: Arc<Mutex<(u16, String)>>,
    requests: Arc<AtomicUsize>,
    not_modified: Arc<AtomicUsize>,
}

impl Publisher {
    async fn start() -> (Self, String) {
        let publisher = Self::default();
        let router = Router::new()
            .route("/.well-known/fragments.json", get(document))
            .route(
                "/v/{version}",
                get(|axum::extract::Path(version): axum::extract::Path<String>| async move {
                    ([("content-type", "text/html")], version)
                }),
            )
            .with_state(publisher.clone());
        let address = serve_router(router).await;
        (publisher, format!("http://{address}"))
    }

    fn publish(&self, status: u16, text: impl ToString) {
        *self.document.lock().unwrap() = (status, text.to_string());
    }
}

async fn document(State(publisher): State<Publisher>, headers: HeaderMap) -> Response {
    publisher.requests.fetch_add(1, Ordering::SeqCst);
    let (status, text) = publisher.document.lock().unwrap().clone();
    let tag = format!("\"{:x}\"", text.len());
    if headers.get("if-none-match").is_some_and(|given| *given == tag) {
        publisher.not_modified.fetch_add(1, Ordering::SeqCst);
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
        .front("<fragment name=\"published\">nobody</fragment>")
        .file("pasteup.toml", &format!("[discovery]\nmanifests = [\"{url}\"]\nrefresh = \"1s\"\n"))
}

#[tokio::test]
async fn published_manifests_are_found_followed_and_still_used_when_their_source_fails() {
    let (publisher, url) = Publisher::start().await;
    publisher.publish(200, json!({"fragments": [manifest(&url, "published", "1.0.0")]}));
    let site = site(&url);
    let mut server = site.serve().await;
    assert_eq!(server.text("/").await, "1.0.0");
    publisher.publish(
        200,
        json!({"fragments": [manifest(&url, "published", "1.0.0"), manifest(&url, "published", "10.2.0")]}),
    );
    server.wait_for_text("/", "10.2.0").await;
    // Wait for two conditional requests.
    while publisher.not_modified.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // The source fails or publishes invalid documents: its last good manifests stay in use.
    for (status, text, message) in [
        (503, String::new(), "it returned 503 Service Unavailable; its last manifests stay in use"),
        (200, "<p>rubbish".to_owned(), "error[manifest]"),
        (200, json!({"fragments": [{"name": "published", "version": "next"}]}).to_string(), "is not a valid version"),
    ] {
        publisher.publish(status, text);
        server.process.line(message).await;
        server.process.line("reloaded").await;
        assert_eq!(server.text("/").await, "10.2.0", "{message}");
    }
    publisher.publish(200, json!({"fragments": [manifest(&url, "published", "11.0.0")]}));
    server.wait_for_text("/", "11.0.0").await;
}

#[tokio::test]
async fn the_merged_catalogue_is_served_and_holds_no_secret() {
    let (publisher, url) = Publisher::start().await;
    publisher.publish(200, json!({"fragments": [manifest(&url, "published", "1.0.0")]}));
    let published = format!("[discovery]\nmanifests = [\"{url}\"]\npublish = true\n");
    let site = site(&url).file("pasteup.toml", &published).file(
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
    assert_eq!(merged, json!({"fragments": [own, manifest(&url, "published", "1.0.0")]}));
    // Another compositor can use it as a source.
    let other = TestSite::new().front("<fragment name=published />").file(
        "pasteup.toml",
        &format!("[discovery]\nmanifests = [\"{}\"]\n[upstreams]\nallow = [\"http://127.0.0.1:*\"]\n", server.pages),
    );
    let other = other.serve().await;
    assert_eq!(other.text("/").await, "1.0.0");
    let unpublished = reqwest::get(format!("{}/.well-known/fragments.json", other.pages)).await.unwrap();
    assert_eq!(unpublished.status(), 404, "addresses are public only where the operator wants that");
}

#[tokio::test]
async fn one_version_from_two_owners_is_an_error_that_names_both() {
    let (publisher, url) = Publisher::start().await;
    publisher.publish(200, json!({"fragments": [manifest(&url, "published", "1.0.0")]}));
    let own = |owner: &str, version: &str| {
        format!(
            "name = \"published\"\nversion = \"1.0.0\"\nowner = \"{owner}\"\nendpoint = \"{url}/v/{version}\"\n[cache]\nttl = \"0s\"\n"
        )
    };
    let site = site(&url).file("fragments/published/fragment.toml", &own("team-b", "1.0.0"));
    let output = site.run(&["check"]).await;
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout.contains("(team-a)") && stdout.contains("(team-b)") && stdout.contains(&url), "{stdout}");
    // An owner is only claimed. A source may declare the name of a folder if the operator lists it.
    site.write("fragments/published/fragment.toml", &own("team-a", "1.0.0"));
    assert_eq!(site.run(&["check"]).await.status.code(), Some(1));
    let granted = format!("[discovery]\nmanifests = [{{ url = \"{url}\", names = [\"published\"] }}]\n");
    site.write("pasteup.toml", &granted);
    assert_eq!(site.run(&["check"]).await.status.code(), Some(0));
    site.write("fragments/published/fragment.toml", &own("team-b", "1.0.0"));
    let output = site.run(&["check"]).await;
    let stdout = String::from_utf8(output.stdout).unwrap();
    let differs = "published 1.0.0 is declared in fragments/published/fragment.toml too, with another `owner`";
    assert!(output.status.code() == Some(1) && stdout.contains(differs), "{stdout}");
}

/// A site that shows `published`, with these sources in this order.
fn site_of(sources: &[String]) -> TestSite {
    let settings = format!("[discovery]\nmanifests = [{}]\nrefresh = \"1s\"\npublish = true\n", sources.join(", "));
    TestSite::new().front("<fragment name=published>nobody</fragment>").file("pasteup.toml", &settings)
}

#[tokio::test]
async fn a_name_belongs_to_the_source_that_is_listed_first_whoever_answers_first() {
    let ((first, a), (second, b)) = (Publisher::start().await, Publisher::start().await);
    // Both state the same owner, and the second one a higher version.
    first.publish(503, "");
    second.publish(200, json!({"fragments": [manifest(&b, "published", "3.99.0"), manifest(&b, "other", "1.0.0")]}));
    let site = site_of(&[format!("\"{a}\""), format!("\"{b}\"")]);
    let mut server = site.serve().await;
    assert_eq!(server.text("/").await, "3.99.0", "nobody else is known to have the name");
    first.publish(200, json!({"fragments": [manifest(&a, "published", "3.1.0")]}));
    server.process.line("error[duplicate-version]").await;
    server.wait_for_text("/", "3.1.0").await;
    drop(server);
    assert_eq!(site.serve().await.text("/").await, "3.1.0", "so it is after a restart");
    let output = site.run(&["check", "--format", "json"]).await;
    let problem: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(problem["code"], "duplicate-version");
    assert_eq!(problem["file"], format!("{b}/.well-known/fragments.json"));
    assert!(problem["message"].as_str().unwrap().contains(&format!("{a}/.well-known/fragments.json")), "{problem}");
    let entry = format!("[{{ url = \"{b}\", names = [\"published\"] }}]");
    assert!(problem["help"].as_str().unwrap().contains(&entry), "{problem}");
}

#[tokio::test]
async fn two_sources_with_the_same_manifest_are_one_service_with_two_endpoints() {
    let ((first, a), (second, b)) = (Publisher::start().await, Publisher::start().await);
    for (publisher, url) in [(&first, &a), (&second, &b)] {
        publisher.publish(200, json!({"fragments": [manifest(url, "published", "1.0.0")]}));
    }
    let site = site_of(&[format!("\"{a}\""), format!("{{ url = \"{b}\", names = [\"published\"] }}")]);
    let server = site.serve().await;
    let catalogue: Value = serde_json::from_str(&server.text("/.well-known/fragments.json").await).unwrap();
    let endpoints = json!([format!("{a}/v/1.0.0"), format!("{b}/v/1.0.0")]);
    assert_eq!(catalogue["fragments"].as_array().unwrap().len(), 1);
    assert_eq!(catalogue["fragments"][0]["endpoint"], endpoints);
    // One that is not the same is an error that names both, and the first one counts.
    let mut changed = manifest(&b, "published", "1.0.0");
    changed["context"] = json!(["device"]);
    second.publish(200, json!({"fragments": [changed]}));
    let output = site.run(&["check", "--format", "json"]).await;
    let problem: Value = serde_json::from_slice(&output.stdout).unwrap();
    let message = format!("published 1.0.0 is declared in {a}/.well-known/fragments.json too, with another `context`");
    assert_eq!((&problem["code"], &problem["message"]), (&json!("duplicate-version"), &json!(message)));
}

#[tokio::test]
async fn a_source_gets_only_what_the_operator_grants_it() {
    let (publisher, url) = Publisher::start().await;
    let other = manifest(&url, "other", "1.0.0");
    publisher.publish(200, json!({"fragments": [manifest(&url, "published", "1.0.0"), &other]}));
    let site = site_of(&[format!("\"{url}\"")])
        .file("layouts/o.html", "+++\nroute = \"/other\"\n+++\n<fragment name=other />")
        .service("icon", "127.0.0.1:1".parse().unwrap());
    let mut server = site.serve().await;
    let mut greedy = manifest(&url, "published", "2.0.0");
    greedy["html"] = json!("raw");
    greedy["context"] = json!(["locale", "cookie:sid", "header:Authorization"]);
    greedy["cookies"] = json!(["sid"]);
    greedy["composes"] = json!(["icon", "other"]);
    publisher.publish(200, json!({"fragments": [greedy, manifest(&url, "other", "2.0.0")]}));
    server.process.line("error[not-granted]").await;
    server.wait_for_text("/other", "2.0.0").await;
    assert_eq!(server.text("/").await, "1.0.0", "the last good manifest stays");
    let output = site.run(&["check", "--format", "json"]).await;
    let lines = String::from_utf8(output.stdout).unwrap();
    let problem: Value = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .find(|line: &Value| line["code"] == "not-granted")
        .unwrap();
    assert_eq!(
        problem["message"],
        "`published` asks for `raw`, `cookie:sid`, `header:authorization`, `set-cookie:sid`, `composes:icon`, which its source is not granted"
    );
    // What the help says is what grants it.
    let help = problem["help"].as_str().unwrap();
    let granted = help.split_once("pasteup.toml: [discovery] ").unwrap().1;
    site.write("pasteup.toml", &format!("[discovery]\n{granted}\nrefresh = \"1s\"\n"));
    server.wait_for_text("/", "2.0.0").await;
    assert_eq!(site.run(&["check"]).await.status.code(), Some(0));
}

#[tokio::test]
async fn the_patterns_of_a_source_have_a_budget() {
    let (publisher, url) = Publisher::start().await;
    let with_patterns = |name: String, pattern: &str, params: usize| {
        let mut manifest = manifest(&url, &name, "1.0.0");
        let all = (0..params).map(|number| (format!("p{number}"), json!({"pattern": pattern})));
        manifest["params"] = Value::Object(all.collect());
        manifest
    };
    let large: Vec<Value> = (0..140).map(|number| with_patterns(format!("f{number}"), "(?:a?){400}", 64)).collect();
    for (fragments, message) in [
        (large, "the patterns of this source are too large together"),
        (
            vec![with_patterns("many".to_owned(), "a", 9_000)],
            "a nanoservice may declare at most 64 parameters, not 9000",
        ),
        (vec![with_patterns("slow".to_owned(), "(?:.*){400}", 1)], "more than 8 KiB"),
    ] {
        publisher.publish(200, json!({"fragments": fragments}));
        let output = site(&url).run(&["check", "--format", "json"]).await;
        let lines = String::from_utf8(output.stdout).unwrap();
        assert!(lines.contains(message) && lines.lines().count() < 3, "{lines}");
    }
}

#[tokio::test]
async fn check_fetches_manifests_except_offline() {
    let (publisher, url) = Publisher::start().await;
    publisher.publish(200, json!({"fragments": [manifest(&url, "published", "1.0.0")]}));
    let site = site(&url);
    assert_eq!(site.run(&["check"]).await.status.code(), Some(0));
    let before = publisher.requests.load(Ordering::SeqCst);
    assert_eq!(site.run(&["check", "--offline"]).await.status.code(), Some(1), "nothing else declares it");
    assert_eq!(publisher.requests.load(Ordering::SeqCst), before);
    site.write("pasteup.toml", "[discovery]\nmanifests = [\"http://127.0.0.1:1\"]\n");
    let output = site.run(&["check", "--format", "json"]).await;
    let stdout = String::from_utf8(output.stdout).unwrap();
    let warning: Value = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .find(|line: &Value| line["code"] == "discovery")
        .unwrap();
    assert_eq!(
        (&warning["file"], &warning["line"], &warning["severity"]),
        (&json!("pasteup.toml"), &json!(2), &json!("warning"))
    );
    assert!(warning["message"].as_str().unwrap().contains("none of its manifests are known yet"));
}

#[tokio::test]
async fn check_warns_of_a_deprecated_nanoservice() {
    let router = Router::new().route(
        "/a",
        get(|| async {
            let ending = [("deprecation", "@1767225600"), ("sunset", "Thu, 31 Dec 2026 23:59:59 GMT")];
            ([("content-type", "text/html")], ending, "x").into_response()
        }),
    );
    let site = TestSite::new().front("\n<fragment name=a />").service("a", serve_router(router).await);
    let output = site.run(&["check", "--format", "json"]).await;
    let warning: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&warning["code"], &warning["line"]), (&json!("deprecated"), &json!(5)));
    assert_eq!(
        warning["message"],
        "`a` 1.0.0 announces that it is deprecated since 2026-01-01, gone from 2026-12-31 on"
    );
    assert!(site.run(&["check", "--offline", "--format", "json"]).await.stdout.is_empty());
}

#[tokio::test]
async fn conform_checks_a_url_against_its_published_manifest() {
    let (publisher, url) = Publisher::start().await;
    let mut published = manifest(&url, "published", "1.0.0");
    published["params"] = json!({"city": {"required": true}});
    publisher.publish(200, json!({"fragments": [published]}));
    let site = TestSite::new();
    let failed = async |url: String| {
        let output = site.run(&["conform", &url, "--format", "json", "--param", "city=x"]).await;
        let lines = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let failed = lines.iter().filter(|line| line["verdict"] == "failed");
        failed.map(|line| line["rule"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(failed(format!("{url}/v/1.0.0")).await, ["bad-parameter"], "it accepts a request without `city`");
    assert_eq!(failed(format!("{url}/v/2.0.0")).await, [""; 0], "no manifest of this version is published");
}

#[tokio::test]
async fn a_source_cannot_use_secrets_other_addresses_or_another_teams_name() {
    let (publisher, url) = Publisher::start().await;
    let mut with_secret = manifest(&url, "greedy", "1.0.0");
    with_secret["auth"] = json!({"kind": "bearer", "token": "env:HOME"});
    let elsewhere = manifest("http://169.254.169.254", "elsewhere", "1.0.0");
    let taken = manifest(&url, "own", "9.9.9");
    publisher.publish(200, json!({"fragments": [with_secret, elsewhere, taken, manifest(&url, "published", "1.0.0")]}));
    let own = format!("name = \"own\"\nversion = \"1.0.0\"\nowner = \"team-b\"\nendpoint = \"{url}/v/own\"\n");
    let site = site(&url)
        .file("fragments/own/fragment.toml", &own)
        .file("layouts/p.html", "+++\nroute = \"/p\"\n+++\n<fragment name=own /><fragment name=published />");
    let output = site.run(&["check", "--format", "json"]).await;
    let stdout = String::from_utf8(output.stdout).unwrap();
    for message in [
        "`auth` is not accepted from a discovery source",
        "`elsewhere` is declared at http://169.254.169.254, which is not the address of its source",
        "`own` is declared in fragments/own/fragment.toml (team-b), so this source (team-a) may not declare it",
    ] {
        assert!(stdout.contains(message), "{stdout}");
    }
    assert_eq!(stdout.lines().count(), 3, "{stdout}");
    let server = site.serve().await;
    assert_eq!(server.text("/p").await, "own1.0.0", "valid manifests of the source are used");
}

#[tokio::test]
async fn a_broken_or_hostile_document_is_reported_and_changes_nothing() {
    let (publisher, url) = Publisher::start().await;
    publisher.publish(200, json!({"fragments": [manifest(&url, "published", "1.0.0")]}));
    let site = site(&url);
    let mut server = site.serve().await;
    assert_eq!(server.text("/").await, "1.0.0");
    // Invalid JSON whose excerpt ends inside a two-byte character.
    publisher.publish(200, "{\"fragments\":[{\"name\":\"caf\u{e9}");
    server.process.line("error[manifest]").await;
    server.process.line("reloaded").await;
    let other = |number: usize| {
        let mut manifest = manifest(&url, "published", "2.0.0");
        manifest["runbook"] = json!(number.to_string());
        manifest
    };
    let many: Vec<Value> = (0..1_000).map(other).collect();
    publisher.publish(200, json!({"fragments": many}));
    server.process.line("996 more").await;
    let mut large = manifest(&url, "published", "3.0.0");
    large["params"] = json!({"x": {"pattern": "([a-z]{100}){1000}"}});
    publisher.publish(200, json!({"fragments": [large]}));
    server.process.line("pattern").await;
    site.write("layouts/other.html", "+++\nroute = \"/other\"\n+++\nother");
    server.wait_for_text("/other", "other").await;
    assert_eq!(server.text("/").await, "1.0.0");
}
