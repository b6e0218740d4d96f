//! Three replicas and a store that loses, delays and reorders what it is sent, by a seed: whatever happens, no request that a
//! replica begins after it knows of a purge gets what was purged.
//! `PURGE_SEEDS` sets how many seeds are tried.

use std::collections::BTreeMap;
use std::time::Instant;

use super::super::random::Random;
use super::lease::{self, Instead, Note};
use super::order::{Order, Position, Purge, PurgeLog, PurgeMode};
use crate::page::source::names::Name;

/// Seeds of an ordinary run; the claim is for 10,000.
const SEEDS: u64 = 500;
const STEPS: usize = 400;
const REPLICAS: usize = 3;
const KEYS: usize = 3;

/// What a service says: the version of its content when it was asked.
type Version = u64;

/// A response in a memory, or in the store.
#[derive(Debug, Clone, Copy)]
struct Response {
    version: Version,
    since: Position,
    is_stale: bool,
}

/// A request to the service that is on its way: what it will bring is known when it is answered.
#[derive(Debug, Clone)]
struct Fetch {
    key: usize,
    /// The last purge that was known when it began.
    since: Position,
    /// The purges of its own replica since, by which it is not kept.
    is_met: bool,
    /// The content when the service read it, some time after it was asked.
    version: Option<Version>,
    lease: Option<Note>,
}

#[derive(Default)]
struct Replica {
    log: PurgeLog,
    memory: BTreeMap<usize, Response>,
    fetches: Vec<Fetch>,
    /// The versions of each key's content before which nothing may be shown: those of the purges that it knows.
    oldest: [Version; KEYS],
    /// Purges that are not in the stream yet.
    queued: Vec<(String, Purge, [Option<Version>; KEYS])>,
    /// Whether it reaches the store.
    is_cut_off: bool,
    /// Whether it has read the stream since it started.
    has_begun: bool,
}

/// An entry of the stream: where, its name, what it purges, and the versions of the content that it is about.
type Entry = (Position, String, Purge, PurgeMode, [Option<Version>; KEYS]);

#[derive(Default)]
struct World {
    clock: u64,
    content: [Version; KEYS],
    stream: Vec<Entry>,
    values: BTreeMap<usize, Response>,
    leases: BTreeMap<usize, Note>,
    /// Writes that are on their way to the store, which may be lost, late or out of order.
    writes: Vec<(usize, Response)>,
    replicas: [Replica; REPLICAS],
    served: u64,
    from_store: u64,
    waited: u64,
    now: Option<Instant>,
}

fn tag(key: usize) -> Name {
    Name::from(format!("tag-{key}"))
}

impl World {
    fn now(&mut self) -> Instant {
        *self.now.get_or_insert_with(Instant::now)
    }

    fn position(&mut self) -> Position {
        self.clock += 1;
        Position { milliseconds: self.clock / 3, number: self.clock % 3 }
    }

    fn append(&mut self, name: String, purge: Purge, mode: PurgeMode, versions: [Option<Version>; KEYS]) {
        let at = self.position();
        self.stream.push((at, name, purge, mode, versions));
    }

    /// A replica knows of a purge: from here on it shows nothing older.
    fn purge_here(replica: &mut Replica, purge: &Purge, mode: PurgeMode, versions: &[Option<Version>; KEYS]) {
        for (key, version) in versions.iter().enumerate() {
            let is_met = match purge {
                Purge::All => true,
                Purge::Tags(tags) => tags.contains(&tag(key)),
            };
            if !is_met {
                continue;
            }
            match mode {
                PurgeMode::Hard => {
                    replica.memory.remove(&key);
                }
                PurgeMode::Soft => {
                    if let Some(stored) = replica.memory.get_mut(&key) {
                        stored.is_stale = true;
                    }
                }
            }
            for fetch in replica.fetches.iter_mut().filter(|fetch| fetch.key == key) {
                fetch.is_met = true;
            }
            replica.oldest[key] = replica.oldest[key].max(version.unwrap_or_default());
        }
    }

    /// An editor changes some content and purges it, at one of the replicas.
    fn edit(&mut self, random: &mut Random, number: usize) {
        let is_all = random.one_in(6);
        let mode = if random.one_in(3) { PurgeMode::Soft } else { PurgeMode::Hard };
        let mut versions = [None; KEYS];
        let mut tags = Vec::new();
        for (key, version) in versions.iter_mut().enumerate() {
            if is_all || random.one_in(2) {
                self.content[key] += 1;
                *version = Some(self.content[key]);
                tags.push(tag(key));
            }
        }
        let purge = if is_all { Purge::All } else { Purge::Tags(tags) };
        let name = format!("{}", random.next());
        let replica = &mut self.replicas[number];
        replica.log.add_pending(name.clone(), purge.clone());
        Self::purge_here(replica, &purge, mode, &versions);
        if replica.is_cut_off || random.one_in(8) {
            replica.queued.push((name, purge, versions));
        } else {
            self.append(name, purge, mode, versions);
        }
    }

    /// A replica reads some of the stream, as far as it likes.
    fn follow(&mut self, random: &mut Random, number: usize) {
        let now = self.now();
        if self.replicas[number].is_cut_off {
            return;
        }
        for (name, purge, versions) in std::mem::take(&mut self.replicas[number].queued) {
            // Added as a hard one: what was meant is at least that.
            self.append(name, purge, PurgeMode::Hard, versions);
        }
        let known = self.replicas[number].log.position();
        let is_gone = !self.stream.iter().any(|(at, ..)| *at == known);
        if self.stream.is_empty() || !self.replicas[number].has_begun || is_gone {
            if self.stream.is_empty() {
                self.append("start".to_owned(), Purge::Tags(Vec::new()), PurgeMode::Hard, [None; KEYS]);
            }
            let first = self.stream[0].0;
            let replica = &mut self.replicas[number];
            replica.log.begin_at(first);
            replica.memory.values_mut().for_each(|stored| stored.is_stale = true);
            replica.fetches.iter_mut().for_each(|fetch| fetch.is_met = true);
            replica.has_begun = true;
            let all = self.stream.clone();
            let replica = &mut self.replicas[number];
            for (at, name, purge, mode, versions) in &all {
                replica.log.add(*at, name, purge, *mode, now);
                Self::purge_here(replica, purge, *mode, versions);
            }
            return;
        }
        let next: Vec<Entry> = self.stream.iter().filter(|(at, ..)| *at > known).cloned().collect();
        let some = random.index(next.len() + 1);
        let replica = &mut self.replicas[number];
        for (at, name, purge, mode, versions) in &next[..some] {
            replica.log.add(*at, name, purge, *mode, now);
            Self::purge_here(replica, purge, *mode, versions);
        }
    }

    /// A reader asks a replica. What is shown is never older than what the replica knows to be purged.
    fn request(&mut self, random: &mut Random, number: usize) {
        let key = random.index(KEYS);
        let is_reachable = !self.replicas[number].is_cut_off && self.replicas[number].has_begun && !random.one_in(10);
        let replica = &mut self.replicas[number];
        if replica.memory.get(&key).is_none_or(|stored| stored.is_stale) && is_reachable {
            // The memory may have been purged since: both happen under one lock.
            if let Some(value) = self.values.get(&key) {
                let tags = [tag(key)];
                match replica.log.order(value.since, tags.iter()) {
                    Order::Purged => {}
                    order => {
                        let is_stale = order != Order::Current;
                        replica.memory.insert(key, Response { is_stale, ..*value });
                        self.from_store += 1;
                    }
                }
            }
        }
        if let Some(stored) = replica.memory.get(&key).filter(|stored| !stored.is_stale) {
            self.served += 1;
            assert!(
                stored.version >= replica.oldest[key],
                "replica {number} shows version {} of {key}, which was purged at {}",
                stored.version,
                replica.oldest[key]
            );
            return;
        }
        if replica.fetches.iter().any(|fetch| fetch.key == key) {
            return;
        }
        let mut lease = None;
        if is_reachable {
            let tags = [tag(key)];
            match self.leases.get(&key) {
                Some(held) => {
                    if lease::instead(&held.to_string(), &replica.log, tags.iter()) == Instead::Wait {
                        self.waited += 1;
                        return;
                    }
                }
                None => {
                    let note = Note { holder: random.next(), known: replica.log.position() };
                    self.leases.insert(key, note.clone());
                    lease = Some(note);
                }
            }
        }
        let since = replica.log.position();
        replica.fetches.push(Fetch { key, since, is_met: false, version: None, lease });
    }

    /// A fetch goes on: first the service reads its content, and later the response arrives.
    fn go_on(&mut self, random: &mut Random, number: usize) {
        let replica = &mut self.replicas[number];
        if replica.fetches.is_empty() {
            return;
        }
        let index = random.index(replica.fetches.len());
        let fetch = &mut replica.fetches[index];
        if fetch.version.is_none() {
            fetch.version = Some(self.content[fetch.key]);
            return;
        }
        let Fetch { key, since, is_met, version, lease } = replica.fetches.swap_remove(index);
        let response = Response { version: version.expect("it was read"), since, is_stale: false };
        if !is_met {
            replica.memory.insert(key, response);
            // It may be lost on its way.
            if !replica.is_cut_off && !random.one_in(5) {
                self.writes.push((key, response));
            }
        }
        if let Some(note) = lease
            && self.leases.get(&key) == Some(&note)
            && !random.one_in(5)
        {
            self.leases.remove(&key);
        }
    }

    fn step(&mut self, random: &mut Random) {
        let number = random.index(REPLICAS);
        match random.index(100) {
            0..45 => self.request(random, number),
            45..65 => self.go_on(random, number),
            65..80 => self.follow(random, number),
            80..83 => self.edit(random, number),
            // A write arrives, in any order.
            83..94 if !self.writes.is_empty() => {
                let index = random.index(self.writes.len());
                let (key, response) = self.writes.swap_remove(index);
                self.values.insert(key, response);
            }
            94 => self.replicas[number].is_cut_off ^= true,
            // A lease ends by itself.
            95 => {
                self.leases.pop_first();
            }
            // The store evicts something.
            96 => {
                self.values.pop_first();
            }
            97 if random.one_in(3) => {
                // The oldest entries leave the stream.
                let gone = random.index(self.stream.len() + 1) / 2;
                self.stream.drain(..gone);
            }
            98 if random.one_in(4) => {
                // The store loses everything. Its clock goes on.
                self.stream.clear();
                self.values.clear();
                self.leases.clear();
            }
            99 if random.one_in(2) => {
                // A replica starts anew. What it had not added to the stream is lost with it, and known to nobody else.
                self.replicas[number] = Replica::default();
            }
            _ => {}
        }
    }
}

#[test]
fn no_request_that_starts_after_a_purge_gets_what_was_purged() {
    let seeds = std::env::var("PURGE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let (mut served, mut from_store, mut waited) = (0, 0, 0);
    for seed in 0..seeds {
        let (mut world, mut random) = (World::default(), Random(seed));
        for _ in 0..STEPS {
            world.step(&mut random);
        }
        served += world.served;
        from_store += world.from_store;
        waited += world.waited;
    }
    // The simulation is of no use if nothing happens in it.
    assert!(served > 20 * seeds && from_store > 2 * seeds && waited > seeds, "{served} {from_store} {waited}");
}
