//! `pasteup serve`: pages on one listener, the operators' side on another, and files that are
//! read again as they change.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::{Flags, Server, Settings, Telemetry};
use crate::edge::admin::{self, Admin};
use crate::edge::clock::SystemClock;
use crate::edge::discovery::Discovery;
use crate::edge::files::SiteFolder;
use crate::edge::listen::tls::Shown;
use crate::edge::listen::{self, App, ConnectionLimits};
use crate::edge::observe::metrics::Metrics;
#[cfg(feature = "otlp")]
use crate::edge::observe::traces::Traces;
use crate::edge::server::dev::{Change, Dev, Fault, Instead};
use crate::edge::server::overlay::Overlay;
use crate::edge::server::{self, Chunks, Compression, Pages};
use crate::edge::store::memory::MemoryStore;
use crate::edge::upstream::http::HttpUpstream;
use crate::edge::upstream::tamper::Tampered;
use crate::engine::port::{Observer, Observers, Upstream};
use crate::engine::{Compositor, Live, Ports, Purge, PurgeMode, Statistics};
use crate::page::http::http1::Bodies;
use crate::page::source::diagnostic::Diagnostic;
use crate::page::source::secret::Reference;
use crate::secrets::passes::Passes;
use crate::secrets::{self, Secret, Secrets};

use super::loading::Loaded;
use super::reloading::{Reloader, snapshot};
use super::{CANNOT_RUN, asking, loading, report};

/// For whom a site is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// For its readers.
    Live,
    /// For those who write it.
    Dev,
}

pub(super) fn run(site: &Path, flags: Flags, mode: Mode) -> Result<ExitCode, String> {
    let folder = loading::open(site)?;
    let loaded = loading::load(&folder, flags, None, loading::ask_once);
    let problems = loaded.problems();
    for problem in &problems {
        anstream::eprintln!("{}\n", report::human(problem));
    }
    if loaded.settings_are_broken() {
        anstream::eprintln!("the settings have mistakes, so nothing was started");
        return Ok(CANNOT_RUN.into());
    }
    start_log(&loaded.settings.telemetry)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| error.to_string())?;
    let (tracer, stop_tracer) = tracer(&loaded.settings.telemetry)?;
    let served = runtime.block_on(serve(folder, flags, loaded, problems, mode, tracer));
    stop_tracer();
    served.map(|()| ExitCode::SUCCESS)
}

type Tracer = (Option<Arc<dyn Observer>>, Box<dyn FnOnce()>);

/// Who sends spans, where they are wanted, and what to do once there are no more.
#[cfg(feature = "otlp")]
fn tracer(telemetry: &Telemetry) -> Result<Tracer, String> {
    let Some(collector) = &telemetry.otlp else { return Ok((None, Box::new(|| ()))) };
    let traces = Arc::new(Traces::new(collector, Arc::new(SystemClock))?);
    let last = Arc::clone(&traces);
    Ok((Some(traces as _), Box::new(move || last.stop())))
}

#[cfg(not(feature = "otlp"))]
fn tracer(_: &Telemetry) -> Result<Tracer, String> {
    Ok((None, Box::new(|| ())))
}

fn start_log(telemetry: &Telemetry) -> Result<(), String> {
    use tracing_subscriber::EnvFilter;
    let filter =
        EnvFilter::try_new(&telemetry.log).map_err(|error| format!("telemetry.log `{}`: {error}", telemetry.log))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = !plain && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let started =
        if telemetry.json { log.json().try_init() } else { log.with_ansi(colours).with_target(false).try_init() };
    started.map_err(|error| error.to_string())
}

async fn serve(
    folder: SiteFolder,
    flags: Flags,
    loaded: Loaded,
    problems: Vec<Diagnostic>,
    mode: Mode,
    tracer: Option<Arc<dyn Observer>>,
) -> Result<(), String> {
    let Loaded { settings, site, discovered, fingerprint, .. } = loaded;
    let upstream = HttpUpstream::new(settings.private_upstreams, Secrets::new(folder.root().to_owned()))?;
    let upstream: Arc<dyn Upstream> = Arc::new(upstream);
    let tampered = Arc::new(Tampered::new(Arc::clone(&upstream)));
    let store = Arc::new(MemoryStore::new(settings.cache_memory));
    let metrics = Arc::new(Metrics::default());
    metrics.count_panics();
    let board = Arc::new(Statistics::new(Arc::new(SystemClock)));
    let told = [Arc::clone(&metrics) as _, Arc::clone(&board) as _].into_iter().chain(tracer);
    let observer: Arc<dyn Observer> = Arc::new(Observers(told.collect()));
    let ports = Ports {
        upstream: if mode == Mode::Dev { Arc::clone(&tampered) as _ } else { upstream },
        store: Arc::clone(&store) as _,
        clock: Arc::new(SystemClock),
        observer: Arc::clone(&observer),
        chance: fastrand::f64,
    };
    let compositor = Compositor::new(ports, Arc::clone(&store) as _);
    let live = Arc::new(Live::new(snapshot(site, &settings, problems.clone())));
    let ready = Arc::new(AtomicBool::new(true));
    let (stop, stop_admin) = (CancellationToken::new(), CancellationToken::new());
    let passes = Arc::new(Passes::new(settings.server.admin_token.as_ref().map(Secret::reveal))?);
    let (seen, changes) = watch::channel(change(0, &problems));
    let dev = (mode == Mode::Dev).then(|| Dev {
        changes,
        tamper: tamper(Arc::clone(&tampered), compositor.clone()),
        stop: stop.clone(),
    });
    let pages = Arc::new(Pages {
        live: Arc::clone(&live),
        compositor: compositor.clone(),
        observer,
        in_flight: Arc::new(Semaphore::new(settings.server.max_in_flight)),
        max_uri_bytes: settings.server.max_uri_bytes,
        compression: compression(&settings),
        overlay: if mode == Mode::Dev { Overlay::Everybody } else { Overlay::Holders(passes.clone()) },
        dev,
    });
    let (hot, written) = (Arc::clone(&pages), Arc::clone(&pages));
    let pages = App {
        at_once: Some(Arc::new(move |request, peer| unless_it_panics(|| hot.at_once(request, peer)))),
        at_once_written: Some(Arc::new(move |request, peer| {
            unless_it_panics(|| written.at_once_written(request, peer))
        })),
        router: server::router(pages),
    };
    let admin = admin::router(Arc::new(Admin {
        ready: Arc::clone(&ready),
        live: Arc::clone(&live),
        compositor: compositor.clone(),
        statistics: Arc::clone(&board),
        read_query: Box::new(asking::asked),
        passes,
        render_diagnostic: report::plain,
        usage: {
            let store = Arc::clone(&store);
            Box::new(move || store.usage())
        },
        stop: stop_admin.clone(),
        metrics: Box::new(move || metrics.render(store.usage())),
        token: settings.server.admin_token.as_ref().map(|token| token.reveal().to_owned()),
    }));
    let tls = settings.server.tls.clone().map(|files| certificate(files, folder.root().to_owned())).transpose()?;
    let mut handed = ListenFd::from_env();
    let listener = bind(&mut handed, 0, settings.server.listen).await?;
    let admin_listener = bind(&mut handed, 1, settings.server.admin).await?;
    let (changed, changes) = mpsc::channel(1);
    // What changed between the first reading and the watch is read again.
    changed.try_send(()).map_err(|error| error.to_string())?;
    let tell_change = move || {
        // A full channel already holds the news.
        let _full = changed.try_send(());
    };
    let watch = folder.watch(tell_change).map_err(|error| format!("the site cannot be watched: {error}"))?;
    let (sources, asked) = watch::channel(settings.discovery.clone());
    let begun = Discovery::new(&settings.discovery, loading::discovery_upstream()?).resume(&discovered);
    let (told, discovered) = watch::channel(discovered);
    let discovering = tokio::spawn(begun.run(asked, told, Arc::new(SystemClock)));
    let known = problems;
    let reloader = Reloader {
        folder,
        watch,
        flags,
        live,
        compositor: compositor.clone(),
        board,
        settings: settings.clone(),
        known,
        seen,
        fingerprint,
        sources,
        discovered,
    };
    let reloading = tokio::spawn(reloader.run(changes));

    let scheme = if tls.is_some() { "https" } else { "http" };
    println!("listening on {scheme}://{}", listener.local_addr().map_err(|error| error.to_string())?);
    println!("admin on http://{}", admin_listener.local_addr().map_err(|error| error.to_string())?);

    let counting = tokio::spawn(tell_often(compositor.clone()));
    let limits = limits(&settings.server);
    let serving = tokio::spawn(listen::serve(listener, pages, limits, tls.clone(), stop.clone().cancelled_owned()));
    let administering = tokio::spawn(listen::serve(
        admin_listener,
        App::<Chunks> { at_once: None, at_once_written: None, router: admin },
        ConnectionLimits { drain: Duration::ZERO, bodies: Bodies::Passed, ..limits },
        None,
        stop_admin.clone().cancelled_owned(),
    ));
    tell(NotifyState::Ready);
    stop_signal().await?;
    tell(NotifyState::Stopping);
    tracing::info!("stopping: requests under way are answered");
    ready.store(false, Ordering::Release);
    reloading.abort();
    discovering.abort();
    counting.abort();
    stop.cancel();
    // The admin side answers for as long as pages are still being sent.
    let served = serving.await;
    stop_admin.cancel();
    let administered = administering.await;
    served.and(administered).map_err(|error| error.to_string())
}

impl listen::Ready for Chunks {
    fn let_go(&mut self) {
        self.release();
    }
}

/// A mistake of ours is for the long way, whose layers make an error page of it.
fn unless_it_panics<T>(answer: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(answer)).ok()?
}

/// Has pages that are kept whole counted soon after they were sent: what is counted late counts as of then.
async fn tell_often(compositor: Compositor) {
    let mut ticks = tokio::time::interval(COUNTED);
    loop {
        ticks.tick().await;
        compositor.flush_counters();
    }
}

/// What browsers are told of a change, of a site that is being developed.
pub(super) fn change(version: u64, problems: &[Diagnostic]) -> Change {
    let errors = problems.iter().filter(|problem| problem.is_error());
    Change { process: std::process::id(), version, problems: errors.map(report::plain).collect() }
}

/// Tampers with a nanoservice, and forgets what it answered before.
fn tamper(upstream: Arc<Tampered>, compositor: Compositor) -> Box<dyn Fn(Fault) + Send + Sync> {
    Box::new(move |Fault { fragment, delay, what }| {
        let instead = match what {
            Instead::Answer => None,
            Instead::Fail => Some(StatusCode::INTERNAL_SERVER_ERROR),
            Instead::Empty => Some(StatusCode::NO_CONTENT),
        };
        upstream.set(fragment.clone(), delay, instead);
        compositor.purge(&Purge::Tags(vec![fragment.into()]), PurgeMode::Hard);
    })
}

/// How often pages that are kept whole are counted.
const COUNTED: Duration = Duration::from_secs(1);
/// Where a certificate is looked for again.
const CERTIFICATE: Duration = Duration::from_secs(3);

/// The certificate of the pages, and a task that takes up new ones.
fn certificate((certificate, key): (Reference, Reference), root: PathBuf) -> Result<Arc<Shown>, String> {
    let read = move || {
        let text = |reference: &Reference| {
            secrets::look_up(reference, &root)
                .map(|text| text.reveal().to_owned())
                .map_err(|why| format!("{reference}: {why}"))
        };
        Ok((text(&certificate)?, text(&key)?))
    };
    let shown = Shown::read(Box::new(read)).map_err(|why| format!("server.tls: {why}"))?;
    let renewed = Arc::clone(&shown);
    tokio::spawn(async move {
        let mut said = None;
        loop {
            tokio::time::sleep(CERTIFICATE).await;
            match renewed.refresh() {
                Ok(true) => tracing::info!("another certificate is shown"),
                Ok(false) => {}
                Err(why) if said.as_ref() == Some(&why) => continue,
                Err(why) => {
                    tracing::error!("the certificate of before is shown: {why}");
                    said = Some(why);
                    continue;
                }
            }
            said = None;
        }
    });
    Ok(shown)
}

fn limits(server: &Server) -> ConnectionLimits {
    ConnectionLimits {
        header_timeout: server.header_timeout,
        idle_timeout: server.idle_timeout,
        write_timeout: server.write_timeout,
        max_header_bytes: server.max_header_bytes,
        drain: server.drain,
        bodies: Bodies::Dropped,
    }
}

fn compression(settings: &Settings) -> Compression {
    let has = |coding| settings.compression.contains(&coding);
    Compression { br: has("br"), zstd: has("zstd"), gzip: has("gzip") }
}

/// A listener that systemd hands over, by its number (pages first, then the operators' side), or else
/// one of our own.
async fn bind(handed: &mut ListenFd, number: usize, address: SocketAddr) -> Result<TcpListener, String> {
    let handed = handed.take_tcp_listener(number).map_err(|error| format!("socket {number} of systemd: {error}"))?;
    let listener = match handed {
        Some(listener) => listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener)),
        None => open(address),
    };
    listener.map_err(|error| format!("{address} cannot be listened on: {error}"))
}

/// Connections that wait to be accepted. tokio's own 128 are full when a few hundred readers come at one
/// moment, and who finds no room tries again after a whole second.
const WAITING: u32 = 4096;

fn open(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING)
}

/// Tells systemd, where it is there, how far things are.
fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

/// Ends at SIGTERM or ctrl-c.
async fn stop_signal() -> Result<(), String> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        pressed = tokio::signal::ctrl_c() => pressed.map_err(|error| error.to_string()),
    }
}
