//! Measures cold starts: from the start of a process to the last byte of its first page.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::load::cpu;
use crate::plain::Plain;
use crate::rig::{self, Cores, layout};
use crate::support::{Client, ms, quantile};

const STARTS: usize = 20;
const LAYOUTS: usize = 200;
/// The number of fragments of a page, and the bytes of each.
const PAGE: (usize, usize) = (10, 2_000);

/// The times of one start, from the moment at which the process was created.
#[derive(Default, Clone, Copy)]
struct Start {
    /// Until it reported that it listens.
    listening: Duration,
    /// Until the last byte of the first page.
    page: Duration,
    /// CPU time of the process until the first page.
    cpu: Duration,
}

async fn first_page(address: std::net::SocketAddr, target: &str, bytes: usize) {
    let mut client = Client::new(address).await.unwrap();
    let (status, _) = client.get(target, "").await.unwrap();
    assert_eq!((status, client.body().len()), (200, bytes));
}

/// Starts the compositor with this many layouts and an empty cache.
async fn compositor(services: &Plain, layouts: usize) -> Start {
    let (site, (fragments, bytes)) = (rig::site(services.address), PAGE);
    let text = "<p>Some text of the page's own, as long as a paragraph is.</p>\n".repeat(50);
    for n in 0..layouts {
        let front = format!("route = \"/{n}\"");
        site.write(&format!("layouts/{n}.html"), &(layout(&front, fragments, bytes, 0) + &text));
    }
    let began = Instant::now();
    let running = site.serve(false);
    let listening = began.elapsed();
    first_page(running.pages, &format!("/{}", layouts / 2), fragments * bytes + text.len()).await;
    Start { listening, page: began.elapsed(), cpu: cpu(running.process.id()) }
}

/// Starts the limit: a bare server that reads no files and sends as many bytes.
async fn limit(cores: &Cores) -> Start {
    let bytes = PAGE.0 * PAGE.1;
    let began = Instant::now();
    let plain = Plain::start(&cores.all);
    let listening = began.elapsed();
    first_page(plain.address, &format!("/?s={bytes}"), bytes).await;
    Start { listening, page: began.elapsed(), cpu: cpu(plain.id()) }
}

/// Runs the compositor's program for its version only.
fn version() -> Start {
    let began = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pasteup"));
    assert!(command.arg("--version").stdout(Stdio::null()).status().unwrap().success());
    Start { listening: Duration::ZERO, page: began.elapsed(), cpu: Duration::ZERO }
}

fn row(what: &str, starts: &[Start]) -> String {
    let quantiles = |of: fn(&Start) -> Duration| {
        let mut all: Vec<Duration> = starts.iter().map(of).collect();
        match (quantile(&mut all, 0.5), quantile(&mut all, 1.0)) {
            (_, Duration::ZERO) => " | ".to_owned(),
            (median, worst) => format!("{} | {}", ms(median), ms(worst)),
        }
    };
    let columns = [quantiles(|start| start.page), quantiles(|start| start.listening), quantiles(|start| start.cpu)];
    format!("| {what} | {} |\n", columns.join(" | "))
}

/// Measures cold starts. Returns a table in milliseconds.
pub(crate) async fn cold(cores: &Cores) -> String {
    let services = Plain::start(&cores.all);
    let mut starts = [const { Vec::new() }; 4];
    for _ in 0..STARTS {
        starts[0].push(compositor(&services, LAYOUTS).await);
        starts[1].push(compositor(&services, 1).await);
        starts[2].push(limit(cores).await);
        starts[3].push(version());
    }
    let mut text = format!(
        "## Cold start\n\nFrom the start of the process to the last byte of its first page, of {} fragments that must be fetched; \
         {STARTS} starts each, in turns, on all cores. The CPU time is the process's own share.\n\n\
         | ms | first page: median | worst | listening: median | worst | CPU: median | worst |\n|---|---:|---:|---:|---:|---:|---:|\n",
        PAGE.0
    );
    let names = [
        format!("pasteup, {LAYOUTS} layouts"),
        "pasteup, one layout".into(),
        "the limit".into(),
        "`pasteup --version`".into(),
    ];
    for (name, starts) in names.iter().zip(&starts) {
        text += &row(name, starts);
    }
    writeln!(text, "\nThe goal is a first page within 100 ms.\n").unwrap();
    text
}
