//! What is requested: paths of the site's own compositor and whole URLs, each with the clients that it is requested for.
//! An address that is not of this machine is refused unless it was allowed by name: a load test of somebody else is an attack.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use http::header::{ACCEPT, ACCEPT_ENCODING, CONNECTION, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use tokio::net::lookup_host;
use url::{Host, Position, Url};

use crate::page::source::units::hexadecimal;

/// The header with the token of the run, and the client that a request stands for.
const LOAD: HeaderName = HeaderName::from_static("pasteup-load");
const TRACE: HeaderName = HeaderName::from_static("traceparent");
/// Paths that are counted apart; the others are counted together.
const MAX_ROWS: usize = 200;
/// What those are called.
const OTHER_PATHS: &str = "other paths";

/// One thing to request, as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// A path, or a URL.
    pub(super) given: String,
    /// Whether by `HEAD`.
    pub(super) is_head: bool,
    /// The clients that it is requested for in turn, as `Pasteup-Load` describes them. Empty: for the client that sends it.
    pub(super) clients: Vec<String>,
}

/// How targets are requested.
pub(super) struct Manner<'a> {
    /// The address of the site's own compositor, which paths belong to.
    pub(super) own: SocketAddr,
    /// Whether it has TLS.
    pub(super) own_is_tls: bool,
    /// Hosts other than this machine that may be requested.
    pub(super) allowed: &'a [String],
    /// Headers that all requests carry.
    pub(super) headers: &'a [(HeaderName, HeaderValue)],
    pub(super) http2: bool,
    pub(super) keepalive: bool,
}

/// Where requests are sent.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) is_tls: bool,
    /// Name or address, without brackets.
    pub(super) host: String,
    /// The value of `Host`.
    authority: String,
    pub(super) addresses: Vec<SocketAddr>,
    /// Whether it is this machine, so that it may be the site's compositor or a proxy in front of it.
    is_here: bool,
}

/// One request that is sent again and again.
#[derive(Debug)]
pub(super) struct Shot {
    /// The row that it is counted in.
    pub(super) row: usize,
    pub(super) origin: usize,
    pub(super) method: Method,
    pub(super) uri: Uri,
    /// The headers that all requests to the origin have.
    headers: Arc<HeaderMap>,
    /// The client that the request stands for, and the token once there is one.
    load: Option<HeaderValue>,
}

/// A path that is counted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RowName {
    /// As it was given.
    pub(super) given: String,
    /// Path and query as they are sent.
    pub(super) target: String,
    /// Whether it is requested from this machine.
    pub(super) is_here: bool,
}

/// All targets, resolved.
#[derive(Debug)]
pub(super) struct Targets {
    pub(super) origins: Vec<Origin>,
    pub(super) rows: Vec<RowName>,
    /// The requests of each target, one for each client.
    shots: Vec<Vec<Shot>>,
    /// Whether a request is the index of a target, as in a replay, and not the number of the request.
    pub(super) by_index: bool,
}

impl Targets {
    /// Resolves targets.
    ///
    /// # Errors
    /// One is not a path or URL, cannot be resolved, or must not be requested.
    pub(super) async fn resolve(targets: &[Target], manner: &Manner<'_>, by_index: bool) -> Result<Self, String> {
        let mut common = HashMap::new();
        let mut resolved = Self { origins: Vec::new(), rows: Vec::new(), shots: Vec::new(), by_index };
        for target in targets {
            let url = url_of(&target.given, manner)?;
            let origin = resolved.origin(&url, manner).await.map_err(|why| format!("`{}`: {why}", target.given))?;
            let row = resolved.row(target, &url, origin);
            let uri = if manner.http2 {
                &url[..Position::AfterQuery]
            } else {
                &url[Position::BeforePath..Position::AfterQuery]
            };
            let uri: Uri = uri.parse().map_err(|error| format!("`{}`: {error}", target.given))?;
            let headers = match common.get(&origin) {
                Some(headers) => Arc::clone(headers),
                None => {
                    let headers = Arc::new(resolved.headers(manner, origin)?);
                    common.insert(origin, Arc::clone(&headers));
                    headers
                }
            };
            let method = if target.is_head { Method::HEAD } else { Method::GET };
            let shot = |load| Shot {
                row,
                origin,
                method: method.clone(),
                uri: uri.clone(),
                headers: Arc::clone(&headers),
                load,
            };
            let mut shots = Vec::new();
            for client in &target.clients {
                shots.push(shot(Some(HeaderValue::from_str(client).map_err(|error| error.to_string())?)));
            }
            if shots.is_empty() {
                shots.push(shot(None));
            }
            resolved.shots.push(shots);
        }
        Ok(resolved)
    }

    /// Adds the token of a run to the requests that may reach the compositor which gave it.
    ///
    /// # Errors
    /// The token is not the value of a header.
    pub(super) fn carry(&mut self, token: &str) -> Result<(), String> {
        let plain = HeaderValue::from_str(token).map_err(|error| error.to_string())?;
        for shot in self.shots.iter_mut().flatten().filter(|shot| self.origins[shot.origin].is_here) {
            let client = shot.load.as_ref().and_then(|client| client.to_str().ok());
            let value = client.map(|client| HeaderValue::try_from(format!("{token}; {client}"))).transpose();
            shot.load = Some(value.map_err(|error| error.to_string())?.unwrap_or_else(|| plain.clone()));
        }
        Ok(())
    }

    /// Whether any request may reach the site's compositor.
    pub(super) fn any_is_here(&self) -> bool {
        self.origins.iter().any(|origin| origin.is_here)
    }

    /// What is requested, by the number of the request: each target in turn, and of each its clients in turn.
    pub(super) fn shot(&self, number: u64) -> &Shot {
        #[expect(clippy::cast_possible_truncation, reason = "a remainder of a number of targets")]
        let of = |number: u64, count: usize| (number % count as u64) as usize;
        let shots = &self.shots[of(number, self.shots.len())];
        if self.by_index {
            return &shots[0];
        }
        &shots[of(number / self.shots.len() as u64, shots.len())]
    }

    /// The headers of one request, with a trace of its own. `run`: the first half of the trace's id.
    pub(super) fn headers_of(&self, shot: &Shot, run: u64) -> HeaderMap {
        let mut trace = *b"00-00000000000000000000000000000000-0000000000000000-01";
        hexadecimal(&run.to_be_bytes(), &mut trace[3..19]);
        hexadecimal(&fastrand::u64(1..).to_be_bytes(), &mut trace[19..35]);
        hexadecimal(&fastrand::u64(1..).to_be_bytes(), &mut trace[36..52]);
        let mut headers = HeaderMap::clone(&shot.headers);
        headers.extend(HeaderValue::from_bytes(&trace).ok().map(|trace| (TRACE, trace)));
        headers.extend(shot.load.clone().map(|load| (LOAD, load)));
        headers
    }

    /// The headers that all requests to an origin have.
    fn headers(&self, manner: &Manner<'_>, origin: usize) -> Result<HeaderMap, String> {
        let mut headers = headers(manner);
        if !manner.http2 && !headers.contains_key(HOST) {
            let authority = HeaderValue::from_str(&self.origins[origin].authority);
            headers.insert(HOST, authority.map_err(|error| error.to_string())?);
        }
        Ok(headers)
    }

    /// The index of the origin of a URL.
    async fn origin(&mut self, url: &Url, manner: &Manner<'_>) -> Result<usize, String> {
        let host = match url.host().ok_or("it has no host")? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let authority = url[Position::BeforeHost..Position::AfterPort].to_owned();
        let is_tls = url.scheme() == "https";
        if let Some(known) =
            self.origins.iter().position(|known| (&known.authority, known.is_tls) == (&authority, is_tls))
        {
            return Ok(known);
        }
        let port = url.port_or_known_default().ok_or("it has no port")?;
        let is_allowed = manner.allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(&host));
        let addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            // Of a host that is not allowed, nobody is even asked for the address.
            Err(_) if !is_allowed && host != "localhost" && !host.ends_with(".localhost") => {
                return Err(refused(&host));
            }
            Err(_) => lookup_host((&*host, port)).await.map_err(|error| format!("`{host}`: {error}"))?.collect(),
        };
        let is_here =
            !addresses.is_empty() && addresses.iter().all(|address| address.ip().to_canonical().is_loopback());
        if !is_here && !is_allowed {
            return Err(refused(&host));
        }
        self.origins.push(Origin { is_tls, host, authority, addresses, is_here });
        Ok(self.origins.len() - 1)
    }

    /// The row of a target. A target that is given again, as a log does for `HEAD`, is counted in the same row.
    fn row(&mut self, target: &Target, url: &Url, origin: usize) -> usize {
        let is_here = self.origins[origin].is_here;
        let name = |given: &str, target: &str| RowName { given: given.to_owned(), target: target.to_owned(), is_here };
        let find = |rows: &[RowName], given: &str| rows.iter().position(|row| row.given == given);
        if let Some(known) = find(&self.rows, &target.given) {
            return known;
        }
        let (given, sent) = match self.rows.len() < MAX_ROWS {
            true => (&*target.given, &url[Position::BeforePath..Position::AfterQuery]),
            false => (OTHER_PATHS, ""),
        };
        find(&self.rows, given).unwrap_or_else(|| {
            self.rows.push(name(given, sent));
            self.rows.len() - 1
        })
    }
}

fn refused(host: &str) -> String {
    format!("only this machine is requested; if `{host}` is yours, and bears it, add `--allow-host {host}`")
}

/// The URL of a target.
fn url_of(given: &str, manner: &Manner<'_>) -> Result<Url, String> {
    if !given.starts_with('/') {
        let url = Url::parse(given).map_err(|_| format!("`{given}` is neither a path, such as `/sport`, nor a URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("`{given}` begins neither with `http://` nor with `https://`"));
        }
        return Ok(url);
    }
    let scheme = if manner.own_is_tls { "https" } else { "http" };
    let own = SocketAddr::new(reachable(manner.own.ip()), manner.own.port());
    // Not joined: `//x` would be another host.
    Url::parse(&format!("{scheme}://{own}{given}")).map_err(|error| format!("`{given}`: {error}"))
}

/// The address at which a listener on all addresses is reached.
pub(super) const fn reachable(listens_on: IpAddr) -> IpAddr {
    match listens_on {
        IpAddr::V4(address) if address.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(address) if address.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    }
}

/// The headers of all requests: those of a browser that matter to a page, and those that were given instead of them.
fn headers(manner: &Manner<'_>) -> HeaderMap {
    let mut headers = HeaderMap::from_iter([
        (ACCEPT, HeaderValue::from_static("text/html,*/*;q=0.8")),
        (ACCEPT_ENCODING, HeaderValue::from_static("gzip, br, zstd")),
        (USER_AGENT, HeaderValue::from_static(concat!("pasteup-load/", env!("CARGO_PKG_VERSION")))),
    ]);
    if !manner.keepalive && !manner.http2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    for (name, _) in manner.headers {
        headers.remove(name);
    }
    for (name, value) in manner.headers {
        headers.append(name.clone(), value.clone());
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANNER: Manner<'static> = Manner {
        own: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080),
        own_is_tls: false,
        allowed: &[],
        headers: &[],
        http2: false,
        keepalive: true,
    };

    fn target(given: &str) -> Target {
        Target { given: given.to_owned(), is_head: false, clients: Vec::new() }
    }

    async fn resolve(given: &[&str], manner: &Manner<'_>) -> Result<Targets, String> {
        let targets: Vec<Target> = given.iter().map(|given| target(given)).collect();
        Targets::resolve(&targets, manner, false).await
    }

    #[tokio::test]
    async fn a_path_belongs_to_the_sites_own_compositor() {
        let targets =
            resolve(&["/", "/a?b=c#d", "http://127.0.0.1:9999/x", "//y"], &MANNER).await.expect("all are here");
        let sent: Vec<(String, &str)> = (0..4)
            .map(|number| targets.shot(number))
            .map(|shot| (shot.uri.to_string(), shot.headers[HOST].to_str().expect("text")))
            .collect();
        let own = "127.0.0.1:8080";
        let expected = [("/", own), ("/a?b=c", own), ("/x", "127.0.0.1:9999"), ("//y", own)];
        assert_eq!(sent, expected.map(|(uri, host)| (uri.to_owned(), host)));
        assert_eq!(
            targets.rows.iter().map(|row| &*row.given).collect::<Vec<_>>(),
            ["/", "/a?b=c#d", "http://127.0.0.1:9999/x", "//y"]
        );
    }

    #[tokio::test]
    async fn other_machines_are_refused_unless_they_are_named() {
        for given in
            ["http://192.0.2.1/", "http://example.org/", "https://[2001:db8::1]/", "http://127.0.0.1.example.org/"]
        {
            let error = resolve(&[given], &MANNER).await.expect_err(given);
            assert!(error.contains("--allow-host"), "{error}");
        }
        for given in ["http://[::1]:81/", "http://127.1.2.3/", "http://LOCALHOST:81/"] {
            resolve(&[given], &MANNER).await.expect(given);
        }
        for given in ["ftp://127.0.0.1/", "sport", "http://"] {
            resolve(&[given], &MANNER).await.expect_err(given);
        }
        let allowed = ["192.0.2.1".to_owned()];
        let mut targets =
            resolve(&["http://192.0.2.1/", "/"], &Manner { allowed: &allowed, ..MANNER }).await.expect("it is named");
        targets.carry("secret").expect("a value");
        assert_eq!(targets.shot(0).load, None, "the token stays on this machine");
        assert_eq!(targets.headers_of(targets.shot(1), 0)[LOAD], "secret");
    }

    #[tokio::test]
    async fn targets_and_their_clients_take_turns() {
        let clients = ["device=mobile".to_owned(), "device=desktop".to_owned()].to_vec();
        let all = [target("/a"), Target { clients, ..target("/b") }];
        let mut targets = Targets::resolve(&all, &MANNER, false).await.expect("all are here");
        targets.carry("t").expect("a value");
        let sent: Vec<String> = (0..5)
            .map(|number| targets.shot(number))
            .map(|shot| format!("{} {}", shot.uri, targets.headers_of(shot, 0)[LOAD].to_str().expect("text")))
            .collect();
        assert_eq!(sent, ["/a t", "/b t; device=mobile", "/a t", "/b t; device=desktop", "/a t"]);
        assert_eq!(targets.rows.len(), 2);
    }

    #[tokio::test]
    async fn given_headers_replace_those_of_the_tool() {
        let given = [(USER_AGENT, HeaderValue::from_static("x")), (HOST, HeaderValue::from_static("site.example"))];
        let targets = resolve(&["/"], &Manner { headers: &given, ..MANNER }).await.expect("it is here");
        let headers = &targets.shot(0).headers;
        assert_eq!((&headers[USER_AGENT], &headers[HOST]), (&given[0].1, &given[1].1));
        let traced = targets.headers_of(targets.shot(0), 0xab);
        let parent = traced[TRACE].to_str().expect("text");
        assert!(parent.starts_with("00-00000000000000ab") && parent.len() == 55, "{parent}");
    }

    #[tokio::test]
    async fn paths_beyond_the_maximum_are_counted_together() {
        let given: Vec<String> = (0..MAX_ROWS + 50).map(|number| format!("/{number}")).collect();
        let given: Vec<&str> = given.iter().map(String::as_str).collect();
        let targets = resolve(&given, &MANNER).await.expect("all are here");
        assert_eq!(targets.rows.len(), MAX_ROWS + 1);
        assert_eq!(targets.shot(MAX_ROWS as u64 + 7).row, MAX_ROWS);
    }
}
