//! `pasteup render` and `pasteup catalog`.

use std::time::Duration;

use crate::support::process::TestSite;
use crate::support::service::RawService;

#[tokio::test]
async fn the_page_goes_to_standard_output_and_messages_go_to_standard_error() {
    let service = RawService::html(Duration::ZERO, "", "<b>12&deg;</b>").await;
    let site = TestSite::new()
        .front("<p><fragment name=weather />\n<fragment name=gone>none</fragment></p>\n")
        .service("weather", service.address)
        .service("gone", "127.0.0.1:1".parse().unwrap());
    let output = site.run(&["render", "/"]).await;
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "<p><b>12&deg;</b>\nnone</p>\n");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "layouts/front.html:5: `gone`: fallback (connect)\n");
}

#[tokio::test]
async fn flags_set_the_client_and_the_time() {
    let site = TestSite::new().file(
        "layouts/p.html",
        "+++\nroute = \"/\"\nexperiment.lead = { big = 1, small = 1 }\n+++\n<when device=mobile>mobile </when><when region=\"not US\">abroad </when><when locale=\"de fr\">de </when>\
         <when variant=lead:big>big </when><when from=2030-01-01T00:00:00Z>later</when>",
    );
    let text = |output: std::process::Output| String::from_utf8(output.stdout).unwrap();
    assert_eq!(text(site.run(&["render", "/"]).await), "abroad big ");
    let flags = [
        "render",
        "/",
        "--device",
        "mobile",
        "--region",
        "US",
        "--locale",
        "de",
        "--variant",
        "lead:big",
        "--at",
        "2031-01-01T00:00:00Z",
    ];
    assert_eq!(text(site.run(&flags).await), "mobile de big later");
    assert_eq!(site.run(&["render", "/", "--device", "fridge"]).await.status.code(), Some(2));
}

#[tokio::test]
async fn a_path_without_a_page_exits_with_1() {
    let site = TestSite::new().front("x");
    let output = site.run(&["render", "/nowhere"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert_eq!(site.run(&["render", "/a/../b"]).await.status.code(), Some(2));
}

#[tokio::test]
async fn the_catalogue_lists_nanoservices_and_the_pages_that_use_them() {
    let site = TestSite::new()
        .front("<fragment name=weather version=^1 />")
        .file("layouts/b.html", "+++\nroute = [\"/b\", \"/c\"]\n+++\n<fragment name=weather />")
        .file("fragments/w1/fragment.toml", "name = \"weather\"\nversion = \"1.2.0\"\nowner = \"team-weather\"\nendpoint = \"http://127.0.0.1:1/\"\n")
        .file("fragments/w2/fragment.toml", "name = \"weather\"\nversion = \"2.0.0\"\nendpoint = \"http://127.0.0.1:2/\"\nlifecycle = \"experimental\"\n");
    insta::assert_snapshot!(String::from_utf8(site.run(&["catalog"]).await.stdout).unwrap());
    let json: serde_json::Value =
        serde_json::from_slice(&site.run(&["catalog", "--format", "json"]).await.stdout).unwrap();
    assert_eq!(json[0]["version"], "2.0.0");
    assert_eq!(json[0]["pages"], serde_json::json!(["/b", "/c"]));
    assert_eq!(json[1]["pages"], serde_json::json!(["/"]));
}

#[test]
fn a_closed_standard_output_is_not_an_error() {
    let site = TestSite::new().front(&"x".repeat(500_000));
    let command = format!(
        "{} --site {} render / | true; echo ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_pasteup"),
        site.path().display()
    );
    let output = std::process::Command::new("bash").args(["-c", &command]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "0\n");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
