//! Collapses concurrent fetches of one key: the first caller starts a task, and the others wait for its result.
//! The task outlives the request that started it; if it panics, those who wait get no result.
//!
//! Not moka's `get_with`: there all callers wait for a leader that is polled only as long as its own request lives.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::page::request::key::Key;
use crate::page::source::map::Map;

type InFlight<T> = Mutex<Map<Key, watch::Receiver<Option<T>>>>;

/// The tasks in flight, at most one per key.
pub(super) struct Collapser<T> {
    in_flight: Arc<InFlight<T>>,
    tasks: TaskTracker,
}

/// A caller's handle to a task in flight.
pub(super) struct Waiter<T> {
    /// Whether this caller started the task.
    pub(super) is_leader: bool,
    result: watch::Receiver<Option<T>>,
}

impl<T> Default for Collapser<T> {
    fn default() -> Self {
        Self { in_flight: Arc::default(), tasks: TaskTracker::new() }
    }
}

impl<T: Clone + Send + Sync + 'static> Collapser<T> {
    /// Joins the task for a key, or starts it.
    pub(super) fn join_or_start<F>(&self, key: &Key, start: impl FnOnce() -> F) -> Waiter<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(result) = in_flight.get(key) {
            return Waiter { is_leader: false, result: result.clone() };
        }
        let (sender, result) = watch::channel(None);
        in_flight.insert(key.clone(), result.clone());
        drop(in_flight);
        let registration = Registration { in_flight: Arc::clone(&self.in_flight), key: key.clone() };
        let task = start();
        self.tasks.spawn(async move {
            let value = task.await;
            // Deregistered before the result is sent: later callers find the response in the store, or start a new task.
            drop(registration);
            sender.send_replace(Some(value));
        });
        Waiter { is_leader: true, result }
    }

    /// The number of tasks in flight.
    pub(super) fn len(&self) -> usize {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until all tasks have ended.
    pub(super) async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }
}

impl<T: Clone> Waiter<T> {
    /// Waits for the result. `None`: the task panicked.
    pub(super) async fn wait(mut self) -> Option<T> {
        self.result.wait_for(Option::is_some).await.ok()?.clone()
    }
}

/// Deregisters a task when it is dropped, even by a panic.
struct Registration<T> {
    in_flight: Arc<InFlight<T>>,
    key: Key,
}

impl<T> Drop for Registration<T> {
    fn drop(&mut self) {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
