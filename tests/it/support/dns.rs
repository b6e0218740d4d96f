//! A DNS server whose records a test changes, and which can fail or be silent.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;

/// The type of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    A = 1,
    Srv = 33,
}

/// How the server responds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mood {
    /// With its records.
    #[default]
    Responds,
    /// That it cannot (SERVFAIL).
    Fails,
    /// Not at all.
    IsSilent,
}

/// A record: its time to live, and its data on the wire.
type Record = (u32, Vec<u8>);

#[derive(Default)]
struct State {
    records: HashMap<(String, u16), Vec<Record>>,
    mood: Mood,
    queries: usize,
}

/// A server on a free port of this machine.
pub(crate) struct DnsServer {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl DnsServer {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let served = Arc::clone(&state);
        tokio::spawn(async move {
            let mut query = [0; 1500];
            while let Ok((length, client)) = socket.recv_from(&mut query).await {
                let response = served.lock().unwrap().respond(&query[..length]);
                if let Some(response) = response {
                    socket.send_to(&response, client).await.unwrap();
                }
            }
        });
        Self { address, state }
    }

    /// Replaces the addresses of a name.
    pub(crate) fn set_addresses(&self, name: &str, ttl: u32, addresses: &[Ipv4Addr]) {
        let records = addresses.iter().map(|address| (ttl, address.octets().to_vec())).collect();
        self.state.lock().unwrap().records.insert((name.to_owned(), Kind::A as u16), records);
    }

    /// Replaces the services of a name: priority, weight, port and target of each.
    pub(crate) fn set_services(&self, name: &str, ttl: u32, services: &[(u16, u16, u16, &str)]) {
        let record = |(priority, weight, port, target): &(u16, u16, u16, &str)| {
            let mut data: Vec<u8> =
                [priority, weight, port].into_iter().flat_map(|number| number.to_be_bytes()).collect();
            for label in target.split('.') {
                data.push(u8::try_from(label.len()).unwrap());
                data.extend_from_slice(label.as_bytes());
            }
            data.push(0);
            (ttl, data)
        };
        let records = services.iter().map(record).collect();
        self.state.lock().unwrap().records.insert((name.to_owned(), Kind::Srv as u16), records);
    }

    /// Removes all records of a name.
    pub(crate) fn remove(&self, name: &str) {
        self.state.lock().unwrap().records.retain(|(known, _), _| known != name);
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    /// The number of queries so far.
    pub(crate) fn queries(&self) -> usize {
        self.state.lock().unwrap().queries
    }
}

impl State {
    /// The response to a query (RFC 1035, 4.1).
    fn respond(&mut self, query: &[u8]) -> Option<Vec<u8>> {
        self.queries += 1;
        let (mut labels, mut at) = (Vec::new(), 12);
        while query[at] != 0 {
            let length = usize::from(query[at]);
            labels.push(String::from_utf8(query[at + 1..=at + length].to_vec()).unwrap());
            at += length + 1;
        }
        let name = labels.join(".").to_ascii_lowercase();
        let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
        let question = &query[12..at + 5];
        let none = Vec::new();
        let is_known = self.records.keys().any(|(known, _)| *known == name);
        let (code, records) = match self.mood {
            Mood::IsSilent => return None,
            Mood::Fails => (2, &none),
            Mood::Responds if is_known => (0, self.records.get(&(name, kind)).unwrap_or(&none)),
            Mood::Responds => (3, &none),
        };
        // A response with authority, to one question.
        let mut response = vec![query[0], query[1], 0x85, 0x80 | code, 0, 1];
        response.extend(u16::try_from(records.len()).unwrap().to_be_bytes());
        response.extend([0; 4]);
        response.extend_from_slice(question);
        for (ttl, data) in records {
            // The name is that of the question.
            response.extend([0xc0, 12]);
            response.extend(kind.to_be_bytes());
            response.extend([0, 1]);
            response.extend(ttl.to_be_bytes());
            response.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            response.extend_from_slice(data);
        }
        Some(response)
    }
}
