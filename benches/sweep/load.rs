//! Readers in closed loops, and what a process pays for them: cells that are measured in turns.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{Reader, quantile};

/// What a reader asks for next.
pub(crate) type Target = Arc<dyn Fn() -> String + Send + Sync>;

/// Something that is measured: readers who ask a process for pages, each again as soon as it is answered.
pub(crate) struct Cell {
    /// The process that answers.
    pub(crate) process: u32,
    pub(crate) address: SocketAddr,
    pub(crate) readers: usize,
    pub(crate) target: Target,
    /// How many bytes every page has. Another number is a mistake.
    pub(crate) bytes: usize,
}

/// How often and how long is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// One turn of one cell.
    pub(crate) long: Duration,
}

/// What one turn of a cell came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// Seconds of the process's CPU time, user and system.
    pub(crate) cpu: f64,
    pub(crate) per_second: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// What all turns came to, by cell and round.
pub(crate) struct Measured(Vec<Vec<Turn>>);

impl Measured {
    /// How much of something a cell has over another one: the median of the ratios within a round.
    pub(crate) fn over(&self, cell: usize, other: usize, of: fn(&Turn) -> f64) -> f64 {
        median(self.0[cell].iter().zip(&self.0[other]).map(|(one, other)| of(one) / of(other)).collect())
    }
}

/// The one in the middle.
pub(crate) fn median(mut of: Vec<f64>) -> f64 {
    of.sort_unstable_by(f64::total_cmp);
    of[of.len() / 2]
}

/// Measures cells in turns, so that whatever else the machine does meets all of them; each other round the
/// other way round, so that none always comes after the same one.
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

/// Asks often enough that all is kept that may be, a page that is whole from its second time on.
async fn warm(cell: &Cell) {
    let mut reader = Reader::new(cell.address).await.unwrap();
    let began = Instant::now();
    for time in 0..64 {
        // Pages that take long are asked for by one target each: thrice is enough for them.
        if time < 3 || began.elapsed() < Duration::from_millis(100) {
            ask(&mut reader, cell).await;
        }
    }
}

async fn ask(reader: &mut Reader, cell: &Cell) -> Duration {
    let target = (cell.target)();
    let (status, took) = reader.get(&target, "").await.unwrap();
    assert_eq!((status, reader.body().len()), (200, cell.bytes), "{target}");
    took
}

async fn turn(cell: &Cell, long: Duration) -> Turn {
    // Who connects is answered once before the turn begins.
    let mut readers = Vec::new();
    for _ in 0..cell.readers {
        let mut reader = Reader::new(cell.address).await.unwrap();
        ask(&mut reader, cell).await;
        readers.push(reader);
    }
    let (spent, began) = (cpu(cell.process), Instant::now());
    let all = readers.into_iter().map(|mut reader| async move {
        let mut took = Vec::new();
        while began.elapsed() < long {
            took.push(ask(&mut reader, cell).await);
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

/// The CPU time of a process until now, user and system, to the nanosecond: `/proc/PID/stat` has the same by
/// hundredths of a second, which would be a tenth of a short turn.
pub(crate) fn cpu(process: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let spent = |thread: std::fs::DirEntry| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    };
    threads.filter_map(|thread| spent(thread.ok()?)).sum()
}
