//! Data that is read when it is due, and held in between. When a re-read fails, the last good
//! copy is served and the failure is logged; only where there never was one is it an error.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::place::{LoadError, Stamp};
use crate::{BoxError, Place, explain};

/// How long what was read is held, unless a file has changed before.
const HOLD: Duration = Duration::from_secs(60);
/// How long a failure is held: short, but a source that is down is not asked by every reader.
const HOLD_FAILURE: Duration = Duration::from_secs(5);

type Parse<T> = fn(&[u8]) -> Result<T, BoxError>;
type Reading<T> = Result<Arc<T>, Arc<SourceError>>;

/// Parsed data from one place. Clones share what is held.
#[derive(Debug)]
pub struct Source<T> {
    inner: Arc<Inner<T>>,
}

/// Why there is no data, not even old data.
#[derive(Debug, thiserror::Error)]
#[error("{place} gave no data")]
pub struct SourceError {
    place: String,
    missing: bool,
    #[source]
    cause: BoxError,
}

#[derive(Debug)]
struct Inner<T> {
    place: Place,
    parse: Parse<T>,
    held: Mutex<Held<T>>,
    /// Held while reading, so that many readers cause one read.
    reading: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct Held<T> {
    good: Option<Arc<T>>,
    /// The last attempt, good or not: when, on what state of the file, and how it failed.
    last: Option<(Instant, Option<Stamp>, Option<Arc<SourceError>>)>,
}

impl SourceError {
    /// Whether the place itself does not exist, rather than being unreadable or broken.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.missing
    }
}

impl<T> Clone for Source<T> {
    fn clone(&self) -> Self {
        let inner = Arc::clone(&self.inner);
        Self { inner }
    }
}

impl<T: Send + Sync + 'static> Source<T> {
    /// Nothing is read yet.
    pub fn new(place: Place, parse: Parse<T>) -> Self {
        let held = Mutex::new(Held { good: None, last: None });
        let reading = Arc::default();
        Self { inner: Arc::new(Inner { place, parse, held, reading }) }
    }

    /// The data, read now if it is due.
    pub async fn read(&self) -> Reading<T> {
        let stamp = self.inner.place.stamp().await;
        let old = match self.inner.look(stamp, Instant::now()) {
            Look::Held(reading) => return reading,
            Look::Due(old) => old,
        };
        let inner = Arc::clone(&self.inner);
        // In a task of its own: when the asker hangs up, the read goes on for the next one.
        if let (Place::Url(..), Some(old)) = (&self.inner.place, old) {
            // An old copy at once is worth more than a new one after a slow fetch.
            if let Ok(guard) = Arc::clone(&inner.reading).try_lock_owned() {
                tokio::spawn(async move {
                    // Logged there; who asked has the old copy.
                    let _ = inner.refresh(stamp).await;
                    drop(guard);
                });
            }
            return Ok(old);
        }
        let read = tokio::spawn(async move {
            let _guard = inner.reading.lock().await;
            if let Look::Held(reading) = inner.look(stamp, Instant::now()) {
                return reading;
            }
            inner.refresh(stamp).await
        });
        read.await.unwrap_or_else(|cause| {
            let place = &self.inner.place;
            Err(Arc::new(SourceError::new(place, false, cause.into())))
        })
    }
}

enum Look<T> {
    Held(Reading<T>),
    Due(Option<Arc<T>>),
}

impl<T> Inner<T> {
    fn look(&self, stamp: Option<Stamp>, now: Instant) -> Look<T> {
        let held = self.held();
        let Some((at, last_stamp, failure)) = &held.last else {
            return Look::Due(None);
        };
        let hold = match failure {
            Some(_) => HOLD_FAILURE,
            None => HOLD,
        };
        let unchanged = *last_stamp == stamp && now.saturating_duration_since(*at) < hold;
        match (&held.good, failure) {
            _ if !unchanged => Look::Due(held.good.clone()),
            (Some(good), _) => Look::Held(Ok(Arc::clone(good))),
            (None, Some(failure)) => Look::Held(Err(Arc::clone(failure))),
            (None, None) => Look::Due(None),
        }
    }

    async fn refresh(&self, stamp: Option<Stamp>) -> Reading<T> {
        let place = &self.place;
        let read = match place.load().await {
            Ok(bytes) => (self.parse)(&bytes).map_err(|cause| (false, cause)),
            Err(cause) => Err((matches!(cause, LoadError::Missing(_)), cause.into())),
        };
        let read = read.map_err(|(missing, cause)| SourceError::new(place, missing, cause));
        let mut held = self.held();
        let failure = match read {
            Ok(data) => {
                held.good = Some(Arc::new(data));
                tracing::debug!(source = %place, "read");
                None
            }
            Err(failure) => {
                let kept = held.good.is_some();
                // What is missing may only be what a reader made up, so it is no error yet.
                match failure.missing {
                    true => tracing::warn!(kept, "{}", explain(&failure)),
                    false => tracing::error!(kept, "{}", explain(&failure)),
                }
                Some(Arc::new(failure))
            }
        };
        held.last = Some((Instant::now(), stamp, failure.clone()));
        match (&held.good, failure) {
            (None, Some(failure)) => Err(failure),
            (Some(good), _) => Ok(Arc::clone(good)),
            (None, None) => unreachable!("a read that did not fail was kept just above"),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held<T>> {
        // What a panicking holder left behind is whole: every change is one assignment.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SourceError {
    fn new(place: &Place, missing: bool, cause: BoxError) -> Self {
        let place = place.to_string();
        Self { place, missing, cause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(bytes: &[u8]) -> Result<i32, BoxError> {
        Ok(std::str::from_utf8(bytes)?.trim().parse::<i32>()?)
    }

    fn file(name: &str) -> (std::path::PathBuf, Source<i32>) {
        let path = std::env::temp_dir().join(format!("fragment-kit-{name}-{}", std::process::id()));
        (path.clone(), Source::new(Place::File(path), number))
    }

    #[tokio::test]
    async fn a_changed_file_is_read_again_and_a_broken_one_keeps_the_last_good_copy() {
        let (path, source) = file("changed");
        std::fs::write(&path, "1").expect("a temporary file");
        assert_eq!(source.read().await.ok().as_deref(), Some(&1));
        std::fs::write(&path, "22").expect("a temporary file");
        assert_eq!(source.read().await.ok().as_deref(), Some(&22));
        std::fs::write(&path, "oops").expect("a temporary file");
        assert_eq!(source.read().await.ok().as_deref(), Some(&22));
        std::fs::remove_file(&path).expect("a temporary file");
        assert_eq!(source.read().await.ok().as_deref(), Some(&22));
    }

    #[tokio::test]
    async fn a_missing_file_is_an_error_until_it_is_there() {
        let (path, source) = file("missing");
        let failure = source.read().await.expect_err("there is no file yet");
        assert!(failure.is_missing());
        assert!(explain(&*failure).contains("there is nothing there"));
        std::fs::write(&path, "3").expect("a temporary file");
        assert_eq!(source.read().await.ok().as_deref(), Some(&3));
        std::fs::remove_file(&path).expect("a temporary file");
    }

    #[tokio::test]
    async fn broken_data_names_the_place_and_the_cause() {
        let source = Source::new(Place::BuiltIn("x1"), number);
        let failure = source.read().await.expect_err("not a number");
        assert!(!failure.is_missing());
        let told = explain(&*failure);
        assert_eq!(told, "the built-in sample gave no data: invalid digit found in string");
    }

    #[tokio::test]
    async fn what_is_held_is_due_after_a_while() {
        let source = Source::new(Place::BuiltIn("4"), number);
        assert!(source.read().await.is_ok());
        let now = Instant::now();
        assert!(matches!(source.inner.look(None, now), Look::Held(Ok(_))));
        let later = now + HOLD;
        assert!(matches!(source.inner.look(None, later), Look::Due(Some(_))));
    }
}
