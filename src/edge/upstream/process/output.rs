//! The output of a program: its lines go to the log, and the last ones are remembered.
//! It is always read to its end: a program whose output nobody takes would stand still.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::page::policy::supervision::output::{LastLines, MAX_LINE, OutputGate, cut};

/// The bytes that are read at once.
const CHUNK: usize = 8 << 10;

/// The output of one process, standard output and standard error together.
#[derive(Clone)]
pub(super) struct Output(Arc<Mutex<State>>);

struct State {
    fragment: String,
    version: String,
    gate: OutputGate,
    last: LastLines,
}

impl Output {
    pub(super) fn new(fragment: &str, version: &str) -> Self {
        let (fragment, version) = (fragment.to_owned(), version.to_owned());
        let gate = OutputGate::new(Instant::now());
        Self(Arc::new(Mutex::new(State { fragment, version, gate, last: LastLines::default() })))
    }

    /// The last lines.
    pub(super) fn last(&self) -> Vec<String> {
        self.lock().last.to_vec()
    }

    /// Takes what a program writes, until it ends.
    pub(super) async fn take(self, mut stream: impl AsyncRead + Unpin) {
        let mut chunk = vec![0; CHUNK];
        let mut line = Vec::new();
        loop {
            let due = self.lock().gate.report_due();
            let read = async {
                match due {
                    Some(due) => tokio::time::timeout_at(due.into(), stream.read(&mut chunk)).await.ok(),
                    None => Some(stream.read(&mut chunk).await),
                }
            };
            match read.await {
                None => self.report_dropped(),
                Some(Ok(length)) if length > 0 => self.lines(&chunk[..length], &mut line),
                Some(_) => break,
            }
        }
        if !line.is_empty() {
            self.line(&line);
        }
        self.report_dropped();
    }

    /// Takes some bytes. The end of the last line, which is not complete, stays in `line`.
    fn lines(&self, bytes: &[u8], line: &mut Vec<u8>) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            // One byte more than is logged shows that the line is too long.
            let room = (MAX_LINE + 1).saturating_sub(line.len());
            let (text, ends) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            line.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.line(line);
                line.clear();
            }
        }
    }

    fn line(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        let text = cut(&text);
        let mut state = self.lock();
        state.last.push(text.to_owned());
        let passage = state.gate.line(Instant::now());
        if let Some(dropped) = passage.dropped {
            state.log_dropped(dropped);
        }
        if passage.is_logged {
            tracing::info!(fragment = state.fragment, version = state.version, "{text}");
        }
    }

    fn report_dropped(&self) {
        let mut state = self.lock();
        if let Some(dropped) = state.gate.report(Instant::now()) {
            state.log_dropped(dropped);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn log_dropped(&self, dropped: u64) {
        tracing::warn!(fragment = self.fragment, version = self.version, "{dropped} lines of output were dropped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_taken_whole_cut_where_too_long_and_never_lost_at_the_end() {
        let output = Output::new("a", "1.0.0");
        let long = "x".repeat(3 * MAX_LINE);
        let text = format!("one\r\n\ntwo\n{long}\nlast \u{fffd}");
        output.clone().take(text.as_bytes()).await;
        assert_eq!(output.last(), ["one", "", "two", &long[..MAX_LINE], "last \u{fffd}"]);
    }
}
