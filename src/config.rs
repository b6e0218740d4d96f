//! Settings: `pasteup.toml`, the environment, flags, each over the one before.
//! Every problem of them comes out at once; with one, nothing starts and nothing is changed.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fluent_langneg::LanguageIdentifier;
use http::HeaderName;
use ipnet::IpNet;
use tracing_subscriber::EnvFilter;
use url::Url;

use crate::edge::discovery::Sources;
use crate::page::manifest::Boundary;
use crate::page::manifest::upstreams;
use crate::page::policy::resilience::Resilience;
use crate::page::request::defaults::Defaults;
use crate::page::site::SiteLimits;
use crate::page::source::diagnostic::{Code, Diagnostic, Located, Source, SourceSpan};
use crate::page::source::secret::Reference;
use crate::page::source::table::{self, Data, Table, TableReader, Value, Wrong};
use crate::page::visit::reader::ReaderRules;
use crate::secrets::{self, Secret};

/// Led by this, an environment variable with `__` in it is a setting: `PASTEUP_SERVER__LISTEN`. One
/// without is somebody else's: for a service of this name Kubernetes sets `PASTEUP_PORT` and more.
const PREFIX: &str = "PASTEUP_";

/// All settings, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `[server]`
    pub server: Server,
    /// `[page]` and `[fragment]`: what holds where neither layout nor manifest says.
    pub defaults: Defaults,
    /// What layouts may do.
    pub limits: SiteLimits,
    /// A page's head leaves before all its parts are known.
    pub stream: bool,
    /// Content codings for pages.
    pub compression: Vec<&'static str>,
    /// Bytes that the cache may hold.
    pub cache_memory: u64,
    /// Whether a name in `upstreams.allow` may resolve to an address that is not public.
    pub private_upstreams: bool,
    /// How readers are told apart.
    pub readers: ReaderRules,
    /// `[discovery]`
    pub discovery: Sources,
    /// `[telemetry]`
    pub telemetry: Telemetry,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where pages are served.
    pub listen: SocketAddr,
    /// Where operators ask.
    pub admin: SocketAddr,
    /// What operators must bring.
    pub admin_token: Option<Secret>,
    /// Requests at once.
    pub max_in_flight: usize,
    /// Longest time for the head of a request.
    pub header_timeout: Duration,
    /// Longest time without a request.
    pub idle_timeout: Duration,
    /// Longest time in which a reader takes nothing.
    pub write_timeout: Duration,
    /// Where certificate and key of the pages are.
    pub tls: Option<(Reference, Reference)>,
    /// How long requests under way may take once the server stops.
    pub drain: Duration,
    /// Bytes of a request's head.
    pub max_header_bytes: usize,
    /// Bytes of a request's target.
    pub max_uri_bytes: usize,
}

/// `[telemetry]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// Which log lines are written: `info`, `debug`, or a filter such as `pasteup=debug`.
    pub log: String,
    /// Log lines are JSON.
    pub json: bool,
    /// The collector that spans are sent to.
    pub otlp: Option<Url>,
}

/// What flags say, over file and environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flags {
    /// `--listen`
    pub listen: Option<SocketAddr>,
    /// `--admin`
    pub admin: Option<SocketAddr>,
}

impl Settings {
    /// Reads settings. Whatever is wrong has its default, and is told.
    #[must_use]
    pub fn load(
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
            } else if let Some((section, key)) = path.split_once('_').filter(|path| is_setting(*path, &value)) {
                let at = SourceSpan::new(&line, 0..name.len());
                let problem =
                    Diagnostic::new(Code::Ignored, at, format!("`{name}` is no setting, and counts for nothing"));
                let meant = format!("{PREFIX}{}__{}", section.to_ascii_uppercase(), key.to_ascii_uppercase());
                problems.push(problem.help(format!("two underscores stand behind the table's name: `{meant}`")));
            }
        }
        let mut reader = TableReader::new(&table, Code::Settings);
        let mut later = Vec::new();
        let settings = read(&mut reader, &mut later, flags);
        problems.extend(reader.finish());
        problems.extend(later);
        (settings, problems)
    }
}

/// Whether there is a setting of this table and key, be the value right or wrong.
fn is_setting((section, key): (&str, &str), value: &Value) -> bool {
    let mut table = Table::empty(&value.at.source);
    table.set(&[section, key], value.clone());
    let mut reader = TableReader::new(&table, Code::Settings);
    read(&mut reader, &mut Vec::new(), Flags::default());
    !reader.finish().iter().any(|problem| problem.message.starts_with(table::UNKNOWN_KEY))
}

fn read(reader: &mut TableReader<'_>, later: &mut Vec<Diagnostic>, flags: Flags) -> Settings {
    let server = reader.table("server", |server| read_server(server, flags));
    let mut defaults = Defaults::default();
    let mut limits = SiteLimits::default();
    let mut stream = true;
    let compression = reader.table("page", |page| {
        set(&mut defaults.budget, page.read("budget", positive));
        set(&mut limits.max_fragments, page.read("max_fragments", count(1..=100_000)));
        defaults.max_fragments = limits.max_fragments;
        set(&mut limits.max_includes, page.read("max_includes", count(0..=100_000)));
        set(&mut defaults.max_depth, page.read("max_depth", count(1..=16)));
        set(&mut defaults.max_page_bytes, page.read("max_bytes", table::size));
        set(&mut stream, page.read("stream", table::boolean));
        page.read("compression", table::list(table::word(&["br", "zstd", "gzip"])))
    });
    reader.table("fragment", |fragment| {
        set(&mut defaults.timeout, fragment.read("timeout", positive));
        set(&mut defaults.ttl, fragment.read("ttl", table::duration));
        set(&mut defaults.stale, fragment.read("stale", table::duration));
        set(&mut defaults.max_bytes, fragment.read("max_bytes", table::size));
        set(
            &mut defaults.concurrency,
            fragment.read("concurrency", table::integer(1..=65_535)).and_then(|n| u32::try_from(n).ok()),
        );
        let number = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
        let Resilience { retries, breaker } = &mut defaults.resilience;
        set(retries, number(fragment.read("retries", table::integer(0..=10))));
        set(&mut breaker.failures, number(fragment.read("breaker_failures", table::integer(1..=1_000))));
        set(&mut breaker.pause, fragment.read("breaker_open", table::duration));
        set(&mut defaults.html, fragment.read("html", Boundary::read));
    });
    let cache_memory = reader.table("cache", |cache| {
        not_yet_acted_on(cache, "cache", &["redis"], later);
        cache.read("redis", table::filled);
        cache.read("memory", table::size)
    });
    let private_upstreams = reader.table("upstreams", |upstreams| {
        let allow = upstreams.read("allow", table::list(|value| Ok(table::text(value)?.parse()?)));
        limits.allowed = allow.unwrap_or_default();
        upstreams.read("private", table::boolean)
    });
    let discovery = reader.table("discovery", |discovery| Sources {
        urls: discovery.read("manifests", table::list(source)).unwrap_or_default(),
        refresh: discovery.read("refresh", positive).unwrap_or(Duration::from_secs(10)),
    });
    let readers = reader.table("context", |context| {
        let locales = context.read("locales", table::list(locale)).filter(|locales| !locales.is_empty());
        ReaderRules {
            locales: locales.unwrap_or_else(|| ReaderRules::default().locales),
            region_header: context.read("region_header", header_name).flatten(),
            trusted: context.read("trust_proxy", table::list(network)).unwrap_or_default(),
        }
    });
    let telemetry = reader.table("telemetry", |telemetry| {
        let otlp = telemetry.read("otlp", collector).flatten();
        if otlp.is_some() && !cfg!(feature = "otlp") {
            not_yet_acted_on(telemetry, "telemetry", &["otlp"], later);
        }
        Telemetry {
            log: telemetry.read("log", filter).unwrap_or_else(|| "info".to_owned()),
            json: telemetry.read("format", table::word(&["text", "json"])) == Some("json"),
            otlp,
        }
    });
    Settings {
        server,
        defaults,
        limits,
        stream,
        compression: compression.unwrap_or_else(|| vec!["br", "zstd", "gzip"]),
        cache_memory: cache_memory.unwrap_or(256 << 20),
        private_upstreams: private_upstreams.unwrap_or_default(),
        readers,
        discovery,
        telemetry,
    }
}

const TLS: &str = "write `tls = { cert = \"file:cert.pem\", key = \"file:key.pem\" }`";

fn read_server(server: &mut TableReader<'_>, flags: Flags) -> Server {
    let token_at = server.entry("admin_token").map(|entry| entry.value.at.clone());
    let admin_at = server.entry("admin").map(|entry| entry.value.at.clone());
    let admin_token = server.read("admin_token", secret).flatten();
    let tls = server.entry("tls").is_some().then(|| {
        server.table("tls", |tls| {
            let files = tls.read("cert", Reference::read).zip(tls.read("key", Reference::read));
            if files.is_none() {
                let at = tls.at().clone();
                tls.note(at, "TLS needs a certificate and its key", Some(TLS.to_owned()));
            }
            files
        })
    });
    let address = |default: [u8; 4], port| SocketAddr::from((IpAddr::from(default), port));
    let settings = Server {
        listen: flags.listen.or(server.read("listen", socket)).unwrap_or_else(|| address([127, 0, 0, 1], 8080)),
        admin: flags.admin.or(server.read("admin", socket)).unwrap_or_else(|| address([127, 0, 0, 1], 9090)),
        admin_token,
        max_in_flight: server.read("max_in_flight", count(1..=1_000_000)).unwrap_or(4096),
        header_timeout: server.read("header_timeout", positive).unwrap_or(Duration::from_secs(10)),
        idle_timeout: server.read("idle_timeout", positive).unwrap_or(Duration::from_secs(60)),
        write_timeout: server.read("write_timeout", positive).unwrap_or(Duration::from_secs(30)),
        tls: tls.flatten(),
        drain: server.read("drain", table::duration).unwrap_or(Duration::from_secs(10)),
        max_header_bytes: server.read("max_header_bytes", bytes).unwrap_or(32 << 10),
        max_uri_bytes: server.read("max_uri_bytes", bytes).unwrap_or(8 << 10),
    };
    if !settings.admin.ip().is_loopback() && settings.admin_token.is_none() {
        let at = token_at.or(admin_at).unwrap_or_else(|| server.at().clone());
        let message = format!(
            "the admin listener {} can be reached from other machines, so it needs `admin_token`",
            settings.admin
        );
        server.note(at, message, Some("set `server.admin_token = \"env:NAME\"`, or listen on 127.0.0.1".to_owned()));
    }
    settings
}

fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

/// Tells of keys that somebody sets and that nothing comes of.
fn not_yet_acted_on(table: &mut TableReader<'_>, name: &str, keys: &[&'static str], later: &mut Vec<Diagnostic>) {
    for key in keys {
        if let Some(entry) = table.entry(key) {
            let message = format!("`{name}.{key}` is understood, but not acted on by this version");
            later.push(Diagnostic::new(Code::NotYet, entry.key_at.clone(), message));
        }
    }
}

fn filter(value: &Value) -> Result<String, Wrong> {
    let text = table::filled(value)?;
    match EnvFilter::try_new(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Wrong::with_help(
            format!("`{text}` is no filter of log lines: {error}"),
            "write it like \"info\", \"debug\" or \"warn,pasteup=debug\"",
        )),
    }
}

fn socket(value: &Value) -> Result<SocketAddr, Wrong> {
    let text = table::text(value)?;
    text.parse().map_err(|_| {
        Wrong::with_help(
            format!("`{text}` is no address and port"),
            "write it like \"127.0.0.1:8080\" or \"[::]:8080\"; port 0 picks a free one",
        )
    })
}

fn positive(value: &Value) -> Result<Duration, Wrong> {
    let duration = table::duration(value)?;
    if duration.is_zero() { Err(Wrong::new("must not be zero")) } else { Ok(duration) }
}

fn count(range: std::ops::RangeInclusive<i64>) -> impl Fn(&Value) -> Result<usize, Wrong> {
    move |value| Ok(usize::try_from(table::integer(range.clone())(value)?)?)
}

fn bytes(value: &Value) -> Result<usize, Wrong> {
    Ok(usize::try_from(table::size(value)?)?)
}

/// A secret by reference. From the environment itself it may come as it is.
fn secret(value: &Value) -> Result<Option<Secret>, Wrong> {
    let text = table::text(value)?;
    if text.is_empty() {
        return Ok(None);
    }
    match Reference::read(value) {
        Ok(reference) => secrets::look_up(&reference, Path::new("")).map(Some).map_err(Wrong::new),
        Err(_) if matches!(value.data, Data::Bare(_)) => Ok(Some(Secret::new(text))),
        Err(wrong) => Err(wrong),
    }
}

fn source(value: &Value) -> Result<Located<Url>, Wrong> {
    let url = upstreams::source(&table::text(value)?)?;
    Ok(Located { value: url, at: value.at.clone() })
}

/// What it says is not repeated: somebody may have written a password into it.
fn collector(value: &Value) -> Result<Option<Url>, Wrong> {
    let text = table::text(value)?;
    if text.is_empty() {
        return Ok(None);
    }
    upstreams::source(&text).map(Some).map_err(|error| match error {
        upstreams::UpstreamError::UserInformation => Wrong::with_help(
            error.to_string(),
            "what shows who sends goes into the environment: `OTEL_EXPORTER_OTLP_HEADERS=authorization=…`",
        ),
        _ => Wrong::with_help(
            "this is no URL of a collector",
            "write it like \"http://collector:4318\": OTLP over HTTP, without `/v1/traces`; nothing is sent where it is empty",
        ),
    })
}

fn locale(value: &Value) -> Result<String, Wrong> {
    let text = table::filled(value)?;
    match text.parse::<LanguageIdentifier>() {
        Ok(_) => Ok(text),
        Err(_) => Err(Wrong::with_help(format!("`{text}` is no language tag"), "write it like \"en\" or \"pt-BR\"")),
    }
}

fn header_name(value: &Value) -> Result<Option<HeaderName>, Wrong> {
    let text = table::text(value)?;
    if text.is_empty() {
        return Ok(None);
    }
    HeaderName::try_from(&text).map(Some).map_err(|_| Wrong::new(format!("`{text}` is no name of a header")))
}

fn network(value: &Value) -> Result<IpNet, Wrong> {
    let text = table::filled(value)?;
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| {
        Wrong::with_help(
            format!("`{text}` is no address or network"),
            "write it like \"10.0.0.0/8\", \"192.0.2.7\" or \"fd00::/8\"",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, environment: &[(&str, &str)]) -> (Settings, Vec<(String, usize, usize, String)>) {
        let environment = environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let (settings, problems) =
            Settings::load(Some(&Source::new("pasteup.toml", text)), environment, Flags::default());
        let shown = problems
            .into_iter()
            .map(|d| {
                let (line, column) = d.at.source.position(d.at.span.start);
                (d.at.source.file.clone(), line, column, format!("{} {:?}", d.message, d.help))
            })
            .collect();
        (settings, shown)
    }

    #[test]
    fn every_key_has_a_default() {
        let (settings, problems) = load("", &[]);
        assert_eq!(problems, []);
        assert_eq!(settings.server.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(settings.cache_memory, 256 << 20);
        assert_eq!(settings.defaults, Defaults::default());
    }

    #[test]
    fn the_environment_is_over_the_file_and_flags_over_both() {
        let file = "[server]\nlisten = \"127.0.0.1:1\"\n[page]\nbudget = \"3s\"\n";
        let variables = [
            ("PASTEUP_SERVER__LISTEN", "127.0.0.1:2"),
            ("PASTEUP_FRAGMENT__TIMEOUT", "5s"),
            ("PASTEUP_UPSTREAMS__ALLOW", "[\"http://127.0.0.1:*\"]"),
            ("PASTEUP_UPSTREAMS__PRIVATE", "true"),
            ("HOME", "/"),
        ];
        let (settings, problems) = load(file, &variables);
        assert_eq!(problems, []);
        assert_eq!(settings.server.listen.port(), 2);
        assert_eq!(settings.defaults.timeout, Duration::from_secs(5));
        assert_eq!(settings.defaults.budget, Duration::from_secs(3));
        assert!(settings.private_upstreams && settings.limits.allowed.len() == 1);
        let flags = Flags { listen: "127.0.0.1:3".parse().ok(), admin: None };
        let (settings, _) = Settings::load(None, variables.map(|(n, v)| (n.to_owned(), v.to_owned())), flags);
        assert_eq!(settings.server.listen.port(), 3);
    }

    #[test]
    fn every_problem_comes_at_once_with_its_place() {
        let (_, problems) = load(
            "[server]\nlisten = \"localhost\"\nlisen = 1\n[page]\nbudget = 3\n[upstreams]\nallow = [\"example.org\"]\n[sever]\n",
            &[("PASTEUP_FRAGMENT__TIMEOUT", "soon"), ("PASTEUP_NOPE__X", "1")],
        );
        let places: Vec<_> = problems.iter().map(|(file, line, column, _)| (file.as_str(), *line, *column)).collect();
        assert_eq!(
            places,
            [
                ("pasteup.toml", 2, 10),
                ("pasteup.toml", 3, 1),
                ("pasteup.toml", 5, 10),
                ("environment", 1, 27),
                ("pasteup.toml", 7, 10),
                ("pasteup.toml", 8, 2),
                ("environment", 1, 17),
            ],
            "{problems:#?}"
        );
        assert!(problems[5].3.contains("did you mean `server`?"));
    }

    #[test]
    fn an_admin_listener_for_all_needs_a_token() {
        let (_, problems) = load("[server]\nadmin = \"0.0.0.0:9090\"\n", &[]);
        assert!(problems[0].3.contains("needs `admin_token`"), "{problems:?}");
        let (settings, problems) =
            load("[server]\nadmin = \"0.0.0.0:9090\"\n", &[("PASTEUP_SERVER__ADMIN_TOKEN", "hush")]);
        assert_eq!(problems, []);
        assert!(!format!("{settings:?}").contains("hush"), "a secret shows nowhere");
        let (_, problems) = load("[server]\nadmin_token = \"hush\"\n", &[]);
        assert!(!problems[0].3.contains("hush"), "{problems:?}");
    }

    #[test]
    fn what_kubernetes_puts_into_the_environment_is_no_setting() {
        let (_, problems) = load(
            "",
            &[
                ("PASTEUP_SERVICE_HOST", "10.0.0.1"),
                ("PASTEUP_SERVICE_PORT", "80"),
                ("PASTEUP_PORT", "tcp://10.0.0.1:80"),
                ("PASTEUP_PORT_80_TCP_ADDR", "10.0.0.1"),
                ("PASTEUP_SERVER_PORT", "tcp://10.0.0.1:80"),
                ("PASTEUP_SERVER_SERVICE_HOST", "10.0.0.1"),
            ],
        );
        assert_eq!(problems, []);
        let (settings, problems) = load("", &[("PASTEUP_SERVER_LISTEN", "127.0.0.1:1")]);
        assert_eq!(settings.server.listen.port(), 8080);
        assert!(problems.len() == 1 && problems[0].3.contains("PASTEUP_SERVER__LISTEN"), "{problems:?}");
    }

    #[test]
    fn a_text_of_the_environment_is_taken_as_it_is() {
        for token in ["12345", "true", "\"quoted\"", "[1]", "'"] {
            let (settings, problems) = load("", &[("PASTEUP_SERVER__ADMIN_TOKEN", token)]);
            assert_eq!(problems, []);
            assert_eq!(settings.server.admin_token.expect("a token").reveal(), token);
        }
        let (settings, problems) =
            load("", &[("PASTEUP_SERVER__MAX_IN_FLIGHT", "7"), ("PASTEUP_CONTEXT__LOCALES", "[\"de\", \"en\"]")]);
        assert_eq!(problems, []);
        assert_eq!((settings.server.max_in_flight, settings.readers.locales.len()), (7, 2));
        for (name, text) in [("PASTEUP_SERVER__MAX_IN_FLIGHT", "many"), ("PASTEUP_CONTEXT__LOCALES", "de")] {
            assert_eq!(load("", &[(name, text)]).1.len(), 1, "{name}");
        }
    }

    #[test]
    fn what_is_set_and_not_acted_on_is_told() {
        let (_, problems) = load("[cache]\nredis = \"redis://127.0.0.1\"\n", &[]);
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(problems.iter().all(|problem| problem.3.contains("not acted on")));
        assert_eq!(load("[page]\nstream = false\n[fragment]\nhtml = \"balanced\"\n", &[]).1, []);
    }

    #[test]
    fn a_collector_is_a_url_and_never_repeated() {
        let otlp = |text: &str| load(&format!("[telemetry]\notlp = \"{text}\"\n"), &[]);
        let (settings, problems) = otlp("http://collector:4318");
        assert_eq!(settings.telemetry.otlp.map(String::from).as_deref(), Some("http://collector:4318/"));
        assert!(problems.is_empty() || !cfg!(feature = "otlp"), "{problems:?}");
        assert_eq!(otlp("").1, []);
        for wrong in ["collector:4318", "hush", "grpc://u:hush@c:4317", "http://u:hush@c:4318", "http://"] {
            let (settings, problems) = otlp(wrong);
            assert_eq!(settings.telemetry.otlp, None, "{wrong}");
            let [(file, 2, 8, told)] = problems.as_slice() else { panic!("{wrong}: {problems:?}") };
            assert!(file == "pasteup.toml" && told.contains("Some(") && !told.contains("hush"), "{told}");
        }
    }

    #[test]
    fn a_bad_log_filter_is_told_when_it_is_read() {
        let (_, problems) = load("[telemetry]\nlog = \"pasteup=loud\"\n", &[]);
        assert!(problems.len() == 1 && problems[0].3.contains("no filter"), "{problems:?}");
        assert_eq!(load("[telemetry]\nlog = \"warn,pasteup=debug\"\n", &[]).1, []);
    }
}
