//! Asking before: whether a version can go live, and who is touched when a nanoservice changes.

use serde_json::Value;

use crate::support::process::{TestSite, client};

fn manifest(name: &str, version: &str, more: &str) -> String {
    format!(
        "name = \"{name}\"\nversion = \"{version}\"\nowner = \"team-{name}\"\nendpoint = \"http://127.0.0.1:9/{name}\"\n{more}"
    )
}

/// A page with a part of `weather`, and one with a part of `list`, which composes it.
fn site() -> TestSite {
    let params = "[params.city]\n[params.days]\ntype = \"integer\"\n";
    TestSite::new()
        .file(
            "layouts/front.html",
            "+++\nroute = \"/\"\nowner = \"team-front\"\n+++\n<fragment name=\"weather\" version=\"^3\" data-days=\"3\" />",
        )
        .file("layouts/list.html", "+++\nroute = \"/list\"\nowner = \"team-list-page\"\n+++\n<fragment name=\"list\" />")
        .file("fragments/weather/fragment.toml", &manifest("weather", "3.1.0", params))
        .file("fragments/list/fragment.toml", &manifest("list", "1.0.0", "composes = [\"weather\"]\n"))
        .file("next.toml", &manifest("weather", "3.2.0", "[params.days]\ntype = \"integer\"\nmaximum = 2\n"))
        .file("major.toml", &manifest("weather", "4.0.0", ""))
}

async fn run(site: &TestSite, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = site.run(arguments).await;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn a_version_that_a_page_cannot_take_is_a_no_and_what_is_not_asked_is_unknown() {
    let site = site();
    let next = site.path().join("next.toml").display().to_string();
    let major = site.path().join("major.toml").display().to_string();
    let ask = async |version: &str, file: &str, more: &[&str]| {
        run(&site, &[&["can-i-deploy", version, "--manifest", file, "--offline"], more].concat()).await
    };
    let (code, lines, _) = ask("weather@3.2.0", &next, &[]).await;
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(code, Some(1));
    assert_eq!(lines[0], "layouts/front.html:5 /  no: `days` must be at most 2, and is `3`");
    assert_eq!(lines[1], "fragments/list/fragment.toml:1  unknown: list 1.0.0 composes it, and was not asked how");
    assert!(lines[2].ends_with("unknown: conform: it was not asked, because of `--offline`"), "{lines:?}");
    assert_eq!(lines[3..], ["no"]);
    let (code, lines, _) = ask("weather@4.0.0", &major, &[]).await;
    assert!(
        lines.starts_with("layouts/front.html:5 /  yes: `^3` does not take 4.0.0: the page stays with 3.1.0\n"),
        "{lines}"
    );
    assert_eq!((code, lines.lines().last()), (Some(1), Some("unknown")));
    assert_eq!(ask("weather@4.0.0", &major, &["--allow-unknown"]).await.0, Some(0));
    let (code, json, _) = ask("weather@3.2.0", &next, &["--format", "json"]).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["verdict"]), (Some(1), &"no".into()));
    let place = &json["places"][0];
    assert_eq!(
        (&place["file"], &place["line"], &place["route"]),
        (&"layouts/front.html".into(), &5.into(), &"/".into())
    );
    assert_eq!((&place["verdict"], place["says"].is_string()), (&"no".into(), true));
    let (_, github, _) = ask("weather@3.2.0", &next, &["--format", "github"]).await;
    assert!(
        github.starts_with("::error file=layouts/front.html,line=5,title=weather 3.2.0::`days` must be at most 2"),
        "{github}"
    );
    let (_, junit, _) = ask("weather@3.2.0", &next, &["--format", "junit"]).await;
    assert!(junit.contains("tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"2\""), "{junit}");
    for arguments in [
        &["can-i-deploy", "weather@3.3.0", "--offline"][..],
        &["can-i-deploy", "weather@3.3.0", "--manifest", &next, "--offline"],
        &["can-i-deploy", "weather", "--offline"],
    ] {
        assert_eq!(run(&site, arguments).await.0, Some(2), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_site_that_runs_is_asked_too() {
    let site = site();
    let server = site.serve().await;
    // Another site, with no pages of its own.
    let elsewhere = TestSite::new().file("next.toml", &std::fs::read_to_string(site.path().join("next.toml")).unwrap());
    let next = elsewhere.path().join("next.toml").display().to_string();
    let ask = ["can-i-deploy", "weather@3.2.0", "--manifest", &next, "--offline", "--to", &server.admin];
    let (code, lines, said) = run(&elsewhere, &ask).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(lines.starts_with("layouts/front.html:5 /  no: `days` must be at most 2, and is `3`\n"), "{lines} {said}");
    let impact = server.admin_get("/api/impact?of=weather").await.text().await.unwrap();
    let impact: Value = serde_json::from_str(&impact).unwrap();
    assert_eq!(impact["pages"][0]["per_second"], 0.0, "{impact}");
    let missing = client().get(format!("{}/api/impact?of=nobody", server.admin)).send().await.unwrap();
    assert_eq!(missing.status(), 404);
    let admin = server.admin.strip_prefix("http://").unwrap();
    let (code, text, _) = run(&elsewhere, &["impact", "weather", "--admin", admin]).await;
    assert!(
        code == Some(0) && text.contains("/list  layouts/list.html  in what it composes  team-list-page  0 a second"),
        "{text}"
    );
}

#[tokio::test]
async fn the_impact_names_pages_composers_and_owners() {
    let site = site();
    let (code, text, _) = run(&site, &["impact", "weather"]).await;
    let expected = "weather: 2 pages\n  /  layouts/front.html:5  team-front\n  \
                    /list  layouts/list.html  in what it composes  team-list-page\ncomposed by\n  list 1.0.0  team-list\n\
                    owners: team-front, team-list, team-list-page\n";
    assert_eq!((code, text.as_str()), (Some(0), expected));
    let (_, json, _) = run(&site, &["impact", "weather@3.1.0", "--format", "json"]).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["pages"].as_array().unwrap().len(), &json["version"]), (2, &"3.1.0".into()));
    assert_eq!(run(&site, &["impact", "nobody"]).await.0, Some(2));
}
