//! Checks the built service against the contract over HTTP, with its sample and with recorded data.

use fragment_kit::testing::{Running, check_manifest, recorded};

const FOLDER: &str = env!("CARGO_MANIFEST_DIR");
const PROGRAM: &str = env!("CARGO_BIN_EXE_headlines");

fn start(source: &str) -> Running {
    Running::start(PROGRAM, &[("HEADLINES_SOURCE", source)])
}

#[test]
fn the_sample_is_served_in_every_view() {
    let service = start("");
    assert_eq!(service.get("/healthz").body, "ok");
    check_manifest(FOLDER, &service);
    for (view, marks) in [("lead", "hl-top"), ("list", "hl-list"), ("brief", "hl-briefs")] {
        let reply = service.get(&format!("/headlines?view={view}&heading=3&limit=5"));
        reply.expect_fragment();
        assert!(reply.body.contains(marks) && reply.body.contains("<h3 "));
        assert!(!reply.body.contains("<h2"));
        assert_eq!(reply.body.matches("<time ").count(), 5);
    }
    let business = service.get("/headlines?section=business");
    assert_eq!(business.header("surrogate-key"), "headlines section-business");
    assert!(business.body.contains(">Business</h2>"));
}

#[test]
fn a_list_continues_where_another_ends() {
    let service = start("");
    let all = service.get("/headlines?view=brief&limit=14").body;
    let rest = service.get("/headlines?view=brief&skip=4").body;
    assert_eq!(all.matches("<li ").count(), 14);
    assert_eq!(rest.matches("<li ").count(), 10);
    assert_eq!(service.get("/headlines?skip=14").status, 204);
}

#[test]
fn invalid_parameters_are_refused() {
    let service = start("");
    for query in ["limit=0", "limit=51", "limit=ten", "skip=-1", "view=grid", "heading=1", "sort=up"] {
        let reply = service.get(&format!("/headlines?{query}"));
        reply.expect_problem(400);
    }
    let reply = service.get("/headlines?limit=51");
    assert!(reply.body.contains("limit") && reply.body.contains("51 is not from 1 to 50"));
    service.get("/headlines?section=nowhere").expect_problem(404);
    service.get("/nowhere").expect_problem(404);
}

#[test]
fn a_client_that_has_it_gets_a_304() {
    let service = start("");
    let tag = service.get("/headlines").header("etag").to_owned();
    let again = service.get_with("/headlines", &format!("If-None-Match: {tag}\r\n"));
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    let other = service.get_with("/headlines?limit=1", &format!("If-None-Match: {tag}\r\n"));
    other.expect_fragment();
}

#[test]
fn bad_data_is_a_503() {
    let broken = std::env::temp_dir().join(format!("headlines-{}.xml", std::process::id()));
    std::fs::write(&broken, "<feed xmlns=\"http://www.w3.org/2005/Atom\"><entry><title>X").expect("a file");
    let path = broken.to_str().expect("a UTF-8 path");
    for source in [path, "/nowhere/at/all.xml", "http://127.0.0.1:9/feed"] {
        let service = start(source);
        service.get("/headlines").expect_problem(503);
        service.get("/headlines").expect_problem(503);
        assert_eq!(service.get("/healthz").status, 200);
    }
    // The parameters are checked first: an error in a layout is not the fault of the source.
    start(path).get("/headlines?limit=0").expect_problem(400);
    std::fs::remove_file(&broken).expect("a file");
}

#[test]
fn every_recorded_post_is_served() {
    let Some(path) = recorded(FOLDER, "headlines/rust-blog.atom.xml") else {
        return;
    };
    let service = start(path.to_str().expect("a UTF-8 path"));
    let mut links = std::collections::BTreeSet::new();
    for skip in (0..300).step_by(50) {
        let reply = service.get(&format!("/headlines?limit=50&skip={skip}"));
        reply.expect_fragment();
        let found = reply.body.split("<a href=\"").skip(1);
        links.extend(found.filter_map(|rest| rest.split('"').next().map(str::to_owned)));
    }
    assert_eq!(links.len(), 300);
    assert_eq!(service.get("/headlines?skip=300").status, 204);
    service.get("/headlines?section=news").expect_problem(404);
}

#[test]
fn it_reports_its_health_and_stops_on_a_signal() {
    let service = start("");
    let health = |port: &str| {
        let mut command = std::process::Command::new(PROGRAM);
        let status = command.arg("--health").env("PORT", port).status();
        status.expect("the service starts").success()
    };
    let port = service.port().to_owned();
    assert!(health(&port));
    assert!(service.stop());
    assert!(!health(&port));
}
