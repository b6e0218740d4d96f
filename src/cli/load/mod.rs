//! `pasteup load`: measures what clients wait for, and names the part that they waited for.
//! A broken bound exits with 1; a machine that could not send as fast as it was told exits with 2, whatever it measured.

mod admin;
mod client;
mod live;
mod measure;
mod options;
mod output;
mod results;
mod targets;
mod variants;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::config::{Flags, Settings as SiteSettings};
use crate::edge::clock::SystemClock;
use crate::engine::load::RunReport;
use crate::engine::load::blame::{Seen, blame};
use crate::engine::port::Clock as _;
use crate::page::source::visible::visible_json;
use crate::secrets::Secret;

use super::exit::{COULD_NOT_RUN, PROBLEMS_FOUND};
use super::list_format::ListFormat;
use super::site_loading::Loaded;
use super::{keys, runtime, site_loading, terminal};

use admin::Admin;
use client::{Ran, Sending, Tls};
use live::Live;
use measure::arrivals::{Arrivals, Schedule};
use measure::gates::{self, Measured};
use measure::log_file::{self, Requests};
use measure::statistics::{MAX_LATE, Statistics};
use measure::sweep::{MAX_ERRORS, Sweep};
use output::html::{self, Recorded};
use output::table;
use results::{Baseline, Late, Results, RowResult, Settings, Step, SweepResult, cumulative};
use targets::{Manner, Target, Targets};

pub(super) use options::Options;

/// What is requested, and when.
struct Work {
    targets: Vec<Target>,
    /// The requests of an access log, if one is replayed.
    replay: Option<Schedule>,
    skipped: u64,
}

/// A run that has ended.
struct Done {
    statistics: Statistics,
    seconds: f64,
    sweep: Option<SweepResult>,
}

/// What the compositor recorded, or why it recorded nothing.
struct Recording {
    run: Option<String>,
    report: Result<RunReport, String>,
}

pub(super) fn run(site: &Path, options: &Options) -> Result<ExitCode, String> {
    let baseline = options.baseline.as_deref().map(read_baseline).transpose()?;
    let (settings, loaded) = read_site(site, options)?;
    let token = keys::admin_token_if_any(&settings.server);
    let work = Work::of(options, &settings, loaded)?;
    let results = runtime::current_thread()?.block_on(measure(options, &settings, token, work, baseline.as_ref()))?;
    let (results, recorded) = results;
    if let Some(path) = &options.out {
        let html = html::page(&results, &recorded)?;
        std::fs::write(path, html).map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    }
    match options.format {
        ListFormat::Json => {
            let json = serde_json::to_string(&results).expect("texts and numbers can be written as JSON");
            terminal::print(format_args!("{}\n", visible_json(json)))?;
        }
        ListFormat::Human => terminal::print(table::table(&results))?,
    }
    if results.is_late() {
        if options.format == ListFormat::Json {
            terminal::message(table::too_late(&results));
        }
        return Ok(COULD_NOT_RUN.into());
    }
    let broken: Vec<String> = results.gates.iter().filter_map(gates::Gate::broken).collect();
    for line in &broken {
        terminal::message(line);
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { PROBLEMS_FOUND.into() })
}

/// The settings of the site, and the site itself. Whole URLs need no site.
fn read_site(site: &Path, options: &Options) -> Result<(SiteSettings, Option<Loaded>), String> {
    let flags = Flags { admin: options.admin, ..Flags::default() };
    match site_loading::open(site) {
        Ok(folder) => {
            let loaded = site_loading::load(&folder, flags, None, site_loading::offline);
            Ok((loaded.settings.clone(), Some(loaded)))
        }
        Err(why) => {
            let has_paths = options.targets.iter().any(|target| target.starts_with('/'));
            if has_paths || options.variants {
                return Err(why);
            }
            Ok((site_loading::settings_without_site(site, flags), None))
        }
    }
}

fn read_baseline(path: &Path) -> Result<Vec<(f64, u64)>, String> {
    let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let baseline: Baseline = serde_json::from_slice(&text)
        .map_err(|error| format!("{} is not the output of `pasteup load --format json`: {error}", path.display()))?;
    Ok(baseline.total.histogram)
}

impl Work {
    /// What the options describe.
    fn of(options: &Options, settings: &SiteSettings, loaded: Option<Loaded>) -> Result<Self, String> {
        let plain = |given: &str| Target { given: given.to_owned(), is_head: false, clients: Vec::new() };
        let mut work =
            Self { targets: options.targets.iter().map(|given| plain(given)).collect(), replay: None, skipped: 0 };
        if let Some(path) = &options.from {
            let failed = |why: String| format!("{}: {why}", path.display());
            let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
            let lines = std::io::BufRead::split(std::io::BufReader::new(file), b'\n');
            match log_file::read(lines).map_err(failed)? {
                Requests::Paths(paths) => work.targets.extend(paths.iter().map(|given| plain(given))),
                Requests::Log(log) => work.replay(log, options)?,
            }
        }
        if work.targets.is_empty() {
            return Err("nothing is requested: name a path or a URL, or a file of them with `--from FILE`".to_owned());
        }
        if options.speed.is_some() && work.replay.is_none() {
            return Err("`--speed` is for an access log, which `--from FILE` names".to_owned());
        }
        if options.variants {
            work.distinguish_clients(settings, loaded);
        }
        Ok(work)
    }

    fn replay(&mut self, log: log_file::Log, options: &Options) -> Result<(), String> {
        if options.rate.is_some() || options.sweep.is_some() || options.arrivals.is_some() || !self.targets.is_empty() {
            return Err("an access log is replayed in its own rhythm: leave out `--rate`, `--arrivals`, `--sweep`, paths and URLs".to_owned());
        }
        let speed = options.speed.unwrap_or(1.0);
        let seconds = log.entries.last().map_or(0, |last| last.second) + 1;
        let whole = Duration::from_secs(u64::from(seconds)).div_f64(speed);
        let target = |(given, is_head): (String, bool)| Target { given, is_head, clients: Vec::new() };
        self.targets = log.shots.into_iter().map(target).collect();
        self.skipped = log.skipped;
        let duration = options.duration.map_or(whole, |duration| duration.min(whole));
        self.replay = Some(Schedule::Replay { entries: log.entries.into(), speed, duration });
        Ok(())
    }

    /// Requests each page for every client that it distinguishes.
    fn distinguish_clients(&mut self, settings: &SiteSettings, loaded: Option<Loaded>) {
        let Some(loaded) = loaded else { return };
        let address_key = keys::address_key_if_any(&settings.server);
        let live = site_loading::snapshot(loaded.site, settings, &address_key, Vec::new());
        for target in &mut self.targets {
            let path = match url::Url::parse(&target.given) {
                Ok(url) => url[url::Position::BeforePath..url::Position::AfterQuery].to_owned(),
                Err(_) => target.given.clone(),
            };
            target.clients = variants::clients(&live, &path, SystemClock.wall());
        }
    }
}

async fn measure(
    options: &Options,
    settings: &SiteSettings,
    token: Option<Secret>,
    work: Work,
    baseline: Option<&Vec<(f64, u64)>>,
) -> Result<(Results, Recorded), String> {
    let manner = Manner {
        own: settings.server.listen,
        own_is_tls: settings.server.tls.is_some(),
        allowed: &options.allow_host,
        headers: &options.headers,
        http2: options.http2,
        keepalive: !options.no_keepalive,
    };
    let mut targets = Targets::resolve(&work.targets, &manner, work.replay.is_some()).await?;
    let admin = Admin::new(settings.server.admin, token)?;
    let begun = if targets.any_is_here() {
        admin.begin().await
    } else {
        Err("no request goes to this machine, and only the compositor here records them".to_owned())
    };
    if let Ok(begun) = &begun {
        targets.carry(&begun.token)?;
    }
    let needs_tls = targets.origins.iter().any(|origin| origin.is_tls);
    let sending = Sending {
        connections: options.connections,
        timeout: options.timeout,
        http2: options.http2,
        keepalive: !options.no_keepalive,
        tls: needs_tls.then(|| Tls::new(options.insecure, options.http2)).transpose()?,
        trace: fastrand::u64(..),
    };
    allow_files();
    let interrupt = interrupt()?;
    let started = SystemClock.wall();
    let targets = Arc::new(targets);
    let done = match options.sweep {
        Some(range) => sweep(options, range, &targets, &sending, &interrupt).await?,
        None => once(options, work.replay, &targets, &sending, &interrupt).await?,
    };
    let recording = match begun {
        Ok(begun) => {
            let report = admin.report(&begun.run).await.and_then(|report| match report.requests {
                0 => Err("no request reached the compositor on this machine with its token".to_owned()),
                _ => Ok(report),
            });
            Recording { run: Some(begun.run), report }
        }
        Err(why) => Recording { run: None, report: Err(why) },
    };
    let is_interrupted = interrupt.is_cancelled();
    Ok(results(options, work.skipped, &targets, done, recording, (started, is_interrupted), baseline))
}

/// Allows this process as many open files as it may allow itself. Connections that it cannot open for want of them would count
/// as errors of the site.
fn allow_files() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let highest = rustix::process::Rlimit { current: limit.maximum, ..limit };
    let _best_effort = rustix::process::setrlimit(rustix::process::Resource::Nofile, highest);
}

/// Is cancelled by the first Ctrl-C. The second one ends the command at once.
fn interrupt() -> Result<CancellationToken, String> {
    let interrupt = CancellationToken::new();
    let token = interrupt.clone();
    let mut presses =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        presses.recv().await;
        terminal::message("interrupted: waiting for the requests under way; press again to end at once");
        token.cancel();
        presses.recv().await;
        std::process::exit(i32::from(COULD_NOT_RUN));
    });
    Ok(interrupt)
}

fn schedule(options: &Options, rate: f64) -> Schedule {
    Schedule::Rate {
        arrivals: options.arrivals.unwrap_or(Arrivals::Poisson),
        rate,
        duration: options.duration(),
        seed: fastrand::u64(..),
    }
}

async fn once(
    options: &Options,
    replay: Option<Schedule>,
    targets: &Arc<Targets>,
    sending: &Sending,
    interrupt: &CancellationToken,
) -> Result<Done, String> {
    let schedule = replay.unwrap_or_else(|| schedule(options, options.rate()));
    let mut live = Live::new(schedule.duration(), "");
    let ran = client::run(targets, sending, &schedule, interrupt, |now| live.show(now)).await?;
    Ok(Done { statistics: ran.statistics, seconds: ran.seconds, sweep: None })
}

async fn sweep(
    options: &Options,
    (from, to): (f64, f64),
    targets: &Arc<Targets>,
    sending: &Sending,
    interrupt: &CancellationToken,
) -> Result<Done, String> {
    let mut search = Sweep::new(from, to);
    let (mut steps, mut total, mut seconds) = (Vec::new(), None::<Statistics>, 0.0);
    while let Some(rate) = search.next_rate().filter(|_| !interrupt.is_cancelled()) {
        let schedule = schedule(options, rate);
        let mut live = Live::new(schedule.duration(), &format!("{rate:.0}/s "));
        let step = Sending { trace: fastrand::u64(..), ..sending.clone() };
        let Ran { statistics, seconds: took } =
            client::run(targets, &step, &schedule, interrupt, |now| live.show(now)).await?;
        drop(live);
        seconds += took;
        let p99_ms = statistics.total.latency_ms(0.99);
        let late = statistics.late_share();
        let is_fast = options.max_p99.is_none_or(|max| p99_ms <= max.as_secs_f64() * 1e3);
        let ok = is_fast && statistics.total.error_share() <= MAX_ERRORS && late <= MAX_LATE;
        let errors = statistics.total.errors.iter().sum();
        steps.push(Step { rate, requests: statistics.total.requests, p99_ms, errors, late, ok });
        search.note(rate, ok);
        match &mut total {
            Some(total) => total.merge(&statistics),
            none => *none = Some(statistics),
        }
    }
    let statistics = total.ok_or("interrupted before the first request")?;
    Ok(Done { statistics, seconds, sweep: Some(SweepResult { steps, knee: search.knee() }) })
}

fn results(
    options: &Options,
    skipped: u64,
    targets: &Targets,
    done: Done,
    recording: Recording,
    (started, interrupted): (Timestamp, bool),
    baseline: Option<&Vec<(f64, u64)>>,
) -> (Results, Recorded) {
    let Done { statistics, seconds, sweep } = done;
    let recorded = recording.report.as_ref().ok();
    let (total, paths) = RowResult::all(&statistics, &targets.rows, recorded);
    let seen: Vec<Seen<'_>> = targets
        .rows
        .iter()
        .zip(&statistics.rows)
        .filter(|(name, row)| name.is_here && row.requests > 0)
        .map(|(name, row)| Seen {
            target: &name.target,
            path: &name.given,
            p99_ms: row.latency_ms(0.99),
            mean_ms: row.latency.mean() / 1e3,
        })
        .collect();
    let blamed = recorded.map(|report| blame(report, &seen)).unwrap_or_default();
    let measured = Measured {
        p99_ms: (!statistics.total.latency.is_empty()).then_some(total.latency.p99_ms),
        errors: (total.requests > 0).then(|| statistics.total.error_share()),
        fallbacks: total.fallbacks,
        latencies: &total.histogram,
        baseline: baseline.map(Vec::as_slice),
    };
    let gates = gates::check(&options.limits(), &measured, &mut fastrand::Rng::with_seed(1));
    let results = Results {
        run: recording.run,
        started,
        seconds,
        interrupted,
        skipped,
        settings: settings(options, targets),
        late: Late::of(&statistics),
        blame: blamed.iter().map(Into::into).collect(),
        unblamed: recording.report.as_ref().err().cloned(),
        total,
        paths,
        sweep,
        gates,
        curves: [&statistics.total.latency, &statistics.total.first_byte, &statistics.total.service].map(cumulative),
    };
    (results, Recorded { report: recording.report.ok(), heat: statistics.heat })
}

fn settings(options: &Options, targets: &Targets) -> Settings {
    let is_replay = targets.by_index;
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    Settings {
        targets: targets.rows.iter().map(|row| row.given.clone()).collect(),
        rate: (!is_replay).then(|| options.rate()),
        duration: ms(options.duration()),
        arrivals: match (is_replay, options.arrivals.unwrap_or(Arrivals::Poisson)) {
            (true, _) => "replay",
            (false, Arrivals::Poisson) => "poisson",
            (false, Arrivals::Steady) => "steady",
        },
        connections: options.connections,
        timeout: ms(options.timeout),
        http2: options.http2,
        keepalive: !options.no_keepalive,
        insecure: options.insecure,
        variants: options.variants,
        headers: options.headers.iter().map(|(name, _)| name.to_string()).collect(),
        from: options.from.as_ref().map(|path| path.display().to_string()),
        speed: is_replay.then(|| options.speed.unwrap_or(1.0)),
        baseline: options.baseline.as_ref().map(|path| path.display().to_string()),
    }
}
