//! How long one page waits for the shared store, in process and with paused time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, pending, ready};
use pasteup::engine::Shared;
use pasteup::engine::port::{Encode, Leased, SharedStore, SharedValue};
use pasteup::page::visit::context::Reader;
use tokio::time::Instant;

use crate::support::compositor::{ServedFrom, TestCompositor, after, html_cached, responds};

const TIMEOUT: Duration = Duration::from_millis(100);

/// A store in memory that falls silent when it is told to.
#[derive(Default)]
struct Store {
    values: Mutex<HashMap<String, (Bytes, Instant)>>,
    leases: Mutex<HashMap<String, String>>,
    is_silent: AtomicBool,
}

impl Store {
    fn says<T: Send + 'static>(&self, what: T) -> BoxFuture<'static, Result<T, String>> {
        if self.is_silent.load(Ordering::SeqCst) { pending().boxed() } else { ready(Ok(what)).boxed() }
    }

    fn value(&self, name: &str) -> Option<SharedValue> {
        let values = self.values.lock().unwrap();
        let (bytes, until) = values.get(name)?;
        Some(SharedValue { bytes: bytes.clone(), left: until.saturating_duration_since(Instant::now()) })
    }

    /// A replica that uses this store.
    async fn replica(self: &Arc<Self>) -> Arc<Shared> {
        let shared = Shared::new(Arc::clone(self) as _, [0; 32], TIMEOUT);
        shared.caught_up();
        shared.tick().await;
        shared
    }
}

impl SharedStore for Store {
    fn get(&self, name: &str) -> BoxFuture<'static, Result<Option<SharedValue>, String>> {
        self.says(self.value(name))
    }

    fn look(&self, name: &str) -> BoxFuture<'static, Result<(bool, Option<SharedValue>), String>> {
        self.says((self.leases.lock().unwrap().contains_key(name), self.value(name)))
    }

    fn lease(&self, name: &str, note: String, _: Duration) -> BoxFuture<'static, Result<Leased, String>> {
        let mut leases = self.leases.lock().unwrap();
        let held = leases.get(name).cloned().map(Leased::Held);
        self.says(held.unwrap_or_else(|| {
            leases.insert(name.to_owned(), note);
            Leased::Taken
        }))
    }

    fn most_wanted(&self) -> BoxFuture<'static, Result<Vec<(String, SharedValue)>, String>> {
        self.says(Vec::new())
    }

    fn put(&self, name: String, encode: Encode, useful: Duration) {
        self.values.lock().unwrap().insert(name, (encode(), Instant::now() + useful));
    }

    fn give_back(&self, name: String, note: String) {
        let mut leases = self.leases.lock().unwrap();
        assert_eq!(leases.remove(&name), Some(note), "it gives back what it took");
    }

    fn report_wanted(&self, _: Vec<(String, u64)>) {}
}

#[tokio::test(start_paused = true)]
async fn a_page_whose_personalising_fails_waits_for_the_store_only_once() {
    let store = Arc::new(Store::default());
    let page = "+++\nroute = \"/\"\n+++\n<fragment name=a /><fragment name=own><fragment name=b /></fragment>";
    let site = TestCompositor::new()
        .layout("p.html", page)
        .fragment("a", html_cached("A", "max-age=60"))
        .fragment("b", html_cached("B", "max-age=60"))
        .fragment_with("own", "context = [\"cookie:uid\"]\n", html_cached("own", "private"))
        .shared(&store.replica().await)
        .start();
    let serve_to = async |uid: &str| {
        let reader = Reader { cookies: vec![("uid".to_owned(), uid.to_owned())], ..Reader::default() };
        let (_, bytes, served_from) = site.serve("/", reader).await;
        (String::from_utf8(bytes.to_vec()).unwrap(), served_from)
    };
    for uid in ["1", "2"] {
        serve_to(uid).await;
    }
    assert_eq!(serve_to("3").await, ("Aown".to_owned(), ServedFrom::Skeleton));
    store.is_silent.store(true, Ordering::SeqCst);
    site.set_behaviour("own", responds(500, &[], ""));
    let began = Instant::now();
    assert_eq!(serve_to("4").await, ("AB".to_owned(), ServedFrom::Composition));
    let waited = began.elapsed();
    assert!(waited >= TIMEOUT && waited < TIMEOUT * 3 / 2, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_another_replicas_fetch_is_not_limited_by_the_time_for_the_store() {
    let store = Arc::new(Store::default());
    let replica = async || {
        let slow = after(TIMEOUT * 5, html_cached("A", "max-age=60"));
        TestCompositor::new()
            .layout("p.html", "+++\nroute = \"/\"\n+++\n<fragment name=a timeout=2s />")
            .fragment("a", slow)
            .shared(&store.replica().await)
            .start()
    };
    let (a, b) = (replica().await, replica().await);
    let began = Instant::now();
    let (first, second) = tokio::join!(a.serve("/", Reader::default()), b.serve("/", Reader::default()));
    assert_eq!((&first.1[..], &second.1[..]), (&b"A"[..], &b"A"[..]));
    assert_eq!(a.calls("a") + b.calls("a"), 1);
    assert!(began.elapsed() < TIMEOUT * 6, "{:?}", began.elapsed());
}
