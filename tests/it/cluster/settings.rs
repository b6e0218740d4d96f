//! The settings of several replicas, and what is said about them.

use crate::support::process::TestSite;

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
