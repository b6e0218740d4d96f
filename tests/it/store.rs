//! The memory store: bounded by bytes, with an index that never outlives its entries.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use pasteup::edge::store::memory::MemoryStore;
use pasteup::engine::port::{Hits, Store, StoredResponse};
use pasteup::page::plan::plan;
use pasteup::page::policy::cache::directives::Arrival;
use pasteup::page::policy::cache::freshness::{EntryTimes, FreshnessRules};
use pasteup::page::request::bound::BoundTemplate;
use pasteup::page::request::fetch::Fetch;
use pasteup::page::request::key::Key;
use pasteup::page::response::parsed::{Content, ParsedResponse};
use pasteup::page::site::{Files, Site, SiteLimits};
use pasteup::page::source::diagnostic::Source;
use pasteup::page::source::names::Name;
use pasteup::page::visit::context::Visit;

const MINUTE: Duration = Duration::from_mins(1);

fn fetch() -> Arc<Fetch> {
    let files = Files {
        layouts: vec![Source::new("layouts/p.html", "+++\nroute = \"/\"\n+++\n<fragment name=a />")],
        manifests: vec![Source::new("f", "name = \"a\"\nversion = \"1.0.0\"\nendpoint = \"http://a.test/\"\n")],
        ..Files::default()
    };
    let site = Site::build(&files, &SiteLimits::default(), None);
    Arc::clone(
        &plan(&BoundTemplate::bind(&site.templates[0], &Arc::default()), Visit::default(), Timestamp::UNIX_EPOCH)
            .fetches[0],
    )
}

fn stored(bytes: usize, tags: &str) -> StoredResponse {
    let mut headers = HeaderMap::new();
    headers.insert("surrogate-key", tags.parse().unwrap());
    let content = Content::Fragment(Bytes::from(vec![b'x'; bytes]).into());
    let arrival = Arrival { at: Timestamp::UNIX_EPOCH, delay: Duration::ZERO };
    StoredResponse {
        response: Arc::new(ParsedResponse::new(content, &headers, &fetch(), arrival)),
        times: EntryTimes::new(Instant::now(), 0.0),
        longest: FreshnessRules::default(),
        backoff: None,
        nanoservice: Name::from("a"),
        hits: Hits::default(),
    }
}

fn key(number: usize) -> Key {
    Key::new([number.to_string()], [])
}

#[test]
fn memory_is_bounded_by_bytes_and_the_index_follows() {
    let store = MemoryStore::new(1 << 20);
    for number in 0..1_000 {
        store.put(&key(number), stored(10_000, &format!("t{number} all")), MINUTE);
    }
    let (bytes, entries) = store.usage();
    assert!(bytes <= 1 << 20, "{bytes}");
    assert!((50..=105).contains(&entries), "{entries}");
    let count = usize::try_from(entries).unwrap();
    assert_eq!(store.tagged("all").len(), count);
    assert_eq!(store.indexed(), (count + 2, count), "each with its own tag, and `all` and `a`");
    for key in store.keys() {
        assert!(store.remove(&key));
    }
    assert_eq!(store.indexed(), (0, 0), "nothing is left behind");
}

/// So cached pages do not keep responses in memory that the store has evicted.
#[test]
fn an_evicted_response_is_reported() {
    let store = MemoryStore::new(1 << 20);
    let evicted = Arc::new(Mutex::new(HashSet::new()));
    let reported = Arc::clone(&evicted);
    store.on_change(Box::new(move |key| {
        reported.lock().unwrap().insert(key.clone());
    }));
    for number in 0..1_000 {
        store.put(&key(number), stored(10_000, "all"), MINUTE);
    }
    store.usage();
    let stored_keys: HashSet<Key> = store.keys().into_iter().collect();
    let evicted = evicted.lock().unwrap().clone();
    assert!(
        stored_keys.is_disjoint(&evicted) && stored_keys.len() + evicted.len() == 1_000,
        "{} and {}",
        stored_keys.len(),
        evicted.len()
    );
}

#[test]
fn a_replaced_response_loses_its_old_tags() {
    let store = MemoryStore::new(1 << 20);
    store.put(&key(1), stored(10, "old both"), MINUTE);
    store.put(&key(1), stored(10, "both new"), MINUTE);
    assert!(store.change(&key(1), &mut |stored| stored.times.soft_purged = Some(Instant::now())));
    let tagged = |tag| store.tagged(tag).len();
    store.usage();
    assert_eq!((tagged("old"), tagged("both"), tagged("new"), tagged("a")), (0, 1, 1, 1));
    assert!(store.remove(&key(1)));
    assert_eq!(store.indexed(), (0, 0));
    assert!(!store.remove(&key(1)));
    assert!(!store.change(&key(1), &mut |_| ()));
}

#[test]
fn a_response_without_a_lifetime_is_not_stored() {
    let store = MemoryStore::new(1 << 20);
    store.put(&key(1), stored(10, "x"), Duration::ZERO);
    assert!(store.get(&key(1)).is_none());
    assert_eq!(store.indexed(), (0, 0));
}

#[test]
fn variants_of_one_url_are_bounded() {
    let store = MemoryStore::new(1 << 30);
    for number in 0..1_500 {
        store.put(&Key::new(["url"], [number.to_string().as_str()]), stored(10, "x"), MINUTE);
    }
    store.put(&Key::new(["another"], ["1"]), stored(10, "y"), MINUTE);
    assert_eq!((store.tagged("x").len(), store.tagged("y").len()), (1_000, 1));
    let new = Key::new(["url"], ["new"]);
    store.put(&new, stored(10, "x"), MINUTE);
    assert!(store.get(&new).is_some(), "another one is removed for it: a new variant always fits");
    assert_eq!((store.tagged("x").len(), store.indexed().1), (1_000, 2));
}

/// Values of a declared cookie that clients make up must not drive out those that readers have.
#[test]
fn variants_that_are_used_stay_while_others_come_and_go() {
    let store = MemoryStore::new(1 << 30);
    let variant = |name: String| Key::new(["url"], [name.as_str()]);
    let popular: Vec<Key> = (0..20).map(|number| variant(format!("popular-{number}"))).collect();
    for key in &popular {
        store.put(key, stored(10, "x"), MINUTE);
    }
    for round in 0..3 {
        for key in &popular {
            assert!(store.get(key).is_some(), "round {round}");
        }
        // Refreshed, they are as popular as before.
        store.put(&popular[0], stored(10, "x"), MINUTE);
        for number in 0..1_100 {
            store.put(&variant(format!("{round}-{number}")), stored(10, "x"), MINUTE);
        }
        assert_eq!(store.tagged("x").len(), 1_000);
    }
    assert!(popular.iter().all(|key| store.get(key).is_some()));
}
