//! Work that takes long is done beside the threads that readers are answered on, as much at once as leaves some cores for
//! these.

use std::sync::LazyLock;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Works that are done at once.
static PLACES: LazyLock<Semaphore> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Semaphore::new(cores.div_ceil(2))
});

/// Does some work in its turn. `None`: it panicked.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    // Nobody closes it. Its place is taken until it is done, be it that nobody waits any more.
    let place = PLACES.acquire().await.ok()?;
    let done = spawn_blocking(move || {
        let _place = place;
        work()
    });
    done.await.ok()
}
