//! Measures the cost of a page by fragments, clients and hit ratio, its growth, and the time to the first page.
//!
//! `cargo bench --bench sweep` measures all of it in three to five minutes, as ratios to a bare hyper server that sends
//! the same bytes in the same rounds, and writes `benches/results/`. `-- long` takes six times as long, for figures to
//! quote; `-- cold`, `-- sweeps` or `-- curves` measures one part, and writes to `target/tmp/`. The compositor and the
//! limit take turns on the last core; clients and nanoservices have the others.

#![expect(clippy::unwrap_used, reason = "a panic ends the measurement")]
#![expect(clippy::cast_precision_loss, reason = "figures")]

#[path = "sweep/cold.rs"]
mod cold;
#[path = "sweep/curves.rs"]
mod curves;
#[path = "sweep/load.rs"]
mod load;
#[path = "sweep/pages.rs"]
mod pages;
#[path = "sweep/plain.rs"]
mod plain;
#[path = "sweep/plot.rs"]
mod plot;
#[path = "sweep/report.rs"]
mod report;
#[path = "sweep/rig.rs"]
mod rig;
#[allow(dead_code, reason = "each bench uses its own part of it")]
mod support;

use std::time::Duration;

use load::Effort;
use rig::{Cores, Rig};
use tokio::runtime::Runtime;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    if has(plain::ARGUMENT) {
        return plain::serve();
    }
    let parts = ["cold", "sweeps", "curves"];
    let is_all = !parts.into_iter().any(&has);
    let effort = Effort { rounds: 5, long: Duration::from_millis(if has("long") { 1_200 } else { 200 }) };
    let mut text = format!(
        "# What a page costs\n\n`cargo bench --bench sweep` (`benches/sweep.rs`): medians of {} rounds of {} ms in turns.\n\n{}",
        effort.rounds,
        effort.long.as_millis(),
        report::machine()
    );
    let mut plots = Vec::new();
    let cores = Cores::of_this_machine();
    if is_all || has("cold") {
        text += &runtime().block_on(cold::cold(&cores));
    }
    // From here on, the measured process has a core to itself. Cold starts use all cores.
    cores.leave_measured_core();
    let rig = Rig::start(&cores);
    if is_all || has("sweeps") {
        let (more, drawn) = runtime().block_on(pages::sweeps(&rig, effort));
        text += &more;
        plots.extend(drawn);
    }
    if is_all || has("curves") {
        let (more, drawn) = runtime().block_on(curves::curves(&rig, effort));
        text += &more;
        plots.extend(drawn);
    }
    report::write(&text, &plots, is_all);
}
