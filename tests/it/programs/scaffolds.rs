//! `pasteup new`: what it makes passes `check` and `conform` as it is, and nothing is overwritten.

use super::*;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn a_new_site_with_a_new_page_and_new_nanoservices_works_as_it_is() {
    let outside = TestSite::new();
    let folder = outside.path().join("made");
    let made = outside.run(&["new", "site", folder.to_str().unwrap()]).await;
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert!(text(&made.stdout).ends_with(&format!("next: pasteup dev --site {}\n", folder.display())));
    let site = outside.at(&folder);
    let page = site.run(&["new", "page", "about", "--route", "/about/{topic}"]).await;
    assert!(page.status.success(), "{}", text(&page.stderr));
    assert!(
        std::fs::read_to_string(folder.join("layouts/about.html")).unwrap().contains("frame = \"frames/site.html\"")
    );
    // The machine may be busy, and `conform` measures.
    site.write("pasteup.toml", "[fragment]\ntimeout = \"20s\"\n");
    let mut names = vec!["hello"];
    for (language, program) in [("python", "python3"), ("node", "node"), ("go", "go"), ("rust", "cargo")] {
        let arguments = ["new", "fragment", language, "--lang", language, "--param", "city", "--param", "day"];
        let fragment = site.run(&arguments).await;
        assert!(fragment.status.success(), "{}", text(&fragment.stderr));
        // Building takes long, and is covered by one language that needs no build.
        if Command::new(program).arg("--version").output().is_ok() && language != "rust" && language != "go" {
            names.push(language);
        }
    }
    let check = site.run(&["check", "--format", "json"]).await;
    let problems = text(&check.stdout);
    let others = problems.lines().filter(|line| !line.contains("no-program"));
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&str>::new());
    for name in names {
        let conform = site.run(&["conform", name]).await;
        assert!(conform.status.success(), "{name}: {}{}", text(&conform.stdout), text(&conform.stderr));
    }
    let index = site.run(&["render", "/"]).await;
    assert!(text(&index.stdout).contains("<h1>A new site</h1>"));
    let server = site.serve().await;
    for (path, media_type) in [("/site.css", "text/css; charset=utf-8"), ("/favicon.svg", "image/svg+xml")] {
        assert!(text(&index.stdout).contains(&format!("href=\"{path}\"")));
        assert_eq!(server.get(path).await.headers()["content-type"], media_type);
    }
}

#[tokio::test]
async fn nothing_is_overwritten_and_what_is_in_the_way_is_named() {
    let site = site("<fragment name=a />", &[], "");
    let folder = site.path().to_str().unwrap();
    let long = "x".repeat(101);
    for (arguments, expected) in [
        (vec!["new", "site", folder], "is not empty"),
        (vec!["new", "page", "front"], "layouts/front.html"),
        (vec!["new", "page", "other", "--route", "/"], "/"),
        (vec!["new", "page", "other", "--route", "x"], "begins with `/`"),
        (vec!["new", "page", "../x"], "is not a valid name"),
        (vec!["new", "page", ".x"], "is not a valid name"),
        (vec!["new", "fragment", "a", "--lang", "python"], "fragments/a/fragment.toml"),
        (vec!["new", "fragment", "a b", "--lang", "python"], "is not a valid name"),
        (vec!["new", "fragment", &long, "--lang", "python"], "is not a valid name"),
        (vec!["new", "fragment", "b", "--lang", "python", "--param", "City"], "is not a valid parameter"),
    ] {
        let output = site.run(&arguments).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stdout));
        assert!(text(&output.stderr).contains(expected), "{arguments:?}: {}", text(&output.stderr));
    }
    assert!(!site.path().join("layouts/other.html").exists() && !site.path().join("fragments/b").exists());
    let nothing = site.run_with(&["new", "fragment", "b"], "PATH", Some("/nowhere")).await;
    assert_eq!(nothing.status.code(), Some(2));
    assert!(text(&nothing.stderr).contains("node, python3, go, cargo"), "{}", text(&nothing.stderr));
}
