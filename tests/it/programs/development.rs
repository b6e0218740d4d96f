//! Programs while a site is developed: a changed file restarts them, and the sample program works.

use super::*;
use crate::support::process::root;

#[tokio::test]
async fn a_changed_file_of_a_program_is_seen_at_once_and_a_mistake_leaves_the_old_one() {
    let answers = |text: &str| PROGRAM.replace("\"pid %d\" % os.getpid()", &format!("{text:?}"));
    let more = "[run]\nenv = { CACHING = \"max-age=3600\" }\n";
    let site = site(PATIENT, &[], more).file("pasteup.toml", LONG_BUDGET);
    site.write("fragments/a/program.py", &answers("one"));
    let mut server = site.dev().await;
    until(async || server.text("/").await.contains("one")).await;
    site.write("fragments/a/program.py", &answers("two"));
    until(async || server.text("/").await.contains("two")).await;
    site.write("fragments/a/program.py", "this is not Python");
    server.process.line("before it was ready").await;
    assert!(server.text("/").await.contains("two"));
    site.write("fragments/a/program.py", &answers("three"));
    until(async || server.text("/").await.contains("three")).await;
}

#[tokio::test]
async fn the_tide_at_the_sample_coast_conforms_and_its_constituents_have_their_known_speeds() {
    let site = TestSite::new();
    for file in ["fragment.toml", "tides.py"] {
        let file = format!("fragments/tides/{file}");
        // The machine may be busy, and `conform` measures.
        let text = std::fs::read_to_string(root().join(&file)).unwrap().replace("\"500ms\"", "\"20s\"");
        site.write(&file, &text);
    }
    let conform = site.run(&["conform", "tides"]).await;
    assert!(conform.status.success(), "{}", String::from_utf8_lossy(&conform.stdout));
    // Degrees an hour (Schureman 1958, table 2).
    let script = r#"
import tides
from datetime import datetime, timedelta, timezone
speeds = {"M2": 28.9841042, "S2": 30, "N2": 28.4397295, "K2": 30.0821373,
          "K1": 15.0410686, "O1": 13.9430356, "P1": 14.9589314, "Q1": 13.3986609}
start = datetime(2026, 12, 1, tzinfo=timezone.utc)
for name, speed in speeds.items():
    found = (tides.argument(name, start + timedelta(hours=1000)) - tides.argument(name, start)) / 1000
    assert abs(found - speed) < 1e-6, (name, found)
turns = tides.turns("port-alder", start, 116)
assert all(a[2] != b[2] for a, b in zip(turns, turns[1:])), "high and low waters alternate"
hours = (turns[-1][0] - turns[0][0]).total_seconds() / 3600 / (len(turns) - 1)
assert abs(hours - 6.21) < 0.05, hours
highs = [(height, time) for time, height, is_high in turns if is_high]
assert max(highs)[0] - min(highs)[0] > 0.8, "spring and neap tides differ"
"#;
    let output = Command::new(python()).args(["-B", "-c", script]).current_dir(root().join("fragments/tides")).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
