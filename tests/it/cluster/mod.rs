//! Several replicas of one site: what they share, how they purge, and that none of them needs the others.

mod faults;
mod peers;
mod purging;
mod rollouts;
mod settings;
mod sharing;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::{Value, json};

use crate::support::process::{Server, TestSite, client, until};
use crate::support::redis::Redis;
use crate::support::service::serve_router;

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A nanoservice that counts its requests, and whose HTML is their number.
#[derive(Clone, Default)]
struct Service {
    requests: Arc<AtomicUsize>,
    /// How long it takes.
    pause: Duration,
}

impl Service {
    async fn start(pause: Duration) -> (Self, std::net::SocketAddr) {
        let service = Self { pause, ..Self::default() };
        let shown = service.clone();
        let answer = async move |Path(cache_control): Path<String>, headers: HeaderMap| {
            let number = shown.requests.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::time::sleep(shown.pause).await;
            let cookie = headers.get("cookie").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
            let headers =
                [("content-type", "text/html".to_owned()), ("cache-control", cache_control.replace('+', ","))];
            (headers, format!("<p>{number} {cookie}</p>")).into_response()
        };
        let router = Router::new().route("/{cache_control}", get(answer));
        let address = serve_router(router).await;
        (service, address)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// A site with one nanoservice, whose responses have this `Cache-Control`.
fn site(redis_port: u16, service: std::net::SocketAddr, cache_control: &str, more: &str) -> TestSite {
    TestSite::new()
        .front("<fragment name=a timeout=3s>instead</fragment>")
        .file(
            "fragments/a/fragment.toml",
            &format!(
                "name = \"a\"\nversion = \"1.0.0\"\nendpoint = \"http://{service}/{cache_control}\"\n\
                 context = [\"cookie:who\"]\n"
            ),
        )
        .file(
            "pasteup.toml",
            &format!(
                "[page]\nstream = false\n[server]\nkey = \"env:SITE_KEY\"\n\
                 [cache]\nshared = \"redis://127.0.0.1:{redis_port}\"\nnamespace = \"test\"\nshared_timeout = \"1s\"\n{more}"
            ),
        )
}

/// Starts a replica, and waits until it is ready.
async fn replica(site: &TestSite, name: &str) -> Server {
    let server = start(site, name).await;
    until(async || is_ready(&server).await).await;
    server
}

async fn start(site: &TestSite, name: &str) -> Server {
    site.serve_with(&[("SITE_KEY", KEY), ("PASTEUP_CLUSTER__NAME", name)]).await
}

async fn is_ready(server: &Server) -> bool {
    client().get(format!("{}/readyz", server.admin)).send().await.unwrap().status() == 200
}

async fn purge(server: &Server, body: Value) -> Value {
    let request = client().post(format!("{}/api/purge", server.admin)).header("content-type", "application/json");
    let response = request.body(body.to_string()).send().await.unwrap();
    assert_eq!(response.status(), 200);
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

async fn state(server: &Server) -> Value {
    let response = client().get(format!("{}/api/cluster", server.admin)).send().await.unwrap();
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

/// Waits until a replica sees the store in this state.
async fn until_store_is(server: &Server, wanted: &str) {
    until(async || state(server).await["store"]["state"] == wanted).await;
}

/// Waits until a replica sees this many others.
async fn until_replicas(server: &Server, count: usize) {
    until(async || {
        state(server).await["replicas"].as_array().unwrap().iter().filter(|one| one["state"] == "up").count() == count
    })
    .await;
}

/// How often look-ups in the store ended in this way.
async fn lookups(server: &Server, result: &str) -> u64 {
    let text = client().get(format!("{}/metrics", server.admin)).send().await.unwrap().text().await.unwrap();
    let name = format!("pasteup_shared_cache_lookups_total{{result=\"{result}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("{name} is missing in\n{text}")).parse().unwrap()
}

/// Two replicas, a store and a nanoservice.
struct Pair {
    redis: Redis,
    service: Service,
    site: TestSite,
    a: Server,
    b: Server,
}

impl Pair {
    async fn start(cache_control: &str) -> Self {
        Self::start_with(cache_control, Duration::ZERO, "").await
    }

    async fn start_with(cache_control: &str, pause: Duration, more: &str) -> Self {
        let redis = Redis::start().await;
        let (service, address) = Service::start(pause).await;
        let site = site(redis.port, address, cache_control, more);
        let (a, b) = (replica(&site, "a").await, replica(&site, "b").await);
        until_replicas(&a, 2).await;
        until_replicas(&b, 2).await;
        Self { redis, service, site, a, b }
    }
}

/// A purge of the nanoservice.
fn of_a() -> Value {
    json!({"keys": ["a"]})
}
