//! One program: which of its processes answers, and which are being started or stopped.
//! At most one process answers, and at most one is being started; the others are on their way out.

use std::time::{Duration, Instant};

use super::status::ProgramState;

/// The pause after the first start that failed. It doubles with each further one.
pub const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two starts.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A process that is kept running and ends within this time, without an answer, is not started again at once.
const PROVEN_AFTER: Duration = Duration::from_secs(1);

/// How a program is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunRules {
    /// It is stopped after this long without a request. `None`: never.
    pub idle: Option<Duration>,
    /// Longest time from its start until it is ready.
    pub start_timeout: Duration,
    /// Longest time from SIGTERM to SIGKILL.
    pub stop_timeout: Duration,
    /// Whether it runs even if nobody requests it, and is never stopped for another.
    pub is_kept: bool,
}

/// The number of a process, in the order in which all processes were started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessNumber(pub u64);

/// What is to be done to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start it.
    Start(ProcessNumber),
    /// Send SIGTERM to its process group.
    Terminate(ProcessNumber),
    /// Send SIGKILL to all its processes.
    Kill(ProcessNumber),
    /// Report that it was not ready in time. It is terminated.
    ReportLate(ProcessNumber),
    /// Wake all requests that wait for the program: what they wait for has happened, or will not happen.
    Wake,
}

/// What a request is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// This process answers it. It counts as in progress until it is reported as finished.
    Serve(ProcessNumber),
    /// It waits until it is woken, and asks again.
    Wait,
    /// The program ends before it is ready. It is tried again after this time.
    Failing(Duration),
    /// As many programs run as may, and none of them is idle.
    Overloaded,
    /// No such program is declared any more.
    Gone,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was to end.
    Expected,
    /// It should have become ready.
    BeforeReady,
    /// It should have answered requests.
    Crash,
}

/// A program with its processes.
#[derive(Debug)]
pub struct Program {
    rules: RunRules,
    serving: Option<Serving>,
    launching: Option<Launching>,
    leaving: Vec<Leaving>,
    /// The last starts failed. It is remembered until a process has proved itself.
    backoff: Option<Backoff>,
    /// Whether the process that answers was started before the program was changed.
    is_stale: bool,
    /// Whether its manifest is gone.
    is_removed: bool,
    last_wanted: Option<Instant>,
    starts: u64,
    crashes: u64,
    last_start: Option<Duration>,
}

#[derive(Debug)]
struct Serving {
    number: ProcessNumber,
    in_progress: usize,
    ready: Instant,
    last_used: Instant,
    has_answered: bool,
}

#[derive(Debug)]
struct Launching {
    number: ProcessNumber,
    since: Instant,
}

/// A process that is to end.
#[derive(Debug)]
struct Leaving {
    number: ProcessNumber,
    in_progress: usize,
    /// When it got SIGTERM. `None`: it has requests to answer first.
    terminated: Option<Instant>,
    is_killed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Backoff {
    pause: Duration,
    until: Instant,
}

impl Program {
    /// A program that was never started.
    #[must_use]
    pub const fn new(rules: RunRules) -> Self {
        Self {
            rules,
            serving: None,
            launching: None,
            leaving: Vec::new(),
            backoff: None,
            is_stale: false,
            is_removed: false,
            last_wanted: None,
            starts: 0,
            crashes: 0,
            last_start: None,
        }
    }

    /// Its state.
    #[must_use]
    pub const fn state(&self) -> ProgramState {
        match self {
            Self { serving: Some(_), .. } => ProgramState::Running,
            Self { launching: Some(_), .. } => ProgramState::Starting,
            Self { backoff: Some(_), .. } => ProgramState::Failed,
            Self { leaving, .. } if !leaving.is_empty() => ProgramState::Stopping,
            _ => ProgramState::Stopped,
        }
    }

    /// How often it was started.
    #[must_use]
    pub const fn starts(&self) -> u64 {
        self.starts
    }

    /// How often it ended while it should run.
    #[must_use]
    pub const fn crashes(&self) -> u64 {
        self.crashes
    }

    /// How long its last start took until it was ready.
    #[must_use]
    pub const fn last_start(&self) -> Option<Duration> {
        self.last_start
    }

    /// The process that is shown: the one that answers, or otherwise the one that is being started or stopped.
    #[must_use]
    pub fn shown(&self) -> Option<ProcessNumber> {
        let starting = || self.launching.as_ref().map(|process| process.number);
        let leaving = || self.leaving.last().map(|process| process.number);
        self.serving.as_ref().map(|process| process.number).or_else(starting).or_else(leaving)
    }

    /// Whether a process answers, or is being started to.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.serving.is_some() || self.launching.is_some()
    }

    /// Since when it could be stopped for another program. `None`: it may not.
    #[must_use]
    pub fn idle_since(&self) -> Option<Instant> {
        let serving = self.serving.as_ref().filter(|process| process.in_progress == 0)?;
        (!self.rules.is_kept && self.launching.is_none()).then_some(serving.last_used)
    }

    /// Whether nothing is left of it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_removed && !self.is_up() && self.leaving.is_empty()
    }

    /// A request asks for it. `None`: it must be started first.
    pub(super) fn request(&mut self, now: Instant) -> Option<Reply> {
        if self.is_removed {
            return Some(Reply::Gone);
        }
        self.last_wanted = Some(now);
        if let Some(process) = &mut self.serving {
            process.in_progress += 1;
            process.last_used = now;
            return Some(Reply::Serve(process.number));
        }
        if self.launching.is_some() {
            return Some(Reply::Wait);
        }
        let pause = self.backoff.map(|backoff| backoff.until.saturating_duration_since(now));
        pause.filter(|pause| !pause.is_zero()).map(Reply::Failing)
    }

    /// Starts a process.
    pub(super) fn start(&mut self, number: ProcessNumber, now: Instant, actions: &mut Vec<Action>) {
        self.starts += 1;
        self.launching = Some(Launching { number, since: now });
        actions.push(Action::Start(number));
    }

    /// Puts a start off, since there is no room for it.
    pub(super) fn put_off(&mut self, now: Instant) {
        let pause = self.backoff.map_or(FIRST_PAUSE, |backoff| backoff.pause);
        self.backoff = Some(Backoff { pause, until: now + PROVEN_AFTER });
    }

    /// A process is ready.
    pub(super) fn ready(&mut self, number: ProcessNumber, now: Instant, actions: &mut Vec<Action>) {
        let Some(launching) = self.launching.take_if(|process| process.number == number) else { return };
        self.last_start = Some(now.saturating_duration_since(launching.since));
        self.is_stale = false;
        self.retire(now, actions);
        self.serving = Some(Serving { number, in_progress: 0, ready: now, last_used: now, has_answered: false });
        actions.push(Action::Wake);
    }

    /// A request that was served is over.
    pub(super) fn finished(&mut self, number: ProcessNumber, answered: bool, now: Instant, actions: &mut Vec<Action>) {
        if let Some(process) = self.serving.as_mut().filter(|process| process.number == number) {
            process.in_progress = process.in_progress.saturating_sub(1);
            process.last_used = now;
            process.has_answered |= answered;
            if answered {
                self.backoff = self.backoff.filter(|_| self.is_stale);
            }
        } else if let Some(process) = self.leaving.iter_mut().find(|process| process.number == number) {
            process.in_progress = process.in_progress.saturating_sub(1);
            if process.in_progress == 0 && process.terminated.is_none() {
                process.terminated = Some(now);
                actions.push(Action::Terminate(number));
            }
        }
    }

    /// A process has ended, with all its descendants.
    pub(super) fn ended(&mut self, number: ProcessNumber, now: Instant, actions: &mut Vec<Action>) -> Ending {
        let ending = self.lose(number, now, actions);
        if ending == Ending::Expected {
            self.leaving.retain(|process| process.number != number);
        }
        ending
    }

    /// A process uses more memory than it may.
    pub(super) fn exceeded(&mut self, number: ProcessNumber, now: Instant, actions: &mut Vec<Action>) -> Ending {
        let ending = self.lose(number, now, actions);
        if ending != Ending::Expected {
            self.leaving.push(Leaving { number, in_progress: 0, terminated: Some(now), is_killed: false });
        }
        // One that has requests to answer before it is stopped is killed, too.
        if let Some(process) = self.leaving.iter_mut().find(|process| process.number == number && !process.is_killed) {
            (process.terminated, process.is_killed) = (Some(now), true);
            actions.push(Action::Kill(number));
        }
        ending
    }

    /// Its manifest, or a file of it, has changed: a new process is to take over.
    /// Returns whether one must be started.
    pub(super) fn changed(&mut self, rules: RunRules, now: Instant, actions: &mut Vec<Action>) -> bool {
        self.rules = rules;
        self.is_removed = false;
        let was_failing = self.backoff.take().is_some() && self.is_wanted(now);
        let was_launching = self.stop_launching(now, actions);
        self.is_stale = self.serving.is_some();
        self.is_stale || was_launching || was_failing || rules.is_kept
    }

    /// Its manifest is gone, or all programs are to end.
    pub(super) fn removed(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.is_removed = true;
        self.backoff = None;
        self.stop_launching(now, actions);
        self.retire(now, actions);
        actions.push(Action::Wake);
    }

    /// Stops the process that answers, since nobody asks for it. It is not started again before somebody does: it became
    /// ready, whatever the starts before it did.
    pub(super) fn stop_idle(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.backoff = None;
        self.retire(now, actions);
    }

    /// Stops the process that answers, once it has answered what it was asked.
    fn retire(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(Serving { number, in_progress, .. }) = self.serving.take() else { return };
        let terminated = (in_progress == 0).then_some(now);
        actions.extend(terminated.map(|_| Action::Terminate(number)));
        self.leaving.push(Leaving { number, in_progress, terminated, is_killed: false });
    }

    /// Time has passed. Returns whether a process must be started.
    pub(super) fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) -> bool {
        let RunRules { start_timeout, stop_timeout, .. } = self.rules;
        if let Some(late) = self.launching.take_if(|process| now >= process.since + start_timeout) {
            self.crashes += 1;
            self.back_off(now);
            self.leaving.push(Leaving { number: late.number, in_progress: 0, terminated: Some(now), is_killed: false });
            actions.extend([Action::ReportLate(late.number), Action::Terminate(late.number), Action::Wake]);
        }
        if self.idle_end().is_some_and(|end| now >= end) {
            self.stop_idle(now, actions);
        }
        for process in &mut self.leaving {
            if !process.is_killed && process.terminated.is_some_and(|since| now >= since + stop_timeout) {
                process.is_killed = true;
                actions.push(Action::Kill(process.number));
            }
        }
        self.retry_at().is_some_and(|at| now >= at)
    }

    /// When the passing of time has something to change.
    #[must_use]
    pub fn next_tick(&self) -> Option<Instant> {
        let launching = self.launching.as_ref().map(|process| process.since + self.rules.start_timeout);
        let leaving = self.leaving.iter().filter(|process| !process.is_killed);
        let leaving = leaving.filter_map(|process| Some(process.terminated? + self.rules.stop_timeout));
        launching.into_iter().chain(self.idle_end()).chain(leaving).chain(self.retry_at()).min()
    }

    /// When the process that answers has been idle for long enough to be stopped.
    fn idle_end(&self) -> Option<Instant> {
        Some(self.idle_since()? + self.rules.idle?)
    }

    /// When the next start is due after one that failed. `None`: only a request starts it again.
    fn retry_at(&self) -> Option<Instant> {
        let until = self.backoff.filter(|_| self.launching.is_none())?.until;
        let is_due = if self.serving.is_some() { self.is_stale } else { self.is_wanted(until) };
        is_due.then_some(until)
    }

    /// Whether it should run at a time although nobody requests it just then.
    fn is_wanted(&self, at: Instant) -> bool {
        let is_recent = |last: Instant| self.rules.idle.is_none_or(|idle| at < last + idle);
        self.rules.is_kept || self.last_wanted.is_some_and(is_recent)
    }

    /// Gives up a process that is being started. Returns whether there was one.
    fn stop_launching(&mut self, now: Instant, actions: &mut Vec<Action>) -> bool {
        let Some(Launching { number, .. }) = self.launching.take() else { return false };
        self.leaving.push(Leaving { number, in_progress: 0, terminated: Some(now), is_killed: false });
        actions.push(Action::Terminate(number));
        true
    }

    /// A process that should run does so no longer. The next one is started as its rules require.
    fn lose(&mut self, number: ProcessNumber, now: Instant, actions: &mut Vec<Action>) -> Ending {
        if self.launching.take_if(|process| process.number == number).is_some() {
            self.crashes += 1;
            self.back_off(now);
            actions.push(Action::Wake);
            return Ending::BeforeReady;
        }
        let Some(process) = self.serving.take_if(|process| process.number == number) else { return Ending::Expected };
        self.crashes += 1;
        if !self.rules.is_kept {
            self.backoff = self.backoff.filter(|_| self.is_stale);
        } else if process.has_answered || now >= process.ready + PROVEN_AFTER || self.backoff.is_none() {
            // Started again at once; if that one does not last either, the pauses begin.
            self.backoff = Some(Backoff { pause: FIRST_PAUSE / 2, until: now });
        } else {
            self.back_off(now);
        }
        self.is_stale = false;
        actions.push(Action::Wake);
        Ending::Crash
    }

    fn back_off(&mut self, now: Instant) {
        let pause = self.backoff.map_or(FIRST_PAUSE, |last| (last.pause * 2).min(LONGEST_PAUSE));
        self.backoff = Some(Backoff { pause, until: now + pause });
    }
}
