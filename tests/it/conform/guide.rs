//! The guide for fragment authors: its nanoservices are extracted from the text, started, and checked against the contract.

use std::path::Path;

use tokio::process::Command;

use super::findings;
use crate::support::process::{Process, TestSite, root};

/// Language, file, build command if there is one, and run command.
type Service = (&'static str, &'static str, Option<&'static [&'static str]>, &'static [&'static str]);

/// The nanoservices of the guide.
const SERVICES: [Service; 5] = [
    ("python", "hello.py", None, &["python3", "hello.py"]),
    ("js", "hello.js", None, &["node", "hello.js"]),
    ("java", "Hello.java", None, &["java", "Hello.java"]),
    ("go", "hello.go", Some(&["go", "build", "-o", "hello-go", "hello.go"]), &["hello-go"]),
    ("rust", "hello.rs", Some(&["rustc", "--edition", "2024", "-o", "hello-rs", "hello.rs"]), &["hello-rs"]),
];

/// The first code block in a language.
fn code<'t>(guide: &'t str, language: &str) -> &'t str {
    let (_, behind) = guide.split_once(&format!("```{language}\n")).unwrap();
    behind.split_once("```").unwrap().0
}

fn command(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(folder).env("PORT", "0");
    command
}

#[tokio::test]
async fn the_nanoservices_of_the_guide_pass_every_rule() {
    let guide = std::fs::read_to_string(root().join("fragments/README.md")).unwrap();
    for (language, file, build, run) in SERVICES {
        let text = code(&guide, language);
        let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
        assert!(lines <= 20, "{language} has {lines} lines");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(file), text).unwrap();
        let tool = build.unwrap_or(run)[0];
        if Command::new(tool).arg("--version").output().await.is_err() {
            eprintln!("{language} is skipped: {tool} is not installed");
            continue;
        }
        if let Some(build) = build {
            let built = command(folder.path(), build).output().await.unwrap();
            assert!(built.status.success(), "{language}: {}", String::from_utf8_lossy(&built.stderr));
        }
        // An absolute path, since a relative one would be relative to the folder of the test run.
        let built = folder.path().join(run[0]);
        let program = if build.is_some() { built.to_str().unwrap() } else { run[0] };
        let mut service = Process::start(command(folder.path(), &[&[program], &run[1..]].concat()));
        let address = service.line("listening on http://").await;
        let manifest = code(&guide, "toml").replace("127.0.0.1:9104", &address);
        let manifest = format!("{manifest}[limits]\ntimeout = \"20s\"\n");
        let site = TestSite::new().file("fragments/hello/fragment.toml", &manifest);
        for verdict in ["failed", "skipped"] {
            assert_eq!(findings(&site, "hello", verdict).await, (Vec::new(), 0), "{language}");
        }
        let (advice, _) = findings(&site, "hello", "advice").await;
        assert!(advice.iter().all(|(rule, _)| rule == "problem"), "{language}: {advice:?}");
    }
}

#[test]
fn the_guide_lists_every_rule() {
    let guide = std::fs::read_to_string(root().join("fragments/README.md")).unwrap();
    for rule in pasteup::page::conform::rule::Rule::ALL {
        let row = format!("| `{}` | {} |", rule.id(), rule.title());
        assert!(guide.contains(&row), "fragments/README.md lacks {row}");
    }
}
