//! Work that takes long is done beside the threads that readers are answered on, a bounded number at once.

use std::sync::LazyLock;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;

/// Works that somebody waits for.
static WANTED: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(cores()));
/// Works that nobody waits for: they leave some cores to the others.
static SPARE: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(cores().div_ceil(2)));

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Does some work in its turn, and waits for it. `None`: it panicked.
pub(super) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    // Nobody closes it. Its place is taken until it is done, be it that nobody waits any more.
    let place = WANTED.acquire().await.ok()?;
    spawn_blocking(move || in_place(place, work)).await.ok()
}

/// A place for work that nobody waits for, where there is one just now.
#[must_use]
pub fn try_background() -> Option<BackgroundPermit> {
    SPARE.try_acquire().ok().map(BackgroundPermit)
}

/// A place for work that nobody waits for.
pub struct BackgroundPermit(SemaphorePermit<'static>);

impl BackgroundPermit {
    /// Does it.
    pub fn run(self, work: impl FnOnce() + Send + 'static) {
        spawn_blocking(move || in_place(self.0, work));
    }
}

fn in_place<T>(place: SemaphorePermit<'static>, work: impl FnOnce() -> T) -> T {
    let _place = place;
    work()
}
