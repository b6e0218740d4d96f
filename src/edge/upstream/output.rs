//! What nanoservices on demand write to standard output and standard error: lines of the log, and the last ones.
//! The output of a program is always read to its end: one whose output nobody takes would stand still.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::page::policy::supervision::output::{LastLines, MAX_LINE, OutputGate, cut};

/// The bytes that are read at once.
const CHUNK: usize = 8 << 10;

/// The lines of one nanoservice in the log, which are limited together.
#[derive(Clone)]
pub(super) struct OutputLog(Arc<Mutex<Logged>>);

struct Logged {
    fragment: String,
    version: String,
    gate: OutputGate,
    /// Whether a task waits to report what was dropped.
    is_reporting: bool,
}

/// The output of one process or instance, standard output and standard error together.
#[derive(Clone)]
pub(super) struct Output {
    log: OutputLog,
    last: Arc<Mutex<LastLines>>,
}

/// A stream of output, which is cut into lines. The last line ends with it.
pub(super) struct Lines {
    output: Output,
    /// The line that is not complete.
    line: Vec<u8>,
}

impl OutputLog {
    pub(super) fn new(fragment: &str, version: &str) -> Self {
        let (fragment, version) = (fragment.to_owned(), version.to_owned());
        let gate = OutputGate::new(Instant::now());
        Self(Arc::new(Mutex::new(Logged { fragment, version, gate, is_reporting: false })))
    }

    fn line(&self, text: &str) {
        let mut logged = self.lock();
        let passage = logged.gate.line(Instant::now());
        if let Some(dropped) = passage.dropped {
            logged.report(dropped);
        }
        if passage.is_logged {
            tracing::info!(fragment = logged.fragment, version = logged.version, "{text}");
        } else if !std::mem::replace(&mut logged.is_reporting, true) {
            tokio::spawn(self.clone().report_dropped());
        }
    }

    /// Reports how many lines were dropped, once a second while there are any.
    async fn report_dropped(self) {
        loop {
            let due = {
                let mut logged = self.lock();
                if let Some(dropped) = logged.gate.report(Instant::now()) {
                    logged.report(dropped);
                }
                let due = logged.gate.report_due();
                logged.is_reporting = due.is_some();
                due
            };
            let Some(due) = due else { return };
            tokio::time::sleep_until(due.into()).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Logged> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Logged {
    fn report(&self, dropped: u64) {
        tracing::warn!(fragment = self.fragment, version = self.version, "{dropped} lines of output were dropped");
    }
}

impl Output {
    pub(super) fn new(log: OutputLog) -> Self {
        Self { log, last: Arc::default() }
    }

    /// The last lines.
    pub(super) fn last(&self) -> Vec<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).to_vec()
    }

    /// A stream of it.
    pub(super) fn lines(&self) -> Lines {
        Lines { output: self.clone(), line: Vec::new() }
    }

    /// Takes what a program writes, until it ends.
    pub(super) async fn take(self, mut stream: impl AsyncRead + Unpin) {
        let (mut chunk, mut lines) = (vec![0; CHUNK], self.lines());
        while let Ok(length) = stream.read(&mut chunk).await
            && length > 0
        {
            lines.write(&chunk[..length]);
        }
    }

    fn line(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        let text = cut(&text);
        self.last.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
        self.log.line(text);
    }
}

impl Lines {
    /// Takes some bytes. The end of the last line, which is not complete, is kept.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            // One byte more than is logged shows that the line is too long.
            let room = (MAX_LINE + 1).saturating_sub(self.line.len());
            let (text, ends) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.output.line(&self.line);
                self.line.clear();
            }
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.output.line(&self.line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_taken_whole_cut_where_too_long_and_never_lost_at_the_end() {
        let output = Output::new(OutputLog::new("a", "1.0.0"));
        let long = "x".repeat(3 * MAX_LINE);
        let text = format!("one\r\n\ntwo\n{long}\nlast \u{fffd}");
        output.clone().take(text.as_bytes()).await;
        assert_eq!(output.last(), ["one", "", "two", &long[..MAX_LINE], "last \u{fffd}"]);
    }
}
