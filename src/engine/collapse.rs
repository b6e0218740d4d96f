//! One flight a key: who comes while it is in the air waits for it.
//! A flight is a task of its own: it survives the request that started it.
//!
//! Not moka's `get_with`: there all callers hang on a leader that nobody polls.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::page::request::key::Key;
use crate::page::source::map::Map;

type Flying<T> = Mutex<Map<Key, watch::Receiver<Option<T>>>>;

/// The flights in the air.
pub(super) struct Flights<T> {
    flying: Arc<Flying<T>>,
    tasks: TaskTracker,
}

/// A seat in a flight.
pub(super) struct Flight<T> {
    /// Whether this caller started it.
    pub(super) leader: bool,
    landed: watch::Receiver<Option<T>>,
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self { flying: Arc::default(), tasks: TaskTracker::new() }
    }
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// Joins the flight for a key, or starts it.
    pub(super) fn join<F>(&self, key: &Key, start: impl FnOnce() -> F) -> Flight<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut flying = self.flying.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(landed) = flying.get(key) {
            return Flight { leader: false, landed: landed.clone() };
        }
        let (land, landed) = watch::channel(None);
        flying.insert(key.clone(), landed.clone());
        drop(flying);
        let takeoff = Takeoff { flying: Arc::clone(&self.flying), key: key.clone() };
        let flight = start();
        self.tasks.spawn(async move {
            let value = flight.await;
            // Off the board first: who comes from now on finds the store filled, or flies anew.
            drop(takeoff);
            land.send_replace(Some(value));
        });
        Flight { leader: true, landed }
    }

    /// How many flights are in the air.
    pub(super) fn len(&self) -> usize {
        self.flying.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until all have landed.
    pub(super) async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }
}

impl<T: Clone> Flight<T> {
    /// Waits for it to land. `None` where it crashed.
    pub(super) async fn landed(mut self) -> Option<T> {
        self.landed.wait_for(Option::is_some).await.ok()?.clone()
    }
}

/// Takes a flight off the board when it is dropped, be it by a panic.
struct Takeoff<T> {
    flying: Arc<Flying<T>>,
    key: Key,
}

impl<T> Drop for Takeoff<T> {
    fn drop(&mut self) {
        self.flying.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
