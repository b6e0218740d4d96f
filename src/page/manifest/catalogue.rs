//! All nanoservices that layouts can use, by name and version.
//! Of two manifests with the same name and version neither is used, and both are reported.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use semver::VersionReq;

use crate::page::source::diagnostic::{Code, Diagnostic};

use super::Manifest;

/// Maximum number of other files that a message names.
const MAX_NAMED: usize = 3;

/// Manifests, by name and then from the highest version down.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    manifests: Vec<Arc<Manifest>>,
}

impl Catalogue {
    /// Collects manifests, and reports those that have the same name and version.
    #[must_use]
    pub fn new(manifests: Vec<Arc<Manifest>>) -> (Self, Vec<Diagnostic>) {
        let (manifests, mut problems) = Self::unique(manifests);
        problems.extend(integrity_conflicts(&manifests));
        (Self { manifests }, problems)
    }

    /// The manifests, each name and version once. Of several with the same name and version none is returned and all are
    /// reported, unless they declare the same and have an owner.
    #[must_use]
    pub fn unique(mut manifests: Vec<Arc<Manifest>>) -> (Vec<Arc<Manifest>>, Vec<Diagnostic>) {
        manifests.sort_by(|a, b| {
            a.name
                .cmp(&b.name)
                .then_with(|| b.version.cmp(&a.version))
                .then_with(|| a.at.source.file.cmp(&b.at.source.file))
        });
        let mut used = Vec::new();
        let mut problems = Vec::new();
        for group in manifests.chunk_by(|a, b| a.name == b.name && a.version == b.version) {
            let (one, rest) = group.split_first().expect("a group has a member");
            // An owner may publish a manifest in several places, if all are the same.
            if rest.iter().all(|other| other.owner.is_some() && other.declares_the_same(one)) {
                used.push(Arc::clone(one));
                continue;
            }
            for manifest in group {
                let mut others: Vec<String> = group
                    .iter()
                    .filter(|other| !Arc::ptr_eq(other, manifest))
                    .take(MAX_NAMED)
                    .map(|other| format!("{} ({})", other.at.source.file, other.owner.as_deref().unwrap_or("no owner")))
                    .collect();
                if group.len() > MAX_NAMED + 1 {
                    others.push(format!("{} more", group.len() - 1 - MAX_NAMED));
                }
                problems.push(
                    Diagnostic::new(
                        Code::DuplicateVersion,
                        manifest.at.clone(),
                        format!("{} {} is declared here and in {}", manifest.name, manifest.version, others.join(", ")),
                    )
                    .help("give one of them another name or version"),
                );
            }
        }
        (used, problems)
    }

    /// All manifests, by name and then from the highest version down.
    #[must_use]
    pub fn manifests(&self) -> &[Arc<Manifest>] {
        &self.manifests
    }

    /// All manifests as one document, in the form that discovery sources publish.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let all: Vec<serde_json::Value> = self.manifests.iter().map(|manifest| manifest.to_json()).collect();
        serde_json::json!({ "fragments": all })
    }

    /// All versions of a name, from the highest down.
    pub fn versions<'s, 'n>(&'s self, name: &'n str) -> impl Iterator<Item = &'s Arc<Manifest>> + use<'s, 'n> {
        let first = self.manifests.partition_point(|manifest| &*manifest.name < name);
        self.manifests[first..].iter().take_while(move |manifest| &*manifest.name == name)
    }

    /// The nanoservices that the HTML of some may include, directly or through others.
    #[must_use]
    pub fn reachable<'m>(&self, from: impl Iterator<Item = &'m Arc<Manifest>>) -> Self {
        let mut reached: BTreeSet<&str> = BTreeSet::new();
        let mut open: Vec<&str> = Vec::new();
        let from: Vec<&Arc<Manifest>> = from.collect();
        open.extend(from.iter().flat_map(|manifest| &manifest.composes).map(String::as_str));
        while let Some(name) = open.pop() {
            if reached.insert(name) {
                open.extend(self.versions(name).flat_map(|manifest| &manifest.composes).map(String::as_str));
            }
        }
        let manifests = reached.into_iter().flat_map(|name| self.versions(name)).cloned().collect();
        Self { manifests }
    }

    /// All names, each once.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.manifests.iter().map(|manifest| &*manifest.name).collect();
        names.dedup();
        names
    }

    /// The highest version of a name that satisfies a range.
    #[must_use]
    pub fn select(&self, name: &str, range: &VersionReq) -> Option<&Arc<Manifest>> {
        self.versions(name).find(|manifest| range.matches(&manifest.version))
    }
}

/// Reports assets for which two nanoservices declare different hashes. A page has only the one that comes first.
fn integrity_conflicts(manifests: &[Arc<Manifest>]) -> Vec<Diagnostic> {
    let mut known: BTreeMap<(&str, &str), (&str, &Arc<Manifest>)> = BTreeMap::new();
    let mut problems = Vec::new();
    for manifest in manifests {
        for asset in &manifest.assets {
            let Some(integrity) = asset.integrity() else { continue };
            let first = known.entry((&asset.rel, &asset.href)).or_insert((integrity, manifest));
            if first.0 != integrity {
                let message =
                    format!("its `integrity` for {} differs from that in {}", asset.href, first.1.at.source.file);
                let help = "browsers refuse one of the two: give each content a URL of its own";
                problems.push(Diagnostic::new(Code::Integrity, manifest.at.clone(), message).help(help));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::source::diagnostic::Source;
    use proptest::prelude::*;

    fn manifest(file: &str, version: &str) -> Arc<Manifest> {
        let text = format!("name = \"a\"\nversion = \"{version}\"\nowner = \"{file}\"\nendpoint = \"http://a/\"\n");
        Arc::new(Manifest::parse(&Source::new(file, text)).0.expect("a manifest"))
    }

    #[test]
    fn the_same_version_from_two_owners_is_an_error_that_names_both() {
        let (catalogue, problems) =
            Catalogue::new(vec![manifest("x", "1.0.0"), manifest("y", "1.0.0"), manifest("z", "2.0.0")]);
        assert_eq!(catalogue.manifests().len(), 1);
        assert_eq!(problems.len(), 2);
        assert!(problems[0].message.contains("y (y)") && problems[1].message.contains("x (x)"));
    }

    proptest! {
        #[test]
        fn the_highest_version_that_satisfies_the_range_is_selected(minors in proptest::collection::btree_set(0_u64..30, 1..12), floor in 0_u64..30) {
            let (catalogue, _) = Catalogue::new(minors.iter().map(|minor| manifest(&format!("f{minor}"), &format!("1.{minor}.0"))).collect());
            let range: VersionReq = format!("^1.{floor}").parse().expect("a range");
            let chosen = catalogue.select("a", &range).map(|manifest| manifest.version.minor);
            prop_assert_eq!(chosen, minors.iter().copied().rfind(|minor| *minor >= floor));
        }
    }
}
