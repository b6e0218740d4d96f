//! Runs long work on the blocking pool, apart from the threads that serve clients, and limits how much runs at once.
//! Background work is only started if a permit is free.

use std::sync::LazyLock;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;

/// Permits for work that a request waits for.
static FOREGROUND: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(cores()));
/// Permits for background work; fewer than there are cores, so that some stay free.
static BACKGROUND: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(cores().div_ceil(2)));

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Runs work once a permit is free, and waits for it. `None`: it panicked.
pub(super) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let permit = FOREGROUND.acquire().await.expect("the semaphore is never closed");
    // The work holds the permit to its end, even if it is no longer waited for.
    spawn_blocking(move || with_permit(permit, work)).await.ok()
}

/// A permit for background work, if one is free now.
#[must_use]
pub fn try_background() -> Option<BackgroundPermit> {
    BACKGROUND.try_acquire().ok().map(BackgroundPermit)
}

/// A permit for background work, which no request waits for.
pub struct BackgroundPermit(SemaphorePermit<'static>);

impl BackgroundPermit {
    /// Starts the work, and releases the permit when it ends.
    pub fn run(self, work: impl FnOnce() + Send + 'static) {
        spawn_blocking(move || with_permit(self.0, work));
    }
}

fn with_permit<T>(permit: SemaphorePermit<'static>, work: impl FnOnce() -> T) -> T {
    let _permit = permit;
    work()
}
