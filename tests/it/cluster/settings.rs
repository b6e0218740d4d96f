//! The settings of several replicas, and what is said about them.

use std::process::Stdio;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::{TcpListener, TcpStream};

use super::{KEY, Service, site, state, until_store_is};
use crate::support::process::{TestSite, until};
use crate::support::redis::Redis;

async fn check(settings: &str) -> (Option<i32>, String) {
    let site = TestSite::new().front("<p>x</p>").file("pasteup.toml", settings).file("ca.pem", "x");
    let output = site.run(&["check"]).await;
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[tokio::test]
async fn wrong_settings_are_reported_and_no_secret_is_shown() {
    for (settings, why) in [
        ("[cache]\nshared = \"redis://127.0.0.1\"\n", "`shared` needs `namespace`"),
        (
            "[cache]\nshared = \"redis://u:hush@127.0.0.1\"\nnamespace = \"a\"\n",
            "must not have a user name or password",
        ),
        ("[cache]\nshared = \"http://127.0.0.1\"\nnamespace = \"a\"\n", "not the address of a store"),
        ("[cache]\nshared = \"redis://\"\nnamespace = \"a\"\n", "not the address of a store"),
        ("[cache]\nshared = \"redis://a:0\"\nnamespace = \"a\"\n", "not the address of a store"),
        ("[cache]\nshared = \"redis://a/x\"\nnamespace = \"a\"\n", "not the address of a store"),
        ("[cache]\nshared = \"redis://a\"\nnamespace = \"a b\"\n", "must not have white space"),
        ("[cache]\nshared = \"redis://a\"\nnamespace = \"a\"\nshared_timeout = \"0s\"\n", "shared_timeout"),
        ("[cache]\nshared = \"redis://a\"\nnamespace = \"a\"\nshared_password = \"hush\"\n", "shared_password"),
        ("[cache]\nshared = \"redis://a\"\nnamespace = \"a\"\nshared_ca = \"file:ca.pem\"\n", "of no use without TLS"),
        ("[cluster]\npeers = \"https://a:1\"\n", "admin listeners speak http"),
        ("[cluster]\npeers = \"dns+http://a\"\n", "has no port"),
        ("[cluster]\npeers = \"http://a:1/x\"\n", "more than a host and a port"),
        ("[cluster]\npeers = [\"dns+http://a:1\", \"http://b:1\"]\n", "stands alone"),
        ("[cluster]\nname = \"\"\n", "`name`"),
    ] {
        let (code, text) = check(settings).await;
        assert!(code == Some(1) && text.contains(why) && !text.contains("hush"), "{settings}\n{text}");
    }
}

#[tokio::test]
async fn a_missing_key_is_a_warning_where_replicas_need_one() {
    for settings in
        ["[cache]\nshared = \"redis://a\"\nnamespace = \"a\"\n", "[cluster]\npeers = \"dns+http://a:9090\"\n"]
    {
        let (code, text) = check(settings).await;
        assert!(
            code == Some(0) && text.contains("no-key") && text.contains("`server.key` is not"),
            "{settings}\n{text}"
        );
    }
    let (code, text) = check("[cluster]\nname = \"a\"\n").await;
    assert!(code == Some(0) && !text.contains("no-key"), "{text}");
}

#[tokio::test]
async fn a_replica_logs_in_with_a_user_and_a_password_that_nobody_sees() {
    let user = ["--user", "pasteup", "on", ">hush-hush", "~test:*", "&*", "+@all"];
    let redis = Redis::start_with(&[&user[..], &["--requirepass", "for nobody"]].concat()).await;
    let (_service, address) = Service::start(Duration::ZERO).await;
    let more = "shared_user = \"pasteup\"\nshared_password = \"env:REDIS_PASSWORD\"\n";
    let site = site(redis.port, address, "max-age=100", more);
    let start = async |password| site.serve_with(&[("SITE_KEY", KEY), ("REDIS_PASSWORD", password)]).await;
    until_store_is(&start("hush-hush").await, "up").await;
    let mut wrong = start("hush-hussh").await;
    until(async || state(&wrong).await["store"]["last_error"].is_string()).await;
    let state = state(&wrong).await;
    assert_eq!(state["store"]["state"], "down");
    assert!(!state.to_string().contains("hush-hu") && !wrong.process.output().contains("hush-hu"), "{state}");
}

#[tokio::test]
async fn tls_needs_a_certificate_of_the_operators_authority() {
    let authority = || {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let (ours, foreign) = (authority(), authority());
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ours).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (pem, key) = (write("redis.pem", &certificate.pem()), write("redis.key", &key.serialize_pem()));
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let mut redis = tokio::process::Command::new("redis-server");
    redis.args(["--port", "0", "--tls-port", &port.to_string(), "--tls-auth-clients", "no", "--save", ""]);
    redis.args(["--dir".as_ref(), folder.path(), "--tls-cert-file".as_ref(), &pem, "--tls-key-file".as_ref(), &key]);
    redis.arg("--tls-ca-cert-file").arg(write("ca.pem", &ours.pem()));
    let _running = redis.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    until(async || TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
    let (_service, address) = Service::start(Duration::ZERO).await;
    for (authority, wanted) in [(&ours, "up"), (&foreign, "down")] {
        let site = site(port, address, "max-age=100", "shared_ca = \"file:ca.pem\"\n").file("ca.pem", &authority.pem());
        let settings = std::fs::read_to_string(site.path().join("pasteup.toml")).unwrap();
        let site = site.file("pasteup.toml", &settings.replace("redis://", "rediss://"));
        let server = site.serve_with(&[("SITE_KEY", KEY)]).await;
        until(async || wanted == "up" || state(&server).await["store"]["last_error"].is_string()).await;
        until_store_is(&server, wanted).await;
    }
}
