//! The components of a site: each is compiled when the site is loaded, and again when its file or its manifest changes.
//! If what takes the place of a component cannot be run, the component stays as it was.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use crate::edge::upstream::client::Client;
use crate::edge::upstream::output::OutputLog;
use crate::edge::upstream::resolver::Resolver;
use crate::engine::port::Observer;
use crate::page::manifest::Manifest;
use crate::page::manifest::upstreams::Allowed;
use crate::page::policy::supervision::status::ComponentStatus;
use crate::page::source::diagnostic::Diagnostic;
use crate::secrets::Secrets;

use super::compile::{Compiled, compile};
use super::machine::Machine;
use super::{ComponentSettings, Loaded, Stamp, file, problem};

/// The components of a site.
#[derive(Clone)]
pub struct Components(pub(super) Arc<Shared>);

/// A component is known by the file of its manifest: if the version in it is raised, the new one takes over from the old one.
type Key = Arc<str>;

pub(super) struct Shared {
    pub(super) settings: ComponentSettings,
    pub(super) secrets: Secrets,
    pub(super) observer: Arc<dyn Observer>,
    /// What runs them, from the first component on.
    machine: OnceLock<Result<Machine, String>>,
    /// What their own requests are sent with, from the first one on that may send any.
    client: OnceLock<Result<Client, String>>,
    /// The present one of each comes last; the one before it is for the pages that were begun with its manifest.
    known: Mutex<HashMap<Key, Vec<Arc<Known>>>>,
}

/// A component that can be run.
pub(super) struct Known {
    pub(super) manifest: Arc<Manifest>,
    /// Of the file that was compiled.
    stamp: Stamp,
    /// Of the file when it was looked at last.
    seen: Mutex<Stamp>,
    pub(super) compiled: Compiled,
    pub(super) log: OutputLog,
    pub(super) outbound: Arc<[Allowed]>,
    pub(super) in_flight: AtomicU64,
}

/// What is to be compiled.
struct Job {
    key: Key,
    manifest: Arc<Manifest>,
    before: Option<Arc<Known>>,
}

impl Components {
    /// The components of a site, none of which is loaded yet.
    #[must_use]
    pub fn new(settings: ComponentSettings, observer: Arc<dyn Observer>) -> Self {
        let secrets = Secrets::new(settings.root.clone());
        Self(Arc::new(Shared {
            settings,
            secrets,
            observer,
            machine: OnceLock::new(),
            client: OnceLock::new(),
            known: Mutex::default(),
        }))
    }

    /// Loads the components that are live from now on, and forgets the others. It takes as long as compiling does; until
    /// then the present ones answer.
    pub fn load(&self, manifests: impl IntoIterator<Item = Arc<Manifest>>) -> Loaded {
        let mut jobs = Vec::new();
        let mut wanted = HashMap::new();
        for manifest in manifests.into_iter().filter(|manifest| manifest.component().is_some()) {
            let key: Key = Arc::from(manifest.at.source.file.as_str());
            // The catalogue comes first, then what pages still use that stay live despite an error.
            if wanted.insert(Arc::clone(&key), ()).is_none() {
                let before = self.0.known().get(&key).and_then(|all| all.last()).cloned();
                jobs.push(Job { key, manifest, before });
            }
        }
        let results = self.0.compile_all(&jobs);
        let mut loaded = Loaded::default();
        let mut known = self.0.known();
        known.retain(|key, _| wanted.contains_key(key));
        for (job, result) in jobs.into_iter().zip(results) {
            let all = known.entry(Arc::clone(&job.key)).or_default();
            match result {
                Ok(new) => {
                    let is_same = job.before.as_ref().is_some_and(|before| {
                        before.stamp == new.stamp && before.manifest.declares_the_same(&new.manifest)
                    });
                    if job.before.is_some() && !is_same {
                        loaded.replaced.push(Arc::clone(&new.manifest));
                    }
                    all.push(Arc::new(new));
                    all.drain(..all.len().saturating_sub(2));
                }
                Err(problem) => loaded.problems.push(problem),
            }
        }
        known.retain(|_, all| !all.is_empty());
        loaded
    }

    /// Whether the file of a component was changed since it was loaded, or looked at last.
    #[must_use]
    pub fn have_changed(&self) -> bool {
        let present: Vec<_> = self.0.known().values().filter_map(|all| all.last().cloned()).collect();
        let has_changed = |known: &Arc<Known>| {
            let component = known.manifest.component().expect("only components are known");
            let Some(stamp) = Stamp::of(component, &self.0.settings.root, &known.manifest) else { return false };
            std::mem::replace(&mut *known.seen.lock().unwrap_or_else(PoisonError::into_inner), stamp) != stamp
        };
        present.iter().filter(|known| has_changed(known)).count() > 0
    }

    /// A component as it is now. `None`: the manifest declares none that can be run.
    #[must_use]
    pub fn status(&self, manifest: &Manifest) -> Option<ComponentStatus> {
        manifest.component()?;
        let known = self.0.known();
        let all = known.get(manifest.at.source.file.as_str())?;
        let present = all.last()?;
        let in_flight = all.iter().map(|known| known.in_flight.load(Ordering::Relaxed)).sum();
        Some(ComponentStatus { bytes: present.compiled.bytes, compile_ms: present.compiled.took_ms, in_flight })
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, HashMap<Key, Vec<Arc<Known>>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn machine(&self) -> Result<&Machine, String> {
        self.machine.get_or_init(|| Machine::new(self.settings.cache.clone())).as_ref().map_err(Clone::clone)
    }

    pub(super) fn client(&self) -> Result<&Client, String> {
        let resolver = if self.settings.private_upstreams { Resolver::Any } else { Resolver::PublicOnly };
        self.client.get_or_init(|| Client::pooling(resolver, None)).as_ref().map_err(Clone::clone)
    }

    /// The component of a manifest: the one that was loaded with it, or the present one.
    pub(super) fn find(&self, manifest: &Arc<Manifest>) -> Option<Arc<Known>> {
        let known = self.known();
        let all = known.get(manifest.at.source.file.as_str())?;
        all.iter().find(|one| Arc::ptr_eq(&one.manifest, manifest)).or_else(|| all.last()).cloned()
    }

    /// Compiles what has changed, on all processors.
    fn compile_all(&self, jobs: &[Job]) -> Vec<Result<Known, Diagnostic>> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            while let Some((at, job)) =
                Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, jobs.get(at)?)))
            {
                done.push((at, self.compile(job)));
            }
            done
        };
        let threads = thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
        let mut all: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let own = work();
            let others = threads.into_iter().flat_map(|thread| thread.join().expect("compiling does not panic"));
            own.into_iter().chain(others).collect()
        });
        all.sort_by_key(|(at, _)| *at);
        all.into_iter().map(|(_, result)| result).collect()
    }

    fn compile(&self, job: &Job) -> Result<Known, Diagnostic> {
        let manifest = &job.manifest;
        let component = manifest.component().expect("only components are compiled");
        // Looked at before it is read, so that a change meanwhile is noticed the next time.
        let stamp = Stamp::of(component, &self.settings.root, manifest);
        let known = |compiled: Compiled, log: OutputLog, stamp| Known {
            manifest: Arc::clone(manifest),
            stamp,
            seen: Mutex::new(stamp),
            compiled,
            log,
            outbound: component.outbound.as_slice().into(),
            in_flight: AtomicU64::new(0),
        };
        if let Some(before) = job.before.as_ref().filter(|before| Some(before.stamp) == stamp) {
            let log = if before.manifest.version == manifest.version { before.log.clone() } else { self.log(manifest) };
            return Ok(known(before.compiled.clone(), log, before.stamp));
        }
        let machine = self.machine().map_err(|why| {
            problem(manifest, &format!("no components can be run here: {why}"), "see the log of the compositor")
        })?;
        let path = file(component, &self.settings.root, manifest);
        let compiled =
            compile(machine, &path, &component.file).map_err(|(why, help)| problem(manifest, &why, &help))?;
        let stamp = stamp.ok_or_else(|| problem(manifest, "its file was removed meanwhile", "put it back"))?;
        Ok(known(compiled, self.log(manifest), stamp))
    }

    fn log(&self, manifest: &Manifest) -> OutputLog {
        OutputLog::new(&manifest.name, &manifest.version.to_string())
    }
}
