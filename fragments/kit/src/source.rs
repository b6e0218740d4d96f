//! Data that is read again when it is due, and cached in between.
//! If reading fails, the failure is logged and the last good copy is served; without a copy it is an error.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::place::{LoadError, Stamp};
use crate::{BoxError, Place, explain};

/// How long data is cached, unless its file changes earlier.
const LIFETIME: Duration = Duration::from_secs(60);
/// How long a failure is cached, so that not every request tries a source that is down.
const FAILURE_LIFETIME: Duration = Duration::from_secs(5);

type Parse<T> = fn(&[u8]) -> Result<T, BoxError>;
type Reading<T> = Result<Arc<T>, Arc<SourceError>>;

/// Parsed data from one place. Clones share the cached data.
#[derive(Debug)]
pub struct Source<T> {
    inner: Arc<Inner<T>>,
}

/// Why there is no data, not even an old copy.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {place}")]
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
    cache: Mutex<Cache<T>>,
    /// Locked while reading, so that concurrent requests cause one read.
    reading: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct Cache<T> {
    /// The last good copy.
    good: Option<Arc<T>>,
    /// The last attempt: when it was, the stamp of the file, and how it failed if it did.
    last: Option<(Instant, Option<Stamp>, Option<Arc<SourceError>>)>,
}

impl SourceError {
    /// Whether the place does not exist, as opposed to being unreadable or invalid.
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
    /// A source that nothing has been read from yet.
    pub fn new(place: Place, parse: Parse<T>) -> Self {
        let cache = Mutex::new(Cache { good: None, last: None });
        let reading = Arc::default();
        Self { inner: Arc::new(Inner { place, parse, cache, reading }) }
    }

    /// Returns the data, and reads it first if it is due.
    ///
    /// # Errors
    /// The data could not be read, now or earlier, and there is no good copy.
    pub async fn read(&self) -> Reading<T> {
        let stamp = self.inner.place.stamp().await;
        let old = match self.inner.look(stamp, Instant::now()) {
            Lookup::Cached(reading) => return reading,
            Lookup::Due(old) => old,
        };
        let inner = Arc::clone(&self.inner);
        // In a task of its own: the read continues for other requests even if this client disconnects.
        if let (Place::Url(..), Some(old)) = (&self.inner.place, old) {
            // An old copy at once is better than a new one after a slow request.
            if let Ok(guard) = Arc::clone(&inner.reading).try_lock_owned() {
                tokio::spawn(async move {
                    // A failure is logged there, and this request gets the old copy.
                    let _ = inner.refresh(stamp).await;
                    drop(guard);
                });
            }
            return Ok(old);
        }
        let read = tokio::spawn(async move {
            let _guard = inner.reading.lock().await;
            if let Lookup::Cached(reading) = inner.look(stamp, Instant::now()) {
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

enum Lookup<T> {
    Cached(Reading<T>),
    Due(Option<Arc<T>>),
}

impl<T> Inner<T> {
    fn look(&self, stamp: Option<Stamp>, now: Instant) -> Lookup<T> {
        let cache = self.cache();
        let Some((at, last_stamp, failure)) = &cache.last else {
            return Lookup::Due(None);
        };
        let lifetime = match failure {
            Some(_) => FAILURE_LIFETIME,
            None => LIFETIME,
        };
        let is_current = *last_stamp == stamp && now.saturating_duration_since(*at) < lifetime;
        match (&cache.good, failure) {
            _ if !is_current => Lookup::Due(cache.good.clone()),
            (Some(good), _) => Lookup::Cached(Ok(Arc::clone(good))),
            (None, Some(failure)) => Lookup::Cached(Err(Arc::clone(failure))),
            (None, None) => Lookup::Due(None),
        }
    }

    async fn refresh(&self, stamp: Option<Stamp>) -> Reading<T> {
        let place = &self.place;
        let read = match place.load().await {
            Ok(bytes) => (self.parse)(&bytes).map_err(|cause| (false, cause)),
            Err(cause) => Err((matches!(cause, LoadError::Missing(_)), cause.into())),
        };
        let read = read.map_err(|(missing, cause)| SourceError::new(place, missing, cause));
        let mut cache = self.cache();
        let failure = match read {
            Ok(data) => {
                cache.good = Some(Arc::new(data));
                tracing::debug!(source = %place, "read");
                None
            }
            Err(failure) => {
                let has_copy = cache.good.is_some();
                // A missing place may come from a made-up parameter, so it is only a warning.
                match failure.missing {
                    true => tracing::warn!(has_copy, "{}", explain(&failure)),
                    false => tracing::error!(has_copy, "{}", explain(&failure)),
                }
                Some(Arc::new(failure))
            }
        };
        cache.last = Some((Instant::now(), stamp, failure.clone()));
        match (&cache.good, failure) {
            (None, Some(failure)) => Err(failure),
            (Some(good), _) => Ok(Arc::clone(good)),
            (None, None) => unreachable!("data that was read without a failure was cached just above"),
        }
    }

    fn cache(&self) -> MutexGuard<'_, Cache<T>> {
        // Valid even after a panic: every change is one assignment.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
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
    async fn a_changed_file_is_read_again_and_an_invalid_one_keeps_the_last_good_copy() {
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
    async fn a_missing_file_is_an_error_until_it_exists() {
        let (path, source) = file("missing");
        let failure = source.read().await.expect_err("the file does not exist yet");
        assert!(failure.is_missing());
        assert!(explain(&*failure).contains("it does not exist"));
        std::fs::write(&path, "3").expect("a temporary file");
        assert_eq!(source.read().await.ok().as_deref(), Some(&3));
        std::fs::remove_file(&path).expect("a temporary file");
    }

    #[tokio::test]
    async fn an_error_names_the_place_and_the_cause() {
        let source = Source::new(Place::BuiltIn("x1"), number);
        let failure = source.read().await.expect_err("not a number");
        assert!(!failure.is_missing());
        let message = explain(&*failure);
        assert_eq!(message, "cannot read the built-in sample: invalid digit found in string");
    }

    #[tokio::test]
    async fn cached_data_is_due_after_its_lifetime() {
        let source = Source::new(Place::BuiltIn("4"), number);
        assert!(source.read().await.is_ok());
        let now = Instant::now();
        assert!(matches!(source.inner.look(None, now), Lookup::Cached(Ok(_))));
        let later = now + LIFETIME;
        assert!(matches!(source.inner.look(None, later), Lookup::Due(Some(_))));
    }
}
