//! Versions: the lock, and what is said of versions that go away.

use http::StatusCode;

use crate::support::process::TestSite;

/// The manifest of a version that nobody serves.
fn manifest(name: &str, version: &str, more: &str) -> String {
    format!("name = \"{name}\"\nversion = \"{version}\"\nendpoint = \"http://127.0.0.1:9/{name}\"\n{more}")
}

/// A site with two versions of `weather`, one page that uses it, and one that a combiner uses.
fn site() -> TestSite {
    TestSite::new()
        .front("<fragment name=\"weather\" version=\"^3\">none</fragment>")
        .file("layouts/other.html", "+++\nroute = \"/other\"\n+++\n<fragment name=\"combiner\">none</fragment>")
        .file("fragments/weather/fragment.toml", &manifest("weather", "3.1.0", ""))
        .file("fragments/icon/fragment.toml", &manifest("icon", "1.0.0", ""))
        .file("fragments/combiner/fragment.toml", &manifest("combiner", "1.0.0", "composes = [\"icon\"]\n"))
}

async fn run(site: &TestSite, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = site.run(arguments).await;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn lock(site: &TestSite) -> String {
    std::fs::read_to_string(site.path().join("pasteup.lock")).unwrap_or_default()
}

#[tokio::test]
async fn a_range_takes_the_highest_locked_version_until_it_is_updated() {
    let site = site();
    assert_eq!(run(&site, &["check"]).await.0, Some(0), "without a lock nothing is missing");
    let (code, lines, _) = run(&site, &["update"]).await;
    assert_eq!((code, lines.as_str()), (Some(0), "combiner -> 1.0.0\nicon -> 1.0.0\nweather -> 3.1.0\n"));
    let first = lock(&site);
    assert!(
        first.starts_with(
            "# Written by `pasteup update`. Keep it under version control.\nversion = 1\n\n[[fragment]]\n"
        )
    );
    assert!(first.contains("name     = \"weather\"\nversion  = \"3.1.0\"\nchecksum = \"sha256:"), "{first}");
    site.write("fragments/weather-2/fragment.toml", &manifest("weather", "3.2.0", ""));
    let version = async |site: &TestSite| {
        let (_, json, _) = run(site, &["explain", "/", "--format", "json"]).await;
        let record: serde_json::Value = serde_json::from_str(&json).unwrap();
        record["parts"][0]["version"].as_str().unwrap().to_owned()
    };
    assert_eq!(version(&site).await, "3.1.0");
    let (code, lines, _) = run(&site, &["update", "--dry-run"]).await;
    assert_eq!((code, lines.as_str(), lock(&site) == first), (Some(0), "weather 3.1.0 -> 3.2.0  1 page\n", true));
    assert_eq!(run(&site, &["update", "weather"]).await.1, "weather 3.1.0 -> 3.2.0  1 page\n");
    assert_eq!(version(&site).await, "3.2.0");
    assert_eq!(run(&site, &["update", "weather", "--precise", "3.1.0"]).await.1, "weather 3.2.0 -> 3.1.0  1 page\n");
    assert_eq!(lock(&site), first);
    for wrong in [["update", "weather", "--precise", "3.3.0"], ["update", "nobody", "--precise", "1.0.0"]] {
        assert_eq!(run(&site, &wrong).await.0, Some(2));
        assert_eq!(lock(&site), first);
    }
    site.front_now("none");
    assert_eq!(run(&site, &["update"]).await.1, "weather 3.1.0 -> (none)\n");
}

#[tokio::test]
async fn what_is_not_locked_is_an_error_that_says_what_to_run() {
    let site = site();
    run(&site, &["update"]).await;
    site.front_now("<fragment name=\"weather\" version=\"=3.2.0\">none</fragment>");
    site.write("fragments/weather-2/fragment.toml", &manifest("weather", "3.2.0", ""));
    let (code, found, _) = run(&site, &["check", "--offline", "--format", "json"]).await;
    let problem: serde_json::Value = serde_json::from_str(found.trim()).unwrap();
    assert_eq!((code, &problem["code"], &problem["line"]), (Some(1), &"not-locked".into(), &4.into()), "{found}");
    assert!(problem["help"].as_str().unwrap().contains("`pasteup update weather`"), "{found}");
    let (code, _, said) = run(&site, &["serve", "--locked", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(code, Some(2));
    assert!(
        said.contains("not started: layouts/front.html:4: no locked version of `weather` satisfies `=3.2.0`"),
        "{said}"
    );
    site.write("pasteup.lock", "version = 1\n<<<<<<< ours\n");
    let (code, found, _) = run(&site, &["check", "--offline", "--format", "json"]).await;
    assert_eq!(code, Some(1));
    let problem: serde_json::Value = serde_json::from_str(found.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&problem["code"], &problem["file"], &problem["line"]),
        (&"lock".into(), &"pasteup.lock".into(), &2.into())
    );
    assert_eq!(run(&site, &["update"]).await.0, Some(0), "it is written anew");
    assert_eq!(run(&site, &["check", "--offline"]).await.0, Some(0));
    std::fs::remove_file(site.path().join("pasteup.lock")).unwrap();
    let (code, _, said) = run(&site, &["serve", "--locked", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(code, Some(2));
    assert!(said.contains("there is no pasteup.lock: run `pasteup update`"), "{said}");
}

#[tokio::test]
async fn a_change_without_a_version_is_a_warning_and_what_is_no_part_of_it_is_none() {
    let site = site();
    run(&site, &["update"]).await;
    let same = "owner = \"team\"\n# a comment\n[rollout]\nsteps = [10]\n[auth]\nkind = \"none\"\n";
    site.write("fragments/weather/fragment.toml", &manifest("weather", "3.1.0", same));
    assert_eq!(run(&site, &["check", "--offline", "--format", "json"]).await.1, "");
    site.write("fragments/weather/fragment.toml", &manifest("weather", "3.1.0", "[cache]\nttl = \"5s\"\n"));
    let (code, found, _) = run(&site, &["check", "--offline", "--format", "json"]).await;
    assert_eq!(code, Some(0));
    assert!(found.contains("\"changed-without-version\"") && found.contains("\"severity\":\"warning\""), "{found}");
    assert_eq!(run(&site, &["update"]).await.1, "weather 3.1.0 -> 3.1.0  1 page\n");
    assert_eq!(run(&site, &["check", "--offline", "--format", "json"]).await.1, "");
}

#[tokio::test]
async fn the_last_good_lock_stays_in_force_while_a_server_runs() {
    let site = site().file("pasteup.toml", "[server]\nwatch = \"off\"\n");
    run(&site, &["update"]).await;
    site.write("fragments/weather-2/fragment.toml", &manifest("weather", "3.2.0", ""));
    let server = site.serve().await;
    let version = async || {
        let explained = server.admin_get("/api/explain?path=/").await.text().await.unwrap();
        serde_json::from_str::<serde_json::Value>(&explained).unwrap()["parts"][0]["version"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(version().await, "3.1.0");
    site.write("pasteup.lock", "version = 1\n[[fragment]]\n");
    assert_eq!(server.admin_post("/api/reload", "").await.status(), StatusCode::OK);
    assert_eq!(version().await, "3.1.0");
    run(&site, &["update"]).await;
    assert_eq!(server.admin_post("/api/reload", "").await.status(), StatusCode::OK);
    assert_eq!(version().await, "3.2.0");
}

#[tokio::test]
async fn a_sunset_is_a_warning_until_that_day_and_fails_the_check_from_then_on() {
    let going = |day: &str| {
        manifest("weather", "3.1.0", &format!("lifecycle = \"deprecated\"\nsunset = {day}\nsuccessor = \"forecast\"\n"))
    };
    let site = TestSite::new()
        .front("<fragment name=\"weather\">none</fragment>")
        .file("fragments/weather/fragment.toml", &going("2999-01-31"));
    let (code, found, _) = run(&site, &["check", "--offline", "--format", "json"]).await;
    let problem: serde_json::Value = serde_json::from_str(found.trim()).unwrap();
    assert_eq!((code, &problem["code"]), (Some(0), &"deprecated".into()));
    assert!(problem["message"].as_str().unwrap().contains("2999-01-31"), "{found}");
    assert!(problem["help"].as_str().unwrap().contains("`forecast`"), "{found}");
    for past in ["2020-01-31", "\"2020-01-31\"", "2020-01-31T10:00:00Z"] {
        site.write("fragments/weather/fragment.toml", &going(past));
        let (code, found, _) = run(&site, &["check", "--offline", "--format", "json"]).await;
        assert_eq!(code, Some(1), "{past}");
        assert!(found.contains("\"severity\":\"warning\""), "{found}");
    }
    let server = site.serve().await;
    assert_eq!(server.get("/").await.status(), StatusCode::OK, "layouts stay live");
}
