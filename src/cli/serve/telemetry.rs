//! Starts the log, and the export of spans if a collector is configured.
//! An invalid log filter, and a collector that cannot be set up, stop the start.

use std::io::IsTerminal as _;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::config::Telemetry;
#[cfg(feature = "otlp")]
use crate::edge::clock::SystemClock;
use crate::edge::observe::line_file::LineFile;
use crate::edge::observe::log::LogWriter;
#[cfg(feature = "otlp")]
use crate::edge::observe::traces::Traces;
use crate::engine::port::Observer;

/// The observer that exports spans, if any, and a function that exports the last ones and stops it.
pub(super) type Tracer = (Option<Arc<dyn Observer>>, Box<dyn FnOnce()>);

/// Starts the export of spans to the collector in the settings.
#[cfg(feature = "otlp")]
pub(super) fn start_tracer(telemetry: &Telemetry) -> Result<Tracer, String> {
    let Some(collector) = &telemetry.otlp else { return Ok((None, Box::new(|| ()))) };
    let traces = Arc::new(Traces::new(collector, Arc::new(SystemClock))?);
    let stopped = Arc::clone(&traces);
    Ok((Some(traces as _), Box::new(move || stopped.stop())))
}

/// Exports nothing: this build has no OTLP.
#[cfg(not(feature = "otlp"))]
pub(super) fn start_tracer(_: &Telemetry) -> Result<Tracer, String> {
    Ok((None, Box::new(|| ())))
}

/// Opens the access log, and opens it again at each SIGHUP.
///
/// # Errors
/// The file cannot be opened.
pub(super) fn start_access_log(telemetry: &Telemetry) -> Result<Option<Arc<LineFile>>, String> {
    let Some(target) = telemetry.access_log.clone() else { return Ok(None) };
    let file = Arc::new(LineFile::open(target)?);
    let mut hangups = signal(SignalKind::hangup()).map_err(|error| error.to_string())?;
    let reopened = Arc::downgrade(&file);
    tokio::spawn(async move {
        while let (Some(()), Some(file)) = (hangups.recv().await, reopened.upgrade()) {
            file.reopen();
        }
    });
    Ok(Some(file))
}

/// Starts the log on standard error. The log itself reports no failures: it would print them, which panics if it fails.
pub(super) fn start_log(telemetry: &Telemetry) -> Result<(), String> {
    let filter =
        EnvFilter::try_new(&telemetry.log).map_err(|error| format!("telemetry.log `{}`: {error}", telemetry.log))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| LogWriter).log_internal_errors(false);
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = !no_color && std::io::stderr().is_terminal();
    let started =
        if telemetry.json { log.json().try_init() } else { log.with_ansi(colours).with_target(false).try_init() };
    started.map_err(|error| error.to_string())
}
