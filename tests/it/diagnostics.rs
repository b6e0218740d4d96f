//! `pasteup check`: reports all errors at once, each at its place, with a hint.

use serde_json::Value;

use crate::support::process::{TestSite, root};

const WEATHER: &str = "name = \"weather\"\nversion = \"3.1.0\"\nendpoint = \"http://127.0.0.1:1/\"\n\n[params.city]\nrequired = true\n\
[params.days]\ntype = \"integer\"\nmaximum = 7\n[cache]\nmax_ttl = \"10m\"\n";

/// Four files with eleven errors.
fn site_with_eleven_errors() -> TestSite {
    TestSite::new()
        .file(
            "layouts/front.html",
            "+++\nroute = \"/\"\ntitel = \"Front\"\n+++\n<h1>zwölf</h1> <fragment name=\"wether\" data-city=\"london\" />\n\
             <fragment name=\"weather\" version=\"^4\" data-city=\"oslo\">\n  <p>Soon</p>\n",
        )
        .file(
            "layouts/sport.html",
            "+++\nroute = \"/sport/{league}\"\n+++\n<fragment name=\"weather\"\n          data-city=\"{lague}\" data-days=\"9\" ttl=\"5\" />\n\
             <include file=\"partials/foter.html\" />\n</when>\n",
        )
        .file("layouts/partials/footer.html", "<footer><fragment nam=\"weather\" /></footer>\n")
        .file("fragments/weather/fragment.toml", WEATHER)
        .file("pasteup.toml", "[server]\nlisten = \"everywhere\"\n")
}

#[tokio::test]
async fn eleven_errors_in_four_files_are_each_reported_at_their_place() {
    let site = site_with_eleven_errors();
    let output = site.run(&["check", "--format", "json"]).await;
    assert_eq!(output.status.code(), Some(1));
    let found: Vec<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let problem: Value = serde_json::from_str(line).unwrap();
            assert!(problem["message"].as_str().is_some_and(|message| !message.is_empty()));
            assert!(problem["help"].is_string(), "each has a hint: {problem}");
            format!(
                "{}:{}:{} {} {} | {}",
                problem["file"].as_str().unwrap(),
                problem["line"],
                problem["column"],
                problem["severity"].as_str().unwrap(),
                problem["code"].as_str().unwrap(),
                problem["help"].as_str().unwrap_or("-"),
            )
        })
        .collect();
    insta::assert_snapshot!(found.join("\n"));
}

#[tokio::test]
async fn the_human_format_shows_the_line_and_a_caret() {
    let site = site_with_eleven_errors();
    let output = site.run(&["check"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains('\u{1b}'), "NO_COLOR is respected");
    insta::assert_snapshot!(text);
    let summary = String::from_utf8(output.stderr).unwrap();
    assert!(summary.starts_with("11 errors in "), "{summary}");
}

#[tokio::test]
async fn the_github_format_has_annotations() {
    let site = TestSite::new().file("layouts/a.html", "+++\nroute = \"/\"\n+++\n<fragment name=a,b />\n");
    let output = site.run(&["check", "--format", "github"]).await;
    insta::assert_snapshot!(String::from_utf8(output.stdout).unwrap());
}

/// The codes that keep no file from going live.
const WARNINGS: [&str; 7] =
    ["ttl-too-long", "deprecated", "no-fallback", "never-shown", "over-budget", "text-only", "unused"];

#[tokio::test]
async fn every_code_in_the_reference_can_be_caused() {
    let deprecated = "name = \"old\"\nversion = \"1.0.0\"\nowner = \"team-old\"\nendpoint = \"http://127.0.0.1:1/\"\nlifecycle = \"deprecated\"\n";
    for (layout, code, line, column) in [
        ("+++\nroute = \"/\"\nbuget = \"1s\"\n+++\n", "front-matter", 3, 1),
        ("+++\nroute = \"/\"\nbudget = 1\n+++\n", "front-matter", 3, 10),
        ("+++\nroute = \"/\n+++\n", "front-matter", 2, 11),
        ("+++\nroute = \"/\"\n[headers]\nVary = \"x\"\n+++\n", "front-matter", 4, 1),
        ("+++\nroute = \"/\"\n<p>", "front-matter", 1, 1),
        ("+++\nroute = \"x\"\n+++\n", "bad-route", 2, 9),
        ("+++\nroute = [\"/a/{x}\", \"/a/{y}\"]\n+++\n", "duplicate-route", 2, 10),
        ("<fragment name=nope data-x=1 />", "unknown-fragment", 4, 16),
        ("<fragment name=weather version=^9 data-city=x />", "no-such-version", 4, 32),
        ("<fragment name=weather data-city=x data-town=y />", "unknown-parameter", 4, 36),
        ("<fragment name=weather />", "missing-parameter", 4, 1),
        ("<fragment name=weather data-city=x data-days=x />", "bad-parameter", 4, 46),
        ("<fragment name=weather data-city=x tll=1s />", "unknown-attribute", 4, 36),
        ("<when hour=9>x</when>", "unknown-attribute", 4, 7),
        ("<fragment name=weather data-city=x ttl=99999999999d />", "bad-value", 4, 40),
        ("<fragment name=weather data-city=x version=one />", "bad-value", 4, 44),
        ("<fragment data-city=x />", "missing-name", 4, 1),
        ("<include />", "missing-name", 4, 1),
        ("<fragment name=weather data-city={town} />", "unknown-placeholder", 4, 34),
        ("<include file=nope.html />", "missing-file", 4, 15),
        ("<include file=circle.html />", "include-cycle", 1, 15),
        ("<fragment name=weather data-city=x>", "unclosed", 4, 1),
        ("x</fragment>", "unexpected-close", 4, 2),
        ("<fragment src=https://example.org/x />", "upstream-not-allowed", 4, 15),
        ("<fragment name=weather data-city=x ttl=11m />", "ttl-too-long", 4, 40),
        ("<fragment name=old />", "deprecated", 4, 16),
        ("<fragment name=weather data-city=x required />", "no-fallback", 4, 1),
        ("<p>a</p><fragment name=\"weather>fb</fragment><p>rest</p>", "unclosed", 4, 9),
        ("<p>a</p><fragment name=\"weather\"", "unclosed", 4, 9),
        ("<fragment name=\"weather>x</fragment><p class=\"a\">", "bad-value", 4, 17),
        ("<fragment name=weather data-city=\"x>y</fragment><p class=\"a b\">", "unknown-attribute", 4, 61),
        ("<include file=\"footer.html>x</include><p class=\"a\">", "bad-value", 4, 16),
        ("<include file=footer.html>inside</include>", "bad-value", 4, 27),
        ("<fragment name=weather data-city=x id=a /><fragment name=weather data-city=y id=a />", "bad-value", 4, 81),
        ("<fragment src=http://127.0.0.1:1/{section} />", "bad-value", 4, 15),
        ("<when from=2030-01-02T00:00:00Z until=2030-01-01T00:00:00Z>x</when>", "bad-value", 4, 39),
        ("<fragment name=shop data-q=x />", "missing-parameter", 4, 1),
        ("+++\nroute = []\n+++\n", "front-matter", 2, 9),
        ("\n+++\nroute = \"/\"\n+++\n", "front-matter", 2, 1),
        ("+++\n[headers]\nX-A = \"1\"\nroute = \"/\"\n+++\n", "front-matter", 4, 1),
        ("<p>a</p><fragmnt name=weather />", "near-miss", 4, 9),
        ("<whn device=mobile>a</whn>", "near-miss", 4, 1),
        ("<includ file=footer.html />", "near-miss", 4, 1),
        ("<when region=Germany>a</when>", "never-shown", 4, 14),
        ("<when region=\"not UK\">a</when>", "never-shown", 4, 15),
        ("<when locale=de>a</when>", "never-shown", 4, 14),
        ("<when device=phone>a</when>", "never-shown", 4, 14),
        ("<when device=mobile> </when>", "never-shown", 4, 1),
        (
            "+++\nroute = \"/\"\nbudget = \"1s\"\n+++\n<fragment name=weather data-city=x timeout=1500ms />",
            "over-budget",
            5,
            44,
        ),
        ("<fragment name=weather data-city=x timeout=3s />", "over-budget", 4, 44),
        ("<title>a <fragment name=weather data-city=x /></title>", "text-only", 4, 10),
        ("<p class='<fragment name=weather data-city=x />'>a</p>", "text-only", 4, 11),
        ("<script>'<fragment name=weather />'</script>", "text-only", 4, 10),
        ("<!-- unused.html -->", "unused", 1, 1),
    ] {
        let layout = if layout.trim_start().starts_with("+++") {
            layout.to_owned()
        } else {
            format!("+++\nroute = \"/\"\n+++\n{layout}")
        };
        let site = TestSite::new()
            .file("layouts/p.html", &layout)
            .file("fragments/weather/fragment.toml", WEATHER)
            .file("layouts/footer.html", "<p>")
            .file(
                "fragments/shop/fragment.toml",
                "name = \"shop\"\nversion = \"1.0.0\"\nendpoint = \"http://127.0.0.1:1/{team}\"\n",
            )
            .file("fragments/old/fragment.toml", deprecated);
        if code == "unused" {
            site.write("layouts/unused.html", "<fragment name=weather data-city=x />");
        }
        if code == "include-cycle" {
            site.write("layouts/circle.html", "<include file=circle.html />");
        }
        let output = site.run(&["check", "--format", "json"]).await;
        let problems: Vec<Value> =
            String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let found = problems.iter().any(|p| p["code"] == code && p["line"] == line && p["column"] == column);
        assert!(found, "{layout}\ncauses no {code} at {line}:{column}: {problems:#?}");
        let warning = problems.iter().all(|problem| problem["severity"] == "warning");
        assert_eq!(warning, WARNINGS.contains(&code), "{code}");
        assert_eq!(output.status.code(), Some(i32::from(!warning)), "{code}");
        if warning {
            assert_eq!(site.run(&["check", "--strict"]).await.status.code(), Some(1));
        }
    }
}

#[tokio::test]
async fn one_pattern_in_two_files_is_an_error_in_both() {
    let site = TestSite::new()
        .file("layouts/a.html", "+++\nroute = \"/news/{section}\"\n+++\n")
        .file("layouts/b.html", "+++\nroute = [\"/b\", \"/news/{part}\"]\n+++\n");
    let output = site.run(&["check", "--format", "json"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches("duplicate-route").count(), 2, "{text}");
    assert!(text.contains("layouts/b.html:2") && text.contains("layouts/a.html:2"));
}

#[tokio::test]
async fn files_that_cannot_be_read_are_errors() {
    let site = TestSite::new()
        .file("layouts/big.html", &"x".repeat((1 << 20) + 1))
        .file("layouts/ok.html", "+++\nroute = \"/\"\n+++\n");
    std::fs::write(site.path().join("layouts/latin.html"), b"+++\nroute = \"/l\"\n+++\n\xfc").unwrap();
    std::fs::write(site.path().join("secret.html"), "secret").unwrap();
    let layouts = site.path().join("layouts");
    std::os::unix::fs::symlink(site.path().join("secret.html"), layouts.join("link.html")).unwrap();
    std::os::unix::fs::symlink("nowhere.html", layouts.join("dangling.html")).unwrap();
    let output = site.run(&["check", "--format", "json"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    for (file, why) in [
        ("big.html", "larger than 1 MiB"),
        ("latin.html", "not valid UTF-8"),
        ("link.html", "a link to a file outside layouts/"),
        ("dangling.html", "a broken link"),
    ] {
        assert!(text.lines().any(|line| line.contains(file) && line.contains(why)), "{file}: {text}");
    }
    assert!(text.contains("\"line\":4,\"column\":1"), "the invalid byte is located: {text}");
}

#[tokio::test]
async fn a_named_pipe_among_the_files_is_an_error_and_does_not_block() {
    let site = TestSite::new().front("x").file("fragments/a/x", "");
    for name in ["layouts/pipe.html", "fragments/a/fragment.toml", "pasteup.toml"] {
        assert!(std::process::Command::new("mkfifo").arg(site.path().join(name)).status().unwrap().success());
    }
    let text = String::from_utf8(site.run(&["check", "--format", "json"]).await.stdout).unwrap();
    assert_eq!(text.matches("not a regular file").count(), 3, "{text}");
}

#[tokio::test]
async fn ignored_folders_are_reported() {
    let site = TestSite::new().front("x").file("other/a.html", "+++\nroute = \"/a\"\n+++\n");
    std::os::unix::fs::symlink(site.path().join("other"), site.path().join("layouts/linked")).unwrap();
    site.write(&format!("layouts/{}a.html", "d/".repeat(34)), "x");
    let output = site.run(&["check", "--format", "json"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches("\"ignored\"").count(), 2, "{text}");
    assert!(text.contains("layouts/linked") && output.status.code() == Some(0));
}

#[tokio::test]
async fn a_line_with_a_secret_is_not_quoted() {
    let site = TestSite::new().file("pasteup.toml", "[server]\nadmin_token = \"hush\"\n").file(
        "fragments/a/fragment.toml",
        "name = \"a\"\nversion = \"1.0.0\"\nendpoint = \"http://a/\"\nauth = { kind = \"barer\", token = \"hush\" }\n",
    );
    for format in ["human", "json", "github"] {
        let output = site.run(&["check", "--format", format]).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(!String::from_utf8(output.stdout).unwrap().contains("hush"), "{format}");
    }
}

#[tokio::test]
async fn the_sample_site_has_no_errors() {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_pasteup"))
        .args(["check", "--strict", "--format", "json", "--site"])
        .arg(root())
        .output()
        .await
        .unwrap();
    let problems = String::from_utf8_lossy(&output.stdout);
    // The almanac is a component, which not every build runs.
    let is_absent = |line: &&str| !cfg!(feature = "wasm") && line.contains("this build runs no components");
    let others: Vec<&str> = problems.lines().filter(|line| !is_absent(line)).collect();
    assert_eq!(others, Vec::<&str>::new());
}

#[tokio::test]
async fn a_command_that_cannot_run_exits_with_2() {
    let site = TestSite::new();
    assert_eq!(site.run(&["check"]).await.status.code(), Some(0));
    assert_eq!(site.run(&["chek"]).await.status.code(), Some(2));
    assert_eq!(site.run(&["serve", "--listen", "nowhere"]).await.status.code(), Some(2));
    std::fs::remove_dir(site.path().join("layouts")).unwrap();
    let output = site.run(&["check"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("has no folder `layouts`"));
}

#[tokio::test]
async fn a_variant_that_no_experiment_has_is_an_error() {
    let site = TestSite::new().file(
        "layouts/p.html",
        "+++\nroute = \"/\"\nexperiment.lead = { big = 1, small = 1 }\n+++\n<when variant=\"lead:big lead:smal\">x</when>\n\
         <when variant=\"not foot:a\">y</when>",
    );
    let output = site.run(&["check", "--format", "json"]).await;
    let lines = String::from_utf8(output.stdout).unwrap();
    let problems: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(problems.len(), 2, "{lines}");
    assert_eq!((&problems[0]["code"], &problems[0]["line"]), (&"bad-value".into(), &5.into()));
    assert!(problems[0]["help"].as_str().unwrap().contains("did you mean `lead:small`?"));
    assert!(problems[1]["message"].as_str().unwrap().contains("`foot:a`"));
}
