//! Runs one service: its address, its log, its health check and its stop.
//! A service that cannot start reports why on stderr and exits with 1; on an unknown flag it exits with 2.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::{BoxError, Problem, explain};

/// Longest time from the signal to stop to the end of the last response.
const GRACE: Duration = Duration::from_secs(5);
/// Longest time for each step of a health check.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// A nanoservice, as far as it is needed to run it.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Its name, as in its manifest.
    pub name: &'static str,
    /// The port that it listens on if `PORT` is not set.
    pub port: u16,
    /// The lines of `--help` that describe its environment variables.
    pub help: &'static str,
}

/// The whole `main` of a service: reads the flags, starts the log, and serves until a signal to stop.
pub fn run(service: Service, routes: impl FnOnce() -> Result<Router, BoxError>) -> ExitCode {
    let flag = std::env::args().nth(1);
    let address = match address(service.port) {
        Ok(address) => address,
        Err(problem) => {
            complain(format_args!("{}: {problem}", service.name));
            return ExitCode::FAILURE;
        }
    };
    match flag.as_deref() {
        None => {}
        Some("--health") => return health(address),
        Some("--help" | "-h") => {
            let Service { name, port, help } = service;
            let usage = format!("Usage: {name} [--health]\n\nEnvironment:\n");
            let usage =
                format!("{usage}  HOST  address to listen on (127.0.0.1)\n  PORT  port, 0 for any ({port})\n{help}\n");
            let written = std::io::stdout().write_all(usage.as_bytes());
            return if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        Some(flag) => {
            complain(format_args!("{}: unknown flag `{flag}`; see --help", service.name));
            return ExitCode::from(2);
        }
    }
    log();
    let served = routes().and_then(|routes| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(serve(service, address, routes))
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            complain(format_args!("{}: {}", service.name, explain(&*cause)));
            ExitCode::FAILURE
        }
    }
}

/// Prints a message to standard error, if that can be written to.
fn complain(message: std::fmt::Arguments<'_>) {
    let _written = writeln!(std::io::stderr(), "{message}");
}

async fn serve(service: Service, address: SocketAddr, routes: Router) -> Result<(), BoxError> {
    let routes = routes
        .route("/healthz", get(healthy))
        .fallback(|| async { Problem::not_found("no such path").into_response() })
        .layer(from_fn(trace));
    let listener = TcpListener::bind(address).await.map_err(|cause| cannot_listen(address, &cause))?;
    let (stopping, mut stopped) = tokio::sync::watch::channel(());
    // A service serves even if nobody can read where.
    let _written = writeln!(std::io::stdout(), "{} listening on http://{}", service.name, listener.local_addr()?);
    let serving = axum::serve(listener, routes).with_graceful_shutdown(async move {
        stop_signal().await;
        drop(stopping);
    });
    let overdue = async {
        // An error means that the sender was dropped, which is the signal.
        let _ = stopped.changed().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = serving => served?,
        () = overdue => tracing::warn!("stopped although connections were still open"),
    }
    tracing::info!("stopped");
    Ok(())
}

/// The message that an address cannot be listened on, with the process that has it, as far as this user may see it.
fn cannot_listen(address: SocketAddr, cause: &std::io::Error) -> String {
    if cause.kind() != std::io::ErrorKind::AddrInUse {
        return format!("cannot listen on {address}: {cause}");
    }
    let holder = listeners::get_process_by_port(address.port(), listeners::Protocol::TCP).ok();
    let by = holder.map(|holder| format!(" by {} (process {})", holder.name, holder.pid)).unwrap_or_default();
    format!("cannot listen on {address}: address already in use{by} (choose another with PORT)")
}

async fn healthy() -> Response {
    ([(header::CACHE_CONTROL, "no-store")], "ok").into_response()
}

/// Logs each request: failures as warnings, all others at `debug`.
async fn trace(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let uri = request.uri().clone();
    let parent = request.headers().get("traceparent").cloned();
    let response = next.run(request).await;
    let status = response.status();
    let ms = began.elapsed().as_secs_f64() * 1000.0;
    let parent = parent.as_ref().and_then(|value| value.to_str().ok());
    match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::INTERNAL_SERVER_ERROR => {
            tracing::warn!(%uri, status = status.as_u16(), ms, parent);
        }
        _ => tracing::debug!(%uri, status = status.as_u16(), ms, parent),
    }
    response
}

fn log() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr);
    // A line that cannot be written is lost: the log would panic if it could not report that either.
    log.log_internal_errors(false).init();
}

fn address(port: u16) -> Result<SocketAddr, String> {
    let host = match std::env::var("HOST") {
        Ok(text) if !text.is_empty() => {
            text.parse::<IpAddr>().map_err(|_| format!("HOST: `{text}` is not an IP address"))?
        }
        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let port = match std::env::var("PORT") {
        Ok(text) if !text.is_empty() => text.parse::<u16>().map_err(|_| format!("PORT: `{text}` is not a port"))?,
        _ => port,
    };
    Ok(SocketAddr::new(host, port))
}

/// Checks the health of a running service, by a request to its own address: its container has no other program for this.
fn health(mut address: SocketAddr) -> ExitCode {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    match is_healthy(address) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(cause) => {
            complain(format_args!("{address}: {cause}"));
            ExitCode::FAILURE
        }
    }
}

fn is_healthy(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, HEALTH_TIMEOUT)?;
    stream.set_read_timeout(Some(HEALTH_TIMEOUT))?;
    stream.set_write_timeout(Some(HEALTH_TIMEOUT))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut first = [0; 12];
    stream.read_exact(&mut first)?;
    Ok(&first == b"HTTP/1.1 200")
}

#[cfg(unix)]
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupt = tokio::signal::ctrl_c();
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => drop(interrupt.await),
    }
}

#[cfg(not(unix))]
async fn stop_signal() {
    let _ = tokio::signal::ctrl_c().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_message_names_address_variable_and_process() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = taken.local_addr().expect("an address");
        let cause = TcpListener::bind(address).await.expect_err("it is in use");
        let message = cannot_listen(address, &cause);
        let process = format!("(process {})", std::process::id());
        for wanted in [&*address.to_string(), "already in use by ", &process, "PORT"] {
            assert!(message.contains(wanted), "{message}");
        }
    }
}
