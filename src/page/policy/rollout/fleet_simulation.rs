//! Three replicas and a store that loses, delays, reorders and forgets, by a seed: whatever happens, no answer counts twice, no step
//! is passed without answers of its own, and a replica that knows that a version went back never shows it again. While the store
//! is there, all are on one step two seconds after a decision.
//! `ROLLOUT_SEEDS` sets how many seeds are tried.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::super::random::Random;
use super::RolloutRules;
use super::book::{Book, Used};
use super::decision::tests::rules;
use super::fleet::FleetBook;
use super::progress::{Action, Event, State};
use super::replica::{Proposal, Replica, Shown};

/// Seeds of an ordinary run. `ROLLOUT_SEEDS` names another number.
const SEEDS: u64 = 300;
const REPLICAS: usize = 3;
/// The parts of a second that are simulated one after another.
const TICKS: u64 = 10;
/// How long the store misbehaves, and how long it does not.
const STORM: u64 = 40 * TICKS;
const CALM: u64 = 20 * TICKS;
const NAME: &str = "a";

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum View {
    Over,
    Rollout { round: u64, step: usize, state: &'static str },
}

#[derive(Default)]
struct Node {
    book: Book,
    replica: Replica,
    /// A proposal that is on its way, and what the store had before it.
    proposed: Option<(Option<FleetBook>, Proposal)>,
    is_cut_off: bool,
    /// In which part of a second it adds its counts.
    phase: u64,
    /// The last round of which it knows that it went back.
    went_back: Option<u64>,
}

struct World {
    rules: RolloutRules,
    random: Random,
    store: Option<FleetBook>,
    /// Changes that are late: they are made if the store still has what they expect.
    late: Vec<(Option<FleetBook>, FleetBook)>,
    nodes: [Node; REPLICAS],
    tick: u64,
    /// How many of ten answers of the new version are failures.
    faults: u64,
    /// The answers of the new version in each round.
    answers: BTreeMap<u64, u64>,
    /// How often somebody promoted it.
    promoted: u64,
    /// The last round that the store had.
    round: u64,
    /// When the store's value last came to another step or state.
    decided: u64,
    was: Option<View>,
    /// Whether nothing was lost that may be lost: no replica started anew, and the store forgot nothing.
    is_lossless: bool,
    completed: u64,
    ended: u64,
    joined: u64,
}

fn shown() -> Shown {
    Shown {
        name: NAME.to_owned(),
        version: "2".to_owned(),
        checksum: "x".to_owned(),
        has_rules: true,
        catalogue: BTreeSet::from(["1".to_owned(), "2".to_owned()]),
    }
}

impl Node {
    fn start(book: Book, now: Timestamp, random: &mut Random) -> Self {
        let replica = Replica::new(now, random.next(), &book);
        Self { book, replica, phase: random.below(TICKS), ..Self::default() }
    }

    /// Builds the site, until nothing changes any more.
    fn go_live(&mut self, now: Timestamp) {
        loop {
            let has_taken_over = self.book.0.get(NAME).is_none_or(|entry| entry.chosen.contains("2"));
            let after = (!has_taken_over).then(|| ("1".to_owned(), "x".to_owned()));
            let used = Used { name: NAME.to_owned(), version: "2".to_owned(), after };
            self.book = self.book.after(&[used], now);
            if !self.adopt(false) {
                return;
            }
        }
    }

    fn adopt(&mut self, is_decided: bool) -> bool {
        let has_taken_over = self.book.0.get(NAME).is_some_and(|entry| entry.chosen.contains("2"));
        let shown = has_taken_over.then(shown);
        let adopted = self.replica.adopt(&mut self.book, shown.as_slice(), is_decided);
        for (name, candidate, event) in adopted.events {
            if event == Event::Completed {
                self.book.complete(&name, &candidate);
            }
        }
        adopted.is_site_other
    }

    fn view(&self) -> View {
        let entry = &self.book.0[NAME];
        match entry.rollout("2") {
            Some(rollout) if !entry.chosen.contains("2") => {
                View::Rollout { round: rollout.round, step: rollout.step, state: rollout.state.as_str() }
            }
            _ => View::Over,
        }
    }
}

fn view_of(store: &FleetBook) -> Option<View> {
    let entry = store.fragments.get(NAME)?;
    let Some(known) = entry.rollouts.first() else {
        // A store that was emptied may know of the end only which version has taken over.
        return entry.chosen.contains("2").then_some(View::Over);
    };
    let (round, step, state) = (known.rollout.round, known.rollout.step, known.rollout.state.as_str());
    Some(if known.is_over { View::Over } else { View::Rollout { round, step, state } })
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let now = Timestamp::from_second(1_000).expect("a time");
        let mut before = Book::default();
        before = before.after(&[Used { name: NAME.to_owned(), version: "1".to_owned(), after: None }], now);
        let nodes = [(); REPLICAS].map(|()| Node::start(before.clone(), now, &mut random));
        let faults = [0, 0, 3, 10][random.index(4)];
        let rules =
            RolloutRules { steps: vec![20, 50, 80], interval: Duration::from_secs(2), min_requests: 8, ..rules() };
        let mut world = Self {
            rules,
            random,
            store: None,
            late: Vec::new(),
            nodes,
            tick: 0,
            faults,
            answers: BTreeMap::new(),
            promoted: 0,
            round: 0,
            decided: 0,
            was: None,
            is_lossless: true,
            completed: 0,
            ended: 0,
            joined: 0,
        };
        let now = world.now();
        world.nodes.iter_mut().for_each(|node| node.go_live(now));
        world
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(1_000_000 + i64::try_from(self.tick * 1_000 / TICKS).expect("it is small"))
            .expect("a time")
    }

    /// A replica reads the store, and prepares its proposal.
    fn propose(&mut self, number: usize, wish: Option<Action>) {
        let (now, chance) = (self.now(), self.random.next());
        let found = self.store.clone();
        let (node, rules) = (&mut self.nodes[number], &self.rules);
        let proposal = node.replica.propose(
            found.clone(),
            &node.book,
            &|_, candidate| (candidate == "2").then_some(rules),
            wish.map(|action| (NAME, action)),
            now,
            chance,
        );
        node.proposed = Some((found, proposal));
    }

    /// The store compares and sets.
    fn set(&mut self, expected: &Option<FleetBook>, book: &FleetBook) -> bool {
        let is_taken = self.store == *expected;
        if is_taken {
            self.store = Some(book.clone());
        }
        is_taken
    }

    /// A replica's proposal arrives, or not. Returns `false` if another one came before.
    fn send(&mut self, number: usize, is_calm: bool) -> bool {
        let Some((expected, proposal)) = self.nodes[number].proposed.take() else { return true };
        let fate = if is_calm { 9 } else { self.random.below(10) };
        match fate {
            // It is lost.
            0 => return true,
            // It comes later than anybody waits for.
            1 => {
                self.late.push((expected, proposal.book));
                return true;
            }
            // The response is lost.
            2 => {
                self.set(&expected, &proposal.book);
                return true;
            }
            _ => {}
        }
        if proposal.is_changed && !self.set(&expected, &proposal.book) {
            return false;
        }
        let now = self.now();
        let node = &mut self.nodes[number];
        node.replica.accepted(proposal);
        if node.adopt(true) {
            node.go_live(now);
        }
        true
    }

    fn synchronise(&mut self, number: usize) {
        for _ in 0..10 {
            self.propose(number, None);
            if self.send(number, true) {
                return;
            }
        }
        panic!("nobody else changes it meanwhile");
    }

    /// A page view, which asks one of the two versions.
    fn view(&mut self, number: usize, is_calm: bool) {
        let (now, chance) = (self.now(), self.random.below(100));
        let (is_fault, ms) = (self.random.below(10) < self.faults, 10 + self.random.below(5));
        let node = &mut self.nodes[number];
        if node.view() == View::Over {
            return;
        }
        let Some(rollout) = node.book.rollout_mut(NAME, "2") else { return };
        if !rollout.is_shown() {
            return;
        }
        let is_candidate = chance < u64::from(rollout.share(&self.rules));
        let (failed, took) = (is_candidate && is_fault, Duration::from_millis(ms));
        node.replica.record(NAME, rollout, is_candidate, failed, took);
        rollout.record(is_candidate, failed, took);
        if is_candidate {
            *self.answers.entry(rollout.round).or_default() += 1;
        }
        if rollout.hold_back_if_broken(&self.rules, now) && is_calm {
            self.synchronise(number);
        }
    }

    fn operate(&mut self, number: usize) {
        let action = Action::ALL[self.random.index(5)];
        self.promoted += u64::from(action == Action::Promote);
        self.propose(number, Some(action));
    }

    fn misbehave(&mut self) {
        let number = self.random.index(REPLICAS);
        match self.random.below(400) {
            0..8 => self.nodes[number].is_cut_off ^= true,
            8..12 if !self.nodes[number].is_cut_off => self.operate(number),
            12..16 if !self.late.is_empty() => {
                let at = self.random.index(self.late.len());
                let (expected, book) = self.late.swap_remove(at);
                self.set(&expected, &book);
            }
            16 => {
                self.store = None;
                self.is_lossless = false;
            }
            17 | 18 => {
                // It starts anew, with what it has kept; or without it, but then with what the store has.
                let now = self.now();
                let (book, went_back) = (self.nodes[number].book.clone(), self.nodes[number].went_back);
                let is_kept = self.random.one_in(2) || self.store.is_none();
                let (book, went_back) = if is_kept { (book, went_back) } else { (Book::default(), None) };
                let mut node = Node { went_back, ..Node::start(book, now, &mut self.random) };
                if let Some(store) = self.store.clone().filter(|_| !is_kept) {
                    node.replica.knows(store);
                }
                node.go_live(now);
                self.nodes[number] = node;
                self.is_lossless = false;
            }
            19 => {
                let node = &mut self.nodes[number];
                if node.view() != View::Over
                    && let Some(rollout) = node.book.rollout_mut(NAME, "2").filter(|rollout| rollout.state.is_live())
                {
                    node.replica.abort_later(NAME, rollout);
                }
            }
            _ => {}
        }
    }

    fn step(&mut self, is_calm: bool) {
        self.tick += 1;
        if is_calm {
            self.nodes.iter_mut().for_each(|node| node.is_cut_off = false);
            self.late.clear();
        } else {
            self.misbehave();
        }
        for number in 0..REPLICAS {
            // The first one has the most readers.
            if self.random.one_in(1 + 2 * number as u64) {
                self.view(number, is_calm);
            }
            let node = &self.nodes[number];
            let is_due = self.tick % TICKS == node.phase;
            if is_calm {
                if is_due {
                    self.synchronise(number);
                }
            } else if !node.is_cut_off {
                if node.proposed.is_some() {
                    if self.random.one_in(2) && !self.send(number, false) {
                        self.propose(number, None);
                    }
                } else if is_due {
                    self.propose(number, None);
                }
            } else {
                self.nodes[number].proposed = None;
            }
        }
        self.check();
    }

    fn check(&mut self) {
        if let Some(store) = &self.store
            && let Some(known) = store.fragments.get(NAME).and_then(|entry| entry.rollouts.first())
        {
            let rollout = &known.rollout;
            let answers = self.answers.get(&rollout.round).copied().unwrap_or_default();
            assert!(rollout.candidate_side.requests <= answers, "an answer counts twice: {rollout:?}, not {answers}");
            let most = answers / self.rules.min_requests + self.promoted;
            assert!(rollout.step as u64 <= most, "step {} after {answers} answers", rollout.step);
            self.round = self.round.max(rollout.round);
        }
        let now = self.store.as_ref().and_then(view_of);
        if now != self.was {
            self.was = now;
            self.decided = self.tick;
        }
        for node in &mut self.nodes {
            match node.view() {
                View::Rollout { round, state, .. } => {
                    assert!(node.went_back.is_none_or(|last| {
                        round > last || (round == last && ["rolled-back", "aborted"].contains(&state))
                    }));
                    if ["rolled-back", "aborted"].contains(&state) {
                        node.went_back = Some(round);
                    }
                }
                View::Over => {
                    assert!(node.went_back.is_none_or(|last| last < self.round), "what went back takes over");
                }
            }
        }
    }

    fn run(&mut self) {
        (0..STORM).for_each(|_| self.step(false));
        self.nodes.iter_mut().for_each(|node| node.proposed = None);
        for tick in 0..CALM {
            self.step(true);
            if tick >= 2 * TICKS && self.tick - self.decided >= 2 * TICKS {
                let views = self.nodes.each_ref().map(Node::view);
                assert!(views.iter().all(|view| Some(*view) == self.was), "{views:?}, not {:?}", self.was);
                self.joined += 1;
            }
        }
        let Some(known) = self.store.as_ref().and_then(|store| store.fragments[NAME].rollouts.first()) else {
            assert_eq!(self.was, Some(View::Over), "only the version that has taken over is known");
            self.completed += 1;
            return;
        };
        match known.rollout.state {
            _ if known.is_over => self.completed += 1,
            State::RolledBack | State::Aborted => self.ended += 1,
            State::Running | State::Paused if self.is_lossless => {
                (0..REPLICAS).for_each(|number| self.synchronise(number));
                let store = self.store.as_ref().expect("it is there");
                let rollout = &store.fragments[NAME].rollouts[0].rollout;
                if rollout.state.is_live() {
                    assert_eq!(
                        rollout.candidate_side.requests,
                        self.answers.get(&rollout.round).copied().unwrap_or_default()
                    );
                }
            }
            State::Running | State::Paused => {}
        }
    }
}

#[test]
fn three_replicas_are_on_one_step_whatever_the_store_did_before() {
    let seeds = std::env::var("ROLLOUT_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let (mut completed, mut ended, mut joined) = (0, 0, 0);
    for seed in 0..seeds {
        let mut world = World::new(seed);
        world.run();
        completed += world.completed;
        ended += world.ended;
        joined += world.joined;
    }
    // The simulation is of no use if nothing happens in it.
    assert!(completed > seeds / 10 && ended > seeds / 10 && joined > 50 * seeds, "{completed} {ended} {joined}");
}
