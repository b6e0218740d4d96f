//! The port of a program: a free one when it is started, and whose it is when something listens on it.
//! A socket that does not belong to the program is never sent a request, even if it listens on the program's port.

use std::collections::HashSet;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::ops::RangeInclusive;

use super::sockets;

/// Ports that programs get, unless the system hands them out itself.
const PORTS: RangeInclusive<u16> = 10_240..=65_000;
/// How many ports are tried before any free one is taken.
const TRIES: usize = 400;

/// Who listens on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listener {
    /// Nobody.
    Nobody,
    /// The program.
    Program,
    /// Another process.
    Stranger,
}

/// A port that is free now, and that the system gives to no connection: another process could get it otherwise before the
/// program listens on it.
pub(super) fn choose(taken: &HashSet<u16>) -> Option<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let ephemeral = ephemeral(&range).unwrap_or(32_768..=60_999);
    let mut tries = std::iter::repeat_with(|| fastrand::u16(PORTS)).take(TRIES);
    let is_good = |port: &u16| !taken.contains(port) && is_free(*port);
    let outside = tries.find(|port| !ephemeral.contains(port) && is_good(port));
    // The system may hand out nearly all ports.
    outside.or_else(|| std::iter::repeat_with(|| fastrand::u16(PORTS)).take(TRIES).find(is_good))
}

fn ephemeral(text: &str) -> Option<RangeInclusive<u16>> {
    let mut ends = text.split_ascii_whitespace().map(str::parse);
    Some(ends.next()?.ok()?..=ends.next()?.ok()?)
}

/// Whether nothing listens on a port, on any address that a program may use.
fn is_free(port: u16) -> bool {
    let has_ipv6 = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
        && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        && (!has_ipv6 || TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).is_ok())
}

/// Who listens on a port, where a connection to 127.0.0.1 arrives. It is mostly the program's first process, `leader`; only
/// otherwise `family` lists all its processes, which takes longer.
pub(super) fn listener(port: u16, leader: u32, family: impl FnOnce() -> Vec<u32>) -> Listener {
    let listening = sockets::listening(port);
    if listening.is_empty() {
        return Listener::Nobody;
    }
    let mut own: HashSet<u64> = sockets::of_process(leader).collect();
    let has_all = |own: &HashSet<u64>| listening.iter().all(|socket| own.contains(socket));
    if !has_all(&own) {
        own.extend(family().into_iter().flat_map(sockets::of_process));
    }
    if has_all(&own) { Listener::Program } else { Listener::Stranger }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_port_is_free_and_not_one_that_connections_get() {
        let port = choose(&HashSet::new()).expect("a port is free");
        let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("this is Linux");
        assert!(!ephemeral(&range).expect("a range").contains(&port), "{port}");
        assert_eq!(ephemeral("32768\t60999\n"), Some(32_768..=60_999));
        assert_eq!(ephemeral("x"), None);
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("it is free");
        assert!(!is_free(port));
        drop(held);
    }

    #[test]
    fn a_socket_that_listens_belongs_to_the_program_or_to_a_stranger() {
        let (own, other) = (std::process::id(), 1);
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = held.local_addr().expect("it is bound").port();
        assert_eq!(listener(port, own, Vec::new), Listener::Program);
        assert_eq!(listener(port, other, || vec![own]), Listener::Program);
        assert_eq!(listener(port, other, || vec![other]), Listener::Stranger);
        drop(held);
        assert_eq!(listener(port, own, Vec::new), Listener::Nobody);
    }
}
