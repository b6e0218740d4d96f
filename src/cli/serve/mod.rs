//! `pasteup serve` and `pasteup dev`: pages on one listener, the admin interface on another, and reloads in between.
//! Invalid settings stop the start; errors in layouts and manifests are reported, and the valid ones are served.

mod certificate;
mod cluster;
mod listener;
mod shown;
mod telemetry;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use http::StatusCode;
use http::request::Parts;
use hyper::body::Incoming;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::{Flags, Server, Settings};
use crate::edge::admin::{self, Admin};
use crate::edge::clock::SystemClock;
use crate::edge::discovery::Discovery;
use crate::edge::files::{SiteFolder, WatchMode};
use crate::edge::listen::{self, Application, ConnectionLimits};
use crate::edge::observe::metrics::{Measured, Metrics};
use crate::edge::server::access::AccessLog;
use crate::edge::server::dev::{Change, Dev, Fault, Instead, Tamper};
use crate::edge::server::overlay::Overlay;
use crate::edge::server::{Chunks, Compression, PageServer, Pages, PublicFiles, Reply, ReplyBody};
use crate::edge::store::memory::MemoryStore;
use crate::edge::upstream::tamper::Tampered;
use crate::edge::versions::VersionsFile;
use crate::engine::load::LoadRuns;
use crate::engine::port::{Observer, Observers, Upstream};
use crate::engine::{Compositor, IncidentLog, Live, Ports, Purge, PurgeMode, Statistics};
use crate::page::http::http1::Bodies;
use crate::page::manifest::Manifest;
use crate::page::source::diagnostic::Diagnostic;
use crate::secrets::Secrets;
use crate::secrets::debug_tokens::DebugTokens;

use super::exit::COULD_NOT_RUN;
use super::keys::{self, ServerKeys};
use super::reload::{self, OnReplaced, Reloader, Triggers};
use super::site_loading::{self, Loaded, OnDemand};
use super::{page_request, report, terminal};

use listener::Role;

/// How often the counters of cached pages are flushed.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// File descriptors that are held in reserve for the admin listener, so that it can be reached when clients use all others.
const ADMIN_RESERVE: usize = 8;

/// The options of `pasteup serve` and `pasteup dev`.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Address of the page listener (port 0 picks a free one)
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Address of the admin listener (health, metrics, console)
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// Does not start without a pasteup.lock that covers every range
    #[arg(long)]
    locked: bool,
}

/// How a site is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// To its readers.
    Live,
    /// To its authors, with live reload and the overlay.
    Development,
}

pub(super) fn run(site: &Path, options: &Options, mode: Mode) -> Result<ExitCode, String> {
    let flags = Flags { listen: options.listen, admin: options.admin };
    let folder = site_loading::open(site)?;
    let loaded = site_loading::load(&folder, flags, None, site_loading::discover_once);
    let problems = loaded.problems();
    for problem in &problems {
        terminal::message(format_args!("{}\n", report::human(problem)));
    }
    if loaded.settings_are_broken() {
        terminal::message("not started: the settings have errors");
        return Ok(COULD_NOT_RUN.into());
    }
    if let Some(why) = loaded.site.what_is_not_locked().filter(|_| options.locked) {
        terminal::message(format_args!("not started: {why}"));
        return Ok(COULD_NOT_RUN.into());
    }
    telemetry::start_log(&loaded.settings.telemetry)?;
    let keys = ServerKeys::of(&loaded.settings.server)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| error.to_string())?;
    let (tracer, stop_tracer) = telemetry::start_tracer(&loaded.settings.telemetry)?;
    let served = runtime.block_on(serve(folder, flags, loaded, problems, mode, keys, tracer));
    stop_tracer();
    served.map(|()| ExitCode::SUCCESS)
}

async fn serve(
    folder: SiteFolder,
    flags: Flags,
    loaded: Loaded,
    problems: Vec<Diagnostic>,
    mode: Mode,
    keys: ServerKeys,
    tracer: Option<Arc<dyn Observer>>,
) -> Result<(), String> {
    let Loaded { settings, site, discovered, mut fingerprint, book, .. } = loaded;
    let store = Arc::new(MemoryStore::new(settings.cache_memory));
    let metrics = Arc::new(Metrics::default());
    metrics.count_panics();
    let statistics = Arc::new(Statistics::new(Arc::new(SystemClock)));
    let incidents = Arc::new(IncidentLog::default());
    let observers = [Arc::clone(&metrics) as _, Arc::clone(&statistics) as _, Arc::clone(&incidents) as _];
    let observers = observers.into_iter().chain(tracer);
    let observer: Arc<dyn Observer> = Arc::new(Observers(observers.collect()));
    let (upstream, on_demand) = site_loading::upstream(&folder, &settings, Arc::clone(&observer))?;
    let OnDemand { programs, components } = on_demand.clone();
    let broken = components.load(site_loading::live_manifests(&site)).problems;
    for problem in &broken {
        terminal::message(format_args!("{}\n", report::human(problem)));
    }
    let problems = reload::with_components(problems, broken);
    let upstream: Arc<dyn Upstream> = Arc::new(upstream);
    let tampered = Arc::new(Tampered::new(Arc::clone(&upstream)));
    let ports = Ports {
        upstream: if mode == Mode::Development { Arc::clone(&tampered) as _ } else { upstream },
        store: Arc::clone(&store) as _,
        clock: Arc::new(SystemClock),
        observer: Arc::clone(&observer),
        chance: fastrand::f64,
    };
    let shared_store = cluster::store(&settings, &keys.site)?;
    let shared = shared_store.as_ref().map(|store| Arc::clone(&store.shared));
    let compositor = Compositor::with_shared(ports, Arc::clone(&store) as _, shared.clone());
    let address_key = keys::address_key(&keys.site);
    let live = Arc::new(Live::new(site_loading::snapshot(site, &settings, &address_key, problems.clone())));
    let versions = VersionsFile::new(settings.server.state.clone());
    compositor.rollouts().resume(book, Some(Arc::new(versions)));
    if let Some(store) = &shared_store {
        let has_rollouts = live.now().site.catalogue.manifests().iter().any(|one| one.rollout.is_some());
        cluster::join_rollouts(compositor.rollouts(), store, has_rollouts).await;
    }
    let mut turns = compositor.rollouts().turns();
    compositor.rollouts().go_live(&live.now().site, compositor.now());
    if turns.has_changed().unwrap_or(false) {
        // The other replicas show other versions.
        turns.mark_unchanged();
        let (now, book) = (live.now(), compositor.rollouts().snapshot());
        let again = site_loading::load_again(&folder, flags, (&now.site, &settings), discovered.clone(), book);
        fingerprint = again.fingerprint;
        live.swap(site_loading::snapshot(again.site, &settings, &address_key, problems.clone()));
        compositor.rollouts().go_live(&live.now().site, compositor.now());
    }
    // With a shared store, only once it has been read what is wanted most.
    let ready = Arc::new(AtomicBool::new(shared.is_none()));
    let (stop, stop_admin) = (CancellationToken::new(), CancellationToken::new());
    let debug_tokens = Arc::new(DebugTokens::new(&keys.site));
    let (reloaded, reloads) = watch::channel(reload::change(0, &problems));
    let replaced: Arc<OnReplaced> =
        Arc::new(show_new_responses(compositor.clone(), (mode == Mode::Development).then(|| reloaded.clone())));
    programs.on_replaced({
        let replaced = Arc::clone(&replaced);
        move |manifest| replaced(manifest)
    });
    let dev = (mode == Mode::Development).then(|| {
        let tamper = tamper(Arc::clone(&tampered), compositor.clone());
        Dev::new(reloads, tamper, stop.clone(), settings.server.listen.ip())
    });
    let in_flight = Arc::new(Semaphore::new(settings.server.max_in_flight));
    let load_runs = Arc::new(LoadRuns::new(settings.telemetry.slowest));
    let access_log = telemetry::start_access_log(&settings.telemetry)?;
    let format = settings.telemetry.access_format;
    let pages = PageServer::new(Pages {
        access_log: access_log.clone().map(|file| {
            let write = Box::new(move |line: &[u8]| file.add(line));
            Arc::new(AccessLog { format, write })
        }),
        live: Arc::clone(&live),
        compositor: compositor.clone(),
        observer,
        in_flight: Arc::clone(&in_flight),
        max_uri_bytes: settings.server.max_uri_bytes,
        public: PublicFiles {
            open: {
                let folder = folder.clone();
                Arc::new(move |path| folder.open_public(path))
            },
            // Whoever writes a site wants to see each change.
            max_age: (mode == Mode::Live).then_some(settings.server.public_max_age),
        },
        compression: compression(&settings),
        load_runs: Arc::clone(&load_runs),
        is_tls: settings.server.tls.is_some(),
        overlay: if mode == Mode::Development {
            Overlay::AllClients
        } else {
            Overlay::Holders(Arc::clone(&debug_tokens))
        },
        dev,
    });
    let (reload, requests) = mpsc::channel(1);
    let root = folder.root().to_owned();
    let tls = settings.server.tls.clone().map(|files| certificate::watch(files, root)).transpose()?;
    let mut passed = ListenFd::from_env();
    let listener = listener::bind(&mut passed, Role::Pages, settings.server.listen).await?;
    let admin_listener = listener::bind(&mut passed, Role::Admin, settings.server.admin).await?;
    let admin_address = admin_listener.local_addr().map_err(|error| error.to_string())?;
    let trusted = site_loading::discovery_upstream(&settings.discovery)?;
    let replica =
        cluster::cluster(&settings, admin_address, compositor.clone(), shared_store.as_ref(), Arc::clone(&trusted));
    let admin = admin::router(Arc::new(Admin {
        purge: {
            let replica = Arc::clone(&replica);
            Box::new(move |purge, mode| cluster::purge(&replica, purge, mode))
        },
        tell: {
            let replica = Arc::clone(&replica);
            Box::new(move |told| cluster::tell(&replica, told))
        },
        cluster: {
            let replica = Arc::clone(&replica);
            Box::new(move || replica.report())
        },
        cluster_token: cluster::token(&settings),
        reload,
        ready: Arc::clone(&ready),
        live: Arc::clone(&live),
        compositor: compositor.clone(),
        statistics: Arc::clone(&statistics),
        read_query: {
            let compositor = compositor.clone();
            Box::new(move |query, live, now| page_request::from_query(query, live, now, compositor.rollouts()))
        },
        load_runs: Arc::clone(&load_runs),
        debug_tokens,
        render_diagnostic: report::plain,
        load: {
            let (store, in_flight) = (Arc::clone(&store), Arc::clone(&in_flight));
            let limit = settings.server.max_in_flight;
            Box::new(move || shown::load(&store, &in_flight, limit))
        },
        about: shown::about(),
        probe: {
            let (secrets, defaults) =
                (Arc::new(Secrets::new(folder.root().to_owned())), Arc::new(settings.defaults.clone()));
            Box::new(move |manifest| shown::probe(manifest, Arc::clone(&secrets), Arc::clone(&defaults)).boxed())
        },
        program: {
            let programs = programs.clone();
            Box::new(move |manifest| programs.status(manifest))
        },
        component: {
            let components = components.clone();
            Box::new(move |manifest| components.status(manifest))
        },
        stop: stop_admin.clone(),
        metrics: {
            let (programs, live, replica) = (programs.clone(), Arc::clone(&live), Arc::clone(&replica));
            let (statistics, in_flight) = (Arc::clone(&statistics), Arc::clone(&in_flight));
            let rolled_out_by = compositor.clone();
            let limit = settings.server.max_in_flight;
            Box::new(move || {
                let manifests = site_loading::live_manifests(&live.now().site).collect::<Vec<_>>();
                let status = |manifest: &Arc<Manifest>| Some((Arc::clone(manifest), programs.status(manifest)?));
                metrics.show_programs(manifests.iter().filter_map(status));
                let rollouts = rolled_out_by.rollouts().statuses(rolled_out_by.now());
                metrics.show_rollouts(rollouts.iter().map(|one| (&*one.name, &*one.candidate, one.state.as_str())));
                let (cache_bytes, cache_entries) = store.usage();
                metrics.render(Measured {
                    cache_bytes,
                    cache_limit_bytes: store.max_bytes(),
                    cache_entries,
                    cache_evictions: store.evictions(),
                    in_flight: limit.saturating_sub(in_flight.available_permits()),
                    in_flight_limit: limit,
                    cluster: replica.measured(),
                    shared: replica.shared().map(|shared| {
                        let lookups = shared.lookups().map(|(end, times)| (end.as_str(), times));
                        (shared.state().0.number(), lookups.to_vec())
                    }),
                    health: statistics.health(),
                })
            })
        },
        token: keys.admin_token.clone(),
        listens_on: settings.server.admin.ip(),
    }));
    // Not earlier: the sockets that systemd passes would be inherited by programs.
    programs.declare(site_loading::live_manifests(&live.now().site), settings.max_processes);
    // From here on, SIGHUP no longer ends the process.
    let hangups = signal(SignalKind::hangup()).map_err(|error| error.to_string())?;
    let (changed, changes) = mpsc::channel(1);
    if settings.server.watch != WatchMode::Off {
        // One reload at the start, which begins to watch: files may have changed since they were read.
        changed.try_send(()).map_err(|error| error.to_string())?;
    }
    let on_change = move || {
        // If the channel is full, a reload is due anyway.
        let _full = changed.try_send(());
    };
    let watch = Arc::new(Mutex::new(folder.watch(settings.server.watch, on_change)));
    let (sources, wanted_sources) = watch::channel(settings.discovery.clone());
    let discovery = Discovery::new(&settings.discovery, trusted).resume(&discovered);
    let (found, discovered) = watch::channel(discovered);
    let discovering = tokio::spawn(discovery.run(wanted_sources, found, Arc::new(SystemClock)));
    let rolled_out = Arc::clone(&live);
    let public_files = (mode == Mode::Development).then(|| folder.public_files());
    let reloader = Reloader {
        folder,
        watch,
        flags,
        live,
        compositor: compositor.clone(),
        on_demand,
        replaced,
        program_files: (mode == Mode::Development).then(HashMap::new),
        public_files,
        statistics,
        settings: settings.clone(),
        address_key,
        reported: problems,
        reloaded,
        fingerprint,
        sources,
        discovered,
        turns,
    };
    let reloading = tokio::spawn(reloader.run(Triggers { changes, requests, hangups }));

    let scheme = if tls.is_some() { "https" } else { "http" };
    let address = |listener: &TcpListener| listener.local_addr().map_err(|error| error.to_string());
    let (pages_at, admin_at) = (address(&listener)?, address(&admin_listener)?);
    // A token that nobody has seen yet is shown once, in a link that browsers log in with.
    let new_token = keys.admin_token.as_ref().filter(|_| keys.has_new_token);
    let log_in = new_token.map(|token| format!("log in at http://admin:{}@{}/\n", token.reveal(), reachable(admin_at)));
    // A site is served even if nobody can read where.
    if let Err(error) = terminal::print(format_args!(
        "listening on {scheme}://{pages_at}\nadmin on http://{admin_at}\n{}",
        log_in.unwrap_or_default()
    )) {
        tracing::warn!("{error}; listening on {scheme}://{pages_at}, admin on http://{admin_at}");
    }

    let flushing = tokio::spawn(flush_counters(compositor.clone(), load_runs));
    let rolling = tokio::spawn(roll_out(compositor.clone(), Arc::clone(&rolled_out)));
    let mut clustering = replica.start();
    if let Some(store) = &shared_store {
        clustering.push(tokio::spawn(cluster::tick(Arc::clone(&store.shared))));
        clustering.push(tokio::spawn(store.warm_up(&compositor, &ready)));
        clustering.push(tokio::spawn(cluster::decide_rollouts(compositor.clone())));
    }
    let limits = limits(&settings.server);
    let serving = tokio::spawn(listen::serve(listener, pages, limits, tls.clone(), stop.clone().cancelled_owned()));
    let administering = tokio::spawn(listen::serve(
        admin_listener,
        admin,
        ConnectionLimits { drain: Duration::ZERO, bodies: Bodies::Passed, reserve: ADMIN_RESERVE, ..limits },
        None,
        stop_admin.clone().cancelled_owned(),
    ));
    notify_systemd(NotifyState::Ready);
    stop_signal().await?;
    notify_systemd(NotifyState::Stopping);
    tracing::info!("stopping: draining requests");
    clustering.iter().for_each(tokio::task::JoinHandle::abort);
    ready.store(false, Ordering::Release);
    reloading.abort();
    discovering.abort();
    flushing.abort();
    rolling.abort();
    stop.cancel();
    // The admin listener stays open until all pages have been sent.
    let served = serving.await;
    programs.stop_all().await;
    if let Some(store) = &shared_store {
        store.flush(compositor.rollouts()).await;
    }
    compositor.rollouts().keep();
    replica.leave().await;
    stop_admin.cancel();
    let administered = administering.await;
    incidents.finish();
    if let Some(log) = access_log {
        log.finish();
    }
    served.and(administered).map_err(|error| error.to_string())
}

impl Application for PageServer {
    type Reply = Reply;

    fn call(&self, request: Parts, _: Option<Incoming>, client: SocketAddr) -> listen::PendingReply<Reply> {
        self.call(request, client)
    }

    fn refuse(&self, status: StatusCode) -> Reply {
        self.refuse(status)
    }
}

impl listen::Reply for Reply {
    type Body = ReplyBody;
    type InMemory = Chunks;

    fn into_http(self) -> http::Response<ReplyBody> {
        self.into_http()
    }

    fn into_http1(self) -> Result<(Vec<u8>, Chunks), Box<Self>> {
        self.into_http1()
    }
}

impl listen::InMemory for Chunks {
    fn release_permit(&mut self) {
        self.release_permit();
    }
}

/// An address at which a browser on this machine reaches a listener: one that listens on all addresses has no address itself.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}

/// Flushes the counters of cached pages once a second, so that metrics show a request in the second in which it was
/// served.
async fn flush_counters(compositor: Compositor, load_runs: Arc<LoadRuns>) {
    let mut ticks = tokio::time::interval(FLUSH_INTERVAL);
    loop {
        ticks.tick().await;
        compositor.flush_counters();
        load_runs.tick();
    }
}

/// Goes on with rollouts every second, and keeps their state. A restart in between loses the answers of a second.
async fn roll_out(compositor: Compositor, live: Arc<Live>) {
    let mut ticks = tokio::time::interval(FLUSH_INTERVAL);
    loop {
        tokio::select! {
            _ = ticks.tick() => compositor.tick_rollouts(&live.now().site.defaults),
            () = compositor.rollouts().is_to_keep() => {}
        }
        let compositor = compositor.clone();
        // A panic in there would only lose what is kept at the next tick.
        let _kept = tokio::task::spawn_blocking(move || compositor.rollouts().keep()).await;
    }
}

/// Simulates a fault of a nanoservice. Its cached responses are purged, so that the fault shows at once.
fn tamper(upstream: Arc<Tampered>, compositor: Compositor) -> Tamper {
    Box::new(move |Fault { fragment, delay_ms, what }| {
        let instead = match what {
            Instead::Unchanged => None,
            Instead::Fail => Some(StatusCode::INTERNAL_SERVER_ERROR),
            Instead::Empty => Some(StatusCode::NO_CONTENT),
        };
        upstream.set(fragment.clone(), Duration::from_millis(*delay_ms), instead);
        compositor.purge(&Purge::Tags(vec![fragment.as_str().into()]), PurgeMode::Hard);
    })
}

/// Shows the responses of a program or a component that was changed instead of those that are cached. Readers may be shown the old ones while
/// the new ones are fetched; whoever develops the site sees the new ones at once, since their browser is told to reload.
fn show_new_responses(
    compositor: Compositor,
    browsers: Option<watch::Sender<Change>>,
) -> impl Fn(&Manifest) + Send + Sync {
    move |manifest| {
        let purge_mode = if browsers.is_some() { PurgeMode::Hard } else { PurgeMode::Soft };
        compositor.purge(&Purge::Tags(vec![Arc::clone(&manifest.name)]), purge_mode);
        if let Some(browsers) = &browsers {
            browsers.send_modify(|last| last.version += 1);
        }
    }
}

fn limits(server: &Server) -> ConnectionLimits {
    ConnectionLimits {
        header_timeout: server.header_timeout,
        idle_timeout: server.idle_timeout,
        write_timeout: server.write_timeout,
        max_header_bytes: server.max_header_bytes,
        drain: server.drain,
        bodies: Bodies::Dropped,
        reserve: 0,
    }
}

fn compression(settings: &Settings) -> Compression {
    let has = |coding| settings.compression.contains(&coding);
    Compression { br: has("br"), zstd: has("zstd"), gzip: has("gzip") }
}

/// Notifies systemd, if it started this process, of the service's state.
fn notify_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd could not be notified");
    }
}

/// Waits for SIGTERM or ctrl-c.
async fn stop_signal() -> Result<(), String> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        pressed = tokio::signal::ctrl_c() => pressed.map_err(|error| error.to_string()),
    }
}
