//! Reloading: files are read again when they change; an error keeps the last good version and is reported once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::process::{Process, TestSite, client, until};
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

/// Removes a folder with everything in it, and writes it again. The new folder often has the inode of the old one.
fn replace(site: &TestSite, folder: &str, file: &str, text: &str) {
    std::fs::remove_dir_all(site.path().join(folder)).unwrap();
    site.write(file, text);
}

#[tokio::test]
async fn a_folder_that_is_removed_and_written_again_is_watched_as_before() {
    let service = RawService::html(Duration::ZERO, "", "here").await;
    let site = TestSite::new().front("none").service("a", service.address);
    let mut server = site.serve().await;
    let manifest = |name: &str, version: &str| {
        format!("name = \"{name}\"\nversion = \"{version}\"\nendpoint = \"http://{}/a\"\n", service.address)
    };
    let page = |text: &str| format!("+++\nroute = \"/\"\n+++\n{text}");
    for round in 0..3 {
        replace(&site, "layouts", "layouts/front.html", &page(&format!("replaced {round}")));
        server.wait_for_text("/", &format!("replaced {round}")).await;
        site.write("layouts/front.html", &page(&format!("changed {round}")));
        server.wait_for_text("/", &format!("changed {round}")).await;
        replace(&site, "fragments", "fragments/a/fragment.toml", &manifest("a", "1.0.0"));
        site.write("layouts/front.html", &page("<fragment name=a />"));
        server.wait_for_text("/", "here").await;
        site.write("fragments/a/fragment.toml", "name = \"a\"\nversion = 1\n");
        server.process.line("reloaded: ").await;
        site.write("fragments/a/fragment.toml", &manifest("a", "1.1.0"));
        server.process.line("no problems left").await;
    }
}

#[tokio::test]
async fn a_site_that_is_a_switched_link_is_followed() {
    use std::os::unix::fs::symlink;
    let releases = TestSite::new();
    for release in ["one", "two", "three"] {
        releases.write(&format!("{release}/layouts/front.html"), &format!("+++\nroute = \"/\"\n+++\n{release}"));
    }
    let current = releases.path().join("current");
    symlink("one", &current).unwrap();
    let mut server = releases.at(&current).serve().await;
    for (release, changed) in [("two", "changed"), ("three", "changed again")] {
        symlink(release, releases.path().join("next")).unwrap();
        std::fs::rename(releases.path().join("next"), &current).unwrap();
        server.wait_for_text("/", release).await;
        releases.write(&format!("{release}/layouts/front.html"), &format!("+++\nroute = \"/\"\n+++\n{changed}"));
        server.wait_for_text("/", changed).await;
    }
}

#[tokio::test]
async fn files_are_polled_or_not_looked_at_as_the_settings_state() {
    for (mode, is_seen) in [("poll", true), ("off", false)] {
        let site = TestSite::new().front("one");
        let mut server = site.serve_with(&[("PASTEUP_SERVER__WATCH", mode)]).await;
        assert_eq!(server.text("/").await, "one");
        site.front_now("two");
        if is_seen {
            server.wait_for_text("/", "two").await;
        } else {
            // Longer than the interval in which files are polled.
            tokio::time::sleep(Duration::from_millis(1500)).await;
            assert_eq!(server.text("/").await, "one");
        }
    }
}

#[tokio::test]
async fn where_no_watch_is_left_files_are_polled_and_that_is_logged() {
    let site = TestSite::new().front("one");
    // The limit of a user namespace of its own.
    let script = "echo 1 > /proc/sys/user/max_inotify_watches && exec \"$@\"";
    let unshare = |arguments: &[&str]| {
        let mut command = tokio::process::Command::new("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", script, "sh"]).args(arguments);
        command
    };
    if !unshare(&["true"]).output().await.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this machine allows no user namespaces");
        return;
    }
    let mut command = unshare(&[env!("CARGO_BIN_EXE_pasteup"), "--site"]);
    command.arg(site.path()).args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let mut process = Process::start(command);
    let pages = process.line("listening on ").await;
    process.line("cannot be watched").await;
    site.front_now("two");
    process.line("reloaded").await;
    let url = pages.as_str();
    until(async || client().get(url).send().await.unwrap().text().await.unwrap() == "two").await;
    assert_eq!(process.output().matches("cannot be watched").count(), 1);
}

#[tokio::test]
async fn files_are_read_again_on_sighup_and_on_request() {
    let site = TestSite::new().front("one");
    let mut server = site.serve_with(&[("PASTEUP_SERVER__WATCH", "off")]).await;
    assert_eq!(server.text("/").await, "one");
    server.process.signal("-HUP");
    server.process.line("reloaded: nothing has changed").await;
    site.front_now("two");
    server.process.signal("-HUP");
    server.wait_for_text("/", "two").await;
    site.front_now("three");
    let reload = format!("{}/api/reload", server.admin);
    assert_eq!(client().get(&reload).send().await.unwrap().status(), 405);
    let reload = async || client().post(&reload).send().await.unwrap();
    let response = reload().await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), r#"{"pages":1,"errors":0,"warnings":0}"#);
    // It responds once the files are live.
    assert_eq!(server.text("/").await, "three");
    site.front_now("<fragment name=unknown />");
    assert_eq!(reload().await.text().await.unwrap(), r#"{"pages":1,"errors":1,"warnings":0}"#);
    assert_eq!(server.text("/").await, "three");
}

#[tokio::test]
async fn changed_settings_that_need_a_restart_are_named() {
    let site = TestSite::new().front("x").file("pasteup.toml", "[page]\nbudget = \"1s\"\n");
    let mut server = site.serve().await;
    let changed =
        "[page]\nbudget = \"3s\"\ncompression = [\"gzip\"]\n[telemetry]\nslowest = 7\n[upstreams]\nprivate = true\n";
    site.write("pasteup.toml", changed);
    let named = server.process.line("changed settings take effect after a restart: ").await;
    assert_eq!(named, "[telemetry], page.compression, upstreams.private", "the budget is live at once");
}
