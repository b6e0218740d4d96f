//! Starts the programs of nanoservices when requests need them, and stops them when none does.
//! What is to happen is decided in `page/policy/supervision`; here it is carried out, and reported back.
//!
//! A program that crashes, hangs or cannot be started is a failure of its own requests, and of nothing else.

mod table;

mod sockets;

mod port;

mod environment;

pub mod guard;

mod launch;

mod requests;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};

use crate::engine::port::{Lease, Observer};
use crate::page::manifest::{Manifest, Program};
use crate::page::policy::supervision::fleet::{Actions, Fleet};
use crate::page::policy::supervision::program::{self, Action, Ending, ProcessNumber};
use crate::page::policy::supervision::status::ProgramStatus;
use crate::page::response::parsed::Failure;
use crate::page::source::units;

use super::folder;
use super::output::{Output, OutputLog};

use launch::Launch;

pub use environment::find;

/// How often the memory of programs is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The programs of a site.
#[derive(Clone)]
pub struct Programs(Arc<Shared>);

/// A program is known by the file of its manifest: if the version in it is raised, a new process takes over from the old one.
type Key = Arc<str>;

/// Is told that a changed program has become ready, so that responses of the old one can be forgotten.
type OnReplaced = Box<dyn Fn(&Manifest) + Send + Sync>;

struct Shared {
    /// The folder of the site.
    root: PathBuf,
    observer: Arc<dyn Observer>,
    on_replaced: Mutex<Option<OnReplaced>>,
    state: Mutex<State>,
    /// The fleet may have something to do earlier than before.
    earlier: Notify,
    /// A process has ended.
    ended: Notify,
}

struct State {
    fleet: Fleet<Key>,
    /// The programs that are live. Most of them were never started, and cost nothing else.
    declared: HashMap<Key, Arc<Manifest>>,
    /// Those that were started at some time.
    slots: HashMap<Key, Slot>,
    ports: HashSet<u16>,
    /// Until when the task that watches the time sleeps. `None`: there is no such task yet.
    sleeps_until: Option<Instant>,
}

/// A program that was started at some time.
struct Slot {
    /// What its next process is started with.
    manifest: Arc<Manifest>,
    /// Wakes the requests that wait for it.
    woken: watch::Sender<()>,
    processes: HashMap<ProcessNumber, Process>,
    /// Whether it was changed since its last start.
    is_changed: bool,
    /// How it ended last when it should have run.
    crash: Option<Arc<Crash>>,
}

/// A process of a program.
struct Process {
    port: Option<u16>,
    /// The process IDs of its guard and of the program, once it was started.
    ids: Option<Ids>,
    /// Bytes for its guard.
    commands: mpsc::UnboundedSender<u8>,
    life: watch::Sender<Life>,
    memory: Option<u64>,
    output: Output,
}

#[derive(Debug, Clone, Copy)]
struct Ids {
    guard: u32,
    program: u32,
}

/// How far the life of a process has come.
#[derive(Debug, Clone)]
enum Life {
    /// It is there.
    Running,
    /// It has ended, and the rest of its output is read.
    Exited,
    /// All that is known of its end.
    Over(Arc<Crash>),
}

/// The end of a program that should have run. Its first line says what happened; its last lines of output follow.
#[derive(Debug)]
struct Crash {
    what: String,
    output: Vec<String>,
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.output.iter().try_for_each(|line| write!(f, "\n{line}"))
    }
}

impl Programs {
    /// The programs of the site in this folder, none of which is declared yet.
    #[must_use]
    pub fn new(root: &Path, max_running: usize, observer: Arc<dyn Observer>) -> Self {
        let state = State {
            fleet: Fleet::new(max_running),
            declared: HashMap::new(),
            slots: HashMap::new(),
            ports: HashSet::new(),
            sleeps_until: None,
        };
        Self(Arc::new(Shared {
            root: root.to_owned(),
            observer,
            on_replaced: Mutex::default(),
            state: Mutex::new(state),
            earlier: Notify::new(),
            ended: Notify::new(),
        }))
    }

    /// Calls a function whenever the first process of a changed program has become ready.
    pub fn on_replaced(&self, call: impl Fn(&Manifest) + Send + Sync + 'static) {
        *self.0.on_replaced.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(call));
    }

    /// Declares the programs that are live from now on. Those that are gone are stopped, those that changed are replaced, and
    /// those that are kept running are started.
    pub fn declare(&self, manifests: impl IntoIterator<Item = Arc<Manifest>>, max_running: usize) {
        let programs = manifests.into_iter().filter(|manifest| manifest.program().is_some());
        let mut declared = HashMap::new();
        for manifest in programs {
            // The catalogue comes first, then what pages still use that stay live despite an error.
            declared.entry(key(&manifest)).or_insert(manifest);
        }
        let mut state = self.0.state();
        let now = Instant::now();
        state.fleet.set_max_running(max_running);
        let mut actions = Vec::new();
        let State { fleet, slots, .. } = &mut *state;
        for (key, slot) in slots.iter_mut() {
            match declared.get(key) {
                None => actions.extend(fleet.remove(key, now)),
                Some(manifest) if !manifest.declares_the_same(&slot.manifest) => {
                    slot.manifest = Arc::clone(manifest);
                    slot.is_changed = true;
                    actions.extend(fleet.change(key, program(manifest).rules, now));
                }
                Some(_) => {}
            }
        }
        slots.retain(|key, _| fleet.program(key).is_some());
        for (key, manifest) in declared.iter().filter(|(_, manifest)| program(manifest).rules.is_kept) {
            if !slots.contains_key(key) {
                slots.insert(Arc::clone(key), Slot::new(manifest));
                actions.extend(fleet.declare(key, program(manifest).rules, now));
            }
        }
        state.declared = declared;
        self.0.carry_out(&mut state, actions);
    }

    /// Replaces the processes of the programs in a folder, whose files have changed.
    pub fn restart(&self, changed: &Path) {
        let mut state = self.0.state();
        let is_changed = |key: &&Key| folder(&self.0.root, key) == changed;
        let keys: Vec<Key> = state.slots.keys().filter(is_changed).cloned().collect();
        for key in keys {
            let Some(slot) = state.slots.get_mut(&key) else { continue };
            slot.is_changed = true;
            let rules = program(&slot.manifest).rules;
            let actions = state.fleet.change(&key, rules, Instant::now());
            self.0.carry_out(&mut state, actions);
        }
    }

    /// The folders of all programs that are declared.
    #[must_use]
    pub fn folders(&self) -> Vec<PathBuf> {
        self.0.state().declared.keys().map(|key| folder(&self.0.root, key)).collect()
    }

    /// A program as it is now. `None`: the manifest declares none.
    #[must_use]
    pub fn status(&self, manifest: &Manifest) -> Option<ProgramStatus> {
        manifest.program()?;
        let state = self.0.state();
        let key = key(manifest);
        let (Some(program), Some(slot)) = (state.fleet.program(&key), state.slots.get(&key)) else {
            return Some(ProgramStatus::STOPPED);
        };
        let process = program.shown().and_then(|number| slot.processes.get(&number));
        Some(ProgramStatus {
            state: program.state(),
            pid: process.and_then(|process| process.ids).map(|ids| ids.program),
            port: process.and_then(|process| process.port),
            starts: program.starts(),
            crashes: program.crashes(),
            start_ms: program.last_start().and_then(|took| u64::try_from(took.as_millis()).ok()),
            memory_bytes: process.and_then(|process| process.memory),
            output: slot.crash.as_ref().map(|crash| crash.output.clone()).unwrap_or_default(),
        })
    }

    /// Waits until a program is ready, and keeps it from being stopped until the lease is dropped.
    ///
    /// # Errors
    /// It did not become ready within its `start_timeout`, or may not be started.
    pub async fn start(&self, manifest: &Arc<Manifest>) -> Result<Lease, Failure> {
        self.lease(manifest).await
    }

    /// Stops all programs for good, and waits until they have ended.
    pub async fn stop_all(&self) {
        {
            let mut state = self.0.state();
            state.declared.clear();
            let actions = state.fleet.stop_all(Instant::now());
            self.0.carry_out(&mut state, actions);
        }
        loop {
            let ended = self.0.ended.notified();
            if self.0.state().slots.values().all(|slot| slot.processes.is_empty()) {
                return;
            }
            ended.await;
        }
    }
}

fn key(manifest: &Manifest) -> Key {
    Arc::from(manifest.at.source.file.as_str())
}

fn program(manifest: &Manifest) -> &Program {
    manifest.program().expect("only programs are declared")
}

impl Slot {
    fn new(manifest: &Arc<Manifest>) -> Self {
        let manifest = Arc::clone(manifest);
        Self { manifest, woken: watch::Sender::new(()), processes: HashMap::new(), is_changed: false, crash: None }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out what the fleet has decided.
    fn carry_out(self: &Arc<Self>, state: &mut State, actions: Actions<Key>) {
        for (key, action) in actions {
            let State { slots, ports, .. } = state;
            let Some(slot) = slots.get_mut(&key) else { continue };
            match action {
                Action::Start(number) => {
                    let launch = slot.launch(&key, number, ports);
                    tokio::spawn(launch.run(Arc::clone(self)));
                    self.watch(state);
                }
                Action::Terminate(number) => slot.command(number, guard::TERMINATE),
                Action::Kill(number) => slot.command(number, guard::KILL),
                Action::ReportLate(number) => {
                    let time = units::show(program(&slot.manifest).rules.start_timeout);
                    slot.report(number, &format!("its program was not ready within {time}"));
                }
                // It fails if nobody waits.
                Action::Wake => drop(slot.woken.send(())),
            }
        }
        let next = state.fleet.next_tick();
        if state.sleeps_until.zip(next).is_some_and(|(end, next)| next < end) {
            self.earlier.notify_one();
        }
    }

    /// A process is ready.
    fn ready(self: &Arc<Self>, key: &Key, number: ProcessNumber) {
        let mut state = self.state();
        let actions = state.fleet.ready(key, number, Instant::now());
        self.carry_out(&mut state, actions);
        let took = state.fleet.program(key).filter(|program| program.shown() == Some(number));
        let took = took.and_then(program::Program::last_start);
        let changed = state
            .slots
            .get_mut(key)
            .map(|slot| (Arc::clone(&slot.manifest), took.is_some() && std::mem::take(&mut slot.is_changed)));
        drop(state);
        let (Some(took), Some((manifest, is_changed))) = (took, changed) else { return };
        tracing::info!(
            fragment = &*manifest.name,
            version = %manifest.version,
            "its program is ready after {}",
            units::show(Duration::from_millis(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)))
        );
        self.observer.program_started(&manifest, took);
        if is_changed && let Some(call) = &*self.on_replaced.lock().unwrap_or_else(PoisonError::into_inner) {
            call(&manifest);
        }
    }

    /// A process has ended, with all its descendants.
    fn ended(self: &Arc<Self>, key: &Key, number: ProcessNumber, what: &str) {
        let mut state = self.state();
        let (ending, actions) = state.fleet.ended(key, number, Instant::now());
        let State { slots, ports, fleet, .. } = &mut *state;
        if let Some(slot) = slots.get_mut(key) {
            match ending {
                Ending::Expected => {}
                Ending::BeforeReady => slot.report(number, &format!("{what} before it was ready")),
                Ending::Crash => slot.report(number, what),
            }
            if let Some(process) = slot.processes.remove(&number) {
                process.port.map(|port| ports.remove(&port));
                process
                    .life
                    .send_replace(Life::Over(Arc::new(Crash { what: what.to_owned(), output: process.output.last() })));
            }
        }
        if fleet.program(key).is_none() {
            slots.remove(key);
        }
        self.carry_out(&mut state, actions);
        drop(state);
        self.ended.notify_waiters();
    }

    /// Watches the time and the memory of programs, from the first start on.
    fn watch(self: &Arc<Self>, state: &mut State) {
        if state.sleeps_until.is_some() {
            return;
        }
        state.sleeps_until = Some(Instant::now());
        tokio::spawn(keep_time(Arc::downgrade(self)));
        tokio::spawn(look_at_memory(Arc::downgrade(self)));
    }
}

impl Slot {
    /// Prepares a process. It is started by [`Launch::run`].
    fn launch(&mut self, key: &Key, number: ProcessNumber, ports: &mut HashSet<u16>) -> Launch {
        let port = port::choose(ports);
        ports.extend(port);
        let (commands, received) = mpsc::unbounded_channel();
        let output = Output::new(OutputLog::new(&self.manifest.name, &self.manifest.version.to_string()));
        let life = watch::Sender::new(Life::Running);
        let process = Process { port, ids: None, commands, life, memory: None, output: output.clone() };
        self.processes.insert(number, process);
        Launch { key: Arc::clone(key), number, manifest: Arc::clone(&self.manifest), port, commands: received, output }
    }

    /// Sends a byte to the guard of a process, if it is still there.
    fn command(&self, number: ProcessNumber, command: u8) {
        if let Some(process) = self.processes.get(&number) {
            let _is_gone = process.commands.send(command);
        }
    }

    /// Reports a process that does not run as it should.
    fn report(&mut self, number: ProcessNumber, what: &str) {
        let output = self.processes.get(&number).map(|process| process.output.last()).unwrap_or_default();
        let manifest = &self.manifest;
        tracing::error!(
            fragment = &*manifest.name,
            version = %manifest.version,
            output = output.join("\n"),
            "{what}"
        );
        self.crash = Some(Arc::new(Crash { what: what.to_owned(), output }));
    }
}

/// Tells the fleet the time whenever it has something to do.
async fn keep_time(shared: Weak<Shared>) {
    loop {
        let Some(strong) = shared.upgrade() else { return };
        // Not longer than a second, so that this ends soon after the programs are dropped.
        let latest = Instant::now() + LOOK_INTERVAL;
        let end = {
            let mut state = strong.state();
            let end = state.fleet.next_tick().map_or(latest, |next| next.min(latest));
            state.sleeps_until = Some(end);
            end
        };
        if tokio::time::timeout_at(end.into(), strong.earlier.notified()).await.is_ok() {
            continue;
        }
        let mut state = strong.state();
        let actions = state.fleet.tick(Instant::now());
        if !actions.is_empty() {
            strong.carry_out(&mut state, actions);
        }
    }
}

/// Looks once a second at how much memory each program holds, and kills those that hold too much.
async fn look_at_memory(shared: Weak<Shared>) {
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(strong) = shared.upgrade() else { return };
        let running: Vec<(Key, ProcessNumber, Ids)> = {
            let state = strong.state();
            let all = state.slots.iter().flat_map(|(key, slot)| slot.processes.iter().map(move |one| (key, one)));
            all.filter_map(|(key, (number, process))| Some((Arc::clone(key), *number, process.ids?))).collect()
        };
        if running.is_empty() {
            continue;
        }
        let look = move || {
            let memory = |ids: Ids| table::memory(&table::descendants(ids.guard));
            running.into_iter().map(|(key, number, ids)| (key, number, memory(ids))).collect::<Vec<_>>()
        };
        for (key, number, memory) in tokio::task::spawn_blocking(look).await.unwrap_or_default() {
            strong.set_memory(&key, number, memory);
        }
    }
}

impl Shared {
    fn set_memory(self: &Arc<Self>, key: &Key, number: ProcessNumber, memory: u64) {
        let mut state = self.state();
        let State { fleet, slots, .. } = &mut *state;
        let Some(slot) = slots.get_mut(key) else { return };
        let limit = program(&slot.manifest).memory;
        let Some(process) = slot.processes.get_mut(&number) else { return };
        process.memory = Some(memory);
        let Some(limit) = limit.filter(|limit| memory > *limit) else { return };
        let (ending, actions) = fleet.exceeded(key, number, Instant::now());
        if ending != Ending::Expected {
            let (memory, limit) = (memory >> 20, units::show_size(limit));
            slot.report(
                number,
                &format!("its program took {memory} MiB of memory, more than its {limit}, and was killed"),
            );
        }
        self.carry_out(&mut state, actions);
    }
}
