//! Reads the manifests of a site, those in files and those that services were discovered with, into its catalogue.
//! If a manifest has an error, the last good one stays in use.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::page::manifest::Manifest;
use crate::page::manifest::catalogue::Catalogue;
use crate::page::manifest::upstreams::Allowed;
use crate::page::source::diagnostic::{Code, Diagnostic};

use super::build::Site;
use super::files::{Files, is_at};

impl Site {
    /// Reads the manifests into the catalogue. Returned are the names of broken ones, each with its file.
    pub(super) fn read_manifests(
        &mut self,
        files: &Files,
        allowed: &[Allowed],
        before: Option<&Self>,
    ) -> BTreeMap<String, String> {
        let mut manifests: Vec<Arc<Manifest>> = Vec::new();
        let mut broken = BTreeMap::new();
        let live = before.map(|site| site.catalogue.manifests()).unwrap_or_default();
        let unreadable = files.unreadable.iter().map(|problem| (&problem.at.source, None));
        let read = files.manifests.iter().map(|source| {
            let (manifest, problems) = Manifest::parse(source);
            self.problems.extend(problems);
            (source, manifest)
        });
        for (source, manifest) in read.chain(unreadable) {
            match manifest {
                Some(manifest) => manifests.push(Arc::new(manifest)),
                None => {
                    let folder = source.file.rsplit('/').nth(1).unwrap_or_default();
                    broken.insert(folder.to_owned(), source.file.clone());
                    for manifest in live.iter().filter(|manifest| is_at(&manifest.at.source.file, &source.file)) {
                        self.last_good.push(manifest.at.source.file.clone());
                        manifests.push(Arc::clone(manifest));
                    }
                }
            }
        }
        for source in &files.discovered {
            let (found, mut problems) = Manifest::parse_all(source, allowed);
            let mut found: Vec<Arc<Manifest>> = found.into_iter().map(Arc::new).collect();
            // A name belongs to the manifest that has it first, and a file comes before every source: a source could state any
            // owner.
            found.retain(|manifest| {
                let elsewhere = manifests.iter().filter(|known| known.name == manifest.name);
                let mut others = elsewhere.filter(|known| {
                    let same_owner = known.owner.is_some() && known.owner == manifest.owner;
                    let by_file = !files.discovered.iter().any(|source| source.file == known.at.source.file);
                    by_file || !same_owner
                });
                let Some(known) = others.next() else { return true };
                if !known.declares_the_same(manifest) {
                    problems.push(taken_over(manifest, known));
                }
                false
            });
            // If one of them has an error, the last good manifests of the source stay in use.
            if problems.iter().any(Diagnostic::is_error) {
                let live = live.iter().filter(|manifest| manifest.at.source.file == source.file);
                let missing = live.filter(|manifest| !found.iter().any(|other| other.name == manifest.name));
                let count = manifests.len();
                manifests.extend(missing.cloned());
                if manifests.len() > count {
                    self.last_good.push(source.file.clone());
                }
            }
            manifests.extend(found);
            self.problems.extend(problems);
        }
        let (catalogue, problems) = Catalogue::new(manifests);
        self.catalogue = catalogue;
        self.problems.extend(problems);
        broken
    }
}

/// The error that a source declares a name which belongs to another manifest.
fn taken_over(manifest: &Manifest, known: &Manifest) -> Diagnostic {
    let owner = |manifest: &Manifest| manifest.owner.clone().unwrap_or_else(|| "no owner".to_owned());
    let (file, name) = (&known.at.source.file, &manifest.name);
    let message =
        format!("`{name}` is declared in {file} ({}), and here by another ({})", owner(known), owner(manifest));
    Diagnostic::new(Code::DuplicateVersion, manifest.at.clone(), message).help("give one of them another name")
}
