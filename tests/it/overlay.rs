//! The overlay on a live page: access, content, and that it does not move any element.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use sfv::{BareItem, List, ListEntry, Parser};

use crate::explain::{overlay, token};
use crate::support::browser::Browser;
use crate::support::process::{Server, TestSite, client};
use crate::support::service::{RawService, ReceivedRequest};

fn html(headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
        .into_bytes()
}

/// Responds with the HTML for the path, or with an error if there is none.
pub(crate) async fn service(responses: &'static [(&'static str, &'static str)]) -> RawService {
    RawService::responding(move |request| {
        let path = request.target.split('?').next().unwrap().trim_start_matches('/');
        let known = responses.iter().find(|(name, _)| *name == path);
        Some(match known {
            Some((_, body)) => html("Cache-Control: max-age=60\r\n", body),
            None => b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
        })
    })
    .await
}

async fn with_token(server: &Server, token: &str, path: &str) -> reqwest::Response {
    client().get(format!("{}{path}", server.pages)).header("pasteup-debug", token).send().await.unwrap()
}

const CARD: &str = "composes = [\"list\"]\n";

/// A page with a grid, a table, a list, a drawing, a composite fragment, a fallback and an empty part.
const PAGE: &str = "+++
route = \"/\"
owner = \"team-front\"
+++
<!doctype html><html lang=en><head><meta name=viewport content=\"width=device-width\"><title>The Paper</title>
<style>
* { box-sizing: border-box } html > * { display: block; margin: 1px 0; padding: 1px }
body { min-height: 1200px; font: 17px/1.45 Georgia, serif; max-width: 70rem; margin: 0 auto; padding: 0 1rem; color: #222; background: #fff }
main { display: grid; grid-template-columns: 2fr 1fr; gap: 1.5rem } @media (max-width: 600px) { main { display: block } }
body > :last-child { margin-bottom: 3rem } body > *:nth-last-child(2) { border-bottom: 1px solid } head + body { border-top: 3px solid #222 }
aside > * + * { margin-top: 1rem } table { border-collapse: collapse; width: 100% } td, th { border: 1px solid #999; padding: .2rem .5rem; text-align: left }
.stack:empty { height: 40px } svg { max-width: 100% } nav { position: sticky; top: 0; background: #eee; padding: .5rem }
@media (prefers-color-scheme: dark) { body { background: #111; color: #ddd } nav { background: #333 } }
</style><fragment name=head /></head>
<body><nav><fragment name=menu /></nav><h1>The Paper</h1>
<main><article><fragment name=lead /><fragment name=card /></article>
<aside><fragment name=down id=weather><p>No word from the weather station.</p></fragment>
<table><tr><th>Team<th>Points</tr><fragment name=rows /></table>
<ol><fragment name=items /></ol>
<svg viewBox=\"0 0 100 40\" width=200><fragment name=drawing /></svg>
<p class=stack><fragment name=down id=nothing /></p></aside></main>
<fragment name=down id=more><p>More tomorrow.</p></fragment>
<footer>End.</footer></body></html>
";

pub(crate) const RESPONSES: &[(&str, &str)] = &[
    ("head", "<meta name=theme-color content=\"#222\">"),
    ("menu", "<a href=\"/\">Home</a> <a href=\"/sport\">Sport</a> <a href=\"/weather\">Weather</a>"),
    (
        "lead",
        "<h2>Harbour opens after forty years</h2><p>The first ship came in on the morning tide, and the whole town was there to see it. Schools were closed, and so were the shops.</p>",
    ),
    ("card", "<section><h3>In brief</h3><fragment name=list /><p>And more.</p></section>"),
    ("list", "<ul><li>Bridge closed<li>Bells cast<li>Library late</ul>"),
    ("rows", "<tr><td>North<td>31</tr><tr><td>South<td>29</tr>"),
    ("items", "<li>One<li>Two"),
    ("drawing", "<rect x=5 y=5 width=60 height=30 fill=\"#88a\" /><circle cx=80 cy=20 r=15 />"),
];

const NAMES: [&str; 9] = ["head", "menu", "lead", "card", "list", "rows", "items", "drawing", "down"];

pub(crate) fn manifest(site: TestSite, name: &str, service: &RawService, more: &str) -> TestSite {
    let address = service.address;
    let text = format!(
        "name = \"{name}\"\nversion = \"1.2.0\"\nowner = \"team-{name}\"\nendpoint = \"http://{address}/{name}\"\n{more}"
    );
    site.file(&format!("fragments/{name}/fragment.toml"), &text)
}

/// The site, with its page also under another policy.
pub(crate) fn paper(service: &RawService, headers: &str) -> TestSite {
    let page = PAGE.replacen("\n+++\n<!doctype", &format!("\n{headers}+++\n<!doctype"), 1);
    let site = TestSite::new().without_streaming().file("layouts/front.html", &page);
    NAMES.into_iter().fold(site, |site, name| manifest(site, name, service, if name == "card" { CARD } else { "" }))
}

/// Every element of the page with its position, and the size of the page.
const PLACES: &str = "[...document.querySelectorAll('html, body, body *, head > style')].filter(e => e.localName !== 'pasteup-overlay' && e.localName !== 'script')\
    .map(e => { const r = e.getBoundingClientRect(), s = getComputedStyle(e); return [e.localName, r.x, r.y, r.width, r.height, s.color, s.backgroundColor] })\
    .concat([[document.documentElement.scrollWidth, document.documentElement.scrollHeight, document.body.scrollWidth, document.body.scrollHeight, innerWidth, document.documentElement.clientWidth]])";

/// The labels that the overlay draws, each with its box.
const DRAWN: &str = "[...document.querySelector('pasteup-overlay').shadowRoot.querySelectorAll('.label')].map(l => [l.textContent, l.previousElementSibling.className.replace('box ', '').replace(' chosen', '')])";

pub(crate) const SHADOW: &str = "document.querySelector('pasteup-overlay').shadowRoot";

pub(crate) async fn size(browser: &Browser, width: u32, height: u32) {
    // A window cannot be as narrow as a telephone.
    let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
    browser.cdp("Emulation.setDeviceMetricsOverride", metrics).await;
}

/// Waits until a condition holds.
pub(crate) async fn wait_until(browser: &Browser, what: &str) {
    let wait = format!(
        "const d = arguments[arguments.length - 1]; (function f() {{ if ({what}) d(true); else requestAnimationFrame(f) }})()"
    );
    let done = tokio::time::timeout(Duration::from_secs(20), browser.client.execute_async(&wait, vec![])).await;
    if !matches!(done, Ok(Ok(_))) {
        panic!("`{what}` never became true: {done:?} {:?}", browser.console_messages().await);
    }
}

async fn has_overlay(browser: &Browser) {
    wait_until(browser, &format!("document.querySelector('pasteup-overlay') && {SHADOW}.querySelector('.bar')")).await;
}

pub(crate) async fn enter(browser: &Browser, server: &Server, to: &str) {
    let token = token(server).await;
    browser.client.goto(&format!("{}/_pasteup/debug?token={token}&to={to}", server.pages)).await.unwrap();
    has_overlay(browser).await;
}

/// The messages in the browser's console. There should be none.
async fn console_messages(browser: &Browser) -> Vec<String> {
    browser.console_messages().await.into_iter().filter(|line| !line.contains("favicon")).collect()
}

fn labels(drawn: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    drawn.as_array().unwrap().iter().map(|one| (text(&one[0]), text(&one[1]))).collect()
}

#[tokio::test]
async fn no_element_moves_and_each_part_is_explained() {
    let service = service(RESPONSES).await;
    let server = paper(&service, "").serve().await;
    let browser = Browser::start().await;
    let mut plain = Vec::new();
    for width in [1280, 390] {
        size(&browser, width, 900).await;
        browser.client.goto(&server.pages).await.unwrap();
        assert_eq!(browser.evaluate("document.querySelector('pasteup-overlay')").await, Value::Null);
        plain.push(browser.evaluate(PLACES).await);
    }
    for (width, plain, name) in [(1280, &plain[0], "wide"), (390, &plain[1], "narrow")] {
        size(&browser, width, 900).await;
        enter(&browser, &server, "/").await;
        assert_eq!(browser.evaluate(PLACES).await, *plain, "at {width} px");
        let drawn = labels(&browser.evaluate(DRAWN).await);
        let mut pairs: Vec<(&str, &str)> =
            drawn.iter().map(|(label, kind)| (label.split(" · ").next().unwrap(), kind.as_str())).collect();
        pairs.sort_unstable();
        assert_eq!(
            pairs,
            [
                ("card: fresh, hit", "combines"),
                ("down #more: fallback (status), miss", "degraded"),
                ("down #weather: fallback (status), miss", "degraded"),
                ("drawing: fresh, hit", "service"),
                ("items: fresh, hit", "service"),
                ("lead: fresh, hit", "service"),
                ("list: fresh, hit", "service"),
                ("menu: fresh, hit", "service"),
                ("rows: fresh, hit", "service"),
            ]
        );
        let card = drawn.iter().find(|(label, _)| label.starts_with("card")).unwrap();
        assert!(card.0.ends_with("composed of 1 other"), "{}", card.0);
        // Each box is where its part is, and no label is over another.
        let around = "(s => [...document.querySelectorAll('article h2, aside table td, svg circle')].every(e => { const r = e.getBoundingClientRect();\
            return [...s.querySelectorAll('.box')].some(b => { const o = b.getBoundingClientRect(); return o.left <= r.left && o.top <= r.top && o.right >= r.right && o.bottom >= r.bottom }) }))";
        assert_eq!(browser.evaluate(&format!("{around}({SHADOW})")).await, true);
        let over = "(s => { const all = [...s.querySelectorAll('.label')].map(l => l.getBoundingClientRect());\
            return all.filter((a, i) => all.some((b, j) => i < j && a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)).length\
            + all.filter(a => a.left < 0 || a.right > innerWidth || a.width < 40).length })";
        assert_eq!(browser.evaluate(&format!("{over}({SHADOW})")).await, 0, "labels at {width} px");
        browser.screenshot(&format!("overlay-{name}.png")).await;
        for (scheme, suffix) in [("dark", "-dark"), ("light", "")] {
            let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
            browser.cdp("Emulation.setEmulatedMedia", media).await;
            browser.evaluate(&format!("[...{SHADOW}.querySelectorAll('.bar button')][0].click()")).await;
            browser.screenshot(&format!("overlay-list-{name}{suffix}.png")).await;
            browser
                .evaluate(&format!(
                    "[...{SHADOW}.querySelectorAll('.label')].find(l => l.textContent.includes('#weather')).click()"
                ))
                .await;
            browser.screenshot(&format!("overlay-part-{name}{suffix}.png")).await;
            browser.evaluate(&format!("{SHADOW}.querySelector('.close').click()")).await;
        }
        assert_eq!(browser.evaluate(PLACES).await, *plain, "after all interactions");
        // Boxes stay at their parts when the page is scrolled.
        browser.evaluate("scrollTo(0, 200)").await;
        wait_until(&browser, &format!("scrollY > 0 && {around}({SHADOW})")).await;
        browser.client.delete_all_cookies().await.unwrap();
    }
    assert_eq!(console_messages(&browser).await, Vec::<String>::new());
    browser.stop().await;
}

pub(crate) async fn key(browser: &Browser, key: &str, code: &str) {
    for kind in ["keyDown", "keyUp"] {
        browser.cdp("Input.dispatchKeyEvent", json!({ "type": kind, "key": key, "code": code })).await;
    }
}

#[tokio::test]
async fn a_part_opens_by_mouse_and_keyboard_and_the_overlay_hides_by_a_key() {
    let service = service(RESPONSES).await;
    let site = paper(&service, "");
    let site = manifest(site, "lead", &service, "runbook = \"https://example.org/run\"\n");
    let server = site.serve().await;
    let browser = Browser::start().await;
    size(&browser, 1280, 900).await;
    enter(&browser, &server, "/").await;
    let label = format!("[...{SHADOW}.querySelectorAll('.label')].find(l => l.textContent.startsWith('lead'))");
    let at = browser.evaluate(&format!("(r => [r.left + 8, r.top + 8])({label}.getBoundingClientRect())")).await;
    for kind in ["mousePressed", "mouseReleased"] {
        let click = json!({ "type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1 });
        browser.cdp("Input.dispatchMouseEvent", click).await;
    }
    let rows = "Object.fromEntries([...document.querySelector('pasteup-overlay').shadowRoot.querySelectorAll('.panel dt')].map(t => [t.textContent, t.nextElementSibling.textContent]))";
    let panel = browser.evaluate(rows).await;
    for (width, scheme) in [(1280, "light"), (390, "dark"), (1280, "dark")] {
        size(&browser, width, 900).await;
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        browser.cdp("Emulation.setEmulatedMedia", json!({ "features": features })).await;
        assert_eq!(
            browser.accessibility_violations("pasteup-overlay").await,
            Vec::<String>::new(),
            "{width}, {scheme}"
        );
    }
    assert_eq!(panel["outcome"], "fresh, miss");
    assert_eq!(panel["nanoservice"], "lead 1.2.0");
    assert_eq!((&panel["owner"], &panel["runbook"]), (&json!("team-lead"), &json!("https://example.org/run")));
    assert_eq!(panel["cached"], "cached for 1m (service max-age)");
    assert_eq!(panel["layout"], "layouts/front.html:16");
    assert!(panel["time"].as_str().unwrap().ends_with(" of 1 s"), "{panel}");
    assert_eq!(
        browser.evaluate(&format!("{SHADOW}.querySelector('.panel p').textContent")).await,
        "the service answered"
    );
    key(&browser, "Escape", "Escape").await;
    assert_eq!(browser.evaluate(&format!("{SHADOW}.querySelector('.panel')")).await, Value::Null);
    assert_eq!(
        browser.evaluate(&format!("{SHADOW}.activeElement === {label}")).await,
        true,
        "the keyboard focus returns to the label"
    );
    // A degraded part shows its reason.
    browser
        .evaluate(&format!(
            "[...{SHADOW}.querySelectorAll('.label')].find(l => l.textContent.includes('#weather')).click()"
        ))
        .await;
    assert_eq!(
        browser.evaluate(&format!("{SHADOW}.querySelector('.panel p').textContent")).await,
        "fallback: the service answered with an error"
    );
    assert_eq!(browser.evaluate(rows).await["detail"], "it answered 500");
    key(&browser, "Escape", "Escape").await;

    let hidden = format!("getComputedStyle({SHADOW}.querySelector('.page')).display === 'none'");
    assert_eq!(browser.evaluate(&hidden).await, false);
    key(&browser, "`", "Backquote").await;
    assert_eq!(browser.evaluate(&hidden).await, true);
    browser.client.refresh().await.unwrap();
    has_overlay(&browser).await;
    assert_eq!(browser.evaluate(&hidden).await, true, "it stays hidden");
    key(&browser, "`", "Backquote").await;
    assert_eq!(browser.evaluate(&hidden).await, false);
    assert!(!labels(&browser.evaluate(DRAWN).await).is_empty());
    // In a text field, the key is a letter.
    browser.evaluate("document.body.append(Object.assign(document.createElement('input'), { id: 'i' })), document.getElementById('i').focus()").await;
    key(&browser, "`", "Backquote").await;
    assert_eq!(browser.evaluate(&hidden).await, false);
    // The overlay follows changes of the page.
    browser.evaluate("document.querySelector('h1').style.marginTop = '300px'").await;
    let follows = format!(
        "Math.abs({label}.previousElementSibling.getBoundingClientRect().top - document.querySelector('article h2').getBoundingClientRect().top) < 5"
    );
    wait_until(&browser, &follows).await;
    assert_eq!(console_messages(&browser).await, Vec::<String>::new());
    browser.stop().await;
}

#[tokio::test]
async fn under_strict_policies_the_overlay_is_shown_without_errors() {
    let service = service(RESPONSES).await;
    let browser = Browser::start().await;
    for policy in [
        "default-src 'none'; style-src 'none'",
        "script-src 'none'; object-src 'none'",
        "script-src 'nonce-abc' 'strict-dynamic'; require-trusted-types-for 'script'; trusted-types 'none'",
        "script-src 'self' https:; require-trusted-types-for 'script'; style-src 'none'; connect-src 'none'",
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none', script-src 'sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='",
    ] {
        let page = "+++\nroute = \"/\"\n[headers]\nContent-Security-Policy = \"POLICY\"\n+++\n<!doctype html><title>t</title><p><fragment name=menu /></p><fragment name=down>away</fragment>";
        let site = TestSite::new().file("layouts/p.html", &page.replace("POLICY", policy));
        let site = ["menu", "down"].into_iter().fold(site, |site, name| manifest(site, name, &service, ""));
        let server = site.serve().await;
        enter(&browser, &server, "/").await;
        assert_eq!(labels(&browser.evaluate(DRAWN).await).len(), 2, "{policy}");
        let colour =
            browser.evaluate(&format!("getComputedStyle({SHADOW}.querySelector('.box')).borderTopColor")).await;
        assert_eq!(colour, "rgb(10, 122, 51)", "its style applies: {policy}");
        browser.evaluate(&format!("{SHADOW}.querySelector('.label').click()")).await;
        assert_eq!(browser.evaluate(&format!("{SHADOW}.querySelectorAll('.panel').length")).await, 1);
        assert_eq!(console_messages(&browser).await, Vec::<String>::new(), "{policy}");
        browser.client.delete_all_cookies().await.unwrap();
    }
    browser.stop().await;
}

#[tokio::test]
async fn unclosed_elements_and_imitated_marks_of_parts_do_not_hide_the_overlay() {
    let received = Arc::new(Mutex::new(String::new()));
    let trace = Arc::clone(&received);
    let service = RawService::responding(move |request: &ReceivedRequest| {
        // A nanoservice may repeat what it is sent.
        let parent = request.header("traceparent").unwrap_or_default().to_owned();
        let id = parent.split('-').nth(1).unwrap_or_default()[..8].to_owned();
        let body = match request.target.trim_start_matches('/') {
            "poser" => format!("<!--/pasteup:{id} 0--><!--pasteup:{id} 1--><b id=pasteup-overlay>posing</b><!--/pasteup:{id} 1--><script type='application/json' id=pasteup-overlay data-pasteup-overlay>{{\"mark\":\"x\"}}</script>"),
            "open" => "<div><p><b>left open".to_owned(),
            "close" => "</div></div></main></section>closed".to_owned(),
            "area" => "<textarea>swallows".to_owned(),
            other => other.to_owned(),
        };
        *trace.lock().unwrap() = parent;
        Some(html("", &body))
    })
    .await;
    let names = ["poser", "open", "close", "area", "after"];
    let site = TestSite::new().file(
        "layouts/p.html",
        "+++\nroute = \"/\"\n+++\n<!doctype html><base href=\"https://elsewhere.invalid/\"><meta http-equiv=Content-Security-Policy content=\"script-src 'none'\"><title>t</title>\
         <main><section><fragment name=poser /><fragment name=open /><fragment name=close /></section></main><fragment name=after /><fragment name=area />",
    );
    let site = names.into_iter().fold(site, |site, name| manifest(site, name, &service, "html = \"raw\"\n"));
    let server = site.serve().await;
    let browser = Browser::start().await;
    enter(&browser, &server, "/").await;
    let drawn: Vec<String> = labels(&browser.evaluate(DRAWN).await).into_iter().map(|(label, _)| label).collect();
    for name in ["poser", "open", "after"] {
        assert_eq!(drawn.iter().filter(|label| label.starts_with(&format!("{name}: fresh"))).count(), 1, "{drawn:?}");
    }
    assert_eq!(browser.evaluate("document.querySelectorAll('pasteup-overlay').length").await, 1);
    browser.stop().await;
}

#[tokio::test]
async fn a_lazy_part_is_drawn_before_and_after_it_is_loaded() {
    let service = service(RESPONSES).await;
    for headers in [
        "",
        "[headers]\nContent-Security-Policy = \"script-src 'self'; require-trusted-types-for 'script'; trusted-types pasteup\"\n",
    ] {
        let page = format!(
            "+++\nroute = \"/\"\n{headers}+++\n<!doctype html><title>t</title><style>div {{ height: 9000px }}</style><fragment name=menu /><div>tall</div>\
             <section><fragment name=card id=below load=lazy><p>Soon.</p></fragment></section>"
        );
        let site = TestSite::new().file("layouts/p.html", &page);
        let site = ["menu", "list"].into_iter().fold(site, |site, name| manifest(site, name, &service, ""));
        let site = manifest(site, "card", &service, CARD);
        let server = site.serve().await;
        let browser = Browser::start().await;
        size(&browser, 1280, 900).await;
        enter(&browser, &server, "/").await;
        let drawn = labels(&browser.evaluate(DRAWN).await);
        assert_eq!(drawn[1].0, "card #below: loads when scrolled to");
        browser.evaluate("scrollTo(0, 99999)").await;
        browser.wait_for("section h3").await;
        wait_until(&browser, &format!("{SHADOW}.querySelectorAll('.label').length === 3")).await;
        let drawn = labels(&browser.evaluate(DRAWN).await);
        let pairs: Vec<(&str, &str)> =
            drawn.iter().map(|(label, kind)| (label.split(", ").next().unwrap(), kind.as_str())).collect();
        for (label, kind) in [("card #below: fresh", "combines"), ("list: fresh", "service")] {
            assert!(pairs.contains(&(label, kind)), "{pairs:?}");
        }
        assert_eq!(browser.evaluate("document.querySelectorAll('pasteup-overlay').length").await, 1);
        assert_eq!(
            browser.evaluate("document.querySelectorAll('section script').length").await,
            0,
            "nothing is left behind"
        );
        assert_eq!(
            browser
                .evaluate("document.querySelector('section').textContent")
                .await
                .as_str()
                .unwrap()
                .matches("In brief")
                .count(),
            1
        );
        assert_eq!(console_messages(&browser).await, Vec::<String>::new(), "{headers}");
        browser.stop().await;
    }
}

/// What clients are sent, without the headers that differ every time.
async fn stable_parts(request: reqwest::RequestBuilder) -> (StatusCode, Vec<String>, String) {
    let response = request.send().await.unwrap();
    let mut headers: Vec<String> =
        response.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    headers.retain(|line| {
        !line.starts_with("date:") && !line.starts_with("x-request-id:") && !line.starts_with("cache-control: public")
    });
    headers.sort();
    (response.status(), headers, response.text().await.unwrap())
}

#[tokio::test]
async fn only_holders_of_a_valid_token_get_the_overlay_and_it_is_never_cached() {
    let service = service(RESPONSES).await;
    let server =
        manifest(TestSite::new().without_streaming().front("<p><fragment name=lead /></p>"), "lead", &service, "")
            .serve()
            .await;
    let plain = stable_parts(client().get(&server.pages)).await;
    assert_eq!(plain.2, format!("<p>{}</p>", RESPONSES[2].1));
    let good = token(&server).await;
    let (until, signature) = good.split_once('.').unwrap();
    let later: i64 = until.parse::<i64>().unwrap() + 60;
    for forged in [
        String::new(),
        "x".to_owned(),
        format!("{later}.{signature}"),
        format!("{until}.{}", "0".repeat(64)),
        format!("{until}.{}", &signature[..62]),
        format!("1.{signature}"),
        format!("+{good}"),
        format!("{good}00"),
    ] {
        assert_eq!(stable_parts(client().get(&server.pages).header("pasteup-debug", &forged)).await, plain, "{forged}");
        assert_eq!(
            stable_parts(client().get(&server.pages).header("cookie", format!("pasteup-debug={forged}"))).await,
            plain
        );
        assert_eq!(server.get(&format!("/_pasteup/debug?token={forged}")).await.status(), 404, "{forged}");
    }
    for (header, value) in [("pasteup-debug", good.clone()), ("cookie", format!("a=b; pasteup-debug={good}; c=d"))] {
        for method in [http::Method::GET, http::Method::HEAD] {
            let response = client().request(method.clone(), &server.pages).header(header, &value).send().await.unwrap();
            assert_eq!(response.headers()["cache-control"], "private, no-store");
            assert!(!response.headers().contains_key("etag"));
            let length: usize = response.headers()["content-length"].to_str().unwrap().parse().unwrap();
            let timing = response.headers()["server-timing"].to_str().unwrap();
            assert!(timing.starts_with("total;dur=") && timing.contains(", lead;dur="), "{timing}");
            let text = response.text().await.unwrap();
            if method == http::Method::GET {
                assert_eq!(text.len(), length);
                assert!(text.contains("<!--pasteup:") && overlay(&text)["dev"] == false);
            } else {
                assert!(text.is_empty() && length > plain.2.len());
            }
            assert_eq!(stable_parts(client().get(&server.pages)).await, plain, "the next client without a token");
        }
    }
    // A request for the overlay never gets a 304.
    let etag = client().get(&server.pages).send().await.unwrap().headers()["etag"].to_str().unwrap().to_owned();
    let request = client().get(&server.pages).header("if-none-match", &etag).header("pasteup-debug", &good);
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!(
        client().get(&server.pages).header("if-none-match", &etag).send().await.unwrap().status(),
        304,
        "it stays hot"
    );
    assert_eq!(service.requests(), 1, "and its part is fetched once");
    let metrics = client().get(format!("{}/metrics", server.admin)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("pasteup_cache_entries 2\n"), "the response and the page: {metrics}");
}

#[tokio::test]
async fn the_entrance_sets_the_token_as_a_cookie_and_redirects_to_this_site_only() {
    let server = TestSite::new().front("x").file("layouts/n.html", "+++\nroute = \"/news\"\n+++\nnews").serve().await;
    let token = token(&server).await;
    for (to, location) in [
        ("/news?a=b%26c", "/news?a=b&c"),
        ("", "/"),
        ("news", "/"),
        ("//evil.example/", "/"),
        ("https://evil.example/", "/"),
        ("/\\evil.example/", "/"),
        ("/%09/evil.example/", "/"),
        ("/%0A/evil.example/", "/"),
        ("%2F%2Fevil.example/", "/"),
        ("/%0D%0ASet-Cookie:x=y", "/Set-Cookie:x=y"),
        ("/.//evil.example", "/"),
    ] {
        let response = server.get(&format!("/_pasteup/debug?token={token}&to={to}").replace('\\', "%5C")).await;
        assert_eq!(response.status(), 303, "{to}");
        assert_eq!(response.headers()["location"], location, "{to}");
        assert_eq!(response.headers()["cache-control"], "private, no-store");
        assert_eq!(response.headers().get_all("set-cookie").iter().count(), 1);
        let cookie = response.headers()["set-cookie"].to_str().unwrap();
        assert!(cookie.starts_with(&format!("pasteup-debug={token}; ")), "{cookie}");
        assert!(cookie.contains("Path=/") && cookie.contains("HttpOnly") && cookie.contains("SameSite="), "{cookie}");
    }
    assert_eq!(server.get("/_pasteup/debug").await.status(), 404);
    assert_eq!(server.get("/_pasteup/debug?token=").await.status(), 404);
    let post = client().post(format!("{}/_pasteup/debug?token={token}", server.pages)).send().await.unwrap();
    assert_eq!(post.status(), 405);
}

#[tokio::test]
async fn the_token_reaches_no_nanoservice_whatever_it_declares() {
    let requests: Arc<Mutex<Vec<ReceivedRequest>>> = Arc::default();
    let all = Arc::clone(&requests);
    let service = RawService::responding(move |request| {
        all.lock().unwrap().push(request.clone());
        Some(html("", "<p>$(HTTP_COOKIE)</p>"))
    })
    .await;
    let page = "+++\nroute = \"/\"\n+++\n<fragment name=a />";
    let site = TestSite::new().file("layouts/p.html", page);
    let site = manifest(site, "a", &service, "context = [\"cookie:pasteup-debug\", \"cookie:units\"]\n");
    let server = site.serve().await;
    let token = token(&server).await;
    let cookies = format!("units=metric; pasteup-debug={token}");
    let response =
        client().get(&server.pages).header("cookie", &cookies).header("pasteup-debug", &token).send().await.unwrap();
    let text = response.text().await.unwrap();
    assert!(overlay(&text)["record"].is_object());
    let (_, signature) = token.split_once('.').unwrap();
    assert!(!text.contains(signature), "nor does the page contain it");
    let requests = std::mem::take(&mut *requests.lock().unwrap());
    assert!(!requests.is_empty());
    for request in &requests {
        let printed = format!("{request:?}");
        assert!(!printed.contains(signature), "{printed}");
        assert_eq!(request.header("cookie"), Some("units=metric"));
    }
    let wrong = TestSite::new().front("x");
    let wrong = manifest(wrong, "a", &service, "context = [\"header:pasteup-debug\"]\n");
    assert_eq!(wrong.run(&["check"]).await.status.code(), Some(1));
}

#[tokio::test]
async fn error_pages_have_the_overlay_and_redirects_and_other_replies_do_not() {
    let service = RawService::responding(|request| {
        Some(match request.target.as_str() {
            "/leads" => {
                b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()
            }
            "/sheet.css" => {
                b"HTTP/1.1 200 OK\r\nContent-Type: text/css\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()
            }
            _ => b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
        })
    })
    .await;
    let page = |route: &str, html: &str| format!("+++\nroute = \"{route}\"\n+++\n{html}");
    let site = TestSite::new()
        .file("pasteup.toml", "[discovery]\npublish = true\n")
        .file("layouts/a.html", &page("/down", "<fragment name=down required />"))
        .file("layouts/b.html", &page("/leads", "<fragment name=leads required />"));
    let site = ["down", "leads"].into_iter().fold(site, |site, name| manifest(site, name, &service, ""));
    let server = site.serve().await;
    let token = token(&server).await;
    let down = with_token(&server, &token, "/down").await;
    assert_eq!(
        (down.status(), &down.headers()["cache-control"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"private, no-store".parse().unwrap())
    );
    let text = down.text().await.unwrap();
    assert_eq!(overlay(&text)["record"]["parts"][0]["reason"], "status");
    assert_eq!(overlay(&text)["record"]["status"], 503);
    let leads = with_token(&server, &token, "/leads").await;
    assert_eq!((leads.status().as_u16(), leads.headers()["location"].to_str().unwrap()), (302, "/elsewhere"));
    assert_eq!(leads.text().await.unwrap(), "");
    assert_eq!(with_token(&server, &token, "/nowhere").await.status(), 404);
    for path in ["/.well-known/fragments.json", "/a%2Fb", "/_pasteup/nothing"] {
        let plain = server.text(path).await;
        let marked = with_token(&server, &token, path).await.text().await.unwrap();
        if path == "/_pasteup/nothing" {
            continue;
        }
        assert_eq!(plain.contains("data-pasteup-overlay"), marked.contains("data-pasteup-overlay"), "{path}");
    }
    for path in ["/_pasteup/dev/events", "/_pasteup/dev/fault?fragment=down&what=fail"] {
        assert_eq!(with_token(&server, &token, path).await.status(), 404, "{path}");
        assert_eq!(server.get(path).await.status(), 404, "{path}");
    }
    let browser = Browser::start().await;
    enter(&browser, &server, "/down").await;
    let bar = browser.evaluate(&format!("{SHADOW}.querySelector('.bar').textContent")).await;
    assert!(bar.as_str().unwrap().starts_with("/down 503"), "{bar}");
    browser.screenshot("overlay-error.png").await;
    browser.evaluate(&format!("{SHADOW}.querySelector('.bar button').click()")).await;
    assert_eq!(browser.evaluate(&format!("{SHADOW}.querySelectorAll('.panel li').length")).await, 1);
    assert!(console_messages(&browser).await.iter().all(|line| line.contains("503")));
    browser.stop().await;
}

/// `Server-Timing` (W3C Server Timing, 3), read strictly: names, each with parameters of tokens or quoted texts.
fn timing(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    let token = regex_lite::Regex::new(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+").unwrap();
    let quoted = regex_lite::Regex::new(r#"^"(?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t \x21-\x7e])*""#).unwrap();
    let mut rest = text;
    let take = |rest: &mut &str, what: &regex_lite::Regex| -> Option<String> {
        let found = what.find(rest)?.as_str().to_owned();
        *rest = &rest[found.len()..];
        Some(found)
    };
    let mut all = Vec::new();
    loop {
        let name = take(&mut rest, &token).unwrap_or_else(|| panic!("no name at `{rest}`"));
        let mut parameters = Vec::new();
        while let Some(behind) = rest.strip_prefix(';') {
            rest = behind.trim_start();
            let name = take(&mut rest, &token).unwrap();
            rest = rest.strip_prefix('=').unwrap();
            let value = take(&mut rest, &quoted).or_else(|| take(&mut rest, &token)).unwrap();
            parameters.push((name, value.trim_matches('"').to_owned()));
        }
        all.push((name, parameters));
        match rest.strip_prefix(", ") {
            Some(behind) => rest = behind,
            None => break,
        }
    }
    assert_eq!(rest, "");
    all
}

#[tokio::test]
async fn server_timing_and_cache_status_follow_their_grammars() {
    let service = service(RESPONSES).await;
    let mut many = String::from("<fragment name=lead /><fragment name=down>-</fragment>");
    for number in 0..200 {
        many.push_str(&format!("<fragment name=lead id=\"part-{number}\" data-n={number} />"));
    }
    let site = TestSite::new().front(&many);
    let site = ["lead", "down"].into_iter().fold(site, |site, name| manifest(site, name, &service, ""));
    let site = site
        .file("layouts/plain.html", "+++\nroute = \"/plain\"\n+++\nplain")
        .file("layouts/one.html", "+++\nroute = \"/one\"\n+++\n<fragment name=lead ttl=20s />");
    let server = site.serve().await;
    let token = token(&server).await;
    let status = async |path: &str| {
        let response = with_token(&server, &token, path).await;
        let timing = timing(response.headers()["server-timing"].to_str().unwrap());
        let list: List = Parser::new(response.headers()["cache-status"].as_bytes()).parse().unwrap();
        assert_eq!(list.len(), 1);
        let ListEntry::Item(item) = list.into_iter().next().unwrap() else { panic!("no item") };
        assert!(matches!(&item.bare_item, BareItem::Token(name) if name.as_str() == "pasteup"));
        let parameters: Vec<(String, BareItem)> =
            item.params.into_iter().map(|(name, value)| (name.as_str().to_owned(), value)).collect();
        (timing, parameters)
    };
    let (timing, parameters) = status("/").await;
    assert_eq!((timing[0].0.as_str(), timing[1].0.as_str()), ("total", "lead"), "{:?}", timing[1]);
    assert_eq!(timing[2].0, "down");
    assert!(timing[2].1[1].1.starts_with("fallback, status, miss"), "{:?}", timing[2]);
    assert!(timing.len() <= 60, "proxies limit the size of heads");
    for (_, parameters) in &timing {
        assert!(parameters[0].0 == "dur" && parameters[0].1.parse::<f64>().unwrap() >= 0.0);
    }
    assert_eq!(parameters[0], ("fwd".to_owned(), BareItem::Token("miss".to_owned().try_into().unwrap())));
    status("/one").await;
    let (_, parameters) = status("/one").await;
    assert_eq!(parameters[0], ("hit".to_owned(), BareItem::Boolean(true)));
    let BareItem::Integer(ttl) = &parameters[1].1 else { panic!("{parameters:?}") };
    assert!((0..=20).contains(&i64::from(*ttl)), "{ttl:?}");
    status("/plain").await;
}
