//! What services tell of themselves: `/.well-known/fragments.json`.
//! Such a source is believed as far as its own address goes.

use std::sync::Arc;

use url::Url;

use crate::page::source::diagnostic::{Code, Diagnostic, Source};
use crate::page::source::json;
use crate::page::source::table::Data;

use super::upstreams::Allowed;
use super::{Endpoint, Manifest, head_of};

/// Nanoservices that one source may tell of.
const MAX_TOLD: usize = 1_000;

impl Manifest {
    /// Reads the manifests of a source that tells of its services itself: `{"fragments": [{…}, …]}`. One
    /// with a mistake is left out. Such a source is believed as far as its own address goes: it names
    /// no secret and no program, and no other address but those in `allowed`.
    #[must_use]
    pub fn parse_all(source: &Arc<Source>, allowed: &[Allowed]) -> (Vec<Self>, Vec<Diagnostic>) {
        let table = match json::object(source, Code::Manifest) {
            Ok(table) => table,
            Err(problem) => return (Vec::new(), vec![problem]),
        };
        // Another key of the object is for other programs.
        let Some(Data::List(items)) = table.get("fragments").map(|value| &value.data) else {
            let problem = Diagnostic::new(Code::Manifest, head_of(&table), "there is no list `fragments`");
            let help = "write {\"fragments\": [{\"name\": …, \"version\": …, \"endpoint\": …}]}";
            return (Vec::new(), vec![problem.help(help)]);
        };
        let (mut manifests, mut problems) = (Vec::new(), Vec::new());
        if items.len() > MAX_TOLD {
            let message =
                format!("a source may tell of {MAX_TOLD} nanoservices at most, and this one of {}", items.len());
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
            for entry in table.entries.iter().filter(|entry| matches!(&*entry.key, "auth" | "command" | "component")) {
                let message = format!("`{}` is never taken from a service itself", entry.key);
                let problem = Diagnostic::new(Code::Manifest, entry.value.at.clone(), message);
                more.push(problem.help("declare the service in a file below fragments/"));
            }
            let mut manifest = manifest.filter(|_| !more.iter().any(Diagnostic::is_error));
            if let Some(manifest) = &mut manifest {
                let elsewhere = |base: &Url| origin.as_ref() != Some(&base.origin());
                let bases: Vec<Url> = manifest.endpoints.iter().filter_map(Endpoint::base).filter(elsewhere).collect();
                manifest.guarded = !bases.is_empty();
                for base in bases.iter().filter(|base| !allowed.iter().any(|allowed| allowed.covers(base))) {
                    let address = base.origin().ascii_serialization();
                    let message =
                        format!("`{}` is told to be at {address}, which is no address of its source", manifest.name);
                    let problem = Diagnostic::new(Code::UpstreamNotAllowed, manifest.at.clone(), message);
                    more.push(
                        problem.help(format!(
                            "an operator allows it in pasteup.toml: [upstreams] allow = [\"{address}\"]"
                        )),
                    );
                }
            }
            manifests.extend(manifest.filter(|_| !more.iter().any(Diagnostic::is_error)));
            problems.extend(more);
        }
        (manifests, problems)
    }
}
