//! Clients in closed loops, and the CPU time of the process that serves them: cells that are measured in turns.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{Client, quantile};

/// Returns the target of the next request.
pub(crate) type Target = Arc<dyn Fn() -> String + Send + Sync>;

/// One measurement: clients that request pages from a process, each again as soon as it has the response.
pub(crate) struct Cell {
    /// The process that serves the pages.
    pub(crate) process: u32,
    pub(crate) address: SocketAddr,
    /// The number of simultaneous clients.
    pub(crate) clients: usize,
    pub(crate) target: Target,
    /// The size of every page. Another size is an error.
    pub(crate) bytes: usize,
}

/// How often and how long each cell is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// The length of one turn of one cell.
    pub(crate) long: Duration,
}

/// The result of one turn of a cell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// CPU time of the process per page, user and system, in seconds.
    pub(crate) cpu: f64,
    pub(crate) per_second: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// The results of all turns, by cell and round.
pub(crate) struct Measured(Vec<Vec<Turn>>);

impl Measured {
    /// The ratio of a value of one cell to that of another: the median of the ratios within each round.
    pub(crate) fn over(&self, cell: usize, other: usize, of: fn(&Turn) -> f64) -> f64 {
        median(self.0[cell].iter().zip(&self.0[other]).map(|(one, other)| of(one) / of(other)).collect())
    }
}

/// The median.
pub(crate) fn median(mut of: Vec<f64>) -> f64 {
    of.sort_unstable_by(f64::total_cmp);
    of[of.len() / 2]
}

/// Measures cells in turns, so that other work on the machine affects all of them. The order is reversed every other
/// round, so that no cell always follows the same one.
pub(crate) async fn measure(cells: &[Cell], effort: Effort) -> Measured {
    for cell in cells {
        warm(cell).await;
    }
    let mut turns: Vec<Vec<Turn>> = vec![Vec::new(); cells.len()];
    for round in 0..effort.rounds {
        for at in 0..cells.len() {
            let at = if round % 2 == 0 { at } else { cells.len() - 1 - at };
            turns[at].push(turn(&cells[at], effort.long).await);
        }
    }
    Measured(turns)
}

/// Sends enough requests that every cacheable response and page is cached; a page is cached from its second request on.
async fn warm(cell: &Cell) {
    let mut client = Client::new(cell.address).await.unwrap();
    let began = Instant::now();
    for time in 0..64 {
        // Slow pages have one target each, so that three requests are enough for them.
        if time < 3 || began.elapsed() < Duration::from_millis(100) {
            request(&mut client, cell).await;
        }
    }
}

async fn request(client: &mut Client, cell: &Cell) -> Duration {
    let target = (cell.target)();
    let (status, took) = client.get(&target, "").await.unwrap();
    assert_eq!((status, client.body().len()), (200, cell.bytes), "{target}");
    took
}

async fn turn(cell: &Cell, long: Duration) -> Turn {
    // Each client connects and gets one response before the turn begins.
    let mut clients = Vec::new();
    for _ in 0..cell.clients {
        let mut client = Client::new(cell.address).await.unwrap();
        request(&mut client, cell).await;
        clients.push(client);
    }
    let (spent, began) = (cpu(cell.process), Instant::now());
    let all = clients.into_iter().map(|mut client| async move {
        let mut took = Vec::new();
        while began.elapsed() < long {
            took.push(request(&mut client, cell).await);
        }
        took
    });
    let mut took = futures::future::join_all(all).await.concat();
    let (spent, elapsed) = (cpu(cell.process) - spent, began.elapsed());
    let pages = took.len() as f64;
    Turn {
        cpu: spent.as_secs_f64() / pages,
        per_second: pages / elapsed.as_secs_f64(),
        p50: quantile(&mut took, 0.5).as_secs_f64(),
        p99: quantile(&mut took, 0.99).as_secs_f64(),
    }
}

/// The CPU time of a process until now, user and system, to the nanosecond. `/proc/PID/stat` has it only in hundredths of
/// a second, which would be a tenth of a short turn.
pub(crate) fn cpu(process: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let spent = |thread: std::fs::DirEntry| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    };
    threads.filter_map(|thread| spent(thread.ok()?)).sum()
}
