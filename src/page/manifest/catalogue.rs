//! All nanoservices that layouts can use, by name and version.
//! Of two manifests with the same name and version neither is used, and both are reported.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use semver::VersionReq;

use crate::page::policy::rollout::book::{Book, Entry};
use crate::page::source::diagnostic::{Code, Diagnostic};

use super::Manifest;
use super::lock::Lock;

/// Maximum number of other files that a message names.
const MAX_NAMED: usize = 3;

/// Manifests, by name and then from the highest version down.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    manifests: Vec<Arc<Manifest>>,
    /// Whose turn it is: one for each manifest.
    turns: Vec<Turn>,
}

/// Whether ranges choose a version.
#[derive(Debug, Clone)]
enum Turn {
    /// Yes.
    Free,
    /// No: there is a lock, and it is not in it.
    NotLocked,
    /// It takes over from one of these versions, the highest first, step by step; or it went back, and these stay.
    After { before: Arc<[Arc<Manifest>]>, went_back: bool },
}

/// The version that a range chooses.
#[derive(Debug, Clone, Copy)]
pub struct Chosen<'c> {
    /// The version.
    pub manifest: &'c Arc<Manifest>,
    /// The version that it takes over from step by step. `None`: it has taken over.
    pub stable: Option<&'c Arc<Manifest>>,
    /// Whether it went back, so that the stable one is shown to all.
    pub went_back: bool,
}

impl<'c> Chosen<'c> {
    /// The version that pages show which know nothing of rollouts.
    #[must_use]
    pub fn shown(&self) -> &'c Arc<Manifest> {
        self.stable.unwrap_or(self.manifest)
    }

    /// The version that takes over step by step, and the one before it. `None`: none does.
    #[must_use]
    pub fn rolled_out(&self) -> Option<(&'c Arc<Manifest>, &'c Arc<Manifest>)> {
        self.stable.filter(|_| !self.went_back).map(|stable| (self.manifest, stable))
    }
}

impl Catalogue {
    /// Collects manifests, and reports those that have the same name and version.
    #[must_use]
    pub fn new(manifests: Vec<Arc<Manifest>>) -> (Self, Vec<Diagnostic>) {
        let (manifests, mut problems) = Self::unique(manifests);
        problems.extend(integrity_conflicts(&manifests));
        (Self { turns: vec![Turn::Free; manifests.len()], manifests }, problems)
    }

    /// The same manifests, of which ranges choose those that the lock allows, if there is one. A version that the book does not
    /// know takes over as its manifest states.
    #[must_use]
    pub fn with_turns(mut self, lock: Option<&Lock>, book: &Book) -> Self {
        let turn = |manifest: &Arc<Manifest>| match lock {
            Some(lock) if lock.checksum(&manifest.name, &manifest.version).is_none() => Turn::NotLocked,
            _ => book.0.get(&*manifest.name).map_or(Turn::Free, |entry| self.turn(manifest, entry)),
        };
        self.turns = self.manifests.iter().map(turn).collect();
        self
    }

    /// Whether a version takes over step by step.
    fn turn(&self, manifest: &Arc<Manifest>, entry: &Entry) -> Turn {
        let version = manifest.version.to_string();
        if entry.chosen.contains(&version) {
            return Turn::Free;
        }
        let is_before = |other: &&Arc<Manifest>| entry.chosen.contains(&other.version.to_string());
        let before: Arc<[Arc<Manifest>]> = self.versions(&manifest.name).filter(is_before).cloned().collect();
        let went_back = entry.went_back(&version, || manifest.checksum());
        // If no version before it is left, there is none to compare it with, and none to go back to.
        if before.is_empty() || (manifest.rollout.is_none() && !went_back) {
            return Turn::Free;
        }
        Turn::After { before, went_back }
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
        self.with_turns_of(name).map(|(manifest, _)| manifest)
    }

    fn with_turns_of<'s, 'n>(
        &'s self,
        name: &'n str,
    ) -> impl Iterator<Item = (&'s Arc<Manifest>, &'s Turn)> + use<'s, 'n> {
        let first = self.manifests.partition_point(|manifest| &*manifest.name < name);
        let all = self.manifests[first..].iter().zip(&self.turns[first..]);
        all.take_while(move |(manifest, _)| &*manifest.name == name)
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
        let all = reached.into_iter().flat_map(|name| self.with_turns_of(name));
        let (manifests, turns) = all.map(|(manifest, turn)| (Arc::clone(manifest), turn.clone())).unzip();
        Self { manifests, turns }
    }

    /// All names, each once.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.manifests.iter().map(|manifest| &*manifest.name).collect();
        names.dedup();
        names
    }

    /// The highest version of a name that satisfies a range and, if there is a lock, is locked.
    #[must_use]
    pub fn choose(&self, name: &str, range: &VersionReq) -> Option<Chosen<'_>> {
        let may_be = |(manifest, turn): &(&Arc<Manifest>, &Turn)| {
            !matches!(turn, Turn::NotLocked) && range.matches(&manifest.version)
        };
        let (manifest, turn) = self.with_turns_of(name).find(may_be)?;
        let Turn::After { before, went_back } = turn else {
            return Some(Chosen { manifest, stable: None, went_back: false });
        };
        let stable = before.iter().find(|before| range.matches(&before.version));
        Some(Chosen { manifest, stable, went_back: *went_back && stable.is_some() })
    }

    /// The same manifests, of which ranges choose these versions and, of other names, what they chose before.
    #[must_use]
    pub fn with_only(mut self, versions: &[Arc<Manifest>]) -> Self {
        for (manifest, turn) in self.manifests.iter().zip(&mut self.turns) {
            if let Some(wanted) = versions.iter().find(|wanted| wanted.name == manifest.name) {
                *turn = if wanted.version == manifest.version { Turn::Free } else { Turn::NotLocked };
            }
        }
        self
    }

    /// The highest version of a name that satisfies a range, whether it is locked or not.
    #[must_use]
    pub fn highest(&self, name: &str, range: &VersionReq) -> Option<&Arc<Manifest>> {
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
            let chosen = catalogue.choose("a", &range).map(|chosen| chosen.manifest.version.minor);
            prop_assert_eq!(chosen, minors.iter().copied().rfind(|minor| *minor >= floor));
        }
    }
}
