//! Components: a real guest, built from tests/guests/guest.c, run by a real compositor. A build without the feature `wasm` runs
//! none, and says so.

use crate::support::process::{Server, TestSite, root, until};

/// A site whose page at `/do/ANYTHING` shows what the guest answers at `/ANYTHING`, and whose page at `/` shows nothing of it.
fn site(more: &str) -> TestSite {
    let site = TestSite::new()
        .front("<h1>front</h1>")
        .file(
            "layouts/do.html",
            "+++\nroute = \"/do/{what}\"\n+++\n<fragment name=a data-what={what} timeout=2s>instead</fragment>",
        )
        .file("pasteup.toml", "[page]\nbudget = \"20s\"\n[on_demand]\ncache = \"cache\"\n");
    component(site, "a", more)
}

fn component(site: TestSite, name: &str, more: &str) -> TestSite {
    let site = site.file(&format!("fragments/{name}/fragment.toml"), &manifest(name, more));
    guest(&site, name);
    site
}

fn manifest(name: &str, more: &str) -> String {
    format!(
        "name = \"{name}\"\nversion = \"1.0.0\"\ncomponent = \"guest.wasm\"\npath = \"/{{what}}\"\n[cache]\nttl = \"0s\"\n{more}"
    )
}

fn guest(site: &TestSite, name: &str) {
    let from = root().join("tests/guests/guest.wasm");
    std::fs::copy(from, site.path().join(format!("fragments/{name}/guest.wasm"))).unwrap();
}

/// The outcome, the reason and its detail of the part of a page.
async fn outcome(server: &Server, what: &str) -> (String, String, String) {
    let url = format!("{}/api/explain?path=/do/{what}", server.admin);
    let record: serde_json::Value =
        serde_json::from_str(&reqwest::get(url).await.unwrap().text().await.unwrap()).unwrap();
    let part = &record["parts"][0];
    let text = |key: &str| part[key].as_str().unwrap_or_default().to_owned();
    (text("outcome"), text("reason"), part.to_string())
}

/// What the API shows of the component `a`.
#[cfg(feature = "wasm")]
async fn status(server: &Server) -> serde_json::Value {
    let url = format!("{}/api/fragments", server.admin);
    let all: serde_json::Value = serde_json::from_str(&reqwest::get(url).await.unwrap().text().await.unwrap()).unwrap();
    let fragments = all.as_array().unwrap();
    fragments.iter().find(|one| one["name"] == "a").expect("`a` is declared")["component"].clone()
}

#[cfg(not(feature = "wasm"))]
#[tokio::test]
async fn a_build_without_components_says_so_and_serves_the_other_pages() {
    let site = site("");
    let check = site.run(&["check"]).await;
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert_eq!(check.status.code(), Some(1), "{text}");
    assert!(text.contains("this build runs no components; build with `--features wasm`"), "{text}");
    let server = site.serve().await;
    assert_eq!(server.text("/").await, "<h1>front</h1>");
    assert_eq!(server.text("/do/hello").await, "instead");
    let (outcome, reason, detail) = outcome(&server, "hello").await;
    assert_eq!((&*outcome, &*reason), ("fallback", "unknown"), "{detail}");
    assert!(detail.contains("this build runs no components"), "{detail}");
    until(async || server.text("/").await == "<h1>front</h1>").await;
}

#[cfg(feature = "wasm")]
mod run {
    use std::time::{Duration, Instant};

    use super::*;

    #[tokio::test]
    async fn each_request_has_an_instance_of_its_own_with_the_environment_of_the_manifest_only() {
        let server = site("[run]\nenv = { GREETING = \"Good morning\", KEY = \"file:key\" }\n").file("key", "secret\n");
        let server = server.serve().await;
        assert_eq!(server.text("/do/hello").await, "<p>Good morning /hello</p>");
        for _ in 0..3 {
            assert_eq!(server.text("/do/count").await, "<p>call 1</p>");
        }
        assert_eq!(server.text("/do/env").await, "GREETING=Good morning KEY=secret .");
        assert_eq!(server.text("/do/big").await.len(), 5000 * 22);
        let status = status(&server).await;
        assert!(status["bytes"].as_u64().unwrap() > 1_000, "{status}");
        assert!(status["compile_ms"].is_u64() && status["in_flight"] == 0, "{status}");
        let metrics = reqwest::get(format!("{}/metrics", server.admin)).await.unwrap().text().await.unwrap();
        let count = "pasteup_component_duration_seconds_count{fragment=\"a\",version=\"1.0.0\"} ";
        assert!(metrics.contains(count), "{metrics}");
    }

    #[tokio::test]
    async fn what_goes_wrong_in_a_component_is_a_crash_of_its_own_request_only() {
        let mut server = site("[run]\nmemory = \"4MiB\"\n").serve().await;
        for (what, expected) in [
            ("trap", "its component trapped: wasm `unreachable` instruction executed"),
            ("grow", "its component wanted more than its 4MiB of memory"),
            ("deep", "its component trapped"),
            ("none", "its component ended without an answer"),
            ("exit", "its component exited with status"),
            ("half", "its component trapped"),
            ("resources", "its component"),
        ] {
            let (outcome, reason, detail) = outcome(&server, what).await;
            assert_eq!((&*outcome, &*reason), ("fallback", "crashed"), "{what}: {detail}");
            assert!(detail.contains(expected), "{what}: {detail}");
            assert_eq!(server.text(&format!("/do/{what}")).await, "instead");
            assert_eq!(server.text("/do/count").await, "<p>call 1</p>", "after {what}");
        }
        // Its last words are in the explanation.
        assert!(outcome(&server, "trap").await.2.contains("about to trap"));
        let (_, reason, detail) = outcome(&server, "unfinished").await;
        assert_eq!(reason, "incomplete", "{detail}");
        let (_, reason, _) = outcome(&server, "status").await;
        assert_eq!(reason, "status");
        assert_eq!(server.text("/").await, "<h1>front</h1>");
        assert!(server.process.output().contains("about to trap"));
    }

    #[tokio::test]
    async fn a_component_that_never_ends_is_stopped_and_others_are_answered_meanwhile() {
        let site = site("[limits]\ntimeout = \"300ms\"\n");
        let site = component(site, "b", "").file(
            "layouts/b.html",
            "+++\nroute = \"/b\"\n+++\n<fragment name=b data-what=hello timeout=2s>instead</fragment>",
        );
        let server = site.serve().await;
        let client = crate::support::process::client();
        for what in ["loop", "stalls", "endless"] {
            let began = Instant::now();
            let loops: Vec<_> =
                (0..4).map(|_| tokio::spawn(client.get(format!("{}/do/{what}", server.pages)).send())).collect();
            assert_eq!(server.text("/b").await, "<p>Hello /hello</p>");
            for one in loops {
                assert_eq!(one.await.unwrap().unwrap().text().await.unwrap(), "instead", "{what}");
            }
            assert!(began.elapsed() < Duration::from_secs(10));
            until(async || status(&server).await["in_flight"] == 0).await;
        }
        // One that goes on after its answer is stopped as well, and its answer is used.
        until(async || server.text("/do/after").await == "<p>Hello /after</p>").await;
        until(async || status(&server).await["in_flight"] == 0).await;
    }

    #[tokio::test]
    async fn a_component_reaches_no_files_and_only_the_hosts_of_its_manifest() {
        let service = crate::support::service::RawService::html(Duration::ZERO, "", "<p>other</p>").await;
        let (allowed, other) = (service.address, "127.0.0.1:1");
        let page = "+++\nroute = \"/ask/{host}\"\n+++\n<fragment name=a data-what=ask data-host={host} timeout=2s>instead</fragment>";
        let named = format!("localhost:{}", allowed.port());
        let run = format!("[run]\noutbound = [\"http://{allowed}\", \"http://{named}\"]\n");
        let site = site(&run).file("layouts/ask.html", page);
        let server = site.serve().await;
        assert_eq!(server.text("/do/file").await, "cannot be opened, cannot be made");
        assert_eq!(server.text(&format!("/ask/{allowed}")).await, "status 200");
        // 15: HTTP-request-denied.
        assert_eq!(server.text(&format!("/ask/{other}")).await, "failed with 15");
        // A name that resolves to a private address needs `upstreams.private`.
        assert_eq!(server.text(&format!("/ask/{named}")).await, "failed with 38");
        drop(server);
        site.write("pasteup.toml", "[upstreams]\nprivate = true\n[on_demand]\ncache = \"cache\"\n");
        let server = site.serve().await;
        assert_eq!(server.text(&format!("/ask/{named}")).await, "status 200");
    }

    #[tokio::test]
    async fn what_a_component_writes_is_logged_with_its_name_and_not_without_end() {
        let mut server = site("").serve().await;
        assert_eq!(server.text("/do/says").await, "<p>said</p>");
        server.process.line("to standard output").await;
        server.process.line("to standard error").await;
        assert_eq!(server.text("/do/noise").await, "<p>noise</p>");
        server.process.line("lines of output were dropped").await;
    }

    #[tokio::test]
    async fn check_names_what_is_wrong_with_the_file_of_a_component() {
        // A component with one import: (component (import "example:own/thing" (instance))).
        let imports = b"\0asm\x0d\0\x01\0\x07\x03\x01\x42\0\x0a\x16\x01\0\x11example:own/thing\x05\0";
        for (bytes, expected) in [
            (None, "`guest.wasm` cannot be read: No such file or directory"),
            (Some(&b"<p>"[..]), "`guest.wasm` is not a WebAssembly component"),
            (Some(&b"\0asm\x01\0\0\0"[..]), "`guest.wasm` is a WebAssembly module, and not a component"),
            (Some(&b"\0asm\x0d\0\x01\0"[..]), "`guest.wasm` does not export `wasi:http/incoming-handler@0.2`"),
            (Some(&imports[..]), "`guest.wasm` imports `example:own/thing`, which is not offered"),
        ] {
            let site = site("");
            let file = site.path().join("fragments/a/guest.wasm");
            match bytes {
                None => std::fs::remove_file(&file).unwrap(),
                Some(bytes) => std::fs::write(&file, bytes).unwrap(),
            }
            let check = site.run(&["check", "--format", "json"]).await;
            let text = String::from_utf8_lossy(&check.stdout).into_owned();
            assert_eq!(check.status.code(), Some(1), "{text}");
            assert!(text.contains("bad-component") && text.contains(expected), "{expected}: {text}");
            let server = site.serve().await;
            assert_eq!(server.text("/").await, "<h1>front</h1>");
            let (outcome, reason, detail) = outcome(&server, "hello").await;
            assert_eq!((&*outcome, &*reason), ("fallback", "crashed"), "{detail}");
        }
        let check = site("").run(&["check"]).await;
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    }

    #[tokio::test]
    async fn a_changed_component_takes_over_without_a_failed_page_and_a_broken_one_does_not() {
        let site = site("[run]\nenv = { GREETING = \"one\" }\n");
        let mut server = site.serve().await;
        assert_eq!(server.text("/do/hello").await, "<p>one /hello</p>");
        let file = site.path().join("fragments/a/guest.wasm");
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, &whole[..1000]).unwrap();
        server.process.line("is not a valid component").await;
        assert_eq!(server.text("/do/hello").await, "<p>one /hello</p>");
        std::fs::write(&file, &whole).unwrap();
        server.process.line("reloaded").await;
        site.write("fragments/a/fragment.toml", &manifest("a", "[run]\nenv = { GREETING = \"two\" }\n"));
        until(async || {
            let page = server.text("/do/hello").await;
            assert!(page == "<p>one /hello</p>" || page == "<p>two /hello</p>", "{page}");
            page.starts_with("<p>two")
        })
        .await;
    }

    #[tokio::test]
    async fn render_explain_and_conform_run_components() {
        let more = "[limits]\ntimeout = \"20s\"\n[[examples]]\nname = \"one\"\nparams = { what = \"hello\" }\n";
        let site = site(more);
        let render = site.run(&["render", "/do/hello"]).await;
        assert_eq!(String::from_utf8_lossy(&render.stdout), "<p>Hello /hello</p>");
        let explain = site.run(&["explain", "/do/hello"]).await;
        let text = String::from_utf8_lossy(&explain.stdout).into_owned();
        assert!(text.contains("component:a@1.0.0"), "{text}");
        let conform = site.run(&["conform", "a"]).await;
        let text = String::from_utf8_lossy(&conform.stdout).into_owned();
        assert!(conform.status.success(), "{text}");
        // A component is compiled once, and then read from the cache.
        assert!(site.path().join("cache").is_dir());
    }

    #[tokio::test]
    async fn a_component_that_changed_without_a_new_version_is_noticed_by_its_content() {
        let site = site("")
            .file("layouts/use.html", "+++\nroute = \"/use\"\n+++\n<fragment name=a version=\"*\" data-what=x />");
        let update = site.run(&["update"]).await;
        assert!(update.status.success(), "{}", String::from_utf8_lossy(&update.stderr));
        let changed = async || {
            let check = site.run(&["check"]).await;
            String::from_utf8_lossy(&check.stdout).contains("changed-without-version")
        };
        assert!(!changed().await);
        let file = site.path().join("fragments/a/guest.wasm");
        let mut bytes = std::fs::read(&file).unwrap();
        // A custom section, which changes nothing but the bytes.
        bytes.extend(b"\0\x04\x01xyz");
        std::fs::write(&file, &bytes).unwrap();
        assert!(changed().await);
    }

    #[tokio::test]
    async fn the_almanac_of_the_sample_site_keeps_the_contract_and_is_right_about_the_sun() {
        let site = TestSite::new().front("<fragment name=almanac data-town=port-alder timeout=20s>instead</fragment>");
        let site = site.file("pasteup.toml", "[page]\nbudget = \"20s\"\n[on_demand]\ncache = \"cache\"\n");
        let manifest = std::fs::read_to_string(root().join("fragments/almanac/fragment.toml")).unwrap();
        let site = site.file("fragments/almanac/fragment.toml", &manifest.replace("\"200ms\"", "\"20s\""));
        let wasm = site.path().join("fragments/almanac/almanac.wasm");
        std::fs::copy(root().join("fragments/almanac/almanac.wasm"), &wasm).unwrap();
        assert!(wasm.metadata().unwrap().len() <= 100 << 10);
        let conform = site.run(&["conform", "almanac"]).await;
        let text = String::from_utf8_lossy(&conform.stdout).into_owned();
        assert!(conform.status.success(), "{text}{}", String::from_utf8_lossy(&conform.stderr));
        let page = site.run(&["render", "/"]).await;
        let page = String::from_utf8_lossy(&page.stdout).into_owned();
        let times: Vec<f64> = page
            .split("<time>")
            .skip(1)
            .map(|rest| {
                let (hours, minutes) = rest[..5].split_once(':').unwrap();
                hours.parse::<f64>().unwrap() * 60.0 + minutes.parse::<f64>().unwrap()
            })
            .collect();
        assert_eq!(times.len(), 2, "{page}");
        // The Sun stands highest 4 minutes later for each degree to the west, and up to 16.5 minutes off by the equation of time.
        let noon = f64::midpoint(times[0], times[1]);
        assert!((noon - 720.0 - 0.40 * 4.0).abs() < 18.0, "{page}");
        // At this latitude a day has between 7 h 15 min and 17 h 20 min.
        assert!((435.0..=1040.0).contains(&(times[1] - times[0])), "{page}");
        assert!(page.contains("% lit"), "{page}");
    }

    #[tokio::test]
    async fn a_new_component_in_c_works_once_make_has_run() {
        let site = TestSite::new()
            .front("")
            .file("pasteup.toml", "[on_demand]\ncache = \"cache\"\n[fragment]\ntimeout = \"20s\"\n");
        let new = site.run(&["new", "fragment", "hi", "--lang", "c-component", "--param", "city"]).await;
        let text = String::from_utf8_lossy(&new.stdout).into_owned();
        assert!(new.status.success() && text.contains("next: make -C "), "{text}");
        let folder = site.path().join("fragments/hi");
        let check = site.run(&["check"]).await;
        assert!(String::from_utf8_lossy(&check.stdout).contains("`fragment.wasm` cannot be read"));
        let has = |program: &str| std::process::Command::new(program).arg("--version").output().is_ok();
        // Not every machine has the tools; what is made by them is what the almanac and the guest are made of.
        if !["clang", "wit-bindgen", "wasm-tools", "make"].into_iter().all(has) {
            return;
        }
        let make = std::process::Command::new("make").arg("-C").arg(&folder).output().unwrap();
        assert!(make.status.success(), "{}", String::from_utf8_lossy(&make.stderr));
        let check = site.run(&["check"]).await;
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
        let conform = site.run(&["conform", "hi"]).await;
        assert!(conform.status.success(), "{}", String::from_utf8_lossy(&conform.stdout));
    }
}
