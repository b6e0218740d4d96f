//! Rollouts that several replicas decide together, in the shared store.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::KEY;
use crate::rollouts::{Service, act, reload, rollouts, views};
use crate::support::process::{Server, TestSite, until};
use crate::support::redis::Redis;

/// The site of a service, on which the old version is live.
fn site(service: &Service, redis: &Redis) -> TestSite {
    service.site().file(
        "pasteup.toml",
        &format!(
            "[server]\nwatch = \"off\"\nkey = \"env:SITE_KEY\"\n[page]\nstream = false\n\
             [cache]\nshared = \"redis://127.0.0.1:{}\"\nnamespace = \"test\"\n",
            redis.port
        ),
    )
}

/// Starts a replica, which keeps its state for itself.
async fn start(site: &TestSite, name: &str) -> Server {
    let state = format!(".state-{name}");
    site.serve_with(&[("SITE_KEY", KEY), ("PASTEUP_CLUSTER__NAME", name), ("PASTEUP_SERVER__STATE", &state)]).await
}

/// The only rollout that a replica knows; `null` if there is none.
async fn rollout(server: &Server) -> Value {
    rollouts(server).await[0].clone()
}

/// Waits until all replicas say the same of the rollout.
async fn until_all(servers: &[&Server], key: &str, wanted: &Value) {
    for server in servers {
        until(async || rollout(server).await[key] == *wanted).await;
    }
}

struct Fleet {
    service: Service,
    redis: Redis,
    site: TestSite,
    a: Server,
    b: Server,
    c: Server,
}

impl Fleet {
    /// Three replicas on which a new version begins.
    async fn start(rules: &str) -> Self {
        let (service, redis) = (Service::start().await, Redis::start().await);
        let site = site(&service, &redis);
        let (a, b, c) = (start(&site, "a").await, start(&site, "b").await, start(&site, "c").await);
        assert_eq!(views(&a, 3).await, (0, 0));
        redis.until_keys("test:rollouts", 1).await;
        service.add_new(&site, rules);
        let fleet = Self { service, redis, site, a, b, c };
        for server in fleet.all() {
            reload(server).await;
        }
        until_all(&fleet.all(), "state", &json!("running")).await;
        fleet
    }

    fn all(&self) -> [&Server; 3] {
        [&self.a, &self.b, &self.c]
    }
}

#[tokio::test]
async fn one_replica_has_the_readers_and_all_go_on_with_it() {
    let fleet = Fleet::start("steps = [30, 60]\ninterval = \"0s\"\nmin_requests = 10").await;
    let (new, _) = views(&fleet.a, 20).await;
    assert!(new < 20);
    // The answers of one are those of all.
    until(async || rollout(&fleet.b).await["sides"]["candidate"]["requests"] == fleet.service.asked()[1]).await;
    until(async || {
        views(&fleet.a, 5).await;
        rollouts(&fleet.a).await == json!([])
    })
    .await;
    for server in [&fleet.b, &fleet.c] {
        until(async || rollouts(server).await == json!([])).await;
        assert_eq!(views(server, 20).await, (20, 0));
    }
}

#[tokio::test]
async fn what_fails_on_one_replica_or_is_aborted_there_goes_back_on_all() {
    let fleet = Fleet::start("steps = [50]\nmin_requests = 100000").await;
    fleet.service.fails.store(true, Ordering::SeqCst);
    let (_, failed) = views(&fleet.a, 60).await;
    assert_eq!(failed, 5, "nobody waits for the store to see that it always fails");
    until_all(&fleet.all(), "state", &json!("rolled-back")).await;
    fleet.service.fails.store(false, Ordering::SeqCst);
    for server in fleet.all() {
        assert_eq!(views(server, 10).await.0, 0);
    }
    assert_eq!(act(&fleet.c, "retry").await, 200);
    until_all(&fleet.all(), "state", &json!("running")).await;
    assert_eq!(act(&fleet.b, "pause").await, 200);
    until_all(&fleet.all(), "state", &json!("paused")).await;
    assert_eq!((act(&fleet.c, "abort").await, act(&fleet.a, "promote").await), (200, 409));
    until_all(&fleet.all(), "why", &json!("somebody aborted it")).await;
    // Who starts anew, without any state, knows it before the first page.
    let d = start(&fleet.site, "d").await;
    assert_eq!((views(&d, 10).await, &rollout(&d).await["state"]), ((0, 0), &json!("aborted")));
}

#[tokio::test]
async fn without_the_store_nothing_goes_on_and_what_fails_is_held_back() {
    let mut fleet = Fleet::start("steps = [50, 90]\ninterval = \"0s\"\nmin_requests = 30").await;
    fleet.redis.kill().await;
    fleet.a.process.line("all replicas cannot decide together").await;
    until(async || {
        views(&fleet.a, 10).await;
        rollout(&fleet.a).await["waits_for"] == "the shared store, which cannot be reached"
    })
    .await;
    assert_eq!((&rollout(&fleet.a).await["step"], act(&fleet.a, "promote").await), (&json!(1), 503));
    fleet.service.fails.store(true, Ordering::SeqCst);
    views(&fleet.b, 60).await;
    let status = rollout(&fleet.b).await;
    assert_eq!((&status["state"], &status["share"]), (&json!("running"), &json!(0)));
    assert_eq!(status["why"], "held back here: all of its first 5 answers were failures");
    assert_eq!(views(&fleet.b, 20).await, (0, 0));
    assert_eq!(act(&fleet.c, "abort").await, 200, "it is shown to nobody there, and told to the others later");
    assert_eq!((views(&fleet.c, 20).await, &rollout(&fleet.c).await["share"]), ((0, 0), &json!(0)));
    // The store comes back without anything in it.
    fleet.redis.start_again().await;
    until_all(&fleet.all(), "share", &json!(0)).await;
    let state = rollout(&fleet.a).await["state"].clone();
    // If the counts of the one where it always failed come first, they have ended it.
    assert!(state == "aborted" || state == "rolled-back", "{state}");
    until_all(&fleet.all(), "state", &state).await;
    assert_eq!(views(&fleet.a, 20).await.0, 0);
}

#[tokio::test]
async fn a_new_replica_without_a_state_shows_what_the_others_show() {
    let fleet = Fleet::start("steps = [1]\ninterval = \"1h\"").await;
    let d = start(&fleet.site, "d").await;
    let status = rollout(&d).await;
    assert_eq!((&status["stable"], &status["share"]), (&json!("1.0.0"), &json!(1)));
    assert!(views(&d, 20).await.0 < 10);
    // The new files come with the first replica of a deployment, and nobody else has them yet.
    let (service, redis) = (Service::start().await, Redis::start().await);
    let old = start(&site(&service, &redis), "old").await;
    redis.until_keys("test:rollouts", 1).await;
    let new_site = site(&service, &redis);
    service.add_new(&new_site, "steps = [1]\ninterval = \"1h\"");
    let new = start(&new_site, "new").await;
    assert_eq!(rollout(&new).await["share"], 1);
    assert!(views(&new, 20).await.0 < 10);
    assert_eq!((rollouts(&old).await, views(&old, 10).await), (json!([]), (0, 0)));
}

#[tokio::test]
async fn a_torn_value_is_replaced_and_that_of_another_version_is_left_alone() {
    let mut fleet = Fleet::start("steps = [50]\ninterval = \"1h\"").await;
    views(&fleet.a, 20).await;
    let set = async |redis: &Redis, value: &str| redis.ask::<()>(&["SET", "test:rollouts", value]).await;
    let get = async |redis: &Redis| redis.ask::<String>(&["GET", "test:rollouts"]).await;
    set(&fleet.redis, "{\"format\":").await;
    until(async || get(&fleet.redis).await.contains("\"1.1.0\"")).await;
    until_all(&fleet.all(), "state", &json!("running")).await;
    let other = "{\"format\":\"pasteup rollouts 9\"}";
    set(&fleet.redis, other).await;
    for server in [&mut fleet.a, &mut fleet.b, &mut fleet.c] {
        server.process.line("run the same version of Pasteup on all replicas").await;
    }
    assert_eq!(views(&fleet.b, 10).await.1, 0);
    assert_eq!(get(&fleet.redis).await, other);
    assert_eq!(act(&fleet.a, "promote").await, 503);
}
