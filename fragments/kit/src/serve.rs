//! Runs one service: its address, its log, its health, its end. A service that cannot start says
//! why on stderr and exits with 1; one asked with a flag that it does not know, with 2.

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

/// Longest time from the signal to stop to the last answer.
const GRACE: Duration = Duration::from_secs(5);
/// Longest time for each step of asking for one's own health.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// One nanoservice: what it is called, and where it listens unless told otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// As in its manifest.
    pub name: &'static str,
    /// Where the environment has no `PORT`.
    pub port: u16,
    /// What `--help` prints below the usage: the environment variables that it reads.
    pub help: &'static str,
}

/// The whole of a service's `main`: flags, log, routes, serving until told to stop.
pub fn run(service: Service, routes: impl FnOnce() -> Result<Router, BoxError>) -> ExitCode {
    let flag = std::env::args().nth(1);
    let address = match address(service.port) {
        Ok(address) => address,
        Err(problem) => {
            eprintln!("{}: {problem}", service.name);
            return ExitCode::FAILURE;
        }
    };
    match flag.as_deref() {
        None => {}
        Some("--health") => return health(address),
        Some("--help" | "-h") => {
            let Service { name, port, help } = service;
            println!("Usage: {name} [--health]\n\nEnvironment:");
            println!("  HOST  address to listen on (127.0.0.1)\n  PORT  port, 0 for any ({port})");
            println!("{help}");
            return ExitCode::SUCCESS;
        }
        Some(flag) => {
            eprintln!("{}: `{flag}` is not known; see --help", service.name);
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
            eprintln!("{}: {}", service.name, explain(&*cause));
            ExitCode::FAILURE
        }
    }
}

async fn serve(service: Service, address: SocketAddr, routes: Router) -> Result<(), BoxError> {
    let routes = routes
        .route("/healthz", get(healthy))
        .fallback(|| async { Problem::not_found("no such path").into_response() })
        .layer(from_fn(trace));
    let listener = TcpListener::bind(address).await.map_err(|cause| format!("cannot listen on {address}: {cause}"))?;
    let (stopping, mut stopped) = tokio::sync::watch::channel(());
    println!("{} listening on http://{}", service.name, listener.local_addr()?);
    let serving = axum::serve(listener, routes).with_graceful_shutdown(async move {
        told_to_stop().await;
        drop(stopping);
    });
    let late = async {
        // An error means that the sender is gone, which is the very signal.
        let _ = stopped.changed().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = serving => served?,
        () = late => tracing::warn!("stopped with connections still open"),
    }
    tracing::info!("stopped");
    Ok(())
}

async fn healthy() -> Response {
    ([(header::CACHE_CONTROL, "no-store")], "ok").into_response()
}

/// One line a request. Good ones at `debug`: the compositor in front has its own access log.
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
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
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

/// Asks the service on its own address: an image made from scratch has no other program to do so.
fn health(mut address: SocketAddr) -> ExitCode {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    match ask(address) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(cause) => {
            eprintln!("{address}: {cause}");
            ExitCode::FAILURE
        }
    }
}

fn ask(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, HEALTH_TIMEOUT)?;
    stream.set_read_timeout(Some(HEALTH_TIMEOUT))?;
    stream.set_write_timeout(Some(HEALTH_TIMEOUT))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut first = [0; 12];
    stream.read_exact(&mut first)?;
    Ok(&first == b"HTTP/1.1 200")
}

#[cfg(unix)]
async fn told_to_stop() {
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
async fn told_to_stop() {
    let _ = tokio::signal::ctrl_c().await;
}
