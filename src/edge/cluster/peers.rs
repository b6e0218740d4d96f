//! Speaks to the admin listeners of the other replicas, one of which may be this one.
//! A replica that does not answer is left out; the others are not kept waiting by it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::join_all;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use crate::engine::port::{StreamEntry, Upstream, UpstreamRequest};
use crate::page::manifest::upstreams::ServiceUrl;
use crate::page::policy::cluster::order::{Purge, PurgeMode};
use crate::page::request::address::{Address, Target};
use crate::secrets::Secret;

use super::Cluster;

/// How often the others are greeted.
const GREET: Duration = Duration::from_secs(1);
/// Longest wait for one of them.
const PATIENCE: Duration = Duration::from_millis(900);
/// Maximum size of an answer.
const MAX_BYTES: u64 = 64 << 10;
/// The path at which replicas are told something.
const PATH: &str = "/api/cluster/tell";

/// Where the admin listeners of all replicas are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerList(pub Vec<ServiceUrl>);

/// The other replicas, by their admin listeners.
pub struct Peers {
    list: PeerList,
    token: Option<Secret>,
    upstream: Arc<dyn Upstream>,
    /// The names that were heard at each address.
    names: Mutex<HashMap<String, String>>,
}

/// What a replica tells another one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Told {
    /// A purge, which is not in the stream.
    Purge {
        /// The replica that tells it.
        from: String,
        /// The name of the purge, which it will have in the stream.
        name: String,
        /// Surrogate keys, and names of nanoservices.
        keys: Vec<String>,
        /// Whether everything is purged.
        all: bool,
        /// Whether responses become stale instead of being removed.
        soft: bool,
    },
    /// The replica is there.
    Hello {
        /// The replica that tells it.
        from: String,
    },
    /// The replica stops.
    Leaving {
        /// The replica that tells it.
        from: String,
    },
}

/// What a replica answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Heard {
    /// Its name.
    pub name: String,
    /// How many responses the purge met. `None`: it was none, or the replica asked itself.
    pub purged: Option<usize>,
}

impl Told {
    /// A purge of this replica.
    pub(super) fn purge(from: &str, entry: &StreamEntry) -> Option<Self> {
        let (purge, mode) = entry.purge.as_ref()?;
        let (keys, all) = match purge {
            Purge::All => (Vec::new(), true),
            Purge::Tags(tags) => (tags.iter().map(ToString::to_string).collect(), false),
        };
        let (from, name) = (from.to_owned(), entry.name.clone());
        Some(Self::Purge { from, name, keys, all, soft: *mode == PurgeMode::Soft })
    }
}

impl Peers {
    /// The replicas at these addresses. The upstream must allow private addresses: an operator wrote them.
    #[must_use]
    pub fn new(list: PeerList, token: Option<Secret>, upstream: Arc<dyn Upstream>) -> Self {
        Self { list, token, upstream, names: Mutex::default() }
    }

    /// The name that was last heard at an address.
    pub(super) fn name_at(&self, address: &str) -> Option<String> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).get(address).cloned()
    }

    /// Tells all replicas something, and waits for none of them longer than a while.
    pub(super) async fn tell(&self, told: &Told) -> Vec<(String, Option<Heard>)> {
        self.tell_until(told, Instant::now() + PATIENCE).await
    }

    /// Tells all replicas something. What each has answered by a time, by its address.
    pub(super) async fn tell_until(&self, told: &Told, deadline: Instant) -> Vec<(String, Option<Heard>)> {
        let body = Bytes::from(serde_json::to_vec(told).expect("texts and booleans can be written as JSON"));
        let addresses = timeout_at(deadline, self.addresses()).await.unwrap_or_default();
        let told = addresses.into_iter().map(async |(name, address)| {
            let heard = timeout_at(deadline, self.send(address, body.clone())).await;
            let heard = heard.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            if let Err(why) = &heard {
                tracing::debug!(address = name, "a replica does not answer: {why}");
            }
            if let Ok(Heard { name: replica, .. }) = &heard {
                let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
                names.insert(name.clone(), replica.clone());
            }
            (name, heard.ok())
        });
        join_all(told).await
    }

    /// The addresses of all replicas now, each with its text.
    async fn addresses(&self) -> Vec<(String, Address)> {
        let mut all = Vec::new();
        for ServiceUrl { naming, url } in &self.list.0 {
            let url = url.join(PATH).unwrap_or_else(|_| url.clone());
            let text = |url: &Url| url.origin().ascii_serialization();
            let target = Target { upstream: text(&url).into(), address: Address::of(*naming, url.clone()) };
            if naming.is_none() {
                all.push((text(&url), target.address));
                continue;
            }
            let places = timeout(PATIENCE, self.upstream.places(&target.address)).await;
            match places {
                Ok(Ok(places)) => {
                    let at =
                        places.iter().filter_map(|place| Some((place.address.to_string(), target.at(place)?.address)));
                    all.extend(at);
                }
                Ok(Err(failure)) => tracing::debug!("{failure}"),
                Err(_) => tracing::debug!("{url} is not found in time"),
            }
        }
        all
    }

    async fn send(&self, address: Address, body: Bytes) -> Result<Heard, String> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(token) = &self.token {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.reveal()));
            let mut value = value.map_err(|_| "the token of the cluster cannot be sent in a header".to_owned())?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let (method, manifest, credentials) = (Method::POST, None, false);
        let request = UpstreamRequest { method, address, headers, body, manifest, credentials, max_bytes: MAX_BYTES };
        let response = self.upstream.send(request).await.map_err(|failure| failure.detail)?;
        if response.status != StatusCode::OK {
            return Err(format!("it answered {}", response.status));
        }
        let (mut text, mut body) = (Vec::new(), response.body);
        while let Some(chunk) = body.next().await {
            text.extend_from_slice(&chunk.map_err(|failure| failure.detail)?);
        }
        serde_json::from_slice(&text).map_err(|error| error.to_string())
    }
}

/// Greets the others again and again, and sees who answers.
pub(super) async fn greet(cluster: Arc<Cluster>) {
    let Some(peers) = &cluster.links.peers else { return };
    let mut greetings = tokio::time::interval(GREET);
    greetings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        greetings.tick().await;
        for (_, heard) in peers.tell(&Told::Hello { from: cluster.name.clone() }).await {
            if let Some(Heard { name, .. }) = heard.filter(|heard| heard.name != cluster.name) {
                cluster.members().saw(&name, Instant::now().into_std());
            }
        }
    }
}
