//! Writes the log to standard error.
//! A line that cannot be written is dropped and counted: a full disk, or a pipe whose reader left, delays and ends nothing.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::LazyLock;

use prometheus_client::metrics::counter::Counter;

/// The number of lines that could not be written. A process has one standard error, so it has one counter.
static DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);

/// The counter of the lines that could not be written.
#[must_use]
pub fn dropped_lines() -> &'static Counter {
    &DROPPED
}

/// Standard error as the log writes to it, one line at a time. It never fails: the log would report the failure on standard
/// error again.
#[derive(Debug, Default)]
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if io::stderr().lock().write_all(&in_one_line(line)).is_err() {
            DROPPED.inc();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event without the line ends inside it, which could imitate another event.
fn in_one_line(event: &[u8]) -> Cow<'_, [u8]> {
    let (text, end) = match event.split_last() {
        Some((b'\n', text)) => (text, &b"\n"[..]),
        _ => (event, &b""[..]),
    };
    if memchr::memchr2(b'\n', b'\r', text).is_none() {
        return Cow::Borrowed(event);
    }
    let mut line = Vec::with_capacity(event.len() + 8);
    for byte in text {
        match byte {
            b'\n' => line.extend(br"\n"),
            b'\r' => line.extend(br"\r"),
            byte => line.push(*byte),
        }
    }
    line.extend(end);
    Cow::Owned(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        for (event, line) in [("", ""), ("a\n", "a\n"), ("a\r\nb\n", "a\\r\\nb\n"), ("\n\n", "\\n\n"), ("a", "a")] {
            assert_eq!(*in_one_line(event.as_bytes()), *line.as_bytes(), "{event:?}");
        }
    }
}
