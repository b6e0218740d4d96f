//! The site's key and the admin token: where they come from, and what outlives a process.

use std::os::unix::fs::PermissionsExt as _;

use http::StatusCode;

use crate::support::compositor::lazy_addresses;
use crate::support::process::{Server, TestSite, client};
use crate::support::service::RawService;

const KEY: &str = "0123456789abcdef0123456789abcdef";

async fn site() -> (RawService, TestSite) {
    let service = RawService::html(std::time::Duration::ZERO, "Cache-Control: max-age=60\r\n", "<p>late</p>").await;
    let site = TestSite::new().front("<fragment name=a load=lazy data-x=1 />").service("a", service.address);
    (service, site)
}

async fn lazy(server: &Server) -> String {
    lazy_addresses(&server.text("/").await).pop().expect("a lazy part")
}

fn mode(site: &TestSite, path: &str) -> u32 {
    std::fs::metadata(site.path().join(path)).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn pages_in_caches_keep_working_after_a_restart() {
    let (_service, site) = site().await;
    let mut server = site.serve().await;
    let (address, token) = (lazy(&server).await, crate::explain::token(&server).await);
    server.process.kill().await;
    assert_eq!((mode(&site, ".pasteup"), mode(&site, ".pasteup/key")), (0o700, 0o600));
    let again = site.serve().await;
    assert_eq!(again.text(&address).await, "<p>late</p>");
    let entrance = again.get(&format!("/_pasteup/debug?token={token}")).await;
    assert_eq!(entrance.status(), StatusCode::SEE_OTHER, "a debug token outlives the process, too");
    std::fs::remove_dir_all(site.path().join(".pasteup")).unwrap();
    let other = site.serve().await;
    assert_eq!(other.get(&address).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(other.get(&format!("/_pasteup/debug?token={token}")).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn compositors_with_the_same_key_accept_what_the_others_made() {
    let (_service, site) = site().await;
    let replica = site.copy();
    replica.write("secret", &format!("{KEY}\n"));
    replica.write("pasteup.toml", "[server]\nkey = \"file:secret\"\n");
    let first = site.serve_with(&[("PASTEUP_SERVER__KEY", KEY)]).await;
    let second = replica.serve().await;
    let (address, token) = (lazy(&first).await, crate::explain::token(&first).await);
    assert_eq!(lazy(&second).await, address);
    assert_eq!(second.text(&address).await, "<p>late</p>");
    assert_eq!(second.get(&format!("/_pasteup/debug?token={token}")).await.status(), StatusCode::SEE_OTHER);
    assert!(!site.path().join(".pasteup/key").exists(), "no key has to be kept");
}

#[tokio::test]
async fn only_a_server_makes_a_state_folder() {
    let (_service, site) = site().await;
    site.write("pasteup.toml", "[server]\nadmin_token = \"generate\"\n");
    let purge = ["purge", "a", "--admin", "127.0.0.1:1"];
    for command in [&["check"][..], &["render", "/"], &["explain", "/"], &["catalog"], &purge] {
        site.run(command).await;
        assert!(!site.path().join(".pasteup").exists(), "{command:?}");
    }
    let server = site.serve_with(&[("PASTEUP_SERVER__KEY", "")]).await;
    let rendered = String::from_utf8(site.run(&["render", "/"]).await.stdout).unwrap();
    assert_eq!(lazy_addresses(&rendered), [lazy(&server).await], "what is rendered is what is served");
}

#[tokio::test]
async fn a_state_folder_that_cannot_be_written_stops_nothing() {
    let (_service, site) = site().await;
    site.write("pasteup.toml", "[server]\nstate = \"file/state\"\n");
    site.write("file", "");
    let mut server = site.serve().await;
    assert_eq!(server.text(&lazy(&server).await).await, "<p>late</p>");
    let log = server.process.output();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("key")).collect();
    let [line] = lines[..] else { panic!("{log}") };
    assert!(line.contains("cannot be kept") && line.contains("file/state/key"), "{line}");
}

#[tokio::test]
async fn a_generated_admin_token_is_shown_once() {
    let site = TestSite::new().front("x").file("pasteup.toml", "[server]\nadmin_token = \"generate\"\n");
    let mut server = site.serve().await;
    let link = server.process.line("log in at ").await;
    let (token, address) = link.strip_prefix("http://admin:").unwrap().split_once('@').unwrap();
    assert_eq!(format!("http://{address}"), format!("{}/", server.admin));
    assert!(token.len() >= 32, "{token}");
    let console = async |server: &Server, token: &str| {
        let request = client().get(format!("{}/", server.admin)).basic_auth("admin", Some(token));
        request.send().await.unwrap().status()
    };
    assert_eq!(console(&server, token).await, StatusCode::OK);
    assert_eq!(console(&server, "guessed-guessed-guessed").await, StatusCode::UNAUTHORIZED);
    assert_eq!(mode(&site, ".pasteup/admin-token"), 0o600);
    server.process.terminate();
    server.process.exit_status().await;
    let mut again = site.serve().await;
    assert_eq!(console(&again, token).await, StatusCode::OK, "it is the same after a restart");
    let purge = site.run(&["purge", "--all", "--admin", again.admin.strip_prefix("http://").unwrap()]).await;
    assert!(purge.status.success(), "commands use it, too: {purge:?}");
    again.process.terminate();
    again.process.exit_status().await;
    assert!(!again.process.output().contains(token), "it is not shown again");
}
