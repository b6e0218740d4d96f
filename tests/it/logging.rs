//! What is printed where it cannot be written: to a full disk, or into a pipe whose reader left.
//! Nobody's page depends on whether anybody can read the log.

use std::fs::OpenOptions;
use std::process::Stdio;
use std::time::Duration;

use crate::support::process::{TestSite, until};
use crate::support::service::RawService;

/// A file to which nothing can be written, as on a full disk.
fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

/// A pipe whose reader left.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// A site with a page whose fragment fails, which is logged.
async fn failing_site() -> TestSite {
    let service =
        RawService::start(Duration::ZERO, "HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    TestSite::new().front("<fragment name=a>fallback</fragment>").service("a", service.address)
}

#[tokio::test]
async fn a_log_that_cannot_be_written_ends_no_request_no_reload_and_no_process() {
    for error in [full, closed] {
        let site = failing_site().await;
        let mut server = site.serve_to(Stdio::piped(), error()).await;
        assert_eq!(server.text("/").await, "fallback");
        let dropped = server.metric("pasteup_log_lines_dropped_total").await;
        assert!(dropped > 0);
        // The error of this reload is printed too; later changes are read all the same.
        site.write("layouts/other.html", "+++\nroute = \"/other\"\n+++\n<fragment name=unknown />");
        until(async || server.metric("pasteup_log_lines_dropped_total").await >= dropped + 2).await;
        site.write("layouts/front.html", "+++\nroute = \"/\"\n+++\nchanged");
        until(async || server.text("/").await == "changed").await;
        assert_eq!(server.metric("pasteup_panics_total").await, 0);
        server.process.terminate();
        assert!(server.process.exit_status().await.success());
    }
}

#[tokio::test]
async fn a_site_is_served_even_if_its_addresses_cannot_be_printed() {
    // The addresses are logged instead.
    let mut server = TestSite::new().front("here").serve_to(full(), Stdio::piped()).await;
    assert_eq!(server.text("/").await, "here");
    server.process.terminate();
    assert!(server.process.exit_status().await.success());
}

#[tokio::test]
async fn results_that_cannot_be_written_are_one_error_and_a_closed_pipe_is_silent() {
    let site = failing_site().await.file("layouts/b.html", "+++\nroute = \"/b\"\ntitel = \"\"\n+++\n");
    let commands: [(&[&str], i32); 9] = [
        (&["--help"], 0),
        (&["check"], 1),
        (&["check", "--format", "json"], 1),
        (&["catalog"], 0),
        (&["catalog", "--format", "json"], 0),
        (&["explain", "/"], 0),
        (&["explain", "/", "--format", "json"], 0),
        (&["render", "/"], 0),
        (&["conform", "a"], 1),
    ];
    for (arguments, code) in commands {
        let output = site.run_to(arguments, full()).await;
        let printed = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {printed}");
        if arguments != ["--help"] {
            assert_eq!(printed.matches("cannot write to standard output").count(), 1, "{arguments:?}: {printed}");
        }
        let output = site.run_to(arguments, closed()).await;
        let printed = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {printed}");
        assert!(!printed.contains("panicked") && !printed.contains("cannot write"), "{arguments:?}: {printed}");
    }
}

#[tokio::test]
async fn control_characters_of_a_manifest_reach_no_terminal() {
    let owner = "team\\nweather\\u001b[2J\\u009b2J";
    let manifest =
        format!("name = \"a\"\nversion = \"1.0.0\"\nowner = \"{owner}\"\nendpoint = \"http://127.0.0.1:1/a\"\n");
    let page = "+++\nroute = \"/\"\nowner = \"one\\ntwo\\u001b[31m\"\n+++\n<fragment name=a />";
    let site = TestSite::new()
        .file("layouts/a.html", page)
        .file("layouts/b.html", "+++\nroute = \"/b\"\n+++\n<fragment name=\"x\u{9b}2J\u{202e}\" />")
        .file("fragments/a/fragment.toml", &manifest);
    let commands: [&[&str]; 7] = [
        &["catalog"],
        &["catalog", "--format", "json"],
        &["explain", "/"],
        &["explain", "/", "--format", "json"],
        &["check", "--offline"],
        &["check", "--offline", "--format", "json"],
        &["check", "--offline", "--format", "github"],
    ];
    for arguments in commands {
        let output = site.run(arguments).await;
        let printed =
            format!("{}{}", String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        let is_harmful = |c: char| (c != '\n' && c.is_control()) || c == '\u{202e}';
        assert!(!printed.contains(is_harmful), "{arguments:?}: {printed:?}");
        assert!(!printed.contains("team\nweather") && !printed.contains("one\ntwo"), "{arguments:?}: {printed}");
    }
}
