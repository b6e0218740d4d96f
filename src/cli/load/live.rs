//! The live line: rate, p50, p99, errors and a progress bar. There is none where the output is no terminal.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::page::source::units::show_ms;

use super::measure::statistics::Row;

/// The live line of one run.
pub(super) struct Live {
    bar: Option<ProgressBar>,
    begun: Instant,
    /// What was counted at the last look, and when that was.
    last: (u64, Instant),
}

impl Live {
    /// The line of a run that takes so long. `name`: what it is called if it is one of several.
    pub(super) fn new(duration: Duration, name: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let length = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{prefix}{bar:24} {percent:>3}%  {wide_msg}");
            bar.set_style(style.expect("the template is valid"));
            bar.set_prefix(name.to_owned());
            bar
        });
        let begun = Instant::now();
        Self { bar, begun, last: (0, begun) }
    }

    /// Shows what was counted so far.
    pub(super) fn show(&mut self, now: &Row) {
        let Some(bar) = &self.bar else { return };
        let (before, at) = std::mem::replace(&mut self.last, (now.requests, Instant::now()));
        #[expect(clippy::cast_precision_loss, reason = "some requests of a fraction of a second")]
        let rate = (now.requests - before) as f64 / at.elapsed().as_secs_f64().max(0.001);
        let errors: u64 = now.errors.iter().sum();
        bar.set_position(u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX));
        bar.set_message(format!(
            "{rate:.0}/s  p50 {}  p99 {}  {errors} errors",
            show_ms(now.latency_ms(0.5)),
            show_ms(now.latency_ms(0.99)),
        ));
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
