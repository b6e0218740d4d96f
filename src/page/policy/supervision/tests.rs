//! Tests of the supervision of programs: single stories, and what holds in all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::fleet::{Actions, Fleet};
use super::program::{Action, Ending, FIRST_PAUSE, LONGEST_PAUSE, ProcessNumber, Reply, RunRules};
use super::status::ProgramState;

const RULES: RunRules = RunRules {
    idle: Some(Duration::from_secs(300)),
    start_timeout: Duration::from_secs(10),
    stop_timeout: Duration::from_secs(5),
    is_kept: false,
};
const KEPT: RunRules = RunRules { is_kept: true, ..RULES };
const SECOND: Duration = Duration::from_secs(1);

/// A fleet with the program "a", and the time.
struct Story {
    fleet: Fleet<&'static str>,
    now: Instant,
}

impl Story {
    fn new(rules: RunRules) -> Self {
        let mut story = Self { fleet: Fleet::new(64), now: Instant::now() };
        story.fleet.declare(&"a", rules, story.now);
        story
    }

    fn request(&mut self) -> Reply {
        self.fleet.request(&"a", self.now).0
    }

    fn ready(&mut self, number: u64) -> Vec<Action> {
        only_actions(self.fleet.ready(&"a", ProcessNumber(number), self.now))
    }

    fn ended(&mut self, number: u64) -> Ending {
        self.fleet.ended(&"a", ProcessNumber(number), self.now).0
    }

    fn finished(&mut self, number: u64) -> Vec<Action> {
        only_actions(self.fleet.finished(&"a", ProcessNumber(number), true, self.now))
    }

    fn after(&mut self, time: Duration) -> Vec<Action> {
        self.now += time;
        only_actions(self.fleet.tick(self.now))
    }

    fn state(&self) -> ProgramState {
        self.fleet.program(&"a").expect("it is declared").state()
    }
}

fn only_actions(actions: Actions<&'static str>) -> Vec<Action> {
    actions.into_iter().map(|(_, action)| action).collect()
}

const fn start(number: u64) -> Action {
    Action::Start(ProcessNumber(number))
}

const fn terminate(number: u64) -> Action {
    Action::Terminate(ProcessNumber(number))
}

const fn serve(number: u64) -> Reply {
    Reply::Serve(ProcessNumber(number))
}

#[test]
fn the_first_request_starts_a_program_and_the_others_wait_for_the_same_start() {
    let mut story = Story::new(RULES);
    assert_eq!(story.state(), ProgramState::Stopped);
    assert_eq!(story.fleet.request(&"a", story.now), (Reply::Wait, vec![("a", start(1))]));
    assert_eq!(story.fleet.request(&"a", story.now), (Reply::Wait, vec![]));
    assert_eq!(story.state(), ProgramState::Starting);
    assert_eq!(story.ready(1), [Action::Wake]);
    assert_eq!((story.request(), story.state()), (serve(1), ProgramState::Running));
    assert_eq!(story.fleet.request(&"b", story.now).0, Reply::Gone);
}

#[test]
fn a_program_is_stopped_once_it_has_been_idle_for_its_time() {
    let mut story = Story::new(RULES);
    story.request();
    story.ready(1);
    story.request();
    assert_eq!(story.after(SECOND * 400), [], "a request is in progress");
    story.finished(1);
    assert_eq!(story.fleet.next_tick(), Some(story.now + SECOND * 300));
    assert_eq!(story.after(SECOND * 300), [terminate(1)]);
    assert_eq!(story.state(), ProgramState::Stopping);
    assert_eq!(story.after(SECOND * 5), [Action::Kill(ProcessNumber(1))]);
    assert_eq!(story.after(SECOND * 5), [], "it is killed once");
    assert_eq!((story.ended(1), story.state()), (Ending::Expected, ProgramState::Stopped));
    let mut never = Story::new(RunRules { idle: None, ..RULES });
    never.request();
    never.ready(1);
    assert_eq!((never.after(SECOND * 100_000), never.fleet.next_tick()), (vec![], None));
}

#[test]
fn a_program_that_is_asked_for_while_it_stops_is_started_again_at_once() {
    let mut story = Story::new(RULES);
    story.request();
    story.ready(1);
    story.after(SECOND * 300);
    assert_eq!(story.fleet.request(&"a", story.now), (Reply::Wait, vec![("a", start(2))]));
    story.ready(2);
    assert_eq!((story.ended(1), story.request()), (Ending::Expected, serve(2)));
}

#[test]
fn a_start_that_fails_is_tried_again_after_a_pause_that_doubles() {
    let mut story = Story::new(RULES);
    story.request();
    let mut pause = FIRST_PAUSE;
    for number in 1..=12 {
        assert_eq!(story.ended(number), Ending::BeforeReady);
        assert_eq!((story.request(), story.state()), (Reply::Failing(pause), ProgramState::Failed));
        assert_eq!(story.after(pause - Duration::from_millis(1)), []);
        assert_eq!(story.after(Duration::from_millis(1)), [start(number + 1)]);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    story.ready(13);
    story.request();
    story.finished(13);
    story.ended(13);
    story.request();
    assert_eq!((story.ended(14), story.request()), (Ending::BeforeReady, Reply::Failing(FIRST_PAUSE)));
}

#[test]
fn a_failing_program_is_tried_only_as_long_as_somebody_might_want_it() {
    let mut story = Story::new(RunRules { idle: Some(SECOND), ..RULES });
    story.request();
    let mut number = 1;
    while story.fleet.next_tick().is_some() {
        story.ended(number);
        number += story.after(SECOND / 10).iter().filter(|action| matches!(action, Action::Start(_))).count() as u64;
        assert!(number < 20, "it is never given up");
    }
    assert_eq!(story.state(), ProgramState::Failed);
    story.after(SECOND * 100);
    assert_eq!((story.request(), story.state()), (Reply::Wait, ProgramState::Starting));
}

#[test]
fn a_start_that_takes_too_long_counts_as_one_that_failed() {
    let mut story = Story::new(RULES);
    story.request();
    let late = Action::ReportLate(ProcessNumber(1));
    assert_eq!(story.after(SECOND * 10), [late, terminate(1), Action::Wake]);
    assert_eq!(story.request(), Reply::Failing(FIRST_PAUSE));
    assert_eq!((story.ready(1), story.ended(1)), (vec![], Ending::Expected), "it is too late");
}

#[test]
fn after_a_crash_the_next_request_starts_it_and_a_kept_one_is_started_at_once() {
    let mut story = Story::new(RULES);
    story.request();
    story.ready(1);
    assert_eq!((story.ended(1), story.state()), (Ending::Crash, ProgramState::Stopped));
    assert_eq!(story.fleet.request(&"a", story.now), (Reply::Wait, vec![("a", start(2))]));

    let mut kept = Story::new(KEPT);
    kept.ready(1);
    let (ending, actions) = kept.fleet.ended(&"a", ProcessNumber(1), kept.now);
    assert_eq!((ending, only_actions(actions)), (Ending::Crash, vec![Action::Wake, start(2)]));
    kept.ready(2);
    kept.ended(2);
    assert_eq!(kept.request(), Reply::Failing(FIRST_PAUSE), "it would be started without end");
    assert_eq!(kept.after(FIRST_PAUSE), [start(3)]);
    kept.ready(3);
    kept.request();
    kept.finished(3);
    kept.ended(3);
    assert_eq!(kept.request(), Reply::Wait, "it has answered, so it is started at once");
}

#[test]
fn a_changed_program_goes_on_until_the_new_one_is_ready_and_has_answered_its_last_request() {
    let mut story = Story::new(RULES);
    story.request();
    story.ready(1);
    story.request();
    assert_eq!(only_actions(story.fleet.change(&"a", RULES, story.now)), [start(2)]);
    assert_eq!(story.request(), serve(1));
    assert_eq!(story.ready(2), [Action::Wake], "two requests are in progress");
    assert_eq!(story.request(), serve(2));
    assert_eq!(story.finished(1), []);
    assert_eq!(story.finished(1), [terminate(1)]);
    assert_eq!(story.ended(1), Ending::Expected);
}

#[test]
fn a_changed_program_that_does_not_become_ready_leaves_the_old_one_and_is_tried_again() {
    let mut story = Story::new(RULES);
    story.request();
    story.ready(1);
    story.fleet.change(&"a", RULES, story.now);
    assert_eq!((story.ended(2), story.request()), (Ending::BeforeReady, serve(1)));
    story.finished(1);
    assert_eq!(story.after(FIRST_PAUSE), [start(3)]);
    story.ended(3);
    assert_eq!(story.after(FIRST_PAUSE * 2), [start(4)]);
    assert_eq!(only_actions(story.fleet.change(&"a", RULES, story.now)), [terminate(4), start(5)]);
    assert_eq!(story.ready(5), [terminate(1), Action::Wake]);
}

#[test]
fn a_removed_program_is_forgotten_once_it_has_ended() {
    let mut story = Story::new(KEPT);
    story.ready(1);
    story.request();
    assert_eq!(only_actions(story.fleet.remove(&"a", story.now)), [Action::Wake]);
    assert_eq!(story.request(), Reply::Gone);
    assert_eq!(story.finished(1), [terminate(1)]);
    story.ended(1);
    assert!(story.fleet.is_empty());
}

#[test]
fn past_the_limit_the_program_that_has_been_idle_longest_is_stopped() {
    let now = Instant::now();
    let mut fleet = Fleet::new(2);
    for (key, rules) in [("kept", KEPT), ("a", RULES), ("b", RULES)] {
        fleet.declare(&key, rules, now);
    }
    fleet.ready(&"kept", ProcessNumber(1), now);
    assert_eq!(fleet.request(&"a", now).0, Reply::Wait);
    assert_eq!(fleet.request(&"b", now).0, Reply::Overloaded, "the other one is being started");
    fleet.ready(&"a", ProcessNumber(2), now);
    fleet.request(&"a", now);
    assert_eq!(fleet.request(&"b", now).0, Reply::Overloaded, "the other one is busy");
    fleet.finished(&"a", ProcessNumber(2), true, now);
    assert_eq!(fleet.request(&"b", now), (Reply::Wait, vec![("a", terminate(2)), ("b", start(3))]));
    assert_eq!(only_actions(fleet.change(&"kept", KEPT, now)), [start(4)], "a replacement does not count");
}

#[test]
fn a_program_that_takes_too_much_memory_is_killed_and_counts_as_crashed() {
    let mut story = Story::new(RULES);
    story.request();
    story.ready(1);
    let (ending, actions) = story.fleet.exceeded(&"a", ProcessNumber(1), story.now);
    let expected = vec![Action::Wake, Action::Kill(ProcessNumber(1))];
    assert_eq!((ending, only_actions(actions)), (Ending::Crash, expected));
    assert_eq!((story.ended(1), story.request()), (Ending::Expected, Reply::Wait));
    assert_eq!(story.fleet.program(&"a").map(super::program::Program::crashes), Some(1));
}

#[test]
fn a_process_that_is_to_stop_after_its_answers_is_killed_if_it_takes_too_much_memory() {
    let mut story = Story::new(RULES);
    story.request();
    story.ready(1);
    assert_eq!(story.request(), Reply::Serve(ProcessNumber(1)));
    story.fleet.change(&"a", RULES, story.now);
    story.ready(2);
    let (ending, actions) = story.fleet.exceeded(&"a", ProcessNumber(1), story.now);
    assert_eq!((ending, only_actions(actions)), (Ending::Expected, vec![Action::Kill(ProcessNumber(1))]));
}

#[test]
fn a_program_that_was_stopped_for_another_is_not_started_again_because_its_first_start_failed() {
    let now = Instant::now();
    let mut fleet = Fleet::new(1);
    for key in ["a", "b"] {
        fleet.declare(&key, RULES, now);
    }
    fleet.request(&"a", now);
    fleet.ended(&"a", ProcessNumber(1), now);
    assert_eq!(only_actions(fleet.tick(now + FIRST_PAUSE)), [start(2)]);
    fleet.ready(&"a", ProcessNumber(2), now + FIRST_PAUSE);
    assert_eq!(fleet.request(&"b", now + FIRST_PAUSE).1, [("a", terminate(2)), ("b", start(3))]);
    assert_eq!(fleet.tick(now + FIRST_PAUSE), []);
}

/// Something that happens to a fleet. Indices are taken modulo what there is.
#[derive(Debug, Clone)]
enum Event {
    Request(usize),
    Ready(usize),
    Ended(usize),
    Exceeded(usize),
    Finished(usize, bool),
    Change(usize),
    Remove(usize),
    Declare(usize),
    Wait(Duration),
}

fn event() -> impl Strategy<Value = Event> {
    let index = 0..8_usize;
    prop_oneof![
        4 => index.clone().prop_map(Event::Request),
        3 => index.clone().prop_map(Event::Ready),
        2 => index.clone().prop_map(Event::Ended),
        1 => index.clone().prop_map(Event::Exceeded),
        3 => (index.clone(), any::<bool>()).prop_map(|(index, answered)| Event::Finished(index, answered)),
        1 => index.clone().prop_map(Event::Change),
        1 => index.clone().prop_map(Event::Remove),
        1 => index.prop_map(Event::Declare),
        3 => (0..20_000_u64).prop_map(|ms| Event::Wait(Duration::from_millis(ms))),
    ]
}

/// A process in the world.
#[derive(Debug, Default)]
struct Process {
    key: &'static str,
    is_ready: bool,
    is_terminated: bool,
    is_killed: bool,
    is_replacement: bool,
}

/// The world: the processes that exist, and the requests that wait or are in progress.
struct World {
    fleet: Fleet<&'static str>,
    now: Instant,
    processes: BTreeMap<u64, Process>,
    in_progress: Vec<(&'static str, u64)>,
    waiting: BTreeSet<&'static str>,
    max: usize,
}

const KEYS: [&str; 3] = ["a", "b", "kept"];

impl World {
    fn rules(key: &str) -> RunRules {
        RunRules { is_kept: key == "kept", idle: (key != "b").then_some(SECOND * 3), ..RULES }
    }

    fn new(max: usize) -> Self {
        let (fleet, now) = (Fleet::new(max), Instant::now());
        let mut world =
            Self { fleet, now, processes: BTreeMap::new(), in_progress: Vec::new(), waiting: BTreeSet::new(), max };
        for key in KEYS {
            let actions = world.fleet.declare(&key, Self::rules(key), now);
            world.carry_out(actions);
        }
        world
    }

    fn carry_out(&mut self, actions: Actions<&'static str>) {
        for (key, action) in actions {
            match action {
                Action::Start(ProcessNumber(number)) => {
                    let is_replacement =
                        self.processes.values().any(|other| other.key == key && other.is_ready && !other.is_terminated);
                    let process = Process { key, is_replacement, ..Process::default() };
                    assert!(self.processes.insert(number, process).is_none(), "{number} was started twice");
                }
                Action::Terminate(ProcessNumber(number)) => {
                    let process = self.processes.get_mut(&number).expect("only what runs is terminated");
                    assert!(!process.is_terminated, "{number} was terminated twice");
                    process.is_terminated = true;
                    assert!(!self.in_progress.iter().any(|(_, busy)| *busy == number), "a request was not answered");
                }
                Action::Kill(ProcessNumber(number)) => {
                    let process = self.processes.get_mut(&number).expect("only what runs is killed");
                    assert!(!process.is_killed, "{number} was killed twice");
                    process.is_killed = true;
                    process.is_terminated = true;
                }
                Action::ReportLate(_) => {}
                Action::Wake => {
                    if self.waiting.remove(key) {
                        self.request(key);
                    }
                }
            }
        }
    }

    fn request(&mut self, key: &'static str) {
        let (reply, actions) = self.fleet.request(&key, self.now);
        match reply {
            Reply::Serve(ProcessNumber(number)) => {
                let process = &self.processes[&number];
                assert!(process.is_ready && !process.is_terminated, "{key} is served by {process:?}");
                self.in_progress.push((key, number));
            }
            Reply::Wait => {
                self.waiting.insert(key);
            }
            Reply::Failing(pause) => assert!(pause <= LONGEST_PAUSE),
            Reply::Overloaded | Reply::Gone => {}
        }
        self.carry_out(actions);
    }

    fn nth(&self, index: usize) -> Option<(u64, &'static str)> {
        let count = self.processes.len().max(1);
        self.processes.iter().nth(index % count).map(|(number, process)| (*number, process.key))
    }

    fn apply(&mut self, event: Event) {
        let key = |index: usize| KEYS[index % KEYS.len()];
        let now = self.now;
        let actions = match event {
            Event::Request(index) => {
                self.request(key(index));
                Vec::new()
            }
            Event::Ready(index) => {
                let Some((number, key)) = self.nth(index) else { return };
                let process = self.processes.get_mut(&number).expect("it is there");
                if process.is_terminated {
                    return;
                }
                process.is_ready = true;
                self.fleet.ready(&key, ProcessNumber(number), now)
            }
            Event::Ended(index) => {
                let Some((number, key)) = self.nth(index) else { return };
                self.processes.remove(&number);
                self.in_progress.retain(|(_, busy)| *busy != number);
                self.fleet.ended(&key, ProcessNumber(number), now).1
            }
            Event::Exceeded(index) => {
                let Some((number, key)) = self.nth(index) else { return };
                self.in_progress.retain(|(_, busy)| *busy != number);
                self.fleet.exceeded(&key, ProcessNumber(number), now).1
            }
            Event::Finished(index, answered) => {
                if self.in_progress.is_empty() {
                    return;
                }
                let (key, number) = self.in_progress.swap_remove(index % self.in_progress.len());
                self.fleet.finished(&key, ProcessNumber(number), answered, now)
            }
            Event::Change(index) => self.fleet.change(&key(index), Self::rules(key(index)), now),
            Event::Remove(index) => self.fleet.remove(&key(index), now),
            Event::Declare(index) => self.fleet.declare(&key(index), Self::rules(key(index)), now),
            Event::Wait(time) => {
                self.now += time;
                self.fleet.tick(self.now)
            }
        };
        self.carry_out(actions);
    }

    fn check(&self) {
        let up = |process: &&Process| !process.is_terminated;
        for key in KEYS {
            let of_key = || self.processes.values().filter(up).filter(|process| process.key == key);
            let starting = of_key().filter(|process| !process.is_ready).count();
            assert!(starting <= 1, "two processes of {key} are being started");
        }
        let first = self.processes.values().filter(up).filter(|process| !process.is_ready && !process.is_replacement);
        let programs: BTreeSet<_> = first.map(|process| process.key).collect();
        let running = KEYS.iter().filter(|key| self.fleet.program(key).is_some_and(super::program::Program::is_up));
        assert!(running.count() <= self.max, "more run than may: {programs:?}");
        for key in &self.waiting {
            let state = self.fleet.program(key).map(super::program::Program::state);
            assert_eq!(state, Some(ProgramState::Starting), "{key} is waited for");
        }
    }

    /// Lets all processes do as they are told, and time pass, until nothing happens any more.
    fn settle(&mut self) {
        for _ in 0..200 {
            while !self.in_progress.is_empty() {
                self.apply(Event::Finished(0, true));
            }
            let ended = self.processes.values().position(|process| process.is_terminated);
            if let Some(index) = ended {
                self.apply(Event::Ended(index));
                continue;
            }
            let starting = self.processes.values().position(|process| !process.is_ready);
            if let Some(index) = starting {
                self.apply(Event::Ready(index));
                continue;
            }
            return;
        }
        panic!("it never settles");
    }
}

proptest! {
    #[test]
    fn whatever_happens_starts_are_single_bounded_and_answered(
        events in proptest::collection::vec(event(), 0..120),
        max in 1..4_usize,
    ) {
        let mut world = World::new(max);
        for event in events {
            world.apply(event);
            world.check();
        }
        world.settle();
        prop_assert!(world.waiting.is_empty(), "{:?} wait for ever", world.waiting);
        let stop = world.fleet.stop_all(world.now);
        world.carry_out(stop);
        world.settle();
        prop_assert!(world.processes.is_empty() && world.fleet.is_empty(), "{:?} are left", world.processes);
    }

    #[test]
    fn nobody_waits_longer_than_a_start_may_take(events in proptest::collection::vec(event(), 0..60)) {
        let mut world = World::new(2);
        for event in events {
            world.apply(event);
        }
        // No process ever gets ready or ends by itself.
        for _ in 0..3 {
            let waiting = world.waiting.clone();
            world.apply(Event::Wait(RULES.start_timeout));
            prop_assert!(world.waiting.is_empty() || world.waiting != waiting || waiting.is_empty());
            world.waiting.clear();
        }
    }

    #[test]
    fn a_tick_that_is_due_does_something_or_is_never_due_again(events in proptest::collection::vec(event(), 0..60)) {
        let mut world = World::new(2);
        for event in events {
            world.apply(event);
        }
        for _ in 0..50 {
            let Some(next) = world.fleet.next_tick() else { break };
            world.now = world.now.max(next);
            let actions = world.fleet.tick(world.now);
            world.carry_out(actions);
            let again = world.fleet.next_tick();
            prop_assert!(again.is_none_or(|again| again > world.now), "the timer would spin");
        }
    }
}
