//! Reads the settings of a site with several replicas: the store that they share, and where the others are.
//! An error never repeats the address of the store, since it may hold a password.

use std::path::Path;

use url::Url;

use crate::edge::cluster::PeerList;
use crate::page::manifest::upstreams::ServiceUrl;
use crate::page::policy::naming::Naming;
use crate::page::source::diagnostic::{Code, Diagnostic};
use crate::page::source::table::{self, TableReader, Value, ValueError};

use super::schema::{cache, cluster};
use super::{Cluster, SharedCache, StoreUrl, values};

/// Reads `[cache] shared` and what belongs to it.
pub(super) fn shared(table: &mut TableReader<'_>, root: &Path) -> Option<SharedCache> {
    let url = table.read(&cache::SHARED, store_url).flatten();
    let namespace = table.read(&cache::NAMESPACE, namespace);
    let user = table.read(&cache::SHARED_USER, table::filled);
    let password = table.read(&cache::SHARED_PASSWORD, values::secret(root)).flatten();
    let authority = table.read(&cache::SHARED_CA, values::secret(root)).flatten();
    let timeout = table.read_or_default(&cache::SHARED_TIMEOUT, table::positive_duration);
    let required_to_start = table.read_or_default(&cache::REQUIRED_TO_START, table::boolean);
    let entry = table.entry(&cache::SHARED)?;
    if url.is_some() && table.entry(&cache::NAMESPACE).is_none() {
        let message = format!("`{}` needs `{}`", cache::SHARED.name, cache::NAMESPACE.name);
        let help = "add a line such as `namespace = \"site-a\"`: it stands before every key in the store";
        table.note(entry.key_at.clone(), message, Some(help.to_owned()));
    }
    if let (Some(url), Some(entry)) = (&url, table.entry(&cache::SHARED_CA))
        && !url.tls
    {
        let message = format!("`{}` is of no use without TLS", cache::SHARED_CA.name);
        table.note(entry.key_at.clone(), message, Some("write `shared = \"rediss://…\"`, or remove it".to_owned()));
    }
    let (url, namespace) = (url?, namespace.unwrap_or_default());
    Some(SharedCache { url, user, password, authority, timeout, namespace, required_to_start })
}

/// Reads `[cluster]`.
pub(super) fn cluster(table: &mut TableReader<'_>, root: &Path) -> Cluster {
    let peers = table.read(&cluster::PEERS, |value| {
        let all = table::one_or_more(peer)(value)?;
        if all.len() > 1 && all.iter().any(|peer| peer.naming.is_some()) {
            return Err(ValueError::new(
                "a list must consist of `http://` URLs; a name that is found by DNS stands alone",
            ));
        }
        Ok(PeerList(all))
    });
    Cluster {
        name: table.read(&cluster::NAME, table::filled),
        peers: peers.filter(|peers| !peers.0.is_empty()),
        token: table.read(&cluster::TOKEN, values::secret(root)).flatten(),
    }
}

/// The warning that each replica would make a key of its own.
pub(super) fn missing_key(
    table: &TableReader<'_>,
    field: &'static crate::page::source::schema::Field,
) -> Option<Diagnostic> {
    let entry = table.entry(field)?;
    let message = format!("`{}` is set, and `server.key` is not: each replica makes a key of its own", field.name);
    let problem = Diagnostic::new(Code::NoKey, entry.key_at.clone(), message);
    let help = "set `server.key` to the same 32 random bytes on all replicas; with different keys they do not find each other's \
                responses, and the addresses of lazy parts are valid on one of them only";
    Some(problem.help(help))
}

fn peer(value: &Value) -> Result<ServiceUrl, ValueError> {
    let text = table::text(value)?;
    let peer = ServiceUrl::parse(&text)?;
    let help = "write it like \"dns+http://pasteup-headless:9090\", or as a list of `http://` URLs";
    if peer.url.scheme() != "http" {
        return Err(ValueError::with_help(format!("`{text}`: admin listeners speak http"), help));
    }
    if peer.url.path() != "/" || peer.url.query().is_some() || peer.url.fragment().is_some() {
        return Err(ValueError::with_help(format!("`{text}` has more than a host and a port"), help));
    }
    if peer.naming == Some(Naming::Addresses) && peer.url.port().is_none() {
        return Err(ValueError::with_help(format!("`{text}` has no port"), help));
    }
    Ok(peer)
}

fn namespace(value: &Value) -> Result<String, ValueError> {
    let text = table::filled(value)?;
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(ValueError::new("must not have white space"));
    }
    Ok(text)
}

/// Reads the address of the store. An empty one counts as none.
fn store_url(value: &Value) -> Result<Option<StoreUrl>, ValueError> {
    let text = table::text(value)?;
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || {
        ValueError::with_help(
            "this is not the address of a store",
            "write it like \"redis://127.0.0.1:6379\", or \"rediss://redis.internal:6380\" for TLS",
        )
    };
    let url = Url::parse(&text).map_err(|_| wrong())?;
    let tls = match url.scheme() {
        "redis" => false,
        "rediss" => true,
        _ => return Err(wrong()),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ValueError::with_help(
            "the address of the store must not have a user name or password",
            "write them as `shared_user` and `shared_password`",
        ));
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let database = match url.path().trim_start_matches('/') {
        "" => 0,
        number => number.parse::<u16>().map_err(|_| wrong())?.into(),
    };
    if url.query().is_some() || url.fragment().is_some() || url.port() == Some(0) {
        return Err(wrong());
    }
    Ok(Some(StoreUrl { host, port: url.port().unwrap_or(6379), database, tls }))
}
