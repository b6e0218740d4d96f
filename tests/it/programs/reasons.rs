//! Why a part is not fresh: its program is being started, has crashed, or was not started at all.

use super::*;

/// The outcome and the reason of the only part of `/`.
async fn outcome(server: &Server) -> (String, String) {
    let url = format!("{}/api/explain?path=/", server.admin);
    let record: serde_json::Value =
        serde_json::from_str(&reqwest::get(url).await.unwrap().text().await.unwrap()).unwrap();
    let part = &record["parts"][0];
    let text = |key: &str| part[key].as_str().unwrap_or_default().to_owned();
    (text("outcome"), text("reason"))
}

#[tokio::test]
async fn a_part_is_starting_until_its_program_is_ready_and_the_start_goes_on_without_readers() {
    let site = site("<fragment name=a timeout=50ms>instead</fragment>", &["wait"], "");
    let mut server = site.serve().await;
    assert_eq!(server.text("/").await, "instead");
    server.process.line("waiting").await;
    assert_eq!(outcome(&server).await, ("fallback".to_owned(), "starting".to_owned()));
    assert_eq!(status(&server).await["state"], "starting");
    let fragments = reqwest::get(format!("{}/api/fragments", server.admin)).await.unwrap().text().await.unwrap();
    let fragments: serde_json::Value = serde_json::from_str(&fragments).unwrap();
    assert_eq!(fragments[0]["seen"]["failures"].as_f64().unwrap_or_default(), 0.0, "{fragments}");
    site.write("fragments/a/go", "");
    server.process.line("its program is ready").await;
    until(async || server.text("/").await.starts_with("pid ")).await;
    assert_eq!(status(&server).await["starts"], 1);
}

#[tokio::test]
async fn the_budget_of_a_page_ends_the_wait_for_a_start_as_well() {
    let site = site("<fragment name=a timeout=20s>instead</fragment>", &["wait"], "");
    let server = site.file("pasteup.toml", "[page]\nbudget = \"100ms\"\n").serve().await;
    assert_eq!(outcome(&server).await, ("fallback".to_owned(), "starting".to_owned()));
}

#[tokio::test]
async fn a_required_part_that_is_starting_or_crashed_makes_the_page_a_503() {
    for (argument, path) in [("wait", "/"), ("fail", "/"), ("", "/crash"), ("", "/half")] {
        let html = "<fragment name=a timeout=3s required />";
        let site = site(html, &[argument], &format!("path = \"{path}\"\n"));
        let server = site.serve().await;
        assert_eq!(server.get("/").await.status(), 503, "{argument} {path}");
    }
}

#[tokio::test]
async fn a_crash_fails_its_own_request_and_the_next_one_starts_the_program_again() {
    let html = "<fragment name=a data-do={do} timeout=30s>instead</fragment>";
    let page = format!("+++\nroute = \"/{{do}}\"\n+++\n{html}");
    let site = site("", &[], "path = \"/{do}\"\n[params.do]\nrequired = true\n").file("layouts/do.html", &page);
    let mut server = site.file("pasteup.toml", LONG_BUDGET).serve().await;
    let first = server.text("/pid").await;
    assert!(first.starts_with("pid "));
    for (path, code) in [("/crash", 3), ("/half", 4)] {
        assert_eq!(server.text(path).await, "instead");
        server.process.line(&format!("its program ended with exit code {code}")).await;
        let next = server.text("/pid").await;
        assert!(next.starts_with("pid ") && next != first, "{next}");
    }
    let status = status(&server).await;
    assert_eq!((&status["crashes"], &status["starts"]), (&2.into(), &3.into()));
    assert_eq!(status["state"], "running");
    let metrics = reqwest::get(format!("{}/metrics", server.admin)).await.unwrap().text().await.unwrap();
    for line in [
        "pasteup_fragment_outcomes_total{fragment=\"a\",outcome=\"fallback\",reason=\"crashed\"} 2",
        "pasteup_process_up{fragment=\"a\",version=\"1.0.0\"} 1",
        "pasteup_process_starts_total{fragment=\"a\",version=\"1.0.0\"} 3",
        "pasteup_process_crashes_total{fragment=\"a\",version=\"1.0.0\"} 2",
        "pasteup_process_start_duration_seconds_count 3",
    ] {
        assert!(metrics.lines().any(|known| known == line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn a_program_that_ends_before_it_is_ready_fails_at_once_and_its_output_is_shown() {
    let site = site(PATIENT, &["fail"], "").file("pasteup.toml", LONG_BUDGET);
    let mut server = site.serve().await;
    assert_eq!(server.text("/").await, "instead");
    let line = server.process.line("ended with exit code 7 before it was ready").await;
    assert!(line.contains("about to fail"), "{line}");
    assert_eq!(outcome(&server).await, ("fallback".to_owned(), "crashed".to_owned()));
    let status = status(&server).await;
    assert!(status["crashes"].as_u64().unwrap() >= 1, "{status}");
    assert_eq!(status["output"][0], "about to fail");
    let output = site.run(&["explain", "/"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("(crashed)") && text.contains("about to fail"), "{text}");
}

#[tokio::test]
async fn a_stale_copy_is_shown_while_a_program_starts() {
    let more = "[cache]\nttl = \"50ms\"\nstale_while_revalidate = \"0s\"\nstale_if_error = \"1h\"\n\
                [run]\nidle = \"100ms\"\nenv = { CACHING = \"max-age=0, stale-if-error=3600\", SAYS = \"kept\" }\n";
    let site = site("<fragment name=a timeout=5s>instead</fragment>", &["wait"], more).file("fragments/a/go", "");
    let site = site.file("pasteup.toml", LONG_BUDGET);
    let mut server = site.serve().await;
    assert_eq!(server.text("/").await, "kept");
    let id = id_after(&mut server, "listens as ").await;
    until_gone(&id).await;
    std::fs::remove_file(site.path().join("fragments/a/go")).unwrap();
    site.front_now("<fragment name=a timeout=50ms>instead</fragment>");
    server.wait_for_text("/", "kept").await;
    assert_eq!(outcome(&server).await, ("stale".to_owned(), "starting".to_owned()));
}

#[tokio::test]
async fn check_reports_a_program_that_is_missing_or_not_executable() {
    let site = TestSite::new()
        .front("<fragment name=a>instead</fragment><fragment name=b>instead</fragment>")
        .file("fragments/a/fragment.toml", "name = \"a\"\nversion = \"1.0.0\"\ncommand = [\"no-such-program\"]\n")
        .file("fragments/b/fragment.toml", "name = \"b\"\nversion = \"1.0.0\"\ncommand = [\"./b.sh\"]\n")
        .file("fragments/b/b.sh", "#!/bin/sh\n");
    let output = site.run(&["check", "--format", "json"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text.matches("\"no-program\"").count(), 2, "{text}");
    assert!(text.contains("`./b.sh` is not executable"), "{text}");
    let page = site.run(&["render", "/"]).await;
    assert_eq!(String::from_utf8(page.stdout).unwrap(), "insteadinstead");
    assert!(String::from_utf8(page.stderr).unwrap().contains("(crashed)"));
    let conform = site.run(&["conform", "a"]).await;
    assert_eq!(conform.status.code(), Some(1));
}
