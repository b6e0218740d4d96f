//! Schedules: another layout replaces a page's own for a time, to the second.

use std::time::Duration;

use tokio::time::advance;

use crate::support::compositor::{TestCompositor, html_cached};
use crate::support::process::TestSite;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

// The clock of the tests starts at 2027-01-15T08:00:00Z.
const SCHEDULE: &str = "+++\nroute = \"/in/{place}\"\nquery = [\"page\"]\nschedule = [\n\
    { use = \"first.html\", from = 2027-01-15T08:00:10Z, until = \"2027-01-15T09:00:20+01:00\" },\n\
    { use = \"second.html\", from = 2027-01-15T08:00:15Z, until = 2027-01-15T08:00:30Z },\n]\n+++\nusual <fragment name=a />";

#[tokio::test(start_paused = true)]
async fn a_scheduled_layout_starts_and_ends_to_the_second() {
    let site = TestCompositor::new()
        .layout("p.html", SCHEDULE)
        .layout(
            "first.html",
            "+++\nquery = [\"only\"]\n+++\nfirst <fragment name=a data-place=\"{place}\" data-only=\"{only}\" />",
        )
        .layout("second.html", "second <fragment name=a />")
        .fragment("a", html_cached("A", "max-age=600"))
        .start();
    let mut seen = Vec::new();
    for second in 0..32 {
        let page = site.get("/in/wien?only=x&page=2").await;
        seen.push((second, page.html(), page.header("cache-control").to_owned()));
        advance(s(1)).await;
    }
    for (second, html, cache) in seen {
        let (expected, until) = match second {
            0..10 => ("usual A", 10),
            10..15 => ("first A", 15),
            15..20 => ("first A", 20),
            20..30 => ("second A", 30),
            _ => ("usual A", u64::MAX),
        };
        let fresh = (until - second).min(600 - second);
        assert_eq!((html.as_str(), cache), (expected, format!("public, max-age={fresh}")), "{second}");
    }
    assert!(site.requests().iter().any(|request| request.address.as_str().ends_with("?place=wien&only=x")));
}

#[tokio::test]
async fn a_schedule_can_be_rendered_for_any_time_and_its_errors_are_reported() {
    let site = TestSite::new()
        .file(
            "layouts/p.html",
            "+++\nroute = \"/\"\nschedule = [{ use = \"xmas.html\", from = 2026-12-24T18:00:00Z }]\n+++\nusual",
        )
        .file("layouts/xmas.html", "Merry Christmas");
    for (time, text) in [("2026-12-24T17:59:59Z", "usual"), ("2026-12-24T18:00:00Z", "Merry Christmas")] {
        let output = site.run(&["render", "/", "--at", time]).await;
        assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
    }
    site.write("layouts/xmas.html", "\n<fragment name=nobody />");
    let output = String::from_utf8(site.run(&["check"]).await.stdout).unwrap();
    assert!(
        output.contains("no nanoservice is called `nobody`") && output.contains("layouts/xmas.html:2:16"),
        "{output}"
    );
    for (name, message) in [("xmaz.html", "did you mean `xmas.html`?"), ("p.html", "is scheduled to replace itself")] {
        site.write("layouts/p.html", &format!("+++\nroute = \"/\"\nschedule = [{{ use = \"{name}\" }}]\n+++\nusual"));
        let output = String::from_utf8(site.run(&["check"]).await.stdout).unwrap();
        assert!(output.contains(message), "{output}");
    }
}
