//! The sockets that listen on a port, and the sockets that a process has open, by their inodes.
//! Asked over netlink (`sock_diag(7)`); where the kernel does not answer that, `/proc/net/tcp` is read, which takes 20 ms on
//! some machines, since it lists the whole table of connections.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink, socket_with};

/// The kinds of netlink messages (`linux/netlink.h`, `linux/sock_diag.h`).
const ERROR: u16 = 2;
const DONE: u16 = 3;
const BY_FAMILY: u16 = 20;
/// A request for all that match.
const REQUEST_DUMP: u16 = 0x301;
/// The lengths of a netlink header, and of the request and the answer about a socket (`linux/inet_diag.h`).
const HEADER: usize = 16;
const REQUEST: usize = 56;
const ANSWER: usize = 72;
/// The protocol TCP, and its state of sockets that listen.
const TCP: u8 = 6;
const LISTEN: u32 = 10;

/// The inodes of the sockets that listen on a port, where a connection to 127.0.0.1 arrives.
pub(super) fn listening(port: u16) -> Vec<u64> {
    asked(port).unwrap_or_else(|_| read(port))
}

/// Asks the kernel.
fn asked(port: u16) -> io::Result<Vec<u64>> {
    let socket =
        socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG))?;
    let mut socket = File::from(socket);
    let mut inodes = Vec::new();
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        socket.write_all(&request(family, port))?;
        let mut buffer = vec![0; 32 << 10];
        loop {
            let length = socket.read(&mut buffer)?;
            if parse(&buffer[..length], port, &mut inodes)? {
                break;
            }
        }
    }
    Ok(inodes)
}

/// The request for the sockets of a family that listen on a port.
fn request(family: AddressFamily, port: u16) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + REQUEST);
    message.extend(u32::try_from(HEADER + REQUEST).unwrap_or_default().to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(REQUEST_DUMP.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([u8::try_from(family.as_raw()).unwrap_or_default(), TCP, 0, 0]);
    message.extend((1_u32 << LISTEN).to_ne_bytes());
    message.extend(port.to_be_bytes());
    message.resize(HEADER + REQUEST, 0);
    message
}

/// Parses some messages, and returns whether the last one was among them.
fn parse(mut messages: &[u8], port: u16, inodes: &mut Vec<u64>) -> io::Result<bool> {
    let cut_short = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let number = |bytes: &[u8], at: usize| {
        let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_ne_bytes).ok_or_else(cut_short)
    };
    while !messages.is_empty() {
        let length = usize::try_from(number(messages, 0)?).map_err(io::Error::other)?;
        let kind = messages.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
        // A length that is shorter than the header is an error as well: it would never end.
        let message = messages.get(HEADER..length).ok_or_else(cut_short)?;
        match kind {
            Some(DONE) => return Ok(true),
            Some(ERROR) => return Err(io::Error::other("the kernel refuses the request")),
            Some(BY_FAMILY) if message.len() >= ANSWER => {
                let address: [u8; 16] = message[8..24].try_into().map_err(io::Error::other)?;
                let address = match AddressFamily::from_raw(message[0].into()) {
                    AddressFamily::INET => IpAddr::from([address[0], address[1], address[2], address[3]]),
                    _ => IpAddr::from(address),
                };
                // Older kernels do not filter by the port.
                if message[4..6] == port.to_be_bytes() && is_reached(address) {
                    inodes.push(number(message, 68)?.into());
                }
            }
            _ => {}
        }
        messages = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// Whether a connection to 127.0.0.1 arrives at a socket that is bound to this address.
fn is_reached(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address == Ipv4Addr::LOCALHOST || address.is_unspecified(),
        IpAddr::V6(address) => address == Ipv6Addr::UNSPECIFIED,
    }
}

/// Reads the tables.
fn read(port: u16) -> Vec<u64> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(|line| listening_line(line, port)).collect()
}

/// The inode of a line of the table, if its socket listens on a port.
fn listening_line(line: &str, port: u16) -> Option<u64> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (address, local_port) = fields.get(1)?.rsplit_once(':')?;
    let is_it = u32::from_str_radix(fields.get(3)?, 16).ok()? == LISTEN
        && u16::from_str_radix(local_port, 16).ok()? == port
        && is_reached(hexadecimal(address)?);
    is_it.then(|| fields.get(9)?.parse().ok())?
}

/// An address of the table, which is written in groups of four bytes, each as a number of this machine.
fn hexadecimal(address: &str) -> Option<IpAddr> {
    let groups =
        address.as_bytes().chunks(8).map(|group| u32::from_str_radix(std::str::from_utf8(group).ok()?, 16).ok());
    let bytes: Vec<u8> = groups.collect::<Option<Vec<u32>>>()?.into_iter().flat_map(u32::to_ne_bytes).collect();
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

/// The inodes of the sockets that a process has open.
pub(super) fn of_process(process: u32) -> impl Iterator<Item = u64> {
    let open = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().filter_map(Result::ok);
    open.filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn both_ways_find_the_same_sockets_where_connections_to_this_machine_arrive() {
        for (address, is_found) in [
            ("127.0.0.1", true),
            ("0.0.0.0", true),
            ("::", true),
            ("::ffff:127.0.0.1", true),
            ("127.0.0.2", false),
            ("::1", false),
        ] {
            let Ok(held) = TcpListener::bind((address.parse::<IpAddr>().expect("an address"), 0)) else {
                // This machine has no IPv6.
                continue;
            };
            let port = held.local_addr().expect("it is bound").port();
            let own: Vec<u64> = of_process(std::process::id()).collect();
            let found = read(port);
            assert_eq!(found.len(), usize::from(is_found), "{address}");
            assert!(found.iter().all(|inode| own.contains(inode)), "{address}");
            if let Ok(asked) = asked(port) {
                assert_eq!(asked, found, "{address}");
            }
            drop(held);
            assert_eq!(listening(port), Vec::<u64>::new(), "{address}");
        }
    }

    #[test]
    fn messages_that_are_cut_short_are_an_error_and_not_a_panic() {
        let message = request(AddressFamily::INET, 80);
        for length in 1..message.len() {
            assert!(parse(&message[..length], 80, &mut Vec::new()).is_err(), "{length}");
        }
        assert!(parse(&[0; 40], 80, &mut Vec::new()).is_err(), "it would never end");
    }
}
