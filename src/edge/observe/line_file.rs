//! Writes lines to a file or to standard output, in a thread of its own.
//! A line that cannot be written is dropped and counted: a full disk, or a pipe whose reader left, delays and ends nothing.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

/// Bytes that may wait to be written. What comes while the disk is slower than that is dropped.
const MAX_WAITING: usize = 4 << 20;
/// How long lines are collected before they are written, so that there are few writes and fewer wake-ups.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long the end of the process waits for the last lines.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// Who may read a new file: its owner and group. It has addresses of clients in it.
const MODE: u32 = 0o640;

/// The number of lines that could not be written. A process has one access log, so it has one counter.
static DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);

/// The counter of the lines that could not be written.
#[must_use]
pub fn dropped_lines() -> &'static Counter {
    &DROPPED
}

/// Where lines are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineTarget {
    /// To standard output.
    Stdout,
    /// To the end of a file.
    File(PathBuf),
}

/// A file that lines are added to.
pub struct LineFile(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Whole lines that wait to be written.
    waiting: Vec<u8>,
    lines: u64,
    reopen: bool,
    ends: bool,
    has_ended: bool,
}

impl LineFile {
    /// Opens the target, and starts the thread that writes to it.
    ///
    /// # Errors
    /// The file cannot be opened; the message names it.
    pub fn open(target: LineTarget) -> Result<Self, String> {
        let output = open(&target)?;
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let writer = Arc::clone(&shared);
        let thread = Builder::new().name("access-log".to_owned()).spawn(move || writer.run(&target, output));
        thread.map(|_| Self(shared)).map_err(|error| error.to_string())
    }

    /// Adds a line, which ends in a line feed.
    pub fn add(&self, line: &[u8]) {
        let mut state = self.0.lock();
        if state.waiting.len() + line.len() > MAX_WAITING {
            DROPPED.inc();
            return;
        }
        state.waiting.extend_from_slice(line);
        state.lines += 1;
        let is_first = state.lines == 1;
        drop(state);
        if is_first {
            self.0.changed.notify_all();
        }
    }

    /// Opens the file again, after it was renamed.
    pub fn reopen(&self) {
        self.0.lock().reopen = true;
        self.0.changed.notify_all();
    }

    /// Writes what waits, and ends. A disk that hangs is not waited for.
    pub fn finish(&self) {
        let mut state = self.0.lock();
        state.ends = true;
        self.0.changed.notify_all();
        let _late = self.0.changed.wait_timeout_while(state, MAX_WAIT, |state| !state.has_ended);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is added until the end.
    fn run(&self, target: &LineTarget, mut output: Box<dyn Write + Send>) {
        // Whether the last write ended within a line.
        let mut is_torn = false;
        let mut lines = Vec::new();
        loop {
            let is_idle = |state: &mut State| state.lines == 0 && !state.reopen && !state.ends;
            let mut state = self.changed.wait_while(self.lock(), is_idle).unwrap_or_else(PoisonError::into_inner);
            if !state.ends && !state.reopen {
                drop(state);
                std::thread::sleep(INTERVAL);
                state = self.lock();
            }
            lines.clear();
            std::mem::swap(&mut lines, &mut state.waiting);
            let count = std::mem::take(&mut state.lines);
            let (reopen, ends) = (std::mem::take(&mut state.reopen), state.ends);
            drop(state);
            if count > 0 {
                // So that no line is joined with the beginning of one that did not fit on the disk.
                let result = if is_torn { output.write_all(b"\n") } else { Ok(()) };
                let result = result.and_then(|()| output.write_all(&lines)).and_then(|()| output.flush());
                is_torn = result.is_err();
                if is_torn {
                    DROPPED.inc_by(count);
                }
            }
            if reopen {
                match open(target) {
                    Ok(new) => (output, is_torn) = (new, false),
                    Err(error) => tracing::warn!("{error}; the access log goes on in the old file"),
                }
            }
            if ends {
                self.lock().has_ended = true;
                self.changed.notify_all();
                return;
            }
        }
    }
}

fn open(target: &LineTarget) -> Result<Box<dyn Write + Send>, String> {
    match target {
        LineTarget::Stdout => Ok(Box::new(io::stdout())),
        LineTarget::File(path) => {
            let file = OpenOptions::new().append(true).create(true).mode(MODE).open(path);
            let failed = |error| format!("telemetry.access_log: {} cannot be opened: {error}", path.display());
            Ok(Box::new(file.map_err(failed)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn file(path: &Path) -> LineFile {
        LineFile::open(LineTarget::File(path.to_owned())).expect("it can be opened")
    }

    #[test]
    fn lines_are_added_and_a_renamed_file_is_opened_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, renamed) = (folder.path().join("access"), folder.path().join("access.1"));
        fs::write(&path, "0\n").expect("it can be written");
        let lines = file(&path);
        lines.add(b"1\n");
        fs::rename(&path, &renamed).expect("it can be renamed");
        lines.reopen();
        while !path.exists() {
            std::thread::yield_now();
        }
        lines.add(b"2\n");
        lines.finish();
        let text = |path: &Path| fs::read_to_string(path).expect("it is text");
        assert_eq!((text(&renamed).as_str(), text(&path).as_str()), ("0\n1\n", "2\n"));
    }

    #[test]
    fn a_full_disk_costs_the_lines_and_nothing_else() {
        let before = DROPPED.get();
        let full = file(Path::new("/dev/full"));
        for _ in 0..100 {
            full.add(b"a line\n");
        }
        full.finish();
        assert!(DROPPED.get() >= before + 100);
        let missing = LineFile::open(LineTarget::File("/no/such/folder/access".into()));
        assert!(missing.err().expect("an error").contains("/no/such/folder/access cannot be opened"));
    }

    /// A writer that takes nothing: what waits is bounded, and nobody is delayed.
    #[test]
    fn a_disk_that_hangs_costs_the_lines_that_do_not_fit() {
        let hangs = LineFile(Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() }));
        let before = DROPPED.get();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..10 {
            hangs.add(&line);
        }
        assert_eq!(hangs.0.lock().waiting.len(), MAX_WAITING);
        assert!(DROPPED.get() >= before + 6);
        hangs.finish();
    }
}
