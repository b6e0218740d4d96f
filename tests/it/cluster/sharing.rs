//! What one replica fetched, another one does not fetch again.

use std::time::Duration;

use futures::future::join_all;

use super::{Pair, lookups, of_a, purge, replica};
use crate::support::process::{client, until};

#[tokio::test]
async fn what_one_replica_fetched_another_one_takes_from_the_store_with_its_age() {
    let pair = Pair::start("max-age=100").await;
    assert_eq!(pair.a.text("/").await, "<p>1 </p>");
    pair.redis.until_keys("test:answer:*", 1).await;
    // Two seconds of its life pass in the store.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let response = pair.b.get("/").await;
    let control = response.headers()["cache-control"].to_str().unwrap().to_owned();
    assert_eq!(response.text().await.unwrap(), "<p>1 </p>");
    assert_eq!(pair.service.requests(), 1);
    assert_eq!(lookups(&pair.b, "hit").await, 1);
    let left: u64 = control.rsplit('=').next().unwrap().parse().unwrap();
    assert!((90..=98).contains(&left), "{control}");
    // What is fresh in memory never asks the store.
    for _ in 0..5 {
        assert_eq!(pair.b.text("/").await, "<p>1 </p>");
    }
    assert_eq!(lookups(&pair.b, "hit").await + lookups(&pair.b, "miss").await, 1);
}

#[tokio::test]
async fn what_is_for_one_client_never_leaves_the_process() {
    for cache_control in ["private+max-age=100", "no-store", "no-cache"] {
        let pair = Pair::start(cache_control).await;
        assert_eq!(pair.a.text("/").await, "<p>1 </p>");
        assert_eq!(pair.b.text("/").await, "<p>2 </p>");
        assert_eq!(pair.redis.keys("test:answer:*").await, Vec::<String>::new(), "{cache_control}");
    }
}

#[tokio::test]
async fn a_key_in_the_store_does_not_show_what_a_service_is_sent() {
    let pair = Pair::start("max-age=100").await;
    let with_cookie = |who: &str| client().get(format!("{}/", pair.a.pages)).header("cookie", format!("who={who}"));
    assert_eq!(with_cookie("hush").send().await.unwrap().text().await.unwrap(), "<p>1 who=hush</p>");
    pair.redis.until_keys("test:answer:*", 1).await;
    let keys = pair.redis.keys("*").await;
    assert!(keys.iter().all(|key| key.starts_with("test:") && !key.contains("hush")), "{keys:?}");
    // Another value is another response.
    assert_eq!(with_cookie("else").send().await.unwrap().text().await.unwrap(), "<p>2 who=else</p>");
}

#[tokio::test]
async fn there_is_one_fetch_in_the_whole_fleet() {
    let pair = Pair::start_with("max-age=100", Duration::from_millis(300), "").await;
    let pages =
        (0..40).map(async |number| if number % 2 == 0 { pair.a.text("/").await } else { pair.b.text("/").await });
    for page in join_all(pages).await {
        assert_eq!(page, "<p>1 </p>");
    }
    assert_eq!(pair.service.requests(), 1);
    pair.redis.until_keys("test:lease:*", 0).await;
    // Refreshes take the same lease, and after a purge there is one fetch more.
    purge(&pair.a, of_a()).await;
    join_all((0..20).map(async |number| if number % 2 == 0 { pair.a.text("/").await } else { pair.b.text("/").await }))
        .await;
    assert_eq!(pair.service.requests(), 2);
}

#[tokio::test]
async fn those_who_wait_for_a_fetch_that_brings_nothing_to_share_ask_themselves() {
    let pair = Pair::start_with("private+max-age=9", Duration::from_millis(200), "").await;
    let pages = join_all([pair.a.text("/"), pair.b.text("/")]).await;
    assert!(pages.contains(&"<p>1 </p>".to_owned()) && pages.contains(&"<p>2 </p>".to_owned()), "{pages:?}");
}

#[tokio::test]
async fn a_response_that_was_replaced_elsewhere_is_taken_from_the_store_when_it_is_stale_here() {
    let pair = Pair::start("max-age=1+stale-while-revalidate=60").await;
    assert_eq!(pair.a.text("/").await, "<p>1 </p>");
    pair.redis.until_keys("test:answer:*", 1).await;
    assert_eq!(pair.b.text("/").await, "<p>1 </p>");
    // Each of them refreshes it once a second, but never both.
    until(async || {
        let (_, _) = (pair.a.text("/").await, pair.b.text("/").await);
        pair.service.requests() >= 4
    })
    .await;
    assert!(lookups(&pair.a, "hit").await + lookups(&pair.b, "hit").await >= 2);
}

#[tokio::test]
async fn rubbish_in_the_store_is_as_if_it_were_not_there() {
    let pair = Pair::start("max-age=100").await;
    assert_eq!(pair.a.text("/").await, "<p>1 </p>");
    pair.redis.until_keys("test:answer:*", 1).await;
    let [key] = &pair.redis.keys("test:answer:*").await[..] else { panic!("one key") };
    let _: () = pair.redis.ask(&["SETRANGE", key, "20", "rubbish"]).await;
    assert_eq!(pair.b.text("/").await, "<p>2 </p>");
    assert_eq!(lookups(&pair.b, "invalid").await, 1);
}

#[tokio::test]
async fn a_new_replica_reads_what_the_fleet_wants_most_before_it_is_ready() {
    let pair = Pair::start("max-age=100").await;
    for _ in 0..20 {
        pair.a.text("/").await;
    }
    until(async || !pair.redis.keys("test:wanted:*").await.is_empty()).await;
    let mut c = replica(&pair.site, "c").await;
    c.process.line("what is wanted most responses=1").await;
    assert_eq!(c.text("/").await, "<p>1 </p>");
    assert_eq!((pair.service.requests(), lookups(&c, "hit").await), (1, 1));
}
