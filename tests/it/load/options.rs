//! What the options of `pasteup load` change in its requests.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::{Router, routing::get};
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{html, load};
use crate::support::process::TestSite;
use crate::support::service::{RawService, serve_router};

/// Twenty requests in half a second.
const TWENTY: [&str; 6] = ["--rate", "40", "--duration", "500ms", "--arrivals", "steady"];

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_an_error_of_each_request_unless_it_is_allowed() {
    let site = TestSite::new().front("<title>T</title><p>x</p>");
    crate::connections::certificate(&site);
    site.write("pasteup.toml", "[server]\ntls = { cert = \"file:cert.pem\", key = \"file:key.pem\" }\n");
    let server = site.serve().await;
    for (more, is_trusted) in [
        (&["--insecure", "--http2"][..], true),
        (&["--insecure"], true),
        (&["--insecure", "--no-keepalive"], true),
        (&[], false),
    ] {
        let (results, _) = load(&site, &server, &[&["/"][..], &TWENTY, more].concat()).await;
        let total = &results["total"];
        let failed = if is_trusted { 0 } else { 20 };
        assert_eq!(
            (&total["requests"], &total["errors"]["connect"]),
            (&json!(20), &json!(failed)),
            "{more:?}: {total}"
        );
        assert_eq!(total["hits"], if is_trusted { json!(1.0) } else { Value::Null }, "{more:?}: {total}");
    }
}

#[tokio::test]
async fn connections_are_reused_unless_they_may_not_be_and_http2_needs_one() {
    let seen: Arc<Mutex<Vec<(SocketAddr, Version)>>> = Arc::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let noted = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (stream, client) = listener.accept().await.unwrap();
            let noted = Arc::clone(&noted);
            let page = service_fn(move |request: Request<Incoming>| {
                noted.lock().unwrap().push((client, request.version()));
                async { Ok::<_, Infallible>(Response::new("x".to_owned())) }
            });
            tokio::spawn(async move {
                Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), page).await
            });
        }
    });
    let site = TestSite::new();
    let clients = async |more: &[&str]| {
        let arguments = [&["load", &url, "--connections", "2", "--format", "json"][..], &TWENTY, more].concat();
        let output = site.run(&arguments).await;
        let results: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(results["total"]["requests"], 20, "{results}");
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        assert_eq!(seen.len(), 20);
        let version = seen[0].1;
        assert!(seen.iter().all(|(_, other)| *other == version), "{seen:?}");
        let mut clients: Vec<SocketAddr> = seen.into_iter().map(|(client, _)| client).collect();
        clients.sort();
        clients.dedup();
        (clients.len(), version)
    };
    let (reused, version) = clients(&[]).await;
    assert!(reused <= 2 && version == Version::HTTP_11, "{reused} connections, {version:?}");
    assert_eq!(clients(&["--no-keepalive"]).await, (20, Version::HTTP_11));
    let (shared, version) = clients(&["--http2"]).await;
    assert!(shared <= 2 && version == Version::HTTP_2, "{shared} connections, {version:?}");
}

#[tokio::test]
async fn a_sweep_ends_at_the_rate_that_is_borne() {
    let slow = get(async || {
        tokio::time::sleep(Duration::from_millis(20)).await;
        "x"
    });
    let address = serve_router(Router::new().route("/", slow)).await;
    let (site, url) = (TestSite::new(), format!("http://{address}/"));
    let sweep = async |max_p99: &str| {
        let arguments = ["load", &url, "--sweep", "20..50", "--duration", "500ms", "--format", "json", "--max-p99"];
        let output = site.run(&[&arguments[..], &[max_p99]].concat()).await;
        let results: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(results["gates"], json!([]), "in a sweep, it is a bound of each step only");
        results["sweep"].clone()
    };
    assert!(sweep("1ms").await["knee"].is_null(), "each request takes 20 ms");
    let borne = sweep("9s").await;
    let steps = borne["steps"].as_array().unwrap();
    let rates: Vec<f64> = steps.iter().map(|step| step["rate"].as_f64().unwrap()).collect();
    assert_eq!(rates[0], 20.0, "{borne}");
    // On a machine that is too busy to send, the first rate may be the last.
    let is_late = steps.iter().any(|step| step["late"].as_f64().unwrap() > 0.01);
    assert!(is_late || (rates == [20.0, 40.0, 50.0] && borne["knee"] == 50.0), "{borne}");
}

#[tokio::test]
async fn each_kind_of_client_takes_its_turn() {
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let echo = RawService::responding(move |request| {
        let sent = ["fragment-device", "fragment-region"].map(|name| request.header(name).unwrap_or("-").to_owned());
        seen.send(sent).unwrap();
        Some(html("Cache-Control: max-age=600\r\n", "<p>x</p>"))
    })
    .await;
    let manifest = format!(
        "name = \"echo\"\nversion = \"1.0.0\"\nendpoint = \"http://{}/echo\"\ncontext = [\"device\", \"region\"]\n",
        echo.address
    );
    let site = TestSite::new()
        .front("<title>T</title><when region=\"GB\"><p>Tea</p></when><fragment name=echo />")
        .file("fragments/echo/fragment.toml", &manifest);
    let server = site.serve().await;
    let (results, _) = load(&site, &server, &[&["/", "--variants"][..], &TWENTY].concat()).await;
    assert_eq!(results["total"]["requests"], 20);
    let mut kinds = Vec::new();
    while let Ok(kind) = requests.try_recv() {
        kinds.push(kind);
    }
    kinds.sort();
    kinds.dedup();
    let expected =
        ["desktop", "mobile", "tablet"].into_iter().flat_map(|device| ["AQ", "GB"].map(|region| [device, region]));
    assert_eq!(kinds, expected.collect::<Vec<_>>());
}
