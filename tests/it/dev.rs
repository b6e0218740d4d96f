//! `pasteup dev`: the page follows its files, reports their errors, and simulates slow and broken parts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::explain::overlay;
use crate::support::browser::Browser;
use crate::support::process::{Server, TestSite, client};
use crate::support::service::RawService;

async fn fault(server: &Server, query: &str) -> u16 {
    let post = client().post(format!("{}/_pasteup/dev/fault?{query}", server.pages)).header("pasteup-dev", "1");
    post.send().await.unwrap().status().as_u16()
}

/// The outcome and the reason of the first part.
async fn first(server: &Server) -> (String, String) {
    let part = overlay(&server.text("/").await)["record"]["parts"][0].clone();
    (part["outcome"].as_str().unwrap().to_owned(), part["reason"].as_str().unwrap_or("-").to_owned())
}

fn pair(outcome: &str, reason: &str) -> (String, String) {
    (outcome.to_owned(), reason.to_owned())
}

#[tokio::test]
async fn a_part_can_be_made_slow_failing_and_empty_and_normal_again() {
    let service = RawService::html(Duration::ZERO, "Cache-Control: max-age=60\r\n", "<b>here</b>").await;
    let site = TestSite::new()
        .front("<fragment name=a id=place timeout=300ms><i>as the editor wrote it</i></fragment><fragment name=b />")
        .service("a", service.address)
        .service("b", service.address);
    let server = site.dev().await;
    assert_eq!(first(&server).await, pair("fresh", "-"));
    for (query, outcome, reason) in [
        ("fragment=a&what=fail", "fallback", "status"),
        ("fragment=a&what=empty", "omitted", "empty"),
        ("fragment=a&delay_ms=2000", "fallback", "timeout"),
        ("fragment=a&delay_ms=20&what=answer", "fresh", "-"),
        ("fragment=a", "fresh", "-"),
    ] {
        assert_eq!(fault(&server, query).await, 204, "{query}");
        assert_eq!(first(&server).await, pair(outcome, reason), "{query}");
        assert_eq!(server.text("/").await.contains("<i>as the editor wrote it</i>"), outcome == "fallback");
        let other = overlay(&server.text("/").await)["record"]["parts"][1].clone();
        assert_eq!(other["outcome"], "fresh", "the other parts are unchanged");
    }
    for wrong in [
        "",
        "what=fail",
        "fragment=a&what=explode",
        "fragment=a&delay_ms=-1",
        "fragment=a&delay_ms=60001",
        "fragment=a&more=1",
    ] {
        assert_eq!(fault(&server, wrong).await, 400, "{wrong}");
    }
    // A page of another site cannot do it: a form cannot send this header, and a link is a GET.
    let url = format!("{}/_pasteup/dev/fault?fragment=a&what=fail", server.pages);
    let form = client().post(&url).header("origin", "https://evil.example").header("content-type", "text/plain");
    assert_eq!(form.send().await.unwrap().status(), 405);
    let get = client().get(&url).header("origin", "https://evil.example").header("sec-fetch-site", "cross-site");
    assert_eq!(get.send().await.unwrap().status(), 404);
    assert_eq!(client().get(&url).header("pasteup-dev", "1").send().await.unwrap().status(), 404);
    let preflight = client().request(http::Method::OPTIONS, &url).header("origin", "https://evil.example");
    let preflight = preflight.header("access-control-request-headers", "pasteup-dev").send().await.unwrap();
    assert_eq!(preflight.status(), 405);
    assert!(!preflight.headers().contains_key("access-control-allow-origin"));
    for (host, origin, status) in [
        ("localhost:1", "http://evil.example", 403),
        ("evil.example:1", "http://evil.example:1", 421),
        ("localhost:1", "http://localhost:1", 400),
    ] {
        let post = client().post(format!("{url}&more=1")).header("pasteup-dev", "1").header("host", host);
        assert_eq!(post.header("origin", origin).send().await.unwrap().status(), status, "{host} {origin}");
    }
    assert_eq!(first(&server).await, pair("fresh", "-"));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_listeners_of_events() {
    let mut server = TestSite::new().front("x").dev().await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(b"GET /_pasteup/dev/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut received = Vec::new();
    while !String::from_utf8_lossy(&received).contains("data: ") {
        let mut bytes = [0; 1000];
        let length = stream.read(&mut bytes).await.unwrap();
        assert!(length > 0);
        received.extend_from_slice(&bytes[..length]);
    }
    let head = String::from_utf8_lossy(&received).to_lowercase();
    assert!(head.contains("content-type: text/event-stream") && head.contains("cache-control: no-store"), "{head}");
    assert!(!head.contains("content-encoding"), "{head}");
    let began = Instant::now();
    server.process.terminate();
    assert!(server.process.exit_status().await.success());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

const SHADOW: &str = "document.querySelector('pasteup-overlay').shadowRoot";

/// Waits until a condition holds, across reloads.
async fn wait_until(browser: &Browser, what: &str) {
    let began = Instant::now();
    while browser.client.execute(&format!("return !!({what})"), vec![]).await.unwrap_or(Value::Null) != true {
        assert!(began.elapsed() < Duration::from_secs(20), "`{what}` never became true");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_page_follows_its_files_and_reports_their_errors() {
    let page = |text: &str| {
        format!(
            "+++\nroute = \"/\"\n[headers]\nContent-Security-Policy = \"default-src 'none'; style-src 'unsafe-inline'\"\n+++\n\
             <!doctype html><html lang=en><head><title>The Paper</title><style>body {{ font: 1rem Georgia, serif; margin: 2rem }} main {{ height: 4000px }}</style></head>\
             <body><h1>{text}</h1><main>tall</main></body></html>\n"
        )
    };
    let site = TestSite::new().file("layouts/front.html", &page("one"));
    let server = site.dev().await;
    let browser = Browser::start().await;
    browser.client.set_window_size(1000, 800).await.unwrap();
    browser.client.goto(&server.pages).await.unwrap();
    wait_until(&browser, &format!("{SHADOW}.querySelector('.bar')")).await;
    browser.evaluate("scrollTo(0, 1234)").await;
    site.write("layouts/front.html", &page("two"));
    wait_until(&browser, "document.querySelector('h1').textContent === 'two'").await;
    wait_until(&browser, "scrollY === 1234").await;

    // An error is reported at its place, over the last good version.
    site.write("layouts/front.html", &page("three <fragment name=nobody />"));
    wait_until(&browser, &format!("!{SHADOW}.querySelector('.errors').hidden")).await;
    let message = browser.evaluate(&format!("{SHADOW}.querySelector('.errors').textContent")).await;
    let message = message.as_str().unwrap();
    for part in ["An error in a file", "layouts/front.html:6:", "no nanoservice is called `nobody`", "^^"] {
        assert!(message.contains(part), "no `{part}` in {message}");
    }
    assert_eq!(browser.text("h1").await, "two");
    browser.screenshot("dev-mistake.png").await;
    let media = serde_json::json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    browser.cdp("Emulation.setEmulatedMedia", media).await;
    browser.screenshot("dev-mistake-dark.png").await;
    // A client that connects now gets it, too.
    browser.client.refresh().await.unwrap();
    wait_until(&browser, &format!("!{SHADOW}.querySelector('.errors').hidden")).await;
    site.write("layouts/front.html", &page("four"));
    wait_until(&browser, "document.querySelector('h1').textContent === 'four'").await;
    wait_until(&browser, &format!("{SHADOW}.querySelector('.errors').hidden")).await;

    // A page may be added where there is none.
    browser.client.goto(&format!("{}/new", server.pages)).await.unwrap();
    wait_until(&browser, "document.querySelector('pasteup-overlay')").await;
    site.write("layouts/new.html", "+++\nroute = \"/new\"\n+++\n<h1>new</h1>");
    wait_until(&browser, "document.querySelector('h1').textContent === 'new'").await;
    let messages: Vec<String> =
        browser.console_messages().await.into_iter().filter(|line| !line.contains("404")).collect();
    assert_eq!(messages, Vec::<String>::new());
    browser.stop().await;
}

#[tokio::test]
async fn an_editor_simulates_faults_with_the_controls_of_the_overlay() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    let service = RawService::responding(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Some(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 11\r\nConnection: close\r\n\r\n<p>here</p>"
                .to_vec(),
        )
    })
    .await;
    let site = TestSite::new()
        .front(
            "<!doctype html><title>t</title><main><fragment name=a timeout=400ms><p>Back soon.</p></fragment></main>",
        )
        .service("a", service.address);
    let server = site.dev().await;
    let browser = Browser::start().await;
    browser.client.set_window_size(1000, 800).await.unwrap();
    browser.client.goto(&server.pages).await.unwrap();
    wait_until(&browser, &format!("{SHADOW}.querySelector('.label')")).await;
    browser.evaluate(&format!("{SHADOW}.querySelector('.label').click()")).await;
    browser.screenshot("dev-sliders.png").await;
    let try_it =
        format!("[...{SHADOW}.querySelectorAll('.panel button')].find(b => b.textContent === 'Try it').click()");
    let text = |wanted: &str| {
        format!("document.querySelector('main').textContent === '{wanted}' && {SHADOW}.querySelector('.panel dt')")
    };
    browser.evaluate(&format!("{SHADOW}.querySelector('input[value=fail]').click(), {try_it}")).await;
    wait_until(&browser, &text("Back soon.")).await;
    // The panel is open again, and shows the reason and the fault that is simulated.
    assert_eq!(
        browser.evaluate(&format!("{SHADOW}.querySelector('.panel dd').textContent")).await,
        "fallback (status), miss"
    );
    assert_eq!(browser.evaluate(&format!("{SHADOW}.querySelector('input[value=fail]').checked")).await, true);
    browser.screenshot("dev-fault.png").await;
    browser.evaluate(&format!("{SHADOW}.querySelector('input[value=empty]').click(), {try_it}")).await;
    wait_until(&browser, &text("")).await;
    let slider = format!("{SHADOW}.querySelector('input[type=range]')");
    browser.evaluate(&format!("{SHADOW}.querySelector('input[value=answer]').click(), {slider}.value = 2000, {slider}.dispatchEvent(new Event('input')), {try_it}")).await;
    wait_until(
        &browser,
        &format!(
            "{} && {SHADOW}.querySelector('.panel dd').textContent.startsWith('fallback (timeout)')",
            text("Back soon.")
        ),
    )
    .await;
    browser.evaluate(&format!("{slider}.value = 0, {slider}.dispatchEvent(new Event('input')), {try_it}")).await;
    wait_until(&browser, &text("here")).await;
    browser.stop().await;
}

#[tokio::test]
async fn eight_tabs_are_loaded_and_all_follow_the_files() {
    let page = |text: &str| format!("<!doctype html><title>t</title><h1>{text}</h1>");
    let site = TestSite::new().front(&page("one"));
    let server = site.dev().await;
    // Loading ends with `load`, or never: a browser opens six connections to a host.
    let browser = Browser::start().await;
    let mut tabs = vec![browser.client.window().await.unwrap()];
    while tabs.len() < 8 {
        tabs.push(browser.client.new_window(true).await.unwrap().handle);
    }
    for tab in &tabs {
        browser.client.switch_to_window(tab.clone()).await.unwrap();
        let loading = tokio::time::timeout(Duration::from_secs(20), browser.client.goto(&server.pages));
        loading.await.expect("each tab is loaded").unwrap();
        wait_until(&browser, "document.querySelector('pasteup-overlay')").await;
    }
    // The tab that listens for all may be closed.
    browser.client.switch_to_window(tabs.remove(0)).await.unwrap();
    browser.client.close_window().await.unwrap();
    browser.client.switch_to_window(tabs[3].clone()).await.unwrap();
    site.front_now(&page("two"));
    for tab in &tabs {
        browser.client.switch_to_window(tab.clone()).await.unwrap();
        wait_until(&browser, "document.querySelector('h1').textContent === 'two'").await;
    }
    browser.stop().await;
}

#[tokio::test]
async fn every_browser_sees_the_faults_in_one_line_and_may_reset_them() {
    let service = RawService::html(Duration::ZERO, "", "<p>here</p>").await;
    let site = TestSite::new()
        .front("<!doctype html><title>t</title><main><fragment name=a><p>Back soon.</p></fragment><fragment name=b /></main>")
        .service("a", service.address)
        .service("b", service.address);
    let server = site.dev().await;
    assert_eq!(fault(&server, "fragment=a&what=fail").await, 204);
    // A browser that did not set the fault.
    let browser = Browser::start().await;
    browser.client.set_window_size(1000, 500).await.unwrap();
    browser.client.goto(&server.pages).await.unwrap();
    let line = |text: &str| {
        format!("{SHADOW}.querySelector('.faults:not([hidden]) span').textContent === 'Simulated: {text}'")
    };
    wait_until(&browser, &line("a (error)")).await;
    assert_eq!(fault(&server, "fragment=b&what=empty&delay_ms=500").await, 204);
    wait_until(&browser, &line("a (error), b (empty, 500 ms late)")).await;
    browser.screenshot("dev-faults.png").await;
    browser.client.set_window_size(500, 500).await.unwrap();
    browser.screenshot("dev-faults-narrow.png").await;
    browser.evaluate(&format!("{SHADOW}.querySelector('.faults button').click()")).await;
    wait_until(&browser, &format!("{SHADOW}.querySelector('.faults').hidden")).await;
    wait_until(&browser, "document.querySelector('main').textContent === 'herehere'").await;
    assert_eq!(first(&server).await, pair("fresh", "-"));
    for wrong in ["reset=some", "reset=all&fragment=a"] {
        assert_eq!(fault(&server, wrong).await, 400, "{wrong}");
    }
    browser.stop().await;
}
