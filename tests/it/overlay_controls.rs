//! The controls of the overlay: on which side the panel opens, the pill that stays, and what follows the keyboard focus.

use serde_json::{Value, json};

use crate::overlay::{RESPONSES, SHADOW, enter, key, manifest, paper, service, size, wait_until};
use crate::support::browser::Browser;
use crate::support::process::TestSite;

/// The label of a part.
fn label(text: &str) -> String {
    format!("[...{SHADOW}.querySelectorAll('.label')].find(l => l.textContent.startsWith('{text}'))")
}

/// Clicks on the label of a part.
async fn open(browser: &Browser, text: &str) {
    browser.evaluate(&format!("{}.click()", label(text))).await;
}

/// Whether the panel covers the box of the chosen part anywhere.
const COVERS: &str = "(s => { const [p, b] = ['.panel', '.box.chosen'].map(q => s.querySelector(q).getBoundingClientRect());\
    return p.left < b.right && b.left < p.right && p.top < b.bottom && b.top < p.bottom })";

async fn covers(browser: &Browser) -> Value {
    browser.evaluate(&format!("{COVERS}({SHADOW})")).await
}

/// Presses and releases the Tab key, which moves the focus.
async fn tab(browser: &Browser) {
    for kind in ["rawKeyDown", "keyUp"] {
        let press = json!({ "type": kind, "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9 });
        browser.cdp("Input.dispatchKeyEvent", press).await;
    }
}

#[tokio::test]
async fn the_panel_does_not_cover_the_part_that_it_explains() {
    let service = service(RESPONSES).await;
    let server = paper(&service, "").serve().await;
    let browser = Browser::start().await;
    size(&browser, 1280, 900).await;
    enter(&browser, &server, "/").await;
    for (part, side) in [("lead", "right"), ("rows", "left"), ("menu", "right")] {
        open(&browser, part).await;
        assert_eq!(covers(&browser).await, false, "{part}");
        let at = "(r => r.top > 100 ? 'low' : r.left > innerWidth / 2 ? 'right' : 'left')";
        let at = browser.evaluate(&format!("{at}({SHADOW}.querySelector('.panel').getBoundingClientRect())")).await;
        assert_eq!(at, side, "{part}");
        browser.screenshot(&format!("overlay-side-{part}.png")).await;
    }
    // On a telephone it is a sheet, below or above.
    size(&browser, 390, 900).await;
    for part in ["menu", "lead"] {
        open(&browser, part).await;
        assert_eq!(covers(&browser).await, false, "{part}");
    }
    browser.evaluate("document.querySelector('table').scrollIntoView({ block: 'end' })").await;
    open(&browser, "rows").await;
    assert_eq!(covers(&browser).await, false);
    browser.screenshot("overlay-side-narrow.png").await;
    browser.stop().await;
}

#[tokio::test]
async fn a_pill_stays_when_the_overlay_is_hidden_and_shows_it_again() {
    let service = service(RESPONSES).await;
    let server = paper(&service, "").serve().await;
    let browser = Browser::start().await;
    size(&browser, 1280, 900).await;
    enter(&browser, &server, "/").await;
    let is_shown = async |what: &str| {
        browser.evaluate(&format!("getComputedStyle({SHADOW}.querySelector('{what}')).display !== 'none'")).await
    };
    assert_eq!((is_shown(".pill").await, is_shown(".bar").await), (json!(false), json!(true)));
    open(&browser, "lead").await;
    browser.evaluate(&format!("[...{SHADOW}.querySelectorAll('.bar button')].at(-1).click()")).await;
    for hidden in [".bar", ".page", ".panel"] {
        assert_eq!(is_shown(hidden).await, false, "{hidden}");
    }
    assert_eq!(is_shown(".pill").await, true);
    // It says what is hidden, and has the focus, so that the keyboard can undo it.
    let pill = browser.evaluate(&format!("{SHADOW}.querySelector('.pill').textContent")).await;
    assert_eq!(pill, "Pasteup · 3 stale or missing");
    let focused = format!("{SHADOW}.activeElement.className");
    assert_eq!(browser.evaluate(&focused).await, "pill");
    browser.screenshot("overlay-pill.png").await;
    for (width, scheme) in [(1280, "light"), (390, "dark")] {
        size(&browser, width, 900).await;
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        browser.cdp("Emulation.setEmulatedMedia", json!({ "features": features })).await;
        let violations = browser.accessibility_violations("pasteup-overlay").await;
        assert_eq!(violations, Vec::<String>::new(), "{width}, {scheme}");
    }
    browser.screenshot("overlay-pill-narrow.png").await;
    browser.client.refresh().await.unwrap();
    wait_until(&browser, &format!("document.querySelector('pasteup-overlay') && {SHADOW}.querySelector('.pill')"))
        .await;
    assert_eq!((is_shown(".pill").await, is_shown(".page").await), (json!(true), json!(false)), "it stays hidden");
    browser.evaluate(&format!("{SHADOW}.querySelector('.pill').click()")).await;
    assert_eq!((is_shown(".pill").await, is_shown(".page").await), (json!(false), json!(true)));
    assert_eq!(browser.evaluate(&format!("{SHADOW}.activeElement.textContent")).await, "Hide (key `)");
    browser.stop().await;
}

#[tokio::test]
async fn errors_in_files_are_shown_although_the_overlay_is_hidden() {
    let site = TestSite::new()
        .front("<!doctype html><title>t</title><h1>one</h1>")
        .file("layouts/404.html", "+++\nstatus = 404\n+++\n<!doctype html><title>t</title><h1>missing</h1>");
    let server = site.dev().await;
    let browser = Browser::start().await;
    size(&browser, 1000, 600).await;
    browser.client.goto(&server.pages).await.unwrap();
    wait_until(&browser, &format!("{SHADOW}.querySelector('.bar')")).await;
    key(&browser, "`", "Backquote").await;
    site.front_now("<!doctype html><title>t</title><fragment name=nobody />");
    let errors = |text: &str| {
        format!(
            "{SHADOW}.querySelector('.errors').getBoundingClientRect().height > 20 && {SHADOW}.querySelector('.errors').textContent.includes('{text}')"
        )
    };
    wait_until(&browser, &errors("The last good version is shown until this is fixed.")).await;
    browser.screenshot("overlay-hidden-error.png").await;
    // A page that never was good has no last good version, although the site's own page for 404 is shown in its place.
    site.front_now("<!doctype html><title>t</title><h1>two</h1>");
    site.write("layouts/new.html", "+++\nroute = \"/new\"\n+++\n<fragment name=nobody />");
    browser.client.goto(&format!("{}/new", server.pages)).await.unwrap();
    wait_until(&browser, &errors("This page is not live yet.")).await;
    assert_eq!(browser.text("h1").await, "missing");
    browser.stop().await;
}

#[tokio::test]
async fn labels_follow_the_keyboard_focus() {
    let service =
        service(&[("menu", "<a href=\"/\">Home</a> <a href=\"/sport\">Sport</a>"), ("end", "<p>The end.</p>")]).await;
    let page = "<!doctype html><html lang=en><title>t</title><style>main { height: 4000px }</style>\
        <nav><fragment name=menu /></nav><main>tall</main><footer><fragment name=end id=last /></footer>";
    let site = TestSite::new().without_streaming().front(page);
    let site = ["menu", "end"].into_iter().fold(site, |site, name| manifest(site, name, &service, ""));
    let server = site.serve().await;
    let browser = Browser::start().await;
    size(&browser, 1000, 600).await;
    enter(&browser, &server, "/").await;
    // A link on the page has the focus: the label of its part comes to the front.
    tab(&browser).await;
    assert_eq!(browser.evaluate("document.activeElement.textContent").await, "Home");
    let focused = format!("[...{SHADOW}.querySelectorAll('.label.focused')].map(l => l.textContent.split(':')[0])");
    assert_eq!(browser.evaluate(&focused).await, json!(["menu"]));
    // A label has the focus: the page is scrolled to it.
    for _ in 0..3 {
        tab(&browser).await;
    }
    let text = browser.evaluate(&format!("{SHADOW}.activeElement.textContent")).await;
    assert!(text.as_str().unwrap().starts_with("end #last: fresh"), "{text}");
    let last = label("end #last");
    wait_until(
        &browser,
        &format!("scrollY > 3000 && (r => r.top >= 0 && r.bottom <= innerHeight)({last}.getBoundingClientRect())"),
    )
    .await;
    assert_eq!(browser.evaluate(&focused).await, json!([]));
    // So it is to a part that is chosen in the list.
    browser.evaluate("scrollTo(0, 0)").await;
    browser.evaluate(&format!("{SHADOW}.querySelector('.bar button').click()")).await;
    let in_list =
        format!("[...{SHADOW}.querySelectorAll('.panel li button')].find(b => b.textContent.startsWith('end'))");
    browser.evaluate(&format!("{in_list}.click()")).await;
    wait_until(&browser, "scrollY > 3000").await;
    assert_eq!(covers(&browser).await, false);
    browser.stop().await;
}
