//! Rollouts: how a new version takes over step by step, goes back by itself, and outlives a restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use fantoccini::Locator;
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::process::{Server, TestSite, until};
use crate::support::service::serve_router;

/// Two versions of a nanoservice at one address: `/old` says `old`, `/new` says `new`, or fails.
pub(crate) struct Service {
    address: std::net::SocketAddr,
    pub(crate) fails: Arc<AtomicBool>,
    asked: Arc<[AtomicUsize; 2]>,
}

impl Service {
    pub(crate) async fn start() -> Self {
        let (fails, asked) = (Arc::new(AtomicBool::new(false)), Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]));
        let of = |side: usize| {
            let (fails, asked) = (Arc::clone(&fails), Arc::clone(&asked));
            get(move || async move {
                asked[side].fetch_add(1, Ordering::SeqCst);
                if side == 1 && fails.load(Ordering::SeqCst) {
                    return StatusCode::INTERNAL_SERVER_ERROR.into_response();
                }
                let headers = [("content-type", "text/html"), ("cache-control", "max-age=0")];
                (headers, ["old", "new"][side]).into_response()
            })
        };
        let address = serve_router(Router::new().route("/old", of(0)).route("/new", of(1))).await;
        Self { address, fails, asked }
    }

    pub(crate) fn asked(&self) -> [usize; 2] {
        [0, 1].map(|side| self.asked[side].load(Ordering::SeqCst))
    }

    fn manifest(&self, version: &str, path: &str, more: &str) -> String {
        format!("name = \"weather\"\nversion = \"{version}\"\nendpoint = \"http://{}/{path}\"\n{more}", self.address)
    }

    /// A site on which the old version is live.
    pub(crate) fn site(&self) -> TestSite {
        TestSite::new()
            .file("pasteup.toml", "[server]\nwatch = \"off\"\n[page]\nstream = false\n")
            .front("<fragment name=\"weather\">none</fragment>")
            .file("layouts/other.html", "+++\nroute = \"/other\"\n+++\nother")
            .file("fragments/weather/fragment.toml", &self.manifest("1.0.0", "old", ""))
    }

    /// Adds the new version.
    pub(crate) fn add_new(&self, site: &TestSite, rollout: &str) {
        site.write(
            "fragments/weather-2/fragment.toml",
            &self.manifest("1.1.0", "new", &format!("[rollout]\n{rollout}\n")),
        );
    }
}

pub(crate) async fn rollouts(server: &Server) -> Value {
    serde_json::from_str(&server.admin_get("/api/rollouts").await.text().await.unwrap()).unwrap()
}

pub(crate) async fn act(server: &Server, action: &str) -> u16 {
    let body = json!({ "action": action }).to_string();
    server.admin_post("/api/rollouts/weather", &body).await.status().as_u16()
}

pub(crate) async fn reload(server: &Server) {
    assert_eq!(server.admin_post("/api/reload", "").await.status(), 200);
}

/// Waits until the state that is kept contains a text.
async fn kept(site: &TestSite, text: &str) {
    let path = site.path().join(".pasteup/versions.json");
    until(async || std::fs::read_to_string(&path).is_ok_and(|kept| kept.contains(text))).await;
}

/// How many of some page views show the new version, and how many neither.
pub(crate) async fn views(server: &Server, count: usize) -> (usize, usize) {
    let (mut new, mut neither) = (0, 0);
    for _ in 0..count {
        match server.text("/").await.as_str() {
            "new" => new += 1,
            "old" => {}
            _ => neither += 1,
        }
    }
    (new, neither)
}

#[tokio::test]
async fn a_version_is_promoted_step_by_step_until_all_see_it() {
    let service = Service::start().await;
    let site = service.site();
    let server = site.serve().await;
    assert_eq!(views(&server, 5).await, (0, 0));
    assert_eq!(rollouts(&server).await, json!([]));
    service.add_new(&site, "steps = [20, 60]\ninterval = \"0s\"\nmin_requests = 5");
    reload(&server).await;
    let status = rollouts(&server).await[0].clone();
    for (key, value) in [
        ("name", json!("weather")),
        ("stable", json!("1.0.0")),
        ("candidate", json!("1.1.0")),
        ("state", json!("running")),
        ("step", json!(1)),
        ("share", json!(20)),
        ("waits_for", json!("0 of 5 answers")),
    ] {
        assert_eq!(status[key], value, "{status}");
    }
    let page = server.get("/").await;
    assert_eq!(page.headers()["cache-control"], "private, no-store");
    assert!(!page.headers().contains_key("etag"));
    assert!(server.get("/other").await.headers().get("cache-control").is_none_or(|value| value != "private, no-store"));
    let metrics = server.admin_get("/metrics").await.text().await.unwrap();
    let line = "pasteup_rollout_state{fragment=\"weather\",version=\"1.1.0\",state=\"running\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    until(async || {
        let (_, neither) = views(&server, 10).await;
        assert_eq!(neither, 0);
        rollouts(&server).await == json!([])
    })
    .await;
    until(async || server.get("/").await.headers()["cache-control"] != "private, no-store").await;
    assert_eq!(views(&server, 20).await, (20, 0));
    // What was chosen is known to the next start.
    kept(&site, "\"rollouts\": []").await;
    drop(server);
    let server = site.serve().await;
    assert_eq!((views(&server, 5).await, rollouts(&server).await), ((5, 0), json!([])));
}

#[tokio::test]
async fn a_version_that_always_fails_is_gone_after_its_fifth_answer_and_stays_gone() {
    let service = Service::start().await;
    service.fails.store(true, Ordering::SeqCst);
    let site = service.site();
    let mut server = site.serve().await;
    assert_eq!(views(&server, 5).await, (0, 0));
    service.add_new(&site, "steps = [50]\nmin_requests = 50");
    reload(&server).await;
    let (_, neither) = views(&server, 100).await;
    assert_eq!((neither, service.asked()[1]), (5, 5));
    let status = rollouts(&server).await[0].clone();
    assert_eq!((&status["state"], &status["share"]), (&json!("rolled-back"), &json!(0)));
    assert_eq!(status["why"], "all of its first 5 answers were failures");
    assert_eq!(status["sides"]["candidate"]["faults"], 5);
    server.process.line("weather 1.1.0 went back to 1.0.0: all of its first 5 answers were failures").await;
    until(async || server.get("/").await.headers()["cache-control"] != "private, no-store").await;
    kept(&site, "\"rolled-back\"").await;
    drop(server);
    let server = site.serve().await;
    assert_eq!(views(&server, 20).await, (0, 0), "also after a restart");
    assert_eq!(rollouts(&server).await[0]["state"], "rolled-back");
    // Somebody says `retry`, or its checksum changes.
    service.fails.store(false, Ordering::SeqCst);
    assert_eq!((act(&server, "promote").await, act(&server, "retry").await), (409, 200));
    assert_eq!(rollouts(&server).await[0]["share"], 50);
    until(async || views(&server, 5).await.0 > 0).await;
    assert_eq!(act(&server, "abort").await, 200);
    assert_eq!((views(&server, 20).await, &rollouts(&server).await[0]["state"]), ((0, 0), &json!("aborted")));
    service.add_new(&site, "steps = [50]\nmin_requests = 50\n[cache]\nttl = \"1s\"");
    reload(&server).await;
    assert_eq!(rollouts(&server).await[0]["state"], "running");
}

#[tokio::test]
async fn operators_promote_pause_and_resume() {
    let service = Service::start().await;
    let site = service.site();
    let server = site.serve().await;
    assert_eq!(act(&server, "promote").await, 404);
    service.add_new(&site, "steps = [1, 99]\ninterval = \"1h\"");
    reload(&server).await;
    assert_eq!((act(&server, "promte").await, act(&server, "pause").await), (400, 200));
    assert_eq!(rollouts(&server).await[0]["state"], "paused");
    let admin = server.admin.strip_prefix("http://").unwrap().to_owned();
    let run = async |arguments: &[&str]| {
        let output = site.run(&[arguments, &["--admin", &admin]].concat()).await;
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (code, text) = run(&["rollout", "promote", "weather"]).await;
    assert!(code == Some(0) && text.starts_with("weather 1.0.0 -> 1.1.0  paused, step 2 of 2: 99%\n"), "{text}");
    assert!(views(&server, 20).await.0 > 10);
    let (code, text) = run(&["rollout", "status"]).await;
    assert!(code == Some(0) && text.contains("waits for: somebody to resume or promote it"), "{text}");
    assert_eq!(run(&["rollout", "resume", "weather"]).await.0, Some(0));
    assert_eq!(run(&["rollout", "status", "nobody"]).await.0, Some(2));
    let (code, text) = run(&["rollout", "promote", "weather"]).await;
    assert_eq!((code, text.as_str()), (Some(0), "weather has taken over: all page views show it\n"));
    assert_eq!((views(&server, 5).await, rollouts(&server).await), ((5, 0), json!([])));
}

#[tokio::test]
async fn a_client_that_is_sticky_stays_with_its_version() {
    let service = Service::start().await;
    let site = service.site();
    let server = site.serve().await;
    service.add_new(&site, "steps = [50]\nsticky = true\nmin_requests = 100000");
    reload(&server).await;
    let first = server.get("/").await;
    let cookie = first.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert_eq!(first.headers()["cache-control"], "private, no-store");
    let pair = cookie.split(';').next().unwrap().to_owned();
    let side = pair.strip_prefix("pasteup-rollout=weather@1.1.0:").unwrap();
    let expected = if side == "c" { "new" } else { "old" };
    assert_eq!(first.text().await.unwrap(), expected);
    for _ in 0..10 {
        let again = server.get_with("/", &[("cookie", &pair)]).await;
        assert!(!again.headers().contains_key("set-cookie") && again.headers()["cache-control"] != "private, no-store");
        assert!(again.headers().get_all("vary").iter().any(|vary| vary.to_str().unwrap().contains("cookie")));
        assert_eq!(again.text().await.unwrap(), expected);
    }
}

#[tokio::test]
async fn whoever_holds_a_debug_token_chooses_a_version_and_sees_the_side() {
    let service = Service::start().await;
    let site = service.site();
    service.add_new(&site, "steps = [1]");
    site.run(&["update", "weather", "--precise", "1.0.0"]).await;
    let server = site.serve().await;
    let issued = server.admin_post("/api/debug-token", "{}").await.text().await.unwrap();
    let token = serde_json::from_str::<Value>(&issued).unwrap()["token"].as_str().unwrap().to_owned();
    let get = async |path: &str| server.get_with(path, &[("pasteup-debug", &token)]).await;
    let page = get("/?pasteup-with=weather@1.1.0").await;
    assert_eq!(page.headers()["cache-control"], "private, no-store");
    assert!(page.text().await.unwrap().contains("new"));
    assert_eq!(get("/?pasteup-with=weather@9.0.0").await.status(), 400);
    assert_eq!(server.text("/?pasteup-with=weather@1.1.0").await, "old", "without a token it means nothing");
    site.run(&["update"]).await;
    reload(&server).await;
    let explained = server.admin_get("/api/explain?path=/").await.text().await.unwrap();
    let part = serde_json::from_str::<Value>(&explained).unwrap()["parts"][0].clone();
    let side = if part["version"] == "1.1.0" { "candidate" } else { "stable" };
    assert_eq!(part["side"], side, "{part}");
    assert_eq!(part["side_why"], format!("{side}, drawn: 1% of page views show 1.1.0"));
}

/// A version for the tests of sides: it says its word and its version, and is cached for an hour.
fn cached(word: &'static str, asked: &Arc<AtomicUsize>) -> axum::routing::MethodRouter {
    let asked = Arc::clone(asked);
    get(move || async move {
        asked.fetch_add(1, Ordering::SeqCst);
        ([("content-type", "text/html"), ("cache-control", "max-age=3600")], word)
    })
}

#[tokio::test]
async fn a_share_of_page_views_sees_it_although_both_versions_are_cached() {
    let asked = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
    let router = Router::new().route("/old", cached("old", &asked[0])).route("/new", cached("new", &asked[1]));
    let address = serve_router(router).await;
    let service = Service { address, ..Service::start().await };
    let site = service.site();
    let server = site.serve().await;
    views(&server, 3).await;
    service.add_new(&site, "steps = [30]\nmin_requests = 100000");
    reload(&server).await;
    let (new, neither) = views(&server, 1_000).await;
    // Four standard deviations.
    assert!((240..=360).contains(&new) && neither == 0, "{new} of 1,000");
    let asked = asked.map(|asked| asked.load(Ordering::SeqCst));
    assert!(asked.iter().all(|count| *count <= 4), "{asked:?}");
}

#[tokio::test]
async fn a_third_version_takes_its_place_and_one_that_came_while_nothing_ran_is_rolled_out() {
    let service = Service::start().await;
    let site = service.site();
    let server = site.serve().await;
    kept(&site, "\"1.0.0\"").await;
    drop(server);
    service.add_new(&site, "steps = [50]\nmin_requests = 100000");
    let server = site.serve().await;
    let now = async || {
        let all = rollouts(&server).await;
        assert_eq!(all.as_array().unwrap().len(), 1, "{all}");
        (all[0]["stable"].clone(), all[0]["candidate"].clone(), all[0]["sides"]["candidate"]["requests"].clone())
    };
    assert_eq!(now().await, (json!("1.0.0"), json!("1.1.0"), json!(0)));
    views(&server, 20).await;
    assert_ne!(now().await.2, 0);
    let third = service.manifest("1.2.0", "new", "[rollout]\nsteps = [50]\n");
    site.write("fragments/weather-3/fragment.toml", &third);
    reload(&server).await;
    assert_eq!(now().await, (json!("1.0.0"), json!("1.2.0"), json!(0)));
    // Without the version before there is nothing to go back to.
    std::fs::remove_dir_all(site.path().join("fragments/weather")).unwrap();
    reload(&server).await;
    assert_eq!((rollouts(&server).await, views(&server, 10).await), (json!([]), (10, 0)));
}

#[tokio::test]
async fn all_parts_of_a_page_view_are_on_one_side_nested_and_lazy_ones_too() {
    let asked = Arc::new(AtomicUsize::new(0));
    let list = "<fragment name=\"weather\"></fragment>";
    let router = Router::new()
        .route("/old", cached("old", &asked))
        .route("/new", cached("new", &asked))
        .route("/list", cached(list, &asked));
    let address = serve_router(router).await;
    let service = Service { address, ..Service::start().await };
    let list = format!(
        "name = \"list\"\nversion = \"1.0.0\"\nendpoint = \"http://{address}/list\"\ncomposes = [\"weather\"]\n"
    );
    let site = service.site().file("fragments/list/fragment.toml", &list);
    site.front_now(
        "<fragment name=\"weather\" />,<fragment name=\"list\" />|<fragment name=\"weather\" id=\"w\" load=\"lazy\" />\
         <fragment name=\"list\" id=\"l\" load=\"lazy\" />",
    );
    let server = site.serve().await;
    service.add_new(&site, "steps = [50]\nmin_requests = 100000");
    reload(&server).await;
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 2 {
        let page = server.text("/").await;
        let (parts, lazy) = page.split_once('|').unwrap();
        let side = parts.rsplit_once("old").map_or("new", |_| "old");
        assert!(parts.ends_with(&format!("{side},{side}")), "{parts}");
        let addresses: Vec<String> = lazy
            .split("\"/_pasteup/fragment/")
            .skip(1)
            .map(|rest| format!("/_pasteup/fragment/{}", rest.split('"').next().unwrap().replace("&amp;", "&")))
            .collect();
        assert!(!addresses.is_empty(), "{lazy}");
        for address in addresses {
            assert_eq!(server.text(&address).await, side, "{address}");
        }
        seen.insert(side);
    }
}

#[tokio::test]
async fn examples_are_asked_of_both_sides_where_no_reader_comes() {
    let service = Service::start().await;
    let site = service.site();
    site.write("fragments/weather/fragment.toml", &service.manifest("1.0.0", "old", "[[examples]]\nname = \"one\"\n"));
    let server = site.serve().await;
    let rollout = "steps = [5]\ninterval = \"0s\"\nmin_requests = 3\n[[examples]]\nname = \"one\"";
    service.add_new(&site, rollout);
    reload(&server).await;
    until(async || rollouts(&server).await == json!([])).await;
    let [old, new] = service.asked();
    assert!(new == 3 && (2..=4).contains(&old), "{old} {new}");
}

#[tokio::test]
async fn a_torn_state_and_one_that_cannot_be_kept_are_told_and_stop_nothing() {
    let service = Service::start().await;
    let site = service.site();
    service.add_new(&site, "steps = [50]");
    site.write(".pasteup/versions.json", "{\"format\":");
    let mut server = site.serve().await;
    assert!(server.process.output().contains("versions.json cannot be used"));
    assert_eq!(views(&server, 3).await, (3, 0), "it takes over at once");
    kept(&site, "\"1.1.0\"").await;
    drop(server);
    site.write("file", "");
    site.write("pasteup.toml", "[server]\nstate = \"file/state\"\n");
    let output = site.run(&["check", "--offline", "--format", "json"]).await;
    let found = String::from_utf8(output.stdout).unwrap();
    assert!(found.contains("\"code\":\"state\"") && found.contains("\"severity\":\"warning\""), "{found}");
    let mut server = site.serve().await;
    assert!(server.process.output().contains("file is not a folder"));
    assert_eq!(views(&server, 3).await, (3, 0));
}

#[tokio::test]
async fn the_console_shows_versions_and_aborts_a_rollout_after_a_question() {
    let service = Service::start().await;
    let site = service.site().file("layouts/old.html", "+++\nroute = \"/old\"\n+++\n<fragment name=\"tides\" />");
    let tides = "name = \"tides\"\nversion = \"1.0.0\"\nendpoint = \"http://127.0.0.1:9/\"\nlifecycle = \"deprecated\"\n\
                 sunset = 2020-01-31\nsuccessor = \"moon\"\n";
    site.write("fragments/tides/fragment.toml", tides);
    site.run(&["update"]).await;
    let server = site.serve().await;
    service.add_new(&site, "steps = [5, 50]\nmin_requests = 100000");
    site.run(&["update"]).await;
    reload(&server).await;
    views(&server, 30).await;
    let browser = Browser::start().await;
    for (width, scheme) in [(1280, "light"), (390, "dark")] {
        browser.client.set_window_size(width, 900).await.unwrap();
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        browser.cdp("Emulation.setEmulatedMedia", json!({ "features": features })).await;
        browser.client.goto(&format!("{}/versions", server.admin)).await.unwrap();
        let text = browser.text("main").await;
        for wanted in ["running, step 1 of 2", "5%", "of 100000 answers", "1.0.0, 1.1.0", "2020-01-31", "moon", "/old"]
        {
            assert!(text.contains(wanted), "no `{wanted}`:\n{text}");
        }
        assert_eq!(browser.accessibility_violations("html").await, Vec::<String>::new(), "{width}");
        browser.screenshot(&format!("console-versions-{scheme}.png")).await;
    }
    let button = "//button[@data-action='abort']";
    let click = async || {
        let button = browser.client.wait().for_element(Locator::XPath(button)).await.unwrap();
        // The table is replaced every second.
        button.click().await.is_ok()
    };
    until(click).await;
    browser.client.dismiss_alert().await.unwrap();
    assert_eq!(rollouts(&server).await[0]["state"], "running");
    until(click).await;
    browser.client.accept_alert().await.unwrap();
    let went_back = "//*[@id='live'][contains(., 'somebody aborted it')]";
    browser.client.wait().for_element(Locator::XPath(went_back)).await.unwrap();
    assert_eq!(rollouts(&server).await[0]["state"], "aborted");
    browser.stop().await;
}
