//! Replicas without a shared store, which tell each other.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;

use super::{KEY, Service, of_a, purge, state, until_replicas};
use crate::support::dns::DnsServer;
use crate::support::process::{Server, TestSite, client, until};

async fn replica(site: &TestSite, name: &str) -> Server {
    let token = ("CLUSTER_TOKEN", "0123456789 hush");
    site.serve_with(&[
        ("SITE_KEY", KEY),
        ("PASTEUP_CLUSTER__NAME", name),
        token,
        ("ADMIN", "an admin token of operators"),
    ])
    .await
}

fn port(server: &Server) -> u16 {
    server.admin.rsplit(':').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn peers_alone_carry_purges_to_every_replica_that_the_name_resolves_to() {
    let dns = DnsServer::start().await;
    let (_service, address) = Service::start(Duration::ZERO).await;
    let site = TestSite::new().front("<fragment name=a timeout=3s>instead</fragment>").file(
        "fragments/a/fragment.toml",
        &format!("name = \"a\"\nversion = \"1.0.0\"\nendpoint = \"http://{address}/max-age=100\"\n"),
    );
    let site = site.file(
        "pasteup.toml",
        &format!(
            "[server]\nkey = \"env:SITE_KEY\"\nadmin_token = \"env:ADMIN\"\n[discovery]\nresolver = \"{}\"\n\
             [cluster]\npeers = \"dnssrv+http://_pasteup._tcp.test\"\ntoken = \"env:CLUSTER_TOKEN\"\n",
            dns.address
        ),
    );
    let (a, mut b) = (replica(&site, "a").await, replica(&site, "b").await);
    dns.set_addresses("node.test", 1, &[Ipv4Addr::LOCALHOST]);
    let services = [&a, &b].map(|server| (1, 1, port(server), "node.test"));
    dns.set_services("_pasteup._tcp.test", 1, &services);
    let cluster = |path: &str| client().post(format!("{}{path}", a.admin)).bearer_auth("0123456789 hush");
    let of = async || {
        let request = client().get(format!("{}/api/cluster", a.admin)).bearer_auth("0123456789 hush");
        serde_json::from_str::<serde_json::Value>(&request.send().await.unwrap().text().await.unwrap()).unwrap()
    };
    until(async || of().await["replicas"].as_array().unwrap().len() == 2).await;
    assert_eq!(of().await["store"], json!(null));
    assert_eq!((a.text("/").await, b.text("/").await), ("<p>1 </p>".to_owned(), "<p>2 </p>".to_owned()));
    let send = async || {
        let request = cluster("/api/purge").header("content-type", "application/json").body(of_a().to_string());
        let response = request.send().await.unwrap();
        serde_json::from_str::<serde_json::Value>(&response.text().await.unwrap()).unwrap()
    };
    // The first replica may not have looked up the name since it stands for the second one.
    until(async || send().await["replicas"]["b"] == 1).await;
    assert_eq!((a.text("/").await, b.text("/").await), ("<p>3 </p>".to_owned(), "<p>4 </p>".to_owned()));
    // The token of the cluster is good for nothing else, and without one nothing is told.
    assert_eq!(cluster("/api/reload").send().await.unwrap().status(), 401);
    let without = client().post(format!("{}/api/cluster/tell", a.admin)).header("content-type", "application/json");
    assert_eq!(without.body("{\"what\": \"leaving\", \"from\": \"b\"}").send().await.unwrap().status(), 401);
    b.process.kill().await;
    assert_eq!(send().await, json!({"purged": 1, "replicas": {"a": 1, "b": "unreachable"}}));
}

#[tokio::test]
async fn one_compositor_alone_says_so_and_purges_as_before() {
    let (_service, address) = Service::start(Duration::ZERO).await;
    let site = TestSite::new().front("<fragment name=a timeout=3s>instead</fragment>").file(
        "fragments/a/fragment.toml",
        &format!("name = \"a\"\nversion = \"1.0.0\"\nendpoint = \"http://{address}/max-age=100\"\n"),
    );
    let server = site.serve_with(&[("PASTEUP_CLUSTER__NAME", "only")]).await;
    until_replicas(&server, 1).await;
    let state = state(&server).await;
    assert_eq!(
        (&state["name"], &state["store"], &state["replicas"][0]["name"]),
        (&json!("only"), &json!(null), &json!("only"))
    );
    server.text("/").await;
    assert_eq!(purge(&server, of_a()).await, json!({"purged": 1}));
}
