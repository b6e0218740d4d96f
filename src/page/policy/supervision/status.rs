//! What is shown of a program or a component: in the API, the console and the metrics, in the same words.

use serde::Serialize;

use crate::page::source::reason::words;

words! {
    /// The state of a program.
    ProgramState {
        /// It does not run, and the next request starts it.
        Stopped = "stopped",
        /// It was started, and is not ready yet.
        Starting = "starting",
        /// It answers requests.
        Running = "running",
        /// It is to end, and has not ended yet.
        Stopping = "stopping",
        /// It ended before it was ready, and is tried again later.
        Failed = "failed",
    }
}

/// A program as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProgramStatus {
    /// Its state.
    pub state: ProgramState,
    /// Its process, while there is one.
    pub pid: Option<u32>,
    /// The port of that process.
    pub port: Option<u16>,
    /// How often it was started.
    pub starts: u64,
    /// How often it ended while it should run.
    pub crashes: u64,
    /// How long its last start took until it was ready.
    pub start_ms: Option<u64>,
    /// The memory of all its processes together: the sum of their proportional set sizes.
    pub memory_bytes: Option<u64>,
    /// The last lines of its output, once it has crashed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
}

impl ProgramStatus {
    /// A program that was never started.
    pub const STOPPED: Self = Self {
        state: ProgramState::Stopped,
        pid: None,
        port: None,
        starts: 0,
        crashes: 0,
        start_ms: None,
        memory_bytes: None,
        output: Vec::new(),
    };
}

/// A component as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ComponentStatus {
    /// The size of its file.
    pub bytes: u64,
    /// How long it took to compile it, or to read it from the cache of compiled components.
    pub compile_ms: u64,
    /// How many of its instances run.
    pub in_flight: u64,
}
