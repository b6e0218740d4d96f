//! Manifests that services publish themselves: `/.well-known/fragments.json`.
//! A manifest with an error, or one that claims what its source may not, is left out and reported.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use url::Url;

use crate::page::source::diagnostic::{Code, Diagnostic, Source};
use crate::page::source::json;
use crate::page::source::names::Name;
use crate::page::source::table::{Data, Table, Value};

use super::pattern::PatternBudget;
use super::read::{declared_name, head_of};
use super::schema::file;
use super::upstreams::{Allowed, ServiceUrl};
use super::{Endpoint, Manifest};

/// Maximum number of manifests of one source.
const MAX_MANIFESTS: usize = 1_000;
/// Maximum size of all patterns of one source, compiled, in bytes.
const MAX_PATTERNS: usize = 4 << 20;

/// What a source publishes.
#[derive(Debug, Default)]
pub struct Published {
    /// The manifests without an error.
    pub manifests: Vec<Manifest>,
    /// The names that it declares, those of manifests with an error included.
    pub names: BTreeSet<Name>,
    /// The errors.
    pub problems: Vec<Diagnostic>,
}

impl Published {
    /// Reads the document of a discovery source: `{"fragments": [{…}, …]}`. A source is trusted for its own address only: it
    /// may name no secret, no program, and no other address except those in `allowed`.
    #[must_use]
    pub fn read(source: &Arc<Source>, allowed: &[Allowed]) -> Self {
        let mut published = Self::default();
        let table = match json::object(source, Code::Manifest) {
            Ok(table) => table,
            Err(problem) => {
                published.problems.push(problem);
                return published;
            }
        };
        // Other keys of the object are for other programs.
        let Some(Data::List(items)) = table.get("fragments").map(|value| &value.data) else {
            let problem = Diagnostic::new(Code::Manifest, head_of(&table), "the list `fragments` is missing");
            let help = "write {\"fragments\": [{\"name\": …, \"version\": …, \"endpoint\": …}]}";
            published.problems.push(problem.help(help));
            return published;
        };
        if items.len() > MAX_MANIFESTS {
            let message =
                format!("a source may publish at most {MAX_MANIFESTS} manifests; this one has {}", items.len());
            published.problems.push(Diagnostic::new(Code::Manifest, head_of(&table), message));
            return published;
        }
        let service = ServiceUrl::parse(&source.file).ok();
        let patterns = PatternBudget::new(MAX_PATTERNS);
        for item in items {
            let Data::Table(table) = &item.data else {
                let message = format!("a manifest must be an object, not {}", item.data.kind());
                published.problems.push(Diagnostic::new(Code::Manifest, item.at.clone(), message));
                continue;
            };
            published.add(table, service.as_ref(), allowed, &patterns);
            // Reading on would compile the patterns of every further manifest only to refuse them.
            if patterns.is_spent() {
                let message = "the patterns of this source are too large together; its further manifests are not read";
                published.problems.push(Diagnostic::new(Code::Manifest, item.at.clone(), message));
                break;
            }
        }
        published
    }

    /// Reads one of the manifests. `service` is the address of the source.
    fn add(&mut self, table: &Table, service: Option<&ServiceUrl>, allowed: &[Allowed], patterns: &PatternBudget) {
        self.names.extend(declared_name(table));
        let table = &*service.map_or(Cow::Borrowed(table), |service| at_source(table, service));
        let (manifest, mut problems) = Manifest::read(table, patterns);
        let refused = [&file::AUTH, &file::COMMAND, &file::COMPONENT, &file::PATH, &file::RUN];
        for entry in refused.into_iter().filter_map(|field| table.entry(field.name)) {
            let message = format!("`{}` is not accepted from a discovery source", entry.key);
            let problem = Diagnostic::new(Code::Manifest, entry.value.at.clone(), message);
            problems.push(problem.help("declare the nanoservice in a file below fragments/"));
        }
        let mut manifest = manifest.filter(|_| !problems.iter().any(Diagnostic::is_error));
        if let Some(manifest) = &mut manifest {
            let elsewhere = |base: &Url| service.map(|service| service.url.origin()) != Some(base.origin());
            let bases: Vec<Url> = manifest.endpoints.iter().filter_map(Endpoint::base).filter(elsewhere).collect();
            manifest.guarded = !bases.is_empty();
            for base in bases.iter().filter(|base| !allowed.iter().any(|allowed| allowed.covers(base))) {
                let address = base.origin().ascii_serialization();
                let message =
                    format!("`{}` is declared at {address}, which is not the address of its source", manifest.name);
                let problem = Diagnostic::new(Code::UpstreamNotAllowed, manifest.at.clone(), message);
                problems
                    .push(problem.help(format!(
                        "an operator can allow it in pasteup.toml: [upstreams] allow = [\"{address}\"]"
                    )));
            }
        }
        self.manifests.extend(manifest.filter(|_| !problems.iter().any(Diagnostic::is_error)));
        self.problems.extend(problems);
    }
}

/// The manifest with each endpoint that is a path at its source: at all places of the source, if that is found by DNS.
fn at_source<'t>(table: &'t Table, service: &ServiceUrl) -> Cow<'t, Table> {
    let at_source = |value: &Value| match &value.data {
        Data::Text(path) if path.starts_with('/') && !path.starts_with("//") => {
            let data = Data::Text(format!("{}{path}", service.origin()));
            Some(Value { data, at: value.at.clone() })
        }
        _ => None,
    };
    let Some(entry) = table.entry(file::ENDPOINT.name) else { return Cow::Borrowed(table) };
    let replaced = match &entry.value.data {
        Data::List(items) if items.iter().any(|item| at_source(item).is_some()) => {
            let items = items.iter().map(|item| at_source(item).unwrap_or_else(|| item.clone())).collect();
            Some(Value { data: Data::List(items), at: entry.value.at.clone() })
        }
        _ => at_source(&entry.value),
    };
    let Some(replaced) = replaced else { return Cow::Borrowed(table) };
    let mut table = table.clone();
    table.set(&[file::ENDPOINT.name], replaced);
    Cow::Owned(table)
}
