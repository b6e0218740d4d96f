//! From the start of a process to the last byte of its first page.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::load::cpu;
use crate::plain::Plain;
use crate::rig::{self, Cores, layout};
use crate::support::{Reader, ms, quantile};

const STARTS: usize = 20;
const LAYOUTS: usize = 200;
/// Fragments of a page, and bytes of one.
const PAGE: (usize, usize) = (10, 2_000);

/// What one start took, from the moment at which the process was asked for.
#[derive(Default, Clone, Copy)]
struct Start {
    /// Until it said that it listens.
    listening: Duration,
    /// Until the last byte of the first page.
    page: Duration,
    /// CPU time of the process by then.
    cpu: Duration,
}

async fn first_page(address: std::net::SocketAddr, target: &str, bytes: usize) {
    let mut reader = Reader::new(address).await.unwrap();
    let (status, _) = reader.get(target, "").await.unwrap();
    assert_eq!((status, reader.body().len()), (200, bytes));
}

/// The compositor with so many layouts, and nothing kept.
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

/// The limit: a bare server that has nothing to read, and sends as many bytes.
async fn limit(cores: &Cores) -> Start {
    let bytes = PAGE.0 * PAGE.1;
    let began = Instant::now();
    let plain = Plain::start(&cores.all);
    let listening = began.elapsed();
    first_page(plain.address, &format!("/?s={bytes}"), bytes).await;
    Start { listening, page: began.elapsed(), cpu: cpu(plain.id()) }
}

/// The compositor's program, which only says its version.
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

/// Cold starts, as a table in milliseconds.
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
