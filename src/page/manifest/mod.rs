//! What a nanoservice declares of itself: `fragments/NAME/fragment.toml`.
//! Every mistake of a manifest is a diagnostic; a manifest with one is not used.

pub mod assets;
pub mod upstreams;

mod auth;
mod endpoint;
mod example;
mod param;
mod told;

pub mod catalogue;

use std::sync::Arc;
use std::time::Duration;

use semver::Version;

use crate::page::source::diagnostic::{Code, Diagnostic, Source, SourceSpan};
use crate::page::source::names::{self, Name};
use crate::page::source::table::{self, Table, TableReader, Value, Wrong};
use crate::page::source::units;
use crate::page::visit::context::{self, Dimension};

use self::assets::{ATTRIBUTES, Asset, RELATIONS};

pub use auth::{Algorithm, Auth};
pub use endpoint::Endpoint;
pub use example::{Example, Refusal};
pub use param::Param;

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
    /// Requests that it answers with something to show.
    pub examples: Vec<Example>,
    /// How long its answers are kept.
    pub cache: CacheRules,
    /// How much it may take.
    pub limits: Limits,
    /// What its fragments need in the page's head, always.
    pub assets: Vec<Asset>,
    /// How requests to it show who asks.
    pub auth: Option<Auth>,
    /// It was told by a service that is not at its own address: the address that its name resolves to is
    /// checked at connect.
    pub guarded: bool,
    /// All that it declares, as it was written.
    declared: Table,
    /// Where it was declared.
    pub at: SourceSpan,
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

impl Boundary {
    /// Reads the word for it.
    ///
    /// # Errors
    /// It is none of the two.
    pub fn read(value: &Value) -> Result<Self, Wrong> {
        Ok(if table::word(&["balanced", "raw"])(value)? == "raw" { Self::Raw } else { Self::Balanced })
    }
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

    /// What it declares, as others may read it: nothing of how the compositor shows who asks.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let mut json = self.declared.to_json();
        if let Some(members) = json.as_object_mut() {
            members.remove("auth");
        }
        json
    }

    /// The parameters without which it cannot be asked, each once.
    #[must_use]
    pub fn required(&self) -> Vec<&str> {
        let declared = self.params.iter().filter(|param| param.required).map(|param| param.name.as_str());
        let named = self.endpoints.iter().flat_map(Endpoint::parameters).map(String::as_str);
        let mut all = Vec::new();
        for name in declared.chain(named) {
            if !all.contains(&name) {
                all.push(name);
            }
        }
        all
    }

    /// Whether two manifests declare the same, wherever they were written.
    #[must_use]
    pub fn declares_the_same(&self, other: &Self) -> bool {
        self.declared.to_json() == other.declared.to_json()
    }

    fn read(table: &Table) -> (Option<Self>, Vec<Diagnostic>) {
        let mut reader = TableReader::new(table, Code::Manifest);
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
        let cookies = reader.read("cookies", table::list(cookie));
        let esi = reader.read("esi", table::boolean);
        let html = reader.read("html", Boundary::read);
        let params = param::params(&mut reader);
        undeclared(&mut reader, endpoint.as_deref().unwrap_or_default(), &params);
        let cache = reader.table("cache", cache_rules);
        let limits = reader.table("limits", |limits| Limits {
            timeout: limits.read("timeout", |value| {
                let timeout = table::duration(value)?;
                if timeout.is_zero() { Err(Wrong::new("nothing comes in no time at all")) } else { Ok(timeout) }
            }),
            max_bytes: limits.read("max_bytes", |value| {
                let size = table::size(value)?;
                if size == 0 { Err(Wrong::new("no fragment has no bytes")) } else { Ok(size) }
            }),
            concurrency: limits.read("concurrency", table::integer(1..=65_535)).and_then(|n| u32::try_from(n).ok()),
        });
        let auth = auth::auth(&mut reader);
        if matches!(auth, Some(Auth::Mtls { .. }))
            && let Some(plain) = endpoint.iter().flatten().find(|endpoint| !endpoint.origin().starts_with("https:"))
        {
            let at = table.get("endpoint").map_or_else(|| head_of(table), |value| value.at.clone());
            let message = format!("a certificate is shown over https only, and `{}` is not", plain.as_str());
            reader.note(at, message, Some("write an https address, or another `auth.kind`".to_owned()));
        }
        let assets = reader.tables("assets", |asset| {
            let rel = required(asset, "rel", table::word(&RELATIONS));
            let href = required(asset, "href", table::filled);
            let attributes = ATTRIBUTES.map(|key| Some((key, asset.read(key, table::text)?)));
            rel.zip(href).map(|(rel, href)| (rel, href, attributes.into_iter().flatten().collect::<Vec<_>>()))
        });
        let examples = example::examples(&mut reader, &params);
        let mut problems = reader.finish();
        problems.extend(later.into_iter().map(|(at, message)| Diagnostic::new(Code::NotYet, at, message)));
        let base = endpoint.iter().flatten().next().and_then(Endpoint::base);
        let manifest = name.zip(version).map(|(name, version)| Self {
            assets: assets
                .into_iter()
                .flatten()
                .filter_map(|(rel, href, more)| Asset::declared(rel, &href, more, base.as_ref()?, &name, &version))
                .collect(),
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
            examples,
            cache,
            limits,
            auth,
            guarded: false,
            declared: table.clone(),
            at: table.get("name").map_or_else(|| head_of(table), |value| value.at.clone()),
        });
        (manifest, problems)
    }
}

/// Tells what endpoints name and no parameter is, where parameters are declared.
fn undeclared(reader: &mut TableReader<'_>, endpoints: &[Endpoint], params: &[Param]) {
    let Some(entry) = reader.entry("endpoint") else { return };
    for name in endpoints.iter().flat_map(Endpoint::parameters) {
        if !params.is_empty() && !params.iter().any(|param| param.name == *name) {
            let help = names::did_you_mean(name, params.iter().map(|param| param.name.as_str()));
            let message = format!("`endpoint`: `{{{name}}}` is no declared parameter");
            reader.note(entry.value.at.clone(), message, help);
        }
    }
}

fn cache_rules(cache: &mut TableReader<'_>) -> CacheRules {
    let rules = CacheRules {
        ttl: cache.read("ttl", table::duration),
        stale_while_revalidate: cache.read("stale_while_revalidate", table::duration),
        stale_if_error: cache.read("stale_if_error", table::duration),
        max_ttl: cache.read("max_ttl", table::duration),
    };
    if let (Some(ttl), Some(max), Some(entry)) = (rules.ttl, rules.max_ttl, cache.entry("ttl"))
        && ttl > max
    {
        let message = format!("`ttl` {} is longer than `max_ttl` {}", units::show(ttl), units::show(max));
        cache.note(entry.value.at.clone(), message, Some("shorten the one, or lengthen the other".to_owned()));
    }
    rules
}

fn cookie(value: &Value) -> Result<String, Wrong> {
    let name = table::filled(value)?;
    if context::is_token(&name) { Ok(name) } else { Err(Wrong::new(format!("`{name}` is no name of a cookie"))) }
}

fn head_of(table: &Table) -> SourceSpan {
    SourceSpan::new(&table.at.source, 0..0)
}

fn service_name(value: &Value) -> Result<Name, Wrong> {
    let text = table::text(value)?;
    if names::is_name(&text) {
        Ok(Name::from(text))
    } else {
        Err(Wrong::new(format!("`{text}` is no name: {}", names::NAME_RULE)))
    }
}

fn required<T>(
    reader: &mut TableReader<'_>,
    key: &'static str,
    kind: impl Fn(&Value) -> Result<T, Wrong>,
) -> Option<T> {
    if reader.entry(key).is_none() {
        let at = SourceSpan { span: reader.at().span.start..reader.at().span.start, ..reader.at().clone() };
        reader.note(at, format!("`{key}` is missing"), Some(format!("add a line `{key} = …`")));
        return None;
    }
    reader.read(key, kind)
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
            endpoint
                .url(&params(&[("days", "3"), ("city", "são/paulo"), ("q", "a b&c")]))
                .as_ref()
                .map(url::Url::as_str),
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
        assert_eq!(at, [(1, 8), (2, 11), (3, 12), (4, 13), (7, 7), (10, 9), (5, 1)], "{problems:#?}");
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

    #[test]
    fn what_can_never_be_is_told() {
        const HEAD: &str = "name = \"a\"\nversion = \"1.0.0\"\nendpoint = \"http://a/{x}\"\n";
        for (lines, line) in [
            ("[params.x]\n[limits]\ntimeout = \"0s\"\n", 6),
            ("[params.x]\n[limits]\nmax_bytes = \"0\"\n", 6),
            ("[params.x]\n[cache]\nttl = \"2m\"\nmax_ttl = \"1m\"\n", 6),
            ("[params.x]\ntype = \"integer\"\nminimum = 2\nmaximum = 1\n", 6),
            ("[params.x]\ntype = \"number\"\nminimum = nan\n", 6),
            ("[params.x]\nenum = []\n", 5),
            ("[params.x]\npattern = \"a)|(b\"\n", 5),
            ("[params.x]\n[params.City]\n", 5),
            ("[params.x]\n[params.\"a b\"]\n", 5),
            ("[params.y]\n", 3),
            ("cookies = [\"a b\"]\n", 4),
            ("context = [\"cookie:a=b\"]\n", 4),
        ] {
            let (manifest, problems) = parse(&format!("{HEAD}{lines}"));
            let lines: Vec<_> = problems.iter().map(|(line, _, _)| *line).collect();
            assert_eq!(lines, [line], "{lines:?} {problems:#?}");
            assert!(manifest.is_none());
        }
        let (manifest, _) = parse(HEAD);
        assert_eq!(manifest.expect("where none is declared, any may be named").required(), ["x"]);
    }
}
