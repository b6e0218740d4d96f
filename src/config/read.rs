//! Reads the settings from their table, by the schema.
//! A setting with an error keeps its default, and reading continues.

use std::path::Path;

use crate::edge::discovery::Sources;
use crate::edge::files::WatchMode;
use crate::edge::server::access::AccessFormat;
use crate::page::manifest::Boundary;
use crate::page::manifest::grants::{Grant, ManifestSource};
use crate::page::policy::resilience::Resilience;
use crate::page::policy::resilience::breaker::BreakerRules;
use crate::page::request::defaults::Defaults;
use crate::page::site::SiteLimits;
use crate::page::source::diagnostic::{Code, Diagnostic, Located};
use crate::page::source::secret::Reference;
use crate::page::source::table::{self, TableReader, Value, ValueError};
use crate::page::visit::reader::ReaderRules;

use super::schema::{
    CODING, JSON, cache, context, discovery, file, fragment, on_demand, page, server, source, telemetry, tls, upstreams,
};
use super::{Flags, Server, Settings, Telemetry, cluster, values};

/// Reads all settings. Warnings that are not errors of the table are added to `warnings`.
pub(super) fn settings(
    reader: &mut TableReader<'_>,
    warnings: &mut Vec<Diagnostic>,
    root: &Path,
    flags: Flags,
) -> Settings {
    let server = reader.table(&file::SERVER, |table| read_server(table, root, flags));
    let mut defaults = Defaults::default();
    let mut limits = SiteLimits::default();
    let (stream, compression) = reader.table(&file::PAGE, |table| {
        defaults.budget = table.read_or_default(&page::BUDGET, table::positive_duration);
        limits.budget = defaults.budget;
        limits.max_fragments = table.integer_or_default(&page::MAX_FRAGMENTS);
        defaults.max_fragments = limits.max_fragments;
        limits.max_includes = table.integer_or_default(&page::MAX_INCLUDES);
        defaults.max_depth = table.integer_or_default(&page::MAX_DEPTH);
        defaults.max_page_bytes = table.read_or_default(&page::MAX_BYTES, table::size);
        let stream = table.read_or_default(&page::STREAM, table::boolean);
        (stream, table.read_or_default(&page::COMPRESSION, table::list(table::word(&CODING))))
    });
    reader.table(&file::FRAGMENT, |table| {
        defaults.timeout = table.read_or_default(&fragment::TIMEOUT, table::positive_duration);
        defaults.ttl = table.read_or_default(&fragment::TTL, table::duration);
        defaults.stale = table.read_or_default(&fragment::STALE, table::duration);
        defaults.max_bytes = table.read_or_default(&fragment::MAX_BYTES, table::size);
        defaults.concurrency = table.integer_or_default(&fragment::CONCURRENCY);
        let Resilience { retries, breaker: BreakerRules { failures, pause, .. } } = &mut defaults.resilience;
        *retries = table.integer_or_default(&fragment::RETRIES);
        *failures = table.integer_or_default(&fragment::BREAKER_FAILURES);
        *pause = table.read_or_default(&fragment::BREAKER_OPEN, table::duration);
        defaults.html = table.read_or_default(&fragment::HTML, Boundary::read);
    });
    let has_key = server.key.is_some();
    let (cache_memory, shared) = reader.table(&file::CACHE, |table| {
        let shared = cluster::shared(table, root);
        warnings.extend(cluster::missing_key(table, &cache::SHARED).filter(|_| shared.is_some() && !has_key));
        (table.read_or_default(&cache::MEMORY, table::size), shared)
    });
    let cluster = reader.table(&file::CLUSTER, |table| {
        let cluster = cluster::cluster(table, root);
        let peers = &super::schema::cluster::PEERS;
        warnings.extend(cluster::missing_key(table, peers).filter(|_| cluster.peers.is_some() && !has_key));
        cluster
    });
    let private_upstreams = reader.table(&file::UPSTREAMS, |table| {
        limits.allowed =
            table.read_or_default(&upstreams::ALLOW, table::list(|value| Ok(table::text(value)?.parse()?)));
        table.read_or_default(&upstreams::PRIVATE, table::boolean)
    });
    let (max_processes, component_cache) = reader.table(&file::ON_DEMAND, |table| {
        let folder = table.read(&on_demand::CACHE, table::text).filter(|folder| !folder.is_empty());
        (table.integer_or_default(&on_demand::MAX_PROCESSES), folder.map(|folder| root.join(folder)))
    });
    let (discovery, publish) = reader.table(&file::DISCOVERY, |table| {
        let sources = read_sources(table);
        let urls = sources.iter().map(|Located { value, at }| Located { value: value.url.clone(), at: at.clone() });
        let discovery = Sources {
            urls: urls.collect(),
            refresh: table.read_or_default(&discovery::REFRESH, table::positive_duration),
            resolver: table.read(&discovery::RESOLVER, table::one_or_more(values::name_server)).unwrap_or_default(),
        };
        limits.sources = sources.into_iter().map(|source| source.value).collect();
        (discovery, table.read_or_default(&discovery::PUBLISH, table::boolean))
    });
    let readers = reader.table(&file::CONTEXT, |table| {
        let locales = table.read_or_default(&context::LOCALES, table::list(values::locale));
        limits.locales = if locales.is_empty() { ReaderRules::default().locales } else { locales };
        ReaderRules {
            locales: limits.locales.clone(),
            region_header: table.read(&context::REGION_HEADER, values::header_name).flatten(),
            trusted: table.read_or_default(&context::TRUST_PROXY, table::list(values::network)),
        }
    });
    let telemetry = reader.table(&file::TELEMETRY, |table| {
        let otlp = table.read(&telemetry::OTLP, values::collector).flatten();
        if let (Some(_), false, Some(entry)) = (&otlp, cfg!(feature = "otlp"), table.entry(&telemetry::OTLP)) {
            let message = "`otlp` is understood, but not supported by this build, which has no OTLP";
            warnings.push(Diagnostic::new(Code::NotYet, entry.key_at.clone(), message));
        }
        Telemetry {
            log: table.read_or_default(&telemetry::LOG, values::log_filter),
            json: table.read_or_default(&telemetry::FORMAT, table::word(&telemetry::FORMAT.kind)) == JSON,
            access_log: table.read_or_default(&telemetry::ACCESS_LOG, values::access_log(root)),
            access_format: AccessFormat::named(
                table.read_or_default(&telemetry::ACCESS_FORMAT, table::word(&telemetry::ACCESS_FORMAT.kind)),
            ),
            otlp,
            slowest: table.integer_or_default(&telemetry::SLOWEST),
        }
    });
    Settings {
        server,
        defaults,
        limits,
        stream,
        compression,
        cache_memory,
        shared,
        cluster,
        private_upstreams,
        max_processes,
        component_cache,
        readers,
        discovery,
        publish,
        telemetry,
    }
}

/// Reads the services that publish manifests. One that is listed twice is an error: what would the second one be granted?
fn read_sources(table: &mut TableReader<'_>) -> Vec<Located<ManifestSource>> {
    let bare = |value: &Value| {
        let Located { value: url, at } = values::source(value)?;
        Ok(Located { value: ManifestSource { url, allow: Vec::new(), names: Vec::new() }, at })
    };
    let granted = |table: &mut TableReader<'_>| {
        let url = table.required(&source::URL, values::source);
        let grant = |value: &Value| table::text(value)?.parse::<Grant>().map_err(ValueError::new);
        let allow = table.read_or_default(&source::ALLOW, table::list(grant));
        let names = table.read_or_default(&source::NAMES, table::list(table::name));
        url.map(|Located { value: url, at }| Located { value: ManifestSource { url, allow, names }, at })
    };
    let mut sources: Vec<Located<ManifestSource>> = Vec::new();
    for source in table.values_or_tables(&discovery::MANIFESTS, bare, granted) {
        let document = source.value.document();
        if sources.iter().any(|known| known.value.document() == document) {
            let message = format!("`{}`: {document} is listed twice", discovery::MANIFESTS.name);
            table.note(source.at, message, Some("list each service once".to_owned()));
        } else {
            sources.push(source);
        }
    }
    sources
}

fn read_server(table: &mut TableReader<'_>, root: &Path, flags: Flags) -> Server {
    let token_at = table.entry(&server::ADMIN_TOKEN).map(|entry| entry.value.at.clone());
    let admin_at = table.entry(&server::ADMIN).map(|entry| entry.value.at.clone());
    let admin_token = table.read(&server::ADMIN_TOKEN, values::admin_token(root)).flatten();
    let state = table.read_or_default(&server::STATE, values::state(root));
    let tls = table.entry(&server::TLS).is_some().then(|| {
        table.table(&server::TLS, |table| {
            let files = table.read(&tls::CERT, Reference::read).zip(table.read(&tls::KEY, Reference::read));
            if files.is_none() {
                let example = server::TLS.example.expect("the schema gives an example");
                let help = Some(format!("write `{} = {example}`", server::TLS.name));
                table.note(table.at().clone(), "TLS needs a certificate and its key", help);
            }
            files
        })
    });
    let listen = table.read_or_default(&server::LISTEN, values::address);
    let admin = table.read_or_default(&server::ADMIN, values::address);
    let settings = Server {
        listen: flags.listen.unwrap_or(listen),
        admin: flags.admin.unwrap_or(admin),
        admin_token,
        state,
        key: table.read(&server::KEY, values::site_key(root)).flatten(),
        max_in_flight: table.integer_or_default(&server::MAX_IN_FLIGHT),
        header_timeout: table.read_or_default(&server::HEADER_TIMEOUT, table::positive_duration),
        idle_timeout: table.read_or_default(&server::IDLE_TIMEOUT, table::positive_duration),
        write_timeout: table.read_or_default(&server::WRITE_TIMEOUT, table::positive_duration),
        tls: tls.flatten(),
        watch: table.read_or_default(&server::WATCH, WatchMode::read),
        drain: table.read_or_default(&server::DRAIN, table::duration),
        public_max_age: table.read_or_default(&server::PUBLIC_MAX_AGE, table::duration),
        max_header_bytes: table.read_or_default(&server::MAX_HEADER_BYTES, values::bytes),
        max_uri_bytes: table.read_or_default(&server::MAX_URI_BYTES, values::bytes),
    };
    if !settings.admin.ip().is_loopback() && settings.admin_token.is_none() {
        let at = token_at.or(admin_at).unwrap_or_else(|| table.at().clone());
        let message = format!(
            "the admin listener {} is reachable from other machines, so it needs `admin_token`",
            settings.admin
        );
        table.note(
            at,
            message,
            Some("set `server.admin_token` to \"generate\" or \"env:NAME\", or listen on 127.0.0.1".to_owned()),
        );
    }
    settings
}
