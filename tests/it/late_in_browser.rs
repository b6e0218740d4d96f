//! What a browser does with parts that arrive after their page: their scripts, their `<noscript>`, printing, and policies.
//! A part behaves as it would in its place, however it is loaded.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::browser::Browser;
use crate::support::process::{Server, TestSite, until};
use crate::support::service::{RawService, serve_router};

/// A browser without the out-of-order streaming of the HTML standard.
const OLDER: [&str; 1] = ["--disable-blink-features=HTMLProcessingInstruction"];

/// A fragment with every kind of script. Each records that it ran.
const SCRIPTS: &str = "<p id=loaded>Loaded</p>\
    <script>order.push('inline')</script>\
    <script type=module>order.push('module')</script>\
    <script defer src=/_pasteup/assets/a/1.0.0/deferred.js></script>\
    <script src=/_pasteup/assets/a/1.0.0/first.js></script>\
    <script>order.push('after first')</script>\
    <script type=application/json src=/_pasteup/assets/a/1.0.0/data.js>{}</script>\
    <script nomodule src=/_pasteup/assets/a/1.0.0/old.js></script>\
    <script src=/_pasteup/assets/a/1.0.0/missing.js></script>\
    <script>order.push('after missing')</script>\
    <script type=' Text/JavaScript ' src=/_pasteup/assets/a/1.0.0/second.js></script>\
    <svg><script>order.push('svg')</script></svg>\
    <script async>order.push('last')</script>";

/// A page with this use of the fragment `a`, whose scripts are at a service. The fragment waits for the semaphore.
async fn page_with_scripts(element: &str) -> (Server, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let waiting = Arc::clone(&gate);
    let fragment = async move || {
        waiting.acquire().await.unwrap().forget();
        Html(SCRIPTS)
    };
    let script = async |Path(name): Path<String>| match name.as_str() {
        "missing.js" => StatusCode::NOT_FOUND.into_response(),
        name => ([("content-type", "text/javascript")], format!("order.push('{name}')")).into_response(),
    };
    let address = serve_router(axum::Router::new().route("/a", get(fragment)).route("/{script}", get(script))).await;
    let page = format!("<!doctype html><title>t</title><script>order = []</script><main>{element}</main>");
    let settings = "[page]\nbudget = \"1m\"\n[fragment]\ntimeout = \"1m\"\n";
    let site = TestSite::new().front(&page).service("a", address).file("pasteup.toml", settings);
    (site.serve().await, gate)
}

/// The order in which the scripts of the fragment run.
async fn order(element: &str, placeholder: Option<&str>, flags: &[&str]) -> serde_json::Value {
    let (server, gate) = page_with_scripts(element).await;
    let browser = Browser::start_without_waiting(flags).await;
    if placeholder.is_none() {
        gate.add_permits(1);
    }
    browser.client.goto(&server.pages).await.unwrap();
    if let Some(placeholder) = placeholder {
        browser.wait_for(placeholder).await;
        gate.add_permits(1);
    }
    browser.wait_for("#loaded").await;
    until(async || browser.evaluate("order.length >= 9 && document.readyState == 'complete'").await == true).await;
    let order = browser.evaluate("order").await;
    let scripts = browser.evaluate("document.querySelectorAll('main script').length").await;
    browser.stop().await;
    json!([order, scripts])
}

#[tokio::test]
async fn the_scripts_of_a_late_or_lazy_part_run_in_the_order_in_which_they_run_in_place() {
    let expected =
        ["inline", "first.js", "after first", "after missing", "second.js", "svg", "last", "module", "deferred.js"];
    let in_place = order("<fragment name=a />", None, &[]).await;
    assert_eq!(in_place, json!([expected, 12]));
    let late = "<fragment name=a load=defer><i>wait</i></fragment>";
    assert_eq!(order(late, Some("main i"), &[]).await, in_place);
    assert_eq!(order(late, Some("main i"), &OLDER).await, in_place);
    assert_eq!(order("<fragment name=a load=lazy><i>wait</i></fragment>", Some("main i"), &[]).await, in_place);
}

/// A service whose fragment is this HTML, and a page that uses it.
async fn site(front_matter: &str, page: &str, html: &str) -> (Server, RawService) {
    let service = RawService::html(Duration::ZERO, "", html).await;
    let site = TestSite::new()
        .file("layouts/p.html", &format!("+++\nroute = \"/\"\n{front_matter}+++\n{page}"))
        .service("a", service.address);
    (site.serve().await, service)
}

#[tokio::test]
async fn a_lazy_part_is_loaded_under_an_integrity_policy() {
    let policy = "headers = { Integrity-Policy = \"blocked-destinations=(script)\" }\n";
    let page = "<!doctype html><title>t</title><main><fragment name=a load=lazy /></main>";
    let (server, _service) = site(policy, page, "<p id=loaded>Loaded</p>").await;
    let browser = Browser::start().await;
    browser.client.goto(&server.pages).await.unwrap();
    browser.wait_for("#loaded").await;
    browser.stop().await;
}

#[tokio::test]
async fn the_content_of_noscript_in_a_lazy_part_is_text() {
    let fragment = "<p id=loaded>Loaded</p><noscript>a &amp; b <img src=\"/pixel.gif\"></noscript>\
                    <template><noscript><img src=\"/pixel.gif\"></noscript></template>";
    for front_matter in ["", "headers = { Content-Security-Policy = \"require-trusted-types-for 'script'\" }\n"] {
        let page = "<!doctype html><title>t</title><main><fragment name=a load=lazy /></main>";
        let (server, _service) = site(front_matter, page, fragment).await;
        let browser = Browser::start().await;
        browser.client.goto(&server.pages).await.unwrap();
        browser.wait_for("#loaded").await;
        let noscript = "document.querySelector('noscript')";
        assert_eq!(browser.evaluate(&format!("{noscript}.childElementCount")).await, 0);
        let text = browser.evaluate(&format!("{noscript}.textContent")).await;
        assert_eq!(text, "a &amp; b <img src=\"/pixel.gif\">");
        let inner = "document.querySelector('template').content.querySelector('noscript').childElementCount";
        assert_eq!(browser.evaluate(inner).await, 0);
        let fetched = "performance.getEntriesByType('resource').filter(one => one.name.endsWith('/pixel.gif')).length";
        assert_eq!(browser.evaluate(fetched).await, 0);
        browser.stop().await;
    }
}

#[tokio::test]
async fn a_lazy_part_is_printed() {
    let page = "<!doctype html><title>t</title><style>div { height: 5000px }</style><main><div>Tall</div>\
                <fragment name=a load=lazy /><fragment name=a load=lazy data-n=2 /></main>";
    let (server, service) = site("", page, "<p class=loaded style='height: 5000px'>Loaded</p>").await;
    let browser = Browser::start().await;
    browser.client.set_window_size(800, 600).await.unwrap();
    browser.client.goto(&server.pages).await.unwrap();
    until(async || browser.evaluate("customElements.get('pasteup-lazy') != null").await == true).await;
    assert_eq!((browser.count(".loaded").await, service.requests()), (0, 0));
    // The browser does not wait after `beforeprint`: what is there by then is on paper. Each of three blocks takes five sheets.
    let printed = browser.cdp("Page.printToPDF", json!({})).await;
    let pdf = STANDARD.decode(printed["data"].as_str().unwrap()).unwrap();
    let sheets = pdf.windows(11).filter(|text| *text == b"/Type /Page").count();
    assert!(sheets >= 12, "{sheets} sheets");
    assert_eq!((browser.count(".loaded").await, service.requests()), (2, 2));
    assert_eq!(browser.count("pasteup-lazy").await, 0);
    browser.stop().await;
}
