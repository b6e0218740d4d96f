//! Reads a manifest from its table, by the schema.
//! All errors are reported at once. `None` is returned where too little is left to use.

use std::sync::Arc;

use semver::Version;

use crate::page::source::diagnostic::{Code, Diagnostic, Source, SourceSpan};
use crate::page::source::names::{self, Name};
use crate::page::source::schema::Field;
use crate::page::source::table::{self, Table, TableReader, Value, ValueError};
use crate::page::source::units;
use crate::page::visit::context::{self, Dimension};

use super::assets::{self, Asset};
use super::on_demand::Runnable;
use super::pattern::PatternBudget;
use super::schema::{cache, file, limits};
use super::{
    Auth, Boundary, CacheRules, Endpoint, Lifecycle, Limits, Manifest, OnDemand, Param, auth, example, on_demand,
    param, rollout,
};

impl Manifest {
    /// Reads a manifest. `None` if it has an error.
    #[must_use]
    pub fn parse(source: &Arc<Source>) -> (Option<Self>, Vec<Diagnostic>) {
        let (table, mut problems) = Table::parse(source, 0..source.text.len(), Code::Manifest);
        let (manifest, more) = Self::read(&table, &PatternBudget::new(usize::MAX));
        // A key that a syntax error hides would be reported as missing as well.
        if problems.is_empty() {
            problems.extend(more);
        }
        let broken = problems.iter().any(Diagnostic::is_error);
        (manifest.filter(|_| !broken), problems)
    }

    /// The name that a manifest declares, which may have errors.
    #[must_use]
    pub fn name_in(source: &Arc<Source>) -> Option<Name> {
        declared_name(&Table::parse(source, 0..source.text.len(), Code::Manifest).0)
    }

    pub(super) fn read(table: &Table, patterns: &PatternBudget) -> (Option<Self>, Vec<Diagnostic>) {
        let mut reader = TableReader::new(table, &file::SCHEMA, Code::Manifest);
        let name = reader.required(&file::NAME, table::name);
        let version = reader.required(&file::VERSION, version);
        let endpoint = reader.read(&file::ENDPOINT, |value| {
            let all = table::one_or_more(|value| Endpoint::parse(&table::text(value)?))(value)?;
            if all.is_empty() { Err(ValueError::new("must not be empty")) } else { Ok(all) }
        });
        let command = reader.read(&file::COMMAND, on_demand::command).map(Runnable::Command);
        let component = reader.read(&file::COMPONENT, on_demand::component).map(Runnable::Component);
        let runnable = command.or(component);
        let path = reader.read_or_default(&file::PATH, |value| Endpoint::of_path(&table::text(value)?));
        let run = reader.table(&file::RUN, |table| {
            on_demand::misplaced_in_run(table, runnable.as_ref());
            on_demand::run(table)
        });
        let addresses = [&file::ENDPOINT, &file::COMMAND, &file::COMPONENT];
        match addresses.into_iter().filter(|field| reader.entry(field).is_some()).count() {
            0 => reader.note(
                head_of(table),
                "nothing states how the nanoservice is reached",
                Some("add `endpoint = \"http://127.0.0.1:9102/weather\"`".to_owned()),
            ),
            1 => {}
            _ => {
                let [endpoint, command, component] = addresses.map(|field| field.name);
                let message = format!("`{endpoint}`, `{command}` and `{component}` exclude each other");
                reader.note(head_of(table), message, Some("keep one of them".to_owned()));
            }
        }
        on_demand::misplaced(&mut reader);
        let owner = reader.read(&file::OWNER, table::filled);
        let lifecycle = table::word_for(&Lifecycle::KIND, &Lifecycle::ALL, Lifecycle::as_str);
        let lifecycle = reader.read_or_default(&file::LIFECYCLE, lifecycle);
        let sunset = reader.read(&file::SUNSET, table::date);
        let successor = reader.read(&file::SUCCESSOR, table::name);
        let rollout = reader.entry(&file::ROLLOUT).is_some().then(|| reader.table(&file::ROLLOUT, rollout::read));
        let runbook = reader.read(&file::RUNBOOK, table::filled);
        let description = reader.read(&file::DESCRIPTION, table::text);
        let context = reader.read_or_default(&file::CONTEXT, table::list(dimension));
        let composes = reader.read_or_default(&file::COMPOSES, table::list(table::name));
        let cookies = reader.read_or_default(&file::COOKIES, table::list(cookie));
        let esi = reader.read_or_default(&file::ESI, table::boolean);
        let html = reader.read_or_default(&file::HTML, Boundary::read);
        let params = param::params(&mut reader, &file::PARAMS, patterns);
        undeclared(&mut reader, &file::ENDPOINT, endpoint.as_deref().unwrap_or_default(), &params);
        undeclared(&mut reader, &file::PATH, std::slice::from_ref(&path), &params);
        let cache = reader.table(&file::CACHE, cache_rules);
        let limits = reader.table(&file::LIMITS, |table| Limits {
            timeout: table.read(&limits::TIMEOUT, table::positive_duration),
            max_bytes: table.read(&limits::MAX_BYTES, table::positive_size),
            concurrency: table.integer(&limits::CONCURRENCY),
        });
        let auth = reader.table(&file::AUTH, auth::read);
        let on_demand = reader.entry(&file::COMMAND).or_else(|| reader.entry(&file::COMPONENT));
        if let (Some(Auth::Mtls { .. }), Some(entry)) = (&auth, on_demand) {
            let message = "a client certificate is sent over https only, which is not how what runs on demand is asked";
            reader.note(entry.key_at.clone(), message, Some("write another `auth.kind`".to_owned()));
        }
        if matches!(auth, Some(Auth::Mtls { .. }))
            && let Some(plain) = endpoint.iter().flatten().find(|endpoint| !endpoint.origin().starts_with("https:"))
        {
            let at = reader.entry(&file::ENDPOINT).map_or_else(|| head_of(table), |entry| entry.value.at.clone());
            let message =
                format!("a client certificate is sent over https only, and `{}` is not https", plain.as_str());
            reader.note(at, message, Some("write an https URL, or another `auth.kind`".to_owned()));
        }
        let assets = reader.tables(&file::ASSETS, assets::read);
        let examples = reader.tables(&file::EXAMPLES, |table| example::read(table, &params));
        let at = reader.entry(&file::NAME).map_or_else(|| head_of(table), |entry| entry.value.at.clone());
        let problems = reader.finish();
        let on_demand = runnable
            .zip(name.as_ref().zip(version.as_ref()))
            .map(|(runnable, (name, version))| OnDemand::new(runnable, path, &format!("{name}@{version}"), run));
        let addresses = endpoint.iter().flatten().chain(on_demand.as_ref().map(OnDemand::path));
        let base = addresses.filter_map(Endpoint::base).next();
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
            on_demand,
            description,
            lifecycle,
            sunset,
            successor,
            rollout,
            runbook,
            context,
            composes: composes.iter().map(ToString::to_string).collect(),
            cookies,
            esi,
            html,
            params,
            examples,
            cache,
            limits,
            auth,
            guarded: false,
            declared: table.clone(),
            at,
        });
        (manifest, problems)
    }
}

/// Reports placeholders of URL templates that are not declared parameters, if parameters are declared.
fn undeclared(reader: &mut TableReader<'_>, field: &'static Field, templates: &[Endpoint], params: &[Param]) {
    let Some(entry) = reader.entry(field) else { return };
    for name in templates.iter().flat_map(Endpoint::parameters) {
        if !params.is_empty() && !params.iter().any(|param| param.name == *name) {
            let help = names::did_you_mean(name, params.iter().map(|param| param.name.as_str()));
            let message = format!("`{}`: `{{{name}}}` is not a declared parameter", field.name);
            reader.note(entry.value.at.clone(), message, help);
        }
    }
}

fn cache_rules(table: &mut TableReader<'_>) -> CacheRules {
    let rules = CacheRules {
        ttl: table.read(&cache::TTL, table::duration),
        stale_while_revalidate: table.read(&cache::STALE_WHILE_REVALIDATE, table::duration),
        stale_if_error: table.read(&cache::STALE_IF_ERROR, table::duration),
        max_ttl: table.read(&cache::MAX_TTL, table::duration),
    };
    if let (Some(ttl), Some(max), Some(entry)) = (rules.ttl, rules.max_ttl, table.entry(&cache::TTL))
        && ttl > max
    {
        let message = format!("`ttl` {} is longer than `max_ttl` {}", units::show(ttl), units::show(max));
        table.note(entry.value.at.clone(), message, Some("shorten `ttl`, or lengthen `max_ttl`".to_owned()));
    }
    rules
}

fn version(value: &Value) -> Result<Version, ValueError> {
    let text = table::text(value)?;
    Version::parse(&text).map_err(|_| {
        ValueError::with_help(
            format!("`{text}` is not a valid version"),
            "versions have three numbers, such as \"3.1.0\" (semver.org)",
        )
    })
}

fn dimension(value: &Value) -> Result<Dimension, ValueError> {
    table::text(value)?.parse::<Dimension>().map_err(ValueError::new)
}

fn cookie(value: &Value) -> Result<String, ValueError> {
    let name = table::filled(value)?;
    if context::is_token(&name) {
        Ok(name)
    } else {
        Err(ValueError::new(format!("`{name}` is not a valid cookie name")))
    }
}

/// The valid name that a manifest declares.
pub(super) fn declared_name(table: &Table) -> Option<Name> {
    table::name(table.get(file::NAME.name)?).ok()
}

/// The start of the file that a table is in.
pub(super) fn head_of(table: &Table) -> SourceSpan {
    SourceSpan::new(&table.at.source, 0..0)
}
