//! The files of `public/`, over real sockets.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use reqwest::{Method, Response};

use crate::support::process::{Server, TestSite, client};

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// Sets the time of a file to some seconds before a moment, in whole seconds as in `Last-Modified`.
fn age(site: &TestSite, name: &str, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 - seconds);
    File::options().write(true).open(site.path().join(name)).unwrap().set_modified(time).unwrap();
}

async fn status(server: &Server, path: &str) -> u16 {
    server.get(path).await.status().as_u16()
}

#[tokio::test]
async fn files_are_served_with_their_types_and_lifetimes() {
    let site = TestSite::new()
        .file("public/css/site.css", "a{}")
        .file("public/app.3f9a1b2c.js", "1")
        .file("public/a b/ü.txt", "ü");
    for name in ["favicon.ico", "logo.svg", "photo.png", "text.woff2", "site.webmanifest", "no-ending"] {
        site.write(&format!("public/{name}"), "x");
    }
    let server = site.serve().await;
    for (path, media_type, cache) in [
        ("/css/site.css", "text/css; charset=utf-8", "public, max-age=3600"),
        ("/app.3f9a1b2c.js", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
        ("/a%20b/%C3%BC.txt", "text/plain; charset=utf-8", "public, max-age=3600"),
        ("/favicon.ico", "image/x-icon", "public, max-age=3600"),
        ("/logo.svg", "image/svg+xml", "public, max-age=3600"),
        ("/photo.png?version=2", "image/png", "public, max-age=3600"),
        ("/text.woff2", "font/woff2", "public, max-age=3600"),
        ("/site.webmanifest", "application/manifest+json", "public, max-age=3600"),
        ("/no-ending", "application/octet-stream", "public, max-age=3600"),
    ] {
        let response = server.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(header(&response, "content-type"), media_type, "{path}");
        assert_eq!(header(&response, "cache-control"), cache, "{path}");
        assert_eq!(header(&response, "x-content-type-options"), "nosniff");
        assert_eq!(header(&response, "accept-ranges"), "bytes");
        assert!(header(&response, "etag").starts_with('"') && !header(&response, "last-modified").is_empty());
        assert_eq!(header(&response, "x-request-id").len(), 32);
    }
    assert_eq!(server.text("/css/site.css").await, "a{}");
}

#[tokio::test]
async fn the_setting_decides_how_long_a_file_is_fresh_and_never_in_development() {
    let settings = "[server]\npublic_max_age = \"90s\"\n";
    let site =
        TestSite::new().file("pasteup.toml", settings).file("public/a.css", "a{}").file("public/a.3f9a1b2c.css", "");
    let server = site.serve().await;
    assert_eq!(header(&server.get("/a.css").await, "cache-control"), "public, max-age=90");
    let mut server = site.dev().await;
    for path in ["/a.css", "/a.3f9a1b2c.css"] {
        assert_eq!(header(&server.get(path).await, "cache-control"), "no-cache", "{path}");
    }
    site.write("public/a.css", "b{}");
    server.process.line("the files of public/ have changed").await;
    assert_eq!(server.text("/a.css").await, "b{}");
}

#[tokio::test]
async fn layouts_win_over_files_and_files_over_the_page_for_404() {
    let server = TestSite::new()
        .file("layouts/a.html", "+++\nroute = \"/about.txt\"\n+++\nlayout")
        .file("layouts/404.html", "+++\nstatus = 404\n+++\nnot here")
        .file("public/about.txt", "file")
        .file("public/other.txt", "file")
        .serve()
        .await;
    assert_eq!(server.text("/about.txt").await, "layout");
    assert_eq!(server.text("/other.txt").await, "file");
    let missing = server.get("/missing.txt").await;
    assert_eq!(missing.status(), 404);
    assert_eq!(missing.text().await.unwrap(), "not here");
}

#[tokio::test]
async fn what_is_hidden_or_outside_does_not_exist() {
    let site = TestSite::new()
        .file("secret.txt", "secret")
        .file("private/key.txt", "secret")
        .file("public/.env", "secret")
        .file("public/.git/config", "secret")
        .file("public/css/.htpasswd", "secret")
        .file("public/css/site.css", "a{}")
        .file("public/.well-known/security.txt", "open")
        .file("public/plain.txt", "open");
    let public = site.path().join("public");
    let absolute = |name: &str| site.path().join(name);
    symlink("../secret.txt", public.join("outside.txt")).unwrap();
    symlink(absolute("secret.txt"), public.join("absolute.txt")).unwrap();
    symlink("../private", public.join("folder")).unwrap();
    symlink("../../secret.txt", public.join("css/site.css.gz")).unwrap();
    symlink(".env", public.join("hidden.txt")).unwrap();
    symlink("nothing", public.join("broken.txt")).unwrap();
    symlink("circle.txt", public.join("circle.txt")).unwrap();
    symlink("css/site.css", public.join("inside.css")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(public.join("pipe")).status().unwrap().success());
    let server = site.serve().await;
    for path in [
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/css/.htpasswd",
        "/outside.txt",
        "/absolute.txt",
        "/folder/key.txt",
        "/hidden.txt",
        "/broken.txt",
        "/circle.txt",
        "/pipe",
        "/css",
        "/css/",
        "/css/site.css/",
        "/css//site.css",
        "//css/site.css",
        "/plain.txt/x",
        &format!("/{}", "long".repeat(500)),
    ] {
        assert_eq!(status(&server, path).await, 404, "{path}");
    }
    // reqwest would resolve dot segments itself.
    for path in ["/css/%2e%2e/%2e%2e/secret.txt", "/..%2fsecret.txt", "/css%5c..%5csite.css", "/css/site.css%00"] {
        assert!([400, 404].contains(&status(&server, path).await), "{path}");
    }
    assert_eq!(server.text("/.well-known/security.txt").await, "open");
    assert_eq!(server.text("/inside.css").await, "a{}");
    let accepts = [("accept-encoding", "gzip")];
    assert_eq!(server.get_with("/css/site.css", &accepts).await.text().await.unwrap(), "a{}");
}

#[tokio::test]
async fn a_client_that_has_a_file_gets_a_304() {
    let site = TestSite::new().file("public/a.png", "picture").file("public/a.css", &"a{}\n".repeat(50));
    let server = site.serve().await;
    let response = server.get("/a.png").await;
    let (tag, date) = (header(&response, "etag"), header(&response, "last-modified"));
    let (old, weak) = ("Tue, 15 Nov 1994 12:45:26 GMT", format!("W/{tag}"));
    let list = format!("\"other\", {tag}");
    for (conditions, expected) in [
        (vec![("if-none-match", tag)], 304),
        (vec![("if-none-match", &weak)], 304),
        (vec![("if-none-match", &list)], 304),
        (vec![("if-none-match", "*")], 304),
        (vec![("if-none-match", "\"other\""), ("if-none-match", tag)], 304),
        (vec![("if-none-match", "\"other\"")], 200),
        (vec![("if-none-match", "\"other\""), ("if-modified-since", date)], 200),
        (vec![("if-modified-since", date)], 304),
        (vec![("if-modified-since", old)], 200),
        (vec![("if-modified-since", "yesterday")], 200),
        (vec![("if-match", "\"other\"")], 412),
        (vec![("if-unmodified-since", old)], 412),
        (vec![("if-match", tag), ("if-none-match", tag)], 304),
    ] {
        let response = server.get_with("/a.png", &conditions).await;
        assert_eq!(response.status(), expected, "{conditions:?}");
        if expected == 304 {
            assert_eq!((header(&response, "etag"), header(&response, "content-type")), (tag, ""));
            assert_eq!(header(&response, "cache-control"), "public, max-age=3600");
            assert_eq!(header(&response, "content-length"), "");
        }
    }
    let response = server.get_with("/a.css", &[("accept-encoding", "gzip")]).await;
    let tag = header(&response, "etag").to_owned();
    assert_eq!(header(&response, "content-encoding"), "gzip");
    assert!(tag.starts_with("W/\""), "what is compressed while it is sent has a weak tag: {tag}");
    let response = server.get_with("/a.css", &[("accept-encoding", "gzip"), ("if-none-match", &tag)]).await;
    assert_eq!((response.status().as_u16(), header(&response, "etag")), (304, &*tag));
    assert_eq!(header(&response, "vary"), "accept-encoding");
}

#[tokio::test]
async fn parts_of_a_file_are_sent() {
    let server = TestSite::new().file("public/a.png", "0123456789").serve().await;
    let response = server.get("/a.png").await;
    let tag = header(&response, "etag");
    for (range, condition, expected, content_range, body) in [
        ("bytes=0-3", "", 206, "bytes 0-3/10", "0123"),
        ("bytes=7-", "", 206, "bytes 7-9/10", "789"),
        ("bytes=-2", "", 206, "bytes 8-9/10", "89"),
        ("bytes=8-99", tag, 206, "bytes 8-9/10", "89"),
        ("bytes=8-99", "\"other\"", 200, "", "0123456789"),
        ("bytes=10-", "", 416, "bytes */10", ""),
        ("bytes=10-", "\"other\"", 200, "", "0123456789"),
        ("bytes=0-1,4-5", "", 200, "", "0123456789"),
        ("lines=0-1", "", 200, "", "0123456789"),
        ("bytes=x", "", 200, "", "0123456789"),
    ] {
        let mut headers = vec![("range", range)];
        headers.extend((!condition.is_empty()).then_some(("if-range", condition)));
        let response = server.get_with("/a.png", &headers).await;
        assert_eq!(response.status(), expected, "{range} {condition}");
        assert_eq!(header(&response, "content-range"), content_range, "{range}");
        assert_eq!(header(&response, "etag"), tag);
        let length = body.len().to_string();
        assert_eq!(header(&response, "content-length"), length, "{range}");
        assert_eq!(response.text().await.unwrap(), body, "{range}");
    }
}

#[tokio::test]
async fn the_compressed_file_beside_a_file_is_sent_to_those_who_take_it() {
    let site = TestSite::new();
    for (name, text) in [("a.css", "plain"), ("a.css.br", "brotli"), ("a.css.gz", "gzip"), ("old.css", "plain")] {
        site.write(&format!("public/{name}"), text);
        age(&site, &format!("public/{name}"), 100);
    }
    site.write("public/old.css.br", "of before");
    age(&site, "public/old.css.br", 200);
    site.write("public/alone.css.br", "brotli");
    let server = site.serve().await;
    for (path, accepted, encoding, body) in [
        ("/a.css", "gzip, br", "br", "brotli"),
        ("/a.css", "gzip", "gzip", "gzip"),
        ("/a.css", "br;q=0, gzip", "gzip", "gzip"),
        ("/a.css", "zstd", "", "plain"),
        ("/a.css", "identity", "", "plain"),
        ("/old.css", "br", "", "plain"),
        ("/a.css.br", "br", "", "brotli"),
    ] {
        let response = server.get_with(path, &[("accept-encoding", accepted)]).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(header(&response, "content-encoding"), encoding, "{path} {accepted}");
        assert_eq!(header(&response, "vary"), "accept-encoding");
        if path == "/a.css" {
            assert_eq!(header(&response, "content-type"), "text/css; charset=utf-8");
            assert!(header(&response, "etag").starts_with('"'), "it is the same at each request");
        }
        assert_eq!(response.text().await.unwrap(), body, "{path} {accepted}");
    }
    assert_eq!(server.get_with("/alone.css", &[("accept-encoding", "br")]).await.status(), 404);
    let response = server.get_with("/a.css", &[("accept-encoding", "br"), ("range", "bytes=0-1")]).await;
    assert_eq!((response.status().as_u16(), header(&response, "content-encoding")), (206, "br"));
    assert_eq!(response.text().await.unwrap(), "br");
}

#[tokio::test]
async fn a_long_file_is_sent_as_it_is() {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let site = TestSite::new().file("public/a.csv", "");
    std::fs::write(site.path().join("public/a.csv"), &bytes).unwrap();
    let server = site.serve().await;
    let response = server.get_with("/a.csv", &[("accept-encoding", "gzip")]).await;
    assert_eq!((header(&response, "content-encoding"), header(&response, "content-length")), ("", "3000000"));
    assert!(response.bytes().await.unwrap() == bytes);
    let response = server.get_with("/a.csv", &[("range", "bytes=1000000-2499999")]).await;
    assert!(response.bytes().await.unwrap() == bytes[1_000_000..2_500_000]);
}

#[tokio::test]
async fn a_change_is_served_from_the_next_request_on() {
    let site = TestSite::new();
    let server = site.serve().await;
    assert_eq!(status(&server, "/a.txt").await, 404, "there is no folder");
    for release in ["one", "two"] {
        site.write(&format!("releases/{release}/a.txt"), release);
    }
    let link = |release: &str| {
        symlink(format!("releases/{release}"), site.path().join("next")).unwrap();
        std::fs::rename(site.path().join("next"), site.path().join("public")).unwrap();
    };
    for release in ["one", "two"] {
        link(release);
        assert_eq!(server.text("/a.txt").await, release);
    }
    site.write("releases/two/a.txt", "changed");
    assert_eq!(server.text("/a.txt").await, "changed");
    std::fs::remove_file(site.path().join("public")).unwrap();
    assert_eq!(status(&server, "/a.txt").await, 404);
}

#[tokio::test]
async fn head_is_get_without_a_body_and_other_methods_are_refused() {
    let server = TestSite::new().file("public/a.css", &"a{}\n".repeat(50)).serve().await;
    let ask = async |method: Method| {
        let request = client().request(method, format!("{}/a.css", server.pages)).header("range", "bytes=0-1");
        request.header("accept-encoding", "identity").send().await.unwrap()
    };
    let head = ask(Method::HEAD).await;
    assert_eq!(head.status(), 200, "ranges are defined for GET only");
    assert_eq!((header(&head, "content-length"), header(&head, "content-type")), ("200", "text/css; charset=utf-8"));
    let post = ask(Method::POST).await;
    assert_eq!((post.status().as_u16(), header(&post, "allow")), (405, "GET, HEAD"));
}

#[tokio::test]
async fn a_file_without_a_true_time_has_no_validators() {
    let site = TestSite::new().file("public/a.png", "x");
    let file = File::options().write(true).open(site.path().join("public/a.png")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    let server = site.serve().await;
    let response = server.get_with("/a.png", &[("if-modified-since", "Tue, 15 Nov 1994 12:45:26 GMT")]).await;
    assert_eq!(response.status(), 200);
    assert_eq!((header(&response, "etag"), header(&response, "last-modified")), ("", ""));
    let response = server.get_with("/a.png", &[("range", "bytes=0-0")]).await;
    assert_eq!((response.status().as_u16(), response.text().await.unwrap()), (200, "x".to_owned()));
}

#[tokio::test]
async fn check_warns_of_files_that_are_never_served() {
    let site = TestSite::new()
        .file("layouts/page.html", "+++\nroute = \"/{page}\"\n+++\n")
        .file("public/favicon.ico", "x")
        .file("public/css/site.css", "a{}")
        .file("public/.hidden", "x");
    let output = site.run(&["check", "--format", "json"]).await;
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(lines.lines().count(), 1, "{lines}");
    for wanted in ["\"hidden-file\"", "\"warning\"", "layouts/page.html", "`/{page}` also matches public/favicon.ico"] {
        assert!(lines.contains(wanted), "{lines}");
    }
    assert!(output.status.success());
}
