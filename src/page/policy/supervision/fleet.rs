//! All programs of a site, of which only some may run at once.
//! Past that number the one that has been idle longest is stopped; if none is idle, no further one is started.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Instant;

use super::program::{Action, Ending, ProcessNumber, Program, Reply, RunRules};

/// Why a program is not started if as many run as may, for messages.
pub const TOO_MANY: &str = "as many programs run as `on_demand.max_processes` allows, and none of them is idle";

/// The programs of a site, by their manifests.
#[derive(Debug)]
pub struct Fleet<K> {
    programs: HashMap<K, Program>,
    max_running: usize,
    last_number: u64,
}

/// What is to be done, and for which program.
pub type Actions<K> = Vec<(K, Action)>;

impl<K: Clone + Eq + Hash> Fleet<K> {
    /// A fleet without programs. Up to `max_running` programs run at once.
    #[must_use]
    pub fn new(max_running: usize) -> Self {
        Self { programs: HashMap::new(), max_running, last_number: 0 }
    }

    /// Changes how many programs run at once. Those that run go on.
    pub const fn set_max_running(&mut self, max_running: usize) {
        self.max_running = max_running;
    }

    /// A program. `None`: it was not declared.
    #[must_use]
    pub fn program(&self, key: &K) -> Option<&Program> {
        self.programs.get(key)
    }

    /// Declares a program. One that is kept running is started.
    pub fn declare(&mut self, key: &K, rules: RunRules, now: Instant) -> Actions<K> {
        if self.programs.contains_key(key) {
            return self.change(key, rules, now);
        }
        self.programs.insert(key.clone(), Program::new(rules));
        if rules.is_kept { self.start_or_put_off(key, now) } else { Vec::new() }
    }

    /// Changes a program: a new process takes over from the one that runs.
    pub fn change(&mut self, key: &K, rules: RunRules, now: Instant) -> Actions<K> {
        let (must_start, mut actions) = self.with(key, |program, actions| program.changed(rules, now, actions));
        if must_start == Some(true) {
            actions.extend(self.start_or_put_off(key, now));
        }
        actions
    }

    /// Removes a program. It is forgotten once its processes have ended.
    pub fn remove(&mut self, key: &K, now: Instant) -> Actions<K> {
        let (_, actions) = self.with(key, |program, actions| program.removed(now, actions));
        self.forget(key);
        actions
    }

    /// Stops all programs for good.
    pub fn stop_all(&mut self, now: Instant) -> Actions<K> {
        let keys: Vec<K> = self.programs.keys().cloned().collect();
        keys.iter().flat_map(|key| self.remove(key, now)).collect()
    }

    /// Whether no process is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.programs.is_empty()
    }

    /// A request asks for a program, which is started if necessary.
    pub fn request(&mut self, key: &K, now: Instant) -> (Reply, Actions<K>) {
        let Some(program) = self.programs.get_mut(key) else { return (Reply::Gone, Vec::new()) };
        if let Some(reply) = program.request(now) {
            return (reply, Vec::new());
        }
        match self.start(key, now) {
            Some(actions) => (Reply::Wait, actions),
            None => (Reply::Overloaded, Vec::new()),
        }
    }

    /// A process is ready.
    pub fn ready(&mut self, key: &K, number: ProcessNumber, now: Instant) -> Actions<K> {
        self.with(key, |program, actions| program.ready(number, now, actions)).1
    }

    /// A request that a process served is over; `answered`: with an answer.
    pub fn finished(&mut self, key: &K, number: ProcessNumber, answered: bool, now: Instant) -> Actions<K> {
        self.with(key, |program, actions| program.finished(number, answered, now, actions)).1
    }

    /// A process has ended, with all its descendants.
    pub fn ended(&mut self, key: &K, number: ProcessNumber, now: Instant) -> (Ending, Actions<K>) {
        let (ending, mut actions) = self.with(key, |program, actions| program.ended(number, now, actions));
        actions.extend(self.tick_one(key, now));
        self.forget(key);
        (ending.unwrap_or(Ending::Expected), actions)
    }

    /// A process uses more memory than it may.
    pub fn exceeded(&mut self, key: &K, number: ProcessNumber, now: Instant) -> (Ending, Actions<K>) {
        let (ending, mut actions) = self.with(key, |program, actions| program.exceeded(number, now, actions));
        actions.extend(self.tick_one(key, now));
        (ending.unwrap_or(Ending::Expected), actions)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Actions<K> {
        let is_due = |program: &Program| program.next_tick().is_some_and(|at| at <= now);
        let due = self.programs.iter().filter(|(_, program)| is_due(program));
        let due: Vec<K> = due.map(|(key, _)| key.clone()).collect();
        due.iter().flat_map(|key| self.tick_one(key, now)).collect()
    }

    /// When [`Fleet::tick`] has something to do.
    #[must_use]
    pub fn next_tick(&self) -> Option<Instant> {
        self.programs.values().filter_map(Program::next_tick).min()
    }

    fn tick_one(&mut self, key: &K, now: Instant) -> Actions<K> {
        let (must_start, mut actions) = self.with(key, |program, actions| program.tick(now, actions));
        if must_start == Some(true) {
            actions.extend(self.start_or_put_off(key, now));
        }
        actions
    }

    fn start_or_put_off(&mut self, key: &K, now: Instant) -> Actions<K> {
        let started = self.start(key, now);
        started.unwrap_or_else(|| self.with(key, |program, _| program.put_off(now)).1)
    }

    /// Starts a program, and stops another one if that is necessary to make room. `None`: there is no room.
    fn start(&mut self, key: &K, now: Instant) -> Option<Actions<K>> {
        let mut all = Vec::new();
        // A replacement does not count: its program runs already.
        let is_up = self.programs.get(key).is_some_and(Program::is_up);
        if !is_up && self.programs.values().filter(|program| program.is_up()).count() >= self.max_running {
            let idle = self.programs.iter().filter_map(|(key, program)| Some((program.idle_since()?, key)));
            let longest = idle.min_by_key(|(since, _)| *since).map(|(_, key)| key.clone())?;
            all.extend(self.with(&longest, |program, actions| program.stop_idle(now, actions)).1);
        }
        self.last_number += 1;
        let number = ProcessNumber(self.last_number);
        all.extend(self.with(key, |program, actions| program.start(number, now, actions)).1);
        Some(all)
    }

    fn with<T>(&mut self, key: &K, act: impl FnOnce(&mut Program, &mut Vec<Action>) -> T) -> (Option<T>, Actions<K>) {
        let mut actions = Vec::new();
        let result = self.programs.get_mut(key).map(|program| act(program, &mut actions));
        (result, actions.into_iter().map(|action| (key.clone(), action)).collect())
    }

    fn forget(&mut self, key: &K) {
        if self.programs.get(key).is_some_and(Program::is_over) {
            self.programs.remove(key);
        }
    }
}
