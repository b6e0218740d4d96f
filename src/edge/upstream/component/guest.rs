//! What one instance of a component can see and use: its environment variables, its output, its hosts, and so much memory.
//! It sees no files, no sockets, and nothing of other instances.

use bytes::Bytes;
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, ResourceLimiter, Store};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView, async_trait};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::edge::upstream::output::{Lines, Output};

use super::machine::{MAX_PARTS, MAX_TABLE};
use super::outbound::Outbound;

/// Maximum number of resources of the host, such as streams and headers, that a guest holds.
const MAX_RESOURCES: usize = 2_000;
/// Maximum size of the headers in one set of them, in bytes.
const MAX_FIELDS: usize = 64 << 10;
/// Maximum number of bytes that one call passes to the host.
const MAX_PASSED: usize = 4 << 20;
/// Maximum number of random bytes of one call.
const MAX_RANDOM: u64 = 1 << 20;
/// How many bytes one write to an output takes.
const MAX_WRITE: usize = 64 << 10;

/// The state of one instance.
pub(super) struct Guest {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    outbound: Outbound,
    limits: Limits,
}

/// Counts what an instance takes of memory, in all its memories together.
struct Limits {
    memory: usize,
    taken: usize,
    /// The last growth, which is given back if it fails for another reason.
    growth: usize,
    is_exceeded: bool,
}

impl Guest {
    /// The store of an instance. At each tick of the clock it lets others have their turn.
    pub(super) fn store(
        engine: &Engine,
        env: &[(String, String)],
        output: &Output,
        outbound: Outbound,
        memory: u64,
    ) -> Store<Self> {
        let mut wasi = WasiCtx::builder();
        wasi.envs(env)
            .stdout(Stream(output.clone()))
            .stderr(Stream(output.clone()))
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(MAX_RANDOM);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_FIELDS);
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        let memory = usize::try_from(memory).unwrap_or(usize::MAX);
        let limits = Limits { memory, taken: 0, growth: 0, is_exceeded: false };
        let mut store = Store::new(engine, Self { wasi: wasi.build(), http, table, outbound, limits });
        store.limiter(|guest| &mut guest.limits);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store.set_hostcall_fuel(MAX_PASSED);
        store
    }

    /// Whether it wanted more memory than it may have.
    pub(super) const fn exceeded_memory(&self) -> bool {
        self.limits.is_exceeded
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outbound }
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.growth = desired.saturating_sub(current);
        self.taken = self.taken.saturating_add(self.growth);
        if self.taken > self.memory {
            self.is_exceeded = true;
            wasmtime::bail!("more memory than the manifest allows");
        }
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.taken = self.taken.saturating_sub(std::mem::take(&mut self.growth));
        Ok(())
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE)
    }

    fn instances(&self) -> usize {
        MAX_PARTS as usize
    }

    fn tables(&self) -> usize {
        MAX_PARTS as usize
    }

    fn memories(&self) -> usize {
        MAX_PARTS as usize
    }
}

/// Standard output or standard error.
struct Stream(Output);

/// One handle to it.
struct Writer(Lines);

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only asked for by components of WASI 0.3, which are not offered anything.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Writer(self.0.lines()))
    }
}

impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_WRITE)
    }
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {}
}
