//! Without the store, each replica serves by its own rules, and uses the store again once it is back.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Pair, Service, is_ready, lookups, of_a, purge, replica, site, start, state, until_store_is};
use crate::support::process::until;
use crate::support::redis::{Fault, Proxy, Redis};

/// A site whose pages `/many/N` have a response of their own each, so that each is looked up in the store.
fn many(redis_port: u16, service: std::net::SocketAddr) -> super::TestSite {
    let site = site(redis_port, service, "max-age=100", "").file(
        "layouts/many.html",
        "+++\nroute = \"/many/{n}\"\n+++\n<fragment name=a data-n=\"{n}\" timeout=3s>instead</fragment>",
    );
    let settings = site.path().join("pasteup.toml");
    let text =
        std::fs::read_to_string(settings).unwrap().replace("shared_timeout = \"1s\"", "shared_timeout = \"100ms\"");
    site.file("pasteup.toml", &text)
}

#[tokio::test]
async fn a_store_that_is_slow_silent_or_gone_costs_no_page_and_is_used_again() {
    let redis = Redis::start().await;
    let proxy = Proxy::start(redis.port).await;
    let (service, address) = Service::start(Duration::ZERO).await;
    let server = replica(&many(proxy.address.port(), address), "a").await;
    until_store_is(&server, "up").await;
    assert!(proxy.connections() >= 3);
    let mut page = 0;
    for fault in [Fault::Slow(Duration::from_millis(300)), Fault::Silent, Fault::Gone] {
        proxy.set(fault);
        while state(&server).await["store"]["state"] != "open" {
            page += 1;
            let html = server.text(&format!("/many/{page}")).await;
            assert_eq!(html, format!("<p>{} </p>", service.requests()), "{fault:?}");
        }
        assert!(is_ready(&server).await, "{fault:?}");
        proxy.set(Fault::Nothing);
        until_store_is(&server, "up").await;
        let before = lookups(&server, "miss").await;
        page += 1;
        server.text(&format!("/many/{page}")).await;
        assert_eq!(lookups(&server, "miss").await, before + 1, "{fault:?}");
    }
    assert!(lookups(&server, "timeout").await >= 5);
    assert!(state(&server).await["store"]["last_error"].is_string());
}

#[tokio::test]
async fn a_store_that_is_killed_and_started_again_is_used_without_a_restart() {
    let mut pair = Pair::start("max-age=100+stale-while-revalidate=60").await;
    assert_eq!(pair.a.text("/").await, "<p>1 </p>");
    pair.redis.kill().await;
    assert_eq!(pair.a.text("/").await, "<p>1 </p>", "memory goes on by its own rules");
    // A purge without the store is done here at once.
    let purged = purge(&pair.a, of_a()).await;
    assert_eq!((&purged["purged"], &purged["replicas"]["a"]), (&json!(1), &json!(1)));
    assert_eq!(pair.a.text("/").await, "<p>2 </p>");
    assert_eq!(pair.b.text("/").await, "<p>3 </p>");
    pair.redis.start_again().await;
    // The purge reaches the others as soon as the store is back.
    until(async || pair.b.text("/").await != "<p>3 </p>").await;
    until(async || {
        let purged = purge(&pair.a, of_a()).await;
        let page = pair.a.text("/").await;
        purged["replicas"]["b"].is_number() && pair.b.text("/").await == page
    })
    .await;
}

#[tokio::test]
async fn a_full_store_refuses_writes_and_costs_nothing_else() {
    let redis = Redis::start_with(&["--maxmemory", "1", "--maxmemory-policy", "noeviction"]).await;
    let (service, address) = Service::start(Duration::ZERO).await;
    let server = start(&site(redis.port, address, "max-age=100", ""), "a").await;
    assert_eq!(server.text("/").await, "<p>1 </p>");
    assert_eq!(server.text("/").await, "<p>1 </p>");
    assert_eq!(service.requests(), 1);
    until(async || is_ready(&server).await).await;
}

#[tokio::test]
async fn a_store_that_becomes_full_is_still_asked() {
    let redis = Redis::start().await;
    let (_service, address) = Service::start(Duration::ZERO).await;
    let parts: String =
        (0..20).map(|n| format!("<fragment name=a id=\"p{n}\" data-n=\"{n}\" timeout=3s>instead</fragment>")).collect();
    let site = site(redis.port, address, "max-age=100", "").front(&parts);
    let (a, b) = (replica(&site, "a").await, replica(&site, "b").await);
    a.text("/").await;
    redis.until_keys("test:answer:*", 20).await;
    let _: () = redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    // What is in it is used; and the refused leases of many parts at once are no failed look-ups.
    assert_eq!(b.text("/").await, a.text("/").await);
    assert_eq!(lookups(&b, "hit").await, 20);
    let more = parts.replace("data-n=\"", "data-n=\"x");
    site.front_now(&more);
    until(async || {
        b.text("/").await;
        lookups(&b, "miss").await == 20
    })
    .await;
    assert_eq!(state(&b).await["store"]["last_error"], json!(null));
    assert_eq!(lookups(&b, "error").await, 0);
}

#[tokio::test]
async fn a_replica_starts_without_a_store_unless_it_is_required() {
    let mut redis = Redis::start().await;
    redis.kill().await;
    let (service, address) = Service::start(Duration::ZERO).await;
    let optional = replica(&site(redis.port, address, "max-age=100", ""), "a").await;
    assert_eq!(optional.text("/").await, "<p>1 </p>");
    assert_eq!(state(&optional).await["store"]["state"], "down");
    let required = start(&site(redis.port, address, "max-age=100", "required_to_start = true\n"), "b").await;
    assert_eq!(required.text("/").await, "<p>2 </p>", "it serves, but is not ready");
    assert!(!is_ready(&required).await);
    redis.start_again().await;
    until(async || is_ready(&required).await).await;
    until_store_is(&optional, "up").await;
    assert_eq!(service.requests(), 2);
}

#[tokio::test]
async fn a_stopped_store_is_left_alone_and_used_once_it_goes_on() {
    let pair = Pair::start("max-age=100").await;
    pair.redis.signal("-STOP");
    let began = Instant::now();
    assert_eq!(pair.a.text("/").await, "<p>1 </p>");
    assert!(began.elapsed() < Duration::from_secs(5));
    pair.redis.signal("-CONT");
    until(async || purge(&pair.a, of_a()).await["replicas"] == json!({"a": 0, "b": 0})).await;
}
