//! Decides to whom a name belongs: to the folder that declares it, or else to the source that is listed first. Other sources may
//! declare it only where the operator lets them, and then describe the same service at another address.
//! What a source may not declare is left out and reported. What a manifest states about its owner decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use semver::Version;

use crate::page::manifest::Manifest;
use crate::page::manifest::catalogue::Catalogue;
use crate::page::manifest::discovered::Published;
use crate::page::manifest::grants::{Grant, ManifestSource};
use crate::page::source::diagnostic::{Code, Diagnostic};
use crate::page::source::names::Name;

/// Maximum number of missing grants that a message names.
const MAX_NAMED: usize = 8;

/// The manifests of a site while they are collected: those of folders first, then those of each source in its order.
#[derive(Debug, Default)]
pub(super) struct Owners {
    manifests: Vec<Arc<Manifest>>,
    problems: Vec<Diagnostic>,
    /// The file or document that each name belongs to, with the owner that it states.
    owners: BTreeMap<Name, (String, Option<String>)>,
    /// The index in `manifests` of each name and version.
    versions: BTreeMap<(Name, Version), usize>,
}

impl Owners {
    /// Adds a manifest of a folder.
    pub(super) fn add_own(&mut self, manifest: Arc<Manifest>) {
        self.own(&manifest);
        self.versions.entry(version(&manifest)).or_insert(self.manifests.len());
        self.manifests.push(manifest);
    }

    /// Gives a file a name that belongs to nobody.
    pub(super) fn claim(&mut self, name: Name, file: &str) {
        self.owners.entry(name).or_insert_with(|| (file.to_owned(), None));
    }

    /// All manifests, and what is wrong with those of sources.
    pub(super) fn finish(self) -> (Vec<Arc<Manifest>>, Vec<Diagnostic>) {
        (self.manifests, self.problems)
    }

    /// Adds what a source publishes. If that has an error, those of its last good manifests stay that are missing now. Returned
    /// are its manifests, and whether some of them are last good ones.
    pub(super) fn add_source(
        &mut self,
        source: &ManifestSource,
        published: Published,
        last_good: &[Arc<Manifest>],
    ) -> (Vec<Arc<Manifest>>, bool) {
        let Published { manifests, names, mut problems } = published;
        let declared: Vec<(Name, Version)> = manifests.iter().map(version).collect();
        let (mut good, mut refusals) = (Vec::new(), Vec::new());
        for manifest in manifests {
            match self.refusal(source, &names, &manifest) {
                None => good.push(Arc::new(manifest)),
                Some(problem) => refusals.push(problem),
            }
        }
        let (mut good, duplicates) = Catalogue::unique(good);
        problems.extend(refusals.into_iter().chain(duplicates));
        let count = good.len();
        if problems.iter().any(Diagnostic::is_error) {
            let found: BTreeSet<(Name, Version)> = good.iter().map(|manifest| version(manifest)).collect();
            let refused: BTreeSet<(Name, Version)> =
                declared.into_iter().filter(|declared| !found.contains(declared)).collect();
            // A version that is not declared any more stays only if nothing else has its name: it may be behind the error.
            let is_missing = |manifest: &&Arc<Manifest>| {
                let is_named = good[..count].iter().any(|other| other.name == manifest.name);
                refused.contains(&version(manifest)) || !is_named
            };
            let may_stay = |manifest: &&Arc<Manifest>| self.may_declare(source, &manifest.name);
            let kept: Vec<Arc<Manifest>> = last_good.iter().filter(is_missing).filter(may_stay).cloned().collect();
            good.extend(kept);
        }
        for manifest in &good {
            self.own(manifest);
            self.join(manifest, &mut problems);
        }
        for name in names {
            self.claim(name, &source.document());
        }
        self.problems.extend(problems);
        let kept = good.len() > count;
        (good, kept)
    }

    fn own(&mut self, manifest: &Manifest) {
        let owner = || (manifest.at.source.file.clone(), manifest.owner.clone());
        self.owners.entry(manifest.name.clone()).or_insert_with(owner);
    }

    /// Whether a source may declare a name, as far as is known when its turn comes.
    fn may_declare(&self, source: &ManifestSource, name: &Name) -> bool {
        !self.owners.contains_key(name) || source.names.contains(name)
    }

    /// Why a manifest of a source is not used. `names` are all names that the source declares.
    fn refusal(&self, source: &ManifestSource, names: &BTreeSet<Name>, manifest: &Manifest) -> Option<Diagnostic> {
        let name = &manifest.name;
        if let Some((file, owner)) = self.owners.get(name).filter(|_| !self.may_declare(source, name)) {
            let stated = |owner: &Option<String>| owner.clone().unwrap_or_else(|| "no owner".to_owned());
            let message = format!(
                "`{name}` is declared in {file} ({}), so this source ({}) may not declare it",
                stated(owner),
                stated(&manifest.owner)
            );
            let entry = source.entry_with(&[], Some(name));
            let help = format!(
                "rename one of them; if both are the same service, an operator can allow the name in pasteup.toml: \
                 [discovery] manifests = [{entry}]"
            );
            return Some(Diagnostic::new(Code::DuplicateVersion, manifest.at.clone(), message).help(help));
        }
        let is_own = |name: &str| names.get(name).is_some_and(|name| self.may_declare(source, name));
        let missing: Vec<Grant> =
            manifest.asks_for(is_own).into_iter().filter(|grant| !source.allow.contains(grant)).collect();
        if missing.is_empty() {
            return None;
        }
        let mut words: Vec<String> = missing.iter().take(MAX_NAMED).map(|grant| format!("`{grant}`")).collect();
        if missing.len() > MAX_NAMED {
            words.push(format!("{} more", missing.len() - MAX_NAMED));
        }
        let message = format!("`{name}` asks for {}, which its source is not granted", words.join(", "));
        let entry = source.entry_with(&missing[..missing.len().min(MAX_NAMED)], None);
        let help = format!("an operator can grant it in pasteup.toml: [discovery] manifests = [{entry}]");
        Some(Diagnostic::new(Code::NotGranted, manifest.at.clone(), message).help(help))
    }

    /// Adds a manifest of a source. If another place declares the same name and version, it is the same service at another
    /// address, or an error.
    fn join(&mut self, manifest: &Arc<Manifest>, problems: &mut Vec<Diagnostic>) {
        let key = version(manifest);
        let Some(index) = self.versions.get(&key) else {
            self.versions.insert(key, self.manifests.len());
            self.manifests.push(Arc::clone(manifest));
            return;
        };
        let first = &mut self.manifests[*index];
        match first.difference(manifest) {
            None => *first = Arc::new(first.with_endpoints_of(manifest)),
            Some(key) => {
                let (name, number) = (&manifest.name, &manifest.version);
                let message =
                    format!("{name} {number} is declared in {} too, with another `{key}`", first.at.source.file);
                let problem = Diagnostic::new(Code::DuplicateVersion, manifest.at.clone(), message);
                problems.push(problem.help("publish the same manifest at each address, or give one another version"));
            }
        }
    }
}

fn version(manifest: &Manifest) -> (Name, Version) {
    (manifest.name.clone(), manifest.version.clone())
}
