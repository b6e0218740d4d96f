//! When programs are started and stopped, and what is left of them.

use std::time::{Duration, Instant};

use super::*;

#[tokio::test]
async fn the_first_page_starts_a_program_and_the_next_ones_use_it() {
    let site = site(PATIENT, &[], "").file("pasteup.toml", LONG_BUDGET);
    let mut server = site.serve().await;
    assert_eq!(status(&server).await["state"], "stopped");
    let first = server.text("/").await;
    let id = id_after(&mut server, "listens as ").await;
    assert_eq!(first, format!("pid {id}"));
    assert_eq!(server.text("/").await, first);
    let status = status(&server).await;
    assert_eq!((&status["state"], &status["starts"], &status["crashes"]), (&"running".into(), &1.into(), &0.into()));
    assert_eq!(status["pid"].to_string(), id);
    assert!(status["start_ms"].as_u64().is_some() && status["port"].as_u64().is_some(), "{status}");
    until(async || super::status(&server).await["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20)).await;
    server.process.terminate();
    assert!(server.process.exit_status().await.success());
    assert!(!is_alive(&id));
}

#[tokio::test]
async fn a_program_in_node_answers_a_path_with_parameters() {
    if Command::new("node").arg("--version").output().is_err() {
        eprintln!("skipped: there is no node");
        return;
    }
    let manifest = "name = \"a\"\nversion = \"1.0.0\"\ncommand = [\"node\", \"a.js\"]\npath = \"/signs/{sign}\"\n\
                    [params.sign]\nrequired = true\n[params.day]\n[run]\nready = \"/healthz\"\n";
    let script = r#"require("http").createServer((request, response) => {
        if (request.url === "/healthz") { response.statusCode = 404; return response.end(); }
        response.setHeader("Content-Type", "text/html");
        response.end(request.url);
    }).listen(process.env.PORT);"#;
    let site = TestSite::new()
        .front("<fragment name=a data-sign=leo data-day=1 timeout=30s />")
        .file("pasteup.toml", LONG_BUDGET)
        .file("fragments/a/fragment.toml", manifest)
        .file("fragments/a/a.js", script);
    let output = site.run(&["render", "/"]).await;
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "/signs/leo?day=1");
}

#[tokio::test]
async fn a_program_has_its_own_environment_its_folder_and_no_input() {
    let run =
        "path = \"/env\"\n[run]\nenv = { SECRET = \"env:PROGRAM_SECRET\", MODE = \"fast\", LANG = \"C.UTF-8\" }\n";
    let site = site(PATIENT, &[], run).file("pasteup.toml", LONG_BUDGET);
    let missing = site.run(&["render", "/"]).await;
    assert_eq!(String::from_utf8(missing.stdout).unwrap(), "instead");
    let environment = [("PROGRAM_SECRET", "x"), ("UNRELATED", "y"), ("HOME", "/tmp"), ("TMPDIR", "/tmp")];
    let server = site.serve_with(&environment).await;
    let names = server.text("/").await;
    assert_eq!(names, "HOME LANG MODE PATH PORT SECRET TMPDIR");
    let folder = super::site(PATIENT, &[], "path = \"/cwd\"\n").file("pasteup.toml", LONG_BUDGET);
    let output = folder.run(&["render", "/"]).await;
    let expected = format!("{} ''", folder.path().canonicalize().unwrap().join("fragments/a").display());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[tokio::test]
async fn a_program_that_is_idle_is_stopped_and_started_again() {
    let site = site(PATIENT, &[], "[run]\nidle = \"300ms\"\n").file("pasteup.toml", LONG_BUDGET);
    let mut server = site.serve().await;
    server.text("/").await;
    let id = id_after(&mut server, "listens as ").await;
    until_gone(&id).await;
    until_state(&server, "stopped").await;
    assert!(server.text("/").await.starts_with("pid "));
    assert_eq!(status(&server).await["starts"], 2);
    assert_eq!(status(&server).await["crashes"], 0);
}

#[tokio::test]
async fn nothing_of_a_program_is_left_a_second_after_the_compositor_was_killed() {
    let site = site(PATIENT, &["escape"], "[run]\nmin = 1\n");
    let mut server = site.serve().await;
    let escaped = id_after(&mut server, "escaped ").await;
    let id = id_after(&mut server, "listens as ").await;
    assert!(is_alive(&escaped) && is_alive(&id));
    let killed = Instant::now();
    server.process.kill().await;
    until(async || !is_alive(&id) && !is_alive(&escaped)).await;
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
}

#[tokio::test]
async fn what_a_program_leaves_behind_ends_with_it() {
    let site = site("<fragment name=a timeout=30s>instead</fragment>", &["escape"], "path = \"/crash\"\n");
    let mut server = site.file("pasteup.toml", LONG_BUDGET).serve().await;
    assert_eq!(server.text("/").await, "instead");
    let escaped = id_after(&mut server, "escaped ").await;
    until_gone(&escaped).await;
}

#[tokio::test]
async fn commands_that_end_stop_the_programs_that_they_started() {
    let settings = format!("{LONG_BUDGET}[fragment]\ntimeout = \"20s\"\n");
    let site = site(PATIENT, &[], "").file("pasteup.toml", &settings);
    for command in [&["render", "/"][..], &["explain", "/", "--format", "json"], &["conform", "a", "--format", "json"]]
    {
        let output = site.run(command).await;
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        if let Some((_, id)) = text.split_once("pid ") {
            assert!(!is_alive(id.trim()), "{command:?}");
        }
    }
}

#[tokio::test]
async fn a_manifest_that_changes_under_load_costs_no_page_and_the_new_program_takes_over() {
    let with = |number: usize| format!("[run]\nenv = {{ SAYS = \"{number}\" }}\n");
    let site = site(PATIENT, &[], &with(0)).file("pasteup.toml", LONG_BUDGET);
    let mut server = site.serve().await;
    assert_eq!(server.text("/").await, "0");
    let pages = server.pages.clone();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let load = tokio::spawn(async move {
        let mut answers = Vec::new();
        while stopped.try_recv().is_err() {
            answers.push(reqwest::get(&pages).await.unwrap().text().await.unwrap());
        }
        answers
    });
    for number in 1..=4 {
        site.write("fragments/a/fragment.toml", &manifest("a", &[], &with(number)));
        until(async || server.text("/").await == number.to_string()).await;
    }
    stop.send(()).unwrap();
    let answers = load.await.unwrap();
    assert!(answers.iter().all(|answer| answer.parse::<usize>().is_ok()), "{answers:?}");
    assert!(answers.is_sorted(), "an old process answered after a new one: {answers:?}");
    // A version that never gets ready leaves the old one in place.
    site.write("fragments/a/fragment.toml", &manifest("a", &["fail"], ""));
    server.process.line("before it was ready").await;
    assert_eq!(server.text("/").await, "4");
    std::fs::remove_dir_all(site.path().join("fragments/a")).unwrap();
    site.front_now("nothing");
    server.wait_for_text("/", "nothing").await;
}
