//! Settings: `pasteup.toml`, the environment and flags, each of which overrides the one before.
//! All errors are reported at once. With an error, Pasteup does not start, or keeps the settings that it runs with.

pub(crate) mod schema;

mod cluster;
mod read;
mod restart;
mod values;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::edge::cluster::PeerList;
use crate::edge::discovery::Sources;
use crate::edge::files::WatchMode;
use crate::edge::observe::line_file::LineTarget;
use crate::edge::server::access::AccessFormat;
use crate::page::request::defaults::Defaults;
use crate::page::site::SiteLimits;
use crate::page::source::diagnostic::{Code, Diagnostic, Source, SourceSpan};
use crate::page::source::secret::Reference;
use crate::page::source::table::{Data, Table, TableReader, Value};
use crate::page::visit::reader::ReaderRules;
use crate::secrets::Secret;
use crate::secrets::site_key::SiteKey;
use crate::secrets::state::StateFolder;

/// An environment variable with this prefix and `__` in its name is a setting: `PASTEUP_SERVER__LISTEN`. One without
/// `__` belongs to other programs: for a service named `pasteup` Kubernetes sets `PASTEUP_PORT` and others.
const PREFIX: &str = "PASTEUP_";

/// All settings, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `[server]`
    pub server: Server,
    /// `[page]` and `[fragment]`: the values that apply if neither layout nor manifest sets one.
    pub defaults: Defaults,
    /// What layouts may do.
    pub limits: SiteLimits,
    /// Whether a page's head is sent before all its parts are known.
    pub stream: bool,
    /// Content codings for pages.
    pub compression: Vec<&'static str>,
    /// Bytes that the cache may hold.
    pub cache_memory: u64,
    /// `[cache] shared`: the store that all replicas share.
    pub shared: Option<SharedCache>,
    /// `[cluster]`
    pub cluster: Cluster,
    /// Whether a name in `upstreams.allow` may resolve to an address that is not public.
    pub private_upstreams: bool,
    /// Maximum number of programs that run at once.
    pub max_processes: usize,
    /// The folder for compiled components. `None`: the user's cache directory.
    pub component_cache: Option<PathBuf>,
    /// How locale, region and address of a client are found.
    pub readers: ReaderRules,
    /// The services whose manifests are read.
    pub discovery: Sources,
    /// Whether all manifests are served on the page listener.
    pub publish: bool,
    /// `[telemetry]`
    pub telemetry: Telemetry,
}

/// `[cache] shared`, and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedCache {
    /// Where it is.
    pub url: StoreUrl,
    /// The user to log in as.
    pub user: Option<String>,
    /// The password to log in with.
    pub password: Option<Secret>,
    /// The certificate authority, as PEM. `None`: those of the system.
    pub authority: Option<Secret>,
    /// Longest time that a page view waits for it.
    pub timeout: Duration,
    /// What stands before every key.
    pub namespace: String,
    /// Whether `/readyz` waits until it was there once.
    pub required_to_start: bool,
}

/// The address of the shared store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreUrl {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The number of the database.
    pub database: i64,
    /// Whether it is reached over TLS.
    pub tls: bool,
}

/// `[cluster]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cluster {
    /// The name of this replica.
    pub name: Option<String>,
    /// The admin listeners of all replicas.
    pub peers: Option<PeerList>,
    /// The token that replicas show each other.
    pub token: Option<Secret>,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Address of the page listener.
    pub listen: SocketAddr,
    /// Address of the admin listener.
    pub admin: SocketAddr,
    /// The token that the admin listener requires.
    pub admin_token: Option<AdminToken>,
    /// What is kept for the next start.
    pub state: StateFolder,
    /// The site's key. `None`: a random one that is kept in `state`.
    pub key: Option<SiteKey>,
    /// Maximum number of requests in progress.
    pub max_in_flight: usize,
    /// Longest time for the head of a request.
    pub header_timeout: Duration,
    /// Longest time between two requests of a connection.
    pub idle_timeout: Duration,
    /// Longest time in which a client reads nothing of its response.
    pub write_timeout: Duration,
    /// The files with the certificate and the key of the page listener.
    pub tls: Option<(Reference, Reference)>,
    /// How changes of files are noticed.
    pub watch: WatchMode,
    /// Longest time for requests in progress once the server stops.
    pub drain: Duration,
    /// How long a file of `public/` is fresh.
    pub public_max_age: Duration,
    /// Maximum size of a request's head, in bytes.
    pub max_header_bytes: usize,
    /// Maximum size of a request's target, in bytes.
    pub max_uri_bytes: usize,
}

/// `[server] admin_token`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminToken {
    /// The operator's.
    Given(Secret),
    /// One that is made at the first start, and kept in `state`.
    Generated,
}

/// `[telemetry]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// Which log lines are written: `info`, `debug`, or a filter such as `pasteup=debug`.
    pub log: String,
    /// Whether log lines are JSON.
    pub json: bool,
    /// Where the access log goes.
    pub access_log: Option<LineTarget>,
    /// The format of its lines.
    pub access_format: AccessFormat,
    /// The collector that spans are sent to.
    pub otlp: Option<Url>,
    /// How many of the slowest requests of each page a load run keeps.
    pub slowest: usize,
}

/// Settings that flags give, which override file and environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flags {
    /// `--listen`
    pub listen: Option<SocketAddr>,
    /// `--admin`
    pub admin: Option<SocketAddr>,
}

impl Settings {
    /// Reads the settings of the site in the folder `root`. A setting that has an error keeps its default, and the error is reported.
    #[must_use]
    pub fn load(
        root: &Path,
        file: Option<&Arc<Source>>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: Flags,
    ) -> (Self, Vec<Diagnostic>) {
        let nothing = Source::new("pasteup.toml", "");
        let source = file.unwrap_or(&nothing);
        let (mut table, mut problems) = Table::parse(source, 0..source.text.len(), Code::Settings);
        let mut variables: Vec<_> = environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        variables.sort();
        for (name, text) in variables {
            let path = name[PREFIX.len()..].to_ascii_lowercase();
            let line = Source::new("environment", format!("{name}={text}"));
            let value = Value { at: SourceSpan::new(&line, name.len() + 1..line.text.len()), data: Data::Bare(text) };
            if path.contains("__") {
                table.set(&path.split("__").collect::<Vec<_>>(), value);
            } else if let Some((section, key)) = path.split_once('_').filter(|(section, key)| is_setting(section, key))
            {
                let at = SourceSpan::new(&line, 0..name.len());
                let problem = Diagnostic::new(Code::Ignored, at, format!("`{name}` is not a setting, and is ignored"));
                let meant = format!("{PREFIX}{}__{}", section.to_ascii_uppercase(), key.to_ascii_uppercase());
                problems.push(problem.help(format!("write two underscores after the table's name: `{meant}`")));
            }
        }
        let mut reader = TableReader::new(&table, &schema::file::SCHEMA, Code::Settings);
        let mut warnings = Vec::new();
        let settings = read::settings(&mut reader, &mut warnings, root, flags);
        problems.extend(reader.finish());
        problems.extend(warnings);
        (settings, problems)
    }
}

/// Whether there is a setting of this table and key.
fn is_setting(section: &str, key: &str) -> bool {
    let table = schema::file::SCHEMA.field(section).and_then(|field| field.kind.schema());
    table.is_some_and(|table| table.field(key).is_some())
}
