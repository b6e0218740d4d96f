//! `pasteup serve` over real sockets: statuses, headers, encodings, the admin listener, start and stop.

use std::time::Duration;

use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::process::{Server, TestSite, client};
use crate::support::service::RawService;

/// Sends bytes, and returns everything that the server sends until it closes the connection.
async fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    String::from_utf8(response).unwrap()
}

#[tokio::test]
async fn a_relative_location_is_resolved_against_the_page() {
    for (location, expected) in [("new", "/news/new"), ("../a?b#c", "/a?b#c"), ("?x=1", "/news/uk?x=1")] {
        let response =
            format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let service = RawService::start(Duration::ZERO, response).await;
        let site = TestSite::new()
            .service("a", service.address)
            .file("layouts/a.html", "+++\nroute = \"/news/{town}\"\n+++\n<fragment name=a required />");
        let response = site.serve().await.get("/news/uk").await;
        assert_eq!(response.status(), 302, "{location}");
        assert_eq!(response.headers()["location"], expected);
    }
}

#[tokio::test]
async fn a_page_of_real_nanoservices_and_its_headers() {
    let service = RawService::html(Duration::ZERO, "Cache-Control: max-age=60\r\n", "<b>12</b>").await;
    let site = TestSite::new()
        .file(
            "layouts/p.html",
            "+++\nroute = \"/\"\n[headers]\nX-Frame-Options = \"DENY\"\n+++\n<p><fragment name=a /></p>",
        )
        .service("a", service.address)
        .without_streaming();
    let server = site.serve().await;
    let response = server.get("/").await;
    assert_eq!(response.status(), 200);
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("content-type").as_deref(), Some("text/html; charset=utf-8"));
    assert_eq!(header("cache-control").as_deref(), Some("public, max-age=60"));
    assert_eq!(header("x-frame-options").as_deref(), Some("DENY"));
    assert_eq!(header("content-length").as_deref(), Some("16"));
    assert_eq!(header("x-request-id").map(|id| id.len()), Some(32));
    assert_eq!(response.text().await.unwrap(), "<p><b>12</b></p>");
    server.get("/").await;
    assert_eq!(service.requests(), 1);
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let server = TestSite::new().front(&"<p>long enough to be compressed ".repeat(20)).serve().await;
    let request = |method: &str, coding: &str| {
        format!("{method} / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {coding}\r\nConnection: close\r\n\r\n").into_bytes()
    };
    let headers = |response: &str| {
        let head = response.split("\r\n\r\n").next().unwrap().to_lowercase();
        let mut lines: Vec<String> = head.lines().map(str::to_owned).collect();
        lines.retain(|line| !line.starts_with("date:") && !line.starts_with("x-request-id:"));
        lines.sort();
        lines
    };
    let get = raw(&server, &request("GET", "identity")).await;
    let head = raw(&server, &request("HEAD", "identity")).await;
    assert!(head.ends_with("\r\n\r\n"), "no body: {head}");
    assert_eq!(headers(&get), headers(&head));
    let head = raw(&server, &request("HEAD", "gzip")).await;
    assert!(head.ends_with("\r\n\r\n"), "no body: {head}");
    assert!(headers(&head).contains(&"content-encoding: gzip".to_owned()), "{head}");
}

#[tokio::test]
async fn other_methods_paths_and_sizes_are_refused_with_an_error_page() {
    let server = TestSite::new().front("x").serve().await;
    for (request, status, more) in [
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n", "405 Method Not Allowed", "allow: GET, HEAD"),
        ("DELETE / HTTP/1.1\r\nHost: x\r\n", "405 Method Not Allowed", "allow: GET, HEAD"),
        ("GET /<script>nope HTTP/1.1\r\nHost: x\r\n", "400 Bad Request", ""),
        ("GET /nowhere?<b> HTTP/1.1\r\nHost: x\r\n", "400 Bad Request", ""),
        ("GET /nowhere HTTP/1.1\r\nHost: x\r\n", "404 Not Found", "<title>Page not found</title>"),
        ("GET /a%2Fb HTTP/1.1\r\nHost: x\r\n", "400 Bad Request", "<title>Request not understood</title>"),
        ("GET /a/../b HTTP/1.1\r\nHost: x\r\n", "400 Bad Request", "<title>"),
        ("GET /%00 HTTP/1.1\r\nHost: x\r\n", "400 Bad Request", "<title>"),
    ] {
        let response = raw(&server, format!("{request}Connection: close\r\n\r\n").as_bytes()).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}: {response}");
        assert!(response.contains(more), "{request}: {response}");
        assert!(!response.contains("nope") && !response.contains("nowhere"), "nothing is repeated: {response}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "a".repeat(9000));
    assert!(raw(&server, long.as_bytes()).await.starts_with("HTTP/1.1 414 "));
    let fat = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(60_000));
    assert!(raw(&server, fat.as_bytes()).await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn five_hundred_simultaneous_connections_are_accepted() {
    let server = TestSite::new().front("page").serve().await;
    // While no connection is accepted, they wait in the backlog of the operating system.
    server.process.signal("-STOP");
    let connections = (0..500).map(|_| TcpStream::connect(server.address()));
    let connected = tokio::time::timeout(Duration::from_secs(30), futures::future::try_join_all(connections)).await;
    server.process.signal("-CONT");
    assert_eq!(connected.unwrap().unwrap().len(), 500);
    assert_eq!(server.text("/").await, "page");
}

#[tokio::test]
async fn a_connection_whose_header_never_ends_is_closed() {
    let server =
        TestSite::new().front("x").file("pasteup.toml", "[server]\nheader_timeout = \"200ms\"\n").serve().await;
    let mut half_open = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow").await.unwrap();
        half_open.push(stream);
    }
    assert_eq!(server.text("/").await, "x", "others are served");
    for mut stream in half_open {
        let mut rest = Vec::new();
        tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest))
            .await
            .expect("it is closed")
            .unwrap();
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn pages_are_compressed_in_an_encoding_that_the_browser_accepts() {
    let server = TestSite::new().front(&"<p>again and again ".repeat(100)).serve().await;
    for coding in ["gzip", "br", "zstd"] {
        let response = client().get(&server.pages).header("accept-encoding", coding).send().await.unwrap();
        assert_eq!(response.headers()["content-encoding"], coding);
        assert_eq!(response.headers()["vary"], "accept-encoding");
        assert!(response.bytes().await.unwrap().len() < 300);
    }
    // A client that accepts none of the offered encodings gets the page as it is, not a 406.
    for coding in ["identity;q=0", "identity;q=0, *;q=0.0", "gzip;q=0, * ; Q=0"] {
        let response = client().get(&server.pages).header("accept-encoding", coding).send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.headers().get("content-encoding")), (200, None), "{coding}");
    }
    let response = client().get(&server.pages).header("accept-encoding", "gzip, identity;q=0").send().await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
}

#[tokio::test]
async fn two_hundred_simultaneous_clients_cause_one_request_to_a_nanoservice() {
    let service = RawService::html(Duration::from_millis(300), "Cache-Control: max-age=60\r\n", "once").await;
    // A long timeout, since a busy machine is slow to open two hundred connections.
    let site = TestSite::new().file("pasteup.toml", "[page]\nbudget = \"30s\"\n[fragment]\ntimeout = \"30s\"\n");
    let server = site.front("<fragment name=a />").service("a", service.address).serve().await;
    let texts = join_all((0..200).map(|_| server.text("/"))).await;
    assert!(texts.iter().all(|text| text == "once"));
    assert_eq!(service.requests(), 1);
}

#[tokio::test]
async fn a_killed_nanoservice_affects_only_its_part_and_recovers_without_a_restart() {
    let service = RawService::html(Duration::ZERO, "", "alive").await;
    let site = TestSite::new()
        .front("<fragment name=a timeout=300ms>away</fragment>, <fragment name=b>away</fragment>")
        .service("a", "127.0.0.1:1".parse().unwrap())
        .service("b", service.address);
    let mut server = site.serve().await;
    assert_eq!(server.text("/").await, "away, alive");
    let moved =
        std::fs::read_to_string(site.path().join("fragments/b/fragment.toml")).unwrap().replace("\"b\"", "\"a\"");
    site.write("fragments/a/fragment.toml", &moved);
    server.process.line("reloaded").await;
    assert_eq!(server.text("/").await, "alive, alive");
}

#[tokio::test]
async fn the_admin_listener_reports_health_and_metrics() {
    let service = RawService::html(Duration::ZERO, "Cache-Control: max-age=60\r\n", "x").await;
    let site = TestSite::new()
        .front("<fragment name=a /><fragment name=b id=dead>-</fragment>")
        .service("a", service.address)
        .service("b", "127.0.0.1:1".parse().unwrap());
    let server = site.serve().await;
    server.text("/").await;
    server.get("/nowhere").await;
    let admin = |path: &str| client().get(format!("{}{path}", server.admin)).send();
    assert_eq!(admin("/livez").await.unwrap().status(), 200);
    assert_eq!(admin("/readyz").await.unwrap().status(), 200);
    assert_eq!(admin("/nothing").await.unwrap().status(), 404);
    let metrics = admin("/metrics").await.unwrap().text().await.unwrap();
    for line in [
        "pasteup_fragment_outcomes_total{fragment=\"a\",outcome=\"fresh\",reason=\"\"} 1",
        "pasteup_fragment_outcomes_total{fragment=\"b\",outcome=\"fallback\",reason=\"connect\"} 1",
        "http_server_request_duration_seconds_count{http_route=\"\",http_response_status_code=\"404\"} 1",
        "pasteup_fragment_fetch_duration_seconds_count{fragment=\"a\"} 1",
        "pasteup_cache_entries 1",
    ] {
        assert!(metrics.contains(line), "no `{line}` in\n{metrics}");
    }
    assert!(
        metrics.contains(&format!("pasteup_upstream_in_flight{{upstream=\"http://{}\"}} 0", service.address)),
        "{metrics}"
    );
    let health = site.run(&["health", "--admin", server.admin.strip_prefix("http://").unwrap()]).await;
    assert!(health.status.success());
}

#[tokio::test]
async fn with_a_token_everything_except_health_requires_it() {
    let site = TestSite::new().front("x");
    let server = site.serve_with(&[("PASTEUP_SERVER__ADMIN_TOKEN", "hush-hush-hush-hush")]).await;
    let get = |path: &str, token: &str| {
        client().get(format!("{}{path}", server.admin)).header("authorization", format!("Bearer {token}")).send()
    };
    assert_eq!(get("/metrics", "").await.unwrap().status(), 401);
    assert_eq!(get("/metrics", "hush-hush-hush-husk").await.unwrap().status(), 401);
    assert_eq!(get("/metrics", "hush-hush-hush-hush").await.unwrap().status(), 200);
    assert_eq!(get("/livez", "").await.unwrap().status(), 200);
    assert_eq!(get("/readyz", "").await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_token_in_a_file_is_looked_for_in_the_site_and_nowhere_else() {
    let site = TestSite::new()
        .front("x")
        .file("secrets/token", "a-token-from-a-file\n")
        .file("pasteup.toml", "[server]\nadmin_token = \"file:secrets/token\"\n");
    let server = site.serve().await;
    let metrics = format!("{}/metrics", server.admin);
    assert_eq!(client().get(&metrics).send().await.unwrap().status(), 401);
    let authorised = client().get(&metrics).bearer_auth("a-token-from-a-file").send().await.unwrap();
    assert_eq!(authorised.status(), 200);
    site.write("site/layouts/front.html", "");
    let inside = site.at(&site.path().join("site"));
    inside.write("pasteup.toml", "[server]\nadmin_token = \"file:../secrets/token\"\n");
    for environment in [None, Some("file:../secrets/token")] {
        let output = inside.run_with(&["serve"], "PASTEUP_SERVER__ADMIN_TOKEN", environment).await;
        assert_eq!(output.status.code(), Some(2));
        let printed = String::from_utf8(output.stderr).unwrap();
        assert!(printed.contains("leads out of the site's folder"), "{printed}");
    }
}

#[tokio::test]
async fn a_page_of_another_site_cannot_use_the_admin_listener() {
    let site = TestSite::new().front("x");
    let open = site.serve().await;
    let guarded = site.serve_with(&[("PASTEUP_SERVER__ADMIN_TOKEN", "a token of some length")]).await;
    let send = async |server: &Server, method: &str, path: &str, host: &str, origin: Option<&str>| {
        let request = client().request(method.parse().unwrap(), format!("{}{path}", server.admin));
        let request = request.header("host", host).header("authorization", "bearer   a token of some length");
        let request = origin.iter().fold(request, |request, origin| request.header("origin", *origin));
        let request = request.header("content-type", "application/json").body("{}");
        request.send().await.unwrap().status().as_u16()
    };
    let (token, evil) = ("/api/debug-token", Some("http://evil.example:9090"));
    // Under a name that somebody made to resolve to this machine, a page is of the same origin.
    for (method, path) in
        [("POST", token), ("GET", "/metrics"), ("GET", "/api/fragments"), ("GET", "/livez"), ("GET", "/")]
    {
        assert_eq!(send(&open, method, path, "evil.example:9090", evil).await, 421, "{path}");
    }
    for host in ["localhost:9090", "127.0.0.1", "[::1]:1"] {
        assert_eq!(send(&open, "POST", token, host, None).await, 200, "{host}");
        assert_eq!(send(&open, "POST", token, host, Some(&format!("http://{host}"))).await, 200, "{host}");
        assert_eq!(send(&open, "GET", "/metrics", host, evil).await, 200, "{host}");
    }
    assert_eq!(send(&guarded, "GET", "/metrics", "admin.example", None).await, 200);
    assert_eq!(send(&guarded, "POST", token, "admin.example", Some("https://admin.example")).await, 200);
    for server in [&open, &guarded] {
        for origin in ["http://evil.example", "null", "http://localhost:1"] {
            for path in [token, "/api/purge"] {
                assert_eq!(send(server, "POST", path, "localhost:9090", Some(origin)).await, 403, "{path} {origin}");
            }
        }
    }
}

#[tokio::test]
async fn a_stop_answers_requests_in_flight_and_accepts_no_new_ones() {
    let service = RawService::html(Duration::from_millis(500), "", "late but whole").await;
    let site = TestSite::new().front("<fragment name=a />").service("a", service.address);
    let mut server = site.serve().await;
    let in_flight = tokio::spawn(client().get(&server.pages).send());
    while service.requests() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.process.terminate();
    server.process.line("stopping").await;
    let ready = client().get(format!("{}/readyz", server.admin)).send().await.unwrap();
    assert_eq!(ready.status(), 503, "not ready while draining");
    assert_eq!(in_flight.await.unwrap().unwrap().text().await.unwrap(), "late but whole");
    assert!(server.process.exit_status().await.success());
    assert!(TcpStream::connect(server.address()).await.is_err());
}

#[tokio::test]
async fn invalid_settings_stop_the_start_and_are_all_reported() {
    let site = TestSite::new()
        .front("x")
        .file("pasteup.toml", "[upstreams]\nallow = [\"example.org\"]\n[page]\nbudget = \"soon\"\n");
    let output = site.run(&["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).await;
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("pasteup.toml:2:10") && stderr.contains("pasteup.toml:4:10"), "{stderr}");
    let output = site.run(&["serve", "--listen", "127.0.0.1:0", "--admin", "0.0.0.0:0"]).await;
    assert!(String::from_utf8(output.stderr).unwrap().contains("needs `admin_token`"));
}
