//! Reloading: files are read again when they change; an error keeps the last good version and is reported once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::process::{TestSite, client};
use crate::support::service::RawService;

#[tokio::test]
async fn layouts_manifests_and_settings_are_reloaded() {
    let service = RawService::html(Duration::from_millis(400), "", "slow").await;
    let site = TestSite::new().front("one");
    let mut server = site.serve().await;
    assert_eq!(server.text("/").await, "one");
    site.write("layouts/front.html", "+++\nroute = [\"/\", \"/two\"]\n+++\ntwo");
    server.wait_for_text("/two", "two").await;
    let site = site.service("a", service.address);
    site.write("layouts/front.html", "+++\nroute = \"/\"\n+++\n<fragment name=a>late</fragment>");
    server.wait_for_text("/", "slow").await;
    server.wait_for_404("/two").await;
    site.write("pasteup.toml", "[fragment]\ntimeout = \"50ms\"\n");
    server.wait_for_text("/", "late").await;
    std::fs::remove_file(site.path().join("layouts/front.html")).unwrap();
    server.wait_for_404("/").await;
}

#[tokio::test]
async fn files_that_an_editor_replaces_are_reloaded() {
    let site = TestSite::new().front("one");
    let mut server = site.serve().await;
    for text in ["two", "three"] {
        site.write("layouts/.front.html.swp", &format!("+++\nroute = \"/\"\n+++\n{text}"));
        std::fs::rename(site.path().join("layouts/.front.html.swp"), site.path().join("layouts/front.html")).unwrap();
        server.wait_for_text("/", text).await;
    }
}

#[tokio::test]
async fn a_bad_save_under_load_loses_no_request_and_changes_no_page() {
    let site = TestSite::new().front("good").file("layouts/other.html", "+++\nroute = \"/other\"\n+++\nother");
    let mut server = site.serve().await;
    let (stop, wrong, requests) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, wrong, requests, url) =
                (Arc::clone(&stop), Arc::clone(&wrong), Arc::clone(&requests), server.pages.clone());
            tokio::spawn(async move {
                let client = client();
                while !stop.load(Ordering::Relaxed) {
                    let is_complete = match client.get(&url).send().await {
                        Ok(response) => {
                            response.status() == 200 && response.text().await.is_ok_and(|text| text == "good")
                        }
                        Err(_) => false,
                    };
                    requests.fetch_add(1, Ordering::Relaxed);
                    if !is_complete {
                        wrong.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    site.write("layouts/front.html", "+++\nroute = \"/\"\n+++\nbad <fragment name=nobody>");
    server.process.line("error[").await;
    server.process.line("keeping the last good version").await;
    server.process.line("reloaded").await;
    // After another change, the error is not reported again, and other files go live.
    site.write("layouts/other.html", "+++\nroute = \"/other\"\n+++\nchanged");
    server.wait_for_text("/other", "changed").await;
    let before = requests.load(Ordering::Relaxed);
    while requests.load(Ordering::Relaxed) < before + 50 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(wrong.load(Ordering::Relaxed), 0);
    assert_eq!(server.process.output().matches("no nanoservice is called").count(), 1);
    site.write("layouts/front.html", "+++\nroute = \"/\"\n+++\nbetter");
    server.wait_for_text("/", "better").await;
}

#[tokio::test]
async fn a_bad_manifest_or_setting_keeps_the_last_good_one() {
    let service = RawService::html(Duration::ZERO, "", "here").await;
    let site = TestSite::new().front("<fragment name=a>away</fragment>").service("a", service.address);
    let mut server = site.serve().await;
    assert_eq!(server.text("/").await, "here");
    let good = std::fs::read_to_string(site.path().join("fragments/a/fragment.toml")).unwrap();
    site.write("fragments/a/fragment.toml", "name = \"a\"\nversion = \"one\"\n");
    server.process.line("reloaded: 2 errors").await;
    assert_eq!(server.text("/").await, "here");
    site.write("fragments/a/fragment.toml", &good);
    server.process.line("reloaded: no problems left").await;
    site.write("pasteup.toml", "[fragment]\ntimeout = 1\n");
    server.process.line("reloaded: 1 error").await;
    assert_eq!(server.text("/").await, "here");
}

#[tokio::test]
async fn folders_that_are_created_or_replaced_are_reloaded() {
    let service = RawService::html(Duration::ZERO, "", "here").await;
    let site = TestSite::new().front("one");
    std::fs::remove_dir(site.path().join("fragments")).unwrap();
    let mut server = site.serve().await;
    let site = site.service("a", service.address);
    server.process.line("reloaded").await;
    site.write("next/front.html", "+++\nroute = \"/\"\n+++\n<fragment name=a />");
    std::fs::rename(site.path().join("layouts"), site.path().join("previous")).unwrap();
    std::fs::rename(site.path().join("next"), site.path().join("layouts")).unwrap();
    server.wait_for_text("/", "here").await;
    site.write("layouts/front.html", "+++\nroute = \"/\"\n+++\nthree");
    server.wait_for_text("/", "three").await;
}

#[tokio::test]
async fn a_symbolic_link_that_changes_its_target_is_reloaded() {
    use std::os::unix::fs::symlink;
    let site = TestSite::new();
    for version in ["..one", "..two"] {
        site.write(&format!("layouts/{version}/front.html"), &format!("+++\nroute = \"/\"\n+++\n{version}"));
    }
    let layouts = site.path().join("layouts");
    symlink("..one", layouts.join("..data")).unwrap();
    symlink("..data/front.html", layouts.join("front.html")).unwrap();
    let mut server = site.serve().await;
    assert_eq!(server.text("/").await, "..one");
    symlink("..two", layouts.join("..next")).unwrap();
    std::fs::rename(layouts.join("..next"), layouts.join("..data")).unwrap();
    server.wait_for_text("/", "..two").await;
}

#[tokio::test]
async fn a_removed_folder_and_an_emptied_page_keep_their_last_good_state() {
    let site = TestSite::new().front("one").file("layouts/s/b.html", "+++\nroute = \"/b\"\n+++\nb");
    let mut server = site.serve().await;
    site.write("layouts/s/b.html", "");
    server.process.line("was a page before").await;
    server.process.line("reloaded").await;
    assert_eq!(server.text("/b").await, "b");
    std::fs::rename(site.path().join("layouts"), site.path().join("away")).unwrap();
    server.process.line("cannot be read").await;
    server.process.line("reloaded").await;
    assert_eq!((server.text("/").await, server.text("/b").await), ("one".into(), "b".into()));
    site.write("away/front.html", "+++\nroute = \"/\"\n+++\ntwo");
    std::fs::rename(site.path().join("away"), site.path().join("layouts")).unwrap();
    server.wait_for_text("/", "two").await;
    std::fs::remove_file(site.path().join("layouts/s/b.html")).unwrap();
    server.wait_for_404("/b").await;
}

#[tokio::test]
async fn a_layout_that_is_too_deep_does_not_end_the_server() {
    let service =
        RawService::start(Duration::ZERO, "HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    let nested = |count: usize| {
        format!("+++\nroute = \"/\"\n+++\n{}x{}", "<fragment name=a>".repeat(count), "</fragment>".repeat(count))
    };
    let site = TestSite::new().front("one").service("a", service.address);
    let mut server = site.serve().await;
    site.write("layouts/front.html", &nested(64));
    server.wait_for_text("/", "x").await;
    site.write("layouts/front.html", &nested(20_000));
    server.process.line("is nested in 64 other elements").await;
    server.process.line("reloaded").await;
    assert_eq!(server.text("/").await, "x");
}
