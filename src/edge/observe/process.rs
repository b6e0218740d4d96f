//! What the process takes of the machine, under the names that all Prometheus clients use for it.
//! Outside of Linux, and for what cannot be read, there are no series.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// The metrics of the process.
#[derive(Debug)]
pub(super) struct Process;

/// What is known of the process.
#[derive(Debug, Default)]
struct Usage {
    cpu_seconds: Option<f64>,
    open_fds: Option<f64>,
    max_fds: Option<f64>,
    virtual_bytes: Option<f64>,
    resident_bytes: Option<f64>,
    threads: Option<f64>,
    start_seconds: Option<f64>,
}

impl Usage {
    #[cfg(target_os = "linux")]
    #[expect(clippy::cast_precision_loss, reason = "Prometheus has floating-point numbers only")]
    fn now() -> Self {
        use procfs::WithCurrentSystemInfo as _;
        use procfs::process::{LimitValue, Process};
        let Ok(process) = Process::myself() else { return Self::default() };
        let number = |count: u64| count as f64;
        let ticks = number(procfs::ticks_per_second());
        let limit = process.limits().ok().map(|limits| match limits.max_open_files.soft_limit {
            LimitValue::Unlimited => f64::INFINITY,
            LimitValue::Value(files) => number(files),
        });
        let stat = process.stat().ok();
        let stat = stat.as_ref();
        let booted = procfs::boot_time_secs().ok();
        Self {
            cpu_seconds: stat.map(|stat| number(stat.utime + stat.stime) / ticks),
            open_fds: process.fd_count().ok().map(|count| number(count as u64)),
            max_fds: limit,
            virtual_bytes: stat.map(|stat| number(stat.vsize)),
            resident_bytes: stat.map(|stat| number(stat.rss_bytes().get())),
            threads: stat.map(|stat| stat.num_threads as f64),
            start_seconds: stat.zip(booted).map(|(stat, booted)| number(booted) + number(stat.starttime) / ticks),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn now() -> Self {
        Self::default()
    }
}

/// The memory of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// What it takes; `None`: the system does not say.
    pub resident_bytes: Option<u64>,
    /// The most that it may take: the least of what its control groups and the machine allow.
    pub limit_bytes: Option<u64>,
}

/// The memory of the process now.
#[cfg(target_os = "linux")]
#[must_use]
pub fn memory() -> Memory {
    use procfs::{Current as _, WithCurrentSystemInfo as _};
    let process = procfs::process::Process::myself().ok();
    let stat = process.as_ref().and_then(|process| process.stat().ok());
    let machine = procfs::Meminfo::current().ok().map(|memory| memory.mem_total);
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let files = limit_files(&groups).into_iter();
    let allowed = files.filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok());
    Memory { resident_bytes: stat.map(|stat| stat.rss_bytes().get()), limit_bytes: allowed.chain(machine).min() }
}

#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn memory() -> Memory {
    Memory::default()
}

/// The files that state the limits of the control groups of a process, from the innermost to the outermost. In version 2 each
/// group has one; a container sees its own as the root.
#[cfg(target_os = "linux")]
fn limit_files(groups: &str) -> Vec<String> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let inner = std::path::Path::new(path).ancestors().map(|group| group.to_string_lossy().into_owned());
    let version_2 = inner.map(|group| format!("/sys/fs/cgroup{}/memory.max", group.trim_end_matches('/')));
    version_2.chain(["/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned()]).collect()
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let usage = Usage::now();
        if let Some(seconds) = usage.cpu_seconds {
            let counter = ConstCounter::new(seconds);
            let help = "Total user and system CPU time spent in seconds";
            counter.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?)?;
        }
        for (name, help, value) in [
            ("process_open_fds", "Number of open file descriptors", usage.open_fds),
            ("process_max_fds", "Maximum number of open file descriptors", usage.max_fds),
            ("process_virtual_memory_bytes", "Virtual memory size in bytes", usage.virtual_bytes),
            ("process_resident_memory_bytes", "Resident memory size in bytes", usage.resident_bytes),
            ("process_threads", "Number of OS threads in the process", usage.threads),
            (
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds",
                usage.start_seconds,
            ),
        ] {
            let Some(value) = value else { continue };
            ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_process_has_the_least_of_all_limits() {
        let files = limit_files("1:name=x:/y\n0::/system.slice/pasteup.service\n");
        assert_eq!(files[0], "/sys/fs/cgroup/system.slice/pasteup.service/memory.max");
        assert_eq!(files[2], "/sys/fs/cgroup/memory.max");
        let memory = memory();
        assert!(memory.resident_bytes > Some(1 << 20) && memory.limit_bytes > memory.resident_bytes, "{memory:?}");
    }
}
