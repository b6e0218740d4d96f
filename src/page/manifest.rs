//! What a nanoservice declares of itself: `fragments/NAME/fragment.toml`.
//! Every mistake of a manifest is a diagnostic; a manifest with one is not used.

use std::sync::Arc;
use std::time::Duration;

use semver::Version;
use url::Url;

use super::context::Dimension;
use super::diagnostic::{Code, Diagnostic, Source, Spot};
use super::names::{self, Name};
use super::table::{self, Data, Reader, Table, Value, Wrong};

/// A nanoservice at one version.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// What layouts call it.
    pub name: Name,
    /// Its version; layouts ask for a range.
    pub version: Version,
    /// Who is told when it breaks.
    pub owner: Option<String>,
    /// Where it answers. Empty where it runs on demand, by `command` or `component`.
    pub endpoints: Vec<Endpoint>,
    /// How far it is in its life.
    pub lifecycle: Lifecycle,
    /// What to read when it is broken.
    pub runbook: Option<String>,
    /// What it is told of the reader; a part of its cache key.
    pub context: Vec<Dimension>,
    /// Fragments that its HTML may ask for.
    pub composes: Vec<String>,
    /// Cookies that it may set.
    pub cookies: Vec<String>,
    /// Whether `<esi:…>` in its answers is acted on.
    pub esi: bool,
    /// What its HTML may do to the page.
    pub html: Boundary,
    /// What it may be asked; empty where it does not say.
    pub params: Vec<Param>,
    /// How long its answers are kept.
    pub cache: CacheRules,
    /// How much it may take.
    pub limits: Limits,
    /// Where it was declared.
    pub at: Spot,
}

/// A URL, perhaps with `{name}` in its path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    text: String,
    named: Vec<String>,
    origin: String,
}

/// How far a nanoservice is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lifecycle {
    /// Tried out.
    Experimental,
    /// In use.
    #[default]
    Production,
    /// Going away.
    Deprecated,
}

impl Lifecycle {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Experimental => "experimental",
            Self::Production => "production",
            Self::Deprecated => "deprecated",
        }
    }
}

/// What a fragment's HTML may do to the page around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Boundary {
    /// It cannot break out of its place.
    #[default]
    Balanced,
    /// Its bytes are passed on.
    Raw,
}

/// How long answers are kept where they do not say, and the most in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheRules {
    /// Freshness where the answer states none.
    pub ttl: Option<Duration>,
    /// How long past freshness an old copy may be shown while it is refreshed.
    pub stale_while_revalidate: Option<Duration>,
    /// How long past freshness an old copy may be shown when the refresh fails.
    pub stale_if_error: Option<Duration>,
    /// Caps every freshness.
    pub max_ttl: Option<Duration>,
}

/// How much one fetch may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// From sending the request to the last body byte.
    pub timeout: Option<Duration>,
    /// Decoded bytes of the body.
    pub max_bytes: Option<u64>,
    /// Fetches at once; past it one waits, until its deadline.
    pub concurrency: Option<u32>,
}

/// A declared parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// The layout's `data-NAME`.
    pub name: String,
    /// Whether a request without it makes no sense.
    pub required: bool,
    kind: Kind,
    one_of: Vec<String>,
    pattern: Option<Pattern>,
    minimum: Option<f64>,
    maximum: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    Number,
    Boolean,
}

/// A regular expression that equals another with the same text.
#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    whole: regex_lite::Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Endpoint {
    /// Reads an endpoint.
    ///
    /// # Errors
    /// It is no absolute `http` or `https` URL, or its template is malformed.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong = |message: String| {
            Wrong::with_help(message, "write an absolute URL such as \"http://127.0.0.1:9102/weather\"")
        };
        let mut named = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let close = rest[open..].find('}').ok_or_else(|| wrong(format!("`{text}`: `{{` is not closed")))? + open;
            let name = &rest[open + 1..close];
            if !names::is_name(name) {
                return Err(wrong(format!("`{{{name}}}` names no parameter")));
            }
            plain.push_str(&rest[..open]);
            plain.push('x');
            named.push(name.to_owned());
            rest = &rest[close + 1..];
        }
        plain.push_str(rest);
        let url = super::upstreams::source(&plain).map_err(|error| wrong(error.to_string()))?;
        let authority = text.split('/').nth(2).unwrap_or_default();
        if authority.contains('{') || url.query().is_some_and(|_| text.contains("={")) {
            return Err(wrong("`{…}` may only stand in the path".to_owned()));
        }
        if url.fragment().is_some() {
            return Err(wrong(format!("`{text}` has a `#` part, which is never sent")));
        }
        Ok(Self { text: text.to_owned(), named, origin: url.origin().ascii_serialization() })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Scheme, host and port: what stands in metrics and holds the lanes.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The URL for some parameters: those that the template names go into the path, the rest, in
    /// their order, into the query. `None` where one that it names is not given.
    #[must_use]
    pub fn url(&self, parameters: &[(String, String)]) -> Option<String> {
        let mut url = self.text.clone();
        for name in &self.named {
            let (_, value) = parameters.iter().find(|(known, _)| known == name)?;
            // A value may not become another path.
            if matches!(value.as_str(), "" | "." | "..") {
                return None;
            }
            let encoded = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string();
            url = url.replace(&format!("{{{name}}}"), &encoded);
        }
        let mut url = Url::parse(&url).ok()?;
        let rest: Vec<_> = parameters.iter().filter(|(name, _)| !self.named.contains(name)).collect();
        if !rest.is_empty() {
            url.query_pairs_mut().extend_pairs(rest);
        }
        Some(url.into())
    }
}

impl Param {
    /// Whether the nanoservice would take a value.
    ///
    /// # Errors
    /// What it would take instead.
    pub fn check(&self, value: &str) -> Result<(), String> {
        let number = match self.kind {
            Kind::Text => None,
            Kind::Boolean if matches!(value, "true" | "false") => None,
            Kind::Boolean => return Err("must be `true` or `false`".to_owned()),
            #[expect(clippy::cast_precision_loss, reason = "compared with bounds that are doubles themselves")]
            Kind::Integer => Some(value.parse::<i64>().map_err(|_| "must be a whole number".to_owned())? as f64),
            Kind::Number => {
                let number = value.parse::<f64>().ok().filter(|number| number.is_finite());
                Some(number.ok_or_else(|| "must be a number".to_owned())?)
            }
        };
        if let (Some(number), Some(minimum)) = (number, self.minimum)
            && number < minimum
        {
            return Err(format!("must be at least {minimum}"));
        }
        if let (Some(number), Some(maximum)) = (number, self.maximum)
            && number > maximum
        {
            return Err(format!("must be at most {maximum}"));
        }
        if !self.one_of.is_empty() && !self.one_of.iter().any(|allowed| allowed == value) {
            return Err(format!("must be one of {}", self.one_of.join(", ")));
        }
        match &self.pattern {
            Some(pattern) if !pattern.whole.is_match(value) => Err(format!("must match `{}`", pattern.text)),
            _ => Ok(()),
        }
    }
}

impl Manifest {
    /// Reads a manifest. `None` where a mistake leaves nothing to use.
    #[must_use]
    pub fn parse(source: &Arc<Source>) -> (Option<Self>, Vec<Diagnostic>) {
        let (table, mut problems) = Table::parse(source, 0..source.text.len(), Code::Manifest);
        let (manifest, more) = Self::read(&table);
        // What a broken line hides is not missing as well.
        if problems.is_empty() {
            problems.extend(more);
        }
        let broken = problems.iter().any(Diagnostic::is_error);
        (manifest.filter(|_| !broken), problems)
    }

    fn read(table: &Table) -> (Option<Self>, Vec<Diagnostic>) {
        let mut reader = Reader::new(table, Code::Manifest);
        let mut later = Vec::new();
        let name = required(&mut reader, "name", service_name);
        let version = required(&mut reader, "version", |value| {
            let text = table::text(value)?;
            Version::parse(&text).map_err(|error| {
                Wrong::with_help(
                    format!("`{text}` is no version: {error}"),
                    "versions have three numbers, such as \"3.1.0\" (semver.org)",
                )
            })
        });
        let endpoint = reader.read("endpoint", |value| {
            table::one_or_more(|value| Endpoint::parse(&table::text(value)?))(value)
                .and_then(|all| if all.is_empty() { Err(Wrong::new("must not be empty")) } else { Ok(all) })
        });
        let command = reader.entry("command").map(|entry| ("command", entry.key_at.clone()));
        if command.is_some() {
            reader.read("command", table::list(table::filled));
        }
        let component = reader.entry("component").map(|entry| ("component", entry.key_at.clone()));
        if component.is_some() {
            reader.read("component", table::filled);
        }
        let given = [table.get("endpoint").is_some(), command.is_some(), component.is_some()];
        match given.iter().filter(|given| **given).count() {
            0 => reader.note(
                head_of(table),
                "nothing says how the nanoservice is reached",
                Some("add `endpoint = \"http://127.0.0.1:9102/weather\"`".to_owned()),
            ),
            1 => {}
            _ => reader.note(
                head_of(table),
                "`endpoint`, `command` and `component` exclude each other",
                Some("keep one of them".to_owned()),
            ),
        }
        for (key, at) in command.into_iter().chain(component) {
            later.push((at, format!("`{key}`: services are not started on demand by this version")));
        }
        let owner = reader.read("owner", table::filled);
        let lifecycle = reader.read("lifecycle", |value| {
            Ok(match table::word(&["experimental", "production", "deprecated"])(value)? {
                "experimental" => Lifecycle::Experimental,
                "deprecated" => Lifecycle::Deprecated,
                _ => Lifecycle::Production,
            })
        });
        let runbook = reader.read("runbook", table::filled);
        let context =
            reader.read("context", table::list(|value| table::text(value)?.parse::<Dimension>().map_err(Wrong::new)));
        let composes = reader.read("composes", table::list(|value| service_name(value).map(|name| name.to_string())));
        let cookies = reader.read("cookies", table::list(table::filled));
        let esi = reader.read("esi", table::boolean);
        let html = reader.read("html", |value| {
            Ok(if table::word(&["balanced", "raw"])(value)? == "raw" { Boundary::Raw } else { Boundary::Balanced })
        });
        let params = params(&mut reader);
        let cache = reader.table("cache", |cache| CacheRules {
            ttl: cache.read("ttl", table::duration),
            stale_while_revalidate: cache.read("stale_while_revalidate", table::duration),
            stale_if_error: cache.read("stale_if_error", table::duration),
            max_ttl: cache.read("max_ttl", table::duration),
        });
        let limits = reader.table("limits", |limits| Limits {
            timeout: limits.read("timeout", table::duration),
            max_bytes: limits.read("max_bytes", table::size),
            concurrency: limits.read("concurrency", table::integer(1..=65_535)).and_then(|n| u32::try_from(n).ok()),
        });
        if let Some(at) = auth(&mut reader) {
            later.push((at, "`auth`: requests are not signed by this version".to_owned()));
        }
        reader.tables("assets", |asset| {
            required(asset, "rel", table::word(&["stylesheet", "preload", "modulepreload", "preconnect"]));
            required(asset, "href", table::filled);
            for key in ["as", "type", "media", "integrity", "crossorigin"] {
                asset.read(key, table::text);
            }
        });
        reader.tables("examples", |example| {
            example.read("name", table::text);
            example.entry("params");
        });
        let mut problems = reader.finish();
        problems.extend(later.into_iter().map(|(at, message)| Diagnostic::new(Code::NotYet, at, message)));
        let manifest = name.zip(version).map(|(name, version)| Self {
            name,
            version,
            owner,
            endpoints: endpoint.unwrap_or_default(),
            lifecycle: lifecycle.unwrap_or_default(),
            runbook,
            context: context.unwrap_or_default(),
            composes: composes.unwrap_or_default(),
            cookies: cookies.unwrap_or_default(),
            esi: esi.unwrap_or_default(),
            html: html.unwrap_or_default(),
            params,
            cache,
            limits,
            at: table.get("name").map_or_else(|| head_of(table), |value| value.at.clone()),
        });
        (manifest, problems)
    }
}

fn head_of(table: &Table) -> Spot {
    Spot::new(&table.at.source, 0..0)
}

fn service_name(value: &Value) -> Result<Name, Wrong> {
    let text = table::text(value)?;
    if names::is_name(&text) {
        Ok(Name::from(text))
    } else {
        Err(Wrong::new(format!("`{text}` is no name: {}", names::NAME_RULE)))
    }
}

fn required<T>(reader: &mut Reader<'_>, key: &'static str, kind: impl Fn(&Value) -> Result<T, Wrong>) -> Option<T> {
    if reader.entry(key).is_none() {
        let at = Spot { span: reader.at().span.start..reader.at().span.start, ..reader.at().clone() };
        reader.note(at, format!("`{key}` is missing"), Some(format!("add a line `{key} = …`")));
        return None;
    }
    reader.read(key, kind)
}

fn params(reader: &mut Reader<'_>) -> Vec<Param> {
    let Some(entry) = reader.entry("params") else { return Vec::new() };
    let Data::Table(declared) = &entry.value.data else {
        reader.note(entry.value.at.clone(), "`params` must be a table", Some("write `[params.city]`".to_owned()));
        return Vec::new();
    };
    let mut all = Vec::new();
    for entry in &declared.entries {
        let Data::Table(table) = &entry.value.data else {
            reader.note(entry.value.at.clone(), format!("`params.{}` must be a table", entry.key), None);
            continue;
        };
        let mut inner = Reader::new(table, Code::Manifest);
        let param = Param {
            name: entry.key.clone(),
            required: inner.read("required", table::boolean).unwrap_or_default(),
            kind: match inner.read("type", table::word(&["string", "integer", "number", "boolean"])) {
                Some("integer") => Kind::Integer,
                Some("number") => Kind::Number,
                Some("boolean") => Kind::Boolean,
                _ => Kind::Text,
            },
            one_of: inner.read("enum", table::list(scalar)).unwrap_or_default(),
            pattern: inner.read("pattern", |value| {
                let text = table::text(value)?;
                // A pattern speaks of the whole value, as in an HTML form.
                let whole = regex_lite::Regex::new(&format!("^(?:{text})$"))?;
                Ok(Pattern { text, whole })
            }),
            minimum: inner.read("minimum", table::number),
            maximum: inner.read("maximum", table::number),
        };
        inner.read("description", table::text);
        inner.entry("default");
        for problem in inner.finish() {
            reader.note(problem.at, problem.message, problem.help);
        }
        all.push(param);
    }
    all
}

fn scalar(value: &Value) -> Result<String, Wrong> {
    match &value.data {
        Data::Text(text) => Ok(text.clone()),
        Data::Integer(number) => Ok(number.to_string()),
        Data::Number(number) => Ok(number.to_string()),
        Data::Boolean(yes) => Ok(yes.to_string()),
        other => Err(Wrong::new(format!("must be a plain value, not {}", other.kind()))),
    }
}

/// Where authentication is asked for, which a later version gives.
fn auth(reader: &mut Reader<'_>) -> Option<Spot> {
    let at = reader.entry("auth").map(|entry| entry.key_at.clone());
    let secret = |value: &Value| {
        let text = table::text(value)?;
        if text.starts_with("env:") || text.starts_with("file:") {
            Ok(text)
        } else {
            Err(Wrong::with_help(
                "a secret is never written here".to_owned(),
                "write \"env:NAME\" or \"file:PATH\", which name where it is",
            ))
        }
    };
    let kind = reader.table("auth", |auth| {
        for key in ["token", "password", "key", "cert"] {
            auth.read(key, secret);
        }
        for key in ["user", "key_id"] {
            auth.read(key, table::filled);
        }
        auth.read("kind", table::word(&["none", "bearer", "basic", "mtls", "signature"]))
    });
    at.filter(|_| kind.is_some_and(|kind| kind != "none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Option<Manifest>, Vec<(usize, usize, String)>) {
        let (manifest, problems) = Manifest::parse(&Source::new("fragments/x/fragment.toml", text));
        let shown = problems
            .iter()
            .map(|d| {
                let (line, column) = d.at.source.position(d.at.span.start);
                (line, column, format!("{}: {} ({})", d.code.as_str(), d.message, d.help.clone().unwrap_or_default()))
            })
            .collect();
        (manifest, shown)
    }

    /// The example of the contract, all keys of it.
    const WHOLE: &str = r#"
name = "weather"
version = "3.1.0"
owner = "team-weather"
endpoint = ["http://127.0.0.1:9102/weather/{city}", "http://127.0.0.1:9103/weather/{city}"]
lifecycle = "production"
runbook = "https://example.org/runbooks/weather"
context = ["locale", "region", "cookie:units", "header:X-Plan"]
composes = ["icon"]
cookies = []
esi = false
html = "balanced"

[params.city]
type = "string"
pattern = "[a-z-]+"
required = true
[params.days]
type = "integer"
minimum = 1
maximum = 7
[params.units]
enum = ["metric", "imperial"]

[cache]
ttl = "60s"
stale_while_revalidate = "10m"
stale_if_error = "1d"
max_ttl = "10m"

[limits]
timeout = "300ms"
max_bytes = "256KiB"
concurrency = 64

[auth]
kind = "none"

[[assets]]
rel = "stylesheet"
href = "/assets/weather.css"

[[examples]]
name = "London"
params = { city = "london" }
"#;

    #[test]
    fn the_whole_example_is_read() {
        let (manifest, problems) = parse(WHOLE);
        assert_eq!(problems, []);
        let manifest = manifest.expect("a manifest");
        assert_eq!(manifest.cache.ttl, Some(Duration::from_mins(1)));
        assert_eq!(manifest.limits.max_bytes, Some(256 << 10));
        assert_eq!(manifest.context[3], Dimension::Header("x-plan".into()));
        let params =
            |list: &[(&str, &str)]| list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<Vec<_>>();
        let endpoint = &manifest.endpoints[0];
        assert_eq!(
            endpoint.url(&params(&[("days", "3"), ("city", "são/paulo"), ("q", "a b&c")])).as_deref(),
            Some("http://127.0.0.1:9102/weather/s%C3%A3o%2Fpaulo?days=3&q=a+b%26c")
        );
        assert_eq!(endpoint.url(&params(&[("days", "3")])), None);
        assert_eq!(endpoint.url(&params(&[("city", "..")])), None);
        assert_eq!(endpoint.origin(), "http://127.0.0.1:9102");
        let check =
            |name: &str, value| manifest.params.iter().find(|p| p.name == name).expect("declared").check(value).is_ok();
        assert!(check("city", "new-york") && !check("city", "New York") && !check("city", "a\nb"));
        assert!(check("days", "7") && !check("days", "8") && !check("days", "x") && !check("days", "1.5"));
        assert!(check("units", "metric") && !check("units", "kelvin"));
    }

    #[test]
    fn every_mistake_is_told_with_its_place_and_cure() {
        let (manifest, problems) = parse(
            "name = \"we ather\"\nversion = \"3\"\nendpoint = \"/weather\"\nlifecycle = \"prodution\"\n\
             contxt = []\n[cache]\nttl = 60\n[auth]\nkind = \"bearer\"\ntoken = \"s3cret\"\n",
        );
        assert!(manifest.is_none());
        let at: Vec<(usize, usize)> = problems.iter().map(|(line, column, _)| (*line, *column)).collect();
        assert_eq!(at, [(1, 8), (2, 11), (3, 12), (4, 13), (7, 7), (10, 9), (5, 1), (8, 2)], "{problems:#?}");
        assert!(problems[3].2.contains("did you mean `production`?"));
        assert!(problems[6].2.contains("did you mean `context`?"));
        assert!(problems.iter().all(|(_, _, text)| !text.contains("s3cret")), "a secret is not repeated");
    }

    #[test]
    fn what_is_missing_is_named() {
        let (_, problems) = parse("owner = \"team\"\n");
        let messages: Vec<_> = problems.iter().map(|(_, _, text)| text.as_str()).collect();
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert!(messages[0].contains("`name` is missing") && messages[2].contains("how the nanoservice is reached"));
    }
}
