//! Switching a nanoservice off: its fallback at once, no requests, and its content again afterwards.

use std::time::Duration;

use pasteup::page::response::outcome::Shown;
use pasteup::page::source::names::Name;
use pasteup::page::source::reason::Reason;
use pasteup::page::visit::context::Reader;
use serde_json::{Value, json};

use crate::support::compositor::{ServedFrom, TestCompositor, counts, html, html_cached};
use crate::support::process::{Server, TestSite, client};
use crate::support::service::RawService;

#[tokio::test(start_paused = true)]
async fn cached_pages_change_at_once_and_again_when_the_switch_ends() {
    let site = TestCompositor::new()
        .front("<fragment name=a>-</fragment><fragment name=b />")
        .fragment("a", counts("max-age=6000, stale-while-revalidate=0"))
        .fragment("b", html("B"))
        .defaults(|defaults| defaults.ttl = Duration::from_hours(2))
        .start();
    let serve = async || site.serve("/", Reader::default()).await;
    for _ in 0..3 {
        serve().await;
    }
    assert_eq!((serve().await.1.as_ref(), serve().await.2), (&b"1B"[..], ServedFrom::CachedPage));
    site.compositor().switch_off(&Name::from("a"), Duration::from_mins(30));
    for _ in 0..3 {
        let (headers, bytes, from) = serve().await;
        assert_eq!((bytes.as_ref(), from), (&b"-B"[..], ServedFrom::Composition));
        assert_eq!(headers["cache-control"], "no-store");
    }
    assert_eq!(site.get("/").await.outcome("a"), (Shown::Fallback, Some(Reason::SwitchedOff)));
    assert_eq!(site.calls("a"), 1, "it is not asked");
    tokio::time::advance(Duration::from_mins(30)).await;
    assert_eq!(site.compositor().switched_off_until("a"), None);
    assert_eq!(serve().await.1.as_ref(), b"2B", "it ends by itself, and what was stored is checked");
    site.compositor().switch_off(&Name::from("a"), Duration::from_mins(30));
    assert_eq!(serve().await.1.as_ref(), b"-B");
    assert!(site.compositor().switch_on("a") && !site.compositor().switch_on("a"));
    assert_eq!(serve().await.1.as_ref(), b"3B");
}

#[tokio::test(start_paused = true)]
async fn the_personal_parts_of_cached_pages_are_switched_off_too() {
    let site = TestCompositor::new()
        .front("<fragment name=a /><fragment name=me>-</fragment>!")
        .fragment("a", html_cached("A", "max-age=6000"))
        .fragment_with("me", "context = [\"cookie:sid\"]\n", counts("private"))
        .start();
    let reader = |sid: u32| Reader { cookies: vec![("sid".to_owned(), sid.to_string())], ..Reader::default() };
    for sid in 0..5 {
        site.serve("/", reader(sid)).await;
    }
    assert_eq!(site.serve("/", reader(6)).await.2, ServedFrom::Skeleton);
    site.compositor().switch_off(&Name::from("me"), Duration::from_mins(1));
    for sid in [0, 6, 7] {
        assert_eq!(site.serve("/", reader(sid)).await.1.as_ref(), b"A-!", "a known or a new reader");
    }
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_ne!(site.serve("/", reader(6)).await.1.as_ref(), b"A-!");
}

async fn switch(server: &Server, name: &str, order: Value) -> (u16, Value) {
    let post = client().post(format!("{}/api/fragments/{name}", server.admin));
    let response = post.header("content-type", "application/json").body(order.to_string()).send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

#[tokio::test]
async fn an_operator_switches_a_fragment_off_and_a_reload_does_not_switch_it_on() {
    let service = RawService::html(Duration::ZERO, "Cache-Control: max-age=60\r\n", "text").await;
    let site = TestSite::new().front("<fragment name=a>fallback</fragment>").service("a", service.address);
    let mut server = site.serve().await;
    assert_eq!(server.text("/").await, "text");
    let (status, answer) = switch(&server, "a", json!({"off": true, "minutes": 30})).await;
    assert_eq!((status, &answer["off"]), (200, &json!(true)), "{answer}");
    assert_eq!(server.text("/").await, "fallback");
    site.front_now("<fragment name=a>other</fragment>");
    server.wait_for_text("/", "other").await;
    let listed = client().get(format!("{}/api/fragments", server.admin)).send().await.unwrap().text().await.unwrap();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["off_until"], answer["until"], "{listed}");
    for screen in ["/fragments", "/fragment?name=a"] {
        let html = client().get(format!("{}{screen}", server.admin)).send().await.unwrap().text().await.unwrap();
        assert!(html.to_lowercase().contains("switched off"), "{screen}");
    }
    let (_, answer) = switch(&server, "a", json!({"off": false})).await;
    assert_eq!((&answer["off"], &answer["until"]), (&json!(false), &Value::Null));
    assert_eq!(server.text("/").await, "text");
    for (name, order, status) in [
        ("b", json!({"off": true}), 404),
        ("a", json!({"off": true, "minutes": 0}), 400),
        ("a", json!({"off": true, "minutes": 10_081}), 400),
        ("a", json!({"minutes": 1}), 400),
        ("a", json!({"off": true, "hours": 1}), 400),
    ] {
        assert_eq!(switch(&server, name, order.clone()).await.0, status, "{name} {order}");
    }
}
