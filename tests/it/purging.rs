//! Purges: by key, by name, of everything, hard and soft, in the engine and over the admin API.

use std::time::Duration;

use http::StatusCode;
use pasteup::engine::PurgeMode;
use pasteup::page::response::outcome::Shown;
use pasteup::page::source::reason::Reason;
use serde_json::{Value, json};
use tokio::time::advance;

use crate::support::compositor::{TestCompositor, after, counts, fails, html, html_cached, responds};
use crate::support::process::TestSite;
use crate::support::service::RawService;

const HTML: (&str, &str) = ("content-type", "text/html");
const CACHED: (&str, &str) = ("cache-control", "max-age=600, stale-while-revalidate=60, stale-if-error=120");

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn responses_are_purged_by_any_of_their_keys_and_by_the_name_of_their_nanoservice() {
    for (header, value) in [("surrogate-key", "x article-7"), ("cache-tag", "x, article-7"), ("xkey", "article-7 x")] {
        let site = TestCompositor::new()
            .front("<fragment name=a /><fragment name=b />")
            .fragment("a", responds(200, &[HTML, CACHED, (header, value)], "a"))
            .fragment("b", responds(200, &[HTML, CACHED], "b"))
            .start();
        let purge = async |tags: &[&str]| {
            site.get("/").await;
            site.purge(tags, PurgeMode::Hard)
        };
        assert_eq!(purge(&["article-8"]).await, 0);
        assert_eq!(purge(&["article-7"]).await, 1, "{header}");
        assert_eq!(purge(&["b"]).await, 1);
        assert_eq!(purge(&["article-7", "x", "a", "b", "c"]).await, 2, "each is counted once");
        site.get("/").await;
        assert_eq!((site.calls("a"), site.calls("b")), (3, 3));
    }
}

#[tokio::test(start_paused = true)]
async fn a_soft_purge_keeps_the_stale_allowance_of_each_response() {
    let site = TestCompositor::new()
        .front("<fragment name=a>no</fragment>")
        .fragment("a", responds(200, &[HTML, CACHED], "old"))
        .start();
    site.get("/").await;
    advance(s(5)).await;
    assert_eq!(site.purge(&["a"], PurgeMode::Soft), 1);
    site.set_behaviour("a", fails(Reason::Connect));
    let page = site.get("/").await;
    assert_eq!((page.html().as_str(), page.outcome("a")), ("old", (Shown::Stale, Some(Reason::Revalidating))));
    site.drain().await;
    advance(s(119)).await;
    assert_eq!(site.get("/").await.outcome("a"), (Shown::Stale, Some(Reason::Connect)));
    advance(s(2)).await;
    assert_eq!(site.get("/").await.html(), "no");
}

#[tokio::test(start_paused = true)]
async fn a_response_to_a_request_from_before_a_purge_is_not_stored() {
    for mode in [PurgeMode::Hard, PurgeMode::Soft] {
        let site = TestCompositor::new()
            .front("<fragment name=a ttl=10m />")
            .fragment(
                "a",
                after(Duration::from_millis(100), responds(200, &[HTML, CACHED, ("surrogate-key", "x")], "old")),
            )
            .start();
        let purged_midway = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            site.set_behaviour("a", after(Duration::from_millis(100), html("new")));
            site.purge(&["x"], mode);
            site.get("/").await
        };
        let (before, since) = futures::join!(site.get("/"), purged_midway);
        assert_eq!(before.html(), "old", "a client that asked before the purge may see it");
        assert_eq!(since.html(), "new", "a client that asks after the purge never does");
        assert_eq!(site.get("/").await.html(), "new", "and it is not stored");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_was_purged_during_its_fetch_is_not_cached_downstream() {
    let site = TestCompositor::new()
        .front("<fragment name=a />")
        .fragment("a", after(Duration::from_millis(100), responds(200, &[HTML, CACHED], "old")))
        .start();
    let purge = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        site.purge(&["a"], PurgeMode::Hard)
    };
    let (page, _) = futures::join!(site.get("/"), purge);
    assert_eq!((page.html().as_str(), page.header("cache-control"), page.header("etag")), ("old", "no-store", ""));
}

#[tokio::test(start_paused = true)]
async fn a_purge_during_a_fetch_causes_one_new_fetch() {
    let site = TestCompositor::new()
        .front("<fragment name=a timeout=10s ttl=1m />")
        .fragment("a", after(Duration::from_millis(100), counts("public")))
        .start();
    let purge = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        site.purge(&["a"], PurgeMode::Hard)
    };
    let (pages, _) = futures::join!(futures::future::join_all((0..40).map(|_| site.get("/"))), purge);
    assert!(pages.iter().all(|page| matches!(page.html().as_str(), "1" | "2")));
    assert_eq!(site.calls("a"), 2, "all waiters share one new fetch");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_a_304_removes_still_purges_during_that_fetch() {
    let tagged =
        [HTML, ("etag", "\"1\""), ("cache-control", "max-age=5, stale-while-revalidate=60"), ("surrogate-key", "x")];
    let site = TestCompositor::new().front("<fragment name=a />").fragment("a", responds(200, &tagged, "old")).start();
    site.get("/").await;
    advance(s(6)).await;
    let unchanged = responds(304, &[("cache-control", "max-age=600"), ("surrogate-key", "y")], "");
    site.set_behaviour("a", after(Duration::from_millis(100), unchanged));
    site.get("/").await;
    assert_eq!(site.purge(&["x"], PurgeMode::Hard), 1);
    site.set_behaviour("a", html("new"));
    site.drain().await;
    assert_eq!(site.get("/").await.html(), "new");
}

#[tokio::test(start_paused = true)]
async fn a_failing_refresh_does_not_restore_a_purged_response() {
    let site = TestCompositor::new()
        .front("<fragment name=a>no</fragment>")
        .fragment("a", responds(200, &[HTML, CACHED], "old"))
        .start();
    site.get("/").await;
    advance(s(601)).await;
    site.set_behaviour("a", after(Duration::from_millis(100), fails(Reason::Connect)));
    site.get("/").await;
    assert_eq!(site.purge(&["a"], PurgeMode::Hard), 1);
    site.drain().await;
    assert_eq!(site.get("/").await.html(), "no");
}

#[tokio::test(start_paused = true)]
async fn a_purge_of_another_tag_does_not_affect_a_fetch() {
    let site = TestCompositor::new()
        .front("<fragment name=a ttl=10m />")
        .fragment("a", after(Duration::from_millis(100), counts("public")))
        .start();
    let purge = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        site.purge(&["b"], PurgeMode::Hard)
    };
    futures::join!(site.get("/"), purge);
    assert_eq!(site.get("/").await.html(), "1");
}

#[tokio::test(start_paused = true)]
async fn at_most_64_surrogate_keys_of_a_response_are_used() {
    let keys: Vec<String> = (0..70).map(|number| format!("k{number}")).collect();
    let site = TestCompositor::new()
        .front("<fragment name=a />")
        .fragment("a", responds(200, &[HTML, CACHED, ("surrogate-key", &keys.join(" "))], "a"))
        .start();
    site.get("/").await;
    assert_eq!(site.purge(&["k64"], PurgeMode::Hard), 0);
    assert_eq!(site.purge(&["k63"], PurgeMode::Hard), 1);
}

#[tokio::test(start_paused = true)]
async fn a_purge_removes_a_stored_404_too() {
    let site = TestCompositor::new()
        .front("<fragment name=a>none</fragment>")
        .fragment("a", responds(404, &[CACHED], ""))
        .start();
    assert_eq!(site.get("/").await.html(), "none");
    site.set_behaviour("a", html_cached("there", "max-age=5"));
    assert_eq!(site.get("/").await.html(), "none");
    assert_eq!(site.purge(&["a"], PurgeMode::Hard), 1);
    assert_eq!(site.get("/").await.html(), "there");
}

/// A site whose one nanoservice has cacheable responses.
async fn cacheable() -> (RawService, TestSite) {
    let headers = "Cache-Control: max-age=600, stale-while-revalidate=600\r\nSurrogate-Key: article-7\r\n";
    let service = RawService::html(Duration::ZERO, headers, "text").await;
    let site = TestSite::new().front("<fragment name=a />").service("a", service.address);
    (service, site)
}

#[tokio::test]
async fn the_admin_api_purges_on_post() {
    let (service, site) = cacheable().await;
    let server = site.serve().await;
    let client = crate::support::process::client();
    let url = format!("{}/api/purge", server.admin);
    let post = async |order: Value| {
        let request = client.post(&url).header("content-type", "application/json").body(order.to_string());
        let response = request.send().await.unwrap();
        (response.status(), serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap())
    };
    server.text("/").await;
    assert_eq!(post(json!({"keys": ["article-8"]})).await, (StatusCode::OK, json!({"purged": 0})));
    assert_eq!(post(json!({"keys": ["article-7"], "soft": false})).await.1, json!({"purged": 1}));
    server.text("/").await;
    assert_eq!(service.requests(), 2);
    assert_eq!(post(json!({"all": true})).await.1, json!({"purged": 1}));
    for bad in [json!({}), json!({"keys": []}), json!({"keys": ["a"], "all": true}), json!({"key": "a"}), json!([])] {
        let (status, problem) = post(bad.clone()).await;
        assert_eq!((status, problem["status"].clone()), (StatusCode::BAD_REQUEST, json!(400)), "{bad}");
    }
    assert_eq!(
        client.get(&url).send().await.unwrap().status(),
        StatusCode::METHOD_NOT_ALLOWED,
        "a GET changes nothing"
    );
    let form = client.post(&url).header("content-type", "text/plain").body("{\"all\":true}").send().await.unwrap();
    assert_eq!(form.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "a form on another site cannot purge");
}

#[tokio::test]
async fn the_command_purges_a_running_compositor() {
    let (service, site) = cacheable().await;
    let server = site.serve_with(&[("PASTEUP_SERVER__ADMIN_TOKEN", "hush-hush-hush-hush")]).await;
    let admin = server.admin.strip_prefix("http://").unwrap();
    server.text("/").await;
    let run = async |arguments: &[&str], token: Option<&str>| {
        let output = site
            .run_with(&[&["purge", "--admin", admin], arguments].concat(), "PASTEUP_SERVER__ADMIN_TOKEN", token)
            .await;
        let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, _, error) = run(&["article-7"], None).await;
    assert!(code == 2 && error.contains("requires the admin token"), "{error}");
    assert_eq!(run(&["article-7", "--soft"], Some("hush-hush-hush-hush")).await.1, "marked 1 response stale");
    assert_eq!(server.text("/").await, "text", "a stale copy is shown at once");
    assert_eq!(run(&["a", "article-7"], Some("hush-hush-hush-hush")).await.1, "purged 1 response");
    assert_eq!(run(&["--all"], Some("hush-hush-hush-hush")).await.1, "nothing to purge");
    let (code, _, ways) = run(&[], Some("hush-hush-hush-hush")).await;
    assert_eq!(code, 2, "without keys and without --all nothing is purged");
    for way in ["surrogate key", "all responses of this nanoservice", "--all", "--soft"] {
        assert!(ways.contains(way), "no `{way}` in:\n{ways}");
    }
    assert!(service.requests() >= 1);
    let nobody = site.run(&["purge", "a", "--admin", "127.0.0.1:1"]).await;
    assert_eq!(nobody.status.code(), Some(2));
    assert!(String::from_utf8(nobody.stderr).unwrap().contains("no compositor responds on 127.0.0.1:1"));
}
