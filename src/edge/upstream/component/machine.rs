//! What runs components: compiler, allocator, the threads of guests, and the clock that interrupts them.
//! Where memory cannot be reserved for many instances, each reserves its own, which takes longer.

use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;
use wasmtime::component::Linker;
use wasmtime::{Cache, CacheConfig, Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::guest::Guest;

/// How often a guest that only computes is interrupted, so that it can be stopped, and others have their turn.
const TICK: Duration = Duration::from_millis(5);
/// How many ticks without a guest pass until the clock stops.
const IDLE_TICKS: u32 = 200;
/// The stack of a guest, in bytes, and that of the host functions that it calls in addition.
const WASM_STACK: usize = 512 << 10;
const WHOLE_STACK: usize = 1 << 20;
/// Maximum number of instances at once of all components together.
const MAX_INSTANCES: u32 = 1_000;
/// Maximum size of a memory: what 32 bits can address. The limit of each component is checked when its memory grows.
const MAX_MEMORY: usize = 4 << 30;
/// Maximum number of elements of a table.
pub(super) const MAX_TABLE: usize = 100_000;
/// Maximum number of modules, memories and tables in one component.
pub(super) const MAX_PARTS: u32 = 50;
/// The memory that a slot for instances keeps, so that the next instance need not be given it again, in bytes: where the
/// kernel tells which pages were written to (Linux 6.7), and where all of it has to be cleared.
const KEPT_WRITTEN: usize = 1 << 20;
const KEPT_MEMORY: usize = 128 << 10;
/// How many slots that are not in use keep it.
const KEPT_SLOTS: u32 = 16;
/// A guest that has computed for longer goes on on threads that give way to those of pages.
const BRIEF: Duration = Duration::from_millis(2);
const NICENESS: i32 = 10;

/// Runs components.
pub(super) struct Machine {
    engine: Engine,
    linker: Linker<Guest>,
    /// `None` once it is dropped.
    threads: Option<Threads>,
    clock: Clock,
}

/// The threads of guests.
struct Threads {
    /// Of those that have just begun. Most end there.
    brief: Runtime,
    /// Of those that compute for long.
    long: Runtime,
}

/// Counts ticks while guests run. It stops when the last clone is dropped.
#[derive(Clone)]
struct Clock {
    running: Arc<AtomicUsize>,
    thread: Thread,
}

/// A guest that runs.
pub(super) struct Running(Clock);

impl Machine {
    /// Compiled components are kept in a folder; `None`: in the user's cache directory.
    pub(super) fn new(cache: Option<PathBuf>) -> Result<Self, String> {
        let cache = open_cache(cache);
        let engine = Engine::new(&config(cache.clone(), InstanceAllocationStrategy::Pooling(pool())))
            .or_else(|error| {
                tracing::warn!("memory for components cannot be reserved ({error:#}); each request takes longer");
                Engine::new(&config(cache, InstanceAllocationStrategy::OnDemand))
            })
            .map_err(|error| format!("{error:#}"))?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)
            .and_then(|()| wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker))
            .map_err(|error| format!("{error:#}"))?;
        let threads = Threads::start().map_err(|error| format!("no threads for components: {error}"))?;
        let clock = Clock::start(engine.clone()).map_err(|error| format!("no thread for components: {error}"))?;
        Ok(Self { engine, linker, threads: Some(threads), clock })
    }

    pub(super) const fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) const fn linker(&self) -> &Linker<Guest> {
        &self.linker
    }

    /// Runs a guest. Dropping the handle ends it at the next tick of the clock.
    pub(super) fn spawn(&self, guest: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
        let Threads { brief, long } = self.threads.as_ref().expect("they are there until the machine is dropped");
        let long = long.handle().clone();
        AbortOnDropHandle::new(brief.spawn(async move {
            let mut guest = Box::pin(guest);
            if !ends_soon(guest.as_mut()).await {
                // An error is a panic, which has been reported, or the end of the machine.
                let _ended = AbortOnDropHandle::new(long.spawn(guest)).await;
            }
        }))
    }

    /// Lets the clock run until the value is dropped.
    pub(super) fn running(&self) -> Running {
        if self.clock.running.fetch_add(1, Ordering::SeqCst) == 0 {
            self.clock.thread.unpark();
        }
        Running(self.clock.clone())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A runtime must not be dropped where others run, and a guest may never end by itself.
        if let Some(Threads { brief, long }) = self.threads.take() {
            brief.shutdown_background();
            long.shutdown_background();
        }
        self.clock.thread.unpark();
    }
}

impl Threads {
    fn start() -> std::io::Result<Self> {
        let threads = thread::available_parallelism().map_or(2, usize::from).max(2);
        let start = |name: &str, on_start: fn()| {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(threads).thread_name(name).on_thread_start(on_start).enable_all().build()
        };
        Ok(Self { brief: start("component", || ())?, long: start("long-component", give_way)? })
    }
}

/// Polls a guest until it ends. `false`: it goes on, and has computed for longer than [`BRIEF`].
async fn ends_soon(mut guest: Pin<&mut impl Future<Output = ()>>) -> bool {
    let mut computed = Duration::ZERO;
    poll_fn(|context| {
        let began = Instant::now();
        let polled = guest.as_mut().poll(context);
        computed += began.elapsed();
        match polled {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending if computed > BRIEF => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

impl Clock {
    // A thread, since a task would never be polled while guests occupy all threads.
    fn start(engine: Engine) -> std::io::Result<Self> {
        let running = Arc::new(AtomicUsize::new(0));
        let counted = Arc::downgrade(&running);
        let tick = move || {
            let mut idle = 0;
            while let Some(running) = counted.upgrade() {
                let is_idle = running.load(Ordering::SeqCst) == 0;
                drop(running);
                idle = if is_idle { idle + 1 } else { 0 };
                if idle > IDLE_TICKS {
                    thread::park();
                    idle = 0;
                } else {
                    thread::sleep(TICK);
                    engine.increment_epoch();
                }
            }
        };
        let thread = thread::Builder::new().name("component-clock".to_owned()).spawn(tick)?.thread().clone();
        Ok(Self { running, thread })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

fn config(cache: Option<Cache>, strategy: InstanceAllocationStrategy) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        // Nobody reads where in its file a trap is, and the map takes a third of what a component does.
        .generate_address_map(false)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(WHOLE_STACK)
        .allocation_strategy(strategy)
        .cache(cache);
    config
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    let kept = if PoolingAllocationConfig::is_pagemap_scan_available() { KEPT_WRITTEN } else { KEPT_MEMORY };
    pool.total_component_instances(MAX_INSTANCES)
        .total_core_instances(MAX_INSTANCES * 3)
        .total_memories(MAX_INSTANCES)
        .total_tables(MAX_INSTANCES * 3)
        .total_stacks(MAX_INSTANCES)
        .max_core_instances_per_component(MAX_PARTS)
        .max_memories_per_component(MAX_PARTS)
        .max_tables_per_component(MAX_PARTS)
        .max_memory_size(MAX_MEMORY)
        .table_elements(MAX_TABLE)
        .max_unused_warm_slots(KEPT_SLOTS)
        .pagemap_scan(Enabled::Auto)
        .linear_memory_keep_resident(kept)
        .table_keep_resident(4 << 10);
    pool
}

/// Opens the cache of compiled components. Without one they are compiled at each start.
fn open_cache(folder: Option<PathBuf>) -> Option<Cache> {
    let folder = folder.or_else(user_cache);
    let Some(folder) = folder else {
        tracing::info!(
            "there is no cache directory (neither XDG_CACHE_HOME nor HOME), so components are compiled at each start"
        );
        return None;
    };
    let opened = absolute(&folder).and_then(|folder| {
        let mut config = CacheConfig::new();
        config.with_directory(&folder);
        Cache::new(config).map_err(|error| format!("{error:#}"))
    });
    match opened {
        Ok(cache) => Some(cache),
        Err(error) => {
            let folder = folder.display();
            tracing::warn!("compiled components cannot be kept in {folder}: {error}");
            None
        }
    }
}

fn absolute(folder: &Path) -> Result<PathBuf, String> {
    std::fs::create_dir_all(folder).and_then(|()| folder.canonicalize()).map_err(|error| error.to_string())
}

fn user_cache() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")))?;
    Some(user.join("pasteup").join("components"))
}

/// Lowers the priority of the current thread.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!("the threads of components have the priority of all others: {error}");
    }
}
