//! The settings as data: every key with its kind, its default and its effect.
//! `pasteup reference` writes `docs/reference/settings.md` from it.

use crate::edge::files::WatchMode;
use crate::edge::server::access::AccessFormat;
use crate::page::manifest::Boundary;
use crate::page::manifest::grants::Grant;
use crate::page::policy::resilience::Resilience;
use crate::page::request::defaults::Defaults;
use crate::page::site::SiteLimits;
use crate::page::source::schema::{Field, Kind, schema};
use crate::page::source::units;
use crate::page::visit::reader::ReaderRules;

schema! {
    /// The settings of a site.
    pub(crate) mod file {
        /// The two listeners and their limits.
        SERVER = Field::new("server", Kind::Table(&server::SCHEMA));
        /// Limits of a page, and how it is sent.
        PAGE = Field::new("page", Kind::Table(&page::SCHEMA));
        /// What applies to fragments if neither the layout nor the manifest sets a value.
        FRAGMENT = Field::new("fragment", Kind::Table(&fragment::SCHEMA));
        /// The cache.
        CACHE = Field::new("cache", Kind::Table(&cache::SCHEMA));
        /// The other replicas of the site.
        CLUSTER = Field::new("cluster", Kind::Table(&cluster::SCHEMA));
        /// Which addresses layouts may name in `src`.
        UPSTREAMS = Field::new("upstreams", Kind::Table(&upstreams::SCHEMA));
        /// Programs and components that run on demand.
        ON_DEMAND = Field::new("on_demand", Kind::Table(&on_demand::SCHEMA));
        /// Services that publish their own manifests.
        DISCOVERY = Field::new("discovery", Kind::Table(&discovery::SCHEMA));
        /// How clients are distinguished.
        CONTEXT = Field::new("context", Kind::Table(&context::SCHEMA));
        /// Logs and traces.
        TELEMETRY = Field::new("telemetry", Kind::Table(&telemetry::SCHEMA));
    }
}

schema! {
    /// The two listeners and their limits. Read at the start only.
    pub(crate) mod server {
        /// Address of the page listener. Port 0 picks a free port.
        LISTEN = Field::new("listen", Kind::Address).default("127.0.0.1:8080");
        /// Address of the admin listener: health, metrics, the API and the console. An address other than loopback
        /// requires `admin_token`.
        ADMIN = Field::new("admin", Kind::Address).default("127.0.0.1:9090");
        /// The token that every request to the admin listener must have, except `/livez` and `/readyz`: as
        /// `Authorization: Bearer`, or as the password of `Basic`. It has at least 16 characters. In the environment the
        /// token itself may be given instead of a reference. With `"generate"` a token is made at the first start, kept in
        /// `state`, and shown once in a link to log in with.
        ADMIN_TOKEN = Field::new("admin_token", Kind::Reference).example("\"env:ADMIN_TOKEN\"");
        /// The folder for what the compositor keeps for its next start, relative to the site's folder: its key and its
        /// admin token, if it makes them itself. Never commit it, nor serve it.
        STATE = Field::new("state", Kind::Text).default(".pasteup");
        /// The site's key: 32 bytes or more, any text or file. The tags in the addresses of lazy parts and debug tokens are
        /// made with keys that are derived from it. All compositors of a site need the same one. In the environment the key
        /// itself may be given instead of a reference.
        KEY = Field::new("key", Kind::Reference)
            .otherwise("a random one, kept in `state`")
            .example("\"env:PASTEUP_KEY\"");
        /// Maximum number of requests in progress. Further ones get a `503` with `Retry-After`.
        MAX_IN_FLIGHT = Field::new("max_in_flight", Kind::Integer(1, 1_000_000)).default("4096");
        /// Longest time for the head of a request, from its first byte to its last, and for the first request of a
        /// connection.
        HEADER_TIMEOUT = Field::new("header_timeout", Kind::PositiveDuration).default("10s");
        /// Longest wait for the next request of a connection.
        IDLE_TIMEOUT = Field::new("idle_timeout", Kind::PositiveDuration).default("60s");
        /// Longest time in which a client reads nothing of its response. The connection is closed then.
        WRITE_TIMEOUT = Field::new("write_timeout", Kind::PositiveDuration).default("30s");
        /// Serves pages over TLS, with HTTP/2. The files are checked for changes every three seconds.
        TLS = Field::new("tls", Kind::Table(&tls::SCHEMA))
            .example("{ cert = \"file:cert.pem\", key = \"file:key.pem\" }");
        /// How changes of the site's files are noticed: `auto` watches them, and reads them every second where the system
        /// allows no further watches; `poll` reads them every second, for file systems that report no changes (NFS, some
        /// container mounts); `off` reads them at the start, on SIGHUP and on `POST /api/reload` only, and when a service
        /// publishes another manifest.
        WATCH = Field::new("watch", WatchMode::KIND).default_from(|| WatchMode::default().as_str().to_owned());
        /// Longest time for requests in progress once the server stops.
        DRAIN = Field::new("drain", Kind::Duration).default("10s");
        /// How long browsers and caches may use a file of `public/` without asking again. Files whose names contain a hash of
        /// their content, as in `site.3f9a1b2c.css`, may be used for a year. `pasteup dev` makes browsers ask each time.
        PUBLIC_MAX_AGE = Field::new("public_max_age", Kind::Duration).default("1h");
        /// Maximum size of a request's head. A larger one gets a `431`.
        MAX_HEADER_BYTES = Field::new("max_header_bytes", Kind::Size).default("32KiB");
        /// Maximum size of a request's target. A longer one gets a `414`.
        MAX_URI_BYTES = Field::new("max_uri_bytes", Kind::Size).default("8KiB");
    }
}

schema! {
    /// The certificate of the page listener and its key. Both are needed.
    pub(crate) mod tls {
        /// The certificate chain, as PEM.
        CERT = Field::new("cert", Kind::Reference).required().example("\"file:cert.pem\"");
        /// The private key, as PEM.
        KEY = Field::new("key", Kind::Reference).required().example("\"file:key.pem\"");
    }
}

schema! {
    /// Limits of a page, and how it is sent.
    pub(crate) mod page {
        /// Time limit of the whole page. A part that is late by then shows its fallback.
        BUDGET = Field::new("budget", Kind::PositiveDuration).default_from(|| units::show(Defaults::default().budget));
        /// Maximum number of fragments on a page, nested ones included.
        MAX_FRAGMENTS = Field::new("max_fragments", Kind::Integer(1, 100_000))
            .default_from(|| SiteLimits::default().max_fragments.to_string());
        /// Maximum number of partials that one page includes.
        MAX_INCLUDES = Field::new("max_includes", Kind::Integer(0, 100_000))
            .default_from(|| SiteLimits::default().max_includes.to_string());
        /// Maximum depth of nested fragments. The fragments of the layout itself are at depth 1.
        MAX_DEPTH = Field::new("max_depth", Kind::Integer(1, 16))
            .default_from(|| Defaults::default().max_depth.to_string());
        /// Maximum size of a page. A larger one is a `502`, or is cut off if it is already being sent.
        MAX_BYTES = Field::new("max_bytes", Kind::Size)
            .default_from(|| units::show_size(Defaults::default().max_page_bytes));
        /// Sends a page's head as soon as its status is known. A page that was streamed is `no-store`. Parts that
        /// arrive within 10 ms are waited for, unless a part is never cached and its service is slower at the moment.
        STREAM = Field::new("stream", Kind::Boolean).default("true");
        /// The content codings that clients are offered. A client that accepts `br` and `zstd` or `gzip` gets a page
        /// with personal parts in `zstd` or `gzip`. In `zstd` such a page has several frames (RFC 8878, 3.1), which
        /// browsers read; leave `zstd` out if another client does not. Read at the start only.
        COMPRESSION = Field::new("compression", Kind::List(&CODING)).default_from(|| {
            let codings: Vec<String> = CODING.words().iter().map(|coding| format!("\"{coding}\"")).collect();
            format!("[{}]", codings.join(", "))
        });
    }
}

/// The content codings that pages can be sent in.
pub(crate) static CODING: Kind = Kind::Word(&["br", "zstd", "gzip"]);

schema! {
    /// What applies to fragments if neither the layout nor the manifest sets a value.
    pub(crate) mod fragment {
        /// Time limit of a fetch, from sending the request to the last byte of the body.
        TIMEOUT = Field::new("timeout", Kind::PositiveDuration)
            .default_from(|| units::show(Defaults::default().timeout));
        /// How long a response is fresh if nothing else states it.
        TTL = Field::new("ttl", Kind::Duration).default_from(|| units::show(Defaults::default().ttl));
        /// How long after that a stale response may be shown, if nothing else states it.
        STALE = Field::new("stale", Kind::Duration).default_from(|| units::show(Defaults::default().stale));
        /// Maximum size of a response body, decoded. A larger one counts as a failure.
        MAX_BYTES = Field::new("max_bytes", Kind::Size).default_from(|| units::show_size(Defaults::default().max_bytes));
        /// Maximum number of requests in progress for each endpoint. Further ones wait until their deadline.
        CONCURRENCY = Field::new("concurrency", Kind::Integer(1, 65_535))
            .default_from(|| Defaults::default().concurrency.to_string());
        /// How many times a request that got no response at all is retried, all within the one timeout.
        RETRIES = Field::new("retries", Kind::Integer(0, 10)).default_from(|| Resilience::default().retries.to_string());
        /// Consecutive failures after which the circuit breaker of an endpoint opens.
        BREAKER_FAILURES = Field::new("breaker_failures", Kind::Integer(1, 1_000))
            .default_from(|| Resilience::default().breaker.failures.to_string());
        /// How long an open circuit breaker sends no requests at first. The time doubles while probes fail.
        BREAKER_OPEN = Field::new("breaker_open", Kind::Duration)
            .default_from(|| units::show(Resilience::default().breaker.pause));
        /// How the HTML of fragments that are named by `src` is treated. With `balanced` a fragment cannot affect the
        /// page around it; with `raw` its bytes are passed on unchanged.
        HTML = Field::new("html", Boundary::KIND).default_from(|| Defaults::default().html.as_str().to_owned());
    }
}

schema! {
    /// The cache. Read at the start only.
    pub(crate) mod cache {
        /// Memory for cached responses and pages, keys and bookkeeping included. HTML of 4 KiB or more is stored
        /// compressed, and counts at its compressed size.
        MEMORY = Field::new("memory", Kind::Size).default("256MiB");
        /// The store that all replicas of the site share: Redis 7 or Valkey 8, as `redis://HOST:PORT`, or `rediss://` for TLS. A
        /// number after the port is that of a database. It must not have a user name or password.
        SHARED = Field::new("shared", Kind::Text).example("\"redis://127.0.0.1:6379\"");
        /// The user to log in to it as.
        SHARED_USER = Field::new("shared_user", Kind::Text).example("\"pasteup\"");
        /// The password to log in with. In the environment the password itself may be given instead of a reference.
        SHARED_PASSWORD = Field::new("shared_password", Kind::Reference).example("\"env:REDIS_PASSWORD\"");
        /// The certificate authority of the store, as PEM, for `rediss://`.
        SHARED_CA = Field::new("shared_ca", Kind::Reference)
            .otherwise("those of the system")
            .example("\"file:ca.pem\"");
        /// Longest time that one page view waits for the store, for all look-ups together. The wait for a response that another
        /// replica fetches does not count.
        SHARED_TIMEOUT = Field::new("shared_timeout", Kind::PositiveDuration).default("20ms");
        /// What stands before every key in the store. Required with `shared`: two sites with one namespace would show each other's
        /// responses.
        NAMESPACE = Field::new("namespace", Kind::Text).example("\"site-a\"");
        /// Whether `/readyz` waits until the store was there once.
        REQUIRED_TO_START = Field::new("required_to_start", Kind::Boolean).default("false");
    }
}

schema! {
    /// The other replicas of the site. Read at the start only.
    pub(crate) mod cluster {
        /// The name of this replica, which no other one has.
        NAME = Field::new("name", Kind::Text).otherwise("host name and port of the admin listener").example("\"a\"");
        /// The admin listeners of all replicas, this one included: a URL that is found by DNS, or a list of `http://` URLs.
        PEERS = Field::new("peers", Kind::OneOrMore(&Kind::Url)).example("\"dns+http://pasteup-headless:9090\"");
        /// The token that replicas show each other, as `Authorization: Bearer`. It is good for purges and `/api/cluster`. In the
        /// environment the token itself may be given instead of a reference.
        TOKEN = Field::new("token", Kind::Reference).example("\"env:CLUSTER_TOKEN\"");
    }
}

schema! {
    /// Which addresses layouts may name in `src`.
    pub(crate) mod upstreams {
        /// The allowed addresses: scheme, host and port, where `*` is any port.
        ALLOW = Field::new("allow", Kind::List(&Kind::Upstream))
            .default("[]")
            .example("[\"https://fragments.example.org\", \"http://127.0.0.1:*\"]");
        /// Whether a name in `allow` may resolve to an address that is not public. Read at the start only.
        PRIVATE = Field::new("private", Kind::Boolean).default("false");
    }
}

schema! {
    /// Programs and components that run on demand.
    pub(crate) mod on_demand {
        /// Maximum number of programs that run at once. Past it the one that has been idle longest is stopped; if none
        /// is idle, the part is `overloaded`.
        MAX_PROCESSES = Field::new("max_processes", Kind::Integer(1, 10_000)).default("64");
        /// Folder for compiled components, so that none is compiled twice. A relative path is below the site's folder.
        /// Read at the start only.
        CACHE = Field::new("cache", Kind::Text)
            .otherwise("the user's cache directory")
            .example("\"/var/cache/pasteup\"");
    }
}

schema! {
    /// Services that publish their own manifests at `/.well-known/fragments.json`.
    pub(crate) mod discovery {
        /// The services to read manifests from, each as a URL or as a table with a URL and what the service is granted. A name
        /// that several declare belongs to the one that is listed first. With `dns+http://` or `dnssrv+http://` the host is
        /// looked up in DNS, as that of an `endpoint`.
        MANIFESTS = Field::new("manifests", Kind::ValuesOrTables(&Kind::Url, &source::SCHEMA))
            .default("[]")
            .example("[\"http://weather.internal:8000\"]");
        /// How long manifests are used before they are read again, if the source does not state it in
        /// `Cache-Control`.
        REFRESH = Field::new("refresh", Kind::PositiveDuration).default("10s");
        /// The DNS server that `dns+http://` and `dnssrv+http://` are looked up at, or a list of them: addresses, with port 53 if
        /// none is given. Read at the start only.
        RESOLVER = Field::new("resolver", Kind::OneOrMore(&Kind::Address))
            .otherwise("those of `/etc/resolv.conf`")
            .example("\"127.0.0.1:53\"");
        /// Serves all manifests, with the addresses of the services, at `/.well-known/fragments.json` of the page listener.
        PUBLISH = Field::new("publish", Kind::Boolean).default("false");
    }
}

schema! {
    /// A service that publishes manifests, and what it is granted.
    pub(crate) mod source {
        /// The URL of the service.
        URL = Field::new("url", Kind::Url).required().example("\"http://weather.internal:8000\"");
        /// What its manifests may ask for besides what every source may: `html = "raw"`, cookies and headers as context,
        /// cookies to set, and fragments of others to compose of.
        ALLOW = Field::new("allow", Kind::List(&Kind::Form(&Grant::FORMS)))
            .default("[]")
            .example("[\"raw\", \"cookie:units\", \"header:x-tenant\", \"set-cookie:units\", \"composes:icon\"]");
        /// Names that it may declare even if a folder, or a source that is listed before it, has them. A manifest that is the
        /// same but for its endpoint then adds that endpoint.
        NAMES = Field::new("names", Kind::List(&Kind::Name)).default("[]").example("[\"weather\"]");
    }
}

schema! {
    /// How clients are distinguished.
    pub(crate) mod context {
        /// The locales of the site. The first one is for clients that accept none of them.
        LOCALES = Field::new("locales", Kind::List(&Kind::Locale)).example("[\"en\", \"de\"]").default_from(|| {
            let locales: Vec<String> = ReaderRules::default().locales.iter().map(|tag| format!("\"{tag}\"")).collect();
            format!("[{}]", locales.join(", "))
        });
        /// The header in which a CDN sends the client's country, as an ISO 3166-1 code; any other value (`XX`, `EU`) means
        /// that the country is unknown. It counts only if it comes from `trust_proxy`.
        REGION_HEADER = Field::new("region_header", Kind::Header).example("\"CF-IPCountry\"");
        /// Addresses and networks of proxies whose region header, `X-Forwarded-*` and trace context are trusted.
        TRUST_PROXY = Field::new("trust_proxy", Kind::List(&Kind::Network))
            .default("[]")
            .example("[\"10.0.0.0/8\", \"192.0.2.7\"]");
    }
}

schema! {
    /// Logs and traces. Read at the start only.
    pub(crate) mod telemetry {
        /// Which log lines are written: a level, or a filter such as `warn,pasteup=debug`.
        LOG = Field::new("log", Kind::LogFilter).default("info");
        /// The format of log lines.
        FORMAT = Field::new("format", Kind::Word(&["text", JSON])).default("text");
        /// Where a line for each reply is written: `"stdout"`, or the path of a file, relative to the site's folder. SIGHUP
        /// opens the file again. Left empty, there is no access log.
        ACCESS_LOG = Field::new("access_log", Kind::Text).default("").example("\"/var/log/pasteup/access.log\"");
        /// The format of its lines: Apache's `combined`, followed by where the page came from (`hit`, `personalised`, `miss`)
        /// and the request's id; or `json`.
        ACCESS_FORMAT = Field::new("access_format", AccessFormat::KIND).default("combined");
        /// The collector that spans are sent to, as OTLP over HTTP. Without it no spans are sent.
        OTLP = Field::new("otlp", Kind::Url).example("\"http://collector:4318\"");
        /// How many of the slowest requests of each page are kept while `pasteup load` runs. Read at the start only.
        SLOWEST = Field::new("slowest", Kind::Integer(1, 10_000)).default("200");
    }
}

/// The value of `format` for log lines in JSON.
pub(crate) const JSON: &str = "json";
