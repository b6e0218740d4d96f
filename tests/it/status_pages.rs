//! The site's own pages for statuses: at paths that no route matches, and for pages that come to an error.

use std::time::Duration;

use http::StatusCode;

use crate::support::process::{TestSite, client};
use crate::support::service::RawService;

const FRAME: &str = "<!doctype html><html><head><title>Site</title></head><body><slot></slot></body></html>";

fn page(status: u16, text: &str) -> String {
    format!("+++\nstatus = {status}\ntitle = \"Sorry\"\nframe = \"frame.html\"\n+++\n{text}")
}

fn site() -> TestSite {
    TestSite::new().file("layouts/frame.html", FRAME)
}

/// Status, `Cache-Control` and body of a reply.
async fn get(url: &str) -> (StatusCode, String, String) {
    let response = client().get(url).send().await.unwrap();
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("etag"), None, "it is never stored");
    assert!(header("x-request-id").is_some());
    let cache_control = header("cache-control").unwrap_or_default();
    (response.status(), cache_control, response.text().await.unwrap())
}

#[tokio::test]
async fn a_path_without_a_page_has_the_page_for_404() {
    let service = RawService::html(Duration::ZERO, "Cache-Control: max-age=60\r\n", "<b>news</b>").await;
    let broken = RawService::start(Duration::ZERO, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").await;
    let text = "<p>Not here.</p><fragment name=news /><fragment name=broken required>later</fragment><fragment name=broken required />";
    let site = site()
        .file("layouts/404.html", &page(404, text))
        .service("news", service.address)
        .service("broken", broken.address);
    let server = site.serve().await;
    let expected =
        "<!doctype html><html><head><title>Sorry</title></head><body><p>Not here.</p><b>news</b>later</body></html>";
    for path in ["/nowhere", "/a/b?c=d"] {
        let (status, cache_control, body) = get(&format!("{}{path}", server.pages)).await;
        assert_eq!((status, cache_control.as_str(), body.trim()), (StatusCode::NOT_FOUND, "no-store", expected));
    }
    let head = client().head(format!("{}/nowhere", server.pages)).send().await.unwrap();
    assert_eq!(head.status(), StatusCode::NOT_FOUND);
    // Other refusals, and what a script fetches, keep the built-in page.
    for path in ["/%00", "/_pasteup/fragment/none"] {
        assert!(!get(&format!("{}{path}", server.pages)).await.2.contains("Not here."), "{path}");
    }
    let output = site.run(&["render", "/nowhere"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().contains("Not here."));
}

#[tokio::test]
async fn a_page_that_comes_to_a_status_has_the_page_for_it() {
    let gone = RawService::start(Duration::ZERO, "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n").await;
    let slow = RawService::html(Duration::from_secs(60), "", "late").await;
    let quick = RawService::html(Duration::ZERO, "Cache-Control: max-age=60\r\n", "quick").await;
    let site = site()
        .file("layouts/gone.html", "+++\nroute = \"/gone\"\n+++\n<fragment name=gone required />")
        .file("layouts/slow.html", "+++\nroute = \"/slow\"\nbudget = \"300ms\"\n+++\n<fragment name=slow required />")
        .file("layouts/kept.html", "+++\nroute = \"/kept\"\n+++\n<fragment name=gone required>kept</fragment>")
        .file("layouts/down.html", "+++\nroute = \"/down\"\n+++\n<fragment name=down required />")
        .file("layouts/410.html", &page(410, "Removed. <fragment name=quick />"))
        .file("layouts/504.html", &page(504, "Too slow. <fragment name=slow>And so is this.</fragment>"))
        .service("gone", gone.address)
        .service("slow", slow.address)
        .service("quick", quick.address)
        .service("down", "127.0.0.1:1".parse().unwrap());
    let server = site.serve().await;
    let get = async |path: &str| get(&format!("{}{path}", server.pages)).await;
    let (status, cache_control, body) = get("/gone").await;
    assert_eq!((status, cache_control.as_str()), (StatusCode::GONE, "no-store"));
    assert!(body.contains("<title>Sorry</title>") && body.contains("Removed. quick"), "{body}");
    // Nothing is left of the budget: the slow part is not waited for.
    let began = std::time::Instant::now();
    let (status, _, body) = get("/slow").await;
    assert!(began.elapsed() < Duration::from_secs(10), "the slow part is not waited for");
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    assert!(body.contains("Too slow. And so is this."), "{body}");
    // A page with a fallback is no error page, and a status without a page has the built-in one.
    let response = client().get(format!("{}/kept", server.pages)).send().await.unwrap();
    assert_eq!((response.status(), response.text().await.unwrap().trim()), (StatusCode::GONE, "kept"));
    let (status, _, body) = get("/down").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!body.contains("Sorry"));
    assert!(!get("/nowhere").await.2.contains("Sorry"));
}

#[tokio::test]
async fn mistakes_in_pages_for_statuses_are_reported() {
    for (files, expected) in [
        (vec![("a.html", "+++\nstatus = 403\n+++\n")], "front-matter: `status`: must be"),
        (vec![("a.html", "+++\nstatus = 405\n+++\n")], "front-matter: `status`: must be 404, 410, or 500 to 599"),
        (
            vec![("a.html", "+++\nroute = \"/a\"\nstatus = 404\n+++\n")],
            "front-matter: a page has a `route` or a `status`, not both",
        ),
        (
            vec![("a.html", "+++\nstatus = 404\n+++\n"), ("b.html", "+++\nstatus = 404\n+++\n")],
            "duplicate-route: `404` is the status of another layout too",
        ),
        (vec![("a.html", "+++\nstatus = 404\ntitle = \"{city}\"\n+++\n")], "unknown-placeholder: `{city}` is neither"),
    ] {
        let site =
            files.into_iter().fold(TestSite::new(), |site, (name, text)| site.file(&format!("layouts/{name}"), text));
        let output = site.run(&["check", "--format", "json"]).await;
        let found: Vec<String> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| {
                let problem: serde_json::Value = serde_json::from_str(line).unwrap();
                format!("{}: {}", problem["code"].as_str().unwrap(), problem["message"].as_str().unwrap())
            })
            .collect();
        assert!(
            found.iter().all(|problem| problem.starts_with(expected)) && !found.is_empty(),
            "{expected}: {found:?}"
        );
    }
}
