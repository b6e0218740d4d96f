//! Manifests that services publish themselves: `/.well-known/fragments.json`.
//! A manifest with an error, or one that claims what its source may not, is left out and reported.

use std::sync::Arc;

use url::Url;

use crate::page::source::diagnostic::{Code, Diagnostic, Source};
use crate::page::source::json;
use crate::page::source::table::Data;

use super::read::head_of;
use super::schema::file;
use super::upstreams::Allowed;
use super::{Endpoint, Manifest};

/// Maximum number of manifests of one source.
const MAX_MANIFESTS: usize = 1_000;

impl Manifest {
    /// Reads the manifests of a discovery source: `{"fragments": [{…}, …]}`. One with an error is left out. A source is
    /// trusted for its own address only: it may name no secret, no program, and no other address except those in
    /// `allowed`.
    #[must_use]
    pub fn parse_all(source: &Arc<Source>, allowed: &[Allowed]) -> (Vec<Self>, Vec<Diagnostic>) {
        let table = match json::object(source, Code::Manifest) {
            Ok(table) => table,
            Err(problem) => return (Vec::new(), vec![problem]),
        };
        // Other keys of the object are for other programs.
        let Some(Data::List(items)) = table.get("fragments").map(|value| &value.data) else {
            let problem = Diagnostic::new(Code::Manifest, head_of(&table), "the list `fragments` is missing");
            let help = "write {\"fragments\": [{\"name\": …, \"version\": …, \"endpoint\": …}]}";
            return (Vec::new(), vec![problem.help(help)]);
        };
        let (mut manifests, mut problems) = (Vec::new(), Vec::new());
        if items.len() > MAX_MANIFESTS {
            let message =
                format!("a source may publish at most {MAX_MANIFESTS} manifests; this one has {}", items.len());
            return (manifests, vec![Diagnostic::new(Code::Manifest, head_of(&table), message)]);
        }
        let origin = Url::parse(&source.file).ok().map(|url| url.origin());
        for item in items {
            let Data::Table(table) = &item.data else {
                let message = format!("a manifest must be an object, not {}", item.data.kind());
                problems.push(Diagnostic::new(Code::Manifest, item.at.clone(), message));
                continue;
            };
            let (manifest, mut more) = Self::read(table);
            let refused = [&file::AUTH, &file::COMMAND, &file::COMPONENT];
            for entry in refused.into_iter().filter_map(|field| table.entry(field.name)) {
                let message = format!("`{}` is not accepted from a discovery source", entry.key);
                let problem = Diagnostic::new(Code::Manifest, entry.value.at.clone(), message);
                more.push(problem.help("declare the nanoservice in a file below fragments/"));
            }
            let mut manifest = manifest.filter(|_| !more.iter().any(Diagnostic::is_error));
            if let Some(manifest) = &mut manifest {
                let elsewhere = |base: &Url| origin.as_ref() != Some(&base.origin());
                let bases: Vec<Url> = manifest.endpoints.iter().filter_map(Endpoint::base).filter(elsewhere).collect();
                manifest.guarded = !bases.is_empty();
                for base in bases.iter().filter(|base| !allowed.iter().any(|allowed| allowed.covers(base))) {
                    let address = base.origin().ascii_serialization();
                    let message =
                        format!("`{}` is declared at {address}, which is not the address of its source", manifest.name);
                    let problem = Diagnostic::new(Code::UpstreamNotAllowed, manifest.at.clone(), message);
                    more.push(problem.help(format!(
                        "an operator can allow it in pasteup.toml: [upstreams] allow = [\"{address}\"]"
                    )));
                }
            }
            manifests.extend(manifest.filter(|_| !more.iter().any(Diagnostic::is_error)));
            problems.extend(more);
        }
        (manifests, problems)
    }
}
