//! Services that are found by DNS: every address is an endpoint, and addresses come and go.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::dns::{DnsServer, Mood};
use crate::support::process::{Server, TestSite, until};

const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// The same port on two addresses of this machine: each responds with its last number and the `Host` that it was sent.
struct Pair {
    port: u16,
    requests: Arc<AtomicUsize>,
    services: [Option<tokio::task::JoinHandle<()>>; 2],
}

impl Pair {
    async fn start() -> Self {
        let requests = Arc::new(AtomicUsize::new(0));
        loop {
            let first = TcpListener::bind((FIRST, 0)).await.unwrap();
            let port = first.local_addr().unwrap().port();
            // The port may be taken on the other address.
            let Ok(second) = TcpListener::bind((SECOND, port)).await else { continue };
            let serve = |listener: TcpListener, number: u8| {
                let count = Arc::clone(&requests);
                let manifest =
                    json!({"fragments": [{"name": "found", "version": "1.0.0", "endpoint": "/w"}]}).to_string();
                let router = Router::new()
                    .route(
                        "/w",
                        get(async move |headers: HeaderMap| {
                            count.fetch_add(1, Ordering::SeqCst);
                            let body = format!("{number} {}", headers["host"].to_str().unwrap());
                            (
                                [("content-type", "text/html"), ("cache-control", "no-store"), ("connection", "close")],
                                body,
                            )
                        }),
                    )
                    .route(
                        "/.well-known/fragments.json",
                        get(async move || ([("content-type", "application/json")], manifest)),
                    );
                Some(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
            };
            return Self { port, services: [serve(first, 2), serve(second, 3)], requests };
        }
    }

    fn stop(&mut self, index: usize) {
        self.services[index].take().expect("it runs").abort();
    }
}

fn site(dns: &DnsServer, endpoint: &str) -> TestSite {
    let manifest = format!("name = \"found\"\nversion = \"1.0.0\"\nendpoint = \"{endpoint}\"\n");
    TestSite::new()
        .front("<fragment name=found timeout=2s>instead</fragment>")
        .file("fragments/found/fragment.toml", &manifest)
        .file("pasteup.toml", &settings(dns, ""))
}

fn settings(dns: &DnsServer, more: &str) -> String {
    format!("[page]\nstream = false\n[discovery]\nresolver = \"{}\"\n{more}", dns.address)
}

/// The texts of some pages.
async fn seen(server: &Server, pages: usize) -> HashSet<String> {
    let mut seen = HashSet::new();
    for _ in 0..pages {
        seen.insert(server.text("/").await);
    }
    seen
}

async fn api(server: &Server, path: &str) -> Value {
    let response = crate::support::process::client().get(format!("{}{path}", server.admin)).send().await.unwrap();
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

#[tokio::test]
async fn every_address_is_an_endpoint_and_addresses_come_and_go() {
    let (dns, pair) = (DnsServer::start().await, Pair::start().await);
    let name = format!("weather.test:{}", pair.port);
    let (first, second) = (format!("2 {name}"), format!("3 {name}"));
    dns.set_addresses("weather.test", 1, &[FIRST, SECOND]);
    let server = site(&dns, &format!("dns+http://{name}/w")).serve().await;
    // The less loaded one of two is asked, which may be the same one for a while.
    until(async || seen(&server, 4).await == HashSet::from([first.clone(), second.clone()])).await;
    let fragments = api(&server, "/api/fragments").await;
    let endpoints = fragments[0]["endpoints"].as_array().unwrap();
    let urls: HashSet<&str> = endpoints.iter().map(|endpoint| endpoint["url"].as_str().unwrap()).collect();
    let (at_first, at_second) = (format!("http://{FIRST}:{}", pair.port), format!("http://{SECOND}:{}", pair.port));
    assert_eq!(urls, HashSet::from([at_first.as_str(), at_second.as_str()]), "each has its own breaker");
    // What is found again after the time to live.
    dns.set_addresses("weather.test", 1, &[SECOND]);
    until(async || seen(&server, 10).await == HashSet::from([second.clone()])).await;
    dns.set_addresses("weather.test", 1, &[FIRST]);
    until(async || seen(&server, 10).await == HashSet::from([first.clone()])).await;
    let before = dns.queries();
    until(async || dns.queries() > before + 3).await;
}

#[tokio::test]
async fn the_last_addresses_are_used_while_look_ups_fail() {
    let (dns, mut pair) = (DnsServer::start().await, Pair::start().await);
    let name = format!("weather.test:{}", pair.port);
    dns.set_addresses("weather.test", 1, &[FIRST]);
    let mut server = site(&dns, &format!("dns+http://{name}/w")).serve().await;
    assert_eq!(server.text("/").await, format!("2 {name}"));
    dns.set_mood(Mood::Fails);
    server.process.line("trying again every second").await;
    assert_eq!(server.text("/").await, format!("2 {name}"));
    dns.set_mood(Mood::Responds);
    server.process.line("succeed again").await;
    dns.remove("weather.test");
    server.process.line("trying again every second").await;
    assert_eq!(server.text("/").await, format!("2 {name}"), "the name is gone, and its last address is not");
    // Now none of them answers: they are forgotten, and what is found next is used at once.
    pair.stop(0);
    assert_eq!(server.text("/").await, "instead");
    dns.set_addresses("weather.test", 1, &[SECOND]);
    server.process.line("succeed again").await;
    until(async || server.text("/").await == format!("3 {name}")).await;
}

#[tokio::test]
async fn a_fetch_that_waits_for_a_first_look_up_in_vain_fails_with_connect() {
    let dns = DnsServer::start().await;
    for (mood, timeout) in [(Mood::Responds, "2s"), (Mood::Fails, "2s"), (Mood::IsSilent, "200ms")] {
        dns.set_mood(mood);
        let site = site(&dns, "dns+http://nowhere.test:80/w");
        site.front_now(&format!("<fragment name=found timeout={timeout}>instead</fragment>"));
        let output = site.run(&["render", "/"]).await;
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "instead");
        assert!(log.contains("(connect)"), "{mood:?}: {log}");
    }
}

#[tokio::test]
async fn services_have_a_port_a_priority_and_a_weight() {
    let (dns, mut pair) = (DnsServer::start().await, Pair::start().await);
    dns.set_addresses("a.node.test", 1, &[FIRST]);
    dns.set_addresses("b.node.test", 1, &[SECOND]);
    dns.set_services("_weather._tcp.test", 1, &[(10, 1, pair.port, "a.node.test"), (20, 1, pair.port, "b.node.test")]);
    let server = site(&dns, "dnssrv+http://_weather._tcp.test/w").serve().await;
    let first = format!("2 a.node.test:{}", pair.port);
    assert_eq!(seen(&server, 20).await, HashSet::from([first.clone()]));
    // Without the first priority, the second is used.
    pair.stop(0);
    let second = format!("3 b.node.test:{}", pair.port);
    until(async || seen(&server, 10).await == HashSet::from([second.clone()])).await;
}

#[tokio::test]
async fn requests_are_divided_by_weight() {
    let (dns, pair) = (DnsServer::start().await, Pair::start().await);
    dns.set_addresses("a.node.test", 30, &[FIRST]);
    dns.set_addresses("b.node.test", 30, &[SECOND]);
    dns.set_services("_w._tcp.test", 30, &[(1, 9, pair.port, "a.node.test"), (1, 1, pair.port, "b.node.test")]);
    let server = site(&dns, "dnssrv+http://_w._tcp.test/w").serve().await;
    let mut of_first = 0;
    for _ in 0..200 {
        of_first += usize::from(server.text("/").await.starts_with("2 "));
    }
    // 180 of 200 are expected; fewer than 150 or all of them have a chance of one to a billion.
    assert!((150..200).contains(&of_first), "{of_first}");
}

#[tokio::test]
async fn manifests_are_discovered_at_a_name_and_their_endpoint_may_be_a_path() {
    let (dns, pair) = (DnsServer::start().await, Pair::start().await);
    let name = format!("weather.test:{}", pair.port);
    dns.set_addresses("weather.test", 1, &[FIRST, SECOND]);
    let site = TestSite::new()
        .front("<fragment name=found timeout=2s>instead</fragment>")
        .file("pasteup.toml", &settings(&dns, &format!("manifests = [\"dns+http://{name}\"]\nrefresh = \"1s\"\n")));
    let server = site.serve().await;
    until(async || seen(&server, 10).await == HashSet::from([format!("2 {name}"), format!("3 {name}")])).await;
    let fragments = api(&server, "/api/fragments").await;
    assert_eq!(fragments[0]["manifest"], format!("dns+http://{name}/.well-known/fragments.json"));
    assert!(pair.requests.load(Ordering::SeqCst) > 1);
}

#[tokio::test]
async fn what_cannot_be_looked_up_is_an_error_of_its_file() {
    let dns = DnsServer::start().await;
    for (endpoint, why) in [
        ("dns+https://weather.test/w", "requested over http"),
        ("dnssrv+http://_weather._tcp.test:8000/w", "SRV records have the port themselves"),
    ] {
        let output = site(&dns, endpoint).run(&["check"]).await;
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.code() == Some(1) && text.contains(why), "{text}");
    }
    let output = site(&dns, "http://127.0.0.1:1/w").file("pasteup.toml", "[discovery]\nresolver = \"dns.test\"\n");
    let output = output.run(&["check"]).await;
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(text.contains("`dns.test` is not the address of a DNS server"), "{text}");
}
