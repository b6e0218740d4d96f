//! The manifest as data: every key with its kind, its default and what it does.
//! `pasteup reference` writes `docs/reference/manifest.md` from it.
//!
//! The keys of `[params]`, `[auth]`, `[[assets]]` and `[[examples]]` are beside their parsers.

use crate::page::source::schema::{Field, Kind, schema};
use crate::page::visit::context::Dimension;

use super::{Boundary, Lifecycle, assets, auth, example, on_demand, param, rollout};

schema! {
    /// What a nanoservice declares about itself.
    pub(crate) mod file {
        /// The name that layouts use.
        NAME = Field::new("name", Kind::Name).required().example("\"weather\"");
        /// The version. Raise the major number when a layout that works with the current version would no longer work.
        VERSION = Field::new("version", Kind::Version).required().example("\"3.1.0\"");
        /// The URL to request, or a list of URLs to balance over. A `{parameter}` in the path takes that parameter out
        /// of the query. With `dns+http://` every A and AAAA record of the host is an endpoint of its own, with
        /// `dnssrv+http://` every SRV record; they are looked up again while they are used. Exactly one of `endpoint`, `command` and `component` must be given.
        ENDPOINT = Field::new("endpoint", Kind::OneOrMore(&Kind::Endpoint))
            .example("\"http://127.0.0.1:9102/weather\"");
        /// A program that is started on demand, with its arguments. A relative program is looked for in the folder of
        /// the manifest first, then on `PATH`. Not accepted from a discovery source.
        COMMAND = Field::new("command", Kind::List(&Kind::Text)).example("[\"node\", \"server.js\"]");
        /// The file of a WebAssembly component, which runs in the compositor. It exports `wasi:http/incoming-handler`
        /// (0.2). A relative path is below the folder of the manifest. Not accepted from a discovery source.
        COMPONENT = Field::new("component", Kind::Text).example("\"weather.wasm\"");
        /// What a program or a component is asked: a path, with `{parameter}` as in `endpoint`. Belongs to `command` and
        /// `component`.
        PATH = Field::new("path", Kind::Text).default("/").example("\"/signs/{sign}\"");
        /// How a program or a component is run. Belongs to `command` and `component`.
        RUN = Field::new("run", Kind::Table(&on_demand::run::SCHEMA));
        /// The team to notify. Several folders may declare one version of a service only if they name the same owner and
        /// declare the same.
        OWNER = Field::new("owner", Kind::Text).example("\"team-weather\"");
        /// What it shows, for people.
        DESCRIPTION = Field::new("description", Kind::Text).example("\"Current weather and the next days of one town.\"");
        /// The stage of its lifecycle. `deprecated` warns the editors who use it.
        LIFECYCLE = Field::new("lifecycle", Lifecycle::KIND).default(Lifecycle::Production.as_str());
        /// The day from which on it may be gone. Until then each use is a warning; from that day on `pasteup check` fails.
        SUNSET = Field::new("sunset", Kind::Date).example("2027-01-31");
        /// The nanoservice that replaces it, for the editors who use it.
        SUCCESSOR = Field::new("successor", Kind::Name).example("\"forecast\"");
        /// How this version takes over from the one before. Without this table it does so at once.
        ROLLOUT = Field::new("rollout", Kind::Table(&rollout::fields::SCHEMA));
        /// A URL: what to read when the service is broken.
        RUNBOOK = Field::new("runbook", Kind::Text).example("\"https://example.org/runbooks/weather\"");
        /// What the service may know of the client. Each entry is a part of its cache key, and nothing else of the
        /// client reaches the service.
        CONTEXT = Field::new("context", Kind::List(&Kind::Form(&Dimension::FORMS)))
            .default("[]")
            .example("[\"locale\", \"cookie:units\"]");
        /// The fragments that its HTML may include with `<fragment name="…">`.
        COMPOSES = Field::new("composes", Kind::List(&Kind::Name)).default("[]").example("[\"icon\"]");
        /// The cookies that it may set. A response that sets one is not cached.
        COOKIES = Field::new("cookies", Kind::List(&Kind::Cookie)).default("[]").example("[\"units\"]");
        /// Whether `<esi:…>` in its HTML is processed, if the response requests that with `Surrogate-Control`.
        ESI = Field::new("esi", Kind::Boolean).default("false");
        /// What its HTML may do to the page. With `balanced` unclosed tags are closed and stray end tags are dropped;
        /// with `raw` its bytes are passed on unchanged.
        HTML = Field::new("html", Boundary::KIND).default(Boundary::Balanced.as_str());
        /// Its parameters. A service that declares none accepts any.
        PARAMS = Field::new("params", Kind::Map("NAME", &Kind::Table(&param::fields::SCHEMA)));
        /// How long its responses are cached.
        CACHE = Field::new("cache", Kind::Table(&cache::SCHEMA));
        /// Limits of one fetch.
        LIMITS = Field::new("limits", Kind::Table(&limits::SCHEMA));
        /// How requests to the service are authenticated. Not accepted from a discovery source.
        AUTH = Field::new("auth", Kind::Table(&auth::fields::SCHEMA));
        /// What its fragments always need in the page's head.
        ASSETS = Field::new("assets", Kind::Tables(&assets::link::SCHEMA));
        /// Requests whose responses have something to show. `conform` sends them.
        EXAMPLES = Field::new("examples", Kind::Tables(&example::fields::SCHEMA));
    }
}

schema! {
    /// How long responses are cached.
    pub(crate) mod cache {
        /// How long a response is fresh if it does not state that itself.
        TTL = Field::new("ttl", Kind::Duration).otherwise("the setting `fragment.ttl`").example("\"60s\"");
        /// How long a stale response may be shown while it is refreshed.
        STALE_WHILE_REVALIDATE = Field::new("stale_while_revalidate", Kind::Duration)
            .otherwise("the setting `fragment.stale`")
            .example("\"10m\"");
        /// How long a stale response may be shown when the refresh fails.
        STALE_IF_ERROR = Field::new("stale_if_error", Kind::Duration)
            .otherwise("the setting `fragment.stale`")
            .example("\"1d\"");
        /// The longest freshness of any response, whatever it or a layout states.
        MAX_TTL = Field::new("max_ttl", Kind::Duration).example("\"10m\"");
    }
}

schema! {
    /// Limits of one fetch.
    pub(crate) mod limits {
        /// Time limit, from sending the request to the last byte of the body.
        TIMEOUT = Field::new("timeout", Kind::PositiveDuration)
            .otherwise("the setting `fragment.timeout`")
            .example("\"300ms\"");
        /// Maximum size of a response body, decoded. A larger one counts as a failure.
        MAX_BYTES = Field::new("max_bytes", Kind::PositiveSize)
            .otherwise("the setting `fragment.max_bytes`")
            .example("\"256KiB\"");
        /// Maximum number of requests in progress for each endpoint. Further ones wait until their deadline.
        CONCURRENCY = Field::new("concurrency", Kind::Integer(1, 65_535))
            .otherwise("the setting `fragment.concurrency`")
            .example("64");
    }
}
